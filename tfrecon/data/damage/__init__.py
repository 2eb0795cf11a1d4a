"""Damage drawn onto clean images. A generator is a closure ``draw(target, seed) -> (input, mask)``.

`target` is (H,W,3) float32 in [0,1] of known H and W, `seed` a pair of integers, the input like the
target, the mask (H,W,1) with 1 = damaged, where the input is 0, or None for damage without a known
place; every random value is a function of the seed alone. Options may be ranges,
``sigma = [0.02, 0.2]``, of which each image draws its own value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec, build
from tfrecon.data.damage.holes import box_mask, boxes
from tfrecon.data.damage.lines import scratches, strokes
from tfrecon.data.damage.noise import gaussian_noise, poisson_noise, salt_and_pepper
from tfrecon.data.damage.options import Draw
from tfrecon.data.damage.quality import blur, downsample, jpeg

__all__ = ["DAMAGES", "IDENTITY", "Draw", "box_mask", "boxes", "chain", "damage", "identity"]

IDENTITY = Spec("identity")
"""The damage of models that see the clean image: feature inversion, autoencoders."""


def identity() -> Draw:
    """No damage: the input is the clean image itself, even where a recipe has damaged files."""

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        return target, None

    return draw


def chain(*, steps: list[Any]) -> Draw:
    """Several damages in order, ``steps = ["blur", { name = "boxes", size = 40 }]``: each is drawn
    onto what the one before left.

    The mask is the union of theirs, and the input is black inside it whatever came later.
    """
    if not steps:
        raise UserError("damage 'chain' needs at least one step, e.g. steps = ['blur', 'jpeg']")
    draws = [damage(Spec.parse(step, "data.damage.steps")) for step in steps]

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        image, union = target, None
        for number, one in enumerate(draws):
            image, mask = one(image, tf.random.experimental.stateless_fold_in(seed, number))
            if mask is not None:
                union = mask if union is None else tf.maximum(union, mask)
        return (image, None) if union is None else (image * (1.0 - union), union)

    return draw


DAMAGES: dict[str, Callable[..., Draw]] = {
    "boxes": boxes,
    "strokes": strokes,
    "scratches": scratches,
    "gaussian_noise": gaussian_noise,
    "poisson_noise": poisson_noise,
    "salt_and_pepper": salt_and_pepper,
    "blur": blur,
    "jpeg": jpeg,
    "downsample": downsample,
    "chain": chain,
    "identity": identity,
}


def damage(spec: Spec) -> Draw:
    """The generator that `spec` names."""
    return build(spec, DAMAGES, "damage")
