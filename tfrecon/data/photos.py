"""What recipes of clean photos share: finding a folder, listing photos, drawing some of them."""

import functools
import importlib.util
import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from tfrecon.base import images
from tfrecon.base.errors import UserError, some
from tfrecon.base.images import FORMATS, SUFFIXES
from tfrecon.base.platforms import nfc
from tfrecon.data.sample import by_stem

Item = TypeVar("Item")

PAGED = {ending for name in FORMATS if name not in ("JPEG", "BMP") for ending in FORMATS[name]}
"""Endings of files that may hold several pages or frames."""

STEM = "{stem}"

THUMBNAIL = 32
"""Side in pixels at which photos are compared: noise and scratches average out."""

SHOWN = 4
"""Names and endings that a line gives of what is left out."""


@dataclass(frozen=True)
class Naming:
    """How files of one kind are called: ``noisy/{stem}_x4`` are those in a folder ``noisy`` whose
    names end with ``_x4``; what is before that they share with their partners."""

    folders: tuple[str, ...]
    before: str = ""
    after: str = ""

    @staticmethod
    def parse(text: str) -> "Naming":
        """From a folder, a name with ``{stem}``, or both. Raises UserError for other braces."""
        folders, name = Path(nfc(text)).parts, STEM
        if set("{}*") & set(folders[-1:] and folders[-1]):
            *folders, name = folders
        before, found, after = name.partition(STEM)
        after = after.removesuffix(Path(name).suffix if Path(name).suffix in SUFFIXES else "")
        if not found or set("{}*") & set("".join((*folders, before, after))):
            raise UserError(
                f"{text!r} says not how files are called; write what their names share as {STEM}, "
                f"once and in the name, e.g. noisy/{STEM}_x4"
            )
        return Naming(tuple(folders), before, after)

    def __str__(self) -> str:
        named = (f"{self.before}{STEM}{self.after}",) if self.length or not self.folders else ()
        return Path(*self.folders, *named).as_posix()

    @property
    def length(self) -> int:
        """Of what it says of names: the more, the surer."""
        return len(self.before + self.after)

    def stem(self, path: Path) -> str | None:
        """What stands for ``{stem}`` in a file's name; None where it is called otherwise."""
        name = nfc(path.stem)
        fits = name.startswith(self.before) and name.endswith(self.after)
        stem = name[len(self.before) : len(name) - len(self.after)]
        return stem if fits and stem else None


def holding(root: Path, places: Sequence[str], folder: str) -> Path:
    """The first of `places` below `root` (``""`` is `root` itself) that holds `folder`. Raises
    UserError where none does."""
    for place in places:
        if (root / place / folder).is_dir():
            return root / place
    raise UserError(
        f"{str(root)!r} holds no folder {folder!r}, neither itself nor below "
        f"{', '.join(place for place in places if place)}; give the data set's folder with --root"
    )


def photos(folder: Path, used: Collection[str] = ()) -> list[Path]:
    """The images directly in `folder`, sorted by stem; what is left out is said, as by `listed`,
    and that of files with several pages the first is taken.

    Raises UserError when `folder` does not exist or holds no image, and for two with equal stems.
    """
    files = images_in(folder, used)
    of_several = [path.name for path in files.values() if len(pages(path)) > 1]
    if of_several:
        print_once(
            f"left out in {str(folder)!r}: all pages but the first of {some(of_several, SHOWN)}"
        )
    return list(files.values())


def images_in(folder: Path, used: Collection[str] = (), below: bool = False) -> dict[str, Path]:
    """As `photos`, by their stems, and with nothing said of pages; with `below` also those in the
    folders in it, by their paths from `folder` without endings."""
    found: dict[str, Path] = {}
    by_folder = sorted(listed(folder, used, below=below), key=lambda path: path.parent)
    for parent, files in itertools.groupby(by_folder, lambda path: path.parent):
        place = parent.relative_to(folder)
        found |= {nfc((place / stem).as_posix()): path for stem, path in by_stem(files).items()}
    if not found:
        raise UserError(f"no image in {str(folder)!r}; endings read: {', '.join(SUFFIXES)}")
    return {stem: found[stem] for stem in sorted(found)}


def listed(folder: Path, used: Collection[str] = (), *, below: bool = False) -> list[Path]:
    """The images directly in `folder`, or also those `below` it, sorted by path.

    Prints, once in a process, which other files and folders are left out; not those of a name in
    `used`, and none that is hidden. Raises UserError when `folder` does not exist.
    """
    _check_exists(folder)
    found = sorted(folder.rglob("*") if below else folder.iterdir())
    found = [each for each in found if not _hidden(each.relative_to(folder))]
    pictures = [path for path in found if is_photo(path)]
    others = set(found) - set(pictures)
    say_left_out(folder, sorted(each for each in others if not (below and each.is_dir())), used)
    return pictures


def say_left_out(folder: Path, others: Sequence[Path], used: Collection[str] = ()) -> None:
    """Prints which files and folders of `folder` are not read, but for those of a name in `used`;
    once in a process."""
    files: list[str] = []
    folders: list[str] = []
    for path in others:
        if path.name not in used and not _hidden(path.relative_to(folder)):
            (folders if path.is_dir() else files).append(path.relative_to(folder).as_posix())
    kinds = Counter(Path(name).suffix.lower() or "no ending" for name in files).most_common()
    endings = ", ".join(f"{count} {ending}" for ending, count in kinds[:SHOWN])
    said = [
        f"{len(names)} {what}: {some(names, SHOWN)}"
        for names, what in (
            (files, f"file{'s' * (len(files) > 1)} ({endings}{', …' * (len(kinds) > SHOWN)})"),
            (folders, f"folder{'s' * (len(folders) > 1)}"),
        )
        if names
    ]
    if said:
        print_once(f"left out in {str(folder)!r}: {'; '.join(said)}")


def pages(path: Path) -> list[int]:
    """The numbers of a file's pages; 0 alone where it has one, or cannot be read: whoever reads it
    says so. A file is opened only where its ending is one of a format that may have several."""
    if path.suffix.lower() not in PAGED:
        return [0]
    return _pages(path, path.stat().st_mtime_ns)


@functools.cache  # a run asks for each split
def _pages(path: Path, changed_ns: int) -> list[int]:
    try:
        return images.pages(path)
    except UserError:
        return [0]


def is_photo(path: Path) -> bool:
    """Whether `path` is a file that is named as an image and is not hidden."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def photos_by_class(folder: Path) -> dict[str, list[Path]]:
    """The images of each folder directly in `folder`, one for each class, sorted by name.

    Raises UserError when `folder` does not exist or holds no class folder, and as `photos`.
    """
    _check_exists(folder)
    found = sorted(path for path in folder.iterdir() if not _hidden(path.relative_to(folder)))
    classes = [path for path in found if path.is_dir()]
    if not classes:
        raise UserError(
            f"{str(folder)!r} holds no class folder; expected one folder for each class"
        )
    say_left_out(folder, [path for path in found if not path.is_dir()])
    return {path.name: photos(path) for path in classes}


def of_skimage(name: str) -> Path:
    """The photo of that name inside scikit-image. Raises UserError where that is not installed."""
    # Found, not imported: importing skimage takes longer than reading its photos.
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the demo's photos lie inside scikit-image; install it with pip")
    return Path(spec.submodule_search_locations[0]) / "data" / name


def drawn(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """`count` of `items` (all, where there are fewer), drawn with `seed`, in their order. Raises
    UserError for a count below 1 and a negative seed."""
    if count < 1 or seed < 0:
        raise UserError(
            f"cannot draw {count} images by seed {seed}; give at least 1, and seed >= 0"
        )
    chosen = np.random.default_rng(seed).permutation(len(items))[:count]
    return [items[index] for index in sorted(chosen)]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _check_exists(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(
            f"folder {str(folder)!r} does not exist or is no folder; add it, or correct its path "
            "(--root, where a recipe reads it)"
        )


def thumbnail(pixels: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(THUMBNAIL²,) grey in [0,1] of (H,W,3) uint8, averaged over areas."""
    picture = Image.fromarray(pixels).convert("L")
    small = picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1) / np.float32(255)


@functools.cache
def print_once(line: str, about: Path | None = None) -> None:
    """Prints a line, once in a process, or for each thing that it is `about`: recipes list the
    folders of each split."""
    print(line)
