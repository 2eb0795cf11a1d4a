"""What is done to features before they leave a device, so that they give less of the photo away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf

from tfrecon.base.registry import Between
from tfrecon.layers.ranges import Float32Layer
from tfrecon.layers.ridge import Sums

ABOUT: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "noise": ("noise of {:g} σ", "Noise (deviations of each channel)", (0.1, 0.3, 1, 3)),
    "bits": ("{:g} bits", "Bits of a value", (8, 6, 4, 2)),
    "dropped": ("{:.0%} of the channels dropped", "Share of channels dropped", (0.5, 0.75, 0.9)),
    "top": ("the largest {:.0%} kept", "Share of values kept", (0.5, 0.1, 0.02)),
}
"""Of each kind of defence: how it is called, the axis of its strength, and the strengths that are
tried, from weak to strong."""


@dataclass(frozen=True)
class Defence:
    """A kind of `DEFENCES`, or none, and its strength."""

    kind: str = "none"
    strength: float = 0.0

    def __str__(self) -> str:
        """As tables call it."""
        return ABOUT[self.kind][0].format(self.strength) if self.kind != "none" else "no defence"


def noise(*, strength: Annotated[float, Between(0, 1e6)] = 0.1) -> Defence:
    """Gaussian noise, of so many deviations of each channel."""
    return Defence("noise", strength)


def bits(*, strength: Annotated[int, Between(1, 16)] = 8) -> Defence:
    """Values rounded to so many bits, between the least and the largest of their channel."""
    return Defence("bits", strength)


def dropped(*, strength: Annotated[float, Between(0, 0.999)] = 0.5) -> Defence:
    """Such a share of the channels, always the same ones, set to 0."""
    return Defence("dropped", strength)


def top(*, strength: Annotated[float, Between(1e-6, 1)] = 0.5) -> Defence:
    """All but such a share of an image's values, the largest, set to 0."""
    return Defence("top", strength)


DEFENCES: dict[str, Callable[..., Defence]] = {
    "noise": noise, "bits": bits, "dropped": dropped, "top": top,
}  # fmt: skip


@keras.saving.register_keras_serializable("tfrecon")
class Defended(Float32Layer):
    """Features (B,h,w,C) as a `defence` lets them out. Deviation and range of each channel are
    those of the pictures that `take` is given the sums of; until then 1, and from 0 to 1."""

    def __init__(self, defence: Defence, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "trainable": False})
        self.defence = defence

    def build(self, input_shape: Any) -> None:
        """Deviation, least and largest value of each channel."""
        shape = (input_shape[-1],)
        self.deviation = self.add_weight(shape=shape, initializer="ones", name="deviation")
        self.low = self.add_weight(shape=shape, initializer="zeros", name="low")
        self.high = self.add_weight(shape=shape, initializer="ones", name="high")

    def take(self, sums: Sums) -> None:
        """Takes over what the pictures' `sums` say of each channel."""
        self.deviation.assign(sums.deviation())
        self.low.assign(np.minimum(sums.low, 0))
        self.high.assign(sums.high)

    def call(self, features: Any, seeds: Any) -> Any:
        """The defended features, float32; the noise of each follows its whole number of `seeds`,
        (B,)."""
        kind, strength, channels = self.defence.kind, self.defence.strength, features.shape[-1]
        if kind == "noise":

            def drawn(seed: Any) -> Any:
                return tf.random.stateless_normal(tf.shape(features)[1:], tf.stack([seed, 0]))

            every = tf.map_fn(drawn, seeds, fn_output_signature=tf.float32)
            return features + strength * self.deviation * every
        if kind == "bits":
            levels = 2.0**strength - 1
            step = tf.maximum(self.high - self.low, 1e-9) / levels
            level = tf.clip_by_value(tf.round((features - self.low) / step), 0.0, levels)
            return level * step + self.low
        if kind == "dropped":
            gone = np.random.default_rng(0).permutation(channels)[: round(channels * strength)]
            return features * np.float32(~np.isin(np.arange(channels), gone))
        if kind == "top":
            sizes = tf.abs(features)
            ordered = tf.sort(tf.reshape(sizes, (tf.shape(features)[0], -1)), 1, "DESCENDING")
            kept = tf.cast(strength * tf.cast(tf.shape(ordered)[1], tf.float32), tf.int32)
            least = tf.gather(ordered, tf.maximum(kept, 1) - 1, axis=1)
            return tf.where(sizes >= least[:, None, None, None], features, 0.0)
        return features
