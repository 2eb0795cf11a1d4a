"""Losses of whole images: structure, learned features, spectrum, smoothness."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrecon.layers.similarity import gaussian_taps, similarity_map
from tfrecon.losses.image_loss import ImageLoss, WholeLoss
from tfrecon.metrics.perceptual import Net, check_range, lpips_network


def ssim() -> ImageLoss:
    """1 - SSIM (Wang et al. 2004, eq. 13), Gaussian 11×11 window, the mean over windows inside the
    image; 0 for equal images. Images need sides of at least 11 pixels."""

    def dissimilarity(y_true: Any, y_pred: Any) -> Any:
        similarities = similarity_map(y_true, y_pred, gaussian_taps(), covariance_scale=1.0)
        return 1.0 - tf.reduce_mean(similarities, axis=(1, 2, 3))

    return WholeLoss(dissimilarity, "ssim")


def lpips(*, net: Net = "alex") -> ImageLoss:
    """LPIPS 0.1 (Zhang et al. 2018, eq. 1) on AlexNet, VGG16 or SqueezeNet; 0 for equal images.

    Loads its network at once, outside graphs and replicas. Raises UserError without its weights.
    """
    network = lpips_network(net)

    def distance(y_true: Any, y_pred: Any) -> Any:
        # The truth only: in training, a prediction that nothing clips may leave [0,1] a little.
        check_range(y_true, "the truth")
        return network.distance(y_true, y_pred)

    return WholeLoss(distance, "lpips")


def focal_frequency() -> ImageLoss:
    """Focal frequency loss (Jiang et al. 2021, eq. 8, α = 1), the whole crop as one patch: the mean
    over frequencies and channels of w(u,v)·|F_y(u,v) - F_p(u,v)|², w largest for large errors."""
    return WholeLoss(_focal_frequency, "focal_frequency")


def _focal_frequency(y_true: Any, y_pred: Any) -> Any:
    differences = tf.transpose(y_true - y_pred, (0, 3, 1, 2))  # (B,C,H,W)
    spectra = tf.signal.fft2d(tf.cast(differences, tf.complex64))
    pixels = tf.cast(tf.reduce_prod(tf.shape(differences)[2:]), tf.float32)
    # Real and imaginary part squared: |z|² has no gradient at 0. 1/HW: orthonormal transform.
    powers = (tf.square(tf.math.real(spectra)) + tf.square(tf.math.imag(spectra))) / pixels
    # Eq. 7, scaled to [0,1] for each channel as the authors' program does; a constant.
    weights = tf.sqrt(powers)
    largest = tf.reduce_max(weights, axis=(2, 3), keepdims=True)
    weights = tf.stop_gradient(tf.math.divide_no_nan(weights, largest))
    return tf.reduce_mean(weights * powers, axis=(1, 2, 3))


def total_variation() -> ImageLoss:
    """Anisotropic total variation of the prediction (Rudin et al. 1992), which favours smooth
    images: Σ |vertical differences| + |horizontal differences| over H·W·C; the truth plays no part.
    """

    def variation(y_true: Any, y_pred: Any) -> Any:
        values = tf.cast(tf.reduce_prod(tf.shape(y_pred)[1:]), tf.float32)
        return tf.image.total_variation(y_pred) / values

    return WholeLoss(variation, "total_variation")
