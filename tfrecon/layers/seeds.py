"""Random numbers of training, of which each replica has its own."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

STRIDE = 1_000_003
"""Between the seeds of two replicas; the first has the seed itself."""


class Seeds(keras.random.SeedGenerator):
    """Keras's generator, whose state a checkpoint keeps, with another stream for each replica.

    Keras's own gives all replicas the same numbers: on N devices each noise would come N times.
    """

    def next(self, ordered: bool = True) -> Any:
        """The next seed, two numbers."""
        seed = super().next(ordered)
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return seed
        shift = tf.stack([STRIDE * tf.cast(replica.replica_id_in_sync_group, tf.int64), 0])
        return seed + tf.cast(shift, seed.dtype)
