"""The default decoder: the frozen linear solution plus a correction by residual blocks."""

from __future__ import annotations

import keras
from keras import layers

from tfrecon.errors import UserError
from tfrecon.layers.depth_to_space import DepthToSpace
from tfrecon.networks.decoders.base import Decoder, pooled
from tfrecon.networks.decoders.blocks import convolution, grid_widths, residual_block, seeded


def residual(
    *,
    channels: int,
    doublings: int,
    widths: list[int] | None = None,
    depths: list[int] | None = None,
    kernel_size: int | None = None,
    penalty: float | None = None,
    pooling: int = 1,
    seed: int | None = None,
) -> Decoder:
    """Ridge regression, and residual 3×3 blocks that predict what it leaves.

    One stage a grid, from the tap's to half the image's, then depth-to-space. Blocks are
    ``x + conv(relu(conv(x)))`` without normalisation (as in EDSR, Lim et al. 2017); the last
    convolution starts at zero, so training starts from the linear solution.

    Args:
        channels: of the (fused) features, which the blocks see.
        doublings: from the tap's grid to the image's.
        widths: channels of each stage, the coarsest first; None is 64 at half the image's
            resolution and twice as many at each coarser one, 256 at most.
        depths: residual blocks of each stage; None is 3 in the last (4 in an only one), else 2.
        kernel_size, penalty: of the ridge, see `linear`.
        pooling: the blocks see the features averaged over so many positions squared.
        seed: of the initial weights.
    """
    start = seeded(seed)
    inputs = keras.Input((None, None, channels), name="features")
    x, more = pooled(inputs, pooling)
    steps = doublings + more
    stages = max(1, steps)
    widths = widths or grid_widths(64, steps)
    depths = depths or ([4] if stages == 1 else [2] * (stages - 1) + [3])
    if len(widths) != stages or len(depths) != stages or min(*widths, *depths) < 1:
        raise UserError(
            f"decoder 'residual' has {stages} stages here, so widths and depths must list {stages} "
            f"whole numbers of 1 or more, not {widths} and {depths}"
        )
    x = convolution(x, widths[0], 3, start, "enter")
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            x = convolution(x, 4 * width, 1, start, f"widen{stage}")
            x = DepthToSpace(name=f"up{stage}")(x)
        for block in range(depth):
            x = residual_block(x, start, f"stage{stage}_block{block}")
    factor = 2 if steps else 1
    x = convolution(x, 3 * factor**2, 3, start, "head", scale=0.0)
    x = layers.Activation("linear", dtype="float32", name="float32")(x)
    x = DepthToSpace(factor, dtype="float32", name="pixels")(x)
    ridge = {"kernel_size": kernel_size, "penalty": penalty}
    return Decoder(keras.Model(inputs, x, name="residual"), ridge)
