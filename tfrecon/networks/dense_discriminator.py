"""The discriminator of a DCGAN (Radford et al. 2016, https://arxiv.org/abs/1511.06434)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from tfrecon.layers.normalization import normalization
from tfrecon.layers.ranges import ToSigned
from tfrecon.networks.blocks import seeded

GRID = 4
"""The last map is averaged to so many positions a side, so that any training size fits."""


def dense_discriminator(
    *, channels: int, base_filters: int = 64, seed: int | None = None
) -> keras.Model:
    """([(B,H,W,channels), (B,H,W,3)] in [0,1]) to one logit an image, (B,1).

    The first input is what the generator was given, the second the candidate. Four 4×4 stride-2
    convolutions of 1, 2, 4, 8 times `base_filters`, batch-normalised but for the first, then dense
    layers of `base_filters` and of one unit.
    """
    start = seeded(seed)
    given = keras.Input((None, None, channels), name="given")
    candidate = keras.Input((None, None, 3), name="candidate")
    x: Any = ToSigned(name="signed")(layers.Concatenate(name="pair")([given, candidate]))
    for number in range(4):
        x = layers.Conv2D(
            base_filters << number, 4, 2, "same", use_bias=not number,
            kernel_initializer=start(), name=f"conv{number + 1}",
        )(x)  # fmt: skip
        x = normalization("batch" if number else "none", "moving", f"norm{number + 1}")(x)
        x = layers.LeakyReLU(0.2, name=f"act{number + 1}")(x)
    x = layers.AdaptiveAveragePooling2D(GRID, name="grid")(x)
    x = layers.Dense(base_filters, kernel_initializer=start(), name="dense")(
        layers.Flatten(name="flat")(x)
    )
    x = layers.LeakyReLU(0.2, name="act5")(x)
    logit = layers.Dense(1, kernel_initializer=start(), dtype="float32", name="logit")(x)
    return keras.Model([given, candidate], logit, name="dense_discriminator")
