"""Maps on other grids: pixels into channels and back (the rearrangement of Shi et al. 2016), and
bilinear enlargement."""

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


@keras.saving.register_keras_serializable("tfrecon")
class GridMeans(keras.layers.Layer):
    """(B,h,w,C) to (B,side,side,C), for any h and w: the means of equal parts, whose borders are
    rounded outwards. Keras's ``AdaptiveAveragePooling2D``, which it has from 3.14 on."""

    def __init__(self, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = side

    def call(self, x: Any) -> Any:
        """The means, first over rows, then over columns."""
        return self._means(self._means(x, 1), 2)

    def _means(self, x: Any, axis: int) -> Any:
        length, before, parts = tf.shape(x)[axis], [slice(None)] * axis, []
        for place in range(self.side):
            start, end = place * length // self.side, -(-(place + 1) * length // self.side)
            parts.append(tf.reduce_mean(x[(*before, slice(start, end))], axis, keepdims=True))
        return tf.concat(parts, axis)


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
