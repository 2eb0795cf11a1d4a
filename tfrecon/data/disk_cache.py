"""Arrays that are computed once and kept on disk, in shards that are finished one by one.

A shard is a file named after the number of its first record: the arrays of its records, each from a
multiple of ALIGNMENT on, then a line of JSON with their type, their shapes and a checksum of each
record.
"""

import bisect
import contextlib
import json
import math
import mmap
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import files
from tfrecon.base.errors import UserError

Array = np.ndarray[Any, Any]

SUFFIX = ".shard"

SHARD = 2**29
"""Bytes after which a shard ends. A process of Linux maps 65,530 files, thus 32 TiB."""

ALIGNMENT = 64
"""TensorFlow reads an array from such an address where it lies, and copies it from another."""


class Records:
    """The `count` records of `folder`, mapped into memory; each is a list of arrays of one type.

    ``compute(start, stop)`` yields those from `start` up to `stop`. It is asked for what no whole
    shard holds, so that whoever goes on after a killed process makes the rest; and for a shard
    again of which a record, when it is first read, is not what was written.
    """

    def __init__(
        self, folder: Path, count: int, compute: Callable[[int, int], Iterable[Sequence[Array]]]
    ) -> None:
        self._folder, self._count, self._compute = folder, count, compute
        if self._missing():
            with files.claimed(folder, wait=True):
                files.remove_leftovers(folder)
                gaps = self._missing()  # others may have made it in the meantime
                if self._shards and gaps:
                    known = count - sum(stop - start for start, stop in gaps)
                    print(f"{str(folder)!r} holds {known:,} of {count:,}; the rest is made now")
                for start, stop in gaps:
                    self._make(start, stop)
        self._starts = sorted(self._shards)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> list[Array]:
        start = self._starts[bisect.bisect_right(self._starts, place) - 1]
        if not self._shards[start].is_whole(place - start):
            self._mend(start, place - start)
        return self._shards[start].record(place - start)

    def size(self) -> int:
        """Bytes of the arrays, as they lie on disk."""
        return sum(shard.size for shard in self._shards.values())

    def _missing(self) -> list[tuple[int, int]]:
        """Opens the shards that are whole; the stretches of records that lie in none of them."""
        self._shards: dict[int, Shard] = {}
        end, gaps = 0, list[tuple[int, int]]()
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            with contextlib.suppress(Exception):  # what cannot be read is damaged
                start, shard = int(path.stem), Shard(path)
                if start >= end:
                    gaps.append((end, start))
                    end = start + len(shard)
                    self._shards[start] = shard
        gaps.append((end, self._count))
        return [(start, stop) for start, stop in gaps if start < stop]

    def _make(self, start: int, stop: int) -> None:
        """Writes the shards of a stretch."""
        records = iter(self._compute(start, stop))
        while start < stop:
            self._shards[start] = _written(self._path(start), records, SHARD)
            start += len(self._shards[start])

    def _mend(self, start: int, number: int) -> None:
        """Writes a shard anew in which record `number` is damaged."""
        path, count = self._path(start), len(self._shards[start])
        with files.claimed(self._folder, wait=True):
            with contextlib.suppress(Exception):  # another has mended it
                self._shards[start] = Shard(path)
            if not self._shards[start].is_whole(number):
                print(f"{str(path)!r} is damaged; it is made anew")
                records = iter(self._compute(start, start + count))
                self._shards[start] = _written(path, records, math.inf)
        if not self._shards[start].is_whole(number):
            raise UserError(
                f"{str(path)!r} does not keep what is written to it: check the disk, or name a "
                "folder on another with data.cache_dir"
            )

    def _path(self, start: int) -> Path:
        return self._folder / f"{start:012}{SUFFIX}"


class Shard:
    """A mapped shard; raises anything for a file that is not a whole one."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.size = self._content.rfind(b"\n", 0, len(self._content) - 1)
        index = json.loads(self._content[self.size :])
        self._type, self._sums = np.dtype(index["type"]), array("I", index["crc32"])
        self._checked = bytearray(len(self._sums))
        self._shapes: list[tuple[Any, ...]] = []
        self._starts = array("q")
        known: dict[Any, Any] = {}  # most are equal, and kept once
        place = 0
        for _, shapes in zip(self._sums, index["shapes"], strict=True):
            shapes = tuple(map(tuple, shapes))
            self._shapes.append(known.setdefault(shapes, shapes))
            self._starts.append(place)
            for shape in shapes:
                place = aligned(place + math.prod(shape) * self._type.itemsize)
        if place != self.size:
            raise ValueError("an index of another file")

    def __len__(self) -> int:
        return len(self._sums)

    def record(self, number: int) -> list[Array]:
        """The arrays of a record, which nobody can write to."""
        arrays: list[Array] = []
        place = self._starts[number]
        for shape in self._shapes[number]:
            flat = np.frombuffer(self._content, self._type, math.prod(shape), place)
            arrays.append(flat.reshape(shape))
            place = aligned(place + flat.nbytes)
        return arrays

    def is_whole(self, number: int) -> bool:
        """Whether a record is what was written; one that is is not looked at again."""
        if not self._checked[number]:
            self._checked[number] = _checksum(self.record(number)) == self._sums[number]
        return bool(self._checked[number])


def _written(path: Path, records: Iterator[Sequence[Array]], most: float) -> Shard:
    """A shard of the next of `records`, until it has `most` bytes."""
    kind, shapes, sums = "", list[Any](), list[int]()
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        for record in records:
            for part in record:
                file.write(part.tobytes())
                file.write(bytes(aligned(file.tell()) - file.tell()))
            kind = record[0].dtype.str
            shapes.append([part.shape for part in record])
            sums.append(_checksum(record))
            if file.tell() >= most:
                break
        index = json.dumps({"type": kind, "shapes": shapes, "crc32": sums})
        file.write(f"\n{index}\n".encode())
    return Shard(path)


def aligned(place: int) -> int:
    """The first place from there on where an array may begin."""
    return place + -place % ALIGNMENT


def _checksum(record: Sequence[Array]) -> int:
    total = 0
    for part in record:
        total = zlib.crc32(np.ascontiguousarray(part), total)
    return total


def size(folder: Path) -> int | None:
    """Bytes of the arrays in `folder`; None unless it holds whole ones and nothing else."""
    with contextlib.suppress(Exception):
        return sum(Shard(path).size for path in folder.iterdir()) or None
    return None


def remove(folder: Path) -> None:
    """Removes a folder of shards."""
    for path in folder.glob(f"*{SUFFIX}"):
        path.unlink()
    folder.rmdir()
