"""Reconstruction losses: one value an image, which Keras averages over the global batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfrecon.errors import UserError
from tfrecon.registry import Spec, build


class ImageLoss(keras.losses.Loss):
    """A loss of image pairs (B,H,W,C) in [0,1] whose `call` returns one value an image, (B,).

    `sample_weight` (B,H,W,1) weighs pixels: the loss of an image is then the weighted mean over its
    pixels. The reduction over images stays Keras's own, right under any number of replicas.
    """

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The scalar that `train_step` differentiates."""
        if sample_weight is None or len(sample_weight.shape) < 4:
            return super().__call__(y_true, y_pred, sample_weight)
        return _Weighted(self, ops.cast(sample_weight, "float32"))(y_true, y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(B,H,W,C) twice to (B,), in float32."""
        return ops.mean(self._differences(y_true, y_pred), axis=(1, 2, 3))

    def pixelwise(self, y_true: Any, y_pred: Any) -> Any:
        """(B,H,W,C) twice to (B,H,W,C), before any mean."""
        raise NotImplementedError

    def _differences(self, y_true: Any, y_pred: Any) -> Any:
        return self.pixelwise(ops.cast(y_true, "float32"), ops.cast(y_pred, "float32"))


class _Weighted(keras.losses.Loss):
    """One evaluation of a loss under pixel weights, so that Keras still does the reduction."""

    def __init__(self, loss: ImageLoss, weights: Any) -> None:
        super().__init__(reduction=loss.reduction)
        self.loss = loss
        self.scale = weights / ops.mean(weights, axis=(1, 2, 3), keepdims=True)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(self.loss._differences(y_true, y_pred) * self.scale, axis=(1, 2, 3))


class L1(ImageLoss):
    """Mean absolute error (Isola et al. 2017, eq. 3)."""

    def pixelwise(self, y_true: Any, y_pred: Any) -> Any:
        """|y - p|."""
        return ops.abs(y_true - y_pred)


class L2(ImageLoss):
    """Mean squared error."""

    def pixelwise(self, y_true: Any, y_pred: Any) -> Any:
        """(y - p)²."""
        return ops.square(y_true - y_pred)


class Charbonnier(ImageLoss):
    """√((y - p)² + ε²) - ε (Charbonnier et al. 1994): L1, smooth at 0; 0 for equal images."""

    def __init__(self, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def pixelwise(self, y_true: Any, y_pred: Any) -> Any:
        """The smooth absolute difference."""
        return ops.sqrt(ops.square(y_true - y_pred) + self.epsilon**2) - self.epsilon


class Mixture(ImageLoss):
    """A weighted sum of losses."""

    def __init__(self, terms: list[tuple[float, ImageLoss]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.terms = terms

    def pixelwise(self, y_true: Any, y_pred: Any) -> Any:
        """The weighted sum, pixel by pixel."""
        return sum(weight * loss.pixelwise(y_true, y_pred) for weight, loss in self.terms)


def l1() -> ImageLoss:
    """Mean absolute error."""
    return L1(name="l1")


def l2() -> ImageLoss:
    """Mean squared error."""
    return L2(name="l2")


def charbonnier(*, epsilon: float = 1e-3) -> ImageLoss:
    """Charbonnier loss; `epsilon` is where it turns from square to absolute, in units of [0,1]."""
    return Charbonnier(epsilon, name="charbonnier")


LOSSES = {"l1": l1, "l2": l2, "charbonnier": charbonnier}


def mixture(specs: list[Spec]) -> ImageLoss:
    """The loss of a configuration: each Spec may carry a ``weight`` beside its own options."""
    terms: list[tuple[float, ImageLoss]] = []
    for spec in specs:
        options = dict(spec.options)
        weight = options.pop("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise UserError(f"the weight of loss {spec.name!r} must be a number, not {weight!r}")
        terms.append((float(weight), build(Spec(spec.name, options), LOSSES, "loss")))
    if not terms:
        raise UserError("fit.loss must name at least one loss")
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Mixture(terms, name="mixture")
