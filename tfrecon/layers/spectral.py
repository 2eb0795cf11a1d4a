"""Spectral normalisation that gives the same result on one replica and on several.

Keras's own assigns the normalised kernel back to the variable, and replicas add their assignments.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrecon.layers.convolutions import Conv2D

EPSILON = 1e-12


@keras.saving.register_keras_serializable("tfrecon")
class SpectralConv2D(Conv2D):
    """A `Conv2D` whose kernel W, as a matrix with a column for each filter, is divided by its
    largest singular value σ(W): one power iteration a training step estimates it (Miyato et al.
    2018, algorithm 1)."""

    def build(self, input_shape: Any) -> None:
        """Adds the vector of the iteration."""
        super().build(input_shape)
        self.vector = self.add_weight(
            shape=(1, self.filters), trainable=False, name="vector", aggregation="mean",
            initializer=keras.initializers.RandomNormal(seed=0),
        )  # fmt: skip

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As `Conv2D`, with W/σ(W) instead of W."""
        matrix = tf.reshape(tf.cast(self.kernel, tf.float32), (-1, self.filters))
        vector = tf.cast(self.vector, tf.float32)
        left = tf.stop_gradient(_unit(tf.matmul(vector, matrix, transpose_b=True)))
        right = tf.stop_gradient(_unit(tf.matmul(left, matrix)))
        if training:
            self.vector.assign(right)
        largest = tf.matmul(tf.matmul(left, matrix), right, transpose_b=True)
        kernel = tf.cast(tf.cast(self.kernel, tf.float32) / largest, self.compute_dtype)
        outputs = self.convolved(inputs, kernel, training)
        if self.use_bias:
            outputs = ops.add(outputs, ops.reshape(self.bias, (1, 1, 1, self.filters)))
        return outputs


def _unit(vector: Any) -> Any:
    return vector / (tf.norm(vector) + EPSILON)
