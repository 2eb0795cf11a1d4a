"""Photos of any size for any network: reflection padding, and overlapping tiles that are blended.

Tiles are spread evenly, the first at the start and the last at the end of each axis. A tile's
weights rise and fall over the overlap like half a Hann window; at every pixel the weights of all
tiles are divided by their sum. The weight of a pixel is its row's weight times its column's.
"""

import math
from collections.abc import Callable

import tensorflow as tf


def pad_to_multiple(x: tf.Tensor, multiple: int) -> tf.Tensor:
    """Grows (B,H,W,C) downwards and to the right until both sides are multiples of `multiple`.

    Mirrors the image at its last row and column without repeating them, and again where the gap is
    larger than the image, as ``numpy.pad(mode="reflect")`` does. All channels are padded alike, so
    a mask as last channel stays in place. Sizes may be unknown when traced.
    """
    height, width = (-(-tf.shape(x)[axis] // multiple) * multiple for axis in (1, 2))
    return pad_to_size(x, height, width)


def pad_to_size(x: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Grows as `pad_to_multiple`, to a given size; a side that is long enough stays as it is."""
    x = tf.gather(x, _reflected(tf.shape(x)[1], height), axis=1)
    return tf.gather(x, _reflected(tf.shape(x)[2], width), axis=2)


def crop_to(x: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """The top-left (B,height,width,C) of (B,H,W,C): what was there before the padding."""
    return x[:, :height, :width]


def _reflected(length: tf.Tensor, wanted: int | tf.Tensor) -> tf.Tensor:
    # n pixels repeat with period 2(n-1): 0 1 2 3 2 1 | 0 1 … for n = 4. One pixel repeats itself.
    last = length - 1
    place = tf.range(tf.maximum(length, wanted)) % tf.maximum(2 * last, 1)
    return last - tf.abs(last - place)


def tile_starts(size: int | tf.Tensor, tile: int, overlap: int) -> tf.Tensor:
    """Where the tiles of one axis begin, (n,) int64, so that neighbours share at least `overlap`
    pixels. `size` ≥ `tile` and may be unknown when traced; 0 ≤ `overlap` < `tile`."""
    span = tf.cast(size, tf.int64) - tile
    gaps = -(-span // (tile - overlap))
    return tf.range(gaps + 1) * span // tf.maximum(gaps, 1)


def tile_weights(starts: tf.Tensor, size: int | tf.Tensor, tile: int, overlap: int) -> tf.Tensor:
    """The weight of each tile in each of its pixels on one axis, (n,tile) float32."""
    place = tf.range(tile, dtype=tf.float32) + 0.5
    to_border = tf.minimum(place, tile - place)
    window = tf.sin(math.pi / 2 * tf.minimum(to_border / max(overlap, 1), 1.0)) ** 2
    pixels = _pixels(starts, tile)
    window = tf.broadcast_to(window, tf.shape(pixels))
    total = tf.math.unsorted_segment_sum(window, pixels, size)
    return window / tf.gather(total, pixels)


def map_tiles(
    step: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, tile: int, overlap: int
) -> tf.Tensor:
    """Calls `step` on every tile (B,tile,tile,C) of (B,H,W,C) and blends the results to (B,H,W,3).

    H and W are at least `tile`. It works inside graphs that are saved, and holds all restored tiles
    in memory at once.
    """
    size = tf.shape(x)
    tops, lefts = (tile_starts(size[axis], tile, overlap) for axis in (1, 2))
    rows, columns = tf.size(tops), tf.size(lefts)

    def restored_tile(index: tf.Tensor) -> tf.Tensor:
        top, left = tops[index // columns], lefts[index % columns]
        piece = x[:, top : top + tile, left : left + tile]
        return step(tf.ensure_shape(piece, (x.shape[0], tile, tile, x.shape[-1])))

    pieces = tf.map_fn(
        restored_tile,
        tf.range(rows * columns),
        fn_output_signature=tf.TensorSpec((x.shape[0], tile, tile, 3), tf.float32),
    )
    pieces = tf.reshape(pieces, (rows, columns, size[0], tile, tile, 3))
    row_weights = tile_weights(tops, size[1], tile, overlap)
    column_weights = tile_weights(lefts, size[2], tile, overlap)
    pieces *= (
        row_weights[:, None, None, :, None, None] * column_weights[None, :, None, None, :, None]
    )
    # One axis is summed at a time; the tiles of that axis and their pixels come to the front first.
    pieces = tf.transpose(pieces, (0, 3, 1, 4, 2, 5))  # (rows,tile,columns,tile,B,3)
    lines = tf.math.unsorted_segment_sum(pieces, _pixels(tops, tile), size[1])
    lines = tf.transpose(lines, (1, 2, 3, 0, 4))  # (columns,tile,B,H,3)
    image = tf.math.unsorted_segment_sum(lines, _pixels(lefts, tile), size[2])
    return tf.transpose(image, (1, 2, 0, 3))  # (B,H,W,3) from (W,B,H,3)


def _pixels(starts: tf.Tensor, tile: int) -> tf.Tensor:
    return starts[:, None] + tf.range(tile, dtype=tf.int64)  # (n, tile)
