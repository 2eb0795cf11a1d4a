"""What a backbone is: a graph with named taps, and weight sets with their own preprocessing.

Layers are named like the modules of the torch networks whose checkpoints they take, so one reader
serves all: layer ``layer1.0.conv1`` has the array ``layer1.0.conv1.weight``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from tfrecon.base.errors import UserError
from tfrecon.base.weights import Arrays, read


@dataclass(frozen=True)
class Tap:
    """A place in a network: channels, and pixels a position (None: one position an image).

    `smallest` is the least side of an image, in pixels, that reaches it. `grid_at_224` is the side
    of its grid at a 224-pixel image where that is not ``224 / stride``.
    """

    channels: int
    stride: int | None
    smallest: int = 1
    grid_at_224: int | None = None

    def shape_at_224(self) -> tuple[int, int, int]:
        """(h,w,C) at a 224-pixel image."""
        side = self.grid_at_224 or (224 // self.stride if self.stride else 1)
        return side, side, self.channels


@dataclass(frozen=True)
class Preprocessing:
    """From RGB in [0,1] to what a weight set was trained on: ``(scale·x - mean) / std``."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1.0
    order: Literal["rgb", "bgr"] = "rgb"


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Torchvision's and most of timm's."""


@dataclass(frozen=True)
class WeightSet:
    """Where trained arrays come from (in torch's names and layout) and what they expect.

    `load` is told the names that are needed, for a file may hold the first layers only; `read`
    reads a file that the user names. `first_row` is published of the first convolution: the first
    values of ``features.0.weight[0, 0, 0]``, by which a file of transposed kernels is told.
    """

    load: Callable[[Collection[str]], Arrays]
    preprocessing: Preprocessing = IMAGENET
    read: Callable[[Path], Arrays] = read
    first_row: tuple[float, ...] = ()


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


@keras.saving.register_keras_serializable("tfrecon")
class Preprocess(keras.layers.Layer):
    """The input layer of a backbone; see `Preprocessing`."""

    def __init__(
        self, mean: Any, std: Any, scale: float = 1.0, order: str = "rgb", **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.mean, self.std, self.scale, self.order = mean, std, scale, order

    def call(self, images: Any) -> Any:
        """(B,H,W,3) in [0,1] to the range and channel order that the weights expect."""
        x = images[..., ::-1] if self.order == "bgr" else images
        shift = np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        return x * (self.scale / np.asarray(self.std, np.float32)) - shift

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        own = {"mean": self.mean, "std": self.std, "scale": self.scale, "order": self.order}
        return {**super().get_config(), **own}


_SUFFIXES = {
    "kernel": "weight", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip


def torch_names(model: keras.Model) -> dict[str, Any]:
    """The variables of `model` by the names that torch gives them.

    Variables outside any module (a class token) are called by their layer's name.
    """
    found: dict[str, Any] = {}
    for layer in model.layers:
        for variable in layer.weights:
            suffix = _SUFFIXES.get(variable.name, variable.name)
            whole = layer.name if layer.name.split(".")[-1] == suffix else f"{layer.name}.{suffix}"
            found[whole] = variable
    return found


def to_keras(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A torch kernel in Keras's layout: OIHW to HWIO (depthwise to HWC1), (out,in) to (in,out)."""
    if array.ndim == 4:
        return array.transpose((2, 3, 0, 1) if _is_depthwise(shape) else (2, 3, 1, 0))
    return array.T if array.ndim == 2 else array


def to_torch(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The opposite of `to_keras`, for all but depthwise kernels."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def assign(model: keras.Model, arrays: Mapping[str, np.ndarray[Any, Any]], source: str) -> None:
    """Puts `arrays` into the variables of `model`; arrays that it does not use are left over.

    Raises UserError naming the first array that is absent or of another shape: the file is another
    network's.
    """
    variables = torch_names(model)
    kept = {name: _fitting(name, arrays, v, source) for name, v in variables.items()}
    for name, variable in variables.items():
        variable.assign(kept[name])


def check_orientation(
    arrays: Mapping[str, np.ndarray[Any, Any]], first_row: tuple[float, ...], source: str
) -> None:
    """Raises UserError for published arrays whose kernels have height and width swapped.

    `arrays` are in torch's names and layout, `first_row` is `WeightSet.first_row`. Nothing but
    this tells them: shapes fit, and the network still computes features, of transposed images.
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
    """Raises UserError for arrays that only another network than `complete` has: of another shape,
    or of a further block, which is called like one of its own but for the numbers.

    A file may lack arrays, and may have a classifier's.
    """
    variables = torch_names(complete)
    blocks = {_without_numbers(name) for name in variables}
    for name in arrays:
        if name in variables:
            _fitting(name, arrays, variables[name], source)
        elif _without_numbers(name) in blocks:
            raise UserError(
                f"{source} holds another network: it has an array {name!r}, which the named "
                "backbone lacks; give the weights of the named backbone"
            )


def _fitting(
    name: str, arrays: Mapping[str, np.ndarray[Any, Any]], variable: Any, source: str
) -> np.ndarray[Any, Any]:
    """The array called `name` in Keras's layout."""
    shape = tuple(variable.shape)
    array = to_keras(arrays[name], shape) if name in arrays else None
    if array is None or array.shape != shape:
        found = "absent" if array is None else f"{tuple(arrays[name].shape)}"
        raise UserError(
            f"{source} holds another network: array {name!r} must be {torch_shape(shape)} and is "
            f"{found}; give the weights of the named backbone"
        )
    return array


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def randomise(model: keras.Model, seed: int) -> None:
    """Random weights that depend on `seed` alone: He et al. 2015 for kernels, else small noise."""
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
    """The shape of `to_keras`'s argument; a kernel of one output channel is a depthwise one."""
    if _is_depthwise(shape):
        return (shape[2], 1, shape[0], shape[1])
    if len(shape) == 4:
        return (shape[3], shape[2], shape[0], shape[1])
    return shape[::-1] if len(shape) == 2 else shape


def _is_depthwise(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] == 1
