"""Frozen features: the backbones and taps that a model reads, and what all models of them share."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfrecon.backbones import BACKBONES, DEFAULT, check_image_size, check_taps, feature_taps
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec, check_options
from tfrecon.layers.grids import align
from tfrecon.layers.ridge import Ridge, Standardise, Sums
from tfrecon.models.base import FromOptions


@dataclass(frozen=True)
class Source:
    """One backbone, the taps that are read, and its weights."""

    backbone: str
    taps: tuple[str, ...]
    weights: str | None


def parse_sources(options: Mapping[str, Any]) -> list[Source]:
    """The sources that a model's options `backbone`, `taps`, `weights` and `sources` name, VGG16's
    block1 where they name none.

    Raises UserError for an unknown backbone, tap or weight set, a tap that is given twice, and for
    both ways at once; nothing is built or read.
    """
    backbone, taps, weights = (options[key] for key in ("backbone", "taps", "weights"))
    tables = options["sources"]
    if tables is None:
        if backbone is None and taps is None:
            taps = ["block1"]
        parsed = [_source(backbone=backbone or "vgg16", taps=taps or [], weights=weights)]
    elif backbone is not None or taps is not None or weights != DEFAULT:
        raise UserError(
            "model.sources replaces model.backbone, model.taps and model.weights; set either"
        )
    else:
        parsed = [_listed(f"model.sources[{number}]", table) for number, table in enumerate(tables)]
    if not parsed:
        raise UserError("model.sources is empty; list at least one {backbone, taps}")
    places = [(s.backbone, s.weights, tap) for s in parsed for tap in s.taps]
    for place in places:
        if places.count(place) > 1:
            raise UserError(
                f"tap {place[2]!r} of backbone {place[0]!r} is given twice; leave one out"
            )
    return parsed


def _source(*, backbone: str, taps: list[str], weights: str | None = DEFAULT) -> Source:
    known = check_taps(backbone, taps, weights)
    chosen = next(iter(known.weights)) if weights == DEFAULT else weights
    return Source(backbone, tuple(taps), chosen)


def _listed(where: str, table: Any) -> Source:
    if not isinstance(table, Mapping) or not {"backbone", "taps"} <= table.keys():
        raise UserError(f"{where} must be a table with backbone and taps, not {table!r}")
    return _source(**check_options(_source, Spec(where, table), "entry"))


class Extractor:
    """The frozen networks of a model's `options` (`parse_sources`, `image_size`, `seed`), and their
    taps on the grid of the finest.

    `doublings` lead from that grid to the image. `fixed_size` or `size_multiple` and
    `smallest_size` say which images they take, in pixels. A backbone that several sources name is
    run once. Raises UserError when images of `image_size` are not among them.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        image_size = options["image_size"]
        self.sources = parse_sources(options)
        self._order: dict[tuple[str, str | None], list[str]] = {}
        for source in self.sources:
            check_image_size(source.backbone, source.taps, image_size)
            self._order.setdefault((source.backbone, source.weights), []).extend(source.taps)
        self.backbones = {
            (name, weights): feature_taps(name, taps, weights, options["seed"])
            for (name, weights), taps in self._order.items()
        }
        self.places = [(s.backbone, s.weights, tap) for s in self.sources for tap in s.taps]
        self.taps = [BACKBONES[name].taps[tap] for name, _, tap in self.places]
        self.halvings = [round(math.log2(tap.stride or image_size)) for tap in self.taps]
        self.doublings = min(self.halvings)
        strides = [2**n for n, tap in zip(self.halvings, self.taps, strict=True) if tap.stride]
        multiples = (BACKBONES[source.backbone].size_multiple for source in self.sources)
        self.size_multiple = math.lcm(*strides, *multiples)
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
            f"{name} {tap}" + (f" ({weights})" if several else ""): answers[name, weights, tap]
            for name, weights, tap in self.places
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


class FrozenFeatures(FromOptions):
    """A model with frozen backbones, which no checkpoint holds, and statistics that standardise
    their taps: 0 and 1 until `adapt` is called or their values are assigned."""

    adapts_to = "input"
    extractor: Extractor
    backbones: list[keras.Model]
    standardise: list[Standardise]

    def read_from(self, extractor: Extractor) -> list[int]:
        """Makes its backbones and statistics the model's; returns the channels of each tap."""
        self.extractor = extractor
        self.backbones = list(extractor.backbones.values())
        channels = [tap.channels for tap in extractor.taps]
        self.standardise = [Standardise(name=f"standardise{n}") for n in range(len(channels))]
        for layer, count in zip(self.standardise, channels, strict=True):
            layer.build((None, None, None, count))
        self.fixed_size, self.smallest_size = extractor.fixed_size, extractor.smallest_size
        self.tap_stride = 2**extractor.doublings
        return channels

    def features(self, x: Any) -> list[Any]:
        """The standardised taps of images (B,H,W,3), each (B,h,w,C) float32 on the finest grid; a
        tuple or list is what `raw_features` gave for them."""
        raw = x if isinstance(x, tuple | list) else self.raw_features(x)
        return [layer(part) for layer, part in zip(self.standardise, raw, strict=True)]

    def raw_features(self, images: Any) -> list[Any]:
        """The taps of images (B,H,W,3) as the backbones give them, on the finest grid."""
        return self.extractor(images)

    def adapt(self, batches: Iterable[Any], images: int) -> dict[str, Any]:
        """Fits the features' statistics in one pass over `batches` of x (B,H,W,3)."""
        self.fit_statistics(batches, images)
        return {}

    def fit_statistics(
        self, batches: Iterable[Any], images: int, ridge: Ridge | None = None,
        read: Callable[[Any], Sequence[Any]] | None = None,
    ) -> Sums:  # fmt: skip
        """One pass over `batches` of x (B,H,W,3), `images` in all: assigns the statistics of what
        `read` gives, or the extractor; returns the sums, from which a `ridge` can be solved for."""
        sums, read = Sums(images, ridge), read or self.extractor
        features = tf.function(lambda x: tf.concat(read(x), axis=-1), reduce_retracing=True)
        for x in batches:
            sums.add(features(x), x)
        mean, deviation = sums.statistics()
        start = 0
        for layer in self.standardise:
            end = start + layer.mean.shape[0]
            layer.mean.assign(mean[start:end])
            layer.deviation.assign(deviation[start:end])
            start = end
        return sums

    @property
    def inference_variables(self) -> list[Any]:
        """The statistics that `fit_statistics` assigns, then those of the part that learns."""
        statistics = [variable for layer in self.standardise for variable in layer.variables]
        return [*statistics, *super().inference_variables]

    @property
    def fingerprint(self) -> str:
        """A hash of the backbones' weights and preprocessing."""
        return self.extractor.fingerprint

    @property
    def features_key(self) -> str:
        """What `raw_features` of an image depend on: weights, taps, grids and precision."""
        read = self.extractor
        return repr((read.fingerprint, read.sources, read.halvings, self.compute_dtype))

    @property
    def frozen_variables(self) -> list[Any]:
        """The backbones' variables."""
        return [variable for backbone in self.backbones for variable in backbone.variables]


def check_size(image_size: int, multiple: int) -> None:
    """Raises UserError for a side that no doubling of the taps' grid reaches."""
    if image_size % multiple:
        below = image_size - image_size % multiple
        raise UserError(
            f"from these taps no doubling reaches data.image_size = {image_size}; sizes that work "
            f"are multiples of {multiple}, e.g. {below or multiple} or {below + multiple}"
        )
