"""What damages share: the type of a draw, and options that are a value or a range."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tensorflow as tf

from tfrecon.base.registry import Bound

Draw = Callable[[Any, Any], tuple[Any, Any]]
"""``draw(target, seed) -> (input, mask)``; see `tfrecon.data.damage`."""


class _InOrder(Bound):
    """Of a range: two numbers, the larger one last."""

    def allows(self, value: Any) -> bool:
        """Whether a single number is one, or a sequence holds two in order."""
        ends = span(value)
        return len(ends) == 2 and ends[0] <= ends[1]

    def __str__(self) -> str:
        return "be a number or [lowest, highest]"


Amount = Annotated[float | tuple[float, float], _InOrder()]
"""A number, or ``[lowest, highest]``, from which each image draws uniformly."""

Count = Annotated[int | tuple[int, int], _InOrder()]
"""A whole number, or ``[fewest, most]``, from which each image draws uniformly."""


def span(value: Any) -> tuple[Any, Any]:
    """(lowest, highest) of an Amount or Count."""
    return tuple(value) if isinstance(value, Sequence) else (value, value)


def uniform(amount: Any, seed: Any, shape: Sequence[Any] = ()) -> Any:
    """float32 of `shape`, uniform in [lowest, highest) of an Amount."""
    low, high = span(amount)
    return low + (high - low) * tf.random.stateless_uniform(shape, seed)


def whole(count: Any, seed: Any) -> Any:
    """A scalar int32; each whole number from lowest to highest of a Count is equally likely."""
    low, high = span(count)
    return tf.random.stateless_uniform([], seed, low, high + 1, tf.int32)


def colour(shade: Any, tint: Any, seed: Any) -> Any:
    """(3,) in [0,1]: grey of an Amount `shade`, from black to white; each channel departs from it
    by up to the Amount `tint` towards the middle of the range."""
    keys = tf.unstack(tf.random.split(seed, 3))
    grey, departure = uniform(shade, keys[0]), uniform(tint, keys[1])
    return grey + departure * uniform((0, 1), keys[2], [3]) * (0.5 - grey) * 2.0


def smooth_field(cells: Any, seed: Any, height: int, width: int) -> Any:
    """(H,W,1), mean 0 and deviation about 1: normal values, bicubic between places of which `cells`
    lie along the longer side."""
    shares = tf.constant([height, width], tf.float32) / max(height, width)
    grid = tf.cast(tf.math.ceil(shares * cells), tf.int32) + 1
    values = tf.random.stateless_normal(tf.concat([grid, [1]], 0), seed)
    return 1.4 * tf.image.resize(values, [height, width], "bicubic")  # which averages
