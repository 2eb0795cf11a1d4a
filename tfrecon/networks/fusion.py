"""Fusions: several aligned feature maps become one. `FUSIONS` names them."""

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Positive, checked
from tfrecon.networks.blocks import Start, convolution, seeded


@checked
def weighted(*, channels: list[int], width: Positive = 128, seed: int | None = None) -> keras.Model:
    """[(B,h,w,channels[i])] to (B,h,w,width): projections, mixed with one learned share a source.

    The shares are a softmax and start equal.
    """
    inputs = _inputs(channels)
    x = LearnedMix(name="mix")(_projections(inputs, width, seeded(seed)))
    return keras.Model(inputs, x, name="weighted_fusion")


@checked
def concat(*, channels: list[int], width: Positive = 128, seed: int | None = None) -> keras.Model:
    """[(B,h,w,channels[i])] to (B,h,w,width): all channels, then a 1×1 convolution."""
    inputs = _inputs(channels)
    x = layers.Concatenate(name="sources")(inputs)
    x = convolution(x, width, 1, seeded(seed), "project")
    return keras.Model(inputs, x, name="concat_fusion")


@checked
def attention(
    *, channels: list[int], width: Positive = 128, seed: int | None = None
) -> keras.Model:
    """[(B,h,w,channels[i])] to (B,h,w,width): projections, mixed with shares of each image's own.

    The shares are a softmax over the sources, from the means of the projections over the
    positions, through one hidden layer.
    """
    start = seeded(seed)
    inputs = _inputs(channels)
    projections = _projections(inputs, width, start)
    x = layers.Concatenate(name="projections")(projections)
    x = layers.GlobalAveragePooling2D(name="means")(x)
    hidden = max(width // 4, 8)
    x = layers.Dense(hidden, "relu", kernel_initializer=start(2.0), name="hidden")(x)
    scores = layers.Dense(len(channels), kernel_initializer=start(), name="scores")(x)
    return keras.Model(inputs, Mix(name="mix")(projections, scores), name="attention_fusion")


def plain_sum(*, channels: list[int], seed: int | None = None) -> keras.Model:
    """[(B,h,w,C)] to (B,h,w,C): the sum, without parameters. It suits taps that one stream of
    residuals passes through, as the blocks of a ViT. Raises UserError where channels differ."""
    if len(set(channels)) > 1:
        listed = ", ".join(map(str, channels))
        raise UserError(
            f"model.fusion 'sum' needs taps of as many channels, not {listed}; choose 'concat'"
        )
    inputs = _inputs(channels)
    return keras.Model(inputs, layers.Add(name="sum")(inputs), name="sum_fusion")


FUSIONS = {"weighted": weighted, "concat": concat, "attention": attention, "sum": plain_sum}
"""Builders; inputs are standardised features on one grid, one source or more."""


@keras.saving.register_keras_serializable("tfrecon")
class Mix(layers.Layer):
    """The sum of the sources, each times its share in the image: the softmax of its score."""

    def call(self, sources: list[Any], scores: Any) -> Any:
        """n times (B,h,w,C), (B,n) to (B,h,w,C)."""
        shares = tf.nn.softmax(tf.cast(scores, tf.float32))
        shares = tf.cast(shares, sources[0].dtype)[..., None, None, None]
        return tf.add_n([source * shares[..., i, :, :, :] for i, source in enumerate(sources)])


@keras.saving.register_keras_serializable("tfrecon")
class LearnedMix(Mix):
    """The sum of the sources, each times a learned share: the softmax of `logits`, from zero."""

    def build(self, shapes: Any) -> None:
        """One logit a source."""
        self.logits = self.add_weight(shape=(len(shapes),), initializer="zeros", name="logits")

    def call(self, sources: list[Any]) -> Any:
        """n times (B,h,w,C) to (B,h,w,C)."""
        return super().call(sources, self.logits)


def _inputs(channels: list[int]) -> list[Any]:
    return [keras.Input((None, None, c), name=f"source{i}") for i, c in enumerate(channels, 1)]


def _projections(inputs: list[Any], width: int, start: Start) -> list[Any]:
    return [convolution(x, width, 1, start, f"project{i}") for i, x in enumerate(inputs, 1)]
