"""Noise of sensors and transmission, independent for each value or pixel; no mask."""

from typing import Annotated, Any

import tensorflow as tf

from tfrecon.base.registry import Above, AtLeast, Between, checked
from tfrecon.data.damage.options import Amount, Draw, uniform


@checked
def gaussian_noise(*, sigma: Annotated[Amount, AtLeast(0.0)] = 0.1) -> Draw:
    """Normal noise of standard deviation `sigma`, in units of the range [0,1].

    The result is clipped to [0,1], so the deviation is smaller near black and white.
    """

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        strength, values = tf.unstack(tf.random.split(seed, 2))
        noise = tf.random.stateless_normal(tf.shape(target), values)
        return tf.clip_by_value(target + uniform(sigma, strength) * noise, 0.0, 1.0), None

    return draw


@checked
def poisson_noise(*, peak: Annotated[Amount, Above(0)] = 30.0) -> Draw:
    """Photon noise, Poisson(peak · x) / peak, clipped at 1: mean x, variance x / peak.

    `peak` is the number of photons of a white value; fewer give more noise.
    """

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        strength, values = tf.unstack(tf.random.split(seed, 2))
        photons = uniform(peak, strength)
        counted = tf.random.stateless_poisson(
            tf.shape(target), values, target * photons, dtype=tf.float32
        )
        return tf.minimum(counted / photons, 1.0), None

    return draw


@checked
def salt_and_pepper(*, share: Annotated[Amount, Between(0, 1)] = 0.05) -> Draw:
    """Each pixel becomes white or black with probability `share` / 2 each, in all its channels."""

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        strength, pixels = tf.unstack(tf.random.split(seed, 2))
        hit = uniform(share, strength)
        place = tf.random.stateless_uniform([*target.shape[:2], 1], pixels)
        value = tf.cast(place < hit / 2, tf.float32)
        return tf.where(place < hit, value, target), None

    return draw
