"""What a generator and its discriminator minimise, from the discriminator's logits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf


@dataclass(frozen=True)
class AdversarialLoss:
    """Two scalars, each a mean over logits: `generator` of the logits of fakes, `discriminator` of
    those of real images and those of fakes."""

    generator: Callable[[Any], Any]
    discriminator: Callable[[Any, Any], Any]


def _mean(values: Any) -> Any:
    return tf.reduce_mean(tf.cast(values, tf.float32))


def _cross_entropy(logits: Any, label: float) -> Any:
    logits = tf.cast(logits, tf.float32)
    labels = tf.fill(tf.shape(logits), label)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))


AdversarialName = Literal["bce", "hinge"]
ADVERSARIAL_LOSSES: dict[AdversarialName, AdversarialLoss] = {
    # Goodfellow et al. 2014, with the non-saturating generator. The discriminator's is halved, so
    # that it learns slower than the generator (Isola et al. 2017, section 3.3).
    "bce": AdversarialLoss(
        lambda fake: _cross_entropy(fake, 1.0),
        lambda real, fake: 0.5 * (_cross_entropy(real, 1.0) + _cross_entropy(fake, 0.0)),
    ),
    # Lim and Ye 2017; Miyato et al. 2018, eqs. 16 and 17.
    "hinge": AdversarialLoss(
        lambda fake: -_mean(fake),
        lambda real, fake: _mean(tf.nn.relu(1 - real)) + _mean(tf.nn.relu(1 + fake)),
    ),
}
"""By name, for a model's option `adversarial_loss`."""
