"""Channels scaled and shifted: by learned factors, or by a vector such as diffusion's time."""

import math
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfrecon")
class TimeEmbedding(keras.layers.Layer):
    """t (B,) in [0,1] to sines and cosines (B,width) of 1000·t, with periods of t from 2π/1000 to
    2π·10 (Vaswani et al. 2017, section 3.5; Ho et al. 2020).

    The sines come first, or with `cosines_first` the cosines, as in Stable Diffusion.
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


@keras.saving.register_keras_serializable("tfrecon")
class Film(keras.layers.Layer):
    """x (B,h,w,C) and its modulation (B,2C) to x·(1 + γ) + β (Perez et al. 2018)."""

    def call(self, x: Any, modulation: Any) -> Any:
        """γ is the first half of the channels of `modulation` and β the second."""
        gamma, beta = tf.split(modulation[:, None, None, :], 2, axis=-1)
        return x * (1 + gamma) + beta


@keras.saving.register_keras_serializable("tfrecon")
class ChannelScale(keras.layers.Layer):
    """x·s, where s (C,) is learned and starts at zero: a residual branch starts switched off
    (LayerScale, Touvron et al. 2021; β and γ of NAFNet)."""

    def build(self, input_shape: Any) -> None:
        """One factor for each channel of the input."""
        self.scale = self.add_weight(
            shape=(input_shape[-1],), initializer="zeros", name="scale", dtype=self.variable_dtype
        )
        self.built = True

    def call(self, x: Any) -> Any:
        """(…,C) to the same shape."""
        return x * keras.ops.cast(self.scale, x.dtype)
