"""A decoder of transformer blocks over the positions of the tap."""

from typing import Any

import keras
from keras import layers

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Natural, Positive, checked
from tfrecon.layers.attention import WindowAttention
from tfrecon.networks.blocks import (
    BLOCK_SCALE,
    Start,
    convolution,
    doubled,
    grid_widths,
    pixels,
    residual_block,
    seeded,
)
from tfrecon.networks.decoders.decoder import Decoder, features


@checked
def attention(
    *, channels: int, doublings: int, pooling: Positive = 1, width: Positive = 64,
    depth: Natural = 2, heads: Positive = 4, window: Positive = 8, seed: int | None = None,
) -> Decoder:  # fmt: skip
    """(B,h,w,channels) to (B,h·2ⁿ,w·2ⁿ,3): `depth` transformer blocks at the tap's grid, then ×2s.

    Attention is inside windows of `window` positions a side, every other block with the windows
    shifted by half (Liu et al. 2021), so that memory is bounded for large maps. Each doubling to
    half resolution, where there are `width` channels, ends with a residual block. Raises UserError
    where `heads` does not divide the channels at the tap's grid.
    """
    start = seeded(seed)
    inputs, x, doublings = features(channels, doublings, pooling)
    widths = grid_widths(width, doublings)
    if widths[0] % heads:
        raise UserError(
            f"option 'heads' of decoder 'attention' is {heads} and must divide the {widths[0]} "
            f"channels that a width of {width} gives at this tap"
        )
    x = convolution(x, widths[0], 3, start, "embed")
    for block in range(1, depth + 1):
        shift = 0 if block % 2 else window // 2
        x = _transformer_block(x, heads, window, shift, start, f"block{block}")
    for level, filters in enumerate(widths[1:], 2):
        x = doubled(x, filters, start, f"up{level}")
        x = residual_block(x, start, f"level{level}")
    network = keras.Model(inputs, pixels(x, doublings, start), name="attention")
    return Decoder(network, pooling=pooling)


def _transformer_block(x: Any, heads: int, window: int, shift: int, start: Start, name: str) -> Any:
    """Attention, then an MLP with a hidden layer twice as wide, each on normalised input."""
    filters = x.shape[-1]
    branch = layers.LayerNormalization(name=f"{name}_norm1")(x)
    branch = convolution(branch, 3 * filters, 1, start, f"{name}_qkv")
    branch = WindowAttention(heads, window, shift, name=f"{name}_attention")(branch)
    branch = convolution(branch, filters, 1, start, f"{name}_project", scale=BLOCK_SCALE)
    x = layers.Add(name=f"{name}_add1")([x, branch])
    branch = layers.LayerNormalization(name=f"{name}_norm2")(x)
    # ReLU: an exact GELU takes as long here as the matrix products around it.
    branch = convolution(
        branch, 2 * filters, 1, start, f"{name}_mlp1", scale=2.0, activation="relu"
    )
    branch = convolution(branch, filters, 1, start, f"{name}_mlp2", scale=BLOCK_SCALE)
    return layers.Add(name=f"{name}_add2")([x, branch])
