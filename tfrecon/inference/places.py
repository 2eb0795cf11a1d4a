"""Which photos are restored, and into which files."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfrecon.base import platforms
from tfrecon.base.errors import UserError, some
from tfrecon.base.images import FORMATS, SUFFIXES
from tfrecon.data.photos import images_in, is_photo, pages
from tfrecon.data.sample import Sample

JPEG = FORMATS["JPEG"]
"""Endings of a file that is written as JPEG; all others are PNG."""

Placed = list[tuple[Sample, Path]]
"""Photos, each with the file that it is restored to."""


def photos_of(source: Path, leave_out: Iterable[Path], below: bool) -> list[Sample]:
    """The photo `source`, or those in the folder `source`, with `below` also in the folders in it;
    each page of a file is one. What lies at or in a path of `leave_out` is none of them.

    Raises UserError where there is no photo, and for two of one folder with equal stems.
    """
    if source.is_file():
        if not is_photo(source):
            raise UserError(f"{str(source)!r} is no image; endings read: {', '.join(SUFFIXES)}")
        top, found = source.parent, [source]
    else:
        inside = [] if below else [*source.iterdir()]
        if any(path.is_dir() for path in inside) and not any(map(is_photo, inside)):
            raise UserError(f"no image in {str(source)!r} itself; add --recursive for its folders")
        others = {
            path for each in leave_out if source.resolve() in (path := each.resolve()).parents
        }
        top, found = source, images_in(source, [path.name for path in others], below).values()
        found = [each for each in found if not others & {each.resolve(), *each.resolve().parents}]
    if not found:
        raise UserError(
            f"{str(source)!r} holds no photo beside masks and what was restored before; "
            "name the folder of the photos"
        )
    samples: list[Sample] = []
    for path in found:
        name, numbers = path.relative_to(top).as_posix(), pages(path)
        ids = [f"{name} page {page + 1}" for page in numbers] if len(numbers) > 1 else [name]
        pairs = zip(ids, numbers, strict=True)
        samples += [Sample(id, path, page=page) for id, page in pairs]
    return samples


def checked_output(source: Path, output: Path | None, suffix: str) -> Path:
    """The file that the photo `source` is restored to, or the folder for those of the folder
    `source`; without `output` they come to lie beside the photos.

    Raises UserError for a missing `source`, and for an output that cannot be such a file or folder.
    """
    if not source.exists():
        raise UserError(f"photo or folder {str(source)!r} does not exist; correct its path")
    if Path(suffix).name != suffix:
        raise UserError(f"--suffix is a part of a file's name, e.g. _restored, not {suffix!r}")
    if output is None and not suffix:
        raise UserError(
            "give -o OUTPUT, where to write, or --suffix _restored to write beside INPUT"
        )
    if not source.is_file():
        return _output_folder(source, source if output is None else output, suffix)
    if output is None:
        return source.with_name(f"{source.stem}{suffix}.png")
    if suffix:
        raise UserError("--suffix has no effect where -o names the file; leave one of them out")
    if output.is_dir():
        raise UserError(
            f"INPUT is one photo and -o {str(output)!r} is a folder; name a file, e.g. -o "
            f"{str(output / source.with_suffix('.png').name)!r}"
        )
    if output.suffix.lower() not in (".png", *JPEG):
        raise UserError(f"-o {str(output)!r} must end with .png or .jpg, as these are written")
    return output


def _output_folder(source: Path, output: Path, suffix: str) -> Path:
    if not suffix and output.resolve() == source.resolve():
        raise UserError(
            f"{str(output)!r} is the input folder itself; choose another, or give --suffix "
            "_restored"
        )
    if output.exists() and not output.is_dir():
        raise UserError(f"output folder {str(output)!r} is a file; choose another place")
    if output.suffix.lower() in SUFFIXES and not output.exists():
        raise UserError(
            f"INPUT is a folder and -o {str(output)!r} is named like a photo; name a folder"
        )
    return output


def placed(
    samples: Sequence[Sample], source: Path, output: Path, suffix: str, masks: Iterable[Path]
) -> Placed:
    """Each sample with its file: ``<stem><suffix>.png``, and for pages ``<stem><suffix>-page2.png``
    in the folder `output`, or `output` itself for one photo.

    Beside the photos nothing is replaced: what has been restored, and what it was restored to, is
    left out and said. Raises UserError for a file that would replace an input or another.
    """
    found: dict[str, tuple[Sample, Path]] = {}
    same = platforms.alike if platforms.ignores_case(output) else str
    for sample in samples:
        path = sample.files[0]
        page = "" if sample.id.endswith(path.name) else f"-page{sample.page + 1}"
        if source.is_file():
            file = output.with_stem(f"{output.stem}{page}")
        else:
            parent = output / path.relative_to(source).parent
            file = parent / f"{path.stem}{suffix}{page}.png"
        if other := found.get(same(str(file))):
            raise UserError(
                f"{other[0].id!r} and {sample.id!r} would both be written to {str(file)!r}; "
                "rename one of the files"
            )
        found[same(str(file))] = sample, file
    pairs = [*found.values()]
    if suffix and (source.is_file() or output.resolve() == source.resolve()):
        pairs = _new(pairs, suffix)
    read = (*(sample.files[0] for sample, _ in pairs), *masks)
    inputs = {same(str(path.resolve())) for path in read}
    for _, file in pairs:
        if same(str(file.resolve())) in inputs:
            raise UserError(
                f"{str(file)!r} is an input and would be replaced; choose another output"
            )
    return pairs


def _new(pairs: Placed, suffix: str) -> Placed:
    """Those that were not restored before, and were not written so."""
    written = {file for _, file in pairs}
    pairs = [(sample, file) for sample, file in pairs if sample.files[0] not in written]
    before = [sample.id for sample, file in pairs if file.exists()]
    if before:
        print(
            f"left out, as they have a file with {suffix!r} beside them: {some(before)}; remove "
            "it to restore again"
        )
    return [(sample, file) for sample, file in pairs if not file.exists()]


def file_names(ids: Sequence[str]) -> dict[str, str]:
    """A name for files of each of `ids`: without the ending of an image, slashes as ``_``, and with
    a number where an earlier one has the same."""
    names: dict[str, str] = {}
    for id in ids:
        suffix = Path(id).suffix
        known = suffix.lower() in SUFFIXES
        plain = (id.removesuffix(suffix) if known else id).translate({47: "_", 92: "_"})
        candidates = itertools.chain([plain], (f"{plain}-{n}" for n in itertools.count(2)))
        names[id] = next(name for name in candidates if name not in names.values())
    return names
