"""Damage drawn onto clean images. A damage is a function ``draw(target, seed) -> (input, mask)``.

target: (H,W,3) float32 in [0,1] with H and W known. seed: two integers, on which alone all random
values depend. input: like the target. mask: (H,W,1) with 1 = damaged, where the input is 0, or None
where the place of the damage is unknown. An option may be a range, ``sigma = [0.02, 0.2]``, from
which each image draws a value.
"""

from collections.abc import Callable
from typing import Annotated, Any

import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Between, Spec, build, checked
from tfrecon.data.damage.age import fading, grain, spots, stains
from tfrecon.data.damage.holes import box_mask, boxes
from tfrecon.data.damage.lines import scratches, strokes
from tfrecon.data.damage.noise import gaussian_noise, poisson_noise, salt_and_pepper
from tfrecon.data.damage.options import Draw
from tfrecon.data.damage.quality import blur, downsample, jpeg

__all__ = [
    "DAMAGES",
    "IDENTITY",
    "Draw",
    "box_mask",
    "boxes",
    "chain",
    "damage",
    "identity",
    "sometimes",
]

IDENTITY = Spec("identity")
"""The damage for models that see the clean image: feature inversion, autoencoders."""


def identity() -> Draw:
    """No damage: the input is the clean image itself, even where a recipe has damaged files."""
    return lambda target, seed: (target, None)


def chain(*, steps: list[Any]) -> Draw:
    """Several damages, each drawn onto the result of the one before:
    ``steps = ["blur", { name = "boxes", size = 40 }]``.

    The mask is the union of their masks; inside it the input is black whatever the later steps did.
    """
    if not steps:
        raise UserError("damage 'chain' needs at least one step, e.g. steps = ['blur', 'jpeg']")
    draws = [damage(Spec.parse(step, "data.damage.steps")) for step in steps]

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        image, union = target, None
        for number, step in enumerate(draws):
            image, mask = step(image, tf.random.experimental.stateless_fold_in(seed, number))
            if mask is not None:
                union = mask if union is None else tf.maximum(union, mask)
        return (image, None) if union is None else (image * (1.0 - union), union)

    return draw


@checked
def sometimes(*, step: Any, chance: Annotated[float, Between(0, 1)] = 0.5) -> Draw:
    """The damage `step` with probability `chance`, else none:
    ``{ name = "sometimes", step = "jpeg", chance = 0.3 }``."""
    drawn = damage(Spec.parse(step, "data.damage.step"))

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        fate, key = tf.unstack(tf.random.split(seed, 2))
        hit = tf.random.stateless_uniform([], fate) < chance
        none, masks = tf.zeros_like(target[..., :1]), list[Any]()

        def damaged() -> tuple[Any, Any]:
            image, mask = drawn(target, key)
            masks.append(mask)
            return image, none if mask is None else mask

        if tf.executing_eagerly():
            image, mask = damaged()  # whatever comes of it: whether it has a mask
            image, mask = (image, mask) if hit else (target, none)
        else:
            image, mask = tf.cond(hit, damaged, lambda: (target, none))
        return tf.ensure_shape(image, target.shape), None if masks[0] is None else mask

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
    "spots": spots,
    "stains": stains,
    "fading": fading,
    "grain": grain,
    "chain": chain,
    "sometimes": sometimes,
    "identity": identity,
}


def damage(spec: Spec) -> Draw:
    """The damage that `spec` names. Raises UserError for an unknown name or option."""
    return build(spec, DAMAGES, "damage")
