"""Pixels into channels and back: the sub-pixel rearrangement of Shi et al. 2016."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfrecon")
class DepthToSpace(keras.layers.Layer):
    """(B,h,w,factor²·C) to (B,h·factor,w·factor,C)."""

    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        """Channel (row·factor + column)·C + c becomes channel c of that pixel of its square."""
        return tf.nn.depth_to_space(x, self.factor) if self.factor > 1 else x


@keras.saving.register_keras_serializable("tfrecon")
class SpaceToDepth(keras.layers.Layer):
    """(B,H,W,C) to (B,H/factor,W/factor,factor²·C): `DepthToSpace` undone."""

    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        """Pixel (row, column) of a square becomes channels from (row·factor + column)·C on."""
        return tf.nn.space_to_depth(x, self.factor)
