"""Decoded pixels of samples: kept in memory, kept on disk, or decoded anew each time."""

import contextlib
import functools
import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecon.base import files, images, platforms
from tfrecon.base.bars import tqdm
from tfrecon.base.depth import Stored
from tfrecon.base.errors import UserError
from tfrecon.data.boxes import drawn
from tfrecon.data.disk_cache import Array, Records
from tfrecon.data.masks import hidden_in
from tfrecon.data.sample import Sample

MEMORY_SHARE = 0.5
"""The largest part of the machine's memory that decoded samples may take."""

SPARE = 2**29
"""Bytes of decoded files that are kept from the check until others have looked at them."""

AT_A_TIME = 64
"""Files decoded ahead of the disk cache that takes them."""

Parts = dict[str, Any]
"""``target`` and ``input`` (H,W,3) and ``mask`` (H,W,1; 255 where damaged) of one sample, those
that are asked for; uint8 as stored."""

Place = tuple[Path, int]
"""An image file and the page of it."""

Read = Callable[[Path, int, float | None], np.ndarray[Any, Any]]
"""From an image file, its page and range to (H,W,3) uint8, as `images.read` does it."""

Wanted = tuple[Sample, Sequence[str]]
"""A sample and the names of the parts that are wanted of it."""


class Reader:
    """`images.read`, but a page of `uses` is decoded once and kept until it is released as often as
    it is in there; those beyond `allowed` bytes are decoded again."""

    def __init__(self, uses: Iterable[Place] = (), allowed: float = math.inf) -> None:
        self._uses, self._allowed = Counter(uses), allowed
        self._kept: dict[Place, Stored] = {}

    def decoded(self, path: Path, page: int) -> Stored:
        """As `images.decoded`."""
        stored = self._kept.get((path, page))
        if stored is None:
            stored = images.decoded(path, page)
            if (path, page) in self._uses and self._allowed >= stored.values.nbytes:
                self._allowed -= stored.values.nbytes
                self._kept[path, page] = stored
        return stored

    def __call__(self, path: Path, page: int, range: float | None) -> np.ndarray[Any, Any]:
        """(H,W,3) uint8."""
        return self.decoded(path, page).to_uint8(range)

    def release(self, places: Iterable[Place]) -> None:
        """Ends one use of each of `places`."""
        self._uses.subtract(places)
        for place in places:
            if self._uses[place] <= 0 and (stored := self._kept.pop(place, None)):
                self._allowed += stored.values.nbytes


class Store:
    """``load(index)`` gives the `parts` of one sample, uint8, cut to its region.

    `cache` is ``"memory"``, ``"disk"`` (under `folder`) or ``"none"``. Samples whose parts are all
    in `decoded` are taken from there, whatever the cache.
    """

    def __init__(
        self, samples: Sequence[Sample], parts: Sequence[str], cache: str, folder: str | Path,
        decoded: Mapping[Sample, Parts] | None = None,
    ) -> None:  # fmt: skip
        self.samples, self.parts = list(samples), tuple(parts)
        self._arrays: Callable[[int], Sequence[Array]]
        """The parts of a sample, in their order."""
        ready = [(decoded or {}).get(sample, {}) for sample in self.samples]
        if all(part in planes for planes in ready for part in self.parts):
            self._arrays = lambda index: self._in_order(ready[index])
        elif cache == "memory":
            wanted = [(sample, self.parts) for sample in self.samples]
            check_memory(wanted)
            planes = list(decode(wanted))
            self._arrays = lambda index: self._in_order(planes[index])
        elif cache == "disk":
            place = Path(folder) / fingerprint(self.parts, self.samples)
            self._arrays = Records(place, len(self.samples), self._decoded).__getitem__
        else:
            self._arrays = lambda index: self._in_order(parts_of(self.samples[index], self.parts))

    def load(self, index: Any) -> Parts:
        """The parts of sample `index` (an int64 tensor), inside a tf.data map."""
        types = [tf.uint8] * len(self.parts)
        planes = tf.numpy_function(self._arrays, [index], types, stateful=False)
        return {
            part: tf.ensure_shape(plane, [None, None, channels(part)])
            for part, plane in zip(self.parts, planes, strict=True)
        }

    def _in_order(self, planes: Parts) -> list[Array]:
        return [planes[part] for part in self.parts]

    def _decoded(self, start: int, stop: int) -> Iterator[list[Array]]:
        return map(self._in_order, decode([(s, self.parts) for s in self.samples[start:stop]]))


def decode(wanted: Sequence[Wanted], reader: Reader | None = None) -> Iterator[Parts]:
    """What is wanted of each sample, in order. A file that consecutive samples share is decoded
    once for them; `reader` is told to release it."""
    reader = reader or Reader()

    def of_one_file(group: Sequence[Wanted]) -> list[Parts]:
        read = functools.cache(reader)
        planes = [parts_of(sample, parts, read) for sample, parts in group]
        reader.release(places_of(group))
        return planes

    groups = [list(group) for _, group in itertools.groupby(wanted, lambda pair: pair[0].files)]
    progress = tqdm(desc="decoding", total=len(wanted), delay=2, leave=False)
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress:
        # A few at a time: the pool would decode all photos before a slow disk has taken them.
        for start in range(0, len(groups), AT_A_TIME):
            decoded = pool.map(of_one_file, groups[start : start + AT_A_TIME])
            for planes in itertools.chain.from_iterable(decoded):
                yield planes
                progress.update()


def places_of(wanted: Iterable[Wanted]) -> list[Place]:
    """The pages of the wanted parts, as often as they are used."""
    return [
        (getattr(sample, part), sample.page)
        for sample, parts in wanted
        for part in parts
        if part != "mask"
    ]


def check_memory(wanted: Sequence[Wanted]) -> int:
    """The bytes that the wanted parts take. Raises UserError where they are more than MEMORY_SHARE
    of the memory."""
    needed = 0
    for sample, parts in wanted:
        with contextlib.suppress(UserError):  # an unreadable file is reported when it is decoded
            size = images.size(sample.files[0], sample.page)
            height, width = sample.region[2:] if sample.region else size
            needed += height * width * sum(channels(part) for part in parts)
    available = platforms.memory_bytes()
    if needed > MEMORY_SHARE * available:
        raise UserError(
            f"the decoded images need {needed / 2**30:.1f} GiB, more than half of the "
            f"{available / 2**30:.1f} GiB of this machine; "
            "keep them on disk with --set data.cache=disk"
        )
    return needed


def fingerprint(about: Any, samples: Sequence[Sample]) -> str:
    """A name that changes with `about` and with any file, region, box or mask of the samples, so
    that a stale cache is never read."""
    digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
    for sample in samples:
        facts = [
            (str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns)
            for file in _sources(sample)
        ]
        digest.update(repr((sample.id, facts, _declared(sample))).encode())
    return digest.hexdigest()


def content_fingerprint(samples: Sequence[Sample]) -> str:
    """A hash over the ids, regions, boxes, masks and file contents of samples, in order; the same
    wherever the files lie and however the file system there writes accents."""
    digest = hashlib.blake2b(digest_size=16)
    content = functools.cache(files.digest)  # several samples may be regions of one file
    for sample in samples:
        digest.update(repr((platforms.nfc(sample.id), *_declared(sample))).encode())
        for path in _sources(sample):
            digest.update(content(path))
    return digest.hexdigest()


def _sources(sample: Sample) -> list[Path]:
    """All files of a sample."""
    return [*sample.files, *([sample.mask] if sample.mask else [])]


def _declared(sample: Sample) -> list[Any]:
    """What a sample says of its files. What is newer than the first three where it says something,
    so that records of older runs hold."""
    known = {
        "page": sample.page, "range": sample.range, "mask": bool(sample.mask),
        "mask_from": sample.mask_from, "input_region": sample.input_region,
    }  # fmt: skip
    extra = {name: value for name, value in known.items() if value}
    return [sample.boxes, sample.region, sample.resize_input, *([extra] if extra else [])]


def channels(part: str) -> int:
    """How many channels a part has."""
    return 1 if part == "mask" else 3


def parts_of(sample: Sample, parts: Sequence[str], read: Read | None = None) -> Parts:
    """The named parts of one sample, cut to its region; `read` takes the place of `images.read`."""
    read, page, top_value = read or images.read, sample.page, sample.range
    whole = {part: read(getattr(sample, part), page, top_value) for part in parts if part != "mask"}
    if len(whole) == 2 and whole["input"].shape != whole["target"].shape:
        (height, width), size = whole["target"].shape[:2], whole["input"].shape[:2]
        if not sample.resize_input:
            raise UserError(
                f"input and target of {sample.id!r} differ in size: {str(sample.target)!r} is "
                f"{height}×{width} and {str(sample.input)!r} is {size[0]}×{size[1]}; pairs must "
                "have equal sizes"
            )
        whole["input"] = images.resized(whole["input"], height, width)
    if "mask" in parts:
        size = next(iter(whole.values())).shape[:2]
        painted = hidden_in(sample)[..., None] * np.uint8(255) if sample.mask else None
        whole["mask"] = drawn(sample.boxes, *size) if painted is None else painted
    if sample.region is None:
        return whole
    places = dict.fromkeys(parts, sample.region) | {"input": sample.input_region or sample.region}

    def cut(part: str) -> np.ndarray[Any, Any]:
        top, left, high, wide = places[part]
        # A copy, which does not keep the whole photo alive.
        return whole[part][top : top + high, left : left + wide].copy()

    return {part: cut(part) for part in parts}
