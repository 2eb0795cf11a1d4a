"""Bilinear enlargement by a whole factor."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfrecon")
class Enlarge(keras.layers.Layer):
    """(B,h,w,C) to (B,h·factor,w·factor,C), float32. Keras's own needs sizes known in tracing."""

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.factor = factor

    def call(self, x: Any) -> Any:
        """The larger maps."""
        return tf.image.resize(x, self.factor * tf.shape(x)[1:3])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Height and width times the factor, where they are known."""
        side = [None if size is None else size * self.factor for size in input_shape[1:3]]
        return (input_shape[0], *side, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {**super().get_config(), "factor": self.factor}
