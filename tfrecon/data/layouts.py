"""What a folder of photos means: pairs, masks and splits, told by what its folders are called
(`tfrecon.data.roles`), by tables beside the images (`tfrecon.data.metadata`), or by options:
`tfrecon.data.described` asks all three.

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
from tfrecon.data.described import File, files_in, namings_of
from tfrecon.data.masks import Masks
from tfrecon.data.photos import STEM, print_once, say_left_out
from tfrecon.data.roles import ROLES, meaning
from tfrecon.data.sample import MaskFrom, Sample


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
    namings = namings_of(
        inputs, targets, masks if masks and not (folder / masks).is_file() else None
    )
    given = Masks(folder / masks, folder, mask_from) if masks and "mask" not in namings else None
    if layout != "auto" and (inputs or targets):
        raise UserError(f"layout {layout!r} has no inputs and targets; leave them or it out")
    if layout == "side_by_side" and masks:
        raise UserError("layout 'side_by_side' has no masks; leave them or it out")
    files = files_in(folder, namings, {folder / masks} if given and masks else set())
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
