"""Files and folders that take their place whole or not at all."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    When the block fails the temporary file is removed and `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which file it was
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes `content` as JSON, with an end of line, by `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


def digest(path: Path) -> bytes:
    """The BLAKE2b hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time works in `folder`, which is made where it is missing; others wait."""
    import fcntl  # which Windows has not

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run that works on {str(folder)!r}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Removes the temporary files that a killed process left in `folder`, where no other writes."""
    for path in Path(folder).glob(".*.part"):
        path.unlink()


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    new, old = workplace / "new", workplace / "old"
    try:
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)  # a folder cannot be renamed onto one that holds files
        new.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(workplace, ignore_errors=True)
