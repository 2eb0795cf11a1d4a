"""Transposed convolutions by ordinary ones, whose kernels oneDNN keeps in its order between calls
(Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?",
https://arxiv.org/abs/1609.07009)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Array = np.ndarray[Any, Any]

LANES = 16
"""Channels that a convolution makes at a time, and makes where fewer are asked for."""


def enlarged(x: Any, kernel: Array, stride: int, finish: Callable[[Any], Any] = lambda x: x) -> Any:
    """The transposed convolution of `x` (B,H,W,in) with `kernel` (k,k,in,out), "same", to
    (B,stride·H,stride·W,out), by ordinary convolutions, of each of which `finish` is taken: one for
    each pixel of a square, or one for all (B,H,W,stride·stride·out) where so few channels fit into
    `LANES`."""
    taps = [[_taps(size, stride, place) for place in range(stride)] for size in kernel.shape[:2]]
    shape, channels = tf.shape(x), kernel.shape[3]
    sides = shape[0], stride * shape[1], stride * shape[2], channels
    if stride * stride * channels <= LANES:
        square = finish(_squares(x, kernel, taps))
        squares = tf.reshape(square, (shape[0], shape[1], shape[2], stride, stride * channels))
        return tf.reshape(tf.transpose(squares, (0, 1, 3, 2, 4)), sides)
    bands = []
    for rows, above in taps[0]:
        parts = []
        for columns, beside in taps[1]:
            pads = [[0, 0], above, beside, [0, 0]]
            parts.append(finish(tf.nn.conv2d(x, kernel[rows][:, columns], 1, pads)))
        bands.append(tf.concat(parts, 3))
    return tf.reshape(tf.concat(bands, 2), sides)


def _squares(x: Any, kernel: Array, taps: list[list[Any]]) -> Any:
    """Each pixel's square of `enlarged`, its channels in the order row, column, channel."""
    pads = [[max(pad[end] for _, pad in side) for end in (0, 1)] for side in taps]
    sizes = [sum(pad) + 1 for pad in pads]
    joint = np.zeros((*sizes, kernel.shape[2], len(taps[0]), len(taps[1]), kernel.shape[3]))
    for row, (rows, above) in enumerate(taps[0]):
        for column, (columns, beside) in enumerate(taps[1]):
            top, left = pads[0][0] - above[0], pads[1][0] - beside[0]
            window = joint[top : top + len(rows), left : left + len(columns)]
            window[:, :, :, row, column] = kernel[rows][:, columns]
    weights = joint.reshape(*joint.shape[:3], -1).astype(kernel.dtype)
    return tf.nn.conv2d(x, weights, 1, [[0, 0], *pads, [0, 0]])


def _taps(size: int, stride: int, place: int) -> tuple[list[int], list[int]]:
    """Which lines of a kernel reach the pixel at `place` of a square, in the order of the input's
    lines, and by how many lines the input is padded before and behind."""
    before = (size - stride) // 2
    first, behind = (place + before) % stride, (place + before) // stride
    taps = [*range(first, size, stride)][::-1]
    return taps, [len(taps) - 1 - behind, behind]
