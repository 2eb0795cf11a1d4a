"""A decoder that predicts Haar sub-bands and inverts the transform."""

from typing import Any

import keras
from keras import layers

from tfrecon.base.registry import Natural, Positive, checked
from tfrecon.layers.haar import InverseHaar
from tfrecon.networks.blocks import GREY, convolution, doubled, grid_widths, residual_block, seeded
from tfrecon.networks.decoders.decoder import Decoder, features


@checked
def wavelet(
    *, channels: int, doublings: int, pooling: Positive = 1, width: Positive = 64,
    depth: Natural = 2, seed: int | None = None,
) -> Decoder:  # fmt: skip
    """(B,h,w,channels) to (B,h·2ⁿ,w·2ⁿ,3): a small image, then n inverse Haar transforms.

    At the tap's grid the network predicts the low-pass image LL; there and at each finer grid up
    to half resolution it predicts the details LH, HL and HH from `depth` residual blocks and the
    image so far, and the inverse transform of the four is the image of the next grid. The finest
    grid has `width` channels. Where the tap has the size of the image (`doublings` 0), a
    convolution with stride 2 makes the grid of the only transform.
    """
    start = seeded(seed)
    inputs, x, doublings = features(channels, doublings, pooling)
    widths = grid_widths(width, doublings)
    x = convolution(
        x, widths[0], 3, start, "embed", scale=2.0, activation="relu", strides=1 if doublings else 2
    )
    image = None
    for level, filters in enumerate(widths, 1):
        if image is not None:
            x = doubled(x, filters, start, f"up{level}")
            seen = convolution(image, filters, 3, start, f"seen{level}")
            x = layers.Add(name=f"seen{level}_add")([x, seen])
        for block in range(1, depth + 1):
            x = residual_block(x, start, f"level{level}_block{block}")
        if image is None:
            image = convolution(
                x, 3, 3, start, "low", scale=0.01, bias_initializer=GREY, dtype="float32"
            )
        details = convolution(x, 9, 3, start, f"details{level}", scale=0.01, dtype="float32")
        # The orthonormal LL of a cell is twice its mean; the images of all grids are in [0,1].
        low = layers.Rescaling(2.0, dtype="float32", name=f"low{level}")(image)
        bands = layers.Concatenate(dtype="float32", name=f"bands{level}")([low, details])
        image = InverseHaar(dtype="float32", name=f"image{level}")(bands)
    if not doublings:
        image = CropLike(dtype="float32", name="crop")(image, inputs)
    return Decoder(keras.Model(inputs, image, name="wavelet"), pooling=pooling)


@keras.saving.register_keras_serializable("tfrecon")
class CropLike(layers.Layer):
    """The top left of the first argument, as high and wide as the second."""

    def call(self, x: Any, like: Any) -> Any:
        """(B,H,W,C), (B,h,w,·) to (B,h,w,C)."""
        shape = keras.ops.shape(like)
        return x[:, : shape[1], : shape[2]]
