"""Losses of whole images: structure, learned features, spectrum, smoothness."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrecon.layers.similarity import gaussian_taps, similarity_map
from tfrecon.losses.image_loss import ImageLoss, WholeLoss
from tfrecon.metrics.perceptual import Net, check_range, lpips_network


class SSIM(WholeLoss):
    """1 - SSIM (Wang et al. 2004, eq. 13), Gaussian 11×11 window; 0 for equal images."""

    def whole(self, y_true: Any, y_pred: Any) -> Any:
        """The mean over windows inside the image and channels."""
        similarities = similarity_map(y_true, y_pred, gaussian_taps(), covariance_scale=1.0)
        return 1.0 - tf.reduce_mean(similarities, axis=(1, 2, 3))


class LPIPS(WholeLoss):
    """LPIPS (Zhang et al. 2018, eq. 1), version 0.1; 0 for equal images.

    Built with its network, outside graphs and replicas.
    """

    def __init__(self, net: Net = "alex", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = lpips_network(net)

    def whole(self, y_true: Any, y_pred: Any) -> Any:
        """The sum over layers of mean squared differences of unit features."""
        # The truth only: in training, a prediction that nothing clips may leave [0,1] a little.
        check_range(y_true, "the truth")
        return self.network.distance(y_true, y_pred)


class FocalFrequency(WholeLoss):
    """Focal frequency loss (Jiang et al. 2021, eq. 8, α = 1) over the whole crop as one patch."""

    def whole(self, y_true: Any, y_pred: Any) -> Any:
        """Mean over frequencies and channels of w(u,v)·|F_y(u,v) - F_p(u,v)|²."""
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


class TotalVariation(WholeLoss):
    """Anisotropic total variation of the prediction (Rudin et al. 1992); truth plays no part."""

    def whole(self, y_true: Any, y_pred: Any) -> Any:
        """Σ |vertical differences| + |horizontal differences|, divided by H·W·C."""
        values = tf.cast(tf.reduce_prod(tf.shape(y_pred)[1:]), tf.float32)
        return tf.image.total_variation(y_pred) / values


def ssim() -> ImageLoss:
    """1 - SSIM; images need sides of 11 pixels at least."""
    return SSIM(name="ssim")


def lpips(*, net: Net = "alex") -> ImageLoss:
    """LPIPS on AlexNet, VGG16 or SqueezeNet. Raises UserError where its weights are not found."""
    return LPIPS(net, name="lpips")


def focal_frequency() -> ImageLoss:
    """Focal frequency loss: squared errors of the spectrum, the largest weighted most."""
    return FocalFrequency(name="focal_frequency")


def total_variation() -> ImageLoss:
    """Total variation of the prediction a value, which favours smooth images."""
    return TotalVariation(name="total_variation")
