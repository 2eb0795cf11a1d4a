"""Feature statistics and closed-form ridge regression from features to pixels, in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrecon.base.errors import UserError
from tfrecon.layers.ranges import Float32Layer

MAX_UNKNOWNS = 6400
"""The most values in a neighbourhood; the normal equations of more would take too much memory."""

MAX_PRODUCTS = 1e12
"""The most multiplications for the normal equations, about a minute of a few cores. Where all
positions would cost more, an evenly spaced part of them is used."""

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""The values that λ is chosen from."""

MAX_DOUBLINGS = 5
"""A position predicts a square of up to 2⁵ pixels a side; a coarser map is enlarged bilinearly."""


@keras.saving.register_keras_serializable("tfrecon")
class Standardise(Float32Layer):
    """Features minus their mean over the training images, divided by their standard deviation."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "trainable": False})

    def build(self, input_shape: Any) -> None:
        """Mean 0 and deviation 1, until `Sums.statistics` are assigned."""
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, initializer="zeros", name="mean")
        self.deviation = self.add_weight(shape=shape, initializer="ones", name="deviation")

    def call(self, features: Any, inverse: bool = False) -> Any:
        """(B,h,w,C) to the same shape; with `inverse` from standardised features back."""
        if inverse:
            return features * self.deviation + self.mean
        return (features - self.mean) / self.deviation


@keras.saving.register_keras_serializable("tfrecon")
class Ridge(Float32Layer):
    """A frozen linear map from each k×k neighbourhood of standardised features to the pixels of its
    centre: (B,h,w,C) to (B,h·2ⁿ,w·2ⁿ,3), k = `kernel_size` and n = `doublings`.

    It is zero until the answer of `Sums.solve` is assigned. Features beyond the border count as
    zero, their mean. `penalty` is the λ of ridge regression (Hoerl & Kennard 1970) for features of
    unit variance; None chooses the one of PENALTIES with the least error on images held out.
    Raises UserError for a neighbourhood of more than MAX_UNKNOWNS values.
    """

    def __init__(
        self, channels: int, doublings: int, kernel_size: int, penalty: float | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**{**kwargs, "trainable": False})
        self.channels, self.doublings, self.penalty = channels, doublings, penalty
        self.kernel_size = kernel_size
        if kernel_size**2 * channels > MAX_UNKNOWNS:
            raise UserError(
                f"a linear decoder of {channels} channels cannot take {kernel_size}×{kernel_size} "
                f"positions ({kernel_size**2 * channels} values of at most {MAX_UNKNOWNS}); its "
                f"kernel_size must be at most {fitting_kernel_size(channels, kernel_size)}"
            )
        self.factor = 2 ** min(doublings, MAX_DOUBLINGS)

    def build(self, input_shape: Any) -> None:
        """A kernel and a bias of zeros."""
        outputs = 3 * self.factor**2
        shape = (self.kernel_size, self.kernel_size, self.channels, outputs)
        self.kernel = self.add_weight(shape=shape, initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=(outputs,), initializer="zeros", name="bias")

    def call(self, features: Any) -> Any:
        """(B,h,w,C) standardised features to (B,h·2ⁿ,w·2ⁿ,3)."""
        x = ops.conv(features, self.kernel, padding="same") + self.bias
        x = tf.nn.depth_to_space(x, self.factor) if self.factor > 1 else x
        if self.doublings > MAX_DOUBLINGS:
            more = 2 ** (self.doublings - MAX_DOUBLINGS)
            x = tf.image.resize(x, tf.shape(x)[1:3] * more)
        return x


def fitting_kernel_size(channels: int, grid: int, most: int = MAX_UNKNOWNS) -> int:
    """The largest of 5, 3 and 1 that is no larger than `grid`, the features' positions a side, and
    whose neighbourhood of `channels` has at most so many values. Raises UserError without one.
    """
    for size in (5, 3, 1):
        if size <= grid and size**2 * channels <= most:
            return size
    raise UserError(
        f"{channels} channels are too many for a linear decoder (at most {most}); leave "
        "taps out, or use another decoder"
    )


@dataclass
class Equations:
    """Sums in float64 over n neighbourhoods z and their pixels y: n, Σzzᵀ, Σzyᵀ, Σz and Σy."""

    count: Any = 0
    products: Any = 0.0
    cross: Any = 0.0
    sums: Any = 0.0
    target_sums: Any = 0.0

    def plus(self, more: Iterable[Any]) -> Equations:
        """The sums over these positions and over those whose five sums are `more`."""
        sums = zip(vars(self).values(), more, strict=True)
        return Equations(*(before + np.asarray(value, np.float64) for before, value in sums))

    def about(self, centre: Any, deviation: Any, target: Any) -> tuple[Any, Any]:
        """Means of xxᵀ and xvᵀ, where x = (z - `centre`) / `deviation` and v = y - `target`."""
        n, mean, target_mean = self.count, self.sums / self.count, self.target_sums / self.count
        products = self.products / n - np.outer(mean, centre) - np.outer(centre, mean)
        products += np.outer(centre, centre)
        cross = self.cross / n - np.outer(centre, target_mean) - np.outer(mean - centre, target)
        return products / np.outer(deviation, deviation), cross / deviation[:, None]


class Sums:
    """Sums of one pass over the training images: the features' moments and, for a `ridge`, its
    normal equations.

    `images` is the number of images to come; it decides how many positions of each can be used for
    at most so many multiplications (None: MAX_PRODUCTS). Where λ is to be chosen, the first image
    of each batch is held out for that.
    """

    def __init__(self, images: int, ridge: Ridge | None, most: float | None = None) -> None:
        self.images, self.ridge, self.most = images, ridge, most or MAX_PRODUCTS
        self.count = 0
        self.shift: Any = None
        self.moments: list[Any] = [0.0, 0.0]
        self.low: Any = np.inf
        self.high: Any = -np.inf
        self.fitted, self.held_out = Equations(), Equations()

    def add(self, features: Any, targets: Any) -> None:
        """Adds a batch: features (B,h,w,C) and their images (B,h·2ⁿ,w·2ⁿ,3)."""
        if self.shift is None:  # float32 keeps more digits of values around zero
            self.shift = tf.reduce_mean(features, (0, 1, 2))
        self.count += int(tf.size(features[..., 0]))
        for number, value in enumerate(_moments(features, self.shift)):
            self.moments[number] += value.numpy().astype(np.float64)
        self.low = np.minimum(self.low, tf.reduce_min(features, (0, 1, 2)))
        self.high = np.maximum(self.high, tf.reduce_max(features, (0, 1, 2)))
        if self.ridge is None:
            return
        size, factor = self.ridge.kernel_size, self.ridge.factor
        height, width = features.shape[1:3]
        unknowns = size**2 * features.shape[-1]
        cost = self.images * height * width * unknowns**2
        step = max(1, int(np.ceil(np.sqrt(cost / self.most))))
        step = min(step, height - size + 1, width - size + 1)  # one position at least
        targets = tf.image.resize(targets, (height * factor, width * factor), antialias=True)
        features = features - self.shift
        if self.ridge.penalty is None and len(features) > 1:
            held_out = _equations(features[:1], targets[:1], size, factor, step)
            self.held_out = self.held_out.plus(held_out)
            features, targets = features[1:], targets[1:]
        self.fitted = self.fitted.plus(_equations(features, targets, size, factor, step))

    def statistics(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Mean and standard deviation of each channel, (C,) float64; 1 for a constant channel."""
        deviation = self.deviation()
        mean = self.shift.numpy() + self.moments[0] / self.count
        return mean, np.where(deviation > 1e-6, deviation, 1.0)

    def deviation(self) -> np.ndarray[Any, Any]:
        """The standard deviation of each channel, (C,) float64."""
        mean, power = (moment / self.count for moment in self.moments)
        return np.sqrt(np.maximum(power - mean**2, 0))

    def eigenvalues(self) -> np.ndarray[Any, Any]:
        """Those of the covariance of a position's standardised features, (C,) float64, the largest
        first. Raises ValueError without a ridge."""
        if self.ridge is None:
            raise ValueError("only the sums of a ridge have products")
        total, channels = self.fitted.plus(vars(self.held_out).values()), self.ridge.channels
        start = self.ridge.kernel_size**2 // 2 * channels  # the middle of a neighbourhood
        middle = slice(start, start + channels)
        mean, deviation = total.sums[middle] / total.count, self.statistics()[1]
        covariance = total.products[middle, middle] / total.count - np.outer(mean, mean)
        found = np.linalg.eigvalsh(covariance / np.outer(deviation, deviation))
        return np.maximum(found[::-1], 0)

    def solve(
        self, with_held_out: bool = True
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The ridge's kernel and bias for standardised features.

        W = (E[xxᵀ] + λI)⁻¹ E[xvᵀ] with x the standardised neighbourhood and v the pixels, both
        centred; b = E[y] - WᵀE[x]. What was held out is fitted to at last, or with `with_held_out`
        False left out. Raises ValueError without a ridge.
        """
        if self.ridge is None:
            raise ValueError("there is no ridge to solve for")
        size = self.ridge.kernel_size
        mean, deviation = (np.tile(part, size * size) for part in self.statistics())
        mean = mean - np.tile(self.shift.numpy(), size * size)
        penalty = self.ridge.penalty
        if penalty is None:
            penalty = self._chosen_penalty(deviation)
        total = self.fitted
        if with_held_out:
            total = total.plus(vars(self.held_out).values())
        centre, target = total.sums / total.count, total.target_sums / total.count
        weights = _ridge(*total.about(centre, deviation, target), penalty)
        bias = target - weights.T @ ((centre - mean) / deviation)
        return weights.reshape(size, size, -1, weights.shape[1]), bias

    def _chosen_penalty(self, deviation: Any) -> float:
        if not np.all(self.held_out.count):  # batches of one image
            return 1e-3
        centre = self.fitted.sums / self.fitted.count
        target = self.fitted.target_sums / self.fitted.count
        products, cross = self.fitted.about(centre, deviation, target)
        held_products, held_cross = self.held_out.about(centre, deviation, target)

        def error(penalty: float) -> float:
            """E|v - Wᵀx|² - E|v|² over the images held out."""
            weights = _ridge(products, cross, penalty)
            return float(np.sum(weights * (held_products @ weights - 2 * held_cross)))

        return min(PENALTIES, key=error)


def effective_rank(eigenvalues: Any) -> float:
    """exp(-Σ pᵢ ln pᵢ) with pᵢ = λᵢ / Σλ (Roy & Vetterli 2007): C where all of C
    eigenvalues are equal, 1 where one alone is not 0."""
    shares = np.asarray(eigenvalues, np.float64)
    shares = shares[shares > 0] / np.sum(shares)
    return float(np.exp(-np.sum(shares * np.log(shares))))


def _ridge(products: Any, cross: Any, penalty: float) -> Any:
    matrix = products.copy()
    matrix[np.diag_indices_from(matrix)] += penalty
    return np.linalg.solve(matrix, cross)


@tf.function(reduce_retracing=True)
def _moments(features: Any, shift: Any) -> tuple[Any, Any]:
    centred = features - shift
    return tf.reduce_sum(centred, (0, 1, 2)), tf.reduce_sum(tf.square(centred), (0, 1, 2))


@tf.function  # the sizes must stay known
def _equations(features: Any, targets: Any, size: int, factor: int, step: int) -> tuple[Any, ...]:
    """n, Σzzᵀ, Σzyᵀ, Σz and Σy over every `step`-th neighbourhood z that lies inside the map."""
    edge = size // 2
    patches = tf.image.extract_patches(
        features, [1, size, size, 1], [1, step, step, 1], [1, 1, 1, 1], "VALID"
    )
    pixels = tf.nn.space_to_depth(targets, factor) if factor > 1 else targets
    inner = tf.shape(pixels)[1] - edge, tf.shape(pixels)[2] - edge
    pixels = pixels[:, edge : inner[0] : step, edge : inner[1] : step]
    z = tf.reshape(patches, (-1, size * size * features.shape[-1]))
    y = tf.reshape(pixels, (-1, 3 * factor * factor))
    return (
        tf.shape(z)[0], tf.matmul(z, z, transpose_a=True), tf.matmul(z, y, transpose_a=True),
        tf.reduce_sum(z, 0), tf.reduce_sum(y, 0),
    )  # fmt: skip
