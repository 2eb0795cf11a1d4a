"""Reads torch's ``.pth`` files without torch, admitting tensors only.

Such a file is a pickle, which may name any function to be called. The reader here knows a handful
of names, all of them stand-ins of its own, and refuses every other.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from tfrecon.base import checkpoint
from tfrecon.base.errors import UserError, foreign

Arrays = dict[str, np.ndarray[Any, Any]]
"""Arrays by name."""

_TYPES: dict[str, Any] = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?", "BFloat16Storage": ml_dtypes.bfloat16,
}  # fmt: skip

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read(path: Path) -> Arrays:
    """The tensors of a state dict by name, floats as float32, in torch's layout.

    Both formats, zip (torch 1.6 and later) and legacy, and a state dict inside a checkpoint. Raises
    UserError naming the file when it is damaged or holds anything that is not a tensor, and for a
    checkpoint with several state dicts.
    """
    with foreign("torch file", path, "fetch it again"):
        try:
            with path.open("rb") as file:
                loaded = (_zipped if file.read(2) == b"PK" else _legacy)(path)
        except _RefusedError as error:
            raise UserError(
                f"torch file {str(path)!r} asks for {error}, which is no tensor; save its "
                "state_dict() alone"
            ) from None
        items = _state_dict(path, loaded).items() if isinstance(loaded, dict) else ()
        tensors = {
            name: item
            for name, item in items
            if isinstance(name, str) and isinstance(item, _Tensor)
        }
        checkpoint.check_unpacked(path, sum(item.size * 8 for item in tensors.values()))
        arrays = {name: item.copied() for name, item in tensors.items()}
    if not arrays:
        raise UserError(
            f"torch file {str(path)!r} holds no state dict of tensors; save its state_dict() alone"
        )
    return arrays


def _state_dict(path: Path, loaded: dict[Any, Any]) -> dict[Any, Any]:
    """The only part of a checkpoint that holds tensors by name (an optimizer's lie deeper), or else
    all of it."""
    inner = {id(item): (key, item) for key, item in loaded.items() if isinstance(item, dict)}
    parts = {
        key: item
        for key, item in inner.values()
        if any(isinstance(value, _Tensor) for value in item.values())
    }
    if len(parts) > 1:
        key = next(iter(parts))
        raise UserError(
            f"torch file {str(path)!r} holds several state dicts ({', '.join(map(str, parts))}); "
            f"save the one that you mean alone, in torch by torch.save(torch.load(FILE)[{key!r}], "
            "OWN_FILE)"
        )
    return next(iter(parts.values()), loaded)


class _RefusedError(Exception):
    """A name that the reader does not know."""


class _Tensor(np.ndarray[Any, Any]):
    """A view of a storage, which is an array of one dimension."""

    def copied(self) -> np.ndarray[Any, Any]:
        """An array of its own, floats as float32."""
        whole = self.dtype.kind in "iub"
        return np.array(self, self.dtype if whole else np.float32, order="C")

    def __setstate__(self, state: Any) -> None:
        """Old files set flags of a parameter here, which mean nothing to an array."""


class _Unpickler(pickle.Unpickler):
    """Knows tensors, their storages and OrderedDict; `storage` finds a storage by its type, key
    and count."""

    def __init__(self, file: BinaryIO, storage: Callable[..., np.ndarray[Any, Any]]) -> None:
        super().__init__(file)
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in; bound methods and strings, which a pickle cannot alter."""
        if module == "torch" and name in _TYPES:
            return name
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            ("torch.nn.parameter", "Parameter"): self._parameter,
        }
        if (module, name) not in known:
            raise _RefusedError(f"{module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray[Any, Any]:
        """A storage from the record ``("storage", type, key, place, count, …)``."""
        tag, kind, key, _, count, *view = pid
        # Lists in lists, each twice, are short in the pickle and endless as text.
        if tag != "storage" or not isinstance(key, str | int) or kind not in _TYPES:
            raise _RefusedError("a record of another kind")
        if view and view[0] is not None:
            raise _RefusedError("a view of another storage")
        return self.storage(np.dtype(_TYPES[kind]), str(key), int(count))

    def _parameter(self, data: Any, *_: Any) -> Any:
        return data

    def _tensor(self, storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
        """A view as the pickle asks for it. Every index is held to the storage."""
        if type(storage) is not np.ndarray:
            raise ValueError("a tensor without a storage")
        start, shape, strides = int(offset), tuple(map(int, shape)), tuple(map(int, strides))
        last = start + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        count = math.prod(shape)
        if min(start, *shape, *strides, 0) < 0 or (count and max(last + 1, count) > len(storage)):
            raise ValueError(f"a tensor of shape {shape} exceeds its {len(storage)} numbers")
        steps = [s * storage.itemsize for s in strides]
        return np.lib.stride_tricks.as_strided(storage[start:], shape, steps).view(_Tensor)


def _loaded(file: BinaryIO, storage: Callable[..., np.ndarray[Any, Any]]) -> Any:
    """The next pickle of a file, once it is seen to be whole and to number its parts honestly: the
    unpickler makes room for as many parts as the largest number says."""
    start = file.tell()
    for code, argument, place in pickletools.genops(file):
        if "PUT" in code.name and int(argument or 0) > (place or 0):
            raise ValueError(f"a part with the number {argument}")
    file.seek(start)
    return _Unpickler(file, storage).load()


def _zipped(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        checkpoint.check_members(path, archive)
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        big = order in archive.namelist() and archive.read(order) == b"big"
        known: dict[str, np.ndarray[Any, Any]] = {}

        def storage(kind: np.dtype[Any], key: str, count: int) -> np.ndarray[Any, Any]:
            if key not in known:
                values = np.frombuffer(archive.read(f"{folder}data/{key}"), kind)
                known[key] = values.byteswap() if big else values
            return known[key]

        return _loaded(io.BytesIO(archive.read(pickled)), storage)


def _legacy(path: Path) -> Any:
    """Three pickles of magic, version and machine, one of the object, one of keys; then numbers."""
    storages: dict[str, np.ndarray[Any, Any]] = {}  # zeros until the numbers come
    room = path.stat().st_size  # no file holds more numbers than bytes
    with path.open("rb") as file:

        def storage(kind: np.dtype[Any], key: str, count: int) -> np.ndarray[Any, Any]:
            nonlocal room
            if key not in storages:
                room -= count * kind.itemsize
                if min(count, room) < 0:
                    raise EOFError(f"{count:,} numbers are more than the file holds")
                storages[key] = np.zeros(count, kind)
            return storages[key]

        magic, _, machine, loaded, keys = (_loaded(file, storage) for _ in range(5))
        if magic != _LEGACY_MAGIC:
            raise ValueError("not a torch file")
        if {str(key) for key in keys} != storages.keys():
            raise ValueError("storages without numbers")
        for values in (storages[str(key)] for key in keys):
            count = int.from_bytes(file.read(8), "little" if machine["little_endian"] else "big")
            if count != len(values) or file.readinto(values.view("u1")) != values.nbytes:
                raise EOFError("the numbers end early")
            if not machine["little_endian"]:
                values.byteswap(inplace=True)
        return loaded
