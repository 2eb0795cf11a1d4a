"""Strong networks for photos damaged everywhere or anywhere: the input plus a learned correction.

Both take any image size (padded by reflection to a multiple of their coarsest grid), with or
without a mask, and start as "do nothing".
"""

from __future__ import annotations

from typing import Any

import keras

from tfrecon.base.errors import UserError, at_least
from tfrecon.layers.ranges import Composite, Residual
from tfrecon.models.supervised import Restorer
from tfrecon.networks.nafnet import nafnet_network
from tfrecon.networks.residual_unet import SIZE_MULTIPLE, residual_unet_network


def residual_unet(
    *,
    image_size: int = 256,
    mask: bool = False,
    width: int = 48,
    depth: int = 1,
    composite: bool = True,
    seed: int | None = None,
) -> Restorer:
    """The default restorer: (B,H,W,3, or 4 with a mask) to (B,H,W,3), all in [0,1].

    A U-Net of residual blocks without normalisation that works from half resolution down: on a CPU
    four times faster a step than NAFNet and better after equal minutes (benchmarks/RESULTS.md).

    Args:
        image_size: side of the validation images, a multiple of 16.
        mask: whether the input's last channel is a mask, 1 = damaged.
        width: channels at half resolution (48: 4.2 M parameters).
        depth: multiplies the numbers of residual blocks.
        composite: known pixels pass through unchanged, where there is a mask.
        seed: of the initial weights.

    Raises:
        UserError: an option out of range.
    """
    at_least("model.width", width, 1)
    at_least("model.depth", depth, 1)
    network = residual_unet_network(channels=3 + mask, width=width, depth=depth, seed=seed)
    return _restorer(network, mask, composite, SIZE_MULTIPLE, "residual_unet")


def nafnet(
    *,
    image_size: int = 256,
    mask: bool = False,
    width: int = 32,
    encoder: list[int] | None = None,
    middle: int = 1,
    decoder: list[int] | None = None,
    composite: bool = True,
    seed: int | None = None,
) -> Restorer:
    """NAFNet (Chen et al. 2022): (B,H,W,3, or 4 with a mask) to (B,H,W,3), all in [0,1].

    The defaults are a small one for a CPU. The paper's for SIDD: width 32 or 64, encoder
    [2, 2, 4, 8], middle 12, decoder [2, 2, 2, 2]; for GoPro: encoder [1, 1, 1, 28], middle 1,
    decoder [1, 1, 1, 1].

    Args:
        image_size: side of the validation images, a multiple of 2 to the number of grids.
        mask: whether the input's last channel is a mask, 1 = damaged.
        width: channels at full resolution, doubled at each coarser grid.
        encoder: blocks of each grid, finest first; None is [1, 1, 1].
        middle: blocks of the coarsest grid.
        decoder: blocks of each grid, coarsest first; None is [1, 1, 1].
        composite: known pixels pass through unchanged, where there is a mask.
        seed: of the initial weights.

    Raises:
        UserError: an option out of range; encoder and decoder of unequal length.
    """
    encoder, decoder = encoder or [1, 1, 1], decoder or [1, 1, 1]
    at_least("model.width", width, 1)
    at_least("every number of blocks of model 'nafnet'", min(middle, *encoder, *decoder), 0)
    if len(encoder) != len(decoder):
        raise UserError(
            f"model.encoder has {len(encoder)} grids and model.decoder {len(decoder)}; give both "
            "equally many"
        )
    network = nafnet_network(
        channels=3 + mask, width=width, encoder=encoder, middle=middle, decoder=decoder, seed=seed
    )
    return _restorer(network, mask, composite, 2 ** len(encoder), "nafnet")


def _restorer(
    correction: keras.Model, mask: bool, composite: bool, size_multiple: int, name: str
) -> Restorer:
    x = keras.Input((None, None, 3 + mask), name="x", dtype="float32")
    damaged: Any = x[..., :3]
    restored = Residual(name="residual")(damaged, correction(x))
    if mask and composite:
        restored = Composite(name="composite")(damaged, restored, x[..., 3:])
    network = keras.Model(x, restored, name="generator")
    return Restorer(network, size_multiple=size_multiple, name=name)
