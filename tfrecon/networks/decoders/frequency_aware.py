"""A decoder with a low- and a high-frequency branch and an attention that fuses them."""

from typing import Any

import keras
from keras import layers, ops

from tfrecon.base.registry import Natural, Positive, checked
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
def frequency_aware(
    *, channels: int, doublings: int, pooling: Positive = 1, width: Positive = 64,
    depth: Natural = 1, seed: int | None = None,
) -> Decoder:  # fmt: skip
    """(B,h,w,channels) to (B,h·2ⁿ,w·2ⁿ,3): low and high frequencies apart, fused, then enlarged.

    The low frequencies are the 3×3 means of the features, the high ones the rest; each branch is a
    convolution. Their fusion is weighted by channel and by place (CBAM, Woo et al. 2018). Then come
    `depth` residual blocks at each grid up to half resolution, where there are `width` channels,
    and a refinement that sees three scales.
    """
    start = seeded(seed)
    inputs, x, doublings = features(channels, doublings, pooling)
    widths = grid_widths(width, doublings)
    low = layers.AveragePooling2D(3, 1, "same", name="low")(x)
    high = layers.Subtract(name="high")([x, low])
    branches = [
        convolution(band, widths[0], 3, start, f"{name}_conv", scale=2.0, activation="relu")
        for name, band in (("low", low), ("high", high))
    ]
    x = layers.Concatenate(name="frequencies")(branches)
    x = convolution(x, widths[0], 1, start, "fusion")
    x = _place_attention(_channel_attention(x, start), start)
    for level, filters in enumerate(widths, 1):
        if level > 1:
            x = _residual_doubling(x, filters, start, f"up{level}")
        for block in range(1, depth + 1):
            x = residual_block(x, start, f"level{level}_block{block}")
    x = _refinement(x, start)
    network = keras.Model(inputs, pixels(x, doublings, start), name="frequency_aware")
    return Decoder(network, pooling=pooling)


def _channel_attention(x: Any, start: Start) -> Any:
    """A weight for each channel from the means of all (Hu et al. 2018)."""
    filters = x.shape[-1]
    means = layers.GlobalAveragePooling2D(keepdims=True, name="channel_means")(x)
    hidden = convolution(
        means, max(filters // 4, 4), 1, start, "channel_hidden", scale=2.0, activation="relu"
    )
    weights = convolution(hidden, filters, 1, start, "channel_weights", activation="sigmoid")
    return layers.Multiply(name="channel_attention")([x, weights])


def _place_attention(x: Any, start: Start) -> Any:
    """A weight for each position from the mean and the largest of its channels."""
    summary = ops.concatenate([ops.mean(x, -1, keepdims=True), ops.max(x, -1, keepdims=True)], -1)
    weights = convolution(summary, 1, 7, start, "place_weights", activation="sigmoid")
    return layers.Multiply(name="place_attention")([x, weights])


def _residual_doubling(x: Any, filters: int, start: Start, name: str) -> Any:
    """Enlarged by a convolution and, beside it, by repetition."""
    plain = convolution(x, filters, 1, start, f"{name}_plain")
    plain = layers.UpSampling2D(name=f"{name}_repeat")(plain)
    return layers.Add(name=f"{name}_add")([plain, doubled(x, filters, start, name)])


def _refinement(x: Any, start: Start) -> Any:
    """x plus what 3×3 convolutions see at distances 1, 2 and 4."""
    filters = x.shape[-1]
    scales = [
        convolution(
            x, max(filters // 4, 1), 3, start, f"refine{distance}", scale=2.0, activation="relu",
            dilation_rate=distance,
        )
        for distance in (1, 2, 4)
    ]  # fmt: skip
    merged = layers.Concatenate(name="refine")(scales)
    correction = convolution(merged, filters, 1, start, "refine_merge", scale=BLOCK_SCALE)
    return layers.Add(name="refined")([x, correction])
