"""What a loss is: one value an image, which Keras averages over the global batch."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfrecon.base.errors import UserError
from tfrecon.base.images import check_float

OfPair = Callable[[Any, Any], Any]
"""A function of truth and prediction, both (B,H,W,C) float32 in [0,1]."""


class ImageLoss(keras.losses.Loss):
    """A loss of image pairs (B,H,W,C) in [0,1] whose `call` returns one value an image, (B,).

    `sample_weight` (B,H,W,1) weighs pixels, for losses that can. Keras averages over the images,
    which is right under any number of replicas.
    """

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The scalar that `train_step` differentiates. Raises UserError for whole numbers."""
        check_float(y_true=y_true, y_pred=y_pred)
        if sample_weight is None or len(sample_weight.shape) < 4:
            return super().__call__(y_true, y_pred, sample_weight)
        return _Weighted(self, ops.cast(sample_weight, "float32"))(y_true, y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Two (B,H,W,C) of any type to (B,) float32."""
        return self.per_image(ops.cast(y_true, "float32"), ops.cast(y_pred, "float32"), None)

    def per_image(self, y_true: Any, y_pred: Any, weights: Any) -> Any:
        """Two float32 (B,H,W,C) to (B,). weights: of pixels, (B,H,W,1) of mean 1, or None."""
        raise NotImplementedError


class PixelLoss(ImageLoss):
    """The mean over pixels and channels of `error`, which returns (B,H,W,C); pixel weights scale it
    before the mean."""

    def __init__(self, error: OfPair, name: str) -> None:
        super().__init__(name=name)
        self.error = error

    def per_image(self, y_true: Any, y_pred: Any, weights: Any) -> Any:
        """The (weighted) mean of the errors."""
        errors = self.error(y_true, y_pred)
        return ops.mean(errors if weights is None else errors * weights, axis=(1, 2, 3))


class WholeLoss(ImageLoss):
    """A `distance` of whole images, which returns (B,). It is no mean over pixels, so pixels cannot
    be weighed."""

    def __init__(self, distance: OfPair, name: str) -> None:
        super().__init__(name=name)
        self.distance = distance

    def per_image(self, y_true: Any, y_pred: Any, weights: Any) -> Any:
        """The distance of each pair. Raises UserError for pixel weights."""
        if weights is not None:
            raise UserError(
                f"loss {self.name!r} compares whole images and cannot weigh single pixels; "
                "set fit.hole_weight=1 or take a loss of pixels, such as 'l1'"
            )
        return self.distance(y_true, y_pred)


class _Weighted(keras.losses.Loss):
    """A loss under the pixel weights of one batch, so that Keras still does the reduction."""

    def __init__(self, loss: ImageLoss, weights: Any) -> None:
        super().__init__(reduction=loss.reduction)
        self.loss = loss
        self.weights = weights / ops.mean(weights, axis=(1, 2, 3), keepdims=True)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        return self.loss.per_image(y_true, y_pred, self.weights)
