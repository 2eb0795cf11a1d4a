"""A variational autoencoder whose decoder also sees what its encoder saw at each resolution."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from tfrecon.layers.gaussian_latent import GaussianLatent
from tfrecon.layers.normalization import normalization
from tfrecon.networks.blocks import convolution, seeded

MULTIPLES = (1, 2, 2, 4, 4, 8, 8, 8)
"""Filters of the eight encoder stages, in units of `base_filters`."""


def skip_vae_network(
    *,
    channels: int,
    depth: int = 8,
    base_filters: int = 64,
    latent: int = 64,
    beta: float = 1.0,
    draw: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """(B,H,W,channels) in [0,1] to (B,H,W,3) in [0,1], H and W multiples of ``2**depth``.

    Encoder stages are 3×3 stride 2, BN, LeakyReLU 0.2; the last one gives mean and log-variance of
    `latent` values a position. Decoder stages are nearest ×2, 3×3, BN, LeakyReLU, then the
    encoder's map of that resolution, at the last the image itself, beside it. Sigmoid output.
    """
    start = seeded(seed)

    def stage(x: Any, filters: int, name: str, strides: int = 1) -> Any:
        x = convolution(x, filters, 3, start, name, scale=2.0, strides=strides, use_bias=False)
        x = normalization("batch", "moving", f"{name}_norm")(x)
        return layers.LeakyReLU(0.2, name=f"{name}_act")(x)

    x = inputs = keras.Input((None, None, channels), name="image")
    skips: list[Any] = [inputs]
    for number, multiple in enumerate(MULTIPLES[:depth]):
        x = stage(x, multiple * base_filters, f"down{number + 1}", strides=2)
        skips.append(x)
    skips.pop()
    mean = convolution(x, latent, 1, start, "mean", dtype="float32")
    log_variance = convolution(x, latent, 1, start, "log_variance", scale=0.01, dtype="float32")
    x = GaussianLatent(beta, 3 * 4**depth, draw, seed, name="latent")(mean, log_variance)
    widths = [base_filters // 2, *(multiple * base_filters for multiple in MULTIPLES[: depth - 1])]
    for number, filters in enumerate(reversed(widths)):
        x = layers.UpSampling2D(name=f"double{number + 1}")(x)
        x = stage(x, filters, f"up{number + 1}")
        x = layers.Concatenate(name=f"skip{number + 1}")([x, skips.pop()])
    x = convolution(x, 3, 3, start, "head", dtype="float32")
    x = layers.Activation("sigmoid", dtype="float32", name="restored")(x)
    return keras.Model(inputs, x, name="skip_vae")
