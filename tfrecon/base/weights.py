"""Files of pretrained arrays: where they are looked for, and how they are read.

A file is searched in the folder `$TFRECON_WEIGHTS`, then in the cache, and downloaded from its
publisher only when neither has it. Wherever it was found, it must have the publisher's hash.
"""

import functools
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (tells NumPy what bfloat16 is)
import numpy as np

from tfrecon.base import checkpoint, torch_file
from tfrecon.base.bars import tqdm
from tfrecon.base.errors import UserError, foreign
from tfrecon.base.files import claimed, digest
from tfrecon.base.torch_file import Arrays

VARIABLE = "TFRECON_WEIGHTS"

TIMEOUT_SECONDS, PAUSES_SECONDS = 30, (1, 5, 20)
"""How long a server may be silent, and the pauses before each further attempt."""

_TYPES = (
    "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL",
)  # fmt: skip
"""The numbers of ``.safetensors`` files. 8-bit floats need scales, which have no fixed place."""

# A full disk is an OSError, too, and no matter of the network.
_NETWORK_ERRORS = (
    urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException,
)  # fmt: skip


@dataclass(frozen=True)
class WeightFile:
    """A file by name, where its publisher keeps it, and the hash that it must have there and here:
    SHA-256 or, where none is known, MD5. A file without `url` is nobody's but the user's."""

    name: str
    url: str | None = None
    sha256: str | None = None
    md5: str | None = None


def find(files: Sequence[WeightFile], *, download: bool = True) -> Path:
    """The first of `files`, which hold the same arrays, that is here; else the first to be had.

    Raises UserError naming the files and both remedies, and for a file with a wrong hash.
    """
    for file in files:
        if path := local(file.name):
            return checked(path, file)
    reason = ""
    for file in files if download else ():
        if file.url:
            try:
                return _download(file)
            except _NETWORK_ERRORS as error:
                reason = f", and {file.url} does not answer ({error})"
    names = " or ".join(repr(file.name) for file in files)
    raise UserError(
        f"weight file {names} is not in ${VARIABLE} ({os.environ.get(VARIABLE) or 'not set'}) nor "
        f"in the cache {str(cache())!r}{reason}; put it into one of them, or connect to the network"
    )


def checked(path: Path, file: WeightFile) -> Path:
    """`path`, once it has the hash of `file`. Raises UserError where it has another."""
    if not file.url:
        return path
    kind, about = "sha256" if file.sha256 else "md5", path.stat()
    found, expected = _digest(path, kind, about.st_size, about.st_mtime_ns), vars(file)[kind]
    if found != expected:
        raise UserError(
            f"weight file {str(path)!r} has {kind.upper()} {found}, not {expected} as that of "
            f"{file.url}; remove it and it is fetched again (a backbone takes a file of your own "
            "by its path in its option weights)"
        )
    return path


@functools.lru_cache  # half a second for the largest
def _digest(path: Path, kind: str, size: int, changed_ns: int) -> str:
    return digest(path, kind).hex()


def local(name: str) -> Path | None:
    """The file of that name in `$TFRECON_WEIGHTS` or the cache."""
    return next((folder / name for folder in folders() if (folder / name).is_file()), None)


def folders() -> list[Path]:
    """Where weight files are looked for, in this order."""
    users = os.environ.get(VARIABLE)
    return [*([Path(users)] if users else []), cache()]


def cache() -> Path:
    """The folder that downloads go to."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tfrecon"


def read(
    path: Path, what: str = "weight file", remedy: str = "remove it and fetch it again"
) -> Arrays:
    """The arrays of a ``.npz``, ``.safetensors`` or torch ``.pth`` file, as the file names them;
    the one in a ``.npy`` is called as that.

    Raises UserError, which calls the file a `what` and ends with a `remedy`, for one that is
    missing, damaged or of another kind.
    """
    if path.suffix not in _READERS:
        raise UserError(f"{what} {str(path)!r} must end with {', '.join(_READERS)}")
    if not path.is_file():
        raise UserError(f"{what} {str(path)!r} does not exist; give the path of a file")
    return _READERS[path.suffix](path, what, remedy)


def _read_npz(path: Path, what: str, remedy: str) -> Arrays:
    with checkpoint.opened(path, what, remedy) as archive:
        return {name: checkpoint.numbers(archive, name) for name in archive.files}


def _read_npy(path: Path, what: str, remedy: str) -> Arrays:
    with foreign(what, path, remedy):  # mapped: no header makes it larger than the file
        array = np.lib.format.open_memmap(path, mode="r")
        if array.dtype.kind not in "biuf":
            raise ValueError("it holds no numbers")
        return {path.stem: array}


def _read_torch(path: Path, what: str, remedy: str) -> Arrays:
    return torch_file.read(path)


def _read_safetensors(path: Path, what: str, remedy: str) -> Arrays:
    """Floats become float32."""
    from safetensors import safe_open

    arrays: Arrays = {}
    with foreign(what, path, remedy), safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118  (no mapping)
            kind = file.get_slice(name).get_dtype()
            if kind not in _TYPES:
                raise UserError(
                    f"{what} {str(path)!r} holds numbers of type {kind!r}; save them as one of "
                    f"{', '.join(_TYPES)}"
                )
            read = file.get_tensor(name)
            whole = read.dtype if read.dtype.kind in "iub" else np.float32
            arrays[name] = read.astype(whole, copy=False)
    return arrays


_READERS = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".npy": _read_npy,
}


def _download(file: WeightFile) -> Path:
    """Fetches `file` into the cache, where it appears only when whole and with the right hash.

    What came before the network failed stays in ``.NAME.part``, and the next attempt, of this
    process or of a later one, goes on behind it.
    """
    target = cache() / file.name
    part = target.with_name(f".{file.name}.part")
    with claimed(target.parent, wait=True):
        if target.is_file():  # another process has fetched it meanwhile
            return checked(target, file)
        for pause in (*PAUSES_SECONDS, None):
            try:
                _fetch(str(file.url), part)
                break
            except _NETWORK_ERRORS as error:
                is_final = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500
                if pause is None or is_final:
                    raise
                print(f"{file.url} does not answer ({error}); trying again in {pause} seconds")
                time.sleep(pause)
        try:
            checked(part, file)
        except UserError:
            part.unlink()
            raise
        part.replace(target)
    return target


def _fetch(url: str, part: Path) -> None:
    """Appends to `part` what it lacks of the file at `url`. Raises what `_NETWORK_ERRORS` lists."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # it lacks nothing
        raise
    have *= answer.status == http.HTTPStatus.PARTIAL_CONTENT  # else the server begins anew
    length = int(answer.headers.get("Content-Length") or 0)
    with (
        answer, part.open("ab" if have else "wb") as out,
        tqdm(total=have + length or None, initial=have, desc=part.name[1:-5], unit="B",
             unit_scale=True, disable=None) as bar,
    ):  # fmt: skip
        while block := answer.read(1 << 20):
            out.write(block)
            bar.update(len(block))
    if part.stat().st_size < have + length:
        raise ConnectionError(f"it ended after {part.stat().st_size} of {have + length} bytes")


def fingerprint(arrays: Mapping[str, Any]) -> str:
    """A SHA-256 over names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(repr((name, array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
