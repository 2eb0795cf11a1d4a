"""Any folder of images: clean photos, onto which DAMAGE is drawn, or damaged ones with targets.

`tfrecon.data.layouts` tells which, by what the folders are called; the line that is printed says
what was understood:

- ``input`` and ``target``, ``A`` and ``B``, ``lq`` and ``gt``, ``noisy`` and ``clean``, … (all
  words: `tfrecon.data.roles`) hold pairs of equal stems, and ``mask`` their masks;
- ``train``, ``val`` and ``test`` above or below them, or in one name (``trainA``), are the splits;
- ``metadata.csv`` or ``metadata.jsonl`` name the images and their partners;
- all else is clean photos, to which the options give their meaning.

Each page of a TIFF and each frame of an animation is a photo. Without folders of splits files are
split 80/10/10 by a hash of their id, which is stable when some are added to a large folder; a split
that the hash leaves empty takes one file from the largest, so three are enough.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import layouts
from tfrecon.data.photos import pages, print_once
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import MaskFrom, Sample
from tfrecon.data.splits import halved, in_splits

SPLITS = ("train", "val", "test")
DAMAGE = Spec("boxes", {"count": 2, "size": 75})


def samples(
    root: Path | None, split: str, *, layout: Literal["auto", "photos", "side_by_side"] = "auto",
    inputs: str | None = None, targets: str | None = None, masks: str | None = None,
    mask_from: MaskFrom | None = None, target_half: Literal["left", "right"] = "right",
    splits: Literal["auto", "hash"] = "auto", resize_inputs: bool = False,
) -> list[Sample]:  # fmt: skip
    """The images of one split, sorted by id: the path below the folder, without its ending.

    `layout`, `inputs`, `targets`, `masks` and `mask_from` are those of `layouts.read`;
    `target_half` is where targets lie in photos side by side, ``splits="hash"`` makes nothing of
    folders called train, val and test, and `resize_inputs` brings inputs to the size of their
    targets. Raises UserError for what `layouts` refuses, and for fewer than three images.
    """
    folder = required_root(root, "folder")
    found = layouts.read(
        folder, layout=layout, inputs=inputs, targets=targets, masks=masks, mask_from=mask_from
    )
    by_split, origin = in_splits(folder, found, splits == "auto")
    half = f" ({target_half} half)" if layout == "side_by_side" else ""
    print_once(f"{found.what}{half}; {origin}", folder)
    if not by_split[split]:
        there = " and ".join(name for name in SPLITS if by_split[name])
        raise UserError(
            f"{str(folder)!r} has folders for {there} and none for {split}; add it, or divide all "
            "by a hash with --set data.recipe.splits=hash"
        )
    chosen = [page for sample in by_split[split] for page in _pages(sample)]
    if layout == "side_by_side":
        chosen = [halved(sample, target_half) for sample in chosen]
    chosen = [replace(sample, resize_input=resize_inputs) for sample in chosen]
    return sorted(chosen, key=lambda sample: sample.id)


def _pages(sample: Sample) -> list[Sample]:
    """One sample for each page of its files: ``name``, ``name#2`` and so on."""
    numbers = pages(sample.files[-1])
    if any(pages(path) != numbers for path in sample.files):
        raise UserError(
            f"{' and '.join(repr(str(path)) for path in sample.files)} have different numbers of "
            "pages; a pair must have as many"
        )
    named = enumerate(numbers, start=1)
    return [replace(sample, id=sample.id + f"#{n}" * (n > 1), page=page) for n, page in named]
