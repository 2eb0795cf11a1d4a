"""The network of `residual_unet`, which pix2pix can have for its generator."""

import keras

from tfrecon.layers.grids import DepthToSpace, SpaceToDepth
from tfrecon.networks.blocks import additive_unet, convolution, seeded

HALVINGS = 4
"""It halves the sides of an image so often."""


def residual_network(*, channels: int, width: int, depth: int, seed: int | None) -> keras.Model:
    """(B,H,W,channels) to a correction (B,H,W,3) that starts at zero, H and W multiples of
    ``2**HALVINGS``: a U-Net of residual blocks without normalisation.

    Squares of 2×2 pixels become channels, as full resolution costs most and gains least; then come
    grids of 1, 2, 4 and 4 times `width` channels with `depth` times 1, 1, 2 and 2 blocks (Lim et
    al. 2017) on the way down and `depth` on each on the way up.
    """
    start = seeded(seed)
    widths = [width * factor for factor in (1, 2, 4, 4)]
    inputs = keras.Input((None, None, channels), name="image")
    x = convolution(SpaceToDepth(name="unshuffle")(inputs), width, 3, start, "enter")
    x = additive_unet(x, widths, [n * depth for n in (1, 1, 2, 2)], depth, start)
    x = convolution(x, 12, 3, start, "head", scale=0.0, dtype="float32")
    correction = DepthToSpace(dtype="float32", name="pixels")(x)
    return keras.Model(inputs, correction, name="residual_unet")
