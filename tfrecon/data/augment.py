"""Augmentation steps that change target, input and mask of a sample alike.

A step is a function ``step(parts, seed) -> parts``, here with its options bound by
`functools.partial`. `parts` are (H,W,C) tensors of equal H and W by name, uint8 or float32 (images
from 0 to 255); a step keeps the range of their values.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Parts = dict[str, Any]
Step = Callable[[Parts, Any], Parts]

SLIGHT = 1.25
"""The largest reduction without antialiasing, which takes several times as long. Plain bilinear
interpolation reads every pixel up to a reduction of 2, and up to this one looks much the same."""

LONG = 8
"""The aspect ratio up to which photos are resized whole before their middle is cut out: one of
20,000×1 pixels would become 5,120,000×256."""


def random_window(
    parts: Parts, seed: Any, *, size: int, load_size: int, zoom: float = 1.0
) -> Parts:
    """A random square, which `resize` then brings to `size` pixels; all places are equally likely.

    It shows what resizing the short side to `load_size` and then cropping `size` pixels would show.
    With `zoom` below 1 its side is multiplied by a uniform factor from `zoom` to 1. Cutting before
    resizing means that only the shown part is flipped and resized.
    """
    height, width = _extent(parts)
    short = tf.minimum(height, width)
    side = tf.maximum(1, (2 * short * size + load_size) // (2 * load_size))  # rounded
    if zoom < 1:
        key = tf.random.experimental.stateless_fold_in(seed, 1)
        share = tf.random.stateless_uniform([], key, zoom, 1.0)
        side = tf.maximum(1, tf.cast(tf.round(share * tf.cast(side, tf.float32)), tf.int32))
    room = tf.cast(tf.stack([height - side + 1, width - side + 1]), tf.float32)
    place = tf.random.stateless_uniform([2], seed) * room
    top, left = tf.unstack(tf.cast(tf.floor(place), tf.int32))
    return _crop(parts, top, left, side)


def resize(parts: Parts, seed: Any, *, size: int, method: str = "bilinear") -> Parts:
    """Resizes a square to `size` pixels, with antialiasing for more than a SLIGHT reduction."""
    side, _ = _extent(parts)
    strong = tf.cast(side, tf.float32) > SLIGHT * size
    return _resize(parts, tf.constant([size, size]), strong, method)


def resize_short_side(parts: Parts, seed: Any, *, size: int, method: str = "bilinear") -> Parts:
    """Resizes the short side to `size` pixels, keeping the aspect ratio, with antialiasing for any
    reduction. An image that has the size already keeps its values. Of one that is more than LONG
    times as long as it is wide the middle is taken."""
    height, width = _extent(parts)
    short = tf.minimum(height, width)
    # As much on both sides, so that the middle stays where it is.
    top, left = (tf.maximum(0, side - LONG * short) // 2 for side in (height, width))
    parts = {part: plane[top : height - top, left : width - left] for part, plane in parts.items()}
    height, width = height - 2 * top, width - 2 * left
    # Whole numbers, rounded up: a float ratio could make the long side a pixel too short.
    new = tf.stack([-(-height * size // short), -(-width * size // short)])
    return _resize(parts, new, short > size, method)


def centre_crop(parts: Parts, seed: Any, *, size: int) -> Parts:
    """Crops the square of `size` pixels in the middle."""
    height, width = _extent(parts)
    return _crop(parts, (height - size) // 2, (width - size) // 2, size)


def random_flip(parts: Parts, seed: Any) -> Parts:
    """Mirrors left to right with probability one half."""

    def flipped() -> Parts:
        return {name: tf.reverse(part, [1]) for name, part in parts.items()}

    return tf.cond(tf.random.stateless_uniform([], seed) < 0.5, flipped, lambda: dict(parts))


def random_turn(parts: Parts, seed: Any) -> Parts:
    """Turns by 0, 90, 180 or 270 degrees, all equally likely."""
    quarters = tf.random.stateless_uniform([], seed, 0, 4, tf.int32)
    return {name: tf.image.rot90(part, quarters) for name, part in parts.items()}


def color_jitter(parts: Parts, seed: Any, *, strength: float) -> Parts:
    """Multiplies each colour channel by a uniform factor within 1 ± `strength`, equal in input and
    target, and clips at 255; the mask stays."""
    factors = tf.random.stateless_uniform([3], seed, 1 - strength, 1 + strength)
    return {
        name: part if name == "mask" else tf.minimum(tf.cast(part, tf.float32) * factors, 255.0)
        for name, part in parts.items()
    }


def _extent(parts: Parts) -> Any:
    shape = tf.shape(next(iter(parts.values())))
    return shape[0], shape[1]


def _crop(parts: Parts, top: Any, left: Any, side: Any) -> Parts:
    return {name: part[top : top + side, left : left + side] for name, part in parts.items()}


def _resize(parts: Parts, new: Any, antialias: Any, method: str) -> Parts:
    """float32 parts of height and width `new`, antialiased where the scalar `antialias` is true."""

    def resized(antialias: bool) -> Parts:
        return {
            name: tf.cast(
                tf.image.resize(
                    part, new, "bilinear" if name == "mask" else method, antialias=antialias
                ),
                tf.float32,  # unchanged bytes where the size is the same
            )
            for name, part in parts.items()
        }

    return tf.cond(antialias, lambda: resized(True), lambda: resized(False))
