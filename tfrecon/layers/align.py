"""Features of several grids brought to one, without moving them against each other."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def align(features: Any, grid: Any, finest: Any) -> Any:
    """(B,h,w,C) to (B,H,W,C): first to its own whole `grid`, then smoothly to the `finest`.

    A tap may have a row or column less or more than its stride promises (AlexNet's 55 of 56, where
    a convolution has no padding): the last ones are doubled or dropped, so that every position
    keeps its distance to its pixels. A single position, such as a pooled vector, is spread out.
    """
    height, width = tf.shape(features)[1], tf.shape(features)[2]
    features = tf.gather(features, tf.minimum(tf.range(grid[0]), height - 1), axis=1)
    features = tf.gather(features, tf.minimum(tf.range(grid[1]), width - 1), axis=2)
    if grid is finest:
        return features
    return tf.image.resize(tf.cast(features, tf.float32), tf.stack(finest))
