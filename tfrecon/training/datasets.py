"""The data of a run: its samples, checked, and the batches that the model gets of them."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrecon.base.bars import tqdm
from tfrecon.base.config import Config, DataConfig
from tfrecon.base.errors import UserError
from tfrecon.data import check, guards, mixture, pipeline, recipes, store
from tfrecon.data.feature_cache import FeatureCache, check_whole
from tfrecon.data.sample import Sample
from tfrecon.models.base import ReconstructionModel

ADAPTATION_IMAGES = 2000
"""Most images that statistics and closed-form parts are fitted to."""


@dataclass(frozen=True)
class Data:
    """The samples of a run, what they say about its model, and their pixels."""

    train: list[Sample]
    val: list[Sample]
    mask: bool
    extra: list[list[Sample]] = field(default_factory=list[list[Sample]])
    """The training photos of each recipe of data.extra."""
    test: list[Sample] = field(default_factory=list[Sample])
    findings: list[str] = field(default_factory=list[str])
    """What `guards.inspect` says of the files."""
    decoded: Mapping[Sample, store.Parts] = field(default_factory=dict[Sample, store.Parts])
    """The pixels of training and validation, with ``data.cache = "memory"``."""
    features: FeatureCache | None = None
    """What the model trains on instead of images, where it is asked for."""

    @property
    def all_train(self) -> list[Sample]:
        """Training photos of all recipes: those of an epoch."""
        return [*self.train, *itertools.chain.from_iterable(self.extra)]

    def facts(self) -> dict[str, Any]:
        """What a run records of its data, and compares when it goes on."""
        return {
            "mask": self.mask,
            "train_images": len(self.all_train),
            "val_images": len(self.val),
            "test_images": len(self.test),
            "findings": self.findings,
            "data": {
                "train": store.content_fingerprint(self.all_train),
                "val": store.content_fingerprint(self.val),
                "test": store.content_fingerprint(self.test),
            },
        }


@dataclass(frozen=True)
class Listed:
    """The samples of a run by split, those of each recipe of data.extra, and whether masks come
    with them; no image is decoded yet."""

    splits: dict[str, list[Sample]]
    extra: list[list[Sample]]
    mask: bool


def list_data(config: Config) -> Listed:
    """What the recipes list. Raises UserError for what they find wrong, for samples that cannot be
    trained on, and for damage that cannot be drawn onto images of these sizes."""
    root = Path(config.data.root) if config.data.root else None
    splits = {
        split: recipes.samples(config.data.recipe, root, split)
        for split in ("train", "val", "test")
    }
    extra = mixture.extra_samples(config.data)
    of_training = [*splits["train"], *itertools.chain(*extra)]
    for sample in (*of_training, *splits["val"]):
        if sample.target is None:
            raise UserError(
                f"sample {sample.id!r} has no target, so it cannot be trained on; "
                "name its clean photo in the recipe"
            )
    pipeline.check_sources(splits["train"], extra, config.data)
    pipeline.say_redrawn(of_training, config.data)
    return Listed(splits, extra, pipeline.agreed_mask(splits["train"], extra, config.data))


def load_data(
    config: Config, listed: Listed | None = None, *, skip_unreadable: bool = False
) -> Data:
    """Training and validation samples, every file of them decoded once to see that it can be; with
    ``data.cache = "memory"`` the pixels stay. `listed` is what `list_data` gives.

    The test files, which a run ends with, are decoded too. Raises UserError for whatever is wrong
    with any file, before anything is trained.
    """
    listed = listed or list_data(config)
    splits, extra = listed.splits, listed.extra
    reader = _reader(splits, extra, config.data)
    together = [sample for samples in (*splits.values(), *extra) for sample in samples]
    kept = {s: s for s in check.readable(together, skip_unreadable, reader, config.data.range)}
    train, val, test = ([kept[s] for s in samples if s in kept] for samples in splits.values())
    extra = [[kept[s] for s in samples if s in kept] for samples in extra]
    named = [(f"split {split!r}", s) for split, s in zip(splits, (train, val, test), strict=True)]
    named += [(f"{e.name!r}", s) for e, s in zip(config.data.extra, extra, strict=True)]
    for name, samples in named:
        if not samples:
            raise UserError(f"no image of {name} can be read; replace the unreadable files")
    data = Data(train, val, listed.mask, extra, test)
    read_in_training = pipeline.stored_parts(data.all_train, config.data, training=True)
    findings = guards.inspect(
        {"train": data.all_train, "val": val, "test": test},
        paired=config.data.check_pairs and "input" in read_in_training,
        least_side=config.data.crop_size or config.data.image_size,
        read=reader,
    )
    wanted = _wanted(data.all_train, val, config.data)
    decoded = dict(zip((sample for sample, _ in wanted), store.decode(wanted, reader), strict=True))
    return dataclasses.replace(data, findings=findings, decoded=decoded)


def _reader(
    splits: Mapping[str, list[Sample]], extra: Sequence[list[Sample]], config: DataConfig
) -> store.Reader:
    """Keeps the pages whose pixels are needed again after the check. Raises UserError for more
    pixels than fit into memory."""
    train = [*splits["train"], *itertools.chain.from_iterable(extra)]
    wanted = _wanted(train, splits["val"], config)
    needed = store.check_memory(wanted)
    places = store.places_of(wanted)
    for samples in (train, splits["val"], splits["test"]):
        places += [(path, s.page) for s in guards.spread(samples) for path in s.files]
    return store.Reader(places, needed + store.SPARE)


def _wanted(
    train: Sequence[Sample], val: Sequence[Sample], config: DataConfig
) -> list[store.Wanted]:
    """The parts of samples that training and validation take from memory, each sample once, those
    of one file side by side."""
    if config.cache != "memory":
        return []
    parts = {sample: pipeline.stored_parts(val, config, training=False) for sample in val}
    if not config.feature_cache_gib:  # which holds what training reads
        for_training = pipeline.stored_parts(train, config, training=True)
        parts |= {s: list(dict.fromkeys([*parts.get(s, ()), *for_training])) for s in train}
    return sorted(parts.items(), key=lambda pair: pair[0].files)


def validation_batches(config: Config, data: Data, replicas: int) -> tf.data.Dataset:
    """The validation images up to the last whole share: Keras fails on a replica without any."""
    usable = len(data.val) - len(data.val) % replicas
    if not usable:
        raise UserError(
            f"{len(data.val)} validation image cannot be shared by {replicas} replicas; add some, "
            "or train with --strategy none"
        )
    batch_size = min(config.fit.batch_size, usable)
    return _keras_dataset(config, data, data.val[:usable], batch_size)


def training_batches(config: Config, data: Data, start_step: int = 0) -> tf.data.Dataset:
    """``(x, target)`` batches without end from `start_step` on, with pixel weights where the run
    weighs holes; x are the kept features where there are any, else images."""
    if data.features:
        return shared(data.features.batches(config.fit.batch_size, config.fit.seed, start_step))
    training = {"training": True, "start_step": start_step, "extra": data.extra}
    return _keras_dataset(config, data, data.train, config.fit.batch_size, **training)


def batch_ids(config: Config, data: Data, step: int) -> list[str]:
    """The ids of the photos that step `step`, from 1 on, trains on."""
    seed, position = config.fit.seed, (step - 1) // config.data.crops * config.fit.batch_size
    counts = [len(source) for source in (data.train, *data.extra)]
    if data.features:  # each photo once or, mirrored too, twice
        counts = [len(data.features)]
    order = pipeline.training_order(counts, config.data, seed, position)
    versions = sum(counts) // len(data.all_train)
    indices = [int(index) for _, index in order.take(config.fit.batch_size)]
    return [data.all_train[index // versions].id for index in indices]


def _keras_dataset(
    config: Config, data: Data, samples: list[Sample], batch_size: int, **options: Any
) -> tf.data.Dataset:
    seed, decoded = config.fit.seed, data.decoded
    batches = pipeline.dataset(
        samples, config.data, batch_size=batch_size, seed=seed, decoded=decoded, **options
    )
    return shared(pipeline.keras_dataset(batches, config.fit.hole_weight))


def shared(batches: tf.data.Dataset) -> tf.data.Dataset:
    """`batches` of which each of several machines takes its part, instead of its part of files."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.with_options(options)


def on_device(batches: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Any:
    """`batches`, of which the next is brought to the GPU while the model works. What a strategy
    over several devices distributes is brought to them so; Keras leaves that of one in memory."""
    gpus = tf.config.list_logical_devices("GPU")
    several = tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy
    if not gpus or isinstance(strategy, several):
        return batches
    one = tf.distribute.OneDeviceStrategy(gpus[0].name)
    return one.experimental_distribute_dataset(batches)


def keeps_features(config: Config, model: ReconstructionModel) -> bool:
    """Whether a run trains on features that are kept on disk. Raises UserError for a model that has
    none, and for damage, with which a photo's features are never twice the same."""
    if not config.data.feature_cache_gib or not model.trainable_variables:
        return False
    if model.features_key is None:
        raise UserError(
            f"model {config.model.name!r} has no frozen features that could be kept; set "
            "data.feature_cache_gib=0"
        )
    check_whole(config.data)
    return True


def kept_features(config: Config, data: Data, model: ReconstructionModel) -> FeatureCache | None:
    """The frozen features of the training images, where the run is to keep them on disk."""
    if not keeps_features(config, model) or model.features_key is None:
        return None
    extract = tf.function(model.raw_features, reduce_retracing=True)
    return FeatureCache(data.train, config.data, extract, model.features_key)


def adaptation_batches(config: Config, data: Data, part: str) -> tuple[Iterable[Any], int]:
    """Training images for the closed-form part of a model, and how many: evenly chosen, as lists
    are often sorted by class, and cut as for validation. They can be gone through more than once.
    `part` is ``input`` or ``target``."""
    samples = data.train[:: -(-len(data.train) // ADAPTATION_IMAGES)]
    settings = dataclasses.replace(config.data, cache="none")
    batches = pipeline.dataset(samples, settings, batch_size=8, decoded=data.decoded)
    total = -(-len(samples) // 8)
    batches = batches.map(lambda batch: batch[part])
    progress = tqdm(batches, "fitting to the features", total, delay=2, leave=False, unit="batch")
    return progress, len(samples)
