"""Thin light and dark marks of an image, such as scratches and dust."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfrecon.layers.ranges import Float32Layer


@keras.saving.register_keras_serializable("tfrecon")
class TopHats(Float32Layer):
    """(B,H,W,C) to (B,H,W,2·sides): by how much the mean of the first three channels is above its
    opening and below its closing by squares of each of the `sides` in pixels, all at least 0.

    These are the white and the black top-hat (Meyer 1979): a line or speck narrower than the square
    is in them, an edge is not.
    """

    def __init__(self, sides: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sides = list(sides)

    def call(self, x: Any) -> Any:
        """White, then black top-hat of each square."""
        grey = ops.mean(x[..., :3], -1, keepdims=True)
        marks = []
        for side in self.sides:
            marks += [grey - _opened(grey, side), -grey - _opened(-grey, side)]
        return ops.concatenate(marks, -1)

    def get_config(self) -> dict[str, Any]:
        """The squares, for saving."""
        return {**super().get_config(), "sides": self.sides}


def _opened(grey: Any, side: int) -> Any:
    """What is left of the light parts where only whole squares of `side` pixels may be light."""
    return _largest(-_largest(-grey, side), side)


def _largest(grey: Any, side: int) -> Any:
    """The largest value in the square around each pixel: of the column, then of the row."""
    return ops.max_pool(ops.max_pool(grey, (side, 1), 1, "same"), (1, side), 1, "same")
