"""Bilinear enlargement of maps: by a whole factor, or to the grid of a finer map."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfrecon")
class Enlarge(keras.layers.Layer):
    """(B,h,w,C) to (B,h·factor,w·factor,C), float32; Keras's own layer must know h and w when
    traced."""

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.factor = factor

    def call(self, x: Any) -> Any:
        """The larger maps."""
        return tf.image.resize(x, self.factor * tf.shape(x)[1:3])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Height and width times the factor, where they are known."""
        sides = [None if side is None else side * self.factor for side in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[3])


def align(features: Any, grid: Any, finest: Any) -> Any:
    """Brings a tap's features (B,h,w,C) to the `finest` grid (H,W): float32 (B,H,W,C).

    `grid` (h',w') is the image's sides divided by the tap's stride. A tap may have a row or column
    less or more than that (AlexNet's 55 for 56, as its first convolution lacks padding): the last
    one is then repeated or dropped, so that every position keeps its distance to its pixels. A
    coarser grid is enlarged bilinearly; a single position, such as a pooled vector, is repeated.
    """
    if list(features.shape[1:3]) != list(grid):
        for axis in (1, 2):
            last = tf.shape(features)[axis] - 1
            places = tf.minimum(tf.range(grid[axis - 1]), last)
            features = tf.gather(features, places, axis=axis)
    features = tf.cast(features, tf.float32)
    return features if grid is finest else tf.image.resize(features, tf.stack(finest))
