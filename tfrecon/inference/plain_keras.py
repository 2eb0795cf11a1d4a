"""A model as one of Keras's own layers and operations alone, which any Keras loads, with any of its
backends and without tfrecon.

Layers of tfrecon are replaced by Keras's that do the same at inference. Those that are written in
TensorFlow's functions and have no such form are named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tfrecon.base.errors import UserError
from tfrecon.layers import convolutions
from tfrecon.layers.film import ChannelScale
from tfrecon.layers.gaussian_latent import GaussianLatent
from tfrecon.layers.grids import DepthToSpace, Enlarge, SpaceToDepth
from tfrecon.layers.normalization import BatchNorm, Dropout
from tfrecon.models.base import ReconstructionModel


def plain(model: ReconstructionModel, has_mask: bool) -> keras.Model:
    """`model` for photos of any size: ``image`` (B,H,W,3) and, with masks, ``mask`` (B,H,W,1), as a
    dictionary, to ``restored`` (B,H,W,3), all float32 in [0,1].

    Raises UserError naming the layers that have no plain form, and for a model of fixed size, whose
    tiles need a loop.
    """
    if model.fixed_size or model.smallest_size > model.size_multiple:
        raise UserError(
            f"plain Keras has no tiles, which model {model.name!r} needs for photos of any size; "
            "nothing was written; export it with --format savedmodel"
        )
    channels = {"image": 3, "mask": 1} if has_mask else {"image": 3}
    inputs = {name: keras.Input((None, None, n), name=name) for name, n in channels.items()}
    x = ops.concatenate(list(inputs.values()), axis=-1) if has_mask else inputs["image"]
    rows, columns = x[0, :, 0, 0], x[0, 0, :, 0]
    for axis, line in ((1, rows), (2, columns)):
        x = ops.take(x, _reflected(line, model.size_multiple), axis=axis)
    restored = _network(model, 3 + has_mask)(x)
    for axis, line in ((1, rows), (2, columns)):
        restored = ops.take(restored, _whole(_places(line, 0)), axis=axis)
    return keras.Model(inputs, {"restored": ops.clip(restored, 0.0, 1.0)}, name=model.name)


def _network(model: ReconstructionModel, channels: int) -> keras.Model:
    """`model` without its tfrecon layers, for images of fitting sizes."""
    x = keras.Input((None, None, channels))
    try:
        whole = keras.Model(x, model.call(x, training=False))
    except Exception as error:  # TensorFlow's functions take no symbols of Keras
        raise _not_plain(type(model).__name__) from error
    made: dict[int, Any] = {}

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        if type(layer).__module__.startswith("keras."):
            return layer(*inputs, **options)
        if id(layer) not in made:
            made[id(layer)] = FORMS.get(type(layer), _by_operations)(layer)
        return made[id(layer)](*inputs)

    return keras.models.clone_model(
        whole, clone_function=lambda layer: layer, call_function=call, recursive=True
    )


def _not_plain(name: str) -> UserError:
    return UserError(
        f"plain Keras has no layer {name}, which this model needs; nothing was written; export it "
        "with --format savedmodel"
    )


def _by_operations(layer: Any) -> Callable[..., Any]:
    """What a layer without variables does, where it does it by `keras.ops`."""

    def call(*inputs: Any) -> Any:
        try:
            return layer.call(*inputs)
        except Exception as error:
            raise _not_plain(type(layer).__name__) from error

    if layer.weights:
        raise _not_plain(type(layer).__name__)
    return call


def _same(kind: Any) -> Callable[[Any], Callable[[Any], Any]]:
    """The form of a layer that trains in a way of its own: Keras's, with its weights."""

    def form(layer: Any) -> Callable[[Any], Any]:
        made = kind.from_config(layer.get_config())

        def call(x: Any) -> Any:
            x = made(x)
            made.set_weights(layer.get_weights())
            return x

        return call

    return form


def _depth_to_space(layer: Any) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        kernel = _squares(layer.factor, x.shape[-1] // layer.factor**2)
        return _fixed(layers.Conv2DTranspose, kernel, kernel.shape[2], layer)(x)

    return call


def _space_to_depth(layer: Any) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        kernel = _squares(layer.factor, x.shape[-1])
        return _fixed(layers.Conv2D, kernel, kernel.shape[3], layer)(x)

    return call


def _squares(factor: int, channels: int) -> np.ndarray:
    """(factor,factor,C,factor²·C): pixel (row, column) of a square to its own channels."""
    return np.eye(factor**2 * channels, dtype=np.float32).reshape(
        factor, factor, channels, factor**2 * channels
    )


def _fixed(kind: Any, kernel: np.ndarray, filters: int, layer: Any) -> Any:
    """A convolution with this kernel, whose steps are as long as it is wide."""
    made = kind(
        filters, kernel.shape[0], strides=kernel.shape[0], use_bias=False, trainable=False,
        name=layer.name, dtype="float32",
    )  # fmt: skip
    made.build((None, None, None, kernel.shape[2 if kind is layers.Conv2D else 3]))
    made.set_weights([kernel])
    return made


def _batch_norm(layer: Any) -> Any:
    config = layer.get_config()
    if config.pop("inference") == "moving":
        made = layers.BatchNormalization.from_config(config)
        weights = layer.get_weights()
    else:  # each image's own statistics
        made = layers.GroupNormalization(-1, epsilon=layer.epsilon, name=layer.name)
        weights = [layer.gamma, layer.beta]
    made.build((None, None, None, layer.gamma.shape[0]))
    made.set_weights([np.asarray(each) for each in weights])
    return made


def _dropout(layer: Any) -> Callable[[Any], Any]:
    if layer.at_inference and layer.rate:
        raise _not_plain("Dropout with at_inference")
    return lambda x: x


def _mean(layer: Any) -> Callable[..., Any]:
    if layer.draw:
        raise _not_plain("GaussianLatent with draw")
    return lambda mean, log_variance: mean


FORMS: dict[type, Callable[[Any], Callable[..., Any]]] = {
    convolutions.Conv2D: _same(layers.Conv2D),
    convolutions.Conv2DTranspose: _same(layers.Conv2DTranspose),
    DepthToSpace: _depth_to_space,
    SpaceToDepth: _space_to_depth,
    Enlarge: lambda layer: layers.UpSampling2D(
        layer.factor, interpolation="bilinear", name=layer.name
    ),
    BatchNorm: _batch_norm,
    Dropout: _dropout,
    GaussianLatent: _mean,
    ChannelScale: lambda layer: layers.Rescaling(
        np.asarray(layer.scale).tolist(), name=layer.name, dtype=layer.dtype_policy
    ),
}
"""The plain forms of the layers that are not made of `keras.ops`."""


# --- sizes: graphs of Keras have no operation for the length of an axis


def _places(line: Any, more: int) -> Any:
    """0, 1, 2, … for a `line` of L values: L + more of them, as floats."""
    return ops.cumsum(ops.pad(ops.ones_like(line), (0, more), constant_values=1.0)) - 1.0


def _whole(places: Any) -> Any:
    return ops.cast(places, "int32")


def _reflected(line: Any, multiple: int) -> Any:
    """The rows or columns of a photo that is padded as by `tiling.pad_to_multiple`."""
    # One value for each whole group, then all places of these groups.
    groups = ops.max_pool(_places(line, multiple - 1)[None, :, None], multiple, multiple, "valid")
    place = _places(ops.repeat(groups[0, :, 0], multiple), 0)
    last = ops.sum(ops.ones_like(line)) - 1.0
    place = ops.mod(place, ops.maximum(2.0 * last, 1.0))
    return _whole(last - ops.abs(last - place))
