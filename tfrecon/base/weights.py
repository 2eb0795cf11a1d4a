"""Files of pretrained arrays: where they are looked for, and how they are read.

A file is searched in the folder `$TFRECON_WEIGHTS`, then in the cache, and downloaded from its
publisher, checked against a SHA-256, only when neither has it.
"""

import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from tqdm import tqdm

from tfrecon.base import checkpoint, torch_file
from tfrecon.base.errors import UserError, foreign
from tfrecon.base.files import replacing
from tfrecon.base.torch_file import Arrays

VARIABLE = "TFRECON_WEIGHTS"

TIMEOUT_SECONDS = 30

_TYPES: dict[str, Any] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "I64": "<i8",
    "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip
"""The numbers of ``.safetensors`` files. 8-bit floats need scales, which have no fixed place."""

# A full disk is an OSError, too, and no matter of the network.
_NETWORK_ERRORS = (
    urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException,
)  # fmt: skip


@dataclass(frozen=True)
class WeightFile:
    """A file by name, and where its publisher keeps it.

    `sha256` may be its first digits; None is the one that the server states (Hugging Face does).
    """

    name: str
    url: str | None = None
    sha256: str | None = None


def find(files: Sequence[WeightFile], *, download: bool = True) -> Path:
    """The first of `files`, which hold the same arrays, that is here; else the first to be had.

    Raises UserError naming the files and both remedies, and for a download with a wrong SHA-256.
    """
    for file in files:
        if path := local(file.name):
            return path
    reason = ""
    for file in files if download else ():
        if file.url:
            try:
                return _download(file, cache() / file.name)
            except _NETWORK_ERRORS as error:
                reason = f", and {file.url} does not answer ({error})"
    names = " or ".join(repr(file.name) for file in files)
    raise UserError(
        f"weight file {names} is not in ${VARIABLE} ({os.environ.get(VARIABLE) or 'not set'}) nor "
        f"in the cache {str(cache())!r}{reason}; put it into one of them, or connect to the network"
    )


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


def read(path: Path) -> Arrays:
    """The arrays of a ``.npz``, ``.safetensors`` or torch ``.pth`` file, as the file names them.

    Raises UserError naming a file that is missing, damaged or of another kind.
    """
    if path.suffix not in _READERS:
        raise UserError(f"weight file {str(path)!r} must end with {', '.join(_READERS)}")
    if not path.is_file():
        raise UserError(f"weight file {str(path)!r} does not exist; give the path of a file")
    return _READERS[path.suffix](path)


def _read_npz(path: Path) -> Arrays:
    with checkpoint.opened(path, "weight file", "remove it and fetch it again") as archive:
        return {name: checkpoint.numbers(archive, name) for name in archive.files}


def _read_safetensors(path: Path) -> Arrays:
    """Eight bytes hold the length of a header, JSON with type, shape and place of each array; the
    numbers follow (github.com/huggingface/safetensors, "Format"). Floats become float32."""
    arrays: Arrays = {}
    with foreign("weight file", path, "remove it and fetch it again"), path.open("rb") as file:
        size, start = os.fstat(file.fileno()).st_size, 8 + int.from_bytes(file.read(8), "little")
        if start > size:
            raise EOFError("its header reaches beyond its end")
        header = json.loads(file.read(start - 8))
        header.pop("__metadata__", None)
        places = [about["data_offsets"] for about in header.values()]
        if sum(abs(end - begin) for begin, end in places) > size - start:
            raise EOFError("its header claims more numbers than it holds")
        for name, about in header.items():
            if about["dtype"] not in _TYPES:
                raise UserError(
                    f"weight file {str(path)!r} holds numbers of type {about['dtype']!r}; save "
                    f"them as one of {', '.join(_TYPES)}"
                )
            begin, end = about["data_offsets"]
            file.seek(start + begin)
            read = np.frombuffer(file.read(max(end - begin, 0)), _TYPES[about["dtype"]])
            whole = read.dtype if read.dtype.kind in "iub" else np.float32
            arrays[name] = read.reshape(about["shape"]).astype(whole, copy=False)
    return arrays


_READERS = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pth": torch_file.read,
    ".pt": torch_file.read,
}


class _StatedHash(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps the SHA-256 that Hugging Face states beside one."""

    stated = ""

    def note(self, headers: Any) -> None:
        self.stated = (headers.get("X-Linked-ETag") or self.stated).strip('"')

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any):
        self.note(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(file: WeightFile, target: Path) -> Path:
    """Fetches `file` into `target`, which appears only when whole and of the right SHA-256."""
    handler = _StatedHash()
    digest = hashlib.sha256()
    opener = urllib.request.build_opener(handler)
    with replacing(target) as temporary:
        with (
            opener.open(str(file.url), timeout=TIMEOUT_SECONDS) as answer,
            temporary.open("wb") as out,
            tqdm(total=int(answer.headers.get("Content-Length") or 0) or None, desc=file.name,
                 unit="B", unit_scale=True, disable=None) as bar,
        ):  # fmt: skip
            handler.note(answer.headers)
            while block := answer.read(1 << 20):
                out.write(block)
                digest.update(block)
                bar.update(len(block))
        received, expected = digest.hexdigest(), file.sha256 or handler.stated
        if not expected or not received.startswith(expected):
            raise UserError(
                f"{file.url} has SHA-256 {received}, not "
                f"{expected or 'one that its server states'}, and was removed; try again, or fetch "
                f"it by hand and put it into {str(target.parent)!r} if you trust it"
            )
    return target


def fingerprint(arrays: Mapping[str, Any]) -> str:
    """A SHA-256 over names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(repr((name, array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
