"""A U-Net of residual blocks without normalisation, from half resolution down."""

from __future__ import annotations

import keras

from tfrecon.layers.depth_to_space import DepthToSpace, SpaceToDepth
from tfrecon.networks.blocks import additive_unet, convolution, seeded

LEVELS = 4
"""Grids, from 1/2 to 1/16 of the image."""

SIZE_MULTIPLE = 2**LEVELS


def residual_unet_network(
    *, channels: int, width: int = 48, depth: int = 1, seed: int | None = None
) -> keras.Model:
    """(B,H,W,channels) in [0,1] to a correction (B,H,W,3), float32, zero at the start.

    Squares of 2×2 pixels become channels, as full resolution costs most and gains least; then grids
    of `width`, 2·, 4· and 4·`width` channels with `depth` times 1, 1, 2 and 2 blocks (Lim et al.
    2017) on the way down and one on each on the way up.
    """
    start = seeded(seed)
    widths = [width * factor for factor in (1, 2, 4, 4)]
    inputs = keras.Input((None, None, channels), name="image")
    x = convolution(SpaceToDepth(name="unshuffle")(inputs), width, 3, start, "enter")
    x = additive_unet(x, widths, [n * depth for n in (1, 1, 2, 2)], depth, start)
    x = convolution(x, 12, 3, start, "head", scale=0.0, dtype="float32")
    x = DepthToSpace(dtype="float32", name="pixels")(x)
    return keras.Model(inputs, x, name="residual_unet")
