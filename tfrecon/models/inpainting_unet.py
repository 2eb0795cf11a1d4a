"""The lowest squared error inside holes: a harmonic fill, corrected at low resolution.

Where a hole is wide, its pixels cannot be known; the mean of what they could be is smooth. So the
network works on averages of `reduction` pixels, and the fill, at full resolution, keeps the seams.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrecon.base.errors import UserError, at_least
from tfrecon.layers.enlarge import Enlarge
from tfrecon.layers.harmonic_fill import HarmonicFill, halve_known
from tfrecon.layers.ranges import Composite, Residual
from tfrecon.models.supervised import Restorer
from tfrecon.networks.inpainting_unet import MULTIPLE, NAME, HoleContext, inpainting_unet_network


@keras.saving.register_keras_serializable("tfrecon")
class InpaintingUnet(Restorer):
    """A `Restorer` that trains on photos halved `train_halvings` times.

    The network sees averages anyway: of `reduction` pixels at inference, of as many fewer of the
    shrunk photo. Fill and loss get cheaper by the square.
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


def inpainting_unet(
    *,
    image_size: int = 256,
    mask: bool = True,
    reduction: int = 4,
    train_halvings: int = 1,
    width: int = 32,
    depth: int = 1,
    seed: int | None = None,
) -> Restorer:
    """Photo and mask (B,H,W,4) to the filled photo (B,H,W,3), all in [0,1]; known pixels stay.

    Args:
        image_size: side of the validation images, a multiple of 8·`reduction`.
        mask: must be True.
        reduction: pixels a side of the squares that the network sees and corrects.
        train_halvings: how often training halves its photos; `reduction` must allow it.
        width: channels of the finest of its three grids, doubled on each coarser one.
        depth: multiplies the numbers of residual blocks.
        seed: of the initial weights.

    Raises:
        UserError: data without masks, an option out of range.
    """
    if not mask:
        raise UserError(
            "model 'inpainting_unet' fills holes and this data has no masks; draw some with "
            "data.damage=boxes or strokes, or choose residual_unet"
        )
    for name, value in (("reduction", reduction), ("width", width), ("depth", depth)):
        at_least(f"model.{name}", value, 1)
    at_least("model.train_halvings", train_halvings, 0)
    if reduction % (1 << train_halvings):
        raise UserError(
            f"model.reduction = {reduction} cannot be halved {train_halvings} times; lower "
            "model.train_halvings"
        )
    core = inpainting_unet_network(width=width, depth=depth, seed=seed)
    return InpaintingUnet(
        _around(core, reduction), reduction=reduction, train_halvings=train_halvings,
        name="inpainting_unet",
    )  # fmt: skip


def halved(x: Any, y: Any, times: int) -> tuple[Any, Any]:
    """Photo and mask (B,H,W,4) and truth (B,H,W,3) at half the size: means of the known pixels of
    2×2, and a hole where there is none. So the fill of one is a step of the fill of the other."""
    images, holes = x[..., :3], x[..., 3:]
    for _ in range(times):
        images, known = halve_known(images * (1 - holes), 1 - holes)
        holes = 1 - known
        y = tf.nn.avg_pool2d(y, 2, 2, "SAME")
    return tf.concat([images, holes], -1), y


def _around(core: keras.Model, reduction: int, halvings: int = 0) -> keras.Model:
    """`core` between the fill with its averages over `reduction` pixels and the composite."""
    x = keras.Input((None, None, 4), name="x", dtype="float32")
    damaged: Any = x[..., :3]
    masks: Any = x[..., 3:]
    filled = HarmonicFill(halvings, name="fill")(damaged, masks)
    small = core(HoleContext(reduction, name="context")(filled, masks))
    if reduction > 1:
        small = Enlarge(reduction, name="enlarge")(small)
    restored = Residual(name="residual")(filled, small)
    restored = Composite(name="composite")(damaged, restored, masks)
    return keras.Model(x, restored, name="generator")
