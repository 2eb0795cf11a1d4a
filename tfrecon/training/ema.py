"""Exponential moving average of the inference weights."""

from typing import Any

import keras
import tensorflow as tf


class MovingAverage(keras.callbacks.Callback):
    """Keeps ``ema ← d·ema + (1-d)·weights`` as a separate copy, and validates with it.

    BatchNorm statistics are averaged too; the raw weights are never overwritten. The decay rises as
    ``min(decay, (1+n)/(10+n))`` over updates n, so that the start is forgotten soon.
    """

    def __init__(self, variables: list[Any], decay: float) -> None:
        super().__init__()
        self.decay = decay
        self._raw = [v.value if isinstance(v, keras.Variable) else v for v in variables]
        self.variables = [tf.Variable(variable, trainable=False) for variable in self._raw]
        self.updates = tf.Variable(0, dtype=tf.int64)

    @tf.function(reduce_retracing=True)
    def _update(self) -> None:
        count = tf.cast(self.updates, tf.float32)
        decay = tf.minimum(self.decay, (1.0 + count) / (10.0 + count))
        for average, raw in zip(self.variables, self._raw, strict=True):
            average.assign_sub((1.0 - decay) * (average - raw))
        self.updates.assign_add(1)

    def _swap(self) -> None:
        for average, raw in zip(self.variables, self._raw, strict=True):
            value = tf.identity(raw)
            raw.assign(tf.identity(average))
            average.assign(value)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Takes the new weights in."""
        self._update()

    def on_test_begin(self, logs: Any = None) -> None:
        """Validation sees the average."""
        self._swap()

    def on_test_end(self, logs: Any = None) -> None:
        """Training goes on with the raw weights."""
        self._swap()
