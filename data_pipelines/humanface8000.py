"""humanface8000: faces, clean and damaged by scratches, dust, noise and blur, paired by file stem.

``landscape Images/color`` holds the clean photos, ``landscape Images/gray`` the damaged ones;
`root` is the folder that holds them, the one above, or the one above that. Where the two files of
a pair differ in size, the damaged one is brought to the size of the clean one.

The published split is 90/10: here a tenth is the test set by a hash of the stem, and of the rest
as many as `val` says validate, so that the checkpoint is not picked on the test set.
"""

from __future__ import annotations

from pathlib import Path

from tfrecon.base.errors import UserError
from tfrecon.data.photos import holding, photos
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import Sample, pair_by_stem, split_by_hash

SPLITS = ("train", "val", "test")
PLACES = ("", "landscape Images", "humanface8000/landscape Images")
TEST = 0.1


def samples(root: Path | None, split: str, *, val: float = 0.05) -> list[Sample]:
    """The pairs of one split, sorted by stem, their id; `val` is the share that validates.

    Raises UserError for a missing folder or side, a photo without partner, two of one stem, and a
    share outside (0, 0.9).
    """
    if not 0 < val < 1 - TEST:
        raise UserError(
            f"option 'val' of recipe 'humanface8000' must lie in (0, {1 - TEST}), not {val}"
        )
    folder = holding(required_root(root, "humanface8000"), PLACES, "color")
    pairs = pair_by_stem(photos(folder / "gray"), photos(folder / "color"), "humanface8000")
    return [
        Sample(clean.stem, input=damaged, target=clean, resize_input=True)
        for damaged, clean in pairs
        if split_by_hash(clean.stem, val=val, test=TEST) == split
    ]
