"""What is damaged in photos: boxes of a table, or mask images."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import carried, images
from tfrecon.base.bars import tqdm
from tfrecon.base.depth import OWN, usual_range
from tfrecon.base.errors import UserError, some
from tfrecon.base.platforms import nfc
from tfrecon.data.boxes import drawn, nothing_known, read_boxes
from tfrecon.data.photos import STEM, Naming, images_in, is_photo
from tfrecon.data.sample import MaskFrom, Sample

CALLED = "_mask"
"""With which the name of a mask may end where its photo's does not."""

IN_A_FOLDER = STEM, f"{STEM}{CALLED}"
"""How masks in a folder of their own are called, after their photos."""

MANY = 0.5
"""A mask that hides a larger share of its photo may be inverted."""

TURNED = "masks have the size of their photos before the turn by EXIF, and are turned with them"
EITHER = (
    "warning: EXIF turns photos whose masks fit before and after the turn; they are taken as "
    "painted on the upright photo"
)

Hidden = np.ndarray[Any, np.dtype[np.bool_]]
"""(H,W), true where the photo is damaged."""


class Masks:
    """The damage of photos, by a table that `read_boxes` reads, a folder of mask images that are
    called as IN_A_FOLDER says, mask images that are called otherwise, as ``{stem}_hole`` beside the
    photos or ``FOLDER/{stem}_hole``, or one mask image for all photos.

    White of a mask image is the hole, its brightest channel counts. In one with transparency
    `mask_from` says what is: with ``"alpha"`` what is transparent, with ``"luminance"`` what is
    white once transparency is put on black. A mask of two values hides where it has the larger.
    """

    def __init__(
        self, path: Path, source: Path, mask_from: MaskFrom | None = None, below: bool = False
    ) -> None:
        """`source` is the photo or their folder. With `below`, photos lie anywhere in that, and
        their masks likewise in `path`."""
        self._path, self._from = path, mask_from
        self._below = source if below else None
        self._one = path if is_photo(path) else None
        self._of_stem: Mapping[str, Path] = {}
        self._boxes: Mapping[str, Any] | None = None
        if STEM in path.name:
            beside = path.parent == Path() and (source if source.is_dir() else source.parent)
            self._of_stem = _called([path.name], images_in(beside or path.parent, below=below))
        elif path.is_dir():
            self._of_stem = _called(IN_A_FOLDER, images_in(path, below=below))
        elif not path.exists():
            raise UserError(
                f"--masks {str(path)!r} does not exist; give a mask image, a folder of them, how "
                "they are called beside the photos, e.g. {stem}_mask, or a table of boxes"
            )
        elif not self._one:
            self._boxes = read_boxes(path)
            if mask_from:
                raise UserError(
                    f"--mask-from has no effect on the boxes of {str(path)!r}; leave it out"
                )

    @property
    def files(self) -> list[Path]:
        """The mask images."""
        return [self._one] if self._one else list(self._of_stem.values())

    def attached(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with their boxes or mask. Raises UserError for a photo that has none."""
        attached: list[Sample] = []
        missing: list[Path] = []
        for sample in samples:
            path = sample.files[0]
            place = path.relative_to(self._below).parent if self._below else Path()
            mask = self._one or self._of_stem.get(nfc((place / path.stem).as_posix()))
            boxes = self._boxes.get(path.name, ()) if self._boxes else ()
            if not mask and not boxes:
                missing.append(path)
            attached.append(
                dataclasses.replace(sample, boxes=boxes, mask=mask, mask_from=self._from)
            )
        if missing:
            what = "mask image of its stem" if self._boxes is None else "row"
            more = f" (one of {len(missing)} such photos)" if len(missing) > 1 else ""
            raise UserError(
                f"photo {str(missing[0])!r} has no {what} in {str(self._path)!r}{more}; add it or "
                "move the photo"
            )
        return attached


def _called(namings: Sequence[str], files: Mapping[str, Path]) -> dict[str, Path]:
    """The files that are called as one of `namings`, by the place and stem of their photos; the
    first of them counts."""
    found: dict[str, Path] = {}
    for naming in map(Naming.parse, namings):
        for place, path in files.items():
            stem = naming.stem(path)
            if stem is not None:
                found.setdefault((Path(place).parent / stem).as_posix(), path)
    return found


def hidden_in(sample: Sample) -> Hidden:
    """What is damaged in one photo, by its mask or boxes. Raises UserError for a mask image that
    does not fit."""
    return _hidden(sample)[0]


def check_masks(samples: Sequence[Sample]) -> None:
    """Reads the mask of every photo, and prints how much they hide and what is odd in them.

    Raises UserError for a mask image that does not fit, whose values or transparency leave open
    what is the hole, or that hides all of its photo, and where no mask hides anything.
    """
    shares: dict[str, float] = {}
    told: defaultdict[str, list[str]] = defaultdict(list)
    for sample in tqdm(samples, "checking masks", unit="mask", delay=2, leave=False):
        hidden, notes = _hidden(sample)
        shares[sample.id] = float(hidden.mean())
        for note in notes:
            told[note].append(sample.id)
        if hidden.all():
            raise nothing_known(
                f"mask {str(sample.mask)!r} covers", sample.files[0],
                "white is the hole: is the mask inverted?",
            )  # fmt: skip
    least, middle, most = np.quantile(list(shares.values()), (0, 0.5, 1))
    if most == 0:
        raise UserError(
            f"no mask hides anything ({some(shares)}); paint damaged pixels white (255)"
        )
    inverted = [name for name, share in shares.items() if share > MANY]
    print(
        (
            f"masks hide {middle:.1%} of a photo in the median, from {least:.1%} to {most:.1%}"
            if len(shares) > 1
            else f"the mask hides {most:.1%} of the photo"
        )
        + (f"; inverted? more than half is hidden in {some(inverted)}" if inverted else "")
    )
    told["masks hide nothing"] = [name for name, share in shares.items() if share == 0]
    for note, names in told.items():
        if names:
            print(f"{note}: {some(names)}")


def _hidden(sample: Sample) -> tuple[Hidden, list[str]]:
    """What is damaged in one photo, and what is to be said of its mask."""
    file, photo = sample.mask, sample.files[-1]  # of a pair the target, which is never resized
    about = images.facts(photo, sample.page, large=True)
    if file is None:
        return drawn(sample.boxes, about.height, about.width)[..., 0] > 0, []
    pixels = about.height * about.width  # which a mask of few bytes may have, too
    own = images.facts(file, large=pixels)
    if own.pages > 1 and sample.page not in images.pages(file):
        raise UserError(
            f"mask {str(file)!r} has no page {sample.page + 1}, and its photo has; give both "
            "as many, or the mask one"
        )
    page, changed = sample.page if own.pages > 1 else 0, file.stat().st_mtime_ns
    hidden, note = _holes(file, changed, page, pixels, sample.mask_from)
    size, notes = (about.height, about.width), [note] if note else []
    stored = size[::-1] if about.orientation > 4 else size
    if hidden.shape == size:
        if about.orientation > 1 and stored == size and own.orientation != about.orientation:
            notes.append(EITHER)
        return hidden, notes
    if hidden.shape == stored:
        return carried.upright(hidden, about.orientation), [*notes, TURNED]
    raise UserError(
        f"mask {str(file)!r} is {hidden.shape[0]}×{hidden.shape[1]} and its photo "
        f"{size[0]}×{size[1]} (height × width); they must be equal"
    )


@functools.lru_cache(maxsize=1)  # one mask may be that of all photos
def _holes(
    file: Path, changed_ns: int, page: int, pixels: int, mask_from: MaskFrom | None
) -> tuple[Hidden, str]:
    return holes(file, page, pixels, mask_from)


def holes(file: Path, page: int, pixels: int, mask_from: MaskFrom | None) -> tuple[Hidden, str]:
    """What a mask image of at most `pixels` hides, and what is to be said of it. Raises UserError
    for one that cannot be read or does not say what its holes are."""
    return hidden_by(*_values(file, page, pixels, mask_from), f"mask {str(file)!r}")


def hidden_by(values: Any, white: float, name: str) -> tuple[Hidden, str]:
    """What the values of a mask hide, of any shape, where `white` is the largest that they could
    be, and what is to be said of it. Raises UserError, which calls it `name`, where no value says
    what the hole is."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise UserError(f"{name} has values that are not finite; save it with 8 bits")
    if low < high and bool(((values == low) | (values == high)).all()):
        usual = low < white / 2 <= high
        note = f"masks have the values {low:g} and {high:g}, and {high:g} is taken for the hole"
        return values == high, "" if usual else note
    if 0 < high < white / 2:
        raise UserError(
            f"{name} has no value above {high:g}; paint damaged pixels white ({white:g})"
        )
    return values >= white / 2, ""


def _values(file: Path, page: int, pixels: int, mask_from: MaskFrom | None) -> tuple[Any, float]:
    """The values (H,W) of a mask image, in which large ones are the hole, and which is white."""
    about = images.facts(file, page, large=pixels)
    if not about.has_alpha and mask_from == "alpha":
        raise UserError(f"mask {str(file)!r} has no transparency; leave out --mask-from alpha")
    if not about.has_alpha and (about.bits == 8 or about.is_grey):
        stored = images.decoded(file, page, large=pixels)
        values, kind = stored.values, stored.kind
        values = values.max(axis=-1) if values.ndim == 3 else values
        if kind:
            return values, usual_range(kind, [float(values.max())]) or OWN[kind]
        return values, 1.0 if values.dtype.kind == "f" else 255.0
    photo = carried.read(file, page, large=pixels)
    values, alpha = photo.pixels.max(axis=-1), photo.alpha
    white = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    if alpha is None:
        return values, white
    if mask_from == "alpha":
        return white - alpha, white
    if alpha.min() == white:
        return values, white
    if mask_from is None:
        raise UserError(
            f"mask {str(file)!r} is transparent in places; say what its holes are with --mask-from "
            "alpha (what is transparent) or --mask-from luminance (what is white, transparency "
            "being black)"
        )
    return values * (alpha / white), white
