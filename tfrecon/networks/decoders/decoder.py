"""What a decoder is: a network from features to pixels, a closed-form linear map, or their sum."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from tfrecon.base.errors import UserError


@dataclass(frozen=True)
class Decoder:
    """`network`: (B,h,w,channels) to (B,h·2ⁿ,w·2ⁿ,3), float32, n = `doublings`; any h and w that
    `pooling` divides.

    `ridge` asks for a linear map (`tfrecon.layers.ridge.Ridge`) whose answer is added to the
    network's; it sees all features before fusion, and is fitted once, before training. It chooses
    `kernel_size` and `penalty` itself where they are None. Network or ridge may be absent. `stages`
    is the most corrections of the linear map's answer (`tfrecon.models.boosting`), which need
    features in float32, and `descent` the steps of gradient descent before each, at `rate`. Raises
    UserError for a size that is not odd and positive and a penalty of 0 or less.
    """

    network: keras.Model | None
    pooling: int = 1
    ridge: bool = False
    kernel_size: int | None = None
    penalty: float | None = None
    stages: int = 0
    descent: int = 0
    rate: float = 0.0

    def __post_init__(self) -> None:
        """Checks size and penalty."""
        size, penalty = self.kernel_size, self.penalty
        if size is not None and (size < 1 or size % 2 == 0):
            raise UserError(f"a decoder's kernel_size must be odd, not {size}")
        if penalty is not None and penalty <= 0:
            raise UserError(f"a decoder's penalty must be greater than 0, not {penalty}")


def features(channels: int, doublings: int, pooling: int) -> tuple[Any, Any, int]:
    """A decoder's input, that averaged over squares of `pooling` positions, and the number of
    doublings from there to the image.

    Raises UserError unless `pooling` is a power of two.
    """
    if pooling < 1 or pooling & (pooling - 1):
        raise UserError(f"a decoder's pooling must be 1, 2, 4, … and not {pooling}")
    x = inputs = keras.Input((None, None, channels), name="features")
    if pooling > 1:
        x = layers.AveragePooling2D(pooling, name="pooling")(x)
    return inputs, x, doublings + pooling.bit_length() - 1
