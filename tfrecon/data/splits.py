"""Where the samples of a layout go: into the splits that folders or a table say, or that a hash of
their names says; and photos side by side as pairs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.data.layouts import Layout, two_readings
from tfrecon.data.roles import SPLITS
from tfrecon.data.sample import Sample, split_by_hash


def in_splits(
    folder: Path, layout: Layout, by_folder: bool = True
) -> tuple[dict[str, list[Sample]], str]:
    """The samples of each split, and in words where that comes from: their folders, or, unless
    `by_folder` or where no folder says it, a hash of the ids (80/10/10, none empty; a split
    that lacks a folder takes a tenth of train).

    Raises UserError where some lie in such folders and others do not, and for too few samples.
    """
    samples = layout.samples
    if not by_folder or set(samples) == {""}:
        every = [sample for each in samples.values() for sample in each]
        return _hashed(folder, every, tuple(SPLITS)), "splits by hash of names"
    if "" in samples:
        named = " and ".join(split for split in SPLITS if split in samples)
        other = samples[""][0].files[0].name
        why = f"there are {named} by {layout.divided}, and {other!r} is in none of them"
        whole = ("one set, split by a hash,", {"splits": "hash"})
        raise two_readings(folder, why, whole, (f"{named}, once it is in one", {"splits": "auto"}))
    found = {split: list(samples.get(split, ())) for split in SPLITS}
    missing = [split for split in SPLITS if split not in samples]
    if not missing or "train" in missing:
        return found, f"splits from {layout.divided}"
    of_train = _hashed(folder, found["train"], ("train", *missing))
    return (
        found | of_train,
        f"splits from {layout.divided}, {' and '.join(missing)} by hash from train",
    )


def _hashed(
    folder: Path, samples: Sequence[Sample], splits: Sequence[str]
) -> dict[str, list[Sample]]:
    """The samples by split, none of them empty."""
    if len(samples) < len(splits):
        raise UserError(
            f"{str(folder)!r} holds {len(samples)} images, too few for the splits "
            f"{', '.join(splits)}; give at least one image for each"
        )
    found: dict[str, list[Sample]] = {split: [] for split in splits}
    for sample in sorted(samples, key=lambda sample: sample.id):
        shares = {split: 0.1 if split in splits else 0.0 for split in ("val", "test")}
        found[split_by_hash(sample.id, **shares)].append(sample)
    for split in splits:
        if not found[split]:
            largest = max(splits, key=lambda other: len(found[other]))
            found[split].append(found[largest].pop())
    return found


def halved(sample: Sample, target: Literal["left", "right"]) -> Sample:
    """A photo of an input beside its target as such a pair. Raises UserError for an odd width; a
    file that cannot be read is given back, and whoever reads it says so."""
    path = sample.files[0]
    try:
        height, width = images.size(path, sample.page)
    except UserError:
        return sample
    if width % 2:
        raise UserError(f"{str(path)!r} is {width} pixels wide, which are no two halves; crop it")
    left, right = ((0, start, height, width // 2) for start in (0, width // 2))
    wanted, given = (left, right) if target == "left" else (right, left)
    return replace(sample, input=path, target=path, region=wanted, input_region=given)
