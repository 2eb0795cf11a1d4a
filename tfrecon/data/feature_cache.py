"""Frozen features of training images, computed once and kept on disk as float16 shards.

``<cache_dir>/features/<key>/`` holds ``shard-00000.npy`` … and ``index.json``, which comes last and
states size and hash of each shard: what is half-written or damaged is computed anew. The key
follows weights, taps, images and preprocessing, so a stale cache is never read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrecon.base import files
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.data.damage import IDENTITY
from tfrecon.data.pipeline import dataset, sample_order
from tfrecon.data.sample import Sample
from tfrecon.data.store import fingerprint

Array = np.ndarray[Any, Any]

LAYOUT = "float16 features, uint16 target; version 1"
"""Of a shard's records; to be changed with whatever else changes features or targets."""

SHARD_BYTES = 256 * 2**20
AT_A_TIME = 8
"""Images whose features are computed together."""

FLOAT16_MAX = float(np.finfo(np.float16).max)
UINT16_MAX = np.float32(65535)


class FeatureCache:
    """Features and targets of `samples`, each cut once in its centre as for validation, and also
    mirrored where ``config.flip`` says so: entry 2i is image i, entry 2i + 1 its mirror image.

    `extract` maps images (B,S,S,3) in [0,1] to a list of features (B,h,w,C), and `about` says all
    that it depends on. Features are rounded to float16, 11 significant bits, and clipped to its
    range ±65504; targets to steps of 1/65535, of which every v/255 is a whole number.

    The cache stays below ``config.feature_cache_gib``: the least recently used of the other keys
    make room. Raises UserError when it cannot, before anything is written.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: DataConfig,
        extract: Callable[[Any], Sequence[Any]],
        about: str,
    ) -> None:
        if config.damage != IDENTITY:
            raise UserError(
                "data.feature_cache_gib keeps the features of whole images; set "
                "data.damage=identity, or data.feature_cache_gib=0"
            )
        self.samples, self.extract, self.mirrored = samples, extract, config.flip
        size = config.crop_size or config.image_size
        # Evaluation's geometry; whether photos are decoded from a cache does not matter.
        self.config = dataclasses.replace(config, image_size=size, val_size=size, cache="none")
        geometry = size, config.resize, config.flip
        key = fingerprint((LAYOUT, about, geometry), samples)
        self.folder = Path(config.cache_dir) / "features" / key
        with _locked(self.folder.parent):
            shards = _finished(self.folder)
            if shards:
                _check_limit(sum(shard.nbytes for shard in shards), config.feature_cache_gib)
            else:
                shards = self._write()
            os.utime(self.folder / "index.json")  # used now
        self.shards = shards
        self.starts = np.cumsum([0, *(len(shard) for shard in shards)])
        self.parts = [name for name in shards[0].dtype.names or () if name != "target"]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def entry(self, number: int) -> tuple[list[Array], Array]:
        """Features, float16 (h,w,C) each, and target (S,S,3) float32 in [0,1]."""
        shard = int(np.searchsorted(self.starts, number, side="right")) - 1
        record = self.shards[shard][number - self.starts[shard]]
        return [record[part] for part in self.parts], record["target"] / UINT16_MAX

    def batches(self, batch_size: int, seed: int, start_step: int = 0) -> tf.data.Dataset:
        """``(features, target)`` for Keras without end, in an order shuffled anew for each pass;
        the same stream whichever batch it begins at. Without flips the order is that of
        `tfrecon.data.pipeline.dataset`."""

        def load(numbers: Any) -> list[Array]:
            features, targets = zip(*(self.entry(int(number)) for number in numbers), strict=True)
            return [*(np.stack(part) for part in zip(*features, strict=True)), np.stack(targets)]

        types = [tf.float16] * len(self.parts) + [tf.float32]
        record = self.shards[0].dtype
        shapes = [(batch_size, *record[name].shape) for name in [*self.parts, "target"]]

        def pair(_: Any, numbers: Any) -> Any:
            planes = tf.numpy_function(load, [numbers], types, stateful=False)
            whole = [tf.ensure_shape(p, shape) for p, shape in zip(planes, shapes, strict=True)]
            return tuple(whole[:-1]), whole[-1]

        order = sample_order(len(self), seed, start_step * batch_size, training=True)
        loaded = order.batch(batch_size, drop_remainder=True).map(
            pair, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return loaded.prefetch(tf.data.AUTOTUNE)

    def _write(self) -> list[Array]:
        """Computes everything and writes it, the index last; returns the shards, mapped."""
        size = self.config.image_size
        probe = self.extract(tf.zeros([1, size, size, 3]))
        fields = [(f"features{n}", "<f2", tuple(p.shape[1:])) for n, p in enumerate(probe)]
        record = np.dtype([*fields, ("target", "<u2", (size, size, 3))])
        count = len(self.samples) * (2 if self.mirrored else 1)
        _check_limit(count * record.itemsize, self.config.feature_cache_gib)
        shutil.rmtree(self.folder, ignore_errors=True)
        _make_room(self.folder.parent, count * record.itemsize, self.config.feature_cache_gib)
        entries = self._entries()
        facts: dict[str, tuple[int, str]] = {}
        most = max(1, SHARD_BYTES // record.itemsize)
        for number, start in enumerate(range(0, count, most)):
            shard = np.empty(min(most, count - start), record)
            for place in range(len(shard)):
                shard[place] = next(entries)
            path = self.folder / f"shard-{number:05d}.npy"
            with files.replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, shard)
            facts[path.name] = _facts(path)
        with files.replacing(self.folder / "index.json") as temporary:
            temporary.write_text(json.dumps(facts))
        return [np.load(self.folder / name, mmap_mode="r") for name in facts]

    def _entries(self) -> Iterator[tuple[Array, ...]]:
        """The fields of each record, in order."""
        batches = dataset(self.samples, self.config, batch_size=AT_A_TIME)
        total = -(-len(self.samples) // AT_A_TIME)
        for batch in tqdm(batches, "computing features", total, unit="batch", leave=False):
            versions = [batch["target"]]
            if self.mirrored:
                versions.append(tf.reverse(batch["target"], [2]))
            made = [self._fields(version) for version in versions]
            for place in range(len(batch["id"])):
                for fields in made:
                    yield tuple(field[place] for field in fields)

    def _fields(self, target: Any) -> list[Array]:
        features = [np.asarray(tf.cast(part, tf.float32)) for part in self.extract(target)]
        halves = [np.clip(part, -FLOAT16_MAX, FLOAT16_MAX).astype("<f2") for part in features]
        return [*halves, np.rint(np.asarray(target) * UINT16_MAX).astype("<u2")]


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One process at a time: a second run on the same images waits, then reads what there is."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run that works on {str(root)!r}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _finished(folder: Path) -> list[Array] | None:
    """The shards of a whole cache, mapped into memory; None where there is none."""
    index = folder / "index.json"
    if not index.is_file():
        return None
    with contextlib.suppress(OSError, ValueError):  # what cannot be read counts as damaged
        facts = json.loads(index.read_text())
        if all(_facts(folder / name) == tuple(known) for name, known in facts.items()):
            return [np.load(folder / name, mmap_mode="r") for name in facts]
    return None


def _facts(path: Path) -> tuple[int, str]:
    """Size and hash of a file."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "blake2b").hexdigest()


def _check_limit(needed: int, allowed_gib: float) -> None:
    if needed > allowed_gib * 2**30:
        raise UserError(
            f"the features need {needed / 2**30:.3g} GiB and data.feature_cache_gib allows "
            f"{allowed_gib:.3g}; allow more, read fewer or deeper taps, or compute them at every "
            "step with data.feature_cache_gib=0"
        )


def _make_room(root: Path, needed: int, allowed_gib: float) -> None:
    """Removes other keys, the least recently used first, until `needed` bytes fit.

    A run that still reads a removed one goes on, as its files stay mapped until it ends.
    """

    def size(folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.iterdir())

    def last_use(folder: Path) -> float:
        index = folder / "index.json"
        return index.stat().st_mtime if index.is_file() else 0.0

    others = sorted((path for path in root.iterdir() if path.is_dir()), key=last_use)
    sizes = [size(folder) for folder in others]
    for number, folder in enumerate(others):
        if needed + sum(sizes[number:]) <= allowed_gib * 2**30:
            break
        shutil.rmtree(folder)
