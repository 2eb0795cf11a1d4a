"""The orthonormal two-dimensional Haar wavelet transform, one level (Mallat 1989; Haar 1910)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrecon.base.errors import UserError


def haar_dwt(images: Any) -> Any:
    """(B,H,W,C), H and W even, to the sub-bands (B,H/2,W/2,4C): LL, LH, HL, HH, each C channels.

    For a cell of pixels [[a,b],[c,d]]: LL = (a+b+c+d)/2 (twice its mean), LH = (a+b-c-d)/2 (change
    between rows), HL = (a-b+c-d)/2 (between columns), HH = (a-b-c+d)/2. PyWavelets' ``dwt2(x,
    "haar")`` calls them cA, cH, cV, cD. The transform keeps the sum of squares. Raises UserError
    for an odd side that is known when traced.
    """
    images = tf.convert_to_tensor(images)
    if any(side is not None and side % 2 for side in images.shape[1:3]):
        raise UserError(f"haar_dwt needs even sides and not {images.shape}: pad or crop by a pixel")
    return _butterfly(tf.nn.space_to_depth(images, 2))


def inverse_haar(bands: Any) -> Any:
    """Sub-bands (B,h,w,4C) in the order of `haar_dwt` back to the images (B,2h,2w,C). Raises
    UserError for a number of channels that four does not divide."""
    bands = tf.convert_to_tensor(bands)
    if bands.shape[-1] % 4:
        raise UserError(
            f"inverse_haar needs four sub-bands of C channels each and not {bands.shape[-1]} in all"
        )
    return tf.nn.depth_to_space(_butterfly(bands), 2)


@keras.saving.register_keras_serializable("tfrecon")
class InverseHaar(keras.layers.Layer):
    """`inverse_haar` as a layer."""

    def call(self, bands: Any) -> Any:
        """(B,h,w,4C) to (B,2h,2w,C)."""
        return inverse_haar(bands)


def _butterfly(x: Any) -> Any:
    # The 4×4 matrix of signs is symmetric and, halved, orthonormal: it is its own inverse.
    a, b, c, d = tf.split(x, 4, axis=-1)
    top, bottom, top_step, bottom_step = a + b, c + d, a - b, c - d
    return 0.5 * tf.concat(
        [top + bottom, top - bottom, top_step + bottom_step, top_step - bottom_step], axis=-1
    )
