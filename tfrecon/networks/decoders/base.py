"""What a decoder is: a network from features to pixels, a closed-form linear map, or their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from tfrecon.errors import UserError


@dataclass(frozen=True)
class Decoder:
    """`network`: (B,h,w,channels) to (B,h·2ⁿ,w·2ⁿ,3), float32, n = `doublings`; any h and w.

    `ridge` are the options of a `tfrecon.layers.ridge.Ridge` whose answer is added to the
    network's; it sees all features before fusion, and is fitted once, before training. One of the
    two may be absent.
    """

    network: keras.Model | None
    ridge: Mapping[str, Any] | None = None


def pooled(x: Any, pooling: int) -> tuple[Any, int]:
    """Features averaged over squares of `pooling` positions, and how many doublings that adds.

    Raises UserError unless `pooling` is a power of two.
    """
    if pooling < 1 or pooling & (pooling - 1):
        raise UserError(f"a decoder's pooling must be 1, 2, 4, … and not {pooling}")
    if pooling == 1:
        return x, 0
    return layers.AveragePooling2D(pooling, name="pooling")(x), pooling.bit_length() - 1
