"""The hourglass of the deep image prior (Ulyanov et al. 2018, supplementary material)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from tfrecon.layers.enlarge import Enlarge
from tfrecon.layers.normalization import normalization
from tfrecon.networks.blocks import convolution, seeded


def skip_network(
    *, inputs: int, depth: int, channels: int, skip_channels: int, seed: int | None = None
) -> keras.Model:
    """(B,H,W,inputs) to (B,H,W,3) in [0,1], H and W multiples of ``2**depth``.

    Each of `depth` scales goes down by a 3×3 convolution of stride 2 and one of stride 1, and up by
    bilinear ×2, a 3×3 and a 1×1 convolution, with `skip_channels` from a 1×1 convolution beside it;
    all are normalised by the statistics of the image itself and followed by LeakyReLU 0.2.
    """
    start = seeded(seed)

    def stage(x: Any, filters: int, size: int, name: str, strides: int = 1) -> Any:
        x = convolution(x, filters, size, start, name, strides=strides)
        x = normalization("batch", "batch", f"{name}_norm")(x)
        return layers.LeakyReLU(0.2, name=f"{name}_act")(x)

    x = entered = keras.Input((None, None, inputs), name="code")
    skips: list[Any] = []
    for scale in range(depth):
        if skip_channels:
            skips.append(stage(x, skip_channels, 1, f"skip{scale}"))
        x = stage(x, channels, 3, f"down{scale}", strides=2)
        x = stage(x, channels, 3, f"deep{scale}")
    for scale in reversed(range(depth)):
        x = Enlarge(2, name=f"double{scale}")(x)
        if skip_channels:
            x = layers.Concatenate(name=f"join{scale}")([skips.pop(), x])
        x = normalization("batch", "batch", f"join{scale}_norm")(x)
        x = stage(x, channels, 3, f"up{scale}")
        x = stage(x, channels, 1, f"mix{scale}")
    x = convolution(x, 3, 1, start, "head", dtype="float32")
    x = layers.Activation("sigmoid", dtype="float32", name="restored")(x)
    return keras.Model(entered, x, name="skip_network")
