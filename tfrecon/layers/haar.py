"""The orthonormal two-dimensional Haar wavelet transform, one level (Mallat 1989; Haar 1910)."""

from typing import Any

import keras
import tensorflow as tf

from tfrecon.base.errors import UserError


@keras.saving.register_keras_serializable("tfrecon")
class InverseHaar(keras.layers.Layer):
    """Sub-bands (B,h,w,4C), LL, LH, HL, HH of C channels each, to the images (B,2h,2w,C).

    For a cell of pixels [[a,b],[c,d]]: LL = (a+b+c+d)/2 (twice its mean), LH = (a+b-c-d)/2 (change
    between rows), HL = (a-b+c-d)/2 (between columns), HH = (a-b-c+d)/2. PyWavelets' ``dwt2(x,
    "haar")`` calls them cA, cH, cV, cD. The transform keeps the sum of squares.
    """

    def call(self, bands: Any) -> Any:
        """The images. Raises UserError for a number of channels that four does not divide."""
        if bands.shape[-1] % 4:
            raise UserError(
                f"InverseHaar needs four sub-bands of C channels and not {bands.shape[-1]} in all"
            )
        # The 4×4 matrix of signs is symmetric and, halved, orthonormal: it is its own inverse.
        a, b, c, d = tf.split(bands, 4, axis=-1)
        top, bottom, top_step, bottom_step = a + b, c + d, a - b, c - d
        cells = [top + bottom, top - bottom, top_step + bottom_step, top_step - bottom_step]
        return tf.nn.depth_to_space(0.5 * tf.concat(cells, axis=-1), 2)
