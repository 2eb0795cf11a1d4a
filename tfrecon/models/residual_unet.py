"""The default restorer: a U-Net of residual blocks without normalisation.

It predicts a correction of its input, which starts at zero, and takes photos of any size.
"""

from typing import Annotated, Literal

from tfrecon.base.registry import AtLeast, Positive, checked
from tfrecon.models.base import Fill
from tfrecon.models.supervised import Restorer, corrector
from tfrecon.networks.residual_network import multiple, residual_network


@checked
def residual_unet(
    *, image_size: Positive = 256, mask: bool = False, width: Positive = 48, depth: Positive = 1,
    grids: Literal["auto", "fine", "deep"] = "deep",
    top_hats: Annotated[list[int], AtLeast(1)] | None = None, fill: Fill = "none",
    composite: bool = True, seed: int | None = None,
) -> Restorer:  # fmt: skip
    """The default restorer: (B,H,W,3, or 4 with a mask) to (B,H,W,3), all in [0,1].

    `tfrecon.networks.residual_network` has its network: on a CPU four times faster a step than
    NAFNet and better after equal minutes (benchmarks/HISTORY.md). Raises UserError for an option
    out of range.

    Args:
        image_size: side of the validation images, a multiple of 8, of 16 with deep grids.
        mask: whether the input's last channel is a mask, 1 = damaged.
        width: channels at half resolution (48: 1.0 M parameters, 4.2 M with deep grids).
        depth: multiplies the numbers of residual blocks.
        grids: where most of the blocks are: at half resolution (``"fine"``, for scratches, noise
            and blur), at 1/8 and 1/16 (``"deep"``, for wide holes), or fine unless there is a mask.
        top_hats: sides in pixels of squares; thin marks that are narrower are shown to it beside
            the image (`tfrecon.layers.top_hats`), unless there is a mask, which shows the damage.
        fill: what it sees and corrects in the holes: the photo, mean colour or harmonic fill.
        composite: known pixels pass through unchanged, where there is a mask.
        seed: of the initial weights.
    """
    if grids == "auto":
        grids = "deep" if mask else "fine"
    network = residual_network(
        channels=3 + mask, width=width, depth=depth, grids=grids,
        top_hats=() if mask else top_hats or (), seed=seed,
    )  # fmt: skip
    return corrector(
        network, mask=mask, composite=composite, fill=fill, size_multiple=multiple(grids),
        name="residual_unet",
    )  # fmt: skip
