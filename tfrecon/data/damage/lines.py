"""Damage along lines: free-form black strokes, and the scratches and dust of old photos."""

import math
from typing import Annotated, Any

import tensorflow as tf

from tfrecon.base.registry import Above, AtLeast, Between, checked
from tfrecon.data.damage.options import Amount, Count, Draw, colour, span, uniform, whole

VISIBLE = 1 / 255
"""A pixel counts as damaged when scratches cover a larger share of it than this."""


@checked
def strokes(
    *,
    count: Annotated[Count, AtLeast(1)] = (1, 3),
    vertices: Annotated[Count, AtLeast(1)] = (4, 11),
    width: Annotated[Amount, Above(0)] = (12.0, 40.0),
) -> Draw:
    """Free-form strokes, black: `count` zigzag lines of `vertices` corners, `width` pixels thick.

    After Yu et al. 2019, Free-form image inpainting with gated convolution (algorithm 1), with the
    numbers of their code for 256 pixels. A stroke starts at a uniform place. Its pieces turn from
    its heading by 2π/5 ± 2π/15 (uniform), left and right in turn; their length is normal, the
    image's diagonal / 8 ± diagonal / 16. The heading is uniform, where their code mirrors whole
    masks instead. At 256 pixels the defaults hide 15% of an image on average, and 4% to 30% of nine
    images in ten. The mask is 1 on the strokes, which have round corners.
    """
    fewest, most = span(vertices)

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        height, wide = target.shape[:2]
        keys = tf.unstack(tf.random.split(seed, 7))
        number = whole(count, keys[0])
        used = tf.random.stateless_uniform([number, 1], keys[1], fewest, most + 1, tf.int32)
        step = math.hypot(height, wide) / 8
        lengths = tf.random.stateless_normal([number, most], keys[2], step, step / 2)
        turns = uniform((4 / 15 * math.pi, 8 / 15 * math.pi), keys[3], [number, most])
        sides = 1.0 - 2.0 * tf.cast(tf.range(most) % 2, tf.float32)
        angles = turns * sides + uniform((0, 2 * math.pi), keys[4], [number, 1])
        lengths = tf.clip_by_value(lengths, 0.0, 2 * step)
        points = _walk(uniform((0, 1), keys[5], [number, 2]), lengths, angles, height, wide)
        taken = tf.range(most) < used
        starts = tf.boolean_mask(points[:, :-1], taken)
        ends = tf.boolean_mask(points[:, 1:], taken)
        reach = uniform(width, keys[6], [number, 1]) / 2.0 + tf.zeros([1, most])
        distance = distances(starts, ends, height, wide)
        inside = distance <= tf.boolean_mask(reach, taken)[:, None, None]
        mask = tf.cast(tf.reduce_any(inside, axis=0), tf.float32)[..., None]
        return target * (1.0 - mask), mask

    return draw


@checked
def scratches(
    *, count: Annotated[Count, AtLeast(0)] = (4, 10),
    width: Annotated[Amount, Above(0)] = (0.7, 2.0),
    strength: Annotated[Amount, Between(0, 1)] = (0.4, 1.0),
    dust: Annotated[Count, AtLeast(0)] = (10, 40), shade: Annotated[Amount, Between(0, 1)] = 1.0,
    tint: Annotated[Amount, Between(0, 1)] = 0.0, mask: bool = False,
) -> Draw:  # fmt: skip
    """Scratches and specks of dust as on old photos: `count` bent lines and `dust` specks, `width`
    pixels thick, which cover the image by `strength` of 1. All of an image have one `colour` of
    `shade` and `tint`, white as they stand.

    Each line and speck draws its own width and strength. A restorer of old photos does not know
    where they are, so the mask is None; with ``mask = true`` it is 1 on all pixels of which more
    than VISIBLE is covered, and the input is black there.
    """

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        size = target.shape[:2]
        lines, dirt = tf.unstack(tf.random.split(seed, 2))
        cover = tf.maximum(
            _scratch_cover(count, width, strength, size, lines),
            _dust_cover(dust, width, strength, size, dirt),
        )[..., None]
        if mask:
            hidden = tf.cast(cover > VISIBLE, tf.float32)
            return target * (1.0 - hidden), hidden
        paint = colour(shade, tint, tf.random.experimental.stateless_fold_in(seed, 2))
        return target + cover * (paint - target), None

    return draw


def _scratch_cover(count: Any, width: Any, strength: Any, size: Any, seed: Any) -> Any:
    """(H,W): how much of each pixel the lines hide, from 0 to 1."""
    keys = tf.unstack(tf.random.split(seed, 6))
    number, pieces = whole(count, keys[0]), 3
    (thin, thick), (faint, opaque) = span(width), span(strength)
    length = uniform((min(size) / 4, max(size)), keys[1], [number, 1])
    heading = uniform((0, 2 * math.pi), keys[2], [number, 1])
    angles = heading + tf.cumsum(uniform((-0.2, 0.2), keys[3], [number, pieces]), axis=1)
    lengths = length / pieces + tf.zeros([1, pieces])
    points = _walk(uniform((0, 1), keys[4], [number, 2]), lengths, angles, *size)
    starts, ends = (tf.reshape(part, [-1, 2]) for part in (points[:, :-1], points[:, 1:]))
    draws = uniform((0, 1), keys[5], [2, number, 1]) + tf.zeros([1, 1, pieces])
    thickness, opacity = (tf.reshape(part, [-1, 1, 1]) for part in tf.unstack(draws))
    reach = (thin + (thick - thin) * thickness) / 2.0
    opacity = faint + (opaque - faint) * opacity
    covered = opacity * _coverage(distances(starts, ends, *size), reach)
    return tf.maximum(tf.reduce_max(covered, axis=0), 0.0)  # the maximum over no line is -inf


def _coverage(distance: Any, reach: Any) -> Any:
    """The share of a pixel, `distance` pixels from the middle of a line of half width `reach`, that
    the line hides: it falls linearly over a pixel at the edge, and never exceeds the line's width.
    """
    return tf.clip_by_value(reach + 0.5 - distance, 0.0, tf.minimum(1.0, 2.0 * reach))


def _dust_cover(dust: Any, width: Any, strength: Any, size: Any, seed: Any) -> Any:
    """(H,W): how much of each pixel the specks hide; each is Gaussian with deviation width / 2."""
    keys = tf.unstack(tf.random.split(seed, 4))
    number = whole(dust, keys[0])
    sigma = uniform(width, keys[1], [number, 1]) / 2.0
    rows, columns = (
        tf.exp(-tf.square((tf.range(extent, dtype=tf.float32) - extent * place) / sigma) / 2.0)
        for extent, place in zip(
            size, tf.unstack(uniform((0, 1), keys[2], [2, number, 1])), strict=True
        )
    )  # (specks, H) and (specks, W)
    cover = tf.matmul(rows * uniform(strength, keys[3], [number, 1]), columns, transpose_a=True)
    return tf.minimum(cover, 1.0)


def _walk(start: Any, lengths: Any, angles: Any, height: int, width: int) -> Any:
    """Corners (lines,steps+1,2), row and column in pixels, of lines that begin at `start` (lines,2)
    in [0,1) and take steps of `lengths` in the directions `angles`, both (lines,steps). A step that
    would leave the image ends at its border."""
    limit = tf.constant([height - 1, width - 1], tf.float32)
    points = [start * limit]
    steps = lengths[..., None] * tf.stack([tf.sin(angles), tf.cos(angles)], axis=-1)
    for step in tf.unstack(steps, axis=1):
        points.append(tf.clip_by_value(points[-1] + step, 0.0, limit))
    return tf.stack(points, axis=1)


def distances(starts: Any, ends: Any, height: int, width: int) -> Any:
    """(segments,H,W): the distance of each pixel's middle from each segment, in pixels. starts and
    ends: (segments,2), row and column."""
    along = ends - starts
    square = tf.maximum(tf.reduce_sum(tf.square(along), axis=1), 1e-12)[:, None, None]
    rows = tf.range(height, dtype=tf.float32)[None, :, None] - starts[:, 0, None, None]
    columns = tf.range(width, dtype=tf.float32)[None, None] - starts[:, 1, None, None]
    down, right = along[:, 0, None, None], along[:, 1, None, None]
    part = tf.clip_by_value(rows * (down / square) + columns * (right / square), 0.0, 1.0)
    return tf.sqrt(tf.square(rows - part * down) + tf.square(columns - part * right))
