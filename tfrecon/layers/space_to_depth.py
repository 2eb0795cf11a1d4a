"""Pixels into channels: what `DepthToSpace` undoes."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfrecon")
class SpaceToDepth(keras.layers.Layer):
    """(B,H,W,C) to (B,H/factor,W/factor,factor²·C)."""

    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        """Pixel (row, column) of a square becomes channels from (row·factor + column)·C on."""
        return tf.nn.space_to_depth(x, self.factor)

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {**super().get_config(), "factor": self.factor}
