"""The transposed-convolution decoder of the published feature-inversion studies."""

from typing import Any

import keras
from keras import layers

from tfrecon.base.registry import Natural, Positive, checked
from tfrecon.layers.convolutions import Conv2DTranspose
from tfrecon.layers.normalization import normalization
from tfrecon.networks.blocks import convolution, seeded
from tfrecon.networks.decoders.decoder import Decoder, features


@checked
def transposed_conv(
    *, channels: int, doublings: int, pooling: Positive = 1, width: Positive = 32,
    depth: Natural = 0, seed: int | None = None,
) -> Decoder:  # fmt: skip
    """(B,h,w,channels) to (B,h·2ⁿ,w·2ⁿ,3) in [0,1]: a sigmoid after n transposed convolutions.

    Each doubling is 4×4 with stride 2, batch normalisation and ReLU, and halves the channels, but
    not below `width`; `depth` 3×3 convolutions of the same kind follow each (none in the study).
    The last layer is a 3×3 convolution. 64 channels and one doubling: 33,731 trainable parameters.
    """
    start = seeded(seed)
    inputs, x, doublings = features(channels, doublings, pooling)
    filters = channels
    for stage in range(1, doublings + 1):
        filters = max(width, filters // 2)
        x = Conv2DTranspose(
            filters, 4, 2, "same", kernel_initializer=start(2.0), name=f"up{stage}"
        )(x)
        x = _activated(x, f"up{stage}")
        for block in range(1, depth + 1):
            name = f"up{stage}_conv{block}"
            x = _activated(convolution(x, filters, 3, start, name, scale=2.0), name)
    x = convolution(x, 3, 3, start, "head", dtype="float32")
    x = layers.Activation("sigmoid", dtype="float32", name="image")(x)
    return Decoder(keras.Model(inputs, x, name="transposed_conv"), pooling=pooling)


def _activated(x: Any, name: str) -> Any:
    x = normalization("batch", "moving", f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_act")(x)
