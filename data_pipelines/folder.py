"""Any folder of images, or two parallel folders of damaged and clean images.

- One folder: every image below `root` is a clean photo, and DAMAGE is drawn onto it.
- Two folders: ``root/input`` and ``root/target`` where both exist, or those that the options
  `inputs` and `targets` name (relative to `root`); files pair by stem, and nothing is drawn.

Each page of a TIFF and each frame of an animation is a photo. Files are split 80/10/10 by a hash of
their id, which is stable when some are added to a large folder; a split that the hash leaves empty
takes one file from the largest, so three are enough.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tfrecon.base.errors import UserError
from tfrecon.base.images import SUFFIXES
from tfrecon.base.registry import Spec
from tfrecon.data.photos import listed, pages, say_left_out
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import Sample, pair_by_stem, split_by_hash

SPLITS = ("train", "val", "test")
DAMAGE = Spec("boxes", {"count": 2, "size": 75})


def samples(
    root: Path | None, split: str, *, inputs: str | None = None, targets: str | None = None
) -> list[Sample]:
    """The images of one split, sorted by id: the path below the folder, without its ending.

    Raises UserError for fewer than three images, two files with one id and a file without partner.
    """
    folder = required_root(root, "folder")
    if (inputs is None) != (targets is None):
        raise UserError("recipe 'folder' needs both inputs and targets, or neither; give the other")
    if inputs is None and (folder / "input").is_dir() and (folder / "target").is_dir():
        inputs, targets = "input", "target"
        say_left_out(folder, sorted(folder.iterdir()), used=(inputs, targets))
    if inputs is None or targets is None:
        pictures = [Sample(_id(path, folder), target=path) for path in _images(folder)]
    else:
        damaged, clean = folder / inputs, folder / targets
        pairs = pair_by_stem(_images(damaged), _images(clean), "recipe 'folder'")
        pictures = [Sample(_id(path, damaged), input=path, target=truth) for path, truth in pairs]
    ids = set(_split(_by_id(pictures), folder)[split])
    chosen = [page for sample in pictures if sample.id in ids for page in _pages(sample)]
    return sorted(chosen, key=lambda sample: sample.id)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"folder {str(folder)!r} does not exist; check --root, inputs and targets")
    paths = listed(folder, below=True)
    if not paths:
        raise UserError(f"no image under {str(folder)!r}; endings read: {', '.join(SUFFIXES)}")
    return paths


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


def _id(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _by_id(samples: list[Sample]) -> dict[str, Sample]:
    by_id: dict[str, Sample] = {}
    for sample in samples:
        if sample.id in by_id:
            first, second = (str(each.files[0]) for each in (by_id[sample.id], sample))
            raise UserError(
                f"{first!r} and {second!r} differ only in their ending; rename one of them"
            )
        by_id[sample.id] = sample
    return by_id


def _split(samples: dict[str, Sample], folder: Path) -> dict[str, list[str]]:
    """The ids of each split, none of them empty."""
    if len(samples) < len(SPLITS):
        raise UserError(
            f"{str(folder)!r} holds {len(samples)} images, too few for the splits "
            f"{', '.join(SPLITS)}; give at least one image for each"
        )
    ids: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in sorted(samples):
        ids[split_by_hash(name)].append(name)
    for split in SPLITS:
        if not ids[split]:
            largest = max(SPLITS, key=lambda other: len(ids[other]))
            ids[split].append(ids[largest].pop())
    return ids
