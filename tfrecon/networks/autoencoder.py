"""The two halves of a KL autoencoder (Rombach et al. 2022, section 3.1), small enough for a CPU."""

from __future__ import annotations

import keras

from tfrecon.layers.depth_to_space import DepthToSpace, SpaceToDepth
from tfrecon.layers.ranges import ToSigned
from tfrecon.networks.blocks import convolution, pixels, residual_blocks, seeded

ACTIVATION = "leaky_relu"
STAGES = 3
REDUCTION = 1 << STAGES
"""Pixels a side for one position of the latent."""


def encoder_network(
    *, latent_channels: int, width: int, depth: int, seed: int | None
) -> keras.Model:
    """Images (B,H,W,3) in [0,1] to mean and log-variance of the latent, (B,H/8,W/8,C) each.

    Grids of `width`, 2·`width` and 4·`width` channels on squares of 2, 4 and 8 pixels, with `depth`
    residual blocks each, without normalisation.
    """
    start = seeded(seed)
    images = keras.Input((None, None, 3), name="images", dtype="float32")
    x = SpaceToDepth(2, name="squares")(ToSigned(name="signed")(images))
    x = convolution(x, width, 3, start, "enter")
    for stage in range(STAGES):
        if stage:
            x = convolution(x, width << stage, 2, start, f"down{stage}", strides=2)
        x = residual_blocks(x, depth, start, f"stage{stage}", ACTIVATION)
    heads = [
        convolution(x, latent_channels, 3, start, name, scale=scale, dtype="float32")
        for name, scale in (("mean", 1.0), ("log_variance", 1e-2))
    ]
    return keras.Model(images, heads, name="encoder")


def decoder_network(
    *, latent_channels: int, width: int, depth: int, seed: int | None
) -> keras.Model:
    """The latent (B,h,w,C) to images (B,8h,8w,3), float32: the encoder's mirror image.

    Linear at its end: behind a tanh one bad step can saturate every pixel, and no gradient leads
    back.
    """
    start = seeded(seed)
    latent = keras.Input((None, None, latent_channels), name="latent")
    x = convolution(latent, width << (STAGES - 1), 3, start, "enter")
    for stage in reversed(range(STAGES)):
        x = residual_blocks(x, depth, start, f"stage{stage}", ACTIVATION)
        if stage:
            x = convolution(x, 4 * (width << (stage - 1)), 1, start, f"widen{stage}")
            x = DepthToSpace(name=f"up{stage}")(x)
    return keras.Model(latent, pixels(x, 1, start), name="decoder")
