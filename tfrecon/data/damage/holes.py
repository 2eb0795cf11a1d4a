"""Holes whose place is known: black squares."""

from typing import Annotated, Any

import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.base.registry import AtLeast, checked
from tfrecon.data.damage.options import Draw

CANDIDATES = 16
"""Places drawn for each box. A later box takes its first place that overlaps no earlier box."""


@checked
def boxes(*, count: Annotated[int, AtLeast(1)] = 2, size: Annotated[int, AtLeast(1)] = 75) -> Draw:
    """`count` black squares of `size` pixels, each at a uniform place.

    A square avoids the earlier ones where any of CANDIDATES places does; else it overlaps.
    """

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        height, width = target.shape[:2]
        if size > min(height, width):
            raise UserError(
                f"a box of {size} pixels does not fit into images of {height}×{width}; make "
                "data.damage.size smaller or data.image_size larger"
            )
        limits = tf.constant([height - size + 1, width - size + 1])
        draws = tf.random.stateless_uniform([count, CANDIDATES, 2], seed)
        places = tf.cast(tf.floor(draws * tf.cast(limits, tf.float32)), tf.int32)
        corners = places[0, :1]  # (boxes so far, 2): row and column
        for index in range(1, count):
            distance = tf.reduce_max(
                tf.abs(places[index][:, None] - corners[None]), axis=-1
            )  # (candidates, boxes so far): overlap where below size in both directions
            free = tf.reduce_all(distance >= size, axis=1)
            chosen = tf.argmax(tf.cast(free, tf.int32), output_type=tf.int32)
            corners = tf.concat([corners, places[index, chosen][None]], axis=0)
        mask = box_mask(corners, size, height, width)
        return target * (1.0 - mask), mask

    return draw


def box_mask(corners: Any, size: int, height: int, width: int) -> Any:
    """(height,width,1) float32 with 1 inside squares of `size` pixels. corners: (boxes,2), the row
    and column of each square's top-left pixel."""
    rows, columns = tf.range(height), tf.range(width)
    top, left = corners[:, 0, None], corners[:, 1, None]
    in_rows = tf.logical_and(rows >= top, rows < top + size)[:, :, None]
    in_columns = tf.logical_and(columns >= left, columns < left + size)[:, None, :]
    inside = tf.reduce_any(tf.logical_and(in_rows, in_columns), axis=0)
    return tf.cast(inside, tf.float32)[..., None]
