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

from tfrecon import images
from tfrecon.data.sample import Sample
from tfrecon.errors import UserError

MEMORY_SHARE = 0.5
"""The largest part of the machine's memory that the memory cache may take."""

AT_A_TIME = 64
"""Files decoded ahead of the cache that takes them."""


class Store:
    """``load(index)`` gives the stack of one sample: (H,W,C) uint8, its `parts` in order.

    `parts` names some of ``target`` (3 channels), ``input`` (3) and ``mask`` (1: 255 inside the
    boxes). `cache` is ``"memory"``, ``"disk"`` (under `folder`) or ``"none"``.
    """

    def __init__(
        self, samples: Sequence[Sample], parts: Sequence[str], cache: str, folder: str | Path
    ) -> None:
        self.samples = list(samples)
        self.parts = tuple(parts)
        self.channels = sum(1 if part == "mask" else 3 for part in self.parts)
        self._stacks: Sequence[np.ndarray[Any, Any]] | None = None
        if cache == "memory":
            self._check_memory()
            self._stacks = list(self._decode_all())
        elif cache == "disk":
            self._stacks = self._on_disk(Path(folder))
        else:
            self._table = _FileTable(self.samples, self.parts)

    def load(self, index: Any) -> Any:
        """The stack of sample `index` (an int64 tensor), inside a tf.data map."""
        if self._stacks is None:
            return self._table.load(index, self.channels)
        stacks = self._stacks

        def pick(place: Any) -> np.ndarray[Any, Any]:
            return np.asarray(stacks[int(place)])

        stack = tf.numpy_function(pick, [index], tf.uint8, stateful=False)
        return tf.ensure_shape(stack, [None, None, self.channels])

    def _decode_all(self) -> Iterator[np.ndarray[Any, Any]]:
        """All stacks in order. A file that consecutive samples share is decoded once for them."""
        groups = [list(group) for _, group in itertools.groupby(self.samples, lambda s: s.files)]
        progress = tqdm(desc="decoding", total=len(self.samples), delay=2, leave=False)
        with ThreadPoolExecutor(os.cpu_count()) as pool, progress:
            # A few at a time: the pool would decode all photos before a slow disk has taken them.
            for start in range(0, len(groups), AT_A_TIME):
                decoded = pool.map(self._decode, groups[start : start + AT_A_TIME])
                for stack in itertools.chain.from_iterable(decoded):
                    yield stack
                    progress.update()

    def _decode(self, group: Sequence[Sample]) -> list[np.ndarray[Any, Any]]:
        planes = _planes_of(group[0], self.parts)
        return [_stack_of(sample, self.parts, planes) for sample in group]

    def _check_memory(self) -> None:
        pixels = 0
        for sample in self.samples:
            if sample.region:
                pixels += sample.region[2] * sample.region[3]
            else:
                header = images.header(sample.files[0])
                pixels += header.height * header.width
        needed = pixels * self.channels
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > MEMORY_SHARE * available:
            raise UserError(
                f"the decoded images need {needed / 2**30:.1f} GiB, more than half of the "
                f"{available / 2**30:.1f} GiB of this machine; "
                "keep them on disk with --set data.cache=disk"
            )

    def _on_disk(self, folder: Path) -> Sequence[np.ndarray[Any, Any]]:
        path = folder / f"{self._fingerprint()}.u8"
        index = path.with_suffix(".json")
        shapes = _read_shapes(path, index)
        if shapes is None:
            shapes = []
            with images.replacing(path) as temporary, temporary.open("wb") as file:
                for stack in self._decode_all():
                    shapes.append(stack.shape)
                    file.write(stack.tobytes())
            # The index comes last: pixels without an index are never read.
            with images.replacing(index) as temporary:
                temporary.write_text(json.dumps(shapes))
        flat = np.memmap(path, dtype=np.uint8, mode="r")
        stacks: list[np.ndarray[Any, Any]] = []
        start = 0
        for shape in shapes:
            end = start + math.prod(shape)
            stacks.append(flat[start:end].reshape(shape))
            start = end
        return stacks

    def _fingerprint(self) -> str:
        """A name that changes with any file, region or box, so that a stale cache is never read."""
        digest = hashlib.blake2b(repr(self.parts).encode(), digest_size=16)
        for sample in self.samples:
            facts = [
                (str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns)
                for file in sample.files
            ]
            digest.update(repr((sample.id, facts, sample.boxes, sample.region)).encode())
        return digest.hexdigest()


class _FileTable:
    """Decodes in the graph: TensorFlow's decoders for plain files, `images.read` for the others.

    Both give the same pixels (``INTEGER_ACCURATE`` is Pillow's transform); TensorFlow's take no
    Python lock.
    """

    def __init__(self, samples: Sequence[Sample], parts: Sequence[str]) -> None:
        self.parts = parts
        self.paths, self.plain = {}, {}
        for part in ("target", "input"):
            if part in parts:
                files = [getattr(sample, part) for sample in samples]
                self.paths[part] = tf.constant([str(file) for file in files])
                self.plain[part] = tf.constant([images.header(file).plain for file in files])
        self.regions = tf.constant([sample.region or (0, 0, -1, -1) for sample in samples])
        most = max(1, *(len(sample.boxes) for sample in samples))
        empty = (0, 0, 0, 0)
        self.boxes = tf.constant(
            [[*sample.boxes, *[empty] * (most - len(sample.boxes))] for sample in samples]
        )

    def load(self, index: Any, channels: int) -> Any:
        planes = [
            _decode(self.paths[part][index], self.plain[part][index])
            for part in self.parts
            if part != "mask"
        ]
        if "mask" in self.parts:
            height, width = tf.shape(planes[0])[0], tf.shape(planes[0])[1]
            planes.append(_mask_of(self.boxes[index], height, width))
        stack = tf.concat(planes, axis=-1)
        top, left, high, wide = tf.unstack(self.regions[index])
        whole = tf.ensure_shape(stack, [None, None, channels])
        return tf.cond(high < 0, lambda: whole, lambda: whole[top : top + high, left : left + wide])


def stack_of(sample: Sample, parts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H,W,C) uint8: the named parts of one sample, cut to its region."""
    return _stack_of(sample, parts, _planes_of(sample, parts))


def _planes_of(sample: Sample, parts: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """The sample's files, whole."""
    planes = [images.read(getattr(sample, part)) for part in parts if part != "mask"]
    for plane in planes[1:]:
        if plane.shape != planes[0].shape:
            raise UserError(
                f"input and target of {sample.id!r} differ in size: {str(sample.target)!r} is "
                f"{planes[0].shape[0]}×{planes[0].shape[1]} and {str(sample.input)!r} is "
                f"{plane.shape[0]}×{plane.shape[1]}; pairs must have equal sizes"
            )
    return planes


def _stack_of(
    sample: Sample, parts: Sequence[str], planes: Sequence[np.ndarray[Any, Any]]
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    height, width = planes[0].shape[:2]
    top, left, high, wide = sample.region or (0, 0, height, width)
    stack = [plane[top : top + high, left : left + wide] for plane in planes]
    if "mask" in parts:
        mask = np.zeros((height, width, 1), np.uint8)
        for row, column, rows, columns in sample.boxes:
            mask[row : row + rows, column : column + columns] = 255
        stack.append(mask[top : top + high, left : left + wide])
    return np.concatenate(stack, axis=-1)  # a copy, which does not keep the whole photo alive


def _read_shapes(pixels: Path, index: Path) -> list[tuple[int, ...]] | None:
    """The shapes of the stacks in a finished disk cache, None where there is none."""
    if not (pixels.is_file() and index.is_file()):
        return None
    shapes = [tuple(shape) for shape in json.loads(index.read_text())]
    # A machine that went down may have kept the names and lost the end of the pixels.
    whole = pixels.stat().st_size == sum(math.prod(shape) for shape in shapes)
    return shapes if whole else None


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


def _mask_of(boxes: Any, height: Any, width: Any) -> Any:
    top, left, high, wide = (boxes[:, column, None] for column in range(4))
    rows, columns = tf.range(height)[None], tf.range(width)[None]
    in_rows = tf.logical_and(rows >= top, rows < top + high)[:, :, None]
    in_columns = tf.logical_and(columns >= left, columns < left + wide)[:, None, :]
    inside = tf.reduce_any(tf.logical_and(in_rows, in_columns), axis=0)
    return tf.cast(inside, tf.uint8)[..., None] * tf.constant(255, tf.uint8)
