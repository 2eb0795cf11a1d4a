"""Files and folders that take their place whole or not at all."""

import contextlib
import glob
import hashlib
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tfrecon.base import platforms
from tfrecon.base.errors import UserError

LOCK = ".tfrecon.lock"
"""The file in a folder that says that a process works there."""
RUNS = Path("checkpoints")
"""The folder of runs, in the working folder."""
RECORD = "export.json"
"""The file beside a SavedModel that says what an export is."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    When the block fails the temporary file is removed and `path` is as it was.
    """
    path = Path(path)
    platforms.check_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unused(path)
    # Made with the permissions that the umask leaves, as any file is: some file systems of Windows
    # refuse to change them later.
    file = temporary.open("xb")
    try:
        platforms.lock(file)  # while it lives, no other process takes the file for a leftover
        yield temporary
        platforms.before_renaming(file)
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which file it was
        raise
    finally:
        file.close()
        temporary.unlink(missing_ok=True)


def _unused(path: Path) -> Path:
    """A name beside `path` that no other process takes."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes `content` as JSON, with an end of line, by `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


def digest(path: Path, kind: str = "blake2b") -> bytes:
    """The hash of a file's content, of a `kind` that hashlib knows."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).digest()


class Taken(UserError):
    """Another process works in the folder."""


@contextlib.contextmanager
def claimed(folder: Path, wait: bool = False) -> Iterator[None]:
    """In the block this process alone works in `folder`, which is made where it is missing and
    removed again where it stays empty.

    Raises Taken where another process works there; with `wait` it is waited for. The system frees
    the folder of a process that dies.
    """
    platforms.check_name(folder)
    str(folder).encode()  # TensorFlow writes to no other name; `cli.run` says so
    made = list(itertools.takewhile(lambda place: not place.exists(), (folder, *folder.parents)))
    lock = folder / LOCK
    with contextlib.ExitStack() as opened:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            file = opened.enter_context(lock.open("wb"))
            if not platforms.lock(file):
                if not wait:
                    raise Taken(
                        f"another process works in {str(folder)!r}; wait until it ends, or choose "
                        "another folder"
                    )
                print(f"waiting for the process that works in {str(folder)!r}")
                platforms.lock(file, wait)
            if _is(file, lock):  # and not a file that its process has removed by now
                break
        try:
            yield
        finally:
            platforms.remove_locked(file, lock)
            with contextlib.suppress(OSError):  # a folder that holds something
                for place in made:
                    place.rmdir()


def _is(file: IO[str], path: Path) -> bool:
    """Whether an open file still has this path."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def remove_leftovers(folder: str | os.PathLike[str], of: str = "*") -> None:
    """Removes the temporary files and folders that killed processes left in `folder`, and none that
    a process still writes; in a folder of the user's only those `of` a name or a pattern."""
    for path in Path(folder).glob(f".{of}.????????.part"):
        with contextlib.suppress(OSError):  # it has just got its name, or is not ours to open
            with (path / LOCK).open("ab") if path.is_dir() else path.open("rb") as file:
                left = platforms.lock(file)
            if left:
                place = path.with_name(path.name[1 : -len(".????????.part")])
                if (path / "old").exists() and not place.exists():
                    (path / "old").rename(place)  # killed just before the new one took it
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def making(path: Path) -> Iterator[Path]:
    """In the block this process alone makes `path`; what killed ones left of it is removed, but for
    what lies in the folder ``.NAME.unfinished`` that is given, which goes where it is empty.

    Raises Taken where another process makes `path`.
    """
    workplace = path.with_name(f".{path.name}.unfinished")
    try:
        with claimed(workplace):
            remove_leftovers(path.parent, glob.escape(path.name))
            yield workplace
    finally:
        with contextlib.suppress(OSError):  # something to go on with, or another's
            workplace.rmdir()


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well."""
    platforms.check_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = _unused(path)
    workplace.mkdir()
    new, old = workplace / "new", workplace / "old"
    file = (workplace / LOCK).open("wb")
    try:
        platforms.lock(file)
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)  # a folder cannot be renamed onto one that holds files
        new.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        file.close()
        shutil.rmtree(workplace, ignore_errors=True)
