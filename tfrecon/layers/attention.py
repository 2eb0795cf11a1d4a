"""Attention: over all positions of a map, and inside small windows of it."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("tfrecon")
class Attention(keras.layers.Layer):
    """Scaled dot-product attention of `heads` heads (Vaswani et al. 2017, eq. 1), without weights.

    Takes queries (B,…,C) and keys and values side by side (B,…,2C), each on any grid.
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, queries: Any, keys_values: Any) -> Any:
        """The weighted mean of the values for each query, in the queries' shape (B,…,C)."""
        width = queries.shape[-1]
        channels = width // self.heads
        keys, values = keys_values[..., :width], keys_values[..., width:]
        q, k, v = (self._heads(x, channels) for x in (queries, keys, values))  # (B,N,heads,c)
        scores = ops.einsum("bqhc,bkhc->bhqk", q * channels**-0.5, k)
        mixed = ops.einsum("bhqk,bkhc->bqhc", ops.softmax(scores), v)
        return ops.reshape(mixed, ops.shape(queries))

    def _heads(self, x: Any, channels: int) -> Any:
        return ops.reshape(x, (ops.shape(x)[0], -1, self.heads, channels))


@keras.saving.register_keras_serializable("tfrecon")
class WindowAttention(keras.layers.Layer):
    """Multi-head self-attention in windows, with relative position bias (Liu et al. 2021, eq. 4).

    Memory grows with the map, not with its square: scores are (B, windows, heads, window²,
    window²). `shift` moves the windows by that many positions up and to the left; a layer with a
    shift after one without lets neighbouring windows exchange. A map of any size is padded to whole
    windows, and nothing attends to the padding.
    """

    def __init__(self, heads: int, window: int, shift: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.window, self.shift = heads, window, shift
        place = np.indices((window, window)).reshape(2, -1)
        rows, columns = place[:, :, None] - place[:, None, :] + window - 1
        self._offsets = rows * (2 * window - 1) + columns  # (window², window²)

    def build(self, shape: Any) -> None:
        """A bias for each head and each offset between two positions of a window."""
        offsets = (2 * self.window - 1) ** 2
        self.position_bias = self.add_weight(
            shape=(self.heads, offsets), initializer="zeros", name="position_bias"
        )

    def call(self, qkv: Any) -> Any:
        """Queries, keys and values side by side (B,h,w,3C) to (B,h,w,C). Each head takes C/heads
        consecutive channels of each."""
        batch, height, width = tf.unstack(tf.shape(qkv)[:3])
        window, channels = self.window, qkv.shape[-1] // 3
        size = channels // self.heads
        qkv = self._windows(qkv)  # (B,m,n,window²,3C)
        rows, columns = tf.unstack(tf.shape(qkv)[1:3])
        qkv = tf.reshape(qkv, (batch, rows * columns, window**2, 3, self.heads, size))
        query, key, value = tf.unstack(tf.transpose(qkv, (3, 0, 1, 4, 2, 5)))
        scores = tf.matmul(query, key, transpose_b=True) * size**-0.5
        scores = tf.cast(scores, tf.float32) + self._bias(height, width)
        weights = tf.cast(tf.nn.softmax(scores), value.dtype)
        x = tf.transpose(tf.matmul(weights, value), (0, 1, 3, 2, 4))  # (B,m·n,window²,heads,size)
        x = tf.reshape(x, (batch, rows, columns, window, window, channels))
        x = tf.transpose(x, (0, 1, 3, 2, 4, 5))
        x = tf.reshape(x, (batch, rows * window, columns * window, channels))
        return x[:, self.shift : self.shift + height, self.shift : self.shift + width]

    def _bias(self, height: Any, width: Any) -> Any:
        """(m·n, heads, window², window²): each offset's bias, far below zero at padded keys."""
        # Gathered along the second axis: gathering rows would make the gradient sparse.
        by_offset = tf.gather(ops.cast(self.position_bias, "float32"), self._offsets, axis=1)
        real = self._windows(tf.ones((1, height, width, 1)))  # (1,m,n,window²,1)
        real = tf.reshape(real, (-1, 1, 1, self.window**2))
        return by_offset + (real - 1) * 1e9

    def _windows(self, x: Any) -> Any:
        """(B,h,w,C) to (B,m,n,window²,C), zeros where a window reaches beyond the map."""
        window, channels = self.window, x.shape[-1]
        height, width = tf.unstack(tf.shape(x)[1:3])
        bottom, right = -(self.shift + height) % window, -(self.shift + width) % window
        x = tf.pad(x, ((0, 0), (self.shift, bottom), (self.shift, right), (0, 0)))
        batch, height, width = tf.unstack(tf.shape(x)[:3])
        rows, columns = height // window, width // window
        x = tf.reshape(x, (batch, rows, window, columns, window, channels))
        x = tf.transpose(x, (0, 1, 3, 2, 4, 5))
        return tf.reshape(x, (batch, rows, columns, window**2, channels))
