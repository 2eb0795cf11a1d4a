"""Deep image prior: a photo restored by a network that is trained on nothing but this photo
(Ulyanov et al., CVPR 2018, https://arxiv.org/abs/1711.10925).

A convolutional network that maps a fixed code to the photo learns its structure before its noise,
and continues it into holes that the loss does not see.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfrecon.base.bars import tqdm
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Above, AtLeast, Between, check_type
from tfrecon.layers.grids import Enlarge
from tfrecon.layers.normalization import normalization
from tfrecon.layers.tiling import crop_to, pad_to_multiple
from tfrecon.networks.blocks import convolution, seeded
from tfrecon.training.optimizers import FusedAdam

CHECK_STEPS = 25
"""Steps between two looks at the held-out pixels."""

AVERAGE = 0.98
"""Decay of the moving average of the outputs, as in the authors' code: single outputs jitter."""

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True)
class DeepImagePrior:
    """The method with its options; `restore` runs the optimisation.

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

    steps: Annotated[int, AtLeast(1)] = 1500
    patience: Annotated[int, AtLeast(1)] = 400
    depth: Annotated[int, AtLeast(1)] = 5
    channels: Annotated[int, AtLeast(1)] = 32
    skip_channels: Annotated[int, AtLeast(0)] = 0
    code: Literal["meshgrid", "noise"] = "meshgrid"
    code_channels: Annotated[int, AtLeast(1)] = 16
    code_noise: Annotated[float, AtLeast(0)] = 0.01
    learning_rate: Annotated[float, Above(0)] = 0.01
    held_out: Annotated[float, Between(0, 0.5, "()")] = 0.02
    seed: Annotated[int, AtLeast(0)] = 0

    def __post_init__(self) -> None:
        """Checks types and ranges."""
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            check_type(f"option {name!r} of 'deep_image_prior'", getattr(self, name), hint)

    def restore(self, x: Array) -> Array:
        """Photos (B,H,W,3, or 4 with the mask last, 1 = damaged) in [0,1], restored singly.

        With a mask its holes are filled and all other pixels stay; without a mask the whole photo
        is cleaned. Raises UserError for a mask that covers everything.
        """
        return np.stack([self._restored(photo) for photo in x])

    def _restored(self, photo: Array) -> Array:
        damaged, hole = photo[..., :3], photo[..., 3:] > 0.5
        if not hole.shape[-1]:
            hole = np.zeros((*damaged.shape[:2], 1), bool)
        if hole.all():
            raise UserError(
                "the mask covers the whole photo: nothing known is left to learn from; "
                "make it smaller, damaged pixels are white"
            )
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


def skip_network(
    *, inputs: int, depth: int, channels: int, skip_channels: int, seed: int | None = None
) -> keras.Model:
    """(B,H,W,inputs) to (B,H,W,3) in [0,1], H and W multiples of ``2**depth``: the hourglass
    of the paper (supplementary material).

    Each of `depth` scales goes down by a 3×3 convolution of stride 2 and one of stride 1, and up by
    bilinear ×2, a 3×3 and a 1×1 convolution, with `skip_channels` from a 1×1 convolution beside it;
    all are normalised by the statistics of the image itself and followed by LeakyReLU 0.2.
    """
    start = seeded(seed)

    def stage(x: Any, filters: int, size: int, name: str, strides: int = 1) -> Any:
        x = convolution(x, filters, size, start, name, strides=strides)
        x = normalization("batch", "batch", f"{name}_norm")(x)
        return layers.LeakyReLU(0.2, name=f"{name}_act")(x)

    x = entered = keras.Input((None, None, inputs), name="code")
    skips: list[Any] = []
    for scale in range(depth):
        if skip_channels:
            skips.append(stage(x, skip_channels, 1, f"skip{scale}"))
        x = stage(x, channels, 3, f"down{scale}", strides=2)
        x = stage(x, channels, 3, f"deep{scale}")
    for scale in reversed(range(depth)):
        x = Enlarge(2, name=f"double{scale}")(x)
        if skip_channels:
            x = layers.Concatenate(name=f"join{scale}")([skips.pop(), x])
        x = normalization("batch", "batch", f"join{scale}_norm")(x)
        x = stage(x, channels, 3, f"up{scale}")
        x = stage(x, channels, 1, f"mix{scale}")
    x = convolution(x, 3, 1, start, "head", dtype="float32")
    x = layers.Activation("sigmoid", dtype="float32", name="restored")(x)
    return keras.Model(entered, x, name="skip_network")
