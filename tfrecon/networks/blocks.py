"""What the networks share: seeded convolutions, residual blocks, widths and doublings."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from tfrecon.layers.grids import DepthToSpace

WIDEST = 256
"""The most channels of a decoder's grid, however deep its tap."""

BLOCK_SCALE = 0.1
"""Variance of a residual branch at the start, so that a deep stack starts near the identity."""

GREY = keras.initializers.Constant(0.5)
"""The bias that makes an output start at mid-grey."""

Start = Callable[..., keras.initializers.Initializer]


def seed_numbers(seed: int | None) -> Callable[[], int]:
    """A function that returns a new seed at each call, the same ones for the same `seed`. They are
    Python numbers, which layers can save in their configuration."""
    seeds = keras.random.SeedGenerator(seed)
    return lambda: int(keras.ops.convert_to_numpy(seeds.next(ordered=False))[0]) % 2**31


def seeded(seed: int | None) -> Start:
    """A function that returns a new initialiser at each call, the same ones for the same `seed`.

    Its argument `scale` is the variance of an output for inputs of variance one (fan-in; He et al.
    2015: 2 before a ReLU); 0 gives zeros.
    """
    draw = seed_numbers(seed)

    def start(scale: float = 1.0) -> keras.initializers.Initializer:
        number = draw()
        if not scale:
            return keras.initializers.Zeros()
        return keras.initializers.VarianceScaling(scale, seed=number)

    return start


def grid_widths(width: int, doublings: int) -> list[int]:
    """Channels of each grid from the tap's to half resolution: `width` there, twice per halving."""
    return [min(width << step, max(width, WIDEST)) for step in reversed(range(max(doublings, 1)))]


def convolution(
    x: Any, filters: int, size: int, start: Start, name: str, *, scale: float = 1.0, **options: Any
) -> Any:
    """A "same" convolution whose kernel starts from `start`."""
    return layers.Conv2D(
        filters, size, padding="same", kernel_initializer=start(scale), name=name, **options
    )(x)


def residual_block(x: Any, start: Start, name: str, activation: str = "relu") -> Any:
    """x + conv(relu(conv(x))), 3×3, without normalisation (Lim et al. 2017, EDSR)."""
    filters = x.shape[-1]
    branch = convolution(x, filters, 3, start, f"{name}_conv1", scale=2.0, activation=activation)
    branch = convolution(branch, filters, 3, start, f"{name}_conv2", scale=BLOCK_SCALE)
    return layers.Add(name=f"{name}_add")([x, branch])


def residual_blocks(x: Any, count: int, start: Start, name: str, activation: str = "relu") -> Any:
    """`count` residual blocks, one after the other."""
    for block in range(count):
        x = residual_block(x, start, f"{name}_block{block}", activation)
    return x


def additive_unet(
    x: Any, widths: Sequence[int], down: Sequence[int], up: Sequence[int], start: Start,
    activation: str = "relu",
) -> Any:  # fmt: skip
    """(B,h,w,widths[0]) to the same shape, through grids of `widths` channels that halve the side.

    Each grid has its number of residual blocks on the way `down`, each but the last on that `up`.
    Skips are added (LinkNet, Chaurasia & Culurciello 2017): a concatenation would double the widest
    convolutions. h and w are multiples of 2 to the number of halvings.
    """
    skips: list[Any] = []
    for grid, (width, blocks) in enumerate(zip(widths, down, strict=True)):
        if grid:
            x = convolution(x, width, 2, start, f"down{grid}", strides=2)
        x = residual_blocks(x, blocks, start, f"down{grid}", activation)
        skips.append(x)
    for grid in reversed(range(len(widths) - 1)):
        x = convolution(x, 4 * widths[grid], 1, start, f"widen{grid}")
        x = DepthToSpace(name=f"up{grid}")(x)
        x = layers.Add(name=f"skip{grid}")([x, skips[grid]])
        x = residual_blocks(x, up[grid], start, f"up{grid}", activation)
    return x


def doubled(x: Any, filters: int, start: Start, name: str) -> Any:
    """(B,h,w,C) to (B,2h,2w,filters): a convolution, then depth to space."""
    x = convolution(x, 4 * filters, 3, start, f"{name}_conv", scale=2.0, activation="relu")
    return DepthToSpace(name=f"{name}_shuffle")(x)


def pixels(x: Any, doublings: int, start: Start) -> Any:
    """Features at half resolution (full where `doublings` is 0) to the image, in float32.

    The output is linear and starts around mid-grey: it can leave [0,1], and a clipped pixel would
    have no gradient.
    """
    x = convolution(
        x, 12 if doublings else 3, 3, start, "head", scale=0.01, bias_initializer=GREY,
        dtype="float32",
    )  # fmt: skip
    return DepthToSpace(dtype="float32", name="pixels")(x) if doublings else x
