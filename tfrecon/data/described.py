"""What is known of each image file below a folder: what it is, its split, and what it shares with
its partners, by what its folders are called, by tables beside the images, or by options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tfrecon.base import platforms
from tfrecon.base.errors import UserError
from tfrecon.base.images import SUFFIXES
from tfrecon.data import metadata
from tfrecon.data.masks import CALLED
from tfrecon.data.photos import Naming, listed, say_left_out
from tfrecon.data.roles import meaning, word


@dataclass(frozen=True)
class File:
    """What its folders, or the options, say of an image file."""

    path: Path
    role: str
    """One of ROLES, or ""."""
    split: str
    """One of SPLITS, or ""."""
    key: str
    """What it shares with its partners: its path without what says role and split."""
    where: str
    """The folder, or the naming, that says its role."""
    said: tuple[str, ...] = ()
    """The words that say its role; of two no one knows which is meant."""
    divided: str = "folders"
    """What says its split."""

    @property
    def shared(self) -> str:
        """Its key, that of a mask without how masks are called."""
        return self.key.removesuffix(CALLED) if self.role == "mask" else self.key


def namings_of(inputs: str | None, targets: str | None, masks: str | None) -> dict[str, Naming]:
    """How the files of each role are called, of those that the options name. Raises UserError for
    one of inputs and targets without the other, where that does not follow."""
    given = {"input": inputs, "target": targets, "mask": masks}
    namings = {role: Naming.parse(text) for role, text in given.items() if text is not None}
    for role, other in (("input", "target"), ("target", "input")):
        if role in namings and other not in namings:
            if not (namings[role].before or namings[role].after):
                raise UserError("recipe 'folder' needs both inputs and targets; give the other")
            namings[other] = Naming(namings[role].folders)
    return namings


def files_in(folder: Path, namings: Mapping[str, Naming], others: set[Path]) -> list[File]:
    """The images below `folder` and what is known of each, by path; `others` are none of them."""
    named: dict[Path, File] = {}
    for role in sorted(namings, key=lambda role: namings[role].length):  # the longest name wins
        for file in _named(folder, role, namings[role]):
            if file.path in named and namings[named[file.path].role].length == namings[role].length:
                raise UserError(
                    f"{str(file.path)!r} is called as two of inputs, targets and masks; rename it"
                )
            named[file.path] = file
    if {"input", "target"} <= namings.keys():
        return [named[path] for path in sorted(named)]
    used = {*metadata.NAMES, *(path.name for path in others)}
    below = [path for path in listed(folder, used, below=True) if path not in others]
    if not below:
        raise UserError(f"no image under {str(folder)!r}; endings read: {', '.join(SUFFIXES)}")
    rows = [] if namings else metadata.read(folder, below)
    if not rows:
        files = [named.get(path) or _understood(path, folder) for path in below]
        files += [named[path] for path in sorted(named.keys() - {*below})]  # of other folders
        # What else is called like that which the options name is left out.
        others = {f.path for f in files if f.path not in named and f.role in namings}
        say_left_out(folder, sorted(others))
        return [file for file in files if file.path not in others]
    files = [file for row in rows for file in _of_row(row, folder)]
    say_left_out(folder, sorted({*below} - {file.path for file in files}))
    return files


def _of_row(row: metadata.Row, folder: Path) -> list[File]:
    """The files of a row of a table; one that names a photo alone says nothing of it."""
    main = next(iter(row.files.values()))
    by_folders = _understood(main, folder)
    split = row.split or by_folders.split
    divided = "the column split" if row.split else "folders"
    if list(row.files) == ["photo"]:
        return [replace(by_folders, split=split, divided=divided)]
    key = platforms.nfc(main.relative_to(folder).with_suffix("").as_posix())
    columns = row.columns
    return [
        File(path, role, split, key, columns[role], (columns[role],), divided)
        for role, path in row.files.items()
    ]


def _understood(path: Path, folder: Path) -> File:
    """What the folders on the way to an image say of it."""
    folders = path.relative_to(folder).parts[:-1]
    meanings = [meaning(each) for each in folders]
    splitting = [place for place, (split, _) in enumerate(meanings) if split][:1]
    said = [place for place, (_, role) in enumerate(meanings) if role]
    said = [place for place in said if meanings[place][1] != "photo"] or said[:1]
    split = meanings[splitting[0]][0] if splitting else ""
    role = meanings[said[0]][1] if said else ""
    rest = [each for place, each in enumerate(folders) if place not in (*said, *splitting)]
    where = "/".join(folders[: said[0] + 1] if said else folders)
    words = tuple(word(folders[place]) for place in said)
    return File(path, role, split, platforms.nfc("/".join((*rest, path.stem))), where, words)


def _named(folder: Path, role: str, naming: Naming) -> list[File]:
    """The images that the options call so: in the folder of the naming, in folders of that name
    below `folder`, or, where it has none, in any."""
    base = folder.joinpath(*naming.folders)
    top = base if base.is_dir() else folder
    files: list[File] = []
    for path in listed(top, below=True):
        stem = naming.stem(path)
        place = _place(path.relative_to(top).parts[:-1], naming.folders if top != base else ())
        if stem is None or place is None:
            continue
        rest, before = place
        file = _understood(top.joinpath(*rest, path.name), top)
        if naming.folders:  # whose other folders mean nothing but splits
            rest = [each for each in rest if meaning(each) != (file.split, "") or not file.split]
            file = replace(file, key=platforms.nfc("/".join((*rest, stem))))
        else:
            file = replace(file, key="/".join((*file.key.split("/")[:-1], stem)))
        where = "/".join((*before, str(naming)))
        files.append(replace(file, path=path, role=role, where=where, said=(str(naming),)))
    if not files:
        raise UserError(
            f"{str(base)!r} does not exist or holds no such image, nor does a folder of that name "
            f"below {str(folder)!r}; check --root, inputs, targets and masks"
        )
    return files


def _place(
    parts: Sequence[str], folders: tuple[str, ...]
) -> tuple[list[str], Sequence[str]] | None:
    """`parts` without the `folders` among them, and those before; None where they are not."""
    for start in range(len(parts) - len(folders) + 1):
        if tuple(map(platforms.nfc, parts[start : start + len(folders)])) == folders:
            return [*parts[:start], *parts[start + len(folders) :]], parts[:start]
    return None
