"""NAFNet: image restoration without nonlinear activations (Chen et al., ECCV 2022,
https://arxiv.org/abs/2204.04676)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from tfrecon.layers.depth_to_space import DepthToSpace
from tfrecon.layers.film import ChannelScale
from tfrecon.networks.blocks import Start, convolution, seeded


def nafnet_network(
    *,
    channels: int,
    width: int,
    encoder: list[int],
    middle: int,
    decoder: list[int],
    seed: int | None = None,
) -> keras.Model:
    """(B,H,W,channels) in [0,1] to a correction (B,H,W,3), float32, zero at the start.

    One grid for each number of blocks in `encoder`, `width` channels at full resolution and twice
    as many at each coarser one; `decoder` lists its blocks from the coarsest grid on.
    """
    start = seeded(seed)
    inputs = keras.Input((None, None, channels), name="image")
    x = convolution(inputs, width, 3, start, "intro")
    skips: list[Any] = []
    for level, count in enumerate(encoder):
        x = _blocks(x, count, start, f"encoder{level}")
        skips.append(x)
        x = convolution(x, 2 * x.shape[-1], 2, start, f"down{level}", strides=2)
    x = _blocks(x, middle, start, "middle")
    for level, count in enumerate(decoder):
        x = convolution(x, 2 * x.shape[-1], 1, start, f"widen{level}", use_bias=False)
        x = DepthToSpace(name=f"up{level}")(x)
        x = layers.Add(name=f"skip{level}")([x, skips.pop()])
        x = _blocks(x, count, start, f"decoder{level}")
    x = convolution(x, 3, 3, start, "ending", scale=0.0, dtype="float32")
    return keras.Model(inputs, x, name="nafnet")


def _blocks(x: Any, count: int, start: Start, name: str) -> Any:
    for block in range(count):
        x = naf_block(x, start, f"{name}_block{block}")
    return x


def naf_block(x: Any, start: Start, name: str) -> Any:
    """Fig. 2c of the paper: gated depthwise convolution and channel attention, then a gated
    two-layer perceptron, each a residual branch with a learned scale."""
    filters = x.shape[-1]
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    y = convolution(y, 2 * filters, 1, start, f"{name}_conv1")
    y = layers.DepthwiseConv2D(
        3, padding="same", depthwise_initializer=start(), name=f"{name}_conv2"
    )(y)
    y = _gate(y, filters)
    # Simplified channel attention: eq. 7.
    mean = ops.mean(y, axis=(1, 2), keepdims=True)
    y = y * convolution(mean, filters, 1, start, f"{name}_attention")
    y = convolution(y, filters, 1, start, f"{name}_conv3")
    x = x + ChannelScale(name=f"{name}_beta")(y)
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    y = _gate(convolution(y, 2 * filters, 1, start, f"{name}_conv4"), filters)
    y = convolution(y, filters, 1, start, f"{name}_conv5")
    return x + ChannelScale(name=f"{name}_gamma")(y)


def _gate(x: Any, filters: int) -> Any:
    """SimpleGate, eq. 6: one half of the channels times the other."""
    return x[..., :filters] * x[..., filters:]
