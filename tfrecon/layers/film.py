"""Feature-wise linear modulation, and the embedding of diffusion's time."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfrecon")
class TimeEmbedding(keras.layers.Layer):
    """t (B,) in [0,1] to sines and cosines (B,width) of periods from 2π/1000 up to 2π·10, as if
    time ran to 1000 (Vaswani et al. 2017, section 3.5; Ho et al. 2020).

    `cosines_first` swaps the halves, as Stable Diffusion has them.
    """

    def __init__(self, width: int, cosines_first: bool = False, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self.width, self.cosines_first = width, cosines_first

    def call(self, t: Any) -> Any:
        """The embedding, float32."""
        half = self.width // 2
        frequencies = tf.exp(-math.log(10_000.0) * tf.range(half, dtype=tf.float32) / half)
        angles = 1000.0 * tf.cast(t, tf.float32)[:, None] * frequencies
        halves = [tf.sin(angles), tf.cos(angles)]
        return tf.concat(halves[::-1] if self.cosines_first else halves, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(B,width)."""
        return (input_shape[0], self.width // 2 * 2)

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {**super().get_config(), "width": self.width, "cosines_first": self.cosines_first}


@keras.saving.register_keras_serializable("tfrecon")
class Film(keras.layers.Layer):
    """x (B,h,w,C) and (B,2C) to x·(1 + γ) + β (Perez et al. 2018)."""

    def call(self, x: Any, modulation: Any) -> Any:
        """γ is the first half of the channels of `modulation`, β the second."""
        gamma, beta = tf.split(modulation[:, None, None, :], 2, axis=-1)
        return x * (1 + gamma) + beta

    def compute_output_shape(self, x_shape: Any, modulation_shape: Any) -> Any:
        """That of x."""
        return x_shape
