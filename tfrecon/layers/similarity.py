"""The map of structural similarity whose mean the SSIM metrics and the SSIM loss take."""

import math
from typing import Any

import tensorflow as tf

from tfrecon.base.errors import UserError

# Wang et al. 2004, section III-B: K1 = 0.01, K2 = 0.03, for a data range of 1.
C1, C2 = 0.01**2, 0.03**2


def gaussian_taps() -> list[float]:
    """The 11 weights along one side of the paper's window, σ = 1.5; they sum to 1."""
    taps = [math.exp(-0.5 * (offset / 1.5) ** 2) for offset in range(-5, 6)]
    return [tap / sum(taps) for tap in taps]


def similarity_map(y_true: Any, y_pred: Any, taps: list[float], covariance_scale: float) -> Any:
    """SSIM at each window wholly inside the image (Wang et al. 2004, eq. 13).

    y_true, y_pred: (B,H,W,C) float32 in [0,1]. taps: the n weights along one side of a separable
    window, which sum to 1. covariance_scale: n²/(n²-1) for the sample covariance, 1 for the
    population's. Returns (B,H-n+1,W-n+1,C). Raises UserError for an image with a side below n.
    """
    if any(side is not None and side < len(taps) for side in y_true.shape[1:3]):
        height, width = y_true.shape[1:3]
        raise UserError(
            f"this SSIM needs images of {len(taps)}×{len(taps)} pixels or more, not "
            f"{height}×{width}; make data.image_size or, in training, data.crop_size larger"
        )
    # An offset does not change variances, and around zero float32 keeps more of their digits.
    x, y = y_true - 0.5, y_pred - 0.5
    maps = _blur(tf.concat([x, y, tf.square(x) + tf.square(y), x * y], axis=-1), taps)
    mean_x, mean_y, mean_squares, mean_product = tf.split(maps, 4, axis=-1)
    variances = covariance_scale * (mean_squares - (tf.square(mean_x) + tf.square(mean_y)))
    covariance = covariance_scale * (mean_product - mean_x * mean_y)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + C1) / (tf.square(mean_x) + tf.square(mean_y) + C1)
    structure = (2 * covariance + C2) / (variances + C2)
    return luminance * structure


def _blur(images: Any, taps: list[float]) -> Any:
    """The weighted mean of each window, first along columns, then along rows."""
    channels = images.shape[-1]
    column = tf.tile(tf.reshape(tf.constant(taps), (-1, 1, 1, 1)), (1, 1, channels, 1))
    row = tf.transpose(column, (1, 0, 2, 3))
    images = tf.nn.depthwise_conv2d(images, column, (1, 1, 1, 1), "VALID")
    return tf.nn.depthwise_conv2d(images, row, (1, 1, 1, 1), "VALID")
