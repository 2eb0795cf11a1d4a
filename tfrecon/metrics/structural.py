"""Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004) in its two common variants.

Both average over the windows that lie wholly inside the image, and over channels.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrecon.metrics.pixelwise import checked, mean_over

# Wang et al. 2004, section III-B: K1 = 0.01, K2 = 0.03, for a data range of 1.
C1, C2 = 0.01**2, 0.03**2


def ssim(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """SSIM of each image pair with the paper's Gaussian 11×11 window, σ = 1.5 (eq. 13), (B,).

    y_true, y_pred: (B,H,W,C) in [0,1], sides of 11 pixels at least. 1 means equal. With masks
    (B,H,W,1) the mean is over windows whose centre lies in a hole; NaN where there is none.
    Equals scikit-image's ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``.
    """
    taps = [math.exp(-0.5 * (offset / 1.5) ** 2) for offset in range(-5, 6)]
    return _ssim(y_true, y_pred, masks, [tap / sum(taps) for tap in taps], covariance_scale=1.0)


def ssim_uniform7(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """SSIM of each image pair with scikit-image's defaults, (B,); differs from `ssim` by to 0.06.

    A uniform 7×7 window and unbiased covariances; otherwise as `ssim`.
    """
    return _ssim(y_true, y_pred, masks, [1 / 7] * 7, covariance_scale=49 / 48)


def _ssim(y_true: Any, y_pred: Any, masks: Any, taps: list[float], covariance_scale: float) -> Any:
    y_true, y_pred, masks = checked(y_true, y_pred, masks)
    if any(side is not None and side < len(taps) for side in y_true.shape[1:3]):
        raise ValueError(
            f"this SSIM needs images of {len(taps)}×{len(taps)} pixels or more, not {y_true.shape}"
        )
    # Variances do not depend on an offset, and around zero float32 loses fewer of their digits.
    x, y = y_true - 0.5, y_pred - 0.5
    maps = _blur(tf.concat([x, y, tf.square(x) + tf.square(y), x * y], axis=-1), taps)
    mean_x, mean_y, mean_squares, mean_product = tf.split(maps, 4, axis=-1)
    variances = covariance_scale * (mean_squares - (tf.square(mean_x) + tf.square(mean_y)))
    covariance = covariance_scale * (mean_product - mean_x * mean_y)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + C1) / (tf.square(mean_x) + tf.square(mean_y) + C1)
    structure = (2 * covariance + C2) / (variances + C2)
    if masks is not None:
        edge = len(taps) // 2
        masks = masks[:, edge:-edge, edge:-edge]
    return mean_over(luminance * structure, masks)


def _blur(images: Any, taps: list[float]) -> Any:
    """(B,H,W,C) with each window's weighted mean, first along columns, then along rows."""
    channels = images.shape[-1]
    column = tf.tile(tf.reshape(tf.constant(taps), (-1, 1, 1, 1)), (1, 1, channels, 1))
    row = tf.transpose(column, (1, 0, 2, 3))
    images = tf.nn.depthwise_conv2d(images, column, (1, 1, 1, 1), "VALID")
    return tf.nn.depthwise_conv2d(images, row, (1, 1, 1, 1), "VALID")
