"""Attacks on features that leave a device: what is done to them first, and who decodes them."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecon.base.registry import Spec, build
from tfrecon.data import recipes
from tfrecon.inference.inversion import Solver, crop, fitted, pictures
from tfrecon.layers.defences import ABOUT, DEFENCES, Defence, Defended
from tfrecon.layers.ridge import Ridge, Sums, fitting_kernel_size

Array = np.ndarray[Any, Any]

FITTED, SIDE, PRODUCTS, UNKNOWNS, SIZE = 40, 160, 1e11, 2400, 224
"""Pictures, their pixels a side, multiplications and values of a neighbourhood of each ridge
regression; pixels a side of the photos."""


def parse_defences(texts: Sequence[str]) -> list[Defence]:
    """No defence, and those of texts such as ``noise=0.1,1``; without texts those of `ABOUT`.

    Raises UserError for an unknown kind and a strength that is out of range.
    """
    chosen = dict(text.partition("=")[::2] for text in texts)
    found = [Defence()]
    for kind in chosen or ABOUT:
        usual = ABOUT[kind][2] if kind in ABOUT else (0,)  # 0: of a kind that is refused
        for strength in map(_number, chosen[kind].split(",")) if chosen.get(kind) else usual:
            found.append(build(Spec(kind, {"strength": strength}), DEFENCES, "defence"))
    return found


def _number(text: str) -> float | str:
    """The number of a text, whole where it is written so; the text where it is none."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


class Attacker:
    """Decoders of one tap, and the pictures that they are fitted to and chosen by."""

    def __init__(self, backbone: str, tap: str, weight_set: str) -> None:
        self.model = fitted(backbone, tap, weight_set)
        self.boosted = Solver(self.model, SIZE)
        side = self.model.fixed_size or max(SIDE, self.model.smallest_size)
        self.drawn = np.stack(pictures(FITTED, side))
        self.known = self.boosted.seen(self.drawn)
        others = Spec("dead_leaves", {"count": 60, "size": side})  # of many colours
        held_out = [*recipes.samples(Spec("demo"), None, "val")[:2],
                    *recipes.samples(others, None, "val")]  # fmt: skip
        self.held_out = np.stack([crop(sample, side) for sample in held_out])
        self.held_out_seen = self.boosted.seen(self.held_out)
        self.moments = Sums(FITTED, None)
        self.moments.add(tf.constant(self.known), None)

    def defended(self, defence: Defence, features: Array, seed: int) -> Array:
        """Features (B,h,w,C) as they leave under a defence; noise follows the `seed`."""
        layer = Defended(defence)
        layer.build(features.shape)
        layer.take(self.moments)
        return layer(tf.constant(features), seed + tf.range(len(features))).numpy()

    def under(self, defence: Defence) -> tuple[str, Callable[[Array], Array]]:
        """The name of the better decoder of defended features, and it: (1,h,w,C) to (H,W,3)."""
        decoders = {"linear": self._linear(defence), "boosted": lambda raw: self.boosted(raw)[0]}
        shown = self.defended(defence, self.held_out_seen, seed=FITTED)

        def error(name: str) -> float:
            answers = np.stack([decoders[name](raw[None]) for raw in shown])
            return float(np.mean((answers - self.held_out) ** 2))

        best = min(decoders, key=error)
        return best, decoders[best]

    def _linear(self, defence: Defence) -> Callable[[Array], Array]:
        channels, doublings = self.known.shape[-1], self.model.extractor.doublings
        size = fitting_kernel_size(channels, self.known.shape[1], UNKNOWNS)
        ridge = Ridge(channels, doublings, size)
        ridge.build((None, None, None, channels))
        sums = Sums(FITTED, ridge, PRODUCTS)
        defended = self.defended(defence, self.known, seed=0)
        for start in range(0, FITTED, 8):
            part = slice(start, start + 8)
            sums.add(tf.constant(defended[part]), tf.constant(self.drawn[part]))
        mean, deviation = (np.float32(part) for part in sums.statistics())
        kernel, bias = sums.solve()
        ridge.kernel.assign(kernel)
        ridge.bias.assign(bias)
        return lambda raw: np.clip(ridge((raw - mean) / deviation)[0].numpy(), 0, 1)
