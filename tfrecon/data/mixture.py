"""Training on photos of several recipes: which recipes, and the order of their photos."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tensorflow as tf

from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Above, Spec, check_type
from tfrecon.data import recipes
from tfrecon.data.sample import Sample


def extras(config: DataConfig) -> list[tuple[Spec, Path | None, float]]:
    """Of each entry of ``data.extra`` its recipe, with the options beside name, root and weight,
    its folder, and its weight: photos that are shown for each photo of the main recipe.

    Raises UserError for a root that is no text and for a weight that is not greater than 0.
    """
    entries: list[tuple[Spec, Path | None, float]] = []
    for spec in config.extra:
        options = dict(spec.options)
        root, weight = options.pop("root", None), options.pop("weight", 1.0)
        check_type(f"the weight of data.extra {spec.name!r}", weight, Annotated[float, Above(0)])
        check_type(f"the root of data.extra {spec.name!r}", root, str | None)
        folder = Path(root) if root is not None else None
        entries.append((Spec(spec.name, options), folder, float(weight)))
    return entries


def extra_samples(config: DataConfig) -> list[list[Sample]]:
    """The training photos of each recipe of ``data.extra``. Raises what `recipes.samples` does."""
    return [recipes.samples(recipe, root, "train") for recipe, root, _ in extras(config)]


def weights(config: DataConfig) -> list[float]:
    """Those of the main recipe, 1, and of each of ``data.extra``."""
    return [1.0, *(weight for _, _, weight in extras(config))]


def quotas(counts: Sequence[int], weights: Sequence[float]) -> list[int]:
    """How many photos of each source an epoch shows. It shows as many as there are photos in all,
    divided by `weights`; what rounding down leaves goes to the largest remainders.

    Raises UserError for a weight so small that its source would never be shown.
    """
    total = sum(counts)
    shares = [total * weight / sum(weights) for weight in weights]
    shown = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shown)), key=lambda source: shown[source] - shares[source])
    for source in by_remainder[: total - sum(shown)]:
        shown[source] += 1
    if 0 in shown:
        raise UserError(
            f"a weight of {weights[shown.index(0)]:g} in data.extra shows no photo in an epoch of "
            f"{total}; give a larger one or remove the recipe"
        )
    return shown


def mixed_order(
    counts: Sequence[int], weights: Sequence[float], seed: int, position: int
) -> tf.data.Dataset:
    """An endless data set of (position, index), from `position` on. Indices count the photos of the
    first source, then those of the second, and so on; `counts` says how many each has.

    Each epoch shows `quotas` photos of each source, shuffled anew. Across epochs a source shows all
    its photos before any comes again, each time in a fresh permutation.
    """
    shown = quotas(counts, weights)
    epoch, offset = divmod(position, sum(counts))

    def shuffled(places: Any, source: int, number: Any) -> Any:
        key = tf.random.experimental.stateless_fold_in(
            tf.stack([tf.cast(seed, tf.int64), number]), source
        )
        return tf.random.experimental.stateless_shuffle(places, seed=key)

    def draws(source: int, number: Any) -> Any:
        """The photos of a source in epoch `number`: a stretch of its endless permutations."""
        count, quota = counts[source], shown[source]
        places = sum(counts[:source]) + tf.range(count, dtype=tf.int64)
        begin = number * quota
        passes = begin // count + tf.range(-(-quota // count) + 1, dtype=tf.int64)
        permutations = tf.map_fn(lambda turn: shuffled(places, source, turn), passes)
        return tf.reshape(permutations, [-1])[begin % count :][:quota]

    def photos_of_epoch(number: Any) -> tf.data.Dataset:
        everything = tf.concat([draws(source, number) for source in range(len(counts))], axis=0)
        return tf.data.Dataset.from_tensor_slices(shuffled(everything, len(counts), number))

    epochs = tf.data.Dataset.range(epoch, 2**62 // sum(counts))
    return epochs.flat_map(photos_of_epoch).enumerate(start=epoch * sum(counts)).skip(offset)
