"""Restores photos of any size, one or a folder of them, by an export, a preset or a method."""

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from tfrecon.base import files, images
from tfrecon.base.depth import Stored
from tfrecon.base.errors import UserError
from tfrecon.base.journal import Journal
from tfrecon.base.spread import Each, Opened, here, opened
from tfrecon.data.check import readable
from tfrecon.data.masks import Masks, check_masks
from tfrecon.data.sample import MaskFrom
from tfrecon.data.store import Reader
from tfrecon.inference.places import JPEG, checked_output, photos_of, placed
from tfrecon.inference.restorer import PhotoRestorer
from tfrecon.inference.restoring import USUAL, Photo, Restoring, Settings, restore_all

JOURNAL = ".tfrecon.journal"
"""The file in the output folder that says which photos are finished, until all are."""

PathLike = str | os.PathLike[str]


def restore_files(
    restorer: PhotoRestorer | Opened[PhotoRestorer], source: PathLike,
    output: PathLike | None = None, *, suffix: str = "", recursive: bool = False,
    masks: PathLike | None = None, mask_from: MaskFrom | None = None,
    range: float | Literal["auto"] = "auto", settings: Settings = USUAL,
    skip_unreadable: bool = False, each: Each = here,
) -> int:  # fmt: skip
    """Restores the photo `source` to the file `output`, PNG or JPEG by its ending, or every photo
    of the folder `source` to ``output/<stem><suffix>.png``; returns how many.

    Every page of a file of several becomes ``<stem><suffix>-page2.png``. Photos of a folder that a
    stopped or killed process has finished with the same restorer, settings, masks and files are not
    restored again.

    Args:
        output: without one, photos are written beside themselves by their `suffix`, and those that
            have been are left out.
        recursive: takes the photos of the folders in `source`, too, to such folders in `output`.
        masks: as `Masks` takes it. A `restorer` with masks needs it, others refuse it.
        mask_from: what the holes of masks with transparency are; see `Masks`.
        range: the largest value of photos of more than 8 bits.
        skip_unreadable: leaves out photos that cannot be read.
        each: where photos are read, restored and written.

    Raises:
        UserError: before the first photo is written, for a missing or empty `source`, two photos of
            one stem, a photo without mask or whose mask does not fit, a file that would replace an
            input, `ensemble` with an export that is an ensemble, and, listing all, for unreadable
            photos. After the last, for those whose restored values are not finite.
        files.Taken: where another process works on `output`.
        Stopped: after the photo at hand when a signal has come.
    """
    everywhere = opened(restorer)
    restorer, source = everywhere.value, Path(source)
    target = checked_output(source, None if output is None else Path(output), suffix)
    settings = _checked(restorer, settings, target)
    damage = _masks(restorer, masks, source, mask_from, recursive)
    leave_out = [target, *([Path(masks)] if masks else []), *(damage.files if damage else [])]
    samples = photos_of(source, leave_out, recursive)
    pairs = placed(samples, source, target, suffix, damage.files if damage else ())
    if not pairs:
        return 0
    outputs = {sample.id: file for sample, file in pairs}
    samples = [sample for sample, _ in pairs]
    samples = readable(
        damage.attached(samples) if damage else samples, skip_unreadable, LargeReader(), range,
        each,
    )  # fmt: skip
    if damage and not damage.files:  # mask images have been checked with their photos
        check_masks(samples)
    identity = repr((restorer.identity, settings, mask_from))
    photos = [Photo.of(sample, outputs[sample.id], identity) for sample in samples]
    with _alone(target, source.is_file()) as workplace:
        folders = {file.parent for file in outputs.values()}
        try:
            _clear(folders)
            work = Restoring(everywhere, settings, Journal(workplace / JOURNAL))
            restore_all(photos, work, each)
        finally:
            _clear(folders)  # of processes that were killed beside this one
    return len(samples)


@contextlib.contextmanager
def _alone(target: Path, is_file: bool) -> Iterator[Path]:
    """In the block this process alone makes a file, or works in a folder; gives the place of the
    journal."""
    if is_file:
        with files.making(target) as workplace:
            yield workplace
    else:
        with files.claimed(target):
            yield target


class LargeReader(Reader):
    """Reads photos above the usual limit, too."""

    def decoded(self, path: Path, page: int) -> Stored:
        """As of Reader."""
        return images.decoded(path, page, large=True)


def _checked(restorer: PhotoRestorer, settings: Settings, target: Path) -> Settings:
    tile, overlap = settings.tile, settings.overlap
    if not 0 <= overlap < tile:
        raise UserError(f"--overlap must be 0 or more and less than --tile {tile}, not {overlap}")
    if settings.ensemble and restorer.is_ensemble:
        raise UserError(f"{restorer.title} is an ensemble already; leave out --ensemble")
    if target.suffix.lower() not in JPEG:
        return settings
    if settings.depth == "16":
        raise UserError(f"a JPEG has 8 bits; name -o {str(target)!r} .png, or leave out --depth 16")
    return dataclasses.replace(settings, depth="8")


def _masks(
    restorer: PhotoRestorer, masks: PathLike | None, source: Path, mask_from: MaskFrom | None,
    recursive: bool,
) -> Masks | None:  # fmt: skip
    if restorer.has_mask and masks is None:
        raise UserError(
            f"{restorer.title} must be told what is damaged; give --mask IMAGE (white = damaged), "
            "--masks FOLDER of such images, or --masks masked_info.csv"
        )
    if masks is None:
        if mask_from:
            raise UserError("--mask-from has no effect without --masks; give them, or leave it out")
        return None
    if not restorer.has_mask:
        raise UserError(f"{restorer.title} takes no masks; leave out --masks")
    if Path(masks).resolve() == source.resolve():
        raise UserError("--masks is the input itself; keep the mask images in a place of their own")
    return Masks(Path(masks), source, mask_from, recursive)


def _clear(folders: Iterable[Path]) -> None:
    for folder in folders:
        files.remove_leftovers(folder, "*.png")
