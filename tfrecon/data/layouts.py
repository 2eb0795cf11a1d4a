"""What a folder of photos means: pairs, masks and splits, told by what its folders are called
(`tfrecon.data.roles`), by tables beside the images (`tfrecon.data.metadata`), or by options.

What can be read in two ways is refused with the options of recipe ``folder`` that choose.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tfrecon.base import platforms
from tfrecon.base.errors import UserError, some
from tfrecon.base.images import SUFFIXES
from tfrecon.data import metadata
from tfrecon.data.masks import CALLED, Masks
from tfrecon.data.photos import STEM, Naming, listed, print_once, say_left_out
from tfrecon.data.roles import ROLES, meaning, word
from tfrecon.data.sample import MaskFrom, Sample


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


@dataclass(frozen=True)
class Layout:
    """The samples of a folder by their split, ``""`` where nothing says it, and in a few words what
    was understood."""

    samples: dict[str, list[Sample]]
    what: str
    divided: str
    """What says the splits."""


def read(
    folder: Path, *, layout: Literal["auto", "photos", "side_by_side"] = "auto",
    inputs: str | None = None, targets: str | None = None, masks: str | None = None,
    mask_from: MaskFrom | None = None,
) -> Layout:  # fmt: skip
    """What lies in `folder`: pairs or clean photos, with masks or without. ids are paths below
    `folder`, or of pairs what both paths share.

    `layout` ``"photos"`` takes every image for a clean photo, ``"side_by_side"`` for an input
    beside its target. `inputs`, `targets` and `masks` are folders, below `folder` or of that name
    anywhere in it, or how files are called, as `Naming` reads it; `masks` also one image or table
    for all. Raises UserError for what has two readings, for a file without partner or mask, two of
    one name, and a folder without images.
    """
    namings = _namings(inputs, targets, masks if masks and not (folder / masks).is_file() else None)
    given = Masks(folder / masks, folder, mask_from) if masks and "mask" not in namings else None
    if layout != "auto" and (inputs or targets):
        raise UserError(f"layout {layout!r} has no inputs and targets; leave them or it out")
    if layout == "side_by_side" and masks:
        raise UserError("layout 'side_by_side' has no masks; leave them or it out")
    files = _files(folder, namings, {folder / masks} if given and masks else set())
    by_role = {role: [f for f in files if f.role == role] for role in (*ROLES, "")}
    if by_role["input"] and not by_role["target"]:
        by_role["target"] = [replace(file, role="target") for file in by_role["photo"]]
        by_role["photo"] = []
    if layout == "auto" and by_role["input"]:
        samples, what = _pairs(folder, by_role, "input" in namings)
    else:
        if layout == "auto" and not namings:
            _check_stems(folder, files)
            _ask_for_pairs(folder, files)
        samples, what = _photos(folder, files, layout == "auto" or "mask" in namings)
    if given:
        samples = {split: _masked(each, given) for split, each in samples.items()}
        what = f"{what.removeprefix('clean ')}, masks from {masks}"
    if mask_from:
        samples = {s: [replace(x, mask_from=mask_from) for x in samples[s]] for s in samples}
    number = sum(map(len, samples.values()))
    if layout == "side_by_side":
        what = "photos, each an input beside its target"
    return Layout(samples, f"{number} {what}", next(iter(files)).divided)


def _namings(inputs: str | None, targets: str | None, masks: str | None) -> dict[str, Naming]:
    given = {"input": inputs, "target": targets, "mask": masks}
    namings = {role: Naming.parse(text) for role, text in given.items() if text is not None}
    for role, other in (("input", "target"), ("target", "input")):
        if role in namings and other not in namings:
            if not (namings[role].before or namings[role].after):
                raise UserError("recipe 'folder' needs both inputs and targets; give the other")
            namings[other] = Naming(namings[role].folders)
    return namings


def _files(folder: Path, namings: Mapping[str, Naming], others: set[Path]) -> list[File]:
    """The images below `folder` and what is known of each, by path; `others` are none of them."""
    named: dict[Path, File] = {}
    for role in sorted(namings, key=lambda role: namings[role].length):  # the longest name wins
        for file in _named(folder, role, namings[role]):
            if file.path in named and namings[named[file.path].role].length == namings[role].length:
                raise UserError(f"{str(file.path)!r} is called as two of inputs, targets and masks")
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


def _pairs(
    folder: Path, by_role: Mapping[str, list[File]], named: bool
) -> tuple[dict[str, list[Sample]], str]:
    """Inputs with their targets, and masks where there are some; `named` by the options."""
    if not named:
        _check_meant(folder, by_role)
    inputs, targets, masks = (
        _by_key(folder, _beside(by_role[role], by_role["input"]), by_role)
        for role in ("input", "target", "mask")
    )
    _check_partners(inputs, targets, "target")
    _check_partners(targets, inputs, "input")
    if masks:
        _check_partners(inputs, masks, "mask")
        _check_partners(masks, inputs, "input")
    others = [file for role in ("photo", "") for file in by_role[role]]
    divided = {split for split, _ in inputs}
    alone = next((file for file in others if file.split not in {"", *divided}), None)
    if alone:
        raise UserError(
            f"{str(alone.path)!r} is no pair, and the images of {some(divided)} are; add inputs "
            f"and targets for {alone.split}, or take all for clean photos with --set "
            "data.recipe.layout=photos"
        )
    say_left_out(folder, [file.path for file in others])
    samples: dict[str, list[Sample]] = {}
    shown: dict[tuple[tuple[str, ...], ...], str] = {}
    for place in sorted(inputs, key=lambda place: (place[0] != "train", place)):
        split, key = place
        given, wanted = inputs[place], targets[place]
        mask = masks[place].path if masks else None
        name = key if not split or key.startswith(f"{split}/") else f"{split}/{key}"
        samples.setdefault(split, []).append(Sample(name, given.path, wanted.path, mask=mask))
        shown.setdefault((given.said, wanted.said), f"{given.where} → {wanted.where}")
    return samples, f"pairs{' with masks' if masks else ''}: {some(shown.values(), 2)}"


def _check_meant(folder: Path, by_role: Mapping[str, list[File]]) -> None:
    """Raises UserError where what is called inputs may be something else."""
    inputs, targets = by_role["input"], by_role["target"]
    clean = ("clean photos", {"layout": "photos"})
    given, wanted = inputs[0].where, targets[0].where if targets else "FOLDER"
    names = {"inputs": Path(given).name, "targets": Path(wanted).name}
    if not targets:
        why = f"{given!r} is called like damaged photos, and nothing like their targets"
        raise two_readings(folder, why, clean, ("pairs", names))
    twice = next((file for file in (*inputs, *targets) if len(file.said) > 1), None)
    if twice:
        why = f"the folders of {str(twice.path)!r} are called {' and '.join(twice.said)}"
        raise two_readings(folder, why, clean, ("pairs", {"inputs": "FOLDER", "targets": "FOLDER"}))
    letters = {file.said for file in (*inputs, *targets)} <= {("a",), ("b",)}
    if letters and by_role[""]:
        why = f"it holds more than {given} and {wanted}, e.g. {str(by_role[''][0].path)!r}"
        raise two_readings(folder, why, clean, (f"pairs {given} → {wanted}", names))
    if not {file.key for file in inputs} & {file.key for file in targets}:
        why = f"no file in {given!r} has the name of one in {wanted!r}"
        names["inputs"] += f"/{STEM}_x4"
        raise two_readings(folder, why, clean, ("pairs that are called otherwise, e.g.", names))


def two_readings(folder: Path, why: str, *readings: tuple[str, Mapping[str, str]]) -> UserError:
    """The error where a folder can be read in two ways, each with the options that choose it."""
    ways = (f"{reading} ({_chosen(options)})" for reading, options in readings)
    return UserError(f"{str(folder)!r} can be read in two ways, as {why}: {' or '.join(ways)}")


def _chosen(options: Mapping[str, str]) -> str:
    """How options of the recipe are given."""
    words = (["--set", f"data.recipe.{name}={value}"] for name, value in options.items())
    return platforms.command_line(itertools.chain(*words))


def _by_key(
    folder: Path, files: Iterable[File], by_role: Mapping[str, list[File]]
) -> dict[tuple[str, str], File]:
    """Files of one role by split and key. Raises UserError for two with the same."""
    found: dict[tuple[str, str], File] = {}
    for file in files:
        other = found.setdefault((file.split, file.shared), file)
        if other is file:
            continue
        if other.where == file.where:
            raise _same_name(other.path, file.path)
        options = {each: Path(by_role[each][0].where).name for each in ("input", "target")
                   if file.role != "mask" and by_role[each]}  # fmt: skip
        raise two_readings(
            folder, f"{other.where} and {file.where} both hold {Path(file.key).name!r}",
            *((f"{file.role}s from {each.where}",
               {f"{role}s": name for role, name in
                (options | {file.role: Path(each.where).name}).items()})
              for each in (other, file)),
        )  # fmt: skip
    return found


def _beside(files: Sequence[File], main: Sequence[File]) -> Iterator[File]:
    """The `files`; one that no folder gives a split is in those of the `main` files of its key."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for file in main:
        splits[file.key].add(file.split)
    for file in files:
        for split in [file.split] if file.split else sorted(splits[file.shared] or {""}):
            yield replace(file, split=split)


def _same_name(first: Path, second: Path) -> UserError:
    return UserError(
        f"{str(first)!r} and {str(second)!r} differ only in their ending; rename one of them"
    )


def _check_partners(
    files: Mapping[tuple[str, str], File], partners: Mapping[tuple[str, str], File], role: str
) -> None:
    alone = sorted(files.keys() - partners.keys())
    if alone:
        split = alone[0][0]
        near = next((repr(f.where) for f in partners.values() if f.split == split), "")
        raise UserError(
            f"recipe 'folder': {str(files[alone[0]].path)!r} has no partner of the same stem in "
            f"{near or f'a folder of {role}s' + f' of {split}' * bool(split)} "
            f"({len(alone)} unmatched); add the missing file or remove this one"
        )


def _photos(
    folder: Path, files: Sequence[File], masked: bool
) -> tuple[dict[str, list[Sample]], str]:
    """Clean photos; where `masked`, those called masks are of the others."""
    masks = [file for file in files if file.role == "mask"] if masked else []
    photos = [file for file in files if not masks or file.role != "mask"]
    if len({Path(file.key).parent for file in photos}) == 1:  # of whom masks know the names alone
        photos = [replace(file, key=Path(file.key).name) for file in photos]
        masks = [replace(file, key=Path(file.key).name) for file in masks]
    of_photos = _by_key(folder, _beside(masks, photos), {})
    samples: dict[str, list[Sample]] = {}
    ids: dict[str, Path] = {}
    for file in photos:
        name = platforms.nfc(file.path.relative_to(folder).with_suffix("").as_posix())
        if ids.setdefault(name, file.path) != file.path:
            raise _same_name(ids[name], file.path)
        mask = of_photos.get((file.split, file.key))
        if of_photos and mask is None:
            raise UserError(
                f"photo {str(file.path)!r} has no mask in "
                f"{next(iter(of_photos.values())).where!r}; add it or move the photo"
            )
        sample = Sample(name, target=file.path)
        sample = replace(sample, input=file.path, mask=mask.path) if mask else sample
        samples.setdefault(file.split, []).append(sample)
    what = next((f"photos with masks from {file.where}" for file in masks), "clean photos")
    return samples, what


def _masked(samples: Sequence[Sample], masks: Masks) -> list[Sample]:
    """The samples with their boxes or the mask of all; clean photos are damaged so."""
    return masks.attached([s if s.input else replace(s, input=s.target) for s in samples])


def _ask_for_pairs(folder: Path, files: Sequence[File]) -> None:
    """Says where two folders beside each other hold the same names, which may be those of pairs."""
    names: defaultdict[Path, set[str]] = defaultdict(set)
    for file in files:
        place = file.path.parent
        if place != folder and file.role != "mask" and not meaning(place.name)[0]:
            names[place].add(platforms.nfc(file.path.stem))
    alike: defaultdict[tuple[Path, frozenset[str]], list[Path]] = defaultdict(list)
    for place in sorted(names, key=lambda place: (meaning(place.name)[1] == "target", place)):
        alike[place.parent, frozenset(names[place])].append(place)
    pair = next((pair for pair in alike.values() if len(pair) == 2 and len(names[pair[0]]) > 1), ())
    if pair:
        first, second = (place.name for place in pair)
        print_once(
            f"{first!r} and {second!r} hold the same names: are they pairs? They are read so with "
            f"{_chosen({'inputs': first, 'targets': second})}, or the other way round",
            folder,
        )


def _check_stems(folder: Path, files: Sequence[File]) -> None:
    """Raises UserError where photos seem to be called after what they are: ``1_noisy``."""
    roles: dict[str, dict[str, str]] = {}
    for file in files:
        place, stem = str(file.path.parent), platforms.nfc(file.path.stem)
        roles.setdefault(f"{place}/{stem}", {})["photo"] = STEM
        for between in "_-":
            for first, second, pattern in (
                (*stem.rpartition(between)[::2], "{stem}{between}{word}"),
                (*stem.partition(between)[2::-2], "{word}{between}{stem}"),
            ):
                split, role = meaning(second)
                if first and len(second) > 1 and role in ("input", "target", "mask") and not split:
                    naming = pattern.format(stem=STEM, between=between, word=second)
                    roles.setdefault(f"{place}/{first}", {})[role] = naming
    for found in roles.values():
        if "mask" in found and len(found) > 1:
            other = ("photos with masks", {"masks": found["mask"]})
        elif "input" in found and len(found) > 1:
            names = {"inputs": found["input"], "targets": found.get("target", STEM)}
            other = ("pairs", names)
        else:
            continue
        why = "the names of its files are those of partners"
        raise two_readings(folder, why, ("clean photos", {"layout": "photos"}), other)
