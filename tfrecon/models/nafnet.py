"""NAFNet: image restoration without nonlinear activations (Chen et al., ECCV 2022,
https://arxiv.org/abs/2204.04676): the input plus a learned correction, which starts at zero."""

from typing import Annotated, Any

import keras
from keras import layers, ops

from tfrecon.base.errors import UserError
from tfrecon.base.registry import AtLeast, Natural, Positive, checked
from tfrecon.layers.film import ChannelScale
from tfrecon.layers.grids import DepthToSpace
from tfrecon.models.supervised import Restorer, corrector
from tfrecon.networks.blocks import Start, convolution, seeded


@checked
def nafnet(
    *, image_size: Positive = 256, mask: bool = False, width: Positive = 32,
    encoder: Annotated[list[int], AtLeast(0)] | None = None, middle: Natural = 1,
    decoder: Annotated[list[int], AtLeast(0)] | None = None, composite: bool = True,
    seed: int | None = None,
) -> Restorer:  # fmt: skip
    """NAFNet (Chen et al. 2022): (B,H,W,3, or 4 with a mask) to (B,H,W,3), all in [0,1].

    The defaults are a small one for a CPU. The paper's for SIDD: width 32 or 64, encoder
    [2, 2, 4, 8], middle 12, decoder [2, 2, 2, 2]; for GoPro: encoder [1, 1, 1, 28], middle 1,
    decoder [1, 1, 1, 1]. Raises UserError for an option out of range, and for encoder and
    decoder of unequal length.

    Args:
        image_size: side of the validation images, a multiple of 2 to the number of grids.
        mask, composite, seed: as of `tfrecon.models.residual_unet.residual_unet`.
        width: channels at full resolution, doubled at each coarser grid.
        encoder: blocks of each grid, finest first; None is [1, 1, 1].
        middle: blocks of the coarsest grid.
        decoder: blocks of each grid, coarsest first; None is [1, 1, 1].
    """
    encoder, decoder = encoder or [1, 1, 1], decoder or [1, 1, 1]
    if len(encoder) != len(decoder):
        raise UserError(
            f"model.encoder has {len(encoder)} grids and model.decoder {len(decoder)}; give both "
            "equally many"
        )
    network = nafnet_network(
        channels=3 + mask, width=width, encoder=encoder, middle=middle, decoder=decoder, seed=seed
    )
    return corrector(
        network, mask=mask, composite=composite, size_multiple=2 ** len(encoder), name="nafnet"
    )


def nafnet_network(
    *, channels: int, width: int, encoder: list[int], middle: int, decoder: list[int],
    seed: int | None = None,
) -> keras.Model:  # fmt: skip
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
