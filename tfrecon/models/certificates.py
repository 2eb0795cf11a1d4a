"""Certificates of an inversion: how far an answer can be from the image, known without the image.

Where the answer x and the image x* lie in one linear piece of a ReLU network, their features differ
by J(x* - x), so that ‖x* - x‖² ≤ ‖f* - f(x)‖² / λ with λ the smallest eigenvalue of JᵀJ. An error
is seen by the features around it alone; so the bound of a pixel takes the residual of the positions
that can see it. Two things are not proven: that both lie in one piece, and that no other image,
far away, has the same features. How often a certificate is wrong is measured, therefore
(`python -m benchmarks.certificates`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecon.models.gauss_newton import (
    Linear,
    Preconditioner,
    dot,
    linearised,
    preconditioner,
)

HALF_LEVEL = 0.5 / 255
"""Errors below it leave an 8-bit image as it is."""

PRODUCTS = 1000
"""With JᵀJ, for the bound of its smallest eigenvalue."""

DOUBT = 1e-3
"""The chance, over random starts, that this bound is too large."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is known of one answer, without the image.

    `bound` (H,W) is the largest error of each pixel's values, in units of [0,1], infinite where
    nothing is known. `eigenvalue` is the lower bound of λ (`eigenvalue_bound`), 0 where none is
    above it or none could make a pixel exact; `residual` the mean square of f* - f(x), in the
    features' variances.
    """

    bound: np.ndarray[Any, Any]
    eigenvalue: float
    residual: float

    @property
    def exact(self) -> np.ndarray[Any, Any]:
        """(H,W): true where the pixel, rounded to 8 bits, is that of an 8-bit image."""
        return self.bound < HALF_LEVEL

    @property
    def share(self) -> float:
        """Of the pixels that are exact, 0 to 1."""
        return float(self.exact.mean())

    @property
    def verdict(self) -> str:
        """``exact``, ``exact in regions`` or ``unresolved``."""
        if self.exact.all():
            return "exact"
        return "exact in regions" if self.exact.any() else "unresolved"


def certificates(model: Any, answers: Any, wanted: Any, rounding: Any = 0.0) -> list[Certificate]:
    """One for each of the `answers` (B,H,W,3) in [0,1] of `model`, a `FrozenFeatures`.

    `wanted` is what `model.features` or `model.raw_features` take: the images, or a tuple of their
    raw features. `rounding` is the largest error of those, a number or (C,), in their own units:
    of features in 8 bits half a step.
    """
    wanted = tf.concat(model.features(wanted), axis=-1)
    deviations = tf.concat([layer.deviation for layer in model.standardise], axis=-1)
    largest = float(tf.reduce_sum(tf.square(rounding / deviations)))  # of a position's energy
    answers = tf.convert_to_tensor(answers)
    energy, eigenvalues, reach = _seen(model, answers, wanted)
    window = 2 * reach + 1
    around = np.sqrt(_sums(energy.numpy(), reach)) + np.sqrt(window**2 * largest)
    residuals = energy.numpy().mean((1, 2)) / wanted.shape[-1]
    found = []
    for seen, eigenvalue, residual in zip(around, eigenvalues.numpy(), residuals, strict=True):
        bound = seen / np.sqrt(eigenvalue) if eigenvalue > 0 else np.full_like(seen, np.inf)
        bound = bound.repeat(model.tap_stride, 0).repeat(model.tap_stride, 1)
        found.append(Certificate(bound, float(eigenvalue), float(residual)))
    return found


def certified_shares(model: Any) -> Any:
    """A metric of inversions by `model`, ``(B,)`` from images and answers (B,H,W,3): the share of
    pixels that are exact."""

    def certified(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
        return tf.constant([found.share for found in certificates(model, y_pred, y_true)])

    return certified


def _seen(model: Any, answers: Any, wanted: Any) -> tuple[Any, Any, int]:
    """Squared residuals (B,h,w) of each position, λ (B,), and how many positions away from its own
    a pixel is seen."""
    energy, eigenvalues, footprint = _looking(model)(answers, wanted)
    seen = np.argwhere(footprint.numpy()) // model.tap_stride
    centre = np.asarray(energy.shape[1:]) // 2
    if not len(seen):  # all units of the middle are off: any position may see any pixel
        return energy, eigenvalues, int(max(energy.shape[1:]))
    return energy, eigenvalues, 1 + int(np.abs(seen - centre).max())  # one more, for caution


@functools.lru_cache(maxsize=1)  # one graph for all images of a model
def _looking(model: Any) -> Any:
    """From answers and wanted features to squared residuals, λ, and the pixels (H,W) that the
    position in the middle sees."""

    @functools.partial(tf.function, reduce_retracing=True)
    def look(x: Any, wanted: Any) -> tuple[Any, Any, Any]:
        normal, pull, value = linearised(x, model.features)
        near = preconditioner(normal, tf.shape(x), min(model.tap_stride, 4))
        energy = tf.reduce_sum(tf.square(value - wanted), -1)
        # The smallest eigenvalue is no more than the mean one: with that little none can be exact.
        hopeless = tf.reduce_min(energy, (1, 2)) > HALF_LEVEL**2 * near.curvature[:, 0, 0, 0]
        eigenvalues = tf.cond(
            tf.reduce_all(hopeless),
            lambda: tf.zeros_like(near.least),
            lambda: tf.maximum(eigenvalue_bound(normal, near, tf.shape(x)), 0.0),
        )
        height, width = tf.unstack(tf.shape(value)[1:3])
        row, column = tf.one_hot(height // 2, height), tf.one_hot(width // 2, width)
        centre = (row[:, None] * column)[None, ..., None] * tf.ones_like(value)
        footprint = tf.reduce_any(pull(centre) != 0, (0, 3))
        return energy, eigenvalues, footprint

    return look


def _sums(energy: Any, reach: int) -> Any:
    """Of (B,h,w) over the square of positions no further than `reach` away."""
    padded = np.pad(energy.astype(np.float64), ((0, 0), (reach + 1, reach), (reach + 1, reach)))
    total = padded.cumsum(1).cumsum(2)
    size = 2 * reach + 1
    inner = total[:, size:, size:] - total[:, :-size, size:]
    return np.maximum(inner - total[:, size:, :-size] + total[:, :-size, :-size], 0)


def eigenvalue_bound(normal: Linear, near: Preconditioner, shape: Any) -> Any:
    """A lower bound (B,) of the smallest eigenvalue of the symmetric, positive operator `normal`,
    A, on images of `shape` (B,H,W,3); not above zero where none is found.

    PRODUCTS steps of Lanczos from a random vector give the extreme eigenvalues θ and c of
    K^-½AK^-½, with K the preconditioner `near`. But for a chance of DOUBT its smallest eigenvalue
    is at least (θ - εc) / (1 - ε), with √ε = ln(1.648 √n / DOUBT) / (2 PRODUCTS - 1) for images of
    n values (Kuczyński & Woźniakowski 1992, theorem 4.1, for c - K^-½AK^-½); that times the
    smallest eigenvalue of K bounds A's. The theorem is one of exact arithmetic.
    """

    def step(number: Any, v: Any, u: Any, last: Any, arrays: Any) -> tuple[Any, ...]:
        length = tf.sqrt(tf.maximum(dot(v, u), 1e-30))  # of v, in the norm of K⁻¹
        v, u = v / length, u / length
        w = normal(u) - length * last
        alpha = dot(u, w)
        w -= alpha * v
        found = (alpha[:, 0, 0, 0], length[:, 0, 0, 0])
        arrays = tuple(a.write(number, value) for a, value in zip(arrays, found, strict=True))
        return number + 1, w, near.inverse(w), v, arrays

    start = near.root(tf.random.stateless_normal(shape, (0, 1)))
    arrays = tuple(tf.TensorArray(tf.float32, PRODUCTS) for _ in range(2))
    state = (tf.constant(0), start, near.inverse(start), tf.zeros_like(start), arrays)
    state = tf.while_loop(lambda number, *_: number < PRODUCTS, step, state)
    diagonal, lengths = (array.stack() for array in state[-1])
    matrix = tf.linalg.diag(tf.transpose(diagonal))
    off = tf.linalg.diag(tf.transpose(lengths)[:, 1:], k=1)
    ritz = tf.linalg.eigvalsh(tf.cast(matrix + off + tf.linalg.matrix_transpose(off), tf.float64))
    values = tf.cast(tf.reduce_prod(shape[1:]), tf.float64)
    share = (tf.math.log(1.648 * tf.sqrt(values) / DOUBT) / (2 * PRODUCTS - 1)) ** 2
    least = (ritz[:, 0] - share * ritz[:, -1]) / (1 - share)
    return tf.cast(least, tf.float32) * near.least
