"""Frozen features of training images, computed once and kept on disk as float16.

The key of ``<cache_dir>/features/<key>/`` follows weights, taps, images and preprocessing, so a
stale cache is never read; what is missing of one, or damaged, is computed.
"""

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecon.base import files
from tfrecon.base.bars import tqdm
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.data import disk_cache
from tfrecon.data.damage import IDENTITY
from tfrecon.data.disk_cache import Array
from tfrecon.data.pipeline import dataset, sample_order
from tfrecon.data.sample import Sample
from tfrecon.data.store import fingerprint

LAYOUT = "float16 features, uint16 target; version 2"
"""Of a record; to be changed with whatever else changes features or targets."""

AT_A_TIME = 8
"""Images whose features are computed together."""

FLOAT16_MAX = float(np.finfo(np.float16).max)
UINT16_MAX = np.float32(65535)


def check_whole(config: DataConfig) -> None:
    """Raises UserError unless the model sees whole images."""
    if config.damage != IDENTITY:
        raise UserError(
            "data.feature_cache_gib keeps the features of whole images; set "
            "data.damage=identity, or data.feature_cache_gib=0"
        )


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
        self, samples: Sequence[Sample], config: DataConfig,
        extract: Callable[[Any], Sequence[Any]], about: str,
    ) -> None:  # fmt: skip
        check_whole(config)
        self.samples, self.extract, self.mirrored = samples, extract, config.flip
        size = config.crop_size or config.image_size
        # Evaluation's geometry; whether photos are decoded from a cache does not matter.
        self.config = dataclasses.replace(config, image_size=size, val_size=size, cache="none")
        geometry = size, config.resize, config.flip
        key = fingerprint((LAYOUT, about, geometry), samples)
        self.folder = Path(config.cache_dir) / "features" / key
        with files.claimed(self.folder.parent, wait=True):
            count = len(samples) * (2 if self.mirrored else 1)
            self.records = disk_cache.Records(self.folder, count, self._computed)
            for _ in self.records:  # looked at here, as a step could not compute one anew
                pass
            _check_limit(self.records.size(), config.feature_cache_gib)
            os.utime(self.folder)  # used now

    def __len__(self) -> int:
        return len(self.records)

    def entry(self, number: int) -> tuple[list[Array], Array]:
        """Features, float16 (h,w,C) each, and target (S,S,3) float32 in [0,1]."""
        *features, target = self.records[number]
        return [bits.view(np.float16) for bits in features], target / UINT16_MAX

    def batches(self, batch_size: int, seed: int, start_step: int = 0) -> tf.data.Dataset:
        """``(features, target)`` for Keras without end, in an order shuffled anew for each pass;
        the same stream whichever batch it begins at. Without flips the order is that of
        `tfrecon.data.pipeline.dataset`."""

        def load(numbers: Any) -> list[Array]:
            features, targets = zip(*(self.entry(int(number)) for number in numbers), strict=True)
            return [*(np.stack(part) for part in zip(*features, strict=True)), np.stack(targets)]

        shapes = [(batch_size, *part.shape) for part in self.records[0]]
        types = [tf.float16] * (len(shapes) - 1) + [tf.float32]

        def pair(_: Any, numbers: Any) -> Any:
            planes = tf.numpy_function(load, [numbers], types, stateful=False)
            whole = [tf.ensure_shape(p, shape) for p, shape in zip(planes, shapes, strict=True)]
            return tuple(whole[:-1]), whole[-1]

        order = sample_order(len(self), seed, start_step * batch_size, training=True)
        loaded = order.batch(batch_size, drop_remainder=True).map(
            pair, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return loaded.prefetch(tf.data.AUTOTUNE)

    def _computed(self, start: int, stop: int) -> Iterator[list[Array]]:
        """The records from `start` up to `stop`, once there is room for all."""
        size, allowed_gib = self.config.image_size, self.config.feature_cache_gib
        record = [*self.extract(tf.zeros([1, size, size, 3])), np.empty((1, size, size, 3))]
        versions = 2 if self.mirrored else 1
        bytes_each = sum(disk_cache.aligned(2 * math.prod(part.shape)) for part in record)
        needed = len(self.samples) * versions * bytes_each
        _check_limit(needed, allowed_gib)
        _make_room(self.folder, needed, allowed_gib)
        # In the batches in which they all would be computed, which changes last bits.
        first = start // versions // AT_A_TIME * AT_A_TIME
        last = -(-stop // versions // AT_A_TIME) * AT_A_TIME
        records = self._records(self.samples[first:last])
        return itertools.islice(records, start - first * versions, stop - first * versions)

    def _records(self, samples: Sequence[Sample]) -> Iterator[list[Array]]:
        batches = dataset(samples, self.config, batch_size=AT_A_TIME)
        total = -(-len(samples) // AT_A_TIME)
        for batch in tqdm(batches, "computing features", total, unit="batch", leave=False):
            versions = [batch["target"]]
            if self.mirrored:
                versions.append(tf.reverse(batch["target"], [2]))
            made = [self._fields(version) for version in versions]
            for place in range(len(batch["id"])):
                for fields in made:
                    yield [field[place] for field in fields]

    def _fields(self, target: Any) -> list[Array]:
        features = [np.asarray(tf.cast(part, tf.float32)) for part in self.extract(target)]
        halves = [np.clip(part, -FLOAT16_MAX, FLOAT16_MAX).astype("<f2") for part in features]
        whole = np.rint(np.asarray(target) * UINT16_MAX).astype("<u2")
        return [*(half.view("<u2") for half in halves), whole]


def _check_limit(needed: int, allowed_gib: float) -> None:
    if needed > allowed_gib * 2**30:
        raise UserError(
            f"the features need {needed / 2**30:.3g} GiB and data.feature_cache_gib allows "
            f"{allowed_gib:.3g}; allow more, read fewer or deeper taps, or compute them at every "
            "step with data.feature_cache_gib=0"
        )


def _make_room(own: Path, needed: int, allowed_gib: float) -> None:
    """Removes keys beside `own`, the least recently used first, until its `needed` bytes fit.

    A run that still reads a removed one goes on, as its files stay mapped until it ends. Whatever
    is no key of this cache is not counted, not touched, and named.
    """
    root = own.parent
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path != own)
    sizes = {folder: disk_cache.size(folder) for folder in folders}
    others = {folder: size for folder, size in sizes.items() if size and not folder.is_symlink()}
    excess = needed + sum(others.values()) - allowed_gib * 2**30
    strangers = [folder.name for folder in folders if folder not in others]
    if excess > 0 and strangers:
        print(f"left alone in {str(root)!r}, as no cached features: {', '.join(strangers)}")
    for folder in sorted(others, key=lambda folder: folder.stat().st_mtime):
        if excess <= 0:
            break
        disk_cache.remove(folder)
        excess -= others[folder]
