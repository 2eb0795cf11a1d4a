"""Fusions: several aligned feature maps become one. `FUSIONS` names them."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from tfrecon.base.errors import at_least
from tfrecon.networks.blocks import Start, convolution, seeded


def weighted(*, channels: list[int], width: int = 128, seed: int | None = None) -> keras.Model:
    """[(B,h,w,channels[i])] to (B,h,w,width): projections, mixed with one learned share a source.

    The shares are a softmax and start equal.
    """
    at_least("option 'width' of fusion 'weighted'", width, 1)
    inputs = _inputs(channels)
    x = LearnedMix(name="mix")(_projections(inputs, width, seeded(seed)))
    return keras.Model(inputs, x, name="weighted_fusion")


def concat(*, channels: list[int], width: int = 128, seed: int | None = None) -> keras.Model:
    """[(B,h,w,channels[i])] to (B,h,w,width): all channels, then a 1×1 convolution."""
    at_least("option 'width' of fusion 'concat'", width, 1)
    inputs = _inputs(channels)
    x = layers.Concatenate(name="sources")(inputs)
    x = convolution(x, width, 1, seeded(seed), "project")
    return keras.Model(inputs, x, name="concat_fusion")


def attention(*, channels: list[int], width: int = 128, seed: int | None = None) -> keras.Model:
    """[(B,h,w,channels[i])] to (B,h,w,width): projections, mixed with shares of each image's own.

    The shares are a softmax over the sources, from the means of the projections over the
    positions, through one hidden layer.
    """
    at_least("option 'width' of fusion 'attention'", width, 1)
    start = seeded(seed)
    inputs = _inputs(channels)
    projections = _projections(inputs, width, start)
    x = layers.Concatenate(name="projections")(projections)
    x = layers.GlobalAveragePooling2D(name="means")(x)
    x = layers.Dense(
        max(width // 4, 8), "relu", kernel_initializer=start(2.0), name="hidden"
    )(x)  # fmt: skip
    x = layers.Dense(len(channels), kernel_initializer=start(), name="scores")(x)
    shares = Shares(dtype="float32", name="shares")(x)
    return keras.Model(inputs, Mix(name="mix")(projections, shares), name="attention_fusion")


FUSIONS = {"weighted": weighted, "concat": concat, "attention": attention}
"""Builders; inputs are standardised features on one grid, one source or more.

All raise UserError for a `width` below 1."""


@keras.saving.register_keras_serializable("tfrecon")
class Shares(layers.Layer):
    """Scores to shares that sum to one: a softmax in float32, which may be over one source."""

    def call(self, scores: Any) -> Any:
        """(B,n) to (B,n)."""
        return tf.nn.softmax(tf.cast(scores, tf.float32))


@keras.saving.register_keras_serializable("tfrecon")
class Mix(layers.Layer):
    """The sum of the sources, each times its share in the image."""

    def call(self, sources: list[Any], shares: Any) -> Any:
        """n times (B,h,w,C), (B,n) to (B,h,w,C)."""
        shares = tf.cast(shares, sources[0].dtype)[:, :, None, None, None]
        return tf.add_n([source * shares[:, i] for i, source in enumerate(sources)])


@keras.saving.register_keras_serializable("tfrecon")
class LearnedMix(layers.Layer):
    """The sum of the sources, each times a learned share: the softmax of `logits`, from zero."""

    def build(self, shapes: Any) -> None:
        """One logit a source."""
        self.logits = self.add_weight(shape=(len(shapes),), initializer="zeros", name="logits")

    def call(self, sources: list[Any]) -> Any:
        """n times (B,h,w,C) to (B,h,w,C)."""
        shares = tf.nn.softmax(keras.ops.cast(self.logits, "float32"))
        shares = tf.cast(shares, sources[0].dtype)
        return tf.add_n([source * shares[i] for i, source in enumerate(sources)])


def _inputs(channels: list[int]) -> list[Any]:
    return [keras.Input((None, None, c), name=f"source{i}") for i, c in enumerate(channels, 1)]


def _projections(inputs: list[Any], width: int, start: Start) -> list[Any]:
    return [convolution(x, width, 1, start, f"project{i}") for i, x in enumerate(inputs, 1)]
