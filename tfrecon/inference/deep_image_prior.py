"""Deep image prior: a photo restored by a network that is trained on nothing but this photo
(Ulyanov et al., CVPR 2018, https://arxiv.org/abs/1711.10925).

A convolutional network that maps a fixed code to the photo learns its structure before its noise,
and continues it into holes that the loss does not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrecon.base.errors import UserError, at_least
from tfrecon.inference.skip_network import skip_network
from tfrecon.layers.padding import crop_to, pad_to_multiple
from tfrecon.training.optimizers import FusedAdam

CHECK_STEPS = 25
"""Steps between two looks at the held-out pixels."""

AVERAGE = 0.98
"""Decay of the moving average of the outputs, as in the authors' code: single outputs jitter."""

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class DeepImagePrior:
    """The options; `restore` runs the optimisation. See `deep_image_prior`."""

    steps: int
    patience: int
    depth: int
    channels: int
    skip_channels: int
    code: Literal["meshgrid", "noise"]
    code_channels: int
    code_noise: float
    learning_rate: float
    held_out: float
    seed: int

    def restore(self, x: Array) -> Array:
        """Photos (B,H,W,3, or 4 with the mask last, 1 = damaged) in [0,1], restored one by one.

        With a mask its holes are filled and all other pixels stay; without one the whole photo is
        cleaned. Raises UserError for a mask that covers everything.
        """
        return np.stack([self._one(photo) for photo in x])

    def _one(self, photo: Array) -> Array:
        damaged, hole = photo[..., :3], photo[..., 3:] > 0.5
        if not hole.shape[-1]:
            hole = np.zeros((*damaged.shape[:2], 1), bool)
        if hole.all():
            raise UserError("the mask covers the whole photo: nothing known is left to learn from")
        random = np.random.default_rng(self.seed)
        kept_back = (random.random(hole.shape) < self.held_out) & ~hole
        seen = (~hole & ~kept_back).astype(np.float32)
        restored = self._fitted(damaged, seen, kept_back.astype(np.float32), random)
        return np.where(hole, restored, damaged) if photo.shape[-1] == 4 else restored

    def _fitted(self, damaged: Array, seen: Array, kept_back: Array, random: Any) -> Array:
        """The averaged output (H,W,3) that came closest to the held-out pixels."""
        multiple = 2**self.depth
        y = pad_to_multiple(tf.constant(damaged[None]), multiple)
        height, width = damaged.shape[:2]
        room = [[0, 0], [0, y.shape[1] - height], [0, y.shape[2] - width], [0, 0]]
        weights = tf.pad(tf.constant(seen[None]), room)  # what was padded is not learned from
        code = tf.constant(self._code(int(y.shape[1]), int(y.shape[2]), random))
        network = skip_network(
            inputs=code.shape[-1], depth=self.depth, channels=self.channels,
            skip_channels=self.skip_channels, seed=self.seed,
        )  # fmt: skip
        optimizer = FusedAdam(self.learning_rate)
        optimizer.build(network.trainable_variables)
        average = tf.Variable(tf.zeros_like(y))
        count = tf.reduce_sum(weights) * 3

        @tf.function
        def advance(first: Any) -> None:
            for step in tf.range(first, first + CHECK_STEPS):
                noise = tf.random.stateless_normal(code.shape, [self.seed, step])
                with tf.GradientTape() as tape:
                    output = network(code + self.code_noise * noise)
                    loss = tf.reduce_sum(weights * tf.square(output - y)) / count
                variables = network.trainable_variables
                optimizer.apply(tape.gradient(loss, variables), variables)
                decay = tf.minimum(AVERAGE, tf.cast(step, tf.float32) / 10)
                average.assign(decay * average + (1 - decay) * output)

        best, least, best_step = damaged, np.inf, 0
        with tqdm(total=self.steps, desc="deep image prior", unit="step", leave=False) as bar:
            for first in range(0, self.steps, CHECK_STEPS):
                advance(tf.constant(first))
                shown = crop_to(average, height, width).numpy()[0]
                error = np.mean(np.square(shown - damaged)[kept_back[..., 0] > 0])
                if error < least:
                    best, least, best_step = shown, float(error), first
                bar.update(min(CHECK_STEPS, self.steps - first))
                bar.set_postfix_str(f"held-out {10 * np.log10(1 / max(error, 1e-12)):.2f} dB")
                if first - best_step >= self.patience:
                    break
        return best.astype(np.float32)

    def _code(self, height: int, width: int, random: Any) -> Array:
        """What the network is given instead of an image, (1,H,W,C)."""
        if self.code == "meshgrid":
            rows, columns = np.meshgrid(
                np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij"
            )
            return np.stack([rows, columns], -1)[None].astype(np.float32)
        shape = (1, height, width, self.code_channels)
        return (0.1 * random.random(shape)).astype(np.float32)


def deep_image_prior(
    *,
    steps: int = 1500,
    patience: int = 400,
    depth: int = 5,
    channels: int = 32,
    skip_channels: int = 0,
    code: Literal["meshgrid", "noise"] = "meshgrid",
    code_channels: int = 16,
    code_noise: float = 0.01,
    learning_rate: float = 0.01,
    held_out: float = 0.02,
    seed: int = 0,
) -> DeepImagePrior:
    """The method with these options.

    Args:
        steps: most optimisation steps a photo.
        patience: steps without a better value on the held-out pixels before it stops.
        depth: scales of the network; each halves the side.
        channels: of every scale (128 in the paper: 16 times as slow).
        skip_channels: beside each scale (0 for holes, 4 for noise in the paper).
        code: what the network is given: the pixels' coordinates, which fill holes smoothly (half
            the error of noise on three photos with 75-pixel holes), or uniform noise.
        code_channels: of the noise (32 in the paper).
        code_noise: standard deviation of the noise added to the code at every step.
        learning_rate: of Adam.
        held_out: share of the known pixels that the loss does not see and that say when to stop.
        seed: of weights, code and held-out pixels; the same seed gives the same photo.

    Raises:
        UserError: an option out of range.
    """
    for name, value in (("steps", steps), ("patience", patience), ("depth", depth),
                        ("channels", channels), ("code_channels", code_channels)):  # fmt: skip
        at_least(f"method.{name}", value, 1)
    for name, value in (("skip_channels", skip_channels), ("code_noise", code_noise),
                        ("seed", seed)):  # fmt: skip
        at_least(f"method.{name}", value, 0)
    if not 0 < held_out < 0.5:
        raise UserError(f"method.held_out must lie in (0, 0.5), not {held_out}")
    if not learning_rate > 0:
        raise UserError(f"method.learning_rate must be greater than 0, not {learning_rate}")
    return DeepImagePrior(
        steps, patience, depth, channels, skip_channels, code, code_channels, code_noise,
        learning_rate, held_out, seed,
    )  # fmt: skip
