"""Errors of single pixels: MSE, MAE, NRMSE and PSNR, over the whole image or its holes."""

from typing import Any

import tensorflow as tf

from tfrecon.base import images

# Equal images have no error to take the logarithm of. An 8-bit file cannot tell an image from one
# that is 59 dB away, so the cap hides nothing and a mean over images stays finite.
PSNR_CAP = 100.0


def mse(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """Mean squared error of each image pair. Arguments and missing values as `checked` and
    `mean_over` say; returns (B,), 0 means equal."""
    y_true, y_pred, masks = checked(y_true, y_pred, masks)
    return mean_over(tf.math.squared_difference(y_true, y_pred), masks)


def mae(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """Mean absolute error of each image pair, (B,); 0 means equal."""
    y_true, y_pred, masks = checked(y_true, y_pred, masks)
    return mean_over(tf.abs(y_true - y_pred), masks)


def nrmse(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """‖y - p‖ / ‖y‖ of each image pair (scikit-image's "euclidean" normalisation), (B,).

    0 means equal. NaN, a missing value, where the truth is all black and the prediction is not.
    """
    y_true, y_pred, masks = checked(y_true, y_pred, masks)
    error = mean_over(tf.math.squared_difference(y_true, y_pred), masks)
    power = mean_over(tf.square(y_true), masks)
    black = tf.where(error == 0, 0.0, float("nan"))
    ratio = tf.sqrt(error / tf.where(power > 0, power, 1.0))
    return tf.where(power > 0, ratio, black)


def psnr(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """Peak signal-to-noise ratio of each image pair in dB for a data range of 1, (B,).

    Higher is better; equal images get `PSNR_CAP`, as does any error below it.
    """
    error = mse(y_true, y_pred, masks)
    return -10.0 / tf.math.log(10.0) * tf.math.log(tf.maximum(error, 10.0 ** (-PSNR_CAP / 10)))


def checked(y_true: Any, y_pred: Any, masks: Any) -> tuple[Any, Any, Any]:
    """The arguments of a metric as float32 tensors, `masks` as 0 and 1, or None.

    y_true, y_pred: (B,H,W,C) in [0,1]. masks: (B,H,W,1), above 0.5 = hole; with masks a metric
    looks at the holes only. Raises ValueError for other or differing shapes, and for images of
    whole numbers.
    """
    images.check_float(y_true=y_true, y_pred=y_pred)
    y_true = tf.cast(y_true, tf.float32)
    y_pred = tf.cast(y_pred, tf.float32)
    if not y_true.shape.is_compatible_with(y_pred.shape) or y_true.shape.rank not in (4, None):
        raise ValueError(
            "a metric needs y_true and y_pred of one shape (B,H,W,C), "
            f"not {y_true.shape} and {y_pred.shape}"
        )
    if masks is None:
        return y_true, y_pred, None
    masks = tf.cast(masks, tf.float32)
    if y_true.shape.rank and not masks.shape.is_compatible_with([*y_true.shape[:3], 1]):
        raise ValueError(f"masks must be (B,H,W,1) beside images {y_true.shape}, not {masks.shape}")
    return y_true, y_pred, tf.cast(masks > 0.5, tf.float32)


def mean_over(values: Any, masks: Any) -> Any:
    """Mean of each image's values (B,H,W,C), over masks == 1 (B,H,W,1) unless None; (B,).

    An image whose mask is empty has no such mean: its value is NaN, to be left out of averages.
    """
    values = tf.reduce_mean(values, axis=-1)
    if masks is None:
        return tf.reduce_mean(values, axis=(1, 2))
    masks = masks[..., 0]
    count = tf.reduce_sum(masks, axis=(1, 2))
    # where, not a product: 0 · NaN outside the hole would be NaN
    total = tf.reduce_sum(tf.where(masks > 0, values, 0.0), axis=(1, 2))
    return tf.where(count > 0, total / tf.maximum(count, 1.0), float("nan"))
