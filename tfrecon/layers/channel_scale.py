"""A learned factor for each channel, zero at the start."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("tfrecon")
class ChannelScale(keras.layers.Layer):
    """x·s with s (C,) learned from zero, so that a residual branch starts switched off (LayerScale,
    Touvron et al. 2021; β and γ of NAFNet)."""

    def build(self, input_shape: Any) -> None:
        """One factor for each channel of the input."""
        self.scale = self.add_weight(
            shape=(input_shape[-1],), initializer="zeros", name="scale", dtype=self.variable_dtype
        )
        self.built = True

    def call(self, x: Any) -> Any:
        """(…,C) to the same shape."""
        return x * keras.ops.cast(self.scale, x.dtype)
