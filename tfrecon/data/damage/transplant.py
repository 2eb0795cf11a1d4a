"""Damage taken from one pair of photos and laid on another clean photo."""

from typing import Any

import tensorflow as tf

GRAIN = 0.12
"""A change of a value in [0,1] up to this is noise, which adds itself to any photo; a larger one is
paint, which covers a share of the photo under it."""


def transplanted(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch of pairs (B,S,S,3), of which each second photo has the damage of the one before it.

    Paint lightens a photo towards white or darkens it towards black: of a clean value t and a
    damaged one x it covers (x − t) / (1 − t) or (t − x) / t. How much of a white photo white paint
    covers cannot be seen; there the other photo stays clean.
    """
    clean = batch["target"][1::2]
    others = batch["target"][0::2][: tf.shape(clean)[0]]
    change = batch["input"][0::2][: tf.shape(clean)[0]] - others
    room = tf.where(change > 0, 1 - others, others)
    cover = tf.minimum(tf.abs(change) / tf.maximum(room, GRAIN), 1.0)
    painted = clean + cover * (tf.cast(change > 0, tf.float32) - clean)
    laid = tf.where(tf.abs(change) > GRAIN, painted, clean + change)
    places = tf.range(1, tf.shape(batch["target"])[0], 2)[:, None]
    damaged = tf.tensor_scatter_nd_update(batch["input"], places, tf.clip_by_value(laid, 0, 1))
    return {**batch, "input": damaged}
