"""The losses by name, and their weighted sum as configurations write it."""

from typing import Annotated, Any

import tensorflow as tf
from keras import ops

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Above, Positive, Spec, Weight, build, check, check_type, checked
from tfrecon.layers.similarity import gaussian_taps, similarity_map
from tfrecon.losses.image_loss import ImageLoss, PixelLoss, WholeLoss
from tfrecon.metrics.perceptual import Net, check_range, lpips_network


class LogMSE(ImageLoss):
    """The mean over square patches of log(MSE + ε): halving any error gains alike."""

    def __init__(self, patch: int | None, epsilon: float) -> None:
        super().__init__(name="log_mse")
        self.patch, self.epsilon = patch, epsilon

    def per_image(self, y_true: Any, y_pred: Any, weights: Any) -> Any:
        """Pixel weights scale the squared errors, inside the logarithm."""
        errors = ops.square(y_true - y_pred)
        errors = ops.mean(errors if weights is None else errors * weights, axis=-1, keepdims=True)
        if self.patch is None:
            patches = ops.mean(errors, axis=(1, 2, 3), keepdims=True)
        else:
            # "same": where the side is no multiple of the patch, patches at the border are smaller.
            patches = ops.average_pool(errors, self.patch, self.patch, padding="same")
        return ops.mean(ops.log(patches + self.epsilon), axis=(1, 2, 3))


def l1() -> ImageLoss:
    """Mean absolute error (Isola et al. 2017, eq. 3)."""
    return PixelLoss(lambda y, p: ops.abs(y - p), "l1")


def l2() -> ImageLoss:
    """Mean squared error."""
    return PixelLoss(lambda y, p: ops.square(y - p), "l2")


@checked
def charbonnier(*, epsilon: Annotated[float, Above(0)] = 1e-3) -> ImageLoss:
    """√((y - p)² + ε²) - ε (Charbonnier et al. 1994): L1, but smooth at 0; 0 for equal images.

    `epsilon` is the error at which it turns from square to absolute, in units of [0,1].
    """
    return PixelLoss(lambda y, p: ops.sqrt(ops.square(y - p) + epsilon**2) - epsilon, "charbonnier")


def bernoulli() -> ImageLoss:
    """KL(y ‖ p) with each value as the probability of a white pixel: the negative log-likelihood of
    a Bernoulli decoder (Kingma & Welling 2014, appendix C.1) minus its minimum; 0 for equal images.
    """

    def divergence(y_true: Any, y_pred: Any) -> Any:
        p, y = (ops.clip(values, 1e-6, 1 - 1e-6) for values in (y_pred, y_true))
        return y * ops.log(y / p) + (1 - y) * ops.log((1 - y) / (1 - p))

    return PixelLoss(divergence, "bernoulli")


@checked
def log_mse(
    *, patch: Positive | None = None, epsilon: Annotated[float, Above(0)] = 1e-5
) -> ImageLoss:
    """Mean over patches of log(MSE + epsilon); `log(epsilon)`, not 0, for equal images.

    `patch` is the side of the patches in pixels; None takes the whole training crop as one.
    """
    return LogMSE(patch, epsilon)


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


LOSSES = {
    "l1": l1,
    "mae": l1,
    "l2": l2,
    "mse": l2,
    "charbonnier": charbonnier,
    "bernoulli": bernoulli,
    "log_mse": log_mse,
    "ssim": ssim,
    "lpips": lpips,
    "focal_frequency": focal_frequency,
    "total_variation": total_variation,
}


class Mixture(ImageLoss):
    """A weighted sum of losses."""

    def __init__(self, terms: list[tuple[float, ImageLoss]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.terms = terms

    def per_image(self, y_true: Any, y_pred: Any, weights: Any) -> Any:
        """The weighted sum, image by image."""
        return sum(weight * loss.per_image(y_true, y_pred, weights) for weight, loss in self.terms)


def weighted(specs: list[Spec]) -> list[tuple[float, Spec]]:
    """The weight (1 if not given) of each loss that `specs` name, and the loss without it; nothing
    is built, as some losses fetch weights then. Raises UserError for no loss, an unknown one, bad
    options and a weight that is no number."""
    if not specs:
        raise UserError("fit.loss must name at least one loss")
    terms: list[tuple[float, Spec]] = []
    for spec in specs:
        options = dict(spec.options)
        weight = options.pop("weight", 1.0)
        check_type(f"the weight of loss {spec.name!r}", weight, Weight)
        bare = Spec(spec.name, options)
        check(bare, LOSSES, "loss")
        terms.append((float(weight), bare))
    return terms


def mixture(specs: list[Spec]) -> ImageLoss:
    """The sum of the losses that `specs` name, as they are `weighted`. Raises UserError for what
    that raises it for, and for a builder that returns no `ImageLoss`."""
    terms: list[tuple[float, ImageLoss]] = []
    for weight, spec in weighted(specs):
        loss = build(spec, LOSSES, "loss")
        if not isinstance(loss, ImageLoss):  # a loss of Keras would reduce differently, silently
            raise UserError(
                f"loss {spec.name!r} is no tfrecon.losses.ImageLoss; derive it from that"
            )
        terms.append((weight, loss))
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Mixture(terms, name="mixture")
