"""What a loss is: one value an image, which Keras averages over the global batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrecon.base.errors import UserError


class ImageLoss(keras.losses.Loss):
    """A loss of image pairs (B,H,W,C) in [0,1] whose `call` returns one value an image, (B,).

    `sample_weight` (B,H,W,1) weighs pixels, for losses that can. The reduction over images stays
    Keras's own, right under any number of replicas.
    """

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The scalar that `train_step` differentiates."""
        if sample_weight is None or len(sample_weight.shape) < 4:
            return super().__call__(y_true, y_pred, sample_weight)
        return _Weighted(self, ops.cast(sample_weight, "float32"))(y_true, y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(B,H,W,C) twice to (B,), in float32 whatever comes in."""
        return self.per_image(ops.cast(y_true, "float32"), ops.cast(y_pred, "float32"), None)

    def per_image(self, y_true: Any, y_pred: Any, weights: Any) -> Any:
        """float32 (B,H,W,C) twice, and pixel weights (B,H,W,1) of mean 1 or None, to (B,)."""
        raise NotImplementedError


class PixelLoss(ImageLoss):
    """The (weighted) mean of an error that each pixel has for itself."""

    def per_image(self, y_true: Any, y_pred: Any, weights: Any) -> Any:
        """The mean over pixels and channels."""
        errors = self.pixelwise(y_true, y_pred)
        return ops.mean(errors if weights is None else errors * weights, axis=(1, 2, 3))

    def pixelwise(self, y_true: Any, y_pred: Any) -> Any:
        """(B,H,W,C) twice to (B,H,W,C), before any mean."""
        raise NotImplementedError


class WholeLoss(ImageLoss):
    """A loss of whole images, whose value is no mean over pixels that weights could change."""

    def per_image(self, y_true: Any, y_pred: Any, weights: Any) -> Any:
        """As `whole`. Raises UserError for pixel weights."""
        if weights is not None:
            raise UserError(
                f"loss {self.name!r} compares whole images and cannot weigh single pixels; "
                "set fit.hole_weight=1 or take a loss of pixels, such as 'l1'"
            )
        return self.whole(y_true, y_pred)

    def whole(self, y_true: Any, y_pred: Any) -> Any:
        """(B,H,W,C) twice to (B,)."""
        raise NotImplementedError


class _Weighted(keras.losses.Loss):
    """One evaluation of a loss under pixel weights, so that Keras still does the reduction."""

    def __init__(self, loss: ImageLoss, weights: Any) -> None:
        super().__init__(reduction=loss.reduction)
        self.loss = loss
        self.weights = weights / ops.mean(weights, axis=(1, 2, 3), keepdims=True)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        return self.loss.per_image(y_true, y_pred, self.weights)
