"""Restores photos of any size, one or a folder of them, by an export, a preset or a method."""

import contextlib
import dataclasses
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tfrecon.base import carried, files, images
from tfrecon.base.bars import tqdm
from tfrecon.base.depth import Stored
from tfrecon.base.errors import UserError, fitting, some
from tfrecon.base.journal import Journal, stoppable, went_on
from tfrecon.data.check import readable
from tfrecon.data.masks import Hidden, Masks, check_masks, hidden_in
from tfrecon.data.sample import MaskFrom, Sample
from tfrecon.data.store import Reader
from tfrecon.inference.places import JPEG, checked_output, photos_of, placed
from tfrecon.inference.restorer import PhotoRestorer, Restore, restored_bands, self_ensemble

JOURNAL = ".tfrecon.journal"
"""The file in the output folder that says which photos are finished, until all are."""

PathLike = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How photos are restored.

    Args:
        tile: photos with a longer side, in pixels, are restored in tiles that are blended.
        overlap: of the tiles, in pixels.
        ensemble: restores each photo as `self_ensemble` does.
        depth: bits of the PNGs: ``"8"``, ``"16"``, or ``"auto"``: 16 for photos of more than 8. A
            JPEG has 8.
    """

    tile: int = 512
    overlap: int = 64
    ensemble: bool = False
    depth: Literal["8", "16", "auto"] = "auto"


def restore_files(
    restorer: PhotoRestorer, source: PathLike, output: PathLike | None = None, *, suffix: str = "",
    recursive: bool = False, masks: PathLike | None = None, mask_from: MaskFrom | None = None,
    range: float | Literal["auto"] = "auto", settings: Settings = Settings(),
    skip_unreadable: bool = False,
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

    Raises:
        UserError: before the first photo is written, for a missing or empty `source`, two photos of
            one stem, a photo without mask or whose mask does not fit, a file that would replace an
            input, `ensemble` with an export that is an ensemble, and, listing all, for unreadable
            photos. After the last, for those whose restored values are not finite.
        files.Taken: where another process works on `output`.
        Stopped: after the photo at hand when a signal has come.
    """
    source = Path(source)
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
        damage.attached(samples) if damage else samples, skip_unreadable, LargeReader(), range
    )
    if damage and not damage.files:  # mask images have been checked with their photos
        check_masks(samples)
    identity = repr((restorer.identity, settings, mask_from))
    photos = [(each, outputs[each.id], _key(each, identity)) for each in samples]
    with _alone(target, source.is_file()) as workplace:
        for folder in {file.parent for file in outputs.values()}:
            files.remove_leftovers(folder, "*.png")
        restore = self_ensemble(restorer.restore) if settings.ensemble else restorer.restore
        _restore_all(photos, restore, settings, Journal(workplace / JOURNAL))
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


def _key(sample: Sample, identity: str) -> str:
    """A hash of all that the restored photo depends on."""
    facts = [identity, sample.page, sample.range, sample.boxes]
    for path in (sample.files[0], sample.mask):
        if path:
            facts += [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def _finished(output: Path, key: str) -> str:
    """The line of the journal that says that `output`, as it is now, is the restored photo."""
    if not output.is_file():
        return ""
    about = output.stat()
    return f"{key} {about.st_size} {about.st_mtime_ns} {output.name!r}"


def _restore_all(
    photos: Sequence[tuple[Sample, Path, str]], restore: Restore, settings: Settings,
    journal: Journal,
) -> None:  # fmt: skip
    """Restores all photos (sample, output, key) of which `journal` does not know."""
    known, total = set(journal.lines), len(photos)
    todo = [item for item in photos if _finished(*item[1:]) not in known]
    went_on(total - len(todo), total)
    failed: list[str] = []
    lost: defaultdict[str, list[str]] = defaultdict(list)
    bar = tqdm(todo, "restoring", total, unit="photo", initial=total - len(todo))
    try:
        with stoppable(total) as stop_if_asked, contextlib.closing(bar):
            for done, (sample, output, key) in enumerate(bar, start=total - len(todo)):
                stop_if_asked(done)
                hidden = hidden_in(sample) if sample.has_mask else None
                photo = carried.read(sample.files[0], sample.page, sample.range)
                with fitting(_smaller_tiles(photo, settings)):
                    restored = restored_photo(photo, hidden, restore, settings)
                if restored is None:
                    failed.append(sample.id)
                    continue
                photo.write(output, restored, hidden)
                journal.add(_finished(output, key))
                for what in photo.lost:
                    lost[what].append(sample.id)
        journal.remove()
    finally:  # after a stop, too: who goes on does not look at these photos again
        for what, names in lost.items():
            print(f"{what} is not kept of {some(names)}")
    if failed:
        raise UserError(
            f"{len(failed)} of {total} photos were restored to values that are not finite and are "
            f"not written: {some(failed)}; the model has diverged, or a photo is not as those that "
            "it was trained on"
        )


def _smaller_tiles(photo: carried.Carried, settings: Settings) -> str:
    tile = min(settings.tile, max(photo.pixels.shape[:2]))
    overlap = f" --overlap {tile // 8}" if tile // 2 <= settings.overlap else ""
    return (
        f"tiles of {tile} pixels are too large for it; --tile {tile // 2}{overlap} takes a quarter"
    )


def restored_photo(
    photo: carried.Carried, hidden: Hidden | None, restore: Restore, settings: Settings
) -> np.ndarray | None:
    """The restored photo, (H,W,3), or (H,W,1) for a grey one, uint8 or uint16; None where a value
    is not finite. Only a row of tiles of it is held as float: beside TensorFlow a photo of 8 bits
    takes about 12 bytes a pixel."""

    def piece(place: tuple[slice, slice]) -> np.ndarray:
        pixels = photo.pixels[place]
        parts = [pixels if pixels.dtype == np.float32 else images.to_float(pixels)]
        if hidden is not None:
            parts.append(hidden[place][..., None].astype(np.float32))
        return np.concatenate(parts, axis=-1)[None]

    height, width = photo.pixels.shape[:2]
    sixteen = settings.depth == "16" or (settings.depth == "auto" and photo.bits > 8)
    kind, channels = np.uint16 if sixteen else np.uint8, 1 if photo.is_grey else 3
    restored, top = np.empty((height, width, channels), kind), 0
    bands = restored_bands(restore, piece, (1, height, width), settings.tile, settings.overlap)
    for (band,) in bands:
        if not np.isfinite(band).all():
            return None
        band = band.mean(axis=-1, keepdims=True) if photo.is_grey else band
        quantised = images.to_uint16(band) if sixteen else images.to_uint8(band)
        restored[top : top + len(band)] = quantised
        top += len(band)
    return restored
