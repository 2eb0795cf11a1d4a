"""The network of `diffusion`: noisy image and condition to what the schedule asks for."""

from typing import Any

import keras
from keras import layers

from tfrecon.layers.film import Film, TimeEmbedding
from tfrecon.layers.grids import DepthToSpace, SpaceToDepth
from tfrecon.networks.blocks import Start, convolution, seeded

GRIDS = 3
"""Grids of the U-Net, each half of the one before."""

CONDITION_WIDTH = 64
"""Most channels that the condition is projected to."""


def denoiser(
    *, channels: int, condition_channels: int, global_channels: int = 0, patch: int = 2,
    width: int = 64, depth: int = 1, seed: int | None = None,
) -> keras.Model:  # fmt: skip
    """[noisy (B,H,W,channels), condition (B,H/patch,W/patch,condition_channels), t (B,), and with
    `global_channels` a vector of as many] to (B,H,W,channels), float32, 0 at the start.

    A U-Net over squares of `patch` pixels with 1, 2 and 3 times `width` channels and `depth` blocks
    on each way; time and vector modulate every block (FiLM), the condition is projected and
    concatenated. Blocks have no normalisation and begin as the identity. H and W are multiples of
    4·`patch`.
    """
    start = seeded(seed)
    inputs = denoiser_inputs(channels, condition_channels, global_channels)
    noisy, condition, t, *vector = inputs
    time = TimeEmbedding(width, name="time")(t)
    embedding = _dense(time, 2 * width, start, "time_dense1", "silu")
    if vector:
        seen = _dense(vector[0], 2 * width, start, "vector_dense")
        embedding = layers.Add(name="modulation")([embedding, seen])
    embedding = _dense(embedding, 2 * width, start, "modulation_dense", "silu")

    narrow = min(condition_channels, CONDITION_WIDTH)
    known = convolution(condition, narrow, 1, start, "condition_project", activation="silu")
    x = SpaceToDepth(patch, name="squares")(noisy) if patch > 1 else noisy
    x = layers.Concatenate(name="pair")([x, known])
    x = convolution(x, width, 3, start, "enter")
    skips: list[Any] = []
    for grid in range(GRIDS):
        if grid:
            x = convolution(x, (grid + 1) * width, 3, start, f"down{grid}", strides=2)
        for block in range(depth if grid < GRIDS - 1 else 2 * depth):
            x = _block(x, embedding, start, f"down{grid}_block{block}")
        skips.append(x)
    for grid in reversed(range(GRIDS - 1)):
        filters = (grid + 1) * width
        x = convolution(x, 4 * filters, 1, start, f"widen{grid}")
        x = DepthToSpace(name=f"up{grid}")(x)
        x = layers.Concatenate(name=f"skip{grid}")([x, skips[grid]])
        x = convolution(x, filters, 1, start, f"merge{grid}")
        for block in range(depth):
            x = _block(x, embedding, start, f"up{grid}_block{block}")
    x = layers.Activation("silu", name="last_act")(x)
    x = convolution(x, channels * patch**2, 3, start, "head", scale=0, dtype="float32")
    if patch > 1:
        x = DepthToSpace(patch, dtype="float32", name="pixels")(x)
    return keras.Model(inputs, x, name="denoiser")


def denoiser_inputs(channels: int, condition_channels: int, global_channels: int) -> list[Any]:
    """What every denoiser is called with: noisy image, condition, time and, perhaps, vector."""
    maps = {"noisy": channels, "condition": condition_channels}
    inputs = [keras.Input((None, None, count), name=name) for name, count in maps.items()]
    vector = [keras.Input((global_channels,), name="vector")] if global_channels else []
    return [*inputs, keras.Input((), name="t"), *vector]


def _block(x: Any, embedding: Any, start: Start, name: str) -> Any:
    """x + conv(silu(FiLM(conv(silu(x)))))."""
    filters = x.shape[-1]
    branch = layers.Activation("silu", name=f"{name}_act1")(x)
    branch = convolution(branch, filters, 3, start, f"{name}_conv1")
    modulation = _dense(embedding, 2 * filters, start, f"{name}_modulation", scale=0.0)
    branch = Film(name=f"{name}_film")(branch, modulation)
    branch = layers.Activation("silu", name=f"{name}_act2")(branch)
    branch = convolution(branch, filters, 3, start, f"{name}_conv2", scale=0.0)
    return layers.Add(name=f"{name}_add")([x, branch])


def _dense(
    x: Any, units: int, start: Start, name: str, activation: str | None = None, scale: float = 1.0
) -> Any:
    return layers.Dense(units, activation, kernel_initializer=start(scale), name=name)(x)
