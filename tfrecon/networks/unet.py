"""The U-Net of pix2pix (Isola et al. 2017, section 6.1.1)."""

from __future__ import annotations

import keras
from keras import layers

from tfrecon.layers.normalization import Dropout, Inference, normalization
from tfrecon.networks.blocks import seed_numbers

MULTIPLES = (1, 2, 4, 8, 8, 8, 8, 8)
"""Filters of the eight encoder stages, in units of `base_filters`."""


def unet(
    *, channels: int, depth: int = 8, base_filters: int = 64, norm: str = "batch",
    inference: Inference = "moving", dropout: float = 0.5, dropout_at_inference: bool = False,
    zero_head: bool = False, seed: int | None = None,
) -> keras.Model:  # fmt: skip
    """(B,H,W,channels) to (B,H,W,3) in [-1,1], H and W multiples of ``2**depth``.

    Encoder Ck stages are 4×4 stride 2, norm (not on the first and not on the innermost, where a
    1×1 map normalised over one image is all zeros: the authors' erratum), LeakyReLU 0.2; the
    decoder mirrors it with skips, dropout on its first three stages; weights start at N(0, 0.02).
    `zero_head` starts the last layer at zero.
    """
    draw = seed_numbers(seed)

    def weights() -> keras.initializers.Initializer:
        return keras.initializers.RandomNormal(0.0, 0.02, seed=draw())

    multiples = MULTIPLES[:depth]
    x = inputs = keras.Input((None, None, channels), name="signed_input")
    skips = []
    for stage, multiple in enumerate(multiples):
        innermost = stage == depth - 1
        kind = "none" if stage == 0 or innermost else norm
        if stage:
            x = layers.LeakyReLU(0.2, name=f"down{stage + 1}_act")(x)
        x = layers.Conv2D(
            base_filters * multiple, 4, 2, "same", use_bias=kind == "none",
            kernel_initializer=weights(), name=f"down{stage + 1}",
        )(x)  # fmt: skip
        x = normalization(kind, inference, f"down{stage + 1}_norm")(x)
        skips.append(x)
    skips.pop()
    for stage in range(depth - 1):  # the map doubles in each; the last doubling is the head's
        x = layers.ReLU(name=f"up{stage + 1}_act")(x)
        x = layers.Conv2DTranspose(
            base_filters * multiples[depth - 2 - stage], 4, 2, "same", use_bias=norm == "none",
            kernel_initializer=weights(), name=f"up{stage + 1}",
        )(x)  # fmt: skip
        x = normalization(norm, inference, f"up{stage + 1}_norm")(x)
        if stage < 3:
            x = Dropout(dropout, dropout_at_inference, seed=draw(), name=f"drop{stage + 1}")(x)
        x = layers.Concatenate(name=f"skip{stage + 1}")([x, skips.pop()])
    x = layers.ReLU(name="head_act")(x)
    x = layers.Conv2DTranspose(
        3, 4, 2, "same", activation="tanh", name="head",
        kernel_initializer="zeros" if zero_head else weights(),
    )(x)  # fmt: skip
    return keras.Model(inputs, x, name="unet")
