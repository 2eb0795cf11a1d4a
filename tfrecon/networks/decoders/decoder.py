"""What a decoder is: a network from features to pixels, a closed-form linear map, or their sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from tfrecon.base.errors import UserError


@dataclass(frozen=True)
class RidgeOptions:
    """Of a `tfrecon.layers.ridge.Ridge`; None is what it chooses itself."""

    kernel_size: int | None = None
    penalty: float | None = None

    def __post_init__(self) -> None:
        """Raises UserError for values out of range."""
        if self.kernel_size is not None and (self.kernel_size < 1 or self.kernel_size % 2 == 0):
            raise UserError(
                f"a decoder's kernel_size must be odd and positive, not {self.kernel_size}"
            )
        if self.penalty is not None and self.penalty <= 0:
            raise UserError(f"a decoder's penalty must be greater than 0, not {self.penalty}")


@dataclass(frozen=True)
class Decoder:
    """`network`: (B,h,w,channels) to (B,h·2ⁿ,w·2ⁿ,3), float32, n = `doublings`; any h and w that
    `pooling` divides.

    `ridge` asks for a linear map whose answer is added to the network's; it sees all features
    before fusion, and is fitted once, before training. One of the two may be absent.
    """

    network: keras.Model | None
    ridge: RidgeOptions | None = None
    pooling: int = 1


def pooled(x: Any, pooling: int) -> tuple[Any, int]:
    """Features averaged over squares of `pooling` positions, and how many doublings that adds.

    Raises UserError unless `pooling` is a power of two.
    """
    if pooling < 1 or pooling & (pooling - 1):
        raise UserError(f"a decoder's pooling must be 1, 2, 4, … and not {pooling}")
    if pooling == 1:
        return x, 0
    return layers.AveragePooling2D(pooling, name="pooling")(x), pooling.bit_length() - 1
