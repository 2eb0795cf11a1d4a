"""Restoration without training: methods that take a damaged photo and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec, build
from tfrecon.inference.deep_image_prior import deep_image_prior
from tfrecon.layers.harmonic_fill import harmonic_fill as filled


@dataclass(frozen=True)
class Method:
    """A method set up for photos with or without masks; used as an `Export` is."""

    name: str
    has_mask: bool
    restore: Callable[[Any], np.ndarray]
    is_ensemble: bool = False

    @property
    def title(self) -> str:
        """What error messages call it."""
        return f"method {self.name!r}"


@dataclass(frozen=True)
class HarmonicFill:
    """Holes continued smoothly; see `tfrecon.layers.harmonic_fill`."""

    def restore(self, x: Any) -> np.ndarray:
        """(B,H,W,4) in [0,1], the mask last, to (B,H,W,3)."""
        return filled(x[..., :3], x[..., 3:]).numpy()


def harmonic_fill() -> HarmonicFill:
    """The fill, which has no options."""
    return HarmonicFill()


METHODS: dict[str, Callable[..., Any]] = {
    "deep_image_prior": deep_image_prior,
    "harmonic_fill": harmonic_fill,
}

NEEDS_MASK = ("harmonic_fill",)


def method(spec: Spec, *, has_mask: bool) -> Method:
    """The method that `spec` names. Raises UserError for an unknown method or option, and for a
    fill without masks."""
    made = build(spec, METHODS, "method")
    if spec.name in NEEDS_MASK and not has_mask:
        raise UserError(
            f"method {spec.name!r} must be told what is damaged; give --masks masked_info.csv or "
            "--masks FOLDER of mask images (white = damaged)"
        )
    return Method(spec.name, has_mask, made.restore)
