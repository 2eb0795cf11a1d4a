"""The default restorer: a U-Net of residual blocks without normalisation.

It predicts a correction of its input, which starts at zero, and takes photos of any size.
"""

from tfrecon.base.registry import Positive, checked
from tfrecon.models.base import Fill
from tfrecon.models.supervised import Restorer, corrector
from tfrecon.networks.residual_network import HALVINGS, residual_network


@checked
def residual_unet(
    *, image_size: Positive = 256, mask: bool = False, width: Positive = 48, depth: Positive = 1,
    fill: Fill = "none", composite: bool = True, seed: int | None = None,
) -> Restorer:  # fmt: skip
    """The default restorer: (B,H,W,3, or 4 with a mask) to (B,H,W,3), all in [0,1].

    `tfrecon.networks.residual_network` has its network: on a CPU four times faster a step than
    NAFNet and better after equal minutes (benchmarks/HISTORY.md). Raises UserError for an option
    out of range.

    Args:
        image_size: side of the validation images, a multiple of 16.
        mask: whether the input's last channel is a mask, 1 = damaged.
        width: channels at half resolution (48: 4.2 M parameters).
        depth: multiplies the numbers of residual blocks.
        fill: what it sees and corrects in the holes: the photo, mean colour or harmonic fill.
        composite: known pixels pass through unchanged, where there is a mask.
        seed: of the initial weights.
    """
    network = residual_network(channels=3 + mask, width=width, depth=depth, seed=seed)
    return corrector(
        network, mask=mask, composite=composite, fill=fill, size_multiple=2**HALVINGS,
        name="residual_unet",
    )  # fmt: skip
