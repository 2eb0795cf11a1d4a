"""Kernel inception distance (Bińkowski et al. 2018) on SqueezeNet features: how far a set of images
lies from another as a whole, whichever image stands for which.

It rewards images that look real though they are not the right ones, which no score of pairs does.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrecon.backbones import BACKBONES, feature_taps
from tfrecon.metrics.perceptual import available

NET, TAP = "squeezenet1_1", "fire9"
LEAST, MOST = 10, 2000
"""Fewer images make the estimate noise; more than `MOST` are not looked at, as the kernel has a
value for each pair of images."""

Array = np.ndarray[Any, np.dtype[np.float64]]


def kid_at_hand(size: int) -> bool:
    """Whether the features need no download and images of `size` pixels do."""
    return available("squeeze") and size >= BACKBONES[NET].taps[TAP].smallest


def kid_features() -> Any:
    """A function from images (B,H,W,3) in [0,1] to their features (B,512): the mean over positions.

    Not the Inception network of the paper, so the numbers are not those of other works.
    """
    network = feature_taps(NET, [TAP])

    @tf.function(reduce_retracing=True)
    def features(images: Any) -> Any:
        maps = tf.nest.flatten(network(images, training=False))[0]
        return tf.reduce_mean(tf.cast(maps, tf.float32), axis=(1, 2))

    return features


def kid(first: Array, second: Array) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy of two sets of features (N,D)
    and (M,D) under k(x, y) = (x·y/D + 1)³ (eq. 4 and section 4); 0 is expected for sets of one
    distribution, so it can be negative. Features are in units of the root mean square of the
    `first` set, the truth, as those of SqueezeNet are large. NaN for sets of fewer than `LEAST`."""
    if min(len(first), len(second)) < LEAST:
        return float("nan")
    unit = float(np.sqrt(np.mean(np.square(first, dtype=np.float64)))) or 1.0
    first, second = first.astype(np.float64) / unit, second.astype(np.float64) / unit
    return _within(first) + _within(second) - 2 * float(_kernel(first, second).mean())


def _kernel(first: Array, second: Array) -> Array:
    return (first @ second.T / first.shape[1] + 1) ** 3


def _within(features: Array) -> float:
    """The mean of the kernel over pairs of different images."""
    kernel, count = _kernel(features, features), len(features)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
