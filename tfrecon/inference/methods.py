"""Methods that need no training: they take a damaged photo and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec, build
from tfrecon.inference.deep_image_prior import DeepImagePrior
from tfrecon.inference.restorer import Loaded
from tfrecon.layers.harmonic_fill import harmonic_fill


class HarmonicFill:
    """Holes continued smoothly; see `tfrecon.layers.harmonic_fill`."""

    def restore(self, x: Any) -> np.ndarray:
        """(B,H,W,4) in [0,1], the mask last, to (B,H,W,3)."""
        return harmonic_fill(x[..., :3], x[..., 3:]).numpy()


METHODS: dict[str, Callable[..., Any]] = {
    "deep_image_prior": DeepImagePrior,
    "harmonic_fill": HarmonicFill,
}

NEEDS_MASK = ("harmonic_fill",)


def method(spec: Spec, *, has_mask: bool) -> Loaded:
    """The method that `spec` names, for photos with or without masks.

    Raises UserError for an unknown method or option, and for a fill without masks."""
    built = build(spec, METHODS, "method")
    if spec.name in NEEDS_MASK and not has_mask:
        raise UserError(
            f"method {spec.name!r} must be told what is damaged; give --masks masked_info.csv or "
            "--masks FOLDER of mask images (white = damaged)"
        )
    return Loaded(f"method {spec.name!r}", repr(spec), has_mask, built.restore)
