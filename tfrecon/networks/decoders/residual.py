"""The default decoder: the frozen linear solution plus a correction by residual blocks."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from tfrecon.errors import UserError
from tfrecon.layers.depth_to_space import DepthToSpace
from tfrecon.networks.decoders.base import Decoder, pooled

HALF, WIDEST = 64, 256
"""Default channels at half the image's resolution, doubled at each coarser stage to the widest."""


def residual(
    *, channels: int, doublings: int, widths: list[int] | None = None,
    depths: list[int] | None = None, kernel_size: int | None = None, penalty: float = 1e-4,
    pooling: int = 1, seed: int | None = None,
) -> Decoder:  # fmt: skip
    """Ridge regression, and residual 3×3 blocks that predict what it leaves.

    One stage a resolution, from the tap's grid to half the image's, then depth-to-space. Blocks are
    ``x + conv(relu(conv(x)))`` without normalisation (as in EDSR, Lim et al. 2017); the last
    convolution starts at zero, so training starts from the linear solution.

    Args:
        channels: of the (fused) features, which the blocks see.
        doublings: from the tap's grid to the image's.
        widths: channels of each stage, the coarsest first.
        depths: residual blocks of each stage.
        kernel_size, penalty: of the ridge, see `linear`.
        pooling: the blocks see the features averaged over so many positions squared.
        seed: of the initial weights.
    """
    x = inputs = keras.Input((None, None, channels), name="features")
    x, more = pooled(x, pooling)
    stages = max(1, doublings + more)
    widths = widths or [min(HALF * 2**level, WIDEST) for level in reversed(range(stages))]
    depths = depths or ([4] if stages == 1 else [2] * (stages - 1) + [3])
    if len(widths) != stages or len(depths) != stages or min(*widths, *depths) < 1:
        raise UserError(
            f"decoder 'residual' has {stages} stages here, so widths and depths must list {stages} "
            f"whole numbers of 1 or more, not {widths} and {depths}"
        )
    random = keras.random.SeedGenerator(seed)

    def conv(x: Any, filters: int, name: str, scale: float = 1.0, size: int = 3) -> Any:
        start = int(keras.ops.convert_to_numpy(random.next(ordered=False))[0]) % 2**31
        initializer = (
            keras.initializers.VarianceScaling(scale, seed=start) if scale else "zeros"
        )
        return layers.Conv2D(
            filters, size, padding="same", kernel_initializer=initializer, name=name
        )(x)

    x = conv(x, widths[0], "enter")
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            x = conv(x, 4 * width, f"widen{stage}", size=1)
            x = DepthToSpace(name=f"up{stage}")(x)
        for block in range(depth):
            name = f"stage{stage}_block{block}"
            inner = layers.ReLU(name=f"{name}_relu")(conv(x, width, f"{name}_conv1", 2.0))
            x = layers.Add(name=name)([x, conv(inner, width, f"{name}_conv2", 0.1)])
    factor = 2 if doublings + more else 1
    x = conv(x, 3 * factor**2, "head", 0.0)
    x = layers.Activation("linear", dtype="float32", name="float32")(x)
    x = DepthToSpace(factor, dtype="float32", name="pixels")(x)
    ridge = {"kernel_size": kernel_size, "penalty": penalty}
    return Decoder(keras.Model(inputs, x, name="residual"), ridge)
