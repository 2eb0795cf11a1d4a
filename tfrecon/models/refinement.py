"""Refinement at inference: the pixels of an answer move until its features are the wanted ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tensorflow as tf

from tfrecon.base.registry import Above, AtLeast, Positive, Weight, checked
from tfrecon.models import gauss_newton as newton

Refinement = Callable[[Any, Sequence[Any], newton.Features], Any]
"""``refined = refinement(image, wanted, features)``: images (B,H,W,3) in [0,1], wanted standardised
features as parts (B,h,w,c), and what gives those of an image. Images of a batch do not influence
each other."""


@checked
def gauss_newton(
    *, stride: int, products: Annotated[int, AtLeast(newton.LEAST_PRODUCTS)] = 400,
    anchor: Weight = 0.0,
) -> Refinement:  # fmt: skip
    """Steps of Gauss–Newton (`tfrecon.models.gauss_newton`).

    Args:
        stride: pixels a side for one position of the features.
        products: the most products with JᵀJ, two passes through the backbone each.
        anchor: weight of the distance from the decoder's answer, for features that lose part of
            the image; 1 weighs a pixel as the features do on average.
    """

    def refined(image: Any, wanted: Sequence[Any], features: newton.Features) -> Any:
        return newton.gauss_newton(image, wanted, features, stride, products, anchor)

    return refined


@checked
def gradient_descent(
    *, steps: Positive = 50, rate: Annotated[float, Above(0)] = 0.005
) -> Refinement:
    """Steps of Adam on ‖f(image) - wanted‖² (Mahendran & Vedaldi 2015, section 3).

    Adam (Kingma & Ba 2015) has β₁ = 0.9 and β₂ = 0.99. A pixel changes by at most about `rate` in
    the first of the `steps`; from there the rate falls linearly to zero.
    """

    def refined(image: Any, wanted: Sequence[Any], features: newton.Features) -> Any:
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

    return refined


REFINEMENTS: dict[str, Callable[..., Refinement]] = {
    "gauss_newton": gauss_newton,
    "gradient_descent": gradient_descent,
}
