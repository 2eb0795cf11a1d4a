"""Convolutions as matrix products, in training, where that is the faster way.

- The forward pass and the gradient of the data run near the processor's peak; oneDNN's kernel for
  the gradient of the weights has half of it. The same sums are products of matrices: each value of
  the gradient of a kernel (kh,kw,in,out) is the sum, over all places, of an input value times a
  value of the output's gradient (Chellapilla et al. 2006, "High performance convolutional neural
  networks for document processing").
- Where a large kernel meets few places, most of the time of a convolution goes into the order that
  oneDNN brings the kernel into, anew at each step. Products take it as it lies.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

FEW, WIDE = 512, 1 << 18
"""Places at most, and values of a kernel at a place at least, for products to be the faster way to
a convolution."""


def weight_gradient(x: Any, wanted: Any, size: int, stride: int, same: bool) -> Any:
    """The gradient (k,k,in,out) of the kernel of a convolution of `x` (B,H,W,in), given that of its
    output, `wanted` (B,h,w,out); k is `size`. With `same` padding, as TensorFlow pads, else none.

    For stride 2 and even k one product: the k² positions lie side by side in the channels, taken
    from those of squares of 2×2, where they are neighbours. For stride 1 k² products.
    """
    outputs = tf.shape(wanted)
    height, width = outputs[1], outputs[2]
    x = _padded(x, (height, width), size, stride, same)
    into, out = x.shape[-1], wanted.shape[-1]
    wanted = tf.reshape(wanted, (-1, out))
    if stride == 1:
        shifts = [(i, j) for i in range(size) for j in range(size)]
        parts = [tf.reshape(x[:, i : i + height, j : j + width], (-1, into)) for i, j in shifts]
        products = [tf.matmul(part, wanted, transpose_a=True) for part in parts]
        return tf.reshape(tf.stack(products), (size, size, into, out))
    beside = tf.reshape(_side_by_side(x, (height, width), size), (-1, size * size * into))
    return tf.reshape(tf.matmul(beside, wanted, transpose_a=True), (size, size, into, out))


def _side_by_side(x: Any, outputs: Sequence[Any], size: int) -> Any:
    """(B,h,w,k²·in): the `size`² pixels of `x` (B,H,W,in) that each place of a convolution with
    stride 2 reads."""
    (height, width), into = outputs, x.shape[-1]
    x = tf.nn.space_to_depth(x, 2)
    parts = []
    for i, j in itertools.product(range(size), repeat=2):
        first = (i % 2 * 2 + j % 2) * into  # of the channels that hold this pixel of each square
        row, column = i // 2, j // 2
        parts.append(x[:, row : row + height, column : column + width, first : first + into])
    return tf.concat(parts, -1)


def gathered(x: Any, kernel: Any, stride: int, padding: str) -> Any:
    """The convolution of `x` (B,H,W,in) with `kernel` (k,k,in,out)."""
    batch, *sides = (x.shape[0], *(side and -(-side // stride) for side in x.shape[1:3]))
    if not _few_places((batch, *sides), kernel, stride, padding):
        return tf.nn.conv2d(x, kernel, stride, padding)
    size, _, into, out = kernel.shape
    beside = _side_by_side(_padded(x, sides, size, stride, True), sides, size)
    beside = tf.reshape(beside, (-1, size * size * into))
    return tf.reshape(tf.matmul(beside, tf.reshape(kernel, (-1, out))), (batch, *sides, out))


def spread(y: Any, kernel: Any, shape: Any, stride: int, padding: str) -> Any:
    """The transpose of `gathered`: `y` (B,h,w,out) to images of `shape` (B,H,W,in). By products in
    16 bits each of the k²/4 summands of a pixel is rounded, not their sum alone."""
    if not _few_places(y.shape[:3], kernel, stride, padding):
        return tf.nn.conv2d_transpose(y, kernel, shape, stride, padding)
    (batch, height, width), (size, _, into, out) = y.shape[:3], kernel.shape
    beside = tf.matmul(tf.reshape(y, (-1, out)), tf.reshape(kernel, (-1, out)), transpose_b=True)
    half = size // 2  # squares of 2×2 pixels, to each of which as many places add on each axis
    beside = tf.reshape(beside, (batch, height, width, half, 2, half, 2, into))
    parts = [
        tf.pad(
            beside[:, :, :, i, :, j], [(0, 0), (i, half - 1 - i), (j, half - 1 - j), *[(0, 0)] * 3]
        )
        for i, j in itertools.product(range(half), repeat=2)
    ]
    squares = tf.transpose(tf.add_n(parts), (0, 1, 3, 2, 4, 5))
    rows, columns = 2 * (height + half - 1), 2 * (width + half - 1)
    top, left = (rows - shape[1]) // 2, (columns - shape[2]) // 2
    image = tf.reshape(squares, (batch, rows, columns, into))
    return image[:, top : top + shape[1], left : left + shape[2]]


def _shape(x: Any) -> list[Any]:
    """That of `x`, its numbers as far as they are known before `x` is."""
    return [tf.shape(x)[axis] if side is None else side for axis, side in enumerate(x.shape)]


def _few_places(places: Any, kernel: Any, stride: int, padding: str) -> bool:
    """Whether products are the faster way to convolve with `kernel` (k,k,·,·), as measured
    (`benchmarks/weight_gradient.py`): few `places` (B,h,w) and many values at each."""
    wide = int(kernel.shape[2]) * int(kernel.shape[3]) >= WIDE
    wanted = wide and stride == 2 and padding == "SAME" and kernel.shape[0] % 2 == 0
    return wanted and None not in places and math.prod(places) <= FEW


def _padded(x: Any, outputs: Sequence[Any], size: int, stride: int, same: bool) -> Any:
    """`x` with zeros around it, or without its last lines, of the pixels that `outputs` places
    read."""
    shape, pads = tf.shape(x), [(0, 0)]
    read = [(places - 1) * stride + size for places in outputs]
    for axis in (1, 2):
        missing = tf.maximum(read[axis - 1] - shape[axis], 0) if same else 0
        pads.append((missing // 2, missing - missing // 2))
    return tf.pad(x, [*pads, (0, 0)])[:, : read[0], : read[1]]


def _by_products(kernel: Any, strides: tuple[int, int], layer: Any) -> bool:
    """Whether products are the faster way to the gradient of `kernel` (k,k,·,·), as measured on
    processors (`benchmarks/weight_gradient.py`): 4×4 of many channels, fewer in bfloat16 than in
    float32. GPUs have kernels of their own for it."""
    wide = int(kernel.shape[2]) * int(kernel.shape[3])
    least = (1 << 14) if layer.compute_dtype == "bfloat16" else (1 << 16)
    stride = strides[0]
    if tf.config.list_physical_devices("GPU"):
        return False
    if layer.data_format != "channels_last" or layer.dilation_rate != (1, 1):
        return False
    if tuple(kernel.shape[:2]) != (4, 4) or strides != (stride, stride) or stride > 2:
        return False
    return wide >= (least if stride == 2 else 1 << 17)


@keras.saving.register_keras_serializable("tfrecon")
class Conv2D(layers.Conv2D):
    """Keras's `Conv2D`, by products in training where they are the faster way. Outside training it
    is Keras's, so that exports hold nothing else."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """(B,H,W,in) to (B,h,w,filters)."""
        if not training:
            return super().call(inputs)
        return _finished(self, self.convolved(inputs, self.kernel, training))

    def convolved(self, inputs: Any, kernel: Any, training: bool) -> Any:
        """`inputs` convolved with `kernel`, without bias or activation."""
        if not training or self.groups > 1 or not _by_products(kernel, self.strides, self):
            return self.convolution_op(inputs, kernel)
        stride, padding = self.strides[0], self.padding.upper()

        @tf.custom_gradient
        def convolve(x: Any, kernel: Any) -> Any:
            def gradients(wanted: Any) -> tuple[Any, Any]:
                of_x = spread(wanted, kernel, _shape(x), stride, padding)
                of_kernel = weight_gradient(x, wanted, kernel.shape[0], stride, padding == "SAME")
                return of_x, of_kernel

            return gathered(x, kernel, stride, padding), gradients

        return convolve(inputs, tf.convert_to_tensor(kernel))


@keras.saving.register_keras_serializable("tfrecon")
class Conv2DTranspose(layers.Conv2DTranspose):
    """Keras's `Conv2DTranspose`, with "same" padding by products as `Conv2D`."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """(B,H,W,in) to (B,H·stride,W·stride,filters)."""
        wanted = training and self.padding == "same"
        if not wanted or not _by_products(self.kernel, self.strides, self):
            return super().call(inputs)
        stride = self.strides[0]

        @tf.custom_gradient
        def convolve(x: Any, kernel: Any) -> Any:
            batch, height, width, _ = _shape(x)

            def gradients(wanted: Any) -> tuple[Any, Any]:
                of_x = gathered(wanted, kernel, stride, "SAME")
                return of_x, weight_gradient(wanted, x, kernel.shape[0], stride, True)

            size = (batch, height * stride, width * stride, kernel.shape[2])
            return spread(x, kernel, size, stride, "SAME"), gradients

        return _finished(self, convolve(inputs, tf.convert_to_tensor(self.kernel)))


def _finished(layer: Any, outputs: Any) -> Any:
    """`outputs` with the layer's bias and activation."""
    if layer.use_bias:
        outputs = ops.add(outputs, ops.reshape(layer.bias, (1, 1, 1, layer.filters)))
    return outputs if layer.activation is None else layer.activation(outputs)
