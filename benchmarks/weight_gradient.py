"""Convolutions and their gradients as matrix products, beside TensorFlow's own, shape by shape.

    python -m benchmarks.weight_gradient [--precision bfloat16] [SHAPE …]

A SHAPE is batch,in,out,side,kernel,stride; without one they are those of pix2pix and of residual
blocks. For each the largest difference over the largest value, and GFLOP/s of
`tfrecon.layers.convolutions` and of TensorFlow's kernel: of the gradient of the kernel, and with
stride 2 of the convolution and of its transpose, which is the gradient of the data. The shapes for
which the layers take products (`_by_products`, `_few_places`) are chosen by these figures.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.record import alternated, rates, row

SHAPES = [
    "1,64,128,128,4,2", "1,64,256,128,4,2", "1,128,256,64,4,2", "1,256,512,32,4,2",
    "1,512,512,8,4,2", "8,64,128,128,4,2", "8,64,256,128,4,2", "8,128,256,64,4,2",
    "8,256,512,32,4,2", "8,512,512,8,4,2", "1,512,1024,8,4,2", "1,512,1024,16,4,2",
    "8,512,1024,8,4,2", "8,512,1024,16,4,2", "8,256,1024,32,4,2",
    "1,256,512,32,4,1", "8,256,512,32,4,1", "8,48,48,96,3,1", "8,192,192,24,3,1",
]  # fmt: skip


def compared(shape: str, precision: str) -> None:
    """The row of a shape."""
    import tensorflow as tf

    from tfrecon.layers import convolutions

    batch, into, out, side, size, stride = map(int, shape.split(","))
    small = -(-side // stride)
    x = tf.cast(tf.random.normal((batch, side, side, into)), precision)
    wanted = tf.cast(tf.random.normal((batch, small, small, out)), precision)

    def own_gradient() -> Any:
        return tf.raw_ops.Conv2DBackpropFilter(
            input=x, filter_sizes=[size, size, into, out], out_backprop=wanted,
            strides=[1, stride, stride, 1], padding="SAME",
        )  # fmt: skip

    kernel = tf.cast(tf.random.normal((size, size, into, out)), precision)
    convolutions.FEW, convolutions.WIDE = batch * small**2, 0
    how = stride, "SAME"
    kinds: dict[str, tuple[Any, Any]] = {
        "gradient of the kernel": (
            lambda: convolutions.weight_gradient(x, wanted, size, stride, True), own_gradient
        ),
        "convolution": (
            lambda: convolutions.gathered(x, kernel, *how), lambda: tf.nn.conv2d(x, kernel, *how)
        ),
        "transpose": (
            lambda: convolutions.spread(wanted, kernel, x.shape, *how),
            lambda: tf.nn.conv2d_transpose(wanted, kernel, x.shape, *how),
        ),
    }  # fmt: skip
    gflop = 2 * batch * into * out * size**2 * small**2 / 1e9
    for kind, pair in [*kinds.items()][: 3 if stride == 2 else 1]:
        ours, theirs = map(tf.function, pair)
        expected, found = (tf.cast(way(), tf.float32) for way in (theirs, ours))
        apart = tf.reduce_max(abs(found - expected)) / tf.reduce_max(abs(expected))
        print(f"{shape}, {kind}: {float(apart):.0e} apart")
        ways = {
            "products": lambda ours=ours: ours().numpy(),
            "TensorFlow": lambda theirs=theirs: theirs().numpy(),
        }
        what = f"{shape}, {kind}"
        row(what, "GFLOP/s", rates(alternated(ways, 7), gflop), precision=precision)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", default=SHAPES)
    parser.add_argument("--precision", default="bfloat16")
    asked = parser.parse_args()
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    for shape in asked.shapes:
        compared(shape, asked.precision)


if __name__ == "__main__":
    main()
