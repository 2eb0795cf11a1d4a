"""Geometry, drawn once for all parts of a sample: target, input and mask move together.

Each step is a closure ``step(parts, seed) -> parts`` on a dictionary of (H,W,C) tensors of one H
and W, uint8 or float32, whose values keep their range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Parts = dict[str, Any]
Step = Callable[[Parts, Any], Parts]

SLIGHT = 1.25
"""Plain bilinear interpolation reads every pixel up to a reduction of 2, and up to this one its
softening differs little from antialiasing, which takes several times as long."""


def random_window(size: int, load_size: int) -> Step:
    """A square of `size` pixels, as if the short side were brought to `load_size` and then cropped.

    The square is cut from the photo at a uniform place, and only that much is resized.
    """

    def step(parts: Parts, seed: Any) -> Parts:
        height, width = _extent(parts)
        short = tf.minimum(height, width)
        side = tf.maximum(1, (2 * short * size + load_size) // (2 * load_size))  # rounded
        room = tf.cast(tf.stack([height - side + 1, width - side + 1]), tf.float32)
        place = tf.random.stateless_uniform([2], seed) * room
        top, left = tf.unstack(tf.cast(tf.floor(place), tf.int32))
        window = _crop(parts, top, left, side)
        return _resize(window, tf.stack([size, size]), side, size, slight=SLIGHT)

    return step


def resize_short_side(size: int) -> Step:
    """Bilinear resize that brings the short side to `size` pixels and keeps the aspect ratio.

    Any reduction is antialiased. An image that has the size already passes untouched.
    """

    def step(parts: Parts, seed: Any) -> Parts:
        height, width = _extent(parts)
        short = tf.minimum(height, width)
        # Integers rounded up: a float ratio could leave the long side a pixel short of a crop.
        new = tf.stack([-(-height * size // short), -(-width * size // short)])
        return _resize(parts, new, short, size, slight=1.0)

    return step


def centre_crop(size: int) -> Step:
    """The square of `size` pixels in the middle."""

    def step(parts: Parts, seed: Any) -> Parts:
        height, width = _extent(parts)
        return _crop(parts, (height - size) // 2, (width - size) // 2, size)

    return step


def random_flip() -> Step:
    """Left to right with probability one half."""

    def step(parts: Parts, seed: Any) -> Parts:
        def flipped() -> Parts:
            return {name: tf.reverse(part, [1]) for name, part in parts.items()}

        return tf.cond(tf.random.stateless_uniform([], seed) < 0.5, flipped, lambda: dict(parts))

    return step


def _extent(parts: Parts) -> Any:
    shape = tf.shape(next(iter(parts.values())))
    return shape[0], shape[1]


def _crop(parts: Parts, top: Any, left: Any, side: Any) -> Parts:
    return {name: part[top : top + side, left : left + side] for name, part in parts.items()}


def _resize(parts: Parts, new: Any, before: Any, after: int, slight: float) -> Parts:
    """float32 parts of height and width `new`; `before` and `after` are one side's lengths.

    Reductions above `slight` are antialiased.
    """
    floats = {name: tf.cast(part, tf.float32) for name, part in parts.items()}

    def resized(antialias: bool) -> Callable[[], Parts]:
        return lambda: {
            name: tf.image.resize(part, new, antialias=antialias) for name, part in floats.items()
        }

    reduction = tf.cast(before, tf.float32) / after
    strong = tf.greater(reduction, slight)
    return tf.case(
        [(tf.equal(before, after), lambda: floats), (strong, resized(antialias=True))],
        default=resized(antialias=False),
    )
