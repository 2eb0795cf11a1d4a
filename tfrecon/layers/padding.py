"""Reflection padding by any amount, and its undoing: photos of any size for any network."""

from __future__ import annotations

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
