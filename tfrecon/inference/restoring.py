"""What a process does to photos of any size: it reads them ahead, restores those of one size
together, writes them behind, and notes which are finished."""

import contextlib
import dataclasses
import functools
import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tfrecon.base import carried, images
from tfrecon.base.bars import tqdm
from tfrecon.base.errors import UserError, fitting, some
from tfrecon.base.journal import Journal, stoppable, went_on
from tfrecon.base.spread import Each, Opened, Work
from tfrecon.data.masks import Hidden, hidden_in
from tfrecon.data.sample import Sample
from tfrecon.inference import flow
from tfrecon.inference.restorer import PhotoRestorer, Restore, restored_bands, self_ensemble

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


USUAL = Settings()


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo to restore: its file, a `key` that differs where the restored photo may, and what
    the file was `before`, so that one of another time is told from one that a process wrote which
    did not live to say so."""

    sample: Sample
    output: Path
    key: str
    before: tuple[int, ...]

    @staticmethod
    def of(sample: Sample, output: Path, identity: str) -> "Photo":
        """With a hash of all that the restored photo depends on."""
        facts = [identity, sample.page, sample.range, sample.boxes]
        for path in (sample.files[0], sample.mask):
            if path:
                facts += [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
        key = hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
        return Photo(sample, output, key, _state(output))

    def finished(self) -> str:
        """The line of the journal that says that the file, as it is now, is the restored photo."""
        now = _state(self.output)
        return " ".join([self.key, *map(str, now[:2]), repr(self.output.name)]) if now else ""

    def pixels(self) -> int:
        """How many it has, before it is decoded."""
        about = images.facts(self.sample.files[0], self.sample.page, large=True)
        return about.height * about.width


def _state(file: Path) -> tuple[int, ...]:
    """Size, time and number of a file, which together no other has; nothing where it is none."""
    if not file.is_file():
        return ()
    about = file.stat()
    return about.st_size, about.st_mtime_ns, about.st_ino


@dataclasses.dataclass
class _InHand:
    """A photo at work: its pixels, its holes, and what becomes of it."""

    of: Photo
    photo: carried.Carried
    hidden: Hidden | None
    restored: np.ndarray | None = None

    @staticmethod
    def read(photo: Photo) -> "_InHand":
        """From its files."""
        sample = photo.sample
        hidden = hidden_in(sample) if sample.has_mask else None
        return _InHand(photo, carried.read(sample.files[0], sample.page, sample.range), hidden)

    def write(self) -> None:
        """Writes what became of it, if it is an image."""
        if self.restored is not None:
            self.photo.write(self.of.output, self.restored, self.hidden)


def _together(settings: Settings, first: _InHand, other: _InHand | None = None) -> int:
    """How many photos of the size of `first` are restored at once: as many as fit into a tile,
    `TOGETHER` at most; with `other` 0 where that has another size."""
    height, width = size = first.photo.pixels.shape[:2]
    if other and other.photo.pixels.shape[:2] != size:
        return 0
    return max(1, min(TOGETHER, settings.tile**2 // (height * width)))


Outcome = tuple[str, Sequence[str] | None]
"""Which photo, and what of it is not kept; None where its restored values are not finite. Between
batches, where work may stop, there is one of no photo."""


class _Enough(Exception):
    """Thrown into work that is to end with what is at hand."""


@dataclasses.dataclass(frozen=True)
class Restoring:
    """What each process that restores photos begins with; called it gives the `Work`."""

    restorer: Opened[PhotoRestorer]
    settings: Settings
    journal: Journal

    def __call__(self) -> Work[Photo, Outcome]:
        """Restores and writes photos, and notes in the journal which are finished."""
        restore = self.restorer.value.restore
        restore = self_ensemble(restore) if self.settings.ensemble else restore
        return functools.partial(self._restored, restore)

    def _restored(self, restore: Restore, photos: Iterable[Photo]) -> Iterator[Outcome]:
        done: deque[Outcome] = deque()

        def note(opened: _InHand) -> None:
            if opened.restored is not None:
                self.journal.add(opened.of.finished())
            failed = opened.restored is None
            done.append((opened.of.sample.id, None if failed else opened.photo.lost))

        todo: list[Photo] = []
        for photo in photos:
            if _state(photo.output) == photo.before:
                todo.append(photo)
            else:  # a process has written it that has died since
                self.journal.add(photo.finished())
                done.append((photo.sample.id, ()))
        together = functools.partial(_together, self.settings)
        with (
            contextlib.suppress(_Enough), flow.Behind(_InHand.write, note) as behind,
            contextlib.closing(flow.batches(todo, Photo.pixels, _InHand.read, together)) as batches,
        ):  # fmt: skip
            for batch in batches:
                alike, holes = zip(*((each.photo, each.hidden) for _, each in batch), strict=True)
                with fitting(_smaller_tiles(alike[0], self.settings)):
                    answers = restored_photos(alike, holes, restore, self.settings)
                for (place, opened), answer in zip(batch, answers, strict=True):
                    opened.restored = answer
                    behind.put(place, opened, opened.photo.pixels.size // 3)
                yield "", ()
                while done:
                    yield done.popleft()
        yield from done


def restore_all(photos: Sequence[Photo], work: Restoring, each: Each) -> None:
    """Restores all photos of which the journal of `work` does not know."""
    left, total = _left(photos, work.journal.path), len(photos)
    done = total - len(left)
    went_on(done, total)
    failed: list[str] = []
    lost: defaultdict[str, list[str]] = defaultdict(list)
    bar = tqdm(None, "restoring", total, unit="photo", initial=done)
    try:
        with (
            stoppable(total) as stop_if_asked, contextlib.closing(bar),
            contextlib.closing(each(work, left)) as results,
        ):  # fmt: skip

            def note(name: str, what: Sequence[str] | None) -> None:
                bar.update(bool(name))
                failed.extend([name] if what is None else [])
                for kind in what or ():
                    lost[kind].append(name)

            def at_its_end() -> int:
                with contextlib.suppress(_Enough, StopIteration):
                    note(*results.throw(_Enough()))
                    for outcome in results:
                        note(*outcome)
                return total - len(_left(photos, work.journal.path))

            for outcome in results:
                note(*outcome)
                stop_if_asked(at_its_end)
        work.journal.remove()
    finally:  # after a stop, too: who goes on does not look at these photos again
        for kind, names in lost.items():
            print(f"{kind} is not kept of {some(names)}")
    if failed:
        raise UserError(
            f"{len(failed)} of {total} photos were restored to values that are not finite and are "
            f"not written: {some(failed)}; the model has diverged, or a photo is not as those that "
            "it was trained on"
        )


def _left(photos: Sequence[Photo], path: Path) -> list[Photo]:
    """Those of which the journals do not know."""
    journal = Journal(path)
    journal.gather()
    known = set(journal.lines)
    return [photo for photo in photos if photo.finished() not in known]


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
