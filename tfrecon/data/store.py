"""Decoded pixels of samples by index: kept in memory, kept on disk, or decoded anew each time."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrecon.base import files, images
from tfrecon.base.errors import UserError
from tfrecon.data.sample import Sample

MEMORY_SHARE = 0.5
"""The largest part of the machine's memory that the memory cache may take."""

AT_A_TIME = 64
"""Files decoded ahead of the cache that takes them."""


Parts = dict[str, Any]
"""``target`` and ``input`` (H,W,3) and ``mask`` (H,W,1; 255 inside the boxes) of one sample, those
that are asked for; uint8 as stored."""

LAYOUT = "parts one after the other"
"""Of a file of the disk cache; another layout has another name, so that an old file is not read."""


class Store:
    """``load(index)`` gives the `parts` of one sample, uint8, cut to its region.

    `cache` is ``"memory"``, ``"disk"`` (under `folder`) or ``"none"``.
    """

    def __init__(
        self, samples: Sequence[Sample], parts: Sequence[str], cache: str, folder: str | Path
    ) -> None:
        self.samples = list(samples)
        self.parts = tuple(parts)
        self._cached: Sequence[Parts] | None = None
        if cache == "memory":
            self._check_memory()
            self._cached = list(self._decode_all())
        elif cache == "disk":
            self._cached = self._on_disk(Path(folder))
        else:
            self._table = _FileTable(self.samples, self.parts)

    def load(self, index: Any) -> Parts:
        """The parts of sample `index` (an int64 tensor), inside a tf.data map."""
        if self._cached is None:
            return self._table.load(index)
        cached = self._cached

        def pick(place: Any) -> list[np.ndarray[Any, Any]]:
            return [np.asarray(cached[int(place)][part]) for part in self.parts]

        planes = tf.numpy_function(pick, [index], [tf.uint8] * len(self.parts), stateful=False)
        return {
            part: tf.ensure_shape(plane, [None, None, channels(part)])
            for part, plane in zip(self.parts, planes, strict=True)
        }

    def _decode_all(self) -> Iterator[Parts]:
        """All samples in order. A file that consecutive samples share is decoded once for them."""
        groups = [list(group) for _, group in itertools.groupby(self.samples, lambda s: s.files)]
        progress = tqdm(desc="decoding", total=len(self.samples), delay=2, leave=False)
        with ThreadPoolExecutor(os.cpu_count()) as pool, progress:
            # A few at a time: the pool would decode all photos before a slow disk has taken them.
            for start in range(0, len(groups), AT_A_TIME):
                decoded = pool.map(self._decode, groups[start : start + AT_A_TIME])
                for parts in itertools.chain.from_iterable(decoded):
                    yield parts
                    progress.update()

    def _decode(self, group: Sequence[Sample]) -> list[Parts]:
        whole = _files_of(group[0], self.parts)
        return [_cut(sample, self.parts, whole) for sample in group]

    def _check_memory(self) -> None:
        pixels = 0
        for sample in self.samples:
            if sample.region:
                pixels += sample.region[2] * sample.region[3]
            else:
                header = images.header(sample.files[0])
                pixels += header.height * header.width
        needed = pixels * sum(channels(part) for part in self.parts)
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > MEMORY_SHARE * available:
            raise UserError(
                f"the decoded images need {needed / 2**30:.1f} GiB, more than half of the "
                f"{available / 2**30:.1f} GiB of this machine; "
                "keep them on disk with --set data.cache=disk"
            )

    def _on_disk(self, folder: Path) -> Sequence[Parts]:
        path = folder / f"{fingerprint((LAYOUT, self.parts), self.samples)}.u8"
        index = path.with_suffix(".json")
        depth = sum(channels(part) for part in self.parts)
        sizes = _read_sizes(path, index, depth)
        if sizes is None:
            sizes = []
            with files.replacing(path) as temporary, temporary.open("wb") as file:
                for parts in self._decode_all():
                    sizes.append(parts[self.parts[0]].shape[:2])
                    for part in self.parts:
                        file.write(parts[part].tobytes())
            # The index comes last: pixels without an index are never read.
            with files.replacing(index) as temporary:
                temporary.write_text(json.dumps(sizes))
        flat = np.memmap(path, dtype=np.uint8, mode="r")
        found: list[Parts] = []
        start = 0
        for size in sizes:
            parts: Parts = {}
            for part in self.parts:
                shape = (*size, channels(part))
                end = start + math.prod(shape)
                parts[part] = flat[start:end].reshape(shape)
                start = end
            found.append(parts)
        return found


class _FileTable:
    """Decodes in the graph: TensorFlow's decoders for plain files, `images.read` for the others.

    Both give the same pixels (``INTEGER_ACCURATE`` is Pillow's transform); TensorFlow's take no
    Python lock.
    """

    def __init__(self, samples: Sequence[Sample], parts: Sequence[str]) -> None:
        self.parts = parts
        self.resizes = any(sample.resize_input for sample in samples)
        files = [part for part in parts if part != "mask"]
        headers = [[images.header(getattr(sample, part)) for part in files] for sample in samples]
        for sample, found in zip(samples, headers, strict=True):
            _check_sizes(sample, [(header.height, header.width) for header in found])
        self.paths = tf.constant([[str(getattr(s, part)) for part in files] for s in samples])
        self.plain = tf.constant([[header.plain for header in found] for found in headers])
        self.regions = tf.constant(
            [
                sample.region or (0, 0, found[0].height, found[0].width)
                for sample, found in zip(samples, headers, strict=True)
            ]
        )
        most = max(1, *(len(sample.boxes) for sample in samples))
        empty = (0, 0, 0, 0)
        self.boxes = tf.constant(
            [[*sample.boxes, *[empty] * (most - len(sample.boxes))] for sample in samples]
        )

    def load(self, index: Any) -> Parts:
        top, left, height, width = tf.unstack(self.regions[index])
        paths, plain = self.paths[index], self.plain[index]
        found: Parts = {}
        for number, part in enumerate(part for part in self.parts if part != "mask"):
            whole = _decode(paths[number], plain[number])
            if part == "input" and "target" in found and self.resizes:
                whole = _like(whole, found["target"])
            found[part] = whole[top : top + height, left : left + width]
        if "mask" in self.parts:
            corner = tf.stack([top, left, 0, 0])
            found["mask"] = _mask_of(self.boxes[index] - corner, height, width)
        return found


def fingerprint(about: Any, samples: Sequence[Sample]) -> str:
    """A name that changes with `about` and with any file, region or box of the samples, so that a
    stale cache is never read."""
    digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
    for sample in samples:
        facts = [
            (str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns)
            for file in sample.files
        ]
        facts += [sample.boxes, sample.region, sample.resize_input]
        digest.update(repr((sample.id, facts)).encode())
    return digest.hexdigest()


def content_fingerprint(samples: Sequence[Sample]) -> str:
    """A hash over the ids, regions, boxes and file contents of samples, in order; the same wherever
    the files lie."""
    digest = hashlib.blake2b(digest_size=16)
    contents: dict[Path, bytes] = {}  # several samples may be regions of one file
    for sample in samples:
        digest.update(repr((sample.id, sample.boxes, sample.region, sample.resize_input)).encode())
        for path in sample.files:
            if path not in contents:
                with path.open("rb") as file:
                    contents[path] = hashlib.file_digest(file, "blake2b").digest()
            digest.update(contents[path])
    return digest.hexdigest()


def channels(part: str) -> int:
    """How many channels a part has."""
    return 1 if part == "mask" else 3


def parts_of(sample: Sample, parts: Sequence[str]) -> Parts:
    """The named parts of one sample, cut to its region."""
    return _cut(sample, parts, _files_of(sample, parts))


def _files_of(sample: Sample, parts: Sequence[str]) -> Parts:
    found = {part: images.read(getattr(sample, part)) for part in parts if part != "mask"}
    if sample.resize_input and len(found) == 2:
        found["input"] = _brought_to(found["input"], found["target"].shape)
    _check_sizes(sample, [pixels.shape[:2] for pixels in found.values()])
    return found


def _check_sizes(sample: Sample, sizes: Sequence[tuple[int, int]]) -> None:
    for other in sizes[1:]:
        if other != sizes[0] and not sample.resize_input:
            raise UserError(
                f"input and target of {sample.id!r} differ in size: {str(sample.target)!r} is "
                f"{sizes[0][0]}×{sizes[0][1]} and {str(sample.input)!r} is "
                f"{other[0]}×{other[1]}; pairs must have equal sizes"
            )


def _cut(sample: Sample, parts: Sequence[str], whole: Parts) -> Parts:
    height, width = next(iter(whole.values())).shape[:2]
    if "mask" in parts:
        mask = np.zeros((height, width, 1), np.uint8)
        for top, left, high, wide in sample.boxes:
            mask[top : top + high, left : left + wide] = 255
        whole = {**whole, "mask": mask}
    if sample.region is None:
        return whole
    top, left, high, wide = sample.region
    # Copies, which do not keep the whole photo alive.
    return {part: whole[part][top : top + high, left : left + wide].copy() for part in parts}


def _read_sizes(pixels: Path, index: Path, depth: int) -> list[tuple[int, int]] | None:
    """Height and width of each sample in a finished disk cache, None where there is none."""
    if not (pixels.is_file() and index.is_file()):
        return None
    sizes = [(height, width) for height, width in json.loads(index.read_text())]
    # A machine that went down may have kept the names and lost the end of the pixels.
    whole = pixels.stat().st_size == sum(height * width * depth for height, width in sizes)
    return sizes if whole else None


def _decode(path: Any, plain: Any) -> Any:
    contents = tf.io.read_file(path)

    def by_tensorflow() -> Any:
        return tf.cond(
            tf.io.is_jpeg(contents),
            lambda: tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_png(contents, channels=3),
        )

    def by_pillow() -> Any:
        return tf.numpy_function(lambda name: images.read(name.decode()), [path], tf.uint8)

    return tf.ensure_shape(tf.cond(plain, by_tensorflow, by_pillow), [None, None, 3])


def _like(pixels: Any, other: Any) -> Any:
    """`pixels` at the size of `other`, both (H,W,3) uint8, in the graph."""
    shape = tf.shape(other)

    def changed() -> Any:
        return tf.numpy_function(_brought_to, [pixels, shape], tf.uint8, stateful=False)

    same = tf.reduce_all(tf.equal(tf.shape(pixels), shape))
    return tf.ensure_shape(tf.cond(same, lambda: pixels, changed), [None, None, 3])


def _brought_to(pixels: np.ndarray[Any, Any], shape: Sequence[int]) -> np.ndarray[Any, Any]:
    if tuple(pixels.shape) == tuple(shape):
        return pixels
    return images.resized(pixels, int(shape[0]), int(shape[1]))


def _mask_of(boxes: Any, height: Any, width: Any) -> Any:
    top, left, high, wide = (boxes[:, column, None] for column in range(4))
    rows, columns = tf.range(height)[None], tf.range(width)[None]
    in_rows = tf.logical_and(rows >= top, rows < top + high)[:, :, None]
    in_columns = tf.logical_and(columns >= left, columns < left + wide)[:, None, :]
    inside = tf.reduce_any(tf.logical_and(in_rows, in_columns), axis=0)
    return tf.cast(inside, tf.uint8)[..., None] * tf.constant(255, tf.uint8)
