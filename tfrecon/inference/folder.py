"""Restores photos of any size, one or a folder of them, by an export, a preset or a method."""

import contextlib
import dataclasses
import functools
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
from tfrecon.inference import flow
from tfrecon.inference.places import JPEG, checked_output, photos_of, placed
from tfrecon.inference.restorer import PhotoRestorer, Restore, restored_bands, self_ensemble

JOURNAL = ".tfrecon.journal"
"""The file in the output folder that says which photos are finished, until all are."""

PathLike = str | os.PathLike[str]

TOGETHER = 16
"""The most photos of one size that are restored at once."""


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


@dataclasses.dataclass
class _Opened:
    """A photo at work: where it goes, what it is known by, its holes, and what becomes of it."""

    sample: Sample
    output: Path
    key: str
    photo: carried.Carried
    hidden: Hidden | None
    restored: np.ndarray | None = None

    def write(self) -> None:
        """Writes what became of it, if it is an image."""
        if self.restored is not None:
            self.photo.write(self.output, self.restored, self.hidden)


def _opened(item: tuple[Sample, Path, str]) -> _Opened:
    sample, *others = item
    hidden = hidden_in(sample) if sample.has_mask else None
    return _Opened(
        sample, *others, carried.read(sample.files[0], sample.page, sample.range), hidden
    )


def _together(settings: Settings, first: _Opened, other: _Opened | None = None) -> int:
    """How many photos of the size of `first` are restored at once: as many as fit into a tile,
    `TOGETHER` at most; with `other` 0 where that has another size."""
    height, width = size = first.photo.pixels.shape[:2]
    if other and other.photo.pixels.shape[:2] != size:
        return 0
    return max(1, min(TOGETHER, settings.tile**2 // (height * width)))


def _pixels(item: tuple[Sample, Path, str]) -> int:
    about = images.facts(item[0].files[0], item[0].page, large=True)
    return about.height * about.width


class _Notes:
    """What has become of photos: `done` of `total`, and which failed or lost something."""

    def __init__(self, journal: Journal, done: int, total: int) -> None:
        self.journal, self.done, self.total = journal, done, total
        self.failed: list[str] = []
        self.lost: defaultdict[str, list[str]] = defaultdict(list)
        self.bar = tqdm(None, "restoring", total, unit="photo", initial=done)

    def add(self, opened: _Opened) -> None:
        """Notes a photo that is finished."""
        self.done += 1
        self.bar.update()
        if opened.restored is None:
            self.failed.append(opened.sample.id)
            return
        self.journal.add(_finished(opened.output, opened.key))
        for what in opened.photo.lost:
            self.lost[what].append(opened.sample.id)

    def check(self) -> None:
        """Raises UserError where photos failed."""
        if self.failed:
            raise UserError(
                f"{len(self.failed)} of {self.total} photos were restored to values that are not "
                f"finite and are not written: {some(self.failed)}; the model has diverged, or a "
                "photo is not as those that it was trained on"
            )


def _restore_all(
    photos: Sequence[tuple[Sample, Path, str]], restore: Restore, settings: Settings,
    journal: Journal,
) -> None:  # fmt: skip
    """Restores all photos (sample, output, key) of which `journal` does not know."""
    known, total = set(journal.lines), len(photos)
    todo = [item for item in photos if _finished(*item[1:]) not in known]
    went_on(total - len(todo), total)
    notes = _Notes(journal, total - len(todo), total)
    together = functools.partial(_together, settings)
    try:
        with (
            stoppable(total) as stop_if_asked, contextlib.closing(notes.bar),
            flow.Behind(_Opened.write, notes.add) as behind,
            contextlib.closing(flow.batches(todo, _pixels, _opened, together)) as batches,
        ):  # fmt: skip
            for batch in batches:
                stop_if_asked(lambda: behind.settle() or notes.done)
                alike, holes = zip(*((each.photo, each.hidden) for _, each in batch), strict=True)
                with fitting(_smaller_tiles(alike[0], settings)):
                    answers = restored_photos(alike, holes, restore, settings)
                for (place, opened), answer in zip(batch, answers, strict=True):
                    opened.restored = answer
                    behind.put(place, opened, opened.photo.pixels.size // 3)
        journal.remove()
    finally:  # after a stop, too: who goes on does not look at these photos again
        for what, names in notes.lost.items():
            print(f"{what} is not kept of {some(names)}")
    notes.check()


def _smaller_tiles(photo: carried.Carried, settings: Settings) -> str:
    tile = min(settings.tile, max(photo.pixels.shape[:2]))
    overlap = f" --overlap {tile // 8}" if tile // 2 <= settings.overlap else ""
    return (
        f"tiles of {tile} pixels are too large for it; --tile {tile // 2}{overlap} takes a quarter"
    )


def restored_photos(
    photos: Sequence[carried.Carried], hidden: Sequence[Hidden | None], restore: Restore,
    settings: Settings,
) -> list[np.ndarray | None]:  # fmt: skip
    """Photos of one size restored, each (H,W,3), or (H,W,1) for a grey one, uint8 or uint16; None
    where a value is not finite. Only a row of tiles of them is held as float: beside TensorFlow a
    photo of 8 bits takes about 12 bytes a pixel."""

    def piece(place: tuple[slice, slice]) -> np.ndarray:
        cut = [photo.pixels[place] for photo in photos]
        parts = [np.stack([p if p.dtype == np.float32 else images.to_float(p) for p in cut])]
        holes = [each[place] for each in hidden if each is not None]
        if holes:
            parts.append(np.stack(holes)[..., None].astype(np.float32))
        return np.concatenate(parts, axis=-1)

    shape, top = (len(photos), *photos[0].pixels.shape[:2]), 0
    answers: list[np.ndarray | None] = [_empty(photo, settings) for photo in photos]
    for bands in restored_bands(restore, piece, shape, settings.tile, settings.overlap):
        for number, (answer, band) in enumerate(zip(answers, bands, strict=True)):
            if answer is None or not np.isfinite(band).all():
                answers[number] = None
                continue
            band = band.mean(axis=-1, keepdims=True) if answer.shape[-1] == 1 else band
            deep = answer.dtype == np.uint16
            answer[top : top + len(band)] = (
                images.to_uint16(band) if deep else images.to_uint8(band)
            )
        top += bands.shape[1]
    return answers


def _empty(photo: carried.Carried, settings: Settings) -> np.ndarray:
    """What the restored photo is written into."""
    sixteen = settings.depth == "16" or (settings.depth == "auto" and photo.bits > 8)
    channels = 1 if photo.is_grey else 3
    return np.empty((*photo.pixels.shape[:2], channels), np.uint16 if sixteen else np.uint8)
