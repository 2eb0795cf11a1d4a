"""Faults that PSNR hardly sees: a shift of colour, a grid of periods 2 and 4, a seam around holes.

They are signed or have no ideal of their own, so they stand beside `METRICS` in reports and are not
logged in training. Arguments and missing values as `tfrecon.metrics.pixel_errors` says.
"""

from typing import Any

import tensorflow as tf

from tfrecon.metrics.pixel_errors import checked, mean_over

PERIOD_PX, WINDOW_PX = 4, 16
"""The pattern that is looked for, and the squares in which it must repeat."""

CHECKER_FLOOR = 1e-6
"""Energy that counts as none: an amplitude of 0.001, a quarter of a grey level."""


def mse255(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """Mean squared error on the scale of 0 to 255, (B,): 65025 times `mse`."""
    y_true, y_pred, masks = checked(y_true, y_pred, masks)
    return mean_over(tf.math.squared_difference(255.0 * y_true, 255.0 * y_pred), masks)


def colour_shift(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """Root mean square over R, G and B of each channel's mean signed error, (B,); 0 means that the
    mean colour is right, and a constant offset d of all channels gives d."""
    y_true, y_pred, masks = checked(y_true, y_pred, masks)
    error = y_pred - y_true
    means = [mean_over(error[..., channel : channel + 1], masks) for channel in range(3)]
    return tf.sqrt(tf.add_n([tf.square(mean) for mean in means]) / 3.0)


def checkerboard(y_true: Any, y_pred: Any) -> Any:
    """Energy of patterns of periods 2 and 4 in the prediction over the truth's, in dB, (B,).

    Strided and transposed convolutions leave such grids (Odena, Dumoulin and Olah 2016). 0 means as
    much as in the truth, positive a grid, negative lost detail. See `checker_energy`.
    """
    y_true, y_pred, _ = checked(y_true, y_pred, None)
    ratio = (checker_energy(y_pred) + CHECKER_FLOOR) / (checker_energy(y_true) + CHECKER_FLOOR)
    return 10.0 / tf.math.log(10.0) * tf.math.log(ratio)


def checker_energy(images: Any) -> Any:
    """Power at the frequencies of periods 2 and 4, mean over channels and windows of 16×16, (B,).

    By Parseval the variance of the 4×4 pattern that repeats in a window: a pattern ±a gives a².
    The mean of 4×4 pixels is taken off first: it is 0 for these patterns and takes ramps, which
    would leak into them, away. NaN for images without a whole window (sides below 19 pixels).
    """
    smooth = tf.nn.avg_pool2d(images, PERIOD_PX, 1, "VALID")
    rows, columns = tf.shape(smooth)[1] // WINDOW_PX, tf.shape(smooth)[2] // WINDOW_PX
    height, width = rows * WINDOW_PX, columns * WINDOW_PX
    detail = (images[:, : tf.shape(smooth)[1], : tf.shape(smooth)[2]] - smooth)[:, :height, :width]
    repeats = WINDOW_PX // PERIOD_PX
    shape = (tf.shape(images)[0], rows, repeats, PERIOD_PX, columns, repeats, PERIOD_PX, 3)
    patterns = tf.reduce_mean(tf.reshape(detail, shape), axis=(2, 5))  # (B,rows,4,columns,4,C)
    energies = tf.math.reduce_variance(patterns, axis=(2, 4))
    return tf.reduce_mean(energies, axis=(1, 2, 3))


def seam(y_true: Any, y_pred: Any, masks: Any) -> Any:
    """Mean absolute step across the borders of the holes, less the truth's, (B,).

    Over all pairs of neighbours, one inside and one outside. 0 means a border like any other place,
    positive a visible edge, negative one that is too smooth. NaN where there is no border.
    """
    y_true, y_pred, masks = checked(y_true, y_pred, masks)
    excess, count = 0.0, 0.0
    for axis in (1, 2):
        border = tf.abs(tf.experimental.numpy.diff(masks, axis=axis))
        after, before = (
            tf.experimental.numpy.diff(images, axis=axis) for images in (y_pred, y_true)
        )
        steps = tf.abs(after) - tf.abs(before)
        steps = tf.reduce_mean(steps, axis=-1, keepdims=True)
        excess += tf.reduce_sum(steps * border, axis=(1, 2, 3))
        count += tf.reduce_sum(border, axis=(1, 2, 3))
    return tf.where(count > 0, excess / tf.maximum(count, 1.0), float("nan"))


ARTEFACTS = {
    "mse255": mse255, "colour_shift": colour_shift, "checkerboard": checkerboard, "seam": seam,
}  # fmt: skip
"""By name. `tfrecon.metrics.measures` tells on which regions each is computed: on the whole image
as ``score(y_true, y_pred)``, on the holes as ``score(y_true, y_pred, masks)``; both give (B,)."""
