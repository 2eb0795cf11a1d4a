"""`diffusion` that is conditioned on frozen features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrecon.backbones import DEFAULT
from tfrecon.base.errors import UserError
from tfrecon.models.denoising import Diffusion
from tfrecon.models.extractor import Extractor, Source, parse_sources
from tfrecon.models.features import FrozenFeatures, check_size
from tfrecon.models.supervised import Supervised


@keras.saving.register_keras_serializable("tfrecon")
class FeatureDiffusion(FrozenFeatures, Diffusion):
    """See `diffusion`; conditioned on frozen features."""

    adapts_to = "input"

    def __init__(self, sources: Sequence[Source], options: dict[str, Any], **kwargs: Any) -> None:
        Supervised.__init__(self, **kwargs)
        self.has_mask = False
        self.sources = [source.to_dict() for source in sources]
        self.enter_space(options)
        size, square = options["image_size"], self.square
        channels = self.read_from(Extractor(sources, size, options["seed"]))
        if self.tap_stride < square:
            raise UserError(
                f"the finest tap has a position for {self.tap_stride} pixels a side and the "
                f"denoiser one for {square}: its detail would be lost; lower model.patch or choose "
                "a deeper tap"
            )
        self.pooled = pooled = [tap.stride is None for tap in self.extractor.taps]
        vector = sum(count for count, one in zip(channels, pooled, strict=True) if one)
        self.set_up(max(1, sum(channels) - vector), vector)
        self.size_multiple = math.lcm(
            self.extractor.size_multiple, 1 if all(pooled) else self.tap_stride,
            square * self.grid_multiple,
        )  # fmt: skip
        check_size(size, self.size_multiple)

    def raw_features(self, images: Any) -> list[Any]:
        """The taps of images (B,H,W,3): maps on the finest grid, pooled ones (B,1,1,C)."""
        found = self.extractor(images)
        return [
            part[:, :1, :1] if one else part for part, one in zip(found, self.pooled, strict=True)
        ]

    @property
    def features_key(self) -> str:
        """What `raw_features` depend on."""
        return f"{super().features_key} {self.pooled}"

    def condition(self, x: Any) -> tuple[Any, ...]:
        """The standardised taps of images (B,H,W,3), or of what `raw_features` gave: the maps on
        the denoiser's grid, and the vectors."""
        parts = self.features(x)
        maps = [part for part, one in zip(parts, self.pooled, strict=True) if not one]
        vectors = [part[:, 0, 0] for part, one in zip(parts, self.pooled, strict=True) if one]
        # Pooled taps alone are of images of one size, one position of the finest grid.
        size = tf.shape((maps or parts)[0])
        grid = size[1:3] * (self.tap_stride // self.square)
        if maps:
            found = tf.image.resize(tf.concat(maps, axis=-1), grid)
        else:
            found = tf.zeros(tf.concat([size[:1], grid, [1]], 0))
        return (found, tf.concat(vectors, axis=-1)) if vectors else (found,)

    def adapt(self, batches: Iterable[Any], images: int) -> None:
        """Fits the statistics of features and latents in one pass over `batches` of x (B,H,W,3)."""
        self.fit_statistics(self.space.watch(batches), images, None)

    @property
    def fingerprint(self) -> str:
        """A hash of the weights of all that is frozen."""
        return self.extractor.fingerprint + (self.space.fingerprint or "")

    @property
    def inference_variables(self) -> list[Any]:
        """What a checkpoint of the best weights holds: statistics and denoiser."""
        return [*self.statistics, *super().inference_variables]

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {"name": self.name, "sources": self.sources, **self.options}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FeatureDiffusion:
        """The model that `get_config` describes, with fresh weights."""
        options = dict(config)
        name, sources = options.pop("name"), options.pop("sources")
        return cls(parse_sources(None, None, DEFAULT, sources), options, name=name)
