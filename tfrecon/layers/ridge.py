"""Feature statistics and closed-form ridge regression from features to pixels, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfrecon.base.errors import UserError

MAX_UNKNOWNS = 6400
"""Values of a neighbourhood; the normal equations of more would not fit beside the rest."""

MAX_PRODUCTS = 1e12
"""Multiplications that the normal equations may cost, a minute of a few cores; positions are left
out evenly until they fit."""

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""What λ is chosen from."""

MAX_DOUBLINGS = 5
"""Pixels are predicted in squares of up to 2⁵; coarser taps are enlarged smoothly from there."""


@keras.saving.register_keras_serializable("tfrecon")
class Standardise(keras.layers.Layer):
    """Features minus their training mean, over their training deviation, in float32."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})

    def build(self, input_shape: Any) -> None:
        """Mean 0 and deviation 1 until they are assigned."""
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, initializer="zeros", name="mean")
        self.deviation = self.add_weight(shape=shape, initializer="ones", name="deviation")

    def call(self, features: Any, inverse: bool = False) -> Any:
        """(B,h,w,C) to the same shape; `inverse` goes back."""
        if inverse:
            return features * self.deviation + self.mean
        return (features - self.mean) / self.deviation


@keras.saving.register_keras_serializable("tfrecon")
class Ridge(keras.layers.Layer):
    """A frozen linear map from each k×k neighbourhood of standardised features to its pixels.

    (B,h,w,C) to (B,h·2ⁿ,w·2ⁿ,3), n = `doublings`; zero until `Sums.solve` has been assigned.
    Beyond the border a feature counts as average. `penalty` λ is relative to the features' unit
    variance (Hoerl & Kennard 1970); None chooses that of PENALTIES with the least error on images
    held out.
    """

    def __init__(
        self,
        channels: int,
        doublings: int,
        kernel_size: int,
        penalty: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
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
        """Zeros until they are fitted."""
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

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {
            **super().get_config(), "channels": self.channels, "doublings": self.doublings,
            "kernel_size": self.kernel_size, "penalty": self.penalty,
        }  # fmt: skip


def fitting_kernel_size(channels: int, grid: int) -> int:
    """The largest of 5, 3 and 1 that the `grid` has room for, and whose neighbourhood of so many
    channels can be solved for.

    Raises UserError where none can.
    """
    for size in (5, 3, 1):
        if size <= grid and size**2 * channels <= MAX_UNKNOWNS:
            return size
    raise UserError(
        f"{channels} channels are too many for a linear decoder (at most {MAX_UNKNOWNS}); leave "
        "taps out, or use another decoder"
    )


@dataclass
class Equations:
    """Sums over neighbourhoods z and their pixels y, float64: n, Σzzᵀ, Σzyᵀ, Σz and Σy."""

    count: Any = 0
    products: Any = 0.0
    cross: Any = 0.0
    sums: Any = 0.0
    target_sums: Any = 0.0

    def add(self, found: Sequence[Any]) -> None:
        """Takes the sums of more positions in."""
        for field, value in zip(fields(self), found, strict=True):
            setattr(self, field.name, getattr(self, field.name) + np.asarray(value, np.float64))

    def __add__(self, other: Equations) -> Equations:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Equations(*(one + two for one, two in pairs))

    def about(self, centre: Any, deviation: Any, target: Any) -> tuple[Any, Any]:
        """Means of xxᵀ and xvᵀ, where x = (z - `centre`) / `deviation` and v = y - `target`."""
        n, mean, target_mean = self.count, self.sums / self.count, self.target_sums / self.count
        products = self.products / n - np.outer(mean, centre) - np.outer(centre, mean)
        products += np.outer(centre, centre)
        cross = self.cross / n - np.outer(centre, target_mean) - np.outer(mean - centre, target)
        return products / np.outer(deviation, deviation), cross / deviation[:, None]


class Sums:
    """What one pass over the training images gathers: moments, and the normal equations.

    `images` is how many there will be, from which it follows how many positions can be used. The
    first image of each batch is held out for the choice of λ.
    """

    def __init__(self, images: int, ridge: Ridge | None) -> None:
        self.images, self.ridge = images, ridge
        self.count = 0
        self.shift: Any = None
        self.moments: list[Any] = [0.0, 0.0]
        self.fitted, self.held_out = Equations(), Equations()

    def add(self, features: Any, targets: Any) -> None:
        """Takes features (B,h,w,C) and images (B,h·2ⁿ,w·2ⁿ,3) in."""
        if self.shift is None:  # float32 keeps more digits of values around zero
            self.shift = tf.reduce_mean(features, (0, 1, 2))
        self.count += int(tf.size(features[..., 0]))
        for number, value in enumerate(_moments(features, self.shift)):
            self.moments[number] += value.numpy().astype(np.float64)
        if self.ridge is None:
            return
        size, factor = self.ridge.kernel_size, self.ridge.factor
        height, width = features.shape[1:3]
        unknowns = size**2 * features.shape[-1]
        cost = self.images * height * width * unknowns**2
        step = max(1, int(np.ceil(np.sqrt(cost / MAX_PRODUCTS))))
        step = min(step, height - size + 1, width - size + 1)  # one position at least
        targets = tf.image.resize(targets, (height * factor, width * factor), antialias=True)
        features = features - self.shift
        parts = [(self.fitted, features, targets)]
        if self.ridge.penalty is None and len(features) > 1:
            parts = [
                (self.held_out, features[:1], targets[:1]),
                (self.fitted, features[1:], targets[1:]),
            ]
        for equations, z, y in parts:
            equations.add(_equations(z, y, size, factor, step))

    def statistics(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Mean and deviation of each channel, (C,) float64; a constant channel has deviation 1."""
        centre = self.moments[0] / self.count
        variance = np.maximum(self.moments[1] / self.count - centre**2, 0)
        deviation = np.sqrt(variance)
        return self.shift.numpy() + centre, np.where(deviation > 1e-6, deviation, 1.0)

    def solve(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Kernel and bias of the ridge in standardised features.

        With x the standardised neighbourhood and v the pixels, both centred:
        W = (E[xxᵀ] + λI)⁻¹ E[xvᵀ], b = E[y] - WᵀE[x].
        """
        if self.ridge is None:
            raise ValueError("there is no ridge to solve for")
        size = self.ridge.kernel_size
        mean, deviation = (np.tile(part, size * size) for part in self.statistics())
        mean = mean - np.tile(self.shift.numpy(), size * size)
        penalty = self.ridge.penalty
        if penalty is None:
            penalty = self._chosen_penalty(deviation)
        every = self.fitted + self.held_out
        centre, target = every.sums / every.count, every.target_sums / every.count
        weights = _ridge(*every.about(centre, deviation, target), penalty)
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
            """E|v - Wᵀx|² over the images held out, less E|v|²."""
            weights = _ridge(products, cross, penalty)
            return float(np.sum(weights * (held_products @ weights - 2 * held_cross)))

        return min(PENALTIES, key=error)


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
    """Count, Σzzᵀ, Σzyᵀ, Σz, Σy over every `step`-th whole neighbourhood z and its pixels y."""
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
