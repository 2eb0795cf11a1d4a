"""The network of `residual_unet`, which pix2pix can have for its generator."""

from collections.abc import Sequence
from typing import Any

import keras

from tfrecon.layers.grids import DepthToSpace, SpaceToDepth
from tfrecon.layers.top_hats import TopHats
from tfrecon.networks.blocks import additive_unet, convolution, seeded

GRIDS = {
    "deep": ((1, 2, 4, 4), (1, 1, 2, 2), (1, 1, 1)),
    "fine": ((1, 2, 3), (6, 1, 0), (6, 1)),
}
"""Channels of each grid in widths, and blocks of each on the way down and up."""


def multiple(grids: str) -> int:
    """What the sides of an image must be a multiple of: the last grid's pixels are so large."""
    return 2 ** len(GRIDS[grids][0])


def residual_network(
    *, channels: int, width: int, depth: int = 1, grids: str = "deep",
    top_hats: Sequence[int] = (), seed: int | None,
) -> keras.Model:  # fmt: skip
    """(B,H,W,channels) to a correction (B,H,W,3) that starts at zero, H and W multiples of
    ``multiple(grids)``: a U-Net of residual blocks (Lim et al. 2017) without normalisation.

    Squares of 2×2 pixels become channels, as full resolution costs most and gains least; then come
    the grids that `GRIDS` names, of `width` channels at first, with `depth` times their blocks.
    ``fine`` sees 73 pixels around each and spends its time where noise and scratches are, ``deep``
    sees what lies around wide holes. `top_hats` are the `TopHats` that it sees beside the image.
    """
    start = seeded(seed)
    factors, *blocks = GRIDS[grids]
    widths = [width * factor for factor in factors]
    down, up = ([count * depth for count in counts] for counts in blocks)
    inputs = keras.Input((None, None, channels), name="image")
    seen: Any = inputs
    if top_hats:
        marks = TopHats(top_hats, name="top_hats")(inputs)
        seen = keras.layers.Concatenate(name="marked")([inputs, marks])
    x = convolution(SpaceToDepth(name="unshuffle")(seen), width, 3, start, "enter")
    x = additive_unet(x, widths, down, up, start)
    x = convolution(x, 12, 3, start, "head", scale=0.0, dtype="float32")
    correction = DepthToSpace(dtype="float32", name="pixels")(x)
    return keras.Model(inputs, correction, name="residual_unet")
