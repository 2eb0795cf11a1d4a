"""Reads torch's ``.pth`` files without torch, admitting tensors only.

Such a file is a pickle, which may name any function to be called. The reader here knows a handful
of names, all of them stand-ins of its own, and refuses every other.
"""

from __future__ import annotations

import collections
import math
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfrecon.base.errors import UserError

Arrays = dict[str, np.ndarray[Any, Any]]
"""Arrays by name."""

_TYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1",
    "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_NESTED = ("state_dict", "model")


def read(path: Path) -> Arrays:
    """The tensors of a state dict by name, floats as float32, in torch's layout.

    Both formats, zip (torch 1.6 and later) and legacy, and state dicts inside a checkpoint. Raises
    UserError naming the file when it is damaged or holds anything that is not a tensor.
    """
    try:
        with path.open("rb") as file:
            loaded = (_zipped if file.read(2) == b"PK" else _legacy)(path)
        for key in _NESTED:
            if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
                loaded = loaded[key]
        items = loaded.items() if isinstance(loaded, dict) else ()
        arrays = {name: item.array() for name, item in items if isinstance(item, _Tensor)}
    except _RefusedError as error:
        raise UserError(
            f"torch file {str(path)!r} asks for {error}, which is no tensor; save its state_dict() "
            "alone"
        ) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle fails in any way there is
        raise UserError(
            f"torch file {str(path)!r} is truncated or damaged ({type(error).__name__}: {error}); "
            "fetch it again"
        ) from error
    if not arrays:
        raise UserError(f"torch file {str(path)!r} holds no state dict of tensors")
    return arrays


class _RefusedError(Exception):
    """A name that the reader does not know."""


@dataclass
class _Storage:
    """Numbers that tensors are views of; `data` comes after the pickle in the legacy format."""

    kind: str
    data: bytes = b""
    big_endian: bool = False

    @property
    def itemsize(self) -> int:
        return 2 if self.kind == "bfloat16" else np.dtype(self.kind).itemsize

    def values(self) -> np.ndarray[Any, Any]:
        kind = np.dtype("u2" if self.kind == "bfloat16" else self.kind)
        values = np.frombuffer(self.data, kind.newbyteorder(">" if self.big_endian else "<"))
        if self.kind == "bfloat16":  # the upper half of a float32
            return (values.astype("u4") << 16).view("f4")
        return values.astype("f4" if kind.kind == "f" else kind.newbyteorder("="))


@dataclass
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray[Any, Any]:
        """The view as an array of its own. Every index is held to the storage."""
        values = self.storage.values()
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        count = math.prod(self.shape)
        if count == 0:
            return np.zeros(self.shape, values.dtype)
        negative = min(self.offset, *self.shape, *self.strides, 0) < 0
        if negative or max(last + 1, count) > len(values):
            raise ValueError(f"a tensor of shape {self.shape} exceeds its {len(values)} numbers")
        steps = [s * values.itemsize for s in self.strides]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps)
        return view.copy()

    def __setstate__(self, state: Any) -> None:
        """Old files set flags of a parameter here, which mean nothing to an array."""


class _Unpickler(pickle.Unpickler):
    """Knows tensors, their storages and OrderedDict; `storage` finds a storage by its record."""

    def __init__(self, file: BinaryIO, storage: Callable[..., _Storage]) -> None:
        super().__init__(file)
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in; bound methods and strings, which a pickle cannot alter."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        known = {
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch.nn.parameter", "Parameter"): _parameter,
        }
        if (module, name) not in known:
            raise _RefusedError(f"{module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage from the record ``("storage", type, key, place, count, …)``."""
        tag, kind, key, _, count, *view = pid
        if tag != "storage" or kind not in _TYPES.values():
            raise _RefusedError(f"a record {tag!r}")
        if view and view[0] is not None:
            raise _RefusedError("a view of another storage")
        return self.storage(kind, str(key), int(count))

    def _tensor(self, storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor without a storage")
        return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _zipped(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        big = order in archive.namelist() and archive.read(order) == b"big"
        known: dict[str, _Storage] = {}

        def storage(kind: str, key: str, count: int) -> _Storage:
            if key not in known:
                known[key] = _Storage(kind, archive.read(f"{folder}data/{key}"), big)
            return known[key]

        with archive.open(pickled) as file:
            return _Unpickler(file, storage).load()  # type: ignore[arg-type]


def _legacy(path: Path) -> Any:
    """Three pickles of magic, version and machine, one of the object, one of keys; then numbers."""
    storages: dict[str, _Storage] = {}  # the pickle names them, the file holds them afterwards
    with path.open("rb") as file:

        def storage(kind: str, key: str, count: int) -> _Storage:
            return storages.setdefault(key, _Storage(kind))

        def load() -> Any:
            return _Unpickler(file, storage).load()

        if load() != _LEGACY_MAGIC:
            raise ValueError("not a torch file")
        load()
        machine, loaded, keys = load(), load(), load()
        for key in map(str, keys):
            place = storages[key]
            place.big_endian = not machine["little_endian"]
            order = "big" if place.big_endian else "little"
            length = int.from_bytes(file.read(8), order) * place.itemsize
            place.data = file.read(length)
            if len(place.data) != length:
                raise EOFError("the numbers end early")
        return loaded
