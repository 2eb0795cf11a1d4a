"""Attacks on features that leave a device: what is done to them first, and who decodes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfrecon.base.errors import UserError, unknown
from tfrecon.base.registry import Spec
from tfrecon.data import recipes
from tfrecon.inference.inversion import Solver, crop, fitted, pictures
from tfrecon.layers.ridge import Ridge, Sums, fitting_kernel_size

Array = np.ndarray[Any, Any]
Kind = Literal["none", "noise", "bits", "dropped", "top"]

ABOUT: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "noise": ("noise of {:g} σ", "Noise (deviations of each channel)", (0.1, 0.3, 1, 3)),
    "bits": ("{:g} bits", "Bits of a value", (8, 6, 4, 2)),
    "dropped": ("{:.0%} of the channels dropped", "Share of channels dropped", (0.5, 0.75, 0.9)),
    "top": ("the largest {:.0%} kept", "Share of values kept", (0.5, 0.1, 0.02)),
}
"""Of each kind of defence: how it is called, the axis of its strength, and the strengths that are
tried, from weak to strong."""

BOUNDS = {"noise": (0, 1e6), "bits": (1, 16), "dropped": (0, 0.999), "top": (1e-6, 1)}

FITTED, SIDE, PRODUCTS, UNKNOWNS, SIZE = 40, 160, 1e11, 2400, 224
"""Pictures, their pixels a side, multiplications and values of a neighbourhood of each ridge
regression; pixels a side of the photos."""


@dataclass(frozen=True)
class Defence:
    """What is done to features before they leave."""

    kind: Kind
    strength: float = 0.0

    def __str__(self) -> str:
        """As tables call it."""
        return ABOUT[self.kind][0].format(self.strength) if self.kind != "none" else "no defence"

    def __call__(self, features: Array, known: Array, seed: int) -> Array:
        """Defended `features` (B,h,w,C), all float32; `known` (B,h,w,C) are those of the pictures
        that deviations and ranges are taken of. Noise follows the `seed`; the dropped channels are
        the same ones always."""
        axes, channels = (0, 1, 2), features.shape[-1]
        if self.kind == "noise":
            noise = np.random.default_rng(seed).standard_normal(features.shape, np.float32)
            return np.add(features, self.strength * known.std(axes) * noise, dtype=np.float32)
        if self.kind == "bits":
            low = np.minimum(known.min(axes), 0)
            step = np.maximum(known.max(axes) - low, 1e-9) / (2**self.strength - 1)
            levels = np.clip(np.rint((features - low) / step), 0, 2**self.strength - 1)
            return (levels * step + low).astype(np.float32)
        if self.kind == "dropped":
            gone = np.random.default_rng(0).permutation(channels)[: round(channels * self.strength)]
            return np.where(np.isin(np.arange(channels), gone), np.float32(0), features)
        if self.kind == "top":
            sizes = np.abs(features).reshape(len(features), -1)
            least = np.quantile(sizes, 1 - self.strength, axis=1).astype(np.float32)
            return np.where(np.abs(features) >= least[:, None, None, None], features, np.float32(0))
        return features


def parse_defences(texts: Sequence[str]) -> list[Defence]:
    """No defence, and those of texts such as ``noise=0.1,1``; without texts those of `ABOUT`.

    Raises UserError for an unknown kind and a strength that is out of range.
    """
    chosen = dict(text.partition("=")[::2] for text in texts)
    found = [Defence("none")]
    for kind in chosen or ABOUT:
        if kind not in ABOUT:
            raise unknown("defence", kind, ABOUT)
        numbers = chosen.get(kind) or ",".join(map(str, ABOUT[kind][2]))
        low, high = BOUNDS[kind]
        for number in numbers.split(","):
            try:
                strength = float(number)
            except ValueError:
                strength = np.nan
            if not low <= strength <= high or (kind == "bits" and strength % 1):
                whole = "whole numbers" if kind == "bits" else "numbers"
                raise UserError(
                    f"--defences {kind}={numbers} must list {whole} from {low:g} to {high:g}, "
                    f"e.g. {kind}={','.join(f'{s:g}' for s in ABOUT[kind][2])}"
                )
            found.append(Defence(kind, strength))  # pyright: ignore[reportArgumentType]
    return found


class Attacker:
    """Decoders of one tap, and the pictures that they are fitted to and chosen by."""

    def __init__(self, backbone: str, tap: str, weight_set: str) -> None:
        self.model = fitted(backbone, tap, weight_set)
        self.boosted = Solver(self.model, SIZE)
        side = self.model.fixed_size or max(SIDE, self.model.smallest_size)
        self.drawn = np.stack(pictures(FITTED, side))
        self.known = self.seen(self.drawn)
        others = Spec("dead_leaves", {"count": 60, "size": side})  # of many colours
        held_out = [*recipes.samples(Spec("demo"), None, "val")[:2],
                    *recipes.samples(others, None, "val")]  # fmt: skip
        self.held_out = np.stack([crop(sample, side) for sample in held_out])
        self.held_out_seen = self.seen(self.held_out)

    def seen(self, stack: Array) -> Array:
        """The features (B,h,w,C) of images (B,H,W,3)."""
        parts = [self.model.raw_features(tf.constant(part[None]))[0].numpy() for part in stack]
        return np.concatenate(parts)

    def under(self, defence: Defence) -> tuple[str, Callable[[Array], Array]]:
        """The name of the better decoder of defended features, and it: (1,h,w,C) to (H,W,3)."""
        linear = self._linear(defence)
        decoders = {"linear": linear, "boosted": lambda raw: self.boosted(raw)[0]}
        shown = defence(self.held_out_seen, self.known, seed=1)
        errors = {
            name: np.mean([
                np.mean((decode(raw[None]) - truth) ** 2)
                for raw, truth in zip(shown, self.held_out, strict=True)
            ])
            for name, decode in decoders.items()
        }  # fmt: skip
        best = min(errors, key=lambda name: errors[name])
        return best, decoders[best]

    def _linear(self, defence: Defence) -> Callable[[Array], Array]:
        channels, doublings = self.known.shape[-1], self.model.extractor.doublings
        size = fitting_kernel_size(channels, self.known.shape[1], UNKNOWNS)
        ridge = Ridge(channels, doublings, size)
        ridge.build((None, None, None, channels))
        sums = Sums(FITTED, ridge, PRODUCTS)
        defended = defence(self.known, self.known, seed=0)
        for start in range(0, FITTED, 8):
            part = slice(start, start + 8)
            sums.add(tf.constant(defended[part]), tf.constant(self.drawn[part]))
        mean, deviation = (np.float32(part) for part in sums.statistics())
        kernel, bias = sums.solve()
        ridge.kernel.assign(kernel)
        ridge.bias.assign(bias)
        return lambda raw: np.clip(ridge((raw - mean) / deviation)[0].numpy(), 0, 1)
