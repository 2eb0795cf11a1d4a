"""The lowest squared error inside holes: a harmonic fill, corrected at low resolution.

Where a hole is wide, its pixels cannot be known; the mean of what they could be is smooth. So the
network works on averages of `reduction` pixels, and the fill, at full resolution, keeps the seams.
"""

from __future__ import annotations

from typing import Any

import keras

from tfrecon.errors import UserError, at_least
from tfrecon.layers.enlarge import Enlarge
from tfrecon.layers.harmonic_fill import HarmonicFill
from tfrecon.layers.ranges import Composite, Residual
from tfrecon.models.supervised import Restorer
from tfrecon.networks.inpainting_unet import GRIDS, HoleContext, inpainting_unet_network


def inpainting_unet(
    *,
    image_size: int = 256,
    mask: bool = True,
    reduction: int = 4,
    width: int = 24,
    depth: int = 1,
    seed: int | None = None,
) -> Restorer:
    """Photo and mask (B,H,W,4) to the filled photo (B,H,W,3), all in [0,1]; known pixels stay.

    Args:
        image_size: side of the validation images; any.
        mask: must be True.
        reduction: pixels a side of the squares that the network sees and corrects.
        width: channels of the finest of its four grids, doubled on each coarser one.
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
    x = keras.Input((None, None, 4), name="x", dtype="float32")
    damaged: Any = x[..., :3]
    masks: Any = x[..., 3:]
    filled = HarmonicFill(name="fill")(damaged, masks)
    context = HoleContext(reduction, name="context")(filled, masks)
    small = inpainting_unet_network(width=width, depth=depth, seed=seed)(context)
    if reduction > 1:
        small = Enlarge(reduction, name="enlarge")(small)
    restored = Residual(name="residual")(filled, small)
    restored = Composite(name="composite")(damaged, restored, masks)
    network = keras.Model(x, restored, name="generator")
    multiple = reduction << (GRIDS - 1)
    return Restorer(network, size_multiple=multiple, name="inpainting_unet")
