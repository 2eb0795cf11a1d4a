"""Ridge regression to the pixels: alone, or with residual blocks that correct it."""

from typing import Annotated

import keras
from keras import layers

from tfrecon.base.registry import Above, Natural, Positive, checked
from tfrecon.layers.grids import DepthToSpace
from tfrecon.networks.blocks import convolution, grid_widths, residual_blocks, seeded
from tfrecon.networks.decoders.decoder import Decoder, features


@checked
def linear(
    *, channels: int, doublings: int, kernel_size: Positive | None = None,
    penalty: Annotated[float, Above(0)] | None = None, seed: int | None = None,
) -> Decoder:  # fmt: skip
    """Each k×k neighbourhood of features to its 2ⁿ×2ⁿ pixels by the closed-form solution.

    `kernel_size` k is odd; None takes the largest of 5, 3 and 1 that can be solved. `penalty` is
    the ridge's λ, relative to features of unit variance; None chooses it on images held out.
    Nothing is drawn, so `seed` means nothing.
    """
    return Decoder(None, ridge=True, kernel_size=kernel_size, penalty=penalty)


@checked
def boosted(
    *, channels: int, doublings: int, stages: Positive | None = None, descent: Natural = 0,
    rate: Annotated[float, Above(0)] = 0.005, kernel_size: Positive | None = None,
    penalty: Annotated[float, Above(0)] | None = None, seed: int | None = None,
) -> Decoder:  # fmt: skip
    """`linear`, then at most `stages` closed-form corrections, each of which sees how the features
    of the answer so far differ from the wanted ones (`tfrecon.models.boosting`).

    Nothing is trained; at inference each stage runs the backbone forwards and backwards once. With
    `descent`, for taps that lose information such as AlexNet conv3, it does so that many times:
    steps towards the features, the first of size `rate` (0.02 suits VGG16 block2), and a correction
    of the noise they leave. `stages` None is 8, or 1 with `descent`.
    """
    stages = stages or (1 if descent else 8)
    return Decoder(
        None, ridge=True, kernel_size=kernel_size, penalty=penalty, stages=stages,
        descent=descent, rate=rate,
    )  # fmt: skip


@checked
def residual(
    *, channels: int, doublings: int, width: Positive = 64, depth: Positive | None = None,
    kernel_size: Positive | None = None, penalty: Annotated[float, Above(0)] | None = None,
    pooling: Positive = 1, seed: int | None = None,
) -> Decoder:  # fmt: skip
    """The default decoder: ridge regression, and residual 3×3 blocks that predict what it leaves.

    One stage a grid, from the tap's to half the image's, then depth-to-space. Blocks are
    ``x + conv(relu(conv(x)))`` without normalisation (as in EDSR, Lim et al. 2017); the last
    convolution starts at zero, so training starts from the linear solution.

    Args:
        channels: of the (fused) features, which the blocks see.
        doublings: from the tap's grid to the image's.
        width: channels at half the image's resolution; twice as many at each coarser one, 256 at
            most.
        depth: residual blocks at each resolution; None is 3 at half the image's (4 where there is
            no other), else 2.
        kernel_size, penalty: of the ridge, see `linear`.
        pooling: the blocks see the features averaged over so many positions squared.
        seed: of the initial weights.
    """
    start = seeded(seed)
    inputs, x, doublings = features(channels, doublings, pooling)
    widths = grid_widths(width, doublings)
    last = 4 if len(widths) == 1 else 3
    depths = [depth or 2] * (len(widths) - 1) + [depth or last]
    x = convolution(x, widths[0], 3, start, "enter")
    for stage, (filters, blocks) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            x = convolution(x, 4 * filters, 1, start, f"widen{stage}")
            x = DepthToSpace(name=f"up{stage}")(x)
        x = residual_blocks(x, blocks, start, f"stage{stage}")
    factor = 2 if doublings else 1
    x = convolution(x, 3 * factor**2, 3, start, "head", scale=0.0)
    x = layers.Activation("linear", dtype="float32", name="float32")(x)
    x = DepthToSpace(factor, dtype="float32", name="pixels")(x)
    network = keras.Model(inputs, x, name="residual")
    return Decoder(network, pooling, True, kernel_size, penalty)
