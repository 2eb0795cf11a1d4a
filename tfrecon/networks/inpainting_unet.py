"""A small U-Net that looks at a filled photo at low resolution and corrects the fill."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrecon.layers.depth_to_space import DepthToSpace, SpaceToDepth
from tfrecon.networks.blocks import additive_unet, convolution, seeded

NAME = "inpainting_unet"
GRIDS = 3
MULTIPLE = 2 << (GRIDS - 1)
ACTIVATION = "leaky_relu"
"""Without normalisation, plain ReLU died at learning rates that this one takes."""


@keras.saving.register_keras_serializable("tfrecon")
class HoleContext(keras.layers.Layer):
    """What the network sees, averaged over squares of `factor` pixels: the filled photo, the share
    of known pixels, the filled photo less the mean colour of the known pixels, row and column.

    (B,H,W,3) and mask (B,H,W,1) to (B,H/factor,W/factor,9), float32 inside.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self.factor = factor

    def call(self, filled: Any, masks: Any) -> Any:
        """Channels: colours, share known, colours less mean, row and column in [-1,1]."""
        known = 1 - masks
        count = ops.maximum(ops.sum(known, axis=(1, 2), keepdims=True), 1)
        mean = ops.sum(filled * known, axis=(1, 2), keepdims=True) / count
        small = ops.average_pool(filled, self.factor, self.factor)
        share = ops.average_pool(known, self.factor, self.factor)
        shape = tf.shape(share)
        rows = tf.linspace(-1.0, 1.0, shape[1])[None, :, None, None]
        columns = tf.linspace(-1.0, 1.0, shape[2])[None, None, :, None]
        rows, columns = tf.broadcast_to(rows, shape), tf.broadcast_to(columns, shape)
        return ops.concatenate([small, share, small - mean, rows, columns], axis=-1)

    def compute_output_shape(self, filled_shape: Any, masks_shape: Any) -> Any:
        """Nine channels on the small grid."""
        side = [None if size is None else size // self.factor for size in filled_shape[1:3]]
        return (filled_shape[0], *side, 9)

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {**super().get_config(), "factor": self.factor}


def inpainting_unet_network(
    *, width: int = 32, depth: int = 1, seed: int | None = None
) -> keras.Model:
    """(B,h,w,9) of `HoleContext` to a correction (B,h,w,3), float32, near zero at the start; h and
    w multiples of `MULTIPLE`.

    It works on squares of 2×2, on grids of 1, 2 and 4 times `width` channels, with `depth` residual
    blocks on each way, twice as many at the coarsest.
    """
    start = seeded(seed)
    widths = [width << grid for grid in range(GRIDS)]
    inputs = keras.Input((None, None, 9), name="context")
    x = SpaceToDepth(2, name="squares")(inputs)
    x = convolution(x, width, 3, start, "enter", activation=ACTIVATION)
    blocks = [depth] * (GRIDS - 1) + [2 * depth]
    x = additive_unet(x, widths, blocks, depth, start, ACTIVATION)
    x = convolution(x, 12, 3, start, "head", scale=1e-5, dtype="float32")
    x = DepthToSpace(dtype="float32", name="positions")(x)
    return keras.Model(inputs, x, name=NAME)
