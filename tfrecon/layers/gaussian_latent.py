"""The latent of a variational autoencoder (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114)."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrecon.layers.ranges import Float32Layer
from tfrecon.layers.seeds import Seeds

LOG_VARIANCE_LIMIT = 10.0
"""A log-variance is clipped to ± this: its exponential would overflow early in training."""


@keras.saving.register_keras_serializable("tfrecon")
class GaussianLatent(Float32Layer):
    """Mean and log-variance (B,h,w,D) to a sample z = μ + σ·ε in training, to μ at inference.

    Adds β·KL(N(μ, σ²) ‖ N(0, 1)) to the loss, the mean over images and positions of the sum over
    the D latents in nats (eq. 10 of the paper's appendix B), divided by `values`: how many numbers
    of the image (3 a pixel) stand behind a position. With a reconstruction loss that is a mean
    over those numbers, β = 1 gives the evidence bound for a squared error of variance 1/2.

    With `draw` > 0 the latent is sampled at inference, too. The noise depends on `draw` alone and
    is the same for every image, so that a result can be repeated.
    """

    def __init__(
        self, beta: float, values: int, draw: int = 0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.beta, self.values, self.draw, self.seed = beta, values, draw, seed
        self.random = Seeds(seed)

    def call(self, mean: Any, log_variance: Any, training: bool = False) -> Any:
        """The latent (B,h,w,D), float32."""
        log_variance = ops.clip(log_variance, -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        self.add_loss(self.beta * ops.mean(kl_divergence(mean, log_variance)) / self.values)
        if training:
            noise = keras.random.normal(ops.shape(mean), seed=self.random)
        elif self.draw:
            noise = tf.random.stateless_normal(tf.shape(mean)[1:], seed=(self.draw, 0))
        else:
            return mean
        return mean + ops.exp(0.5 * log_variance) * noise


def kl_divergence(mean: Any, log_variance: Any) -> Any:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each position (B,h,w), summed over the latents, in nats."""
    return ops.sum(kl_terms(mean, log_variance), axis=-1)


def kl_terms(mean: Any, log_variance: Any) -> Any:
    """½ (μ² + σ² - 1 - log σ²) of each latent, same shape as the arguments, in nats."""
    return 0.5 * (ops.square(mean) + ops.exp(log_variance) - 1 - log_variance)
