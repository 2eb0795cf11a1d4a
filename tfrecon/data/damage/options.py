"""What damages share: the type of a draw, and options that are a value or a range."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfrecon.base.errors import UserError

Draw = Callable[[Any, Any], tuple[Any, Any]]
"""``draw(target, seed) -> (input, mask)``; see `tfrecon.data.damage`."""

Amount = float | tuple[float, float]
"""A number, or ``[lowest, highest]``, from which each image draws uniformly."""

Count = int | tuple[int, int]
"""A whole number, or ``[fewest, most]``, from which each image draws uniformly."""


def span(
    damage: str, option: str, value: Any, low: float, high: float = math.inf, *, above: bool = False
) -> tuple[Any, Any]:
    """(lowest, highest) of an Amount or Count. Raises UserError, naming damage, option and value,
    unless they are in order and lie in [low, high], or with `above` in (low, high]."""
    ends = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise UserError(
            f"option {option!r} of damage {damage!r} must be a number or [lowest, highest], "
            f"not {value!r}"
        )
    if ends[0] < low or (above and ends[0] == low) or ends[1] > high or math.isinf(ends[1]):
        least = f"above {low:g}" if above else f"at least {low:g}"
        most = " and finite" if math.isinf(high) else f" and at most {high:g}"
        raise UserError(
            f"option {option!r} of damage {damage!r} must be {least}{most}, not {value!r}"
        )
    return ends


def uniform(ends: tuple[float, float], seed: Any, shape: Sequence[Any] = ()) -> Any:
    """float32 of `shape`, uniform in [lowest, highest)."""
    low, high = ends
    return low + (high - low) * tf.random.stateless_uniform(shape, seed)


def whole(ends: tuple[int, int], seed: Any) -> Any:
    """A scalar int32; each whole number from lowest to highest is equally likely."""
    return tf.random.stateless_uniform([], seed, ends[0], ends[1] + 1, tf.int32)
