"""Refinement at inference: the pixels of an answer move until its features are the wanted ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
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
    *, steps: Positive = 50, rate: Annotated[float, Above(0)] = 0.01
) -> Refinement:
    """Steps of Adam on ‖f(x) - wanted‖² (Mahendran & Vedaldi 2015, section 3), where x = image +
    `natural`(z) and z is what moves.

    So a step moves low frequencies as far as photos have them, instead of adding noise of all
    frequencies, which features of deep layers leave free (Olah et al. 2017). Adam (Kingma & Ba
    2015) has β₁ = 0.9 and β₂ = 0.99. The size of a step is `rate` at first and falls linearly to
    zero in the `steps`. On the way pixels may leave [0,1].
    """

    def refined(image: Any, wanted: Sequence[Any], features: newton.Features) -> Any:
        zeros = tf.zeros_like(image)
        return descended(lambda z: image + natural(z), zeros, wanted, features, steps, rate)

    return refined


def descended(
    picture: Callable[[Any], Any], z: Any, wanted: Sequence[Any], features: newton.Features,
    steps: int, rate: float,
) -> Any:  # fmt: skip
    """The image ``picture(z)`` in [0,1] after the steps of `gradient_descent` from `z`."""
    wanted = [tf.stop_gradient(part) for part in wanted]

    def step(number: Any, z: Any, first: Any, second: Any) -> tuple[Any, ...]:
        with tf.GradientTape() as tape:
            tape.watch(z)
            present = features(picture(z))  # clipped, a pixel outside [0,1] would never come back
            distance = sum(
                tf.reduce_sum(tf.math.squared_difference(part, goal))
                for part, goal in zip(present, wanted, strict=True)
            )
        gradient = tape.gradient(distance, z)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * tf.square(gradient)
        time = tf.cast(number + 1, tf.float32)
        direction = first / (1 - 0.9**time) / (tf.sqrt(second / (1 - 0.99**time)) + 1e-8)
        z -= rate * (1 - tf.cast(number, tf.float32) / steps) * direction
        return number + 1, z, first, second

    state = (tf.constant(0), z, tf.zeros_like(z), tf.zeros_like(z))
    _, z, *_ = tf.while_loop(lambda number, *_: number < steps, step, state)
    return tf.clip_by_value(picture(z), 0.0, 1.0)


OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32) / np.sqrt(
    np.array([[3], [2], [6]], np.float32)
)
"""Brightness and two differences of colours, orthonormal, of RGB."""

COLOUR = OPPONENT.T @ np.diag([1.0, 0.4, 0.3]).astype(np.float32) @ OPPONENT
"""Scales them as photos have them: about the square roots of their shares of the variance."""


def natural(image: Any) -> Any:
    """(B,H,W,3) with each frequency f divided by f and each colour by its spread: white noise gets
    the spectrum of photos (Field 1987), and on average keeps its variance.

    Symmetric, so it is its own transpose. The lowest frequencies are treated as one period of the
    longer side.
    """
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    rows = tf.cast(tf.range(height), tf.float32) / tf.cast(height, tf.float32)
    rows = tf.minimum(rows, 1 - rows)[:, None]
    columns = tf.cast(tf.range(width // 2 + 1), tf.float32) / tf.cast(width, tf.float32)
    lowest = 1 / tf.cast(tf.maximum(height, width), tf.float32)
    gain = 1 / tf.maximum(tf.sqrt(tf.square(rows) + tf.square(columns)), lowest)
    gain /= tf.sqrt(tf.reduce_mean(tf.square(gain)))
    planes = tf.transpose(tf.tensordot(image, COLOUR, 1), (0, 3, 1, 2))
    spectrum = tf.signal.rfft2d(planes) * tf.cast(gain, tf.complex64)
    return tf.transpose(tf.signal.irfft2d(spectrum, (height, width)), (0, 2, 3, 1))


REFINEMENTS: dict[str, Callable[..., Refinement]] = {
    "gauss_newton": gauss_newton,
    "gradient_descent": gradient_descent,
}
