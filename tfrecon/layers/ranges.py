"""Layers between images in [0,1] and a network's own range, and the composite of both."""

from typing import Any

import keras
from keras import ops


class Float32Layer(keras.layers.Layer):
    """A layer that computes in float32, whatever the precision policy and the argument `dtype`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})


def to_signed(name: str) -> keras.layers.Layer:
    """[0,1] to [-1,1]: the range inside a network with a tanh output."""
    return keras.layers.Rescaling(2.0, -1.0, name=name)


def from_signed(name: str) -> keras.layers.Layer:
    """[-1,1] back to [0,1], float32."""
    return keras.layers.Rescaling(0.5, 0.5, dtype="float32", name=name)


@keras.saving.register_keras_serializable("tfrecon")
class Residual(Float32Layer):
    """Base image plus correction, clipped to [0,1] at inference only: a clipped pixel has no
    gradient."""

    def call(self, base: Any, correction: Any, training: bool = False) -> Any:
        """`base` (B,H,W,3) in [0,1] and `correction` (B,H,W,3) to (B,H,W,3)."""
        restored = base + correction
        return restored if training else ops.clip(restored, 0.0, 1.0)


@keras.saving.register_keras_serializable("tfrecon")
class Composite(Float32Layer):
    """The image in its known pixels, the restoration in the holes."""

    def call(self, images: Any, restored: Any, masks: Any) -> Any:
        """`images` and `restored` (B,H,W,3), `masks` (B,H,W,1) with 1 = damaged, to (B,H,W,3)."""
        return images * (1 - masks) + restored * masks


@keras.saving.register_keras_serializable("tfrecon")
class MeanFill(Float32Layer):
    """Fills the holes of each image with the mean colour of its known pixels."""

    def call(self, images: Any, masks: Any) -> Any:
        """`images` (B,H,W,3) and `masks` (B,H,W,1) to (B,H,W,3)."""
        known = 1 - masks
        total = ops.sum(images * known, axis=(1, 2), keepdims=True)
        count = ops.maximum(ops.sum(known, axis=(1, 2), keepdims=True), 1)
        return images * known + (total / count) * masks
