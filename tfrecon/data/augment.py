"""Geometry, drawn once for all channels of a sample: target, input and mask move together.

Each step is a closure ``step(stack, seed) -> stack`` on (H,W,C) uint8 or float32 whose values keep
their range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Step = Callable[[Any, Any], Any]


def resize_short_side(size: int) -> Step:
    """Bilinear resize that brings the short side to `size` pixels and keeps the aspect ratio.

    Downsampling is antialiased. An image that has the size already passes untouched.
    """

    def step(stack: Any, seed: Any) -> Any:
        height, width = tf.shape(stack)[0], tf.shape(stack)[1]
        short = tf.minimum(height, width)
        # Integers rounded up: a float ratio could leave the long side a pixel short of a crop.
        new = tf.stack([-(-height * size // short), -(-width * size // short)])

        def enlarge() -> Any:  # plain bilinear is much faster, and there is nothing to antialias
            return tf.image.resize(stack, new)

        def shrink() -> Any:
            return tf.image.resize(stack, new, antialias=True)

        def keep() -> Any:
            return tf.cast(stack, tf.float32)

        return tf.case([(short < size, enlarge), (short > size, shrink)], default=keep)

    return step


def random_crop(size: int) -> Step:
    """A square of `size` pixels at a uniform place."""

    def step(stack: Any, seed: Any) -> Any:
        room = tf.shape(stack)[:2] - size + 1
        place = tf.random.stateless_uniform([2], seed) * tf.cast(room, tf.float32)
        top, left = tf.unstack(tf.cast(tf.floor(place), tf.int32))
        return stack[top : top + size, left : left + size]

    return step


def centre_crop(size: int) -> Step:
    """The square of `size` pixels in the middle."""

    def step(stack: Any, seed: Any) -> Any:
        top, left = tf.unstack((tf.shape(stack)[:2] - size) // 2)
        return stack[top : top + size, left : left + size]

    return step


def random_flip() -> Step:
    """Left to right with probability one half."""

    def step(stack: Any, seed: Any) -> Any:
        flip = tf.random.stateless_uniform([], seed) < 0.5
        return tf.cond(flip, lambda: tf.reverse(stack, [1]), lambda: stack)

    return step
