"""Layers between the image contract and a network's own range, and the composite."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tfrecon")
class ToSigned(keras.layers.Layer):
    """[0,1] to [-1,1]: the range inside a network with a tanh output."""

    def call(self, images: Any) -> Any:
        """(B,H,W,C) in [0,1] to the same shape in [-1,1]."""
        return images * 2 - 1


@keras.saving.register_keras_serializable("tfrecon")
class FromSigned(keras.layers.Layer):
    """[-1,1] back to [0,1], in float32 whatever the precision inside."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})

    def call(self, images: Any) -> Any:
        """(B,H,W,C) in [-1,1] to float32 in [0,1]."""
        return (images + 1) / 2


@keras.saving.register_keras_serializable("tfrecon")
class Residual(keras.layers.Layer):
    """Base image plus correction, clipped to [0,1] at inference only.

    A clipped pixel would have no gradient.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})

    def call(self, base: Any, correction: Any, training: bool = False) -> Any:
        """`base` (B,H,W,3) in [0,1] and `correction` (B,H,W,3) to (B,H,W,3)."""
        restored = base + correction
        return restored if training else ops.clip(restored, 0.0, 1.0)


@keras.saving.register_keras_serializable("tfrecon")
class Composite(keras.layers.Layer):
    """Known pixels pass through unchanged; the holes come from the restoration."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})

    def call(self, images: Any, restored: Any, masks: Any) -> Any:
        """`images` and `restored` (B,H,W,3), `masks` (B,H,W,1) with 1 = damaged, to (B,H,W,3)."""
        return images * (1 - masks) + restored * masks


@keras.saving.register_keras_serializable("tfrecon")
class MeanFill(keras.layers.Layer):
    """Fills the holes of each image with the mean colour of its known pixels."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})

    def call(self, images: Any, masks: Any) -> Any:
        """`images` (B,H,W,3) and `masks` (B,H,W,1) to (B,H,W,3)."""
        known = 1 - masks
        total = ops.sum(images * known, axis=(1, 2), keepdims=True)
        count = ops.maximum(ops.sum(known, axis=(1, 2), keepdims=True), 1)
        return images * known + (total / count) * masks
