"""Models: image in, restored image out. A registry of builders, and the defaults of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from tfrecon.models.pix2pix import pix2pix
from tfrecon.registry import Spec, build, check

MODELS: dict[str, Callable[..., keras.Model]] = {"pix2pix": pix2pix}

DEFAULTS: dict[str, dict[str, Any]] = {
    # Section 3.3 of the paper.
    "pix2pix": {"fit": {"learning_rate": 2e-4, "optimizer": {"name": "adam", "beta_1": 0.5}}},
}
"""What a model's authors train it with, where that differs from `FitConfig`'s own defaults."""


def check_model(spec: Spec) -> None:
    """Raises UserError for an unknown model or option, without building anything."""
    check(spec, MODELS, "model", dict.fromkeys(("image_size", "mask", "seed")))


def build_model(spec: Spec, *, image_size: int, mask: bool, seed: int | None = None) -> keras.Model:
    """The model that `spec` names, for images of `image_size` pixels with or without masks.

    Raises UserError for an unknown model or option.
    """
    context: Mapping[str, Any] = {"image_size": image_size, "mask": mask, "seed": seed}
    return build(spec, MODELS, "model", **context)
