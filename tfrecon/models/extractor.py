"""Where an inversion's features come from: backbones and taps, read together on one grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfrecon.backbones import BACKBONES, DEFAULT, check_image_size, check_taps, feature_taps
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec, check_options
from tfrecon.layers.enlarge import align


@dataclass(frozen=True)
class Source:
    """One backbone, the taps that are read, and its weights."""

    backbone: str
    taps: tuple[str, ...]
    weights: str | None

    def to_dict(self) -> dict[str, Any]:
        """The table that `parse_sources` reads."""
        return {"backbone": self.backbone, "taps": list(self.taps), "weights": self.weights}


def parse_sources(
    backbone: str | None, taps: list[str] | None, weights: str | None,
    sources: list[dict[str, Any]] | None,
) -> list[Source]:  # fmt: skip
    """The sources that a model's options name, VGG16's block1 where they name none.

    Raises UserError for an unknown backbone, tap or weight set, a tap that is given twice, and for
    both ways at once; nothing is built or read.
    """
    if sources is None:
        if backbone is None and taps is None:
            taps = ["block1"]
        parsed = [_source(backbone or "vgg16", taps or [], weights)]
    elif backbone is not None or taps is not None or weights != DEFAULT:
        raise UserError(
            "model.sources replaces model.backbone, model.taps and model.weights; set either"
        )
    else:
        parsed = [_listed(number, table) for number, table in enumerate(sources)]
    if not parsed:
        raise UserError("model.sources is empty; list at least one {backbone, taps}")
    places = [(s.backbone, s.weights, tap) for s in parsed for tap in s.taps]
    for place in places:
        if places.count(place) > 1:
            raise UserError(
                f"tap {place[2]!r} of backbone {place[0]!r} is given twice; leave one out"
            )
    return parsed


def _source(backbone: str, taps: Sequence[str], weights: str | None = DEFAULT) -> Source:
    known = check_taps(backbone, taps, weights)
    return Source(
        backbone, tuple(taps), next(iter(known.weights)) if weights == DEFAULT else weights
    )


def _listed(number: int, table: Any) -> Source:
    def source(*, backbone: str, taps: list[str], weights: str | None = DEFAULT) -> Source:
        return _source(backbone, taps, weights)

    where = f"model.sources[{number}]"
    if not isinstance(table, Mapping) or not {"backbone", "taps"} <= table.keys():
        raise UserError(f"{where} must be a table with backbone and taps, not {table!r}")
    return source(**check_options(source, Spec(where, table), "entry"))


class Extractor:
    """The frozen networks of some sources, and their taps on the grid of the finest.

    `doublings` lead from that grid to the image. `fixed_size` or `size_multiple` and
    `smallest_size` say which images they take, in pixels. A backbone that several sources name is
    run once. Raises UserError when images of `image_size` are not among them.
    """

    def __init__(self, sources: Sequence[Source], image_size: int, seed: int) -> None:
        self.sources = list(sources)
        for source in sources:
            check_image_size(source.backbone, source.taps, image_size)
        self.backbones: dict[tuple[str, str | None], keras.Model] = {}
        self._order: dict[tuple[str, str | None], list[str]] = {}
        for source in sources:
            self._order.setdefault((source.backbone, source.weights), []).extend(source.taps)
        for (name, weights), taps in self._order.items():
            self.backbones[name, weights] = feature_taps(name, taps, weights, seed)
        known = [BACKBONES[source.backbone] for source in sources]
        self.taps = [
            backbone.taps[tap]
            for source, backbone in zip(sources, known, strict=True)
            for tap in source.taps
        ]
        self.halvings = [round(math.log2(tap.stride or image_size)) for tap in self.taps]
        self.doublings = min(self.halvings)
        strides = [2**n for n, tap in zip(self.halvings, self.taps, strict=True) if tap.stride]
        self.size_multiple = math.lcm(*strides, *(backbone.size_multiple for backbone in known))
        self.smallest_size = max(tap.smallest for tap in self.taps)
        self.fixed_size = None if strides else image_size
        if not strides and image_size != 2**self.doublings:
            raise UserError(
                f"from one position no doubling reaches {image_size} pixels; set data.image_size "
                "to a power of two, e.g. 128 or 256"
            )

    def maps(self, images: Any) -> dict[str, Any]:
        """The taps of images (B,H,W,3) by ``backbone tap``, each (B,h,w,C) on its own grid."""
        answers: dict[Any, Any] = {}
        for key, taps in self._order.items():
            maps = tf.nest.flatten(self.backbones[key](images, training=False))
            answers |= {(*key, tap): features for tap, features in zip(taps, maps, strict=True)}
        several = len({source.backbone for source in self.sources}) < len(self.backbones)
        return {
            f"{s.backbone} {tap}" + (f" ({s.weights})" if several else ""): answers[
                s.backbone, s.weights, tap
            ]
            for s in self.sources
            for tap in s.taps
        }

    def __call__(self, images: Any) -> list[Any]:
        """The taps of images (B,H,W,3), each float32 (B,h,w,C) on the finest grid."""
        size = [images.shape[axis] or tf.shape(images)[axis] for axis in (1, 2)]
        finest = [side // 2**self.doublings for side in size]
        aligned: list[Any] = []
        for features, tap, halvings in zip(
            self.maps(images).values(), self.taps, self.halvings, strict=True
        ):
            grid = [side // 2**halvings for side in size] if tap.stride else [1, 1]
            grid = finest if halvings == self.doublings else grid
            aligned.append(align(features, grid, finest))
        return aligned

    @property
    def fingerprint(self) -> str:
        """A hash of all weights and their preprocessing."""
        return "-".join(backbone.fingerprint for backbone in self.backbones.values())
