"""Features of several grids brought to one, without moving them against each other."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def align(features: Any, grid: Any, finest: Any) -> Any:
    """(B,h,w,C) to float32 (B,H,W,C): first to its own whole `grid`, then smoothly to the `finest`.

    A tap may have a row or column less or more than its stride promises (AlexNet's 55 of 56, where
    a convolution has no padding): the last ones are doubled or dropped, so that every position
    keeps its distance to its pixels. A single position, such as a pooled vector, is spread out.
    """
    if list(features.shape[1:3]) != list(grid):
        for axis in (1, 2):
            last = tf.shape(features)[axis] - 1
            places = tf.minimum(tf.range(grid[axis - 1]), last)
            features = tf.gather(features, places, axis=axis)
    features = tf.cast(features, tf.float32)
    return features if grid is finest else tf.image.resize(features, tf.stack(finest))
