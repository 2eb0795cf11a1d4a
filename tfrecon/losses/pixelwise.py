"""Losses made of the errors of single pixels, which pixel weights may scale."""

from __future__ import annotations

from typing import Annotated, Any

from keras import ops

from tfrecon.base.registry import Above, AtLeast, checked
from tfrecon.losses.image_loss import ImageLoss, PixelLoss


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
    *, patch: Annotated[int, AtLeast(1)] | None = None, epsilon: Annotated[float, Above(0)] = 1e-5
) -> ImageLoss:
    """Mean over patches of log(MSE + epsilon); `log(epsilon)`, not 0, for equal images.

    `patch` is the side of the patches in pixels; None takes the whole training crop as one.
    """
    return LogMSE(patch, epsilon)
