"""What all models share that see an image through the frozen features of pretrained networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfrecon.backbones import DEFAULT
from tfrecon.base.errors import UserError
from tfrecon.layers.ridge import Ridge, Standardise, Sums
from tfrecon.models.base import FromOptions
from tfrecon.models.extractor import Extractor, parse_sources


class FrozenFeatures(FromOptions):
    """A model with frozen backbones, which no checkpoint holds, and statistics that standardise
    their taps.

    The statistics are 0 and 1 until `adapt` is called or their values are assigned.
    """

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

    def adapt(self, batches: Iterable[Any], images: int) -> None:
        """Fits the features' statistics in one pass over `batches` of x (B,H,W,3)."""
        self.fit_statistics(batches, images, None)

    def fit_statistics(self, batches: Iterable[Any], images: int, ridge: Ridge | None) -> Sums:
        """One pass over `batches` of x (B,H,W,3), `images` in all: assigns the statistics; returns
        the sums, from which a `ridge` can be solved for."""
        sums = Sums(images, ridge)
        features = tf.function(
            lambda x: tf.concat(self.extractor(x), axis=-1), reduce_retracing=True
        )
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


def extractor_of(options: Mapping[str, Any]) -> Extractor:
    """The extractor for a model's options `sources` (tables), `image_size` and `seed`."""
    sources = parse_sources(None, None, DEFAULT, options["sources"])
    return Extractor(sources, options["image_size"], options["seed"])


def check_size(image_size: int, multiple: int) -> None:
    """Raises UserError for a side that no doubling of the taps' grid reaches."""
    if image_size % multiple:
        below = image_size - image_size % multiple
        raise UserError(
            f"from these taps no doubling reaches data.image_size = {image_size}; sizes that work "
            f"are multiples of {multiple}, e.g. {below or multiple} or {below + multiple}"
        )
