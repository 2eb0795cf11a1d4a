"""From samples to batches with tf.data.

Every random value is drawn statelessly: for training from (seed, position in the stream), for
evaluation from the sample's id. The stream can therefore start at any step and is the same stream.
"""

import functools
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecon.base import images
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import augment, recipes
from tfrecon.data.damage import IDENTITY, Draw, damage
from tfrecon.data.mixture import mixed_order, quotas, weights
from tfrecon.data.photos import print_once
from tfrecon.data.sample import Sample
from tfrecon.data.store import Parts, Store, channels, parts_of

Batch = dict[str, Any]


def dataset(
    samples: Sequence[Sample], config: DataConfig, *, training: bool = False, batch_size: int,
    seed: int = 0, start_step: int = 0, extra: Sequence[Sequence[Sample]] = (),
    decoded: Mapping[Sample, Parts] | None = None,
) -> tf.data.Dataset:  # fmt: skip
    """Batches of `samples`: ``id`` (B,), ``input`` (B,S,S,3), ``target`` (B,S,S,3) and ``mask``
    (B,S,S,1) with 1 = damaged, float32 in [0,1]; target and mask absent where the data has none.

    Training: an endless stream of full batches in an order shuffled anew for each epoch, beginning
    at batch `start_step`; resized to `load_size`, cropped at random to `crop_size`, flipped and
    turned, all parts alike; drawn damage is fresh at each step. With several `crops` as many
    batches in turn show the same photos, each a crop of its own. `extra` are the photos of each
    recipe of ``config.extra``, mixed in by weight as `mixture.mixed_order` says. Otherwise: each
    sample once, in order, its short side resized to `val_size`, cropped in the centre to
    `image_size`; drawn damage is fixed by the sample's id. `decoded` may hold the pixels of the
    samples, as `store.decode` gives them.
    """
    sources = [samples, *extra] if training else [samples]
    if training:
        check_sources(samples, extra, config)
    samples = [sample for source in sources for sample in source]
    draw = _drawn_damage(samples, config, training)
    parts = samples[0].parts if draw is None else ["target"]
    store = Store(samples, parts, config.cache, config.cache_dir, decoded)
    ids = tf.constant([sample.id for sample in samples])
    id_seeds = tf.constant([_id_seed(sample.id) for sample in samples], tf.int64)
    steps = _geometry(config, training)

    def made(planes: Batch, base: Any, name: Any) -> Batch:
        for number, step in enumerate(steps):
            planes = step(planes, tf.random.experimental.stateless_fold_in(base, number))
        sample = _finished(planes, _side(config, training))
        if draw is not None:
            key = tf.random.experimental.stateless_fold_in(base, len(steps))
            sample["input"], mask = draw(sample["target"], key)
            if mask is not None:
                sample["mask"] = mask
        return {"id": name, **sample}

    def load(position: Any, index: Any) -> Batch | tuple[Batch, ...]:
        planes, name = store.load(index), ids[index]
        if not training:
            return made(planes, id_seeds[index], name)
        numbers = (position * config.crops + number for number in range(config.crops))
        seeds = [tf.stack([tf.cast(seed, tf.int64), number]) for number in numbers]
        return tuple(made(planes, base, name) for base in seeds)

    counts = [len(source) for source in sources]
    if training:
        order = training_order(counts, config, seed, start_step // config.crops * batch_size)
    else:
        order = sample_order(counts[0], seed, 0, training)
    loaded = order.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = loaded.batch(batch_size, drop_remainder=training)
    if training:
        batches = batches.flat_map(_in_turn).skip(start_step % config.crops)
    return batches.prefetch(tf.data.AUTOTUNE)


def _in_turn(*batches: Batch) -> tf.data.Dataset:
    datasets = [tf.data.Dataset.from_tensors(batch) for batch in batches]
    return functools.reduce(tf.data.Dataset.concatenate, datasets)


def training_order(
    counts: Sequence[int], config: DataConfig, seed: int, position: int
) -> tf.data.Dataset:
    """Endless (position, sample index) from the photo at `position` on, for so many photos of each
    recipe."""
    if len(counts) == 1:
        return sample_order(counts[0], seed, position, training=True)
    return mixed_order(counts, weights(config), seed, position)


def model_input(batch: Batch) -> Any:
    """What a model takes: (B,H,W,3), or (B,H,W,4) with the mask last where there is one."""
    if "mask" in batch:
        return tf.concat([batch["input"], batch["mask"]], axis=-1)
    return batch["input"]


def keras_dataset(batches: tf.data.Dataset, hole_weight: float = 1.0) -> tf.data.Dataset:
    """``(x, target)`` for Keras, or ``(x, target, weights)`` when holes are to weigh more.

    The weights (B,H,W,1) are `hole_weight` inside the holes and 1 elsewhere.
    """

    def pair(batch: Batch) -> Any:
        if hole_weight != 1 and "mask" in batch:
            weights = 1.0 + (hole_weight - 1.0) * batch["mask"]
            return model_input(batch), batch["target"], weights
        return model_input(batch), batch["target"]

    return batches.map(pair, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def native_batches(
    samples: Sequence[Sample], batch_size: int
) -> Iterator[tuple[list[Sample], np.ndarray[Any, Any], np.ndarray[Any, Any] | None]]:
    """Damaged photos at their own size: (samples, input (B,H,W,3), mask (B,H,W,1) or None).

    Consecutive samples of equal size share a batch, so the order is kept.
    """
    parts = [part for sample in samples[:1] for part in sample.parts if part != "target"]
    loaded = ((sample, parts_of(sample, parts)) for sample in samples)
    for _, of_one_size in itertools.groupby(loaded, lambda pair: pair[1]["input"].shape):
        while pairs := list(itertools.islice(of_one_size, batch_size)):
            group, planes = zip(*pairs, strict=True)
            batch = {part: images.to_float(np.stack([p[part] for p in planes])) for part in parts}
            yield list(group), batch["input"], batch.get("mask")


def has_mask(samples: Sequence[Sample], config: DataConfig, training: bool = False) -> bool:
    """Whether batches of these samples carry a mask."""
    draw = _drawn_damage(samples, config, training)
    if draw is None:
        return samples[0].has_mask
    return draw(tf.zeros([_side(config, training)] * 2 + [3]), [0, 0])[1] is not None


def agreed_mask(
    samples: Sequence[Sample], extra: Sequence[Sequence[Sample]], config: DataConfig
) -> bool:
    """`has_mask` of training with the photos of all recipes and of validation with the main one's.

    Raises UserError where they differ.
    """
    mask = has_mask(samples, config)
    together = [sample for source in (samples, *extra) for sample in source]
    if has_mask(together, config, training=True) != mask:
        first, second = ("give", "has none") if mask else ("give no", "has one")
        raise UserError(
            f"the files that validation reads {first} masks and the damage that training draws "
            f"{second}; set data.redraw_damage=false or another data.damage"
        )
    return mask


def check_sources(
    samples: Sequence[Sample], extra: Sequence[Sequence[Sample]], config: DataConfig
) -> None:
    """Raises UserError unless the training photos of the main recipe and of each of `extra`, those
    of ``config.extra``, are damaged alike and all are shown."""
    if len(extra) != len(config.extra):
        raise UserError(
            f"data.extra names {len(config.extra)} recipes and photos of {len(extra)} are given; "
            "give those of `mixture.extra_samples`"
        )
    quotas([len(photos) for photos in (samples, *extra)], weights(config))
    together = [sample for source in (samples, *extra) for sample in source]
    if _redrawn(together, config) or config.damage == IDENTITY:
        return
    for spec, photos in zip(config.extra, extra, strict=True):
        if _kind(photos) != _kind(samples):
            raise UserError(
                f"photos of recipe {config.recipe.name!r} {_kind(samples)} and those of "
                f"{spec.name!r} {_kind(photos)}; set data.damage and data.redraw_damage=true, and "
                "one damage is drawn onto the targets of all"
            )


def _kind(samples: Sequence[Sample]) -> str:
    if samples[0].input is None:
        return "are clean"
    return "are damaged, with masks" if samples[0].has_mask else "are damaged, without masks"


def _side(config: DataConfig, training: bool) -> int:
    """Of the images in a batch, in pixels."""
    return (training and config.crop_size) or config.image_size


def _redrawn(samples: Sequence[Sample], config: DataConfig) -> Spec | None:
    """The damage that training draws anew; None: damaged files are used as they are."""
    if config.redraw_damage != "auto":
        return (_named_damage(config) or Spec("boxes")) if config.redraw_damage else None
    boxes = [sample.boxes for sample in samples if sample.input]
    sizes = {side for each in boxes for box in each for side in box[2:]}
    if config.damage or len(sizes) != 1 or len({len(each) for each in boxes}) != 1:
        return None
    return Spec("boxes", {"count": len(boxes[0]), "size": sizes.pop()})


def say_redrawn(samples: Sequence[Sample], config: DataConfig) -> None:
    """Prints, once in a process, that training draws damage onto photos that have one."""
    redrawn = _redrawn(samples, config)
    if redrawn and any(sample.input for sample in samples):
        print_once(
            f"training draws {redrawn.name} anew onto the clean photos; with --set "
            "data.redraw_damage=false it takes the damaged ones"
        )


def _named_damage(config: DataConfig) -> Spec | None:
    return config.damage or getattr(recipes.find(config.recipe.name), "DAMAGE", None)


def _drawn_damage(samples: Sequence[Sample], config: DataConfig, training: bool) -> Draw | None:
    """The generator to draw with, or None where the samples' own damaged files are used."""
    # Damage that is none: whatever damaged files there are, the model sees the clean ones.
    clean = config.damage == IDENTITY
    redrawn = _redrawn(samples, config) if training else None
    redraw = redrawn or clean
    without = [sample for sample in samples if sample.input is None]
    if not redraw and not without:
        return None
    if not redraw and len(without) < len(samples):
        raise UserError(
            f"sample {without[0].id!r} has no damaged file but others have; "
            "a recipe gives one to all or to none"
        )
    if any(sample.target is None for sample in samples):
        raise UserError(
            "damage can only be drawn onto targets, and a sample has none; leave damage out"
        )
    spec = redrawn or _named_damage(config)
    if spec is None:
        raise UserError(
            f"recipe {config.recipe.name!r} gives clean images only and names no damage; "
            "set data.damage, e.g. --set data.damage.name=boxes"
        )
    draw = damage(spec)
    # Tried here: inside the graph the sentence of what does not fit would drown in a traceback.
    _, mask = draw(tf.zeros([_side(config, training)] * 2 + [3]), [0, 0])
    if mask is not None and float(tf.reduce_min(mask)) > 0:
        raise UserError(
            f"damage {spec.name!r} hides whole images of {config.image_size} pixels: nothing known "
            "is left to restore from; make it smaller, or the images larger"
        )
    if mask is not None and not float(tf.reduce_max(mask)):
        raise UserError(f"damage {spec.name!r} masks not a single pixel; make it larger")
    return draw


def stored_parts(samples: Sequence[Sample], config: DataConfig, training: bool) -> list[str]:
    """The parts that `dataset` needs of the files of these samples."""
    is_drawn = _drawn_damage(samples, config, training) is not None
    return ["target"] if is_drawn else samples[0].parts


def _finished(planes: Batch, size: int) -> Batch:
    sample: Batch = {}
    for part, plane in planes.items():
        plane = tf.ensure_shape(plane, [size, size, channels(part)])
        # Bicubic interpolation overshoots at edges.
        sample[part] = tf.clip_by_value(images.to_float_tensor(plane), 0.0, 1.0)
    if "mask" in sample:
        # Resizing blends the edge of a hole into its neighbours: a pixel with any damage counts.
        sample["mask"] = tf.cast(sample["mask"] > 1e-3, tf.float32)
        sample["input"] = sample["input"] * (1.0 - sample["mask"])
    return sample


def _geometry(config: DataConfig, training: bool) -> list[augment.Step]:
    size, method = config.image_size, config.resize
    if not training:
        short = config.val_size or size
        resize = partial(augment.resize_short_side, size=short, method=method)
        return [resize, partial(augment.centre_crop, size=size)]
    load_size = config.load_size or round(size * 286 / 256)
    size = config.crop_size or size
    steps: list[augment.Step] = [
        partial(augment.random_window, size=size, load_size=load_size, zoom=config.zoom)
    ]
    if config.flip:
        steps.append(augment.random_flip)
    steps.append(partial(augment.resize, size=size, method=method))
    if config.color_jitter:
        steps.append(partial(augment.color_jitter, strength=config.color_jitter))
    if config.turn:
        steps.append(augment.random_turn)
    return steps


def sample_order(count: int, seed: int, position: int, training: bool) -> tf.data.Dataset:
    """(position, sample index): once in order, or endlessly with a fresh permutation an epoch."""
    if not training:
        return tf.data.Dataset.range(count).enumerate()
    epoch, offset = divmod(position, count)

    def permutation(number: Any) -> tf.data.Dataset:
        key = tf.stack([tf.cast(seed, tf.int64), number])
        places = tf.range(count, dtype=tf.int64)
        shuffled = tf.random.experimental.stateless_shuffle(places, seed=key)
        return tf.data.Dataset.from_tensor_slices(shuffled)

    epochs = tf.data.Dataset.range(epoch, 2**62)
    return epochs.flat_map(permutation).enumerate(start=epoch * count).skip(offset)


def _id_seed(name: str) -> tuple[int, int]:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big")
