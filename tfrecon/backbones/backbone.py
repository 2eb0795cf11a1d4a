"""What a backbone is: a graph with named taps, and weight sets with their preprocessing.

Layers have the names of the torch modules whose checkpoints they take, so that one function reads
them all: layer ``layer1.0.conv1`` takes the array ``layer1.0.conv1.weight``.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from tfrecon.base.errors import UserError
from tfrecon.base.weights import Arrays, WeightFile, read


@dataclass(frozen=True)
class Tap:
    """A place in a network: its channels, and pixels from position to position as `stride` (None:
    one position for the whole image).

    `smallest` is the least side of an image, in pixels, that gives it a position. `grid_at_224` is
    the side of its grid for an image of 224 pixels, where that is not ``224 / stride``.
    """

    channels: int
    stride: int | None
    smallest: int = 1
    grid_at_224: int | None = None

    def shape_at_224(self) -> tuple[int, int, int]:
        """(h,w,C) for an image of 224×224 pixels."""
        side = self.grid_at_224 or (224 // self.stride if self.stride else 1)
        return side, side, self.channels


@dataclass(frozen=True)
class Preprocessing:
    """How a weight set wants its images: ``(scale·x - mean) / std``, where x in [0,1] has its
    channels in `order`."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1.0
    order: Literal["rgb", "bgr"] = "rgb"

    def __call__(self, images: Any) -> Any:
        """A backbone's first layer: images (B,H,W,3) in [0,1] to float32 as the weights want."""
        std = np.asarray(self.std, np.float32)
        scale, offset = self.scale / std, -np.asarray(self.mean, np.float32) / std
        x = images[..., ::-1] if self.order == "bgr" else images
        return keras.layers.Rescaling(scale, offset, dtype="float32", name="preprocess")(x)


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""That of torchvision and of most timm models."""


@dataclass(frozen=True)
class WeightSet:
    """Trained arrays, in torch's names and layout, and the preprocessing that they expect.

    `load` finds and reads them; it takes the names that are needed, as a file may hold the first
    layers only. `read` reads a file that the user names. `first_row` holds the first published
    values of ``features.0.weight[0, 0, 0]``; they reveal a file of transposed kernels. `files` are
    those that it is found in.
    """

    load: Callable[[Collection[str]], Arrays]
    preprocessing: Preprocessing = IMAGENET
    read: Callable[[Path], Arrays] = read
    first_row: tuple[float, ...] = ()
    files: tuple[WeightFile, ...] = ()


@dataclass(frozen=True)
class Backbone:
    """A frozen network. `graph` maps a preprocessed image (B,H,W,3) to every tap by name.

    The first of `weights` is the default. Sides of images are multiples of `size_multiple` pixels.
    """

    about: str
    taps: Mapping[str, Tap]
    graph: Callable[[Any], dict[str, Any]]
    weights: Mapping[str, WeightSet]
    size_multiple: int = 1


_SUFFIXES = {
    "kernel": "weight", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip


def torch_names(model: keras.Model) -> dict[str, Any]:
    """The variables of `model` by torch's names: the layer's, a dot, and torch's word for the kind
    of variable. One that torch keeps outside any module (a class token) has its layer's name."""
    variables: dict[str, Any] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            variables |= torch_names(layer)
            continue
        for variable in layer.weights:
            kind = _SUFFIXES.get(variable.name, variable.name)
            if kind.startswith("variable"):  # Keras numbers those without a name: a layer scale's
                kind = "gamma"
            name = layer.name if layer.name.split(".")[-1] == kind else f"{layer.name}.{kind}"
            variables[name] = variable
    return variables


def to_keras(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A torch array in Keras's layout, for a variable of `shape`: OIHW to HWIO, a depthwise kernel
    to HWC1, (out,in) to (in,out)."""
    if array.ndim == 4:
        return array.transpose((2, 3, 0, 1) if _is_depthwise(shape) else (2, 3, 1, 0))
    return array.T if array.ndim == 2 else array


def to_torch(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The inverse of `to_keras`."""
    if array.ndim == 4:
        return array.transpose((2, 3, 0, 1) if _is_depthwise(array.shape) else (3, 2, 0, 1))
    return array.T


def assign(model: keras.Model, arrays: Mapping[str, np.ndarray[Any, Any]], source: str) -> None:
    """Puts `arrays` (torch's names and layout) into the variables of `model`; it ignores others.

    Raises UserError, before it changes anything, naming the first array that is absent or of
    another shape: the file belongs to another network. `source` names the file in that error.
    """
    variables = torch_names(model)
    values = [_fitting(name, arrays, v, source) for name, v in variables.items()]
    for variable, value in zip(variables.values(), values, strict=True):
        variable.assign(value)


def unwrapped(arrays: Arrays, names: Collection[str], source: str) -> Arrays:
    """`arrays` without what wrappers put before the `names` that a network needs, such as
    ``module.`` or ``backbone.``. Raises UserError where several networks have all of these names.
    """
    if not arrays.keys().isdisjoint(names):
        return arrays
    first = next(iter(names))
    before = (key.removesuffix(first) for key in arrays if key.endswith(f".{first}"))
    before = sorted(before, key=len)  # the shortest is the wrapper's where some names are missing
    found = [prefix for prefix in before if all(prefix + name in arrays for name in names)]
    if len(found) > 1:
        raise UserError(
            f"{source} holds several such networks, behind {', '.join(map(repr, found))}; save the "
            "arrays of one of them alone"
        )
    prefix = next(iter(found or before), "")
    within = {key: array for key, array in arrays.items() if key.startswith(prefix)}
    return {key.removeprefix(prefix): array for key, array in within.items()}


def check_orientation(
    arrays: Mapping[str, np.ndarray[Any, Any]], first_row: tuple[float, ...], source: str
) -> None:
    """Raises UserError for published arrays whose kernels have height and width swapped.

    `arrays` are in torch's names and layout; `first_row` is that of `WeightSet`. Nothing else
    reveals the swap: all shapes fit, and the network computes features of transposed images.
    """
    kernel = arrays.get("features.0.weight")
    if kernel is None or kernel.ndim != 4 or not first_row:
        return
    count = len(first_row)
    row, column = kernel[0, 0, 0, :count], kernel[0, 0, :count, 0]
    if np.allclose(column, first_row, atol=1e-4) and not np.allclose(row, first_row, atol=1e-4):
        raise UserError(
            f"{source} has kernels whose height and width are swapped: the first column of "
            f"'features.0.weight' begins {', '.join(map(str, first_row))}, which is its first row "
            "as published; fetch the file again from its publisher, or swap these two axes of "
            "every kernel"
        )


def check_same_network(
    complete: keras.Model, arrays: Mapping[str, np.ndarray[Any, Any]], source: str
) -> None:
    """Raises UserError for arrays that do not belong to `complete`, the whole backbone: one of its
    names with another shape, or a name that differs from one of its names in the numbers only, as
    those of further blocks do. A file may lack arrays and may hold those of a classifier.
    """
    variables = torch_names(complete)
    blocks = {re.sub(r"\d+", "0", name) for name in variables}
    for name in arrays:
        if name in variables:
            _fitting(name, arrays, variables[name], source)
        elif re.sub(r"\d+", "0", name) in blocks:
            raise UserError(
                f"{source} holds another network: it has an array {name!r}, which the named "
                "backbone lacks; give the weights of the named backbone"
            )


def _fitting(
    name: str, arrays: Mapping[str, np.ndarray[Any, Any]], variable: Any, source: str
) -> np.ndarray[Any, Any]:
    """The array called `name` in Keras's layout. Raises UserError where it does not fit."""
    shape = tuple(variable.shape)
    array = to_keras(arrays[name], shape) if name in arrays else None
    if array is None or array.shape != shape:
        actual = "absent" if array is None else f"{tuple(arrays[name].shape)}"
        raise UserError(
            f"{source} holds another network: array {name!r} must be {torch_shape(shape)} and is "
            f"{actual}; give the weights of the named backbone"
        )
    return array


def randomise(model: keras.Model, seed: int) -> None:
    """Gives `model` random weights that depend on `seed` alone: kernels after He et al. 2015, and
    biases, scales and statistics with a little noise around their usual start."""
    random = np.random.default_rng(seed)
    for name, variable in torch_names(model).items():
        shape = tuple(variable.shape)
        if len(shape) > 1:
            value = random.normal(0, math.sqrt(2 / max(1, math.prod(shape[:-1]))), shape)
        else:
            centre = 1.0 if name.endswith(("running_var", "weight")) else 0.0
            value = centre + 0.05 * random.uniform(-1, 1, shape)
        variable.assign(value.astype(np.float32))


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that torch has for a variable of `shape`; a kernel of one output channel counts as
    depthwise."""
    if _is_depthwise(shape):
        return (shape[2], 1, shape[0], shape[1])
    if len(shape) == 4:
        return (shape[3], shape[2], shape[0], shape[1])
    return shape[::-1] if len(shape) == 2 else shape


def _is_depthwise(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] == 1
