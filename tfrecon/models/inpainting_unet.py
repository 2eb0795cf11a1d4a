"""The lowest squared error inside holes: a harmonic fill, corrected at low resolution.

Where a hole is wide, its pixels cannot be known; the mean of what they could be is smooth. So the
network works on averages of `reduction` pixels, and the fill, at full resolution, keeps the seams.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Natural, Positive, checked
from tfrecon.layers.grids import DepthToSpace, Enlarge, SpaceToDepth
from tfrecon.layers.harmonic_fill import HarmonicFill, halve_known
from tfrecon.layers.ranges import Residual
from tfrecon.models.base import composed
from tfrecon.models.supervised import Restorer
from tfrecon.networks.blocks import additive_unet, convolution, seeded

NAME = "inpainting_unet"
GRIDS = 3
MULTIPLE = 2 << (GRIDS - 1)
ACTIVATION = "leaky_relu"
"""Without normalisation, plain ReLU died at learning rates that this one takes."""


@keras.saving.register_keras_serializable("tfrecon")
class InpaintingUnet(Restorer):
    """A `Restorer` that trains on photos halved `train_halvings` times.

    The network sees averages over `reduction` pixels a side anyway; on halved photos it averages
    over half as many. The cost of fill and loss falls with the number of pixels.
    """

    def __init__(
        self, network: keras.Model, *, reduction: int, train_halvings: int, **kwargs: Any
    ) -> None:
        kwargs["size_multiple"] = reduction * MULTIPLE
        super().__init__(network, **kwargs)
        self.reduction, self.train_halvings = reduction, train_halvings
        core = network.get_layer(NAME)
        self.shrunk_network = _around(core, reduction >> train_halvings, train_halvings)
        self.shrunk_network.autocast = False

    def train_step(self, data: Any) -> dict[str, Any]:
        """Keras's own, on shrunk photos."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        x, y = halved(x, y, self.train_halvings)
        if weight is not None and len(weight.shape) == 4:  # of pixels, where the run weighs holes
            for _ in range(self.train_halvings):
                weight = tf.nn.avg_pool2d(weight, 2, 2, "SAME")
        return super().train_step((x, y, weight))

    def call(self, x: Any, training: bool = False) -> Any:
        """The filled photos; in training of photos that are shrunk already."""
        return (self.shrunk_network if training else self.network)(x, training=training)

    def get_config(self) -> dict[str, Any]:
        """The network and options, for saving."""
        config = {**super().get_config(), "reduction": self.reduction}
        return {**config, "train_halvings": self.train_halvings}


@checked
def inpainting_unet(
    *, image_size: Positive = 256, mask: bool = True, reduction: Positive = 4,
    train_halvings: Natural = 1, width: Positive = 32, depth: Positive = 1, seed: int | None = None,
) -> Restorer:  # fmt: skip
    """Photo and mask (B,H,W,4) to the filled photo (B,H,W,3), all in [0,1]; known pixels stay.
    Raises UserError for data without masks and for an option out of range.

    Args:
        image_size: side of the validation images, a multiple of 8·`reduction`.
        mask: must be True.
        reduction: pixels a side of the squares that the network sees and corrects.
        train_halvings: how often training halves its photos; `reduction` must allow it.
        width: channels of the finest of its three grids, doubled on each coarser one.
        depth: multiplies the numbers of residual blocks.
        seed: of the initial weights.
    """
    if not mask:
        raise UserError(
            "model 'inpainting_unet' fills holes and this data has no masks; draw some with "
            "data.damage=boxes or strokes, or choose residual_unet"
        )
    if reduction % (1 << train_halvings):
        raise UserError(
            f"model.reduction = {reduction} cannot be halved {train_halvings} times; lower "
            "model.train_halvings"
        )
    core = inpainting_unet_network(width, depth, seed)
    return InpaintingUnet(
        _around(core, reduction), reduction=reduction, train_halvings=train_halvings,
        name="inpainting_unet",
    )  # fmt: skip


def halved(x: Any, y: Any, times: int) -> tuple[Any, Any]:
    """Photo and mask (B,H,W,4) and truth (B,H,W,3), halved `times` times: the mean of the known
    pixels of each 2×2, and a hole where none is known. The harmonic fill halves photos in the same
    way, so that the fill of the small photo is a step of the fill of the large one."""
    images, holes = x[..., :3], x[..., 3:]
    for _ in range(times):
        images, known = halve_known(images * (1 - holes), 1 - holes)
        holes = 1 - known
        y = tf.nn.avg_pool2d(y, 2, 2, "SAME")
    return tf.concat([images, holes], -1), y


def _around(core: keras.Model, reduction: int, halvings: int = 0) -> keras.Model:
    """The network from x (B,H,W,4): `core` corrects the fill, averaged over `reduction` pixels."""
    x = keras.Input((None, None, 4), name="x", dtype="float32")
    masks: Any = x[..., 3:]
    filled = HarmonicFill(halvings, name="fill")(x[..., :3], masks)
    small = core(HoleContext(reduction, name="context")(filled, masks))
    if reduction > 1:
        small = Enlarge(reduction, name="enlarge")(small)
    return composed(x, Residual(name="residual")(filled, small), composite=True)


@keras.saving.register_keras_serializable("tfrecon")
class HoleContext(keras.layers.Layer):
    """The network's input: averages over squares of `factor` pixels of the filled photo, of the
    known pixels' share, of the filled photo minus the known pixels' mean colour; row and column.

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


def inpainting_unet_network(width: int, depth: int, seed: int | None) -> keras.Model:
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
    x = additive_unet(x, widths, blocks, blocks[:-1], start, ACTIVATION)
    x = convolution(x, 12, 3, start, "head", scale=1e-5, dtype="float32")
    x = DepthToSpace(dtype="float32", name="positions")(x)
    return keras.Model(inputs, x, name=NAME)
