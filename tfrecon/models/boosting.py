"""Boosted inversion: closed-form corrections that look at what the features say of the answer so
far. Nothing is trained; the frozen network is in the loop."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrecon.layers.ranges import Float32Layer
from tfrecon.layers.ridge import MAX_PRODUCTS, Ridge, Standardise, Sums, fitting_kernel_size
from tfrecon.models.gauss_newton import Features
from tfrecon.models.refinement import gradient_descent

LEAST_GAIN = 0.98
"""A stage that leaves more than this share of the squared error on images held out is the last."""

OCTAVES = 5
"""Halvings of the coarsest picture that a `Descent` sees of its answer."""


@keras.saving.register_keras_serializable("tfrecon")
class Stage(Float32Layer):
    """One correction of an image x, whose features are f, towards wanted features f*.

    It sees, on the features' grid, the standardised residual r = f* - f, r·1(f* > 0), and Jᵀr,
    minus the gradient of ½‖r‖² by the pixels, folded to the grid; ridge regression from 3×3
    neighbourhoods of these gives the correction. It does nothing until `assign` has been called.
    """

    sees_all = True
    """Whether it is fitted to images whose linear answer was fitted to them, too."""

    def __init__(self, channels: int, doublings: int, grid: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "trainable": False})
        self.factor = 2**doublings
        seen = 2 * channels + 3 * self.factor**2
        self.correct_by(Ridge(seen, doublings, min(3, fitting_kernel_size(seen, grid))))

    def correct_by(self, ridge: Ridge) -> None:
        """Makes and builds the layers that turn evidence into a correction."""
        self.standardise, self.ridge = Standardise(name="standardise"), ridge
        for layer in (self.standardise, self.ridge):
            layer.build((None, None, None, ridge.channels))

    def build(self, input_shape: Any) -> None:
        """Whether it is used: 0 or 1, a float as all that a checkpoint keeps."""
        self.used = self.add_weight(shape=(), initializer="zeros", name="used")

    def call(self, image: Any, wanted: Any, active: Any, features: Features) -> Any:
        """`image` (B,H,W,3) corrected, in [0,1]. `wanted` and what `features` gives of an image are
        standardised, (B,h,w,C); `active` is 1 where the wanted ones are above zero."""

        def corrected() -> Any:
            start, seen = self.look(image, wanted, active, features)
            return tf.clip_by_value(start + self.ridge(self.standardise(seen)), 0.0, 1.0)

        return tf.cond(self.used > 0, corrected, lambda: image)

    def look(self, image: Any, wanted: Any, active: Any, features: Features) -> tuple[Any, Any]:
        """The image that is corrected, and what the correction is predicted from."""
        return image, evidence(image, wanted, active, features, self.factor)

    def assign(self, sums: Sums) -> None:
        """Takes the statistics and the answer of `sums`, without the images held out."""
        mean, deviation = sums.statistics()
        self.standardise.mean.assign(mean)
        self.standardise.deviation.assign(deviation)
        kernel, bias = sums.solve(with_held_out=False)
        self.ridge.kernel.assign(kernel)
        self.ridge.bias.assign(bias)
        self.used.assign(1.0)


@keras.saving.register_keras_serializable("tfrecon")
class Descent(Stage):
    """`gradient_descent` towards the wanted features, `steps` at `rate`, then a correction that
    sees the answer in bands of frequencies: for taps that lose information, where features alone
    leave noise.

    The correction is ridge regression from the colours of each band of one pixel to its own, some
    sixty values in all: in effect a Wiener filter, which keeps of each band the share that is true
    on images that the linear answer has not seen. For those it has, its start would be too good.
    """

    sees_all = False

    def __init__(self, steps: int, rate: float, **kwargs: Any) -> None:
        super(Stage, self).__init__(**{**kwargs, "trainable": False})
        self.descend = gradient_descent(steps=steps, rate=rate)
        self.correct_by(Ridge(3 * (OCTAVES + 1), doublings=0, kernel_size=1))

    def look(self, image: Any, wanted: Any, active: Any, features: Features) -> tuple[Any, Any]:
        """The image after the descent, and its `bands`."""
        image = self.descend(image, [wanted], lambda x: [tf.concat(features(x), -1)])
        return image, bands(image)


def bands(image: Any) -> Any:
    """(B,H,W,3) to (B,H,W,3·(OCTAVES+1)), the differences between it and itself at 1/2, 1/4, … of
    its size, and the last of these; they sum up to the image."""
    size = tf.shape(image)[1:3]
    levels = [image]
    for octave in range(1, OCTAVES + 1):
        small = tf.image.resize(image, -(-size // 2**octave), antialias=True)
        levels.append(tf.image.resize(small, size))
    finer = [level - next_one for level, next_one in itertools.pairwise(levels)]
    return tf.concat([*finer, levels[-1]], axis=-1)


def evidence(image: Any, wanted: Any, active: Any, features: Features, factor: int) -> Any:
    """What a stage sees, (B,h,w,2C+3·factor²)."""
    with tf.GradientTape() as tape:
        tape.watch(image)
        residual = wanted - tf.concat(features(image), axis=-1)
        half_square = 0.5 * tf.reduce_sum(tf.square(residual))
    pull = -tape.gradient(half_square, image)
    folded = tf.nn.space_to_depth(pull, factor) if factor > 1 else pull
    return tf.concat([residual, residual * active, folded], axis=-1)


def fit_stages(
    stages: Sequence[Stage], batches: Iterable[Any], images: int,
    answer: Callable[[Any], tuple[Any, Any, Any]], features: Features,
) -> list[float]:  # fmt: skip
    """Fits each of the `stages` to what those before it leave, in one pass over `batches` of images
    (B,H,W,3) for each, `images` in all; nothing but sums is kept.

    `answer` gives of images the answer of the stages so far, the wanted features and where they are
    active. The first image of each batch is held out; each `Descent` is fitted to these alone. A
    stage that makes their error larger is taken back, and one that hardly gains is the last.
    Returns their mean squared errors before each stage, and at last.
    """

    @functools.partial(tf.function, reduce_retracing=True)
    def look(x: Any, closer: bool) -> tuple[Any, Any, Any]:
        image, wanted, active = answer(x)
        if not closer:
            return image, None, None
        return image, *stages[0].look(image, wanted, active, features)

    errors: list[float] = []
    for number in range(len(stages) + 1):
        stage = stages[number] if number < len(stages) else None
        sums = Sums(1, stage.ridge) if stage else None  # every position of an image
        held_out: list[float] = []
        for x in _affordable(batches, images, stages[0].ridge):
            x = x if stages[0].sees_all else x[:1]
            image, start, seen = look(x, sums is not None)
            held_out.append(float(tf.reduce_mean(tf.square(image[:1] - x[:1]))))
            if sums is not None:
                sums.add(seen, x - start)
        errors.append(sum(held_out) / len(held_out))
        if number and errors[-1] > LEAST_GAIN * errors[-2]:
            stages[number - 1].used.assign(float(errors[-1] < errors[-2]))
            break
        if stage is not None:
            stage.assign(sums)
    return errors


def _affordable(batches: Iterable[Any], images: int, ridge: Ridge) -> Iterator[Any]:
    """So many of the batches, evenly chosen, that all of their positions can be used."""
    for number, x in enumerate(batches):
        positions = x.shape[1] * x.shape[2] / ridge.factor**2
        unknowns = ridge.kernel_size**2 * ridge.channels
        every = max(1, round(images * positions * unknowns**2 / MAX_PRODUCTS))
        if number % every == 0:
            yield x
