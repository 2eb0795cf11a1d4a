"""Inversion by Gauss–Newton: the image whose features are the wanted ones, from one that is near.

Least squares of a ReLU network are quadratic where no unit changes its sign, so that a few steps of
Gauss–Newton end at float precision where features keep the image. What stands in the way is that
JᵀJ is badly conditioned, and that a step too long for a few pixels would shorten it for all: hence
a preconditioner that takes JᵀJ for a convolution, and steps and damping of each place's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

PROBES = 24
"""Products that estimate the preconditioner."""

INNER = 20
"""Products of conjugate gradients for one step; one more gives its right side."""

LEAST_PRODUCTS = PROBES + INNER + 1
"""For one step."""

HALVINGS = 5
"""Lengths of a step that are tried: 1, ½, …, each where it helps most."""

REACH = 3
"""Blocks of pixels that a stationary JᵀJ reaches; what it couples further away is noise of the
probes."""

FLOOR = 3e-3
"""The smallest eigenvalue of the preconditioner, of its largest: below, probes show noise."""

FIRST_DAMPING = 0.1
"""λ of the first step, of the mean diagonal of JᵀJ (Levenberg and Marquardt)."""

SPREAD = 7.0
"""Deviation of the noise that an image is linearised with, of the error that the residual around
shows: a unit that is wrongly off has no slope at the image, and has one near it. Where the features
are met there is none."""

LARGEST_SPREAD = 0.25

MARGIN = 0.5
"""How far pixels may leave [0,1] on the way: held at its ends, those of black and white places
would stop their neighbours. The answer is clipped."""

FLOAT_LEVEL = 1e-12
"""Mean square of the features' residual, in their variances, that float32 cannot better."""

Features = Callable[[Any], Sequence[Any]]
Linear = Callable[[Any], Any]


def gauss_newton(
    image: Any, wanted: Sequence[Any], features: Features, stride: int, products: int,
    anchor: float = 0.0,
) -> Any:  # fmt: skip
    """`image` (B,H,W,3) in [0,1] after steps towards the least E(x) = ‖f(x) - f*‖² + a‖x - image‖².

    `features` gives f(x) as parts (B,h,w,c), standardised float32; `wanted` is f*, `stride` is H/h,
    and a is `anchor` times the mean diagonal of JᵀJ. A step solves (JᵀJ + a + λ)d = -½∇E by INNER
    iterations of preconditioned conjugate gradients; λ is a map. Each place takes the length of the
    step that makes E least around it. `products` with JᵀJ are the most that are computed of an
    image, LEAST_PRODUCTS or more. Images of a batch do not influence each other.
    """
    goal = tf.concat(wanted, axis=-1)
    fold = min(stride, 4)
    normal, _, _ = linearised(image, features)
    near = preconditioner(normal, tf.shape(image), fold)
    anchor = anchor * near.curvature

    def errors(x: Any) -> Any:
        residual, moved = tf.square(tf.concat(features(x), axis=-1) - goal), tf.square(x - image)
        moved = tf.nn.space_to_depth(moved, stride) if stride > 1 else moved
        return tf.reduce_sum(residual, -1, True) + anchor * tf.reduce_sum(moved, -1, True)

    def spread(present: Any) -> Any:
        channels = tf.cast(tf.shape(goal)[-1], tf.float32)
        error = tf.sqrt(_mean(present, 5) / (near.curvature * channels))
        return tf.minimum(SPREAD * _enlarged(error, stride), LARGEST_SPREAD)

    def step(spent: Any, x: Any, present: Any, damping: Any) -> tuple[Any, ...]:
        noise = tf.random.stateless_normal(tf.shape(x)[1:], (spent, 1))
        normal, pull, _ = linearised(x + spread(present) * noise, features)
        value = tf.concat(features(x), axis=-1)
        right = pull(goal - value) - anchor * (x - image)
        shift = anchor + _enlarged(damping, stride) * near.curvature
        direction = solved(lambda p: normal(p) + shift * p, right, near.inverse, INNER)
        x, present, length = _moved(x, direction, present, errors, stride)
        factor = tf.where(length >= 0.5, 0.3, tf.where(length >= 0.25, 1.0, 4.0))
        return spent + INNER + 1, x, present, tf.maximum(damping * factor, 1e-7)

    def goes_on(spent: Any, x: Any, present: Any, damping: Any) -> Any:
        mean = tf.reduce_sum(present, (1, 2, 3)) / tf.cast(tf.size(goal[0]), tf.float32)
        return tf.logical_and(spent + INNER < products, tf.reduce_any(mean > FLOAT_LEVEL))

    start = errors(image)
    state = (tf.constant(PROBES), image, start, FIRST_DAMPING * tf.ones_like(start))
    return tf.clip_by_value(tf.while_loop(goes_on, step, state)[1], 0.0, 1.0)


def linearised(x: Any, features: Features) -> tuple[Linear, Linear, Any]:
    """p ↦ JᵀJp, r ↦ Jᵀr and f(x), where what all need of x is computed once.

    Jp is the gradient of uᵀJp by u, and so that of the linear map u ↦ Jᵀu.
    """
    with tf.GradientTape(persistent=True) as forwards:
        forwards.watch(x)
        value = tf.concat(features(x), axis=-1)
    with tf.GradientTape(persistent=True) as backwards:
        zeros = tf.zeros_like(value)
        backwards.watch(zeros)
        pulled = forwards.gradient(value, x, output_gradients=zeros)

    def pull(r: Any) -> Any:
        return forwards.gradient(value, x, output_gradients=r)

    def normal(p: Any) -> Any:
        return pull(backwards.gradient(pulled, zeros, output_gradients=p))

    return normal, pull, value


@dataclass(frozen=True)
class Preconditioner:
    """K, a convolution near to an operator, symmetric and positive.

    `curvature` (B,1,1,1) is the operator's mean diagonal and `least` (B,) the smallest eigenvalue
    of K; `inverse` and `root` apply K⁻¹ and K^½ to images (B,H,W,3).
    """

    curvature: Any
    least: Any
    inverse: Linear
    root: Linear


def preconditioner(normal: Linear, shape: Any, fold: int) -> Preconditioner:
    """That of the operator `normal` on images of `shape` (B,H,W,3).

    On blocks of `fold` × `fold` pixels it is one matrix for each frequency, the mean of q̂p̂ᴴ over
    random signs p and their q = JᵀJp, without what couples blocks further apart than REACH.
    """

    def transformed(image: Any) -> Any:
        blocks = tf.nn.space_to_depth(image, fold) if fold > 1 else image
        return tf.signal.fft2d(tf.cast(tf.transpose(blocks, (0, 3, 1, 2)), tf.complex64))

    def probe(number: Any, total: Any) -> tuple[Any, Any]:
        signs = tf.random.stateless_uniform(shape[1:], (number, 0), 0, 2, tf.int32)
        signs = tf.broadcast_to(tf.cast(2 * signs - 1, tf.float32), shape)
        sent, back = transformed(signs), transformed(normal(signs))
        return number + 1, total + tf.einsum("bihw,bjhw->bijhw", back, tf.math.conj(sent))

    height, width, channels = shape[1] // fold, shape[2] // fold, 3 * fold**2
    total = tf.zeros((shape[0], channels, channels, height, width), tf.complex64)
    total = tf.while_loop(lambda number, _: number < PROBES, probe, (tf.constant(0), total))[1]
    kernel = tf.signal.ifft2d(total) / tf.cast(PROBES * height * width, tf.complex64)
    near = _near(height)[:, None] * _near(width)
    matrix = tf.transpose(tf.signal.fft2d(kernel * tf.cast(near, tf.complex64)), (0, 3, 4, 1, 2))
    values, vectors = tf.linalg.eigh((matrix + tf.linalg.adjoint(matrix)) / 2)
    values = tf.math.real(values)
    floor = FLOOR * tf.reduce_max(values, (1, 2, 3), keepdims=True)
    kept = tf.maximum(tf.maximum(values, floor), 1e-12)

    def power(exponent: float) -> Any:
        scaled = vectors * tf.cast(kept[..., None, :] ** exponent, tf.complex64)
        return tf.matmul(scaled, vectors, adjoint_b=True)

    def filtered(image: Any, matrix: Any) -> Any:
        spectrum = tf.einsum("bhwij,bjhw->bihw", matrix, transformed(image))
        blocks = tf.transpose(tf.math.real(tf.signal.ifft2d(spectrum)), (0, 2, 3, 1))
        return tf.nn.depth_to_space(blocks, fold) if fold > 1 else blocks

    return Preconditioner(
        tf.reduce_mean(values, (1, 2, 3))[:, None, None, None], tf.reduce_min(kept, (1, 2, 3)),
        functools.partial(filtered, matrix=power(-1.0)),
        functools.partial(filtered, matrix=power(0.5)),
    )  # fmt: skip


def solved(operator: Linear, right: Any, inverse: Linear, iterations: int) -> Any:
    """d of `operator`(d) = `right` (B,H,W,3) for each image, after `iterations` of conjugate
    gradients with the preconditioner `inverse` (Hestenes & Stiefel 1952)."""

    def iterate(number: Any, d: Any, r: Any, p: Any, squared: Any) -> tuple[Any, ...]:
        product = operator(p)
        length = squared / tf.maximum(dot(p, product), 1e-30)
        d, r = d + length * p, r - length * product
        z = inverse(r)
        left = dot(r, z)
        return number + 1, d, r, z + left / tf.maximum(squared, 1e-30) * p, left

    first = inverse(right)
    state = (tf.constant(0), tf.zeros_like(right), right, first, dot(right, first))
    return tf.while_loop(lambda number, *_: number < iterations, iterate, state)[1]


def dot(a: Any, b: Any) -> Any:
    """aᵀb of each image, (B,1,1,1)."""
    return tf.reduce_sum(a * b, (1, 2, 3), keepdims=True)


def _moved(
    x: Any, direction: Any, present: Any, errors: Linear, stride: int
) -> tuple[Any, Any, Any]:
    """`x` after a step along `direction`, its errors, and the length of the step at each position.

    Each position takes the length that makes the error around it least. An image whose error would
    grow stays as it is; its lengths are 0.
    """

    def shorter(number: Any, size: Any, least: Any, chosen: Any) -> tuple[Any, ...]:
        around = _mean(errors(_bounded(x + size * direction)), 5)
        better = around < least
        least, chosen = tf.where(better, around, least), tf.where(better, size, chosen)
        return number + 1, size / 2, least, chosen

    state = (tf.constant(0), tf.constant(1.0), 0.999 * _mean(present, 5), tf.zeros_like(present))
    length = tf.while_loop(lambda number, *_: number < HALVINGS, shorter, state)[3]
    smooth = _mean(-tf.nn.max_pool2d(-length, 3, 1, "SAME"), 3)
    tried = _bounded(x + _enlarged(smooth, stride) * direction)
    found = errors(tried)
    helped = tf.reduce_sum(found, (1, 2, 3), True) < tf.reduce_sum(present, (1, 2, 3), True)
    x, present = tf.where(helped, tried, x), tf.where(helped, found, present)
    return x, present, tf.where(helped, length, 0.0)


def _bounded(x: Any) -> Any:
    return tf.clip_by_value(x, -MARGIN, 1 + MARGIN)


def _enlarged(positions: Any, stride: int) -> Any:
    return tf.repeat(tf.repeat(positions, stride, 1), stride, 2)


def _mean(positions: Any, size: int) -> Any:
    return tf.nn.avg_pool2d(positions, size, 1, "SAME")


def _near(count: Any) -> Any:
    """1 where a lag of 0 … `count` - 1 on a circle is no longer than REACH."""
    lag = tf.range(count)
    return tf.cast(tf.minimum(lag, count - lag) <= REACH, tf.float32)
