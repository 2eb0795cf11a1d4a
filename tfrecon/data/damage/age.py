"""What age does to paper photos beside scratches: spots, stains, fading and grain; no mask."""

from typing import Annotated, Any

import tensorflow as tf

from tfrecon.base.registry import Above, AtLeast, Between, checked
from tfrecon.data.damage.options import Amount, Count, Draw, colour, smooth_field, uniform, whole

SHARPNESS = 4.0
"""How fast a stain ends: its cover goes from nothing to all over 1/4 deviation of its field."""


@checked
def spots(
    *,
    count: Annotated[Count, AtLeast(0)] = (5, 40),
    radius: Annotated[Amount, Above(0)] = (0.7, 3.0),
    strength: Annotated[Amount, Between(0, 1)] = (0.6, 1.0),
    softness: Annotated[Amount, Between(0, 1)] = (0.0, 0.5),
    shade: Annotated[Amount, Between(0, 1)] = (0.8, 1.0),
    tint: Annotated[Amount, Between(0, 1)] = (0.0, 0.3),
) -> Draw:
    """Round specks of dirt of one colour, `radius` pixels large, which cover the image by
    `strength` of 1; the outer `softness` of a spot's radius fades out."""

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        height, width = target.shape[:2]
        keys = tf.unstack(tf.random.split(seed, 6))
        number = whole(count, keys[0])
        places = uniform((0, 1), keys[1], [2, number, 1])
        rows = tf.square(tf.range(height, dtype=tf.float32) - places[0] * height)
        columns = tf.square(tf.range(width, dtype=tf.float32) - places[1] * width)
        distance = tf.sqrt(rows[:, :, None] + columns[:, None])  # (spots,H,W)
        reach = uniform(radius, keys[2], [number, 1, 1])
        edge = tf.maximum(1.0, uniform(softness, keys[3]) * reach)
        opacity = uniform(strength, keys[4], [number, 1, 1])
        cover = opacity * tf.clip_by_value((reach + 0.5 - distance) / edge, 0.0, 1.0)
        # The maximum over no spot is -inf.
        cover = tf.maximum(tf.reduce_max(cover, axis=0), 0.0)[..., None]
        return target + cover * (colour(shade, tint, keys[5]) - target), None

    return draw


@checked
def stains(
    *,
    cells: Annotated[Count, AtLeast(1)] = (2, 8),
    share: Annotated[Amount, Between(0, 1, "()")] = (0.02, 0.2),
    strength: Annotated[Amount, Between(0, 1)] = (0.1, 0.5),
    shade: Annotated[Amount, Between(0, 1)] = (0.0, 1.0),
    tint: Annotated[Amount, Between(0, 1)] = (0.0, 0.5),
) -> Draw:
    """Blotches of one colour and irregular outline, about as large as the image's longer side
    divided by `cells`, which cover about a `share` of the image by `strength` of 1."""

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        keys = tf.unstack(tf.random.split(seed, 5))
        field = smooth_field(tf.cast(whole(cells, keys[0]), tf.float32), keys[1], *target.shape[:2])
        least = tf.math.ndtri(1.0 - uniform(share, keys[2]))
        cover = uniform(strength, keys[3]) * tf.sigmoid(SHARPNESS * 4 * (field - least))
        return target + cover * (colour(shade, tint, keys[4]) - target), None

    return draw


@checked
def fading(
    *,
    strength: Annotated[Amount, Between(0, 1, "[)")] = (0.05, 0.4),
    unevenness: Annotated[Amount, Between(0, 1)] = (0.0, 0.5),
    shade: Annotated[Amount, Between(0, 1)] = (0.5, 1.0),
    tint: Annotated[Amount, Between(0, 1)] = (0.0, 0.5),
) -> Draw:
    """Tones that have moved towards one colour by `strength` of 1, here more and there less by
    `unevenness` of that."""

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        keys = tf.unstack(tf.random.split(seed, 4))
        field = uniform(unevenness, keys[1]) * smooth_field(2.0, keys[2], *target.shape[:2])
        cover = uniform(strength, keys[0]) * tf.clip_by_value(1.0 + field, 0.0, 2.0)
        cover = tf.minimum(cover, 0.95)
        return target + cover * (colour(shade, tint, keys[3]) - target), None

    return draw


@checked
def grain(
    *, sigma: Annotated[Amount, AtLeast(0.0)] = (0.01, 0.06),
    size: Annotated[Amount, AtLeast(1.0)] = (1.0, 3.0),
) -> Draw:  # fmt: skip
    """Grain of film or paper: normal values of deviation `sigma`, alike in all channels, whose
    clumps are `size` pixels large."""

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        keys = tf.unstack(tf.random.split(seed, 3))
        cells = max(target.shape[:2]) / uniform(size, keys[0])
        noise = uniform(sigma, keys[1]) * smooth_field(cells, keys[2], *target.shape[:2])
        return tf.clip_by_value(target + noise, 0.0, 1.0), None

    return draw
