"""The data of a run: its samples, checked, and the batches that the model gets of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from tfrecon.base.config import Config
from tfrecon.base.errors import UserError
from tfrecon.data import check, guards, mixture, pipeline, recipes
from tfrecon.data.feature_cache import FeatureCache
from tfrecon.data.sample import Sample
from tfrecon.models.base import ReconstructionModel

ADAPTATION_IMAGES = 2000
"""Most images that statistics and closed-form parts are fitted to."""


@dataclass(frozen=True)
class Data:
    """The samples of a run and what they say about its model."""

    train: list[Sample]
    val: list[Sample]
    mask: bool
    extra: list[list[Sample]] = field(default_factory=list[list[Sample]])
    """The training photos of each recipe of data.extra."""
    findings: list[str] = field(default_factory=list[str])
    """What `guards.inspect` says of the files."""
    features: FeatureCache | None = None
    """What the model trains on instead of images, where it is asked for."""

    @property
    def train_images(self) -> int:
        """Training photos of all recipes: those of an epoch."""
        return len(self.train) + sum(len(photos) for photos in self.extra)


def load_data(config: Config, *, skip_unreadable: bool = False) -> Data:
    """Training and validation samples, every file of them decoded once to see that it can be.

    The test files, which a run ends with, are decoded too. Raises UserError for whatever is wrong
    with any file, before anything is trained.
    """
    root = Path(config.data.root) if config.data.root else None
    splits = {
        split: recipes.samples(config.data.recipe, root, split)
        for split in ("train", "val", "test")
    }
    extra = mixture.extra_samples(config.data)
    together = [sample for samples in (*splits.values(), *extra) for sample in samples]
    kept = {id(sample) for sample in check.readable(together, skip_unreadable)}
    train, val, test = ([s for s in samples if id(s) in kept] for samples in splits.values())
    extra = [[s for s in samples if id(s) in kept] for samples in extra]
    named = [(f"split {split!r}", s) for split, s in zip(splits, (train, val, test), strict=True)]
    named += [(f"{e.name!r}", s) for e, s in zip(config.data.extra, extra, strict=True)]
    for name, samples in named:
        if not samples:
            raise UserError(f"no image of {name} can be read; replace the unreadable files")
    for sample in (*train, *val, *itertools.chain.from_iterable(extra)):
        if sample.target is None:
            raise UserError(f"sample {sample.id!r} has no target, so it cannot be trained on")
    mask = pipeline.agreed_mask(train, extra, config.data)
    together = [*train, *itertools.chain.from_iterable(extra)]
    findings = guards.inspect(
        {"train": together, "val": val, "test": test},
        paired=config.data.check_pairs and pipeline.uses_inputs(together, config.data),
        least_side=config.data.crop_size or config.data.image_size,
    )
    return Data(train, val, mask, extra, findings)


def validation_batches(config: Config, data: Data, replicas: int) -> tf.data.Dataset:
    """The validation images up to the last whole share: Keras fails on a replica without any."""
    usable = len(data.val) - len(data.val) % replicas
    if not usable:
        raise UserError(
            f"{len(data.val)} validation image cannot be shared by {replicas} replicas; add some, "
            "or train with --strategy none"
        )
    batch_size = min(config.fit.batch_size, usable)
    config = dataclasses.replace(config, fit=dataclasses.replace(config.fit, batch_size=batch_size))
    return keras_dataset(config, data.val[:usable], training=False)


def training_batches(config: Config, data: Data, start_step: int = 0) -> tf.data.Dataset:
    """`keras_dataset` of the training images, or their kept features in the place of x."""
    if data.features:
        return data.features.batches(config.fit.batch_size, config.fit.seed, start_step)
    return keras_dataset(config, data.train, training=True, start_step=start_step, extra=data.extra)


def keras_dataset(
    config: Config,
    samples: list[Sample],
    *,
    training: bool,
    start_step: int = 0,
    extra: Sequence[Sequence[Sample]] = (),
) -> tf.data.Dataset:
    """``(x, target)`` batches of a run, with pixel weights where the run weighs holes."""
    batches = pipeline.dataset(
        samples, config.data, training=training, batch_size=config.fit.batch_size,
        seed=config.fit.seed, start_step=start_step, extra=extra,
    )  # fmt: skip
    return pipeline.keras_dataset(batches, config.fit.hole_weight)


def kept_features(config: Config, data: Data, model: ReconstructionModel) -> FeatureCache | None:
    """The frozen features of the training images, where the run is to keep them on disk."""
    if not config.data.feature_cache_gib or not model.trainable_variables:
        return None
    if model.features_key is None:
        raise UserError(
            f"model {config.model.name!r} has no frozen features that could be kept; set "
            "data.feature_cache_gib=0"
        )
    extract = tf.function(model.raw_features, reduce_retracing=True)
    return FeatureCache(data.train, config.data, extract, model.features_key)


def adaptation_batches(config: Config, data: Data, part: str) -> tuple[Iterator[Any], int]:
    """Training images for the closed-form part of a model, and how many: evenly chosen, as lists
    are often sorted by class, and cut as for validation. `part` is ``input`` or ``target``."""
    samples = data.train[:: -(-len(data.train) // ADAPTATION_IMAGES)]
    settings = dataclasses.replace(config.data, cache="none")
    batches = pipeline.dataset(samples, settings, batch_size=8)
    total = -(-len(samples) // 8)
    progress = tqdm(batches, "fitting to the features", total, delay=2, leave=False, unit="batch")
    return (batch[part] for batch in progress), len(samples)
