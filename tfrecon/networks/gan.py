"""The networks of pix2pix (Isola et al. 2017, section 6.1), which other GANs share."""

from typing import Any

import keras
from keras import layers

from tfrecon.layers.convolutions import Conv2D, Conv2DTranspose
from tfrecon.layers.normalization import Dropout, Inference, normalization
from tfrecon.layers.ranges import to_signed
from tfrecon.layers.spectral import SpectralConv2D
from tfrecon.networks.blocks import seed_numbers

UNET_MULTIPLES = (1, 2, 4, 8, 8, 8, 8, 8)
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

    multiples = UNET_MULTIPLES[:depth]
    x = inputs = keras.Input((None, None, channels), name="signed_input")
    skips = []
    for stage, multiple in enumerate(multiples):
        innermost = stage == depth - 1
        kind = "none" if stage == 0 or innermost else norm
        if stage:
            x = layers.LeakyReLU(0.2, name=f"down{stage + 1}_act")(x)
        x = Conv2D(
            base_filters * multiple, 4, 2, "same", use_bias=kind == "none",
            kernel_initializer=weights(), name=f"down{stage + 1}",
        )(x)  # fmt: skip
        x = normalization(kind, inference, f"down{stage + 1}_norm")(x)
        skips.append(x)
    skips.pop()
    for stage in range(depth - 1):  # the map doubles in each; the last doubling is the head's
        x = layers.ReLU(name=f"up{stage + 1}_act")(x)
        x = Conv2DTranspose(
            base_filters * multiples[depth - 2 - stage], 4, 2, "same", use_bias=norm == "none",
            kernel_initializer=weights(), name=f"up{stage + 1}",
        )(x)  # fmt: skip
        x = normalization(norm, inference, f"up{stage + 1}_norm")(x)
        if stage < 3:
            x = Dropout(dropout, dropout_at_inference, seed=draw(), name=f"drop{stage + 1}")(x)
        x = layers.Concatenate(name=f"skip{stage + 1}")([x, skips.pop()])
    x = layers.ReLU(name="head_act")(x)
    x = Conv2DTranspose(
        3, 4, 2, "same", activation="tanh", name="head",
        kernel_initializer="zeros" if zero_head else weights(),
    )(x)  # fmt: skip
    return keras.Model(inputs, x, name="unet")


def patch_discriminator(
    *, channels: int, base_filters: int = 64, norm: str = "batch", strided: int = 3,
    spectral: bool = False, seed: int | None = None,
) -> keras.Model:  # fmt: skip
    """([(B,H,W,channels), (B,H,W,3)] in [0,1]) to logits (B,h,w,1), each judging a 70×70 patch.

    The first input is what the generator was given (mask channel included), the second the
    candidate; with 0 `channels` the candidate is the only one. C64-C128-C256-C512, 4×4, the first
    `strided` (3 as published) with stride 2 and the first without norm; 256×256 pixels give 30×30
    logits. `spectral` normalises the kernels (Miyato et al. 2018).
    """
    draw = seed_numbers(seed)

    def convolution(filters: int, stride: int, name: str, bias: bool) -> layers.Layer:
        kind = SpectralConv2D if spectral else Conv2D
        return kind(
            filters, 4, stride, "same" if stride == 2 else "valid", use_bias=bias,
            kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02, seed=draw()), name=name,
        )  # fmt: skip

    candidate = keras.Input((None, None, 3), name="candidate")
    inputs: Any = candidate
    x = candidate
    if channels:
        inputs = [keras.Input((None, None, channels), name="given"), candidate]
        x = layers.Concatenate(name="pair")(inputs)
    x = to_signed("signed")(x)
    for stage in range(4):
        multiple, stride = 1 << stage, 2 if stage < strided else 1
        kind = "none" if stage == 0 else norm
        if stride == 1:
            x = layers.ZeroPadding2D(name=f"pad{stage + 1}")(x)
        x = convolution(base_filters * multiple, stride, f"conv{stage + 1}", kind == "none")(x)
        x = normalization(kind, "moving", f"norm{stage + 1}")(x)
        x = layers.LeakyReLU(0.2, name=f"act{stage + 1}")(x)
    x = layers.ZeroPadding2D(name="pad5")(x)
    x = convolution(1, 1, "logits", True)(x)
    logits = layers.Activation("linear", dtype="float32", name="float32")(x)
    return keras.Model(inputs, logits, name="patch_discriminator")
