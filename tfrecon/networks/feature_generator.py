"""The generator of `feature_gan`: any tap to an image by transposed convolutions."""

from __future__ import annotations

import keras
from keras import layers

from tfrecon.layers.normalization import normalization
from tfrecon.layers.ranges import FromSigned
from tfrecon.layers.seeds import NoiseChannels
from tfrecon.networks.blocks import convolution, seeded

NARROWEST = 32
"""Channels that no grid of the generator goes below."""


def feature_generator(
    *, channels: int, doublings: int, width: int = 128, noise_channels: int = 0, draw: int = 0,
    seed: int | None = None,
) -> keras.Model:  # fmt: skip
    """Features (B,h,w,channels) to images (B,h·2ⁿ,w·2ⁿ,3) in [0,1], float32, n = `doublings`.

    A 1×1 convolution to `width` (128 as published), beside it `noise_channels`, n transposed
    convolutions 4×4 of stride 2 with batch normalisation and ReLU that halve the channels (not
    below `NARROWEST`), and two 3×3 convolutions; tanh, brought to [0,1].
    """
    start = seeded(seed)
    inputs = keras.Input((None, None, channels), name="features")
    x = convolution(inputs, width, 1, start, "project", scale=2.0, activation="relu")
    if noise_channels:
        x = NoiseChannels(noise_channels, draw, seed, name="noise")(x)
    filters = width
    for stage in range(1, doublings + 1):
        filters = max(min(width, NARROWEST), filters // 2)
        x = layers.Conv2DTranspose(
            filters, 4, 2, "same", use_bias=False, kernel_initializer=start(2.0), name=f"up{stage}"
        )(x)
        x = normalization("batch", "moving", f"up{stage}_norm")(x)
        x = layers.ReLU(name=f"up{stage}_act")(x)
    x = convolution(x, filters, 3, start, "smooth", scale=2.0, activation="relu")
    x = convolution(x, 3, 3, start, "head", scale=0.1, activation="tanh", dtype="float32")
    return keras.Model(inputs, FromSigned(name="image")(x), name="feature_generator")
