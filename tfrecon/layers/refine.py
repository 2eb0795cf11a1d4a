"""Gradient descent on the pixels towards given features (Mahendran & Vedaldi 2015, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def refine(
    image: Any, wanted: Sequence[Any], features: Callable[[Any], Sequence[Any]], steps: int,
    rate: float,
) -> Any:  # fmt: skip
    """`image` (B,H,W,3) in [0,1] after `steps` steps of Adam on ‖features(image) - wanted‖².

    `features` should be standardised: then each channel's error counts in units of its training
    deviation. Adam (Kingma & Ba 2015) has β₁ = 0.9 and β₂ = 0.99; its step size starts at `rate`
    and falls linearly to zero. Images of a batch do not influence each other.
    """
    wanted = [tf.stop_gradient(part) for part in wanted]

    def step(number: Any, image: Any, first: Any, second: Any) -> tuple[Any, ...]:
        with tf.GradientTape() as tape:
            tape.watch(image)
            distance = sum(
                tf.reduce_sum(tf.math.squared_difference(present, goal))
                for present, goal in zip(features(image), wanted, strict=True)
            )
        gradient = tape.gradient(distance, image)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * tf.square(gradient)
        time = tf.cast(number + 1, tf.float32)
        direction = first / (1 - 0.9**time) / (tf.sqrt(second / (1 - 0.99**time)) + 1e-8)
        image -= rate * (1 - tf.cast(number, tf.float32) / steps) * direction
        return number + 1, tf.clip_by_value(image, 0.0, 1.0), first, second

    start = (tf.constant(0), image, tf.zeros_like(image), tf.zeros_like(image))
    return tf.while_loop(lambda number, *_: number < steps, step, start)[1]
