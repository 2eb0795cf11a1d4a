"""Random numbers of training, different on each replica, and a layer that draws them as noise."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

STRIDE = 1_000_003
"""The distance between the seeds of two replicas; the first replica has the seed itself."""


class Seeds(keras.random.SeedGenerator):
    """Keras's generator, whose state a checkpoint keeps, with different numbers on each replica.

    Keras's own gives all replicas the same numbers, so N devices would draw the same noise N times.
    """

    def next(self, ordered: bool = True) -> Any:
        """The next seed, two numbers."""
        seed = super().next(ordered)
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return seed
        shift = tf.stack([STRIDE * tf.cast(replica.replica_id_in_sync_group, tf.int64), 0])
        return seed + tf.cast(shift, seed.dtype)


@keras.saving.register_keras_serializable("tfrecon")
class NoiseChannels(keras.layers.Layer):
    """(B,h,w,C) to (B,h,w,C+`count`): appends standard normal noise in training.

    At inference it appends zeros (the mean of the noise) or, with `draw` > 0, noise that depends on
    `draw` alone and is the same for every image, so that a result can be repeated.
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
