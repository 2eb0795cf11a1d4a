"""Noise beside features, for generators that are to give several answers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrecon.layers.seeds import Seeds


@keras.saving.register_keras_serializable("tfrecon")
class NoiseChannels(keras.layers.Layer):
    """(B,h,w,C) to (B,h,w,C+`count`): standard normal noise in training.

    At inference zeros, their mean, or with `draw` > 0 noise that this number fixes, the same for
    every image, so that a result can be repeated.
    """

    def __init__(self, count: int, draw: int = 0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count, self.draw, self.seed = count, draw, seed
        self.random = Seeds(seed)

    def call(self, x: Any, training: bool = False) -> Any:
        """`x`, then the noise."""
        shape = (*tf.unstack(tf.shape(x)[:3]), self.count)
        if training:
            noise = keras.random.normal(shape, dtype=x.dtype, seed=self.random)
        elif self.draw:
            noise = tf.random.stateless_normal(shape[1:], seed=(self.draw, 0), dtype=x.dtype)
            noise = tf.broadcast_to(noise, shape)
        else:
            noise = tf.zeros(shape, x.dtype)
        return ops.concatenate([x, noise], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`count` channels more."""
        return (*input_shape[:-1], input_shape[-1] + self.count)

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        options = {"count": self.count, "draw": self.draw, "seed": self.seed}
        return {**super().get_config(), **options}
