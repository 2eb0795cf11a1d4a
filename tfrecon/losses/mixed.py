"""The table of losses, and their weighted sum as configurations write it."""

from __future__ import annotations

from typing import Any

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec, build, check_type
from tfrecon.losses.image_loss import ImageLoss
from tfrecon.losses.pixelwise import bernoulli, charbonnier, l1, l2, log_mse
from tfrecon.losses.whole import focal_frequency, lpips, ssim, total_variation

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


def mixture(specs: list[Spec]) -> ImageLoss:
    """The weighted sum of the losses that `specs` name; each may have a ``weight`` (1) beside its
    options. Raises UserError for no loss, an unknown one, bad options and a weight that is no
    number."""
    terms: list[tuple[float, ImageLoss]] = []
    for spec in specs:
        options = dict(spec.options)
        weight = options.pop("weight", 1.0)
        check_type(f"the weight of loss {spec.name!r}", weight, float)
        loss = build(Spec(spec.name, options), LOSSES, "loss")
        if not isinstance(loss, ImageLoss):  # a loss of Keras would reduce differently, silently
            raise UserError(
                f"loss {spec.name!r} is no tfrecon.losses.ImageLoss; derive it from that"
            )
        terms.append((float(weight), loss))
    if not terms:
        raise UserError("fit.loss must name at least one loss")
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Mixture(terms, name="mixture")
