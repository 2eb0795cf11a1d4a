"""`diffusion` that is conditioned on frozen features."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.models.denoising import Diffusion
from tfrecon.models.features import FrozenFeatures, check_size, extractor_of


@keras.saving.register_keras_serializable("tfrecon")
class FeatureDiffusion(FrozenFeatures, Diffusion):
    """See `diffusion`; conditioned on frozen features."""

    def __init__(self, options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(options, **kwargs)
        self.size_multiple = math.lcm(
            self.extractor.size_multiple, 1 if all(self.pooled) else self.tap_stride,
            self.size_multiple,
        )  # fmt: skip
        check_size(options["image_size"], self.size_multiple)

    def condition_channels(self) -> tuple[int, int]:
        """Those of the maps and of the pooled taps; the features are first read here."""
        channels = self.read_from(extractor_of(self.options))
        if self.tap_stride < self.square:
            raise UserError(
                f"the finest tap has a position for {self.tap_stride} pixels a side and the "
                f"denoiser one for {self.square}: its detail would be lost; lower model.patch or "
                "choose a deeper tap"
            )
        self.pooled = [tap.stride is None for tap in self.extractor.taps]
        vector = sum(n for n, pooled in zip(channels, self.pooled, strict=True) if pooled)
        return max(1, sum(channels) - vector), vector

    def raw_features(self, images: Any) -> list[Any]:
        """The taps of images (B,H,W,3): maps on the finest grid, pooled ones (B,1,1,C)."""
        return [
            part[:, :1, :1] if pooled else part
            for part, pooled in zip(self.extractor(images), self.pooled, strict=True)
        ]

    @property
    def features_key(self) -> str:
        """What `raw_features` depend on."""
        return f"{super().features_key} {self.pooled}"

    def condition(self, x: Any) -> tuple[Any, ...]:
        """The standardised taps of images (B,H,W,3), or of what `raw_features` gave: the maps on
        the denoiser's grid, and the vectors."""
        parts = self.features(x)
        maps = [part for part, pooled in zip(parts, self.pooled, strict=True) if not pooled]
        vectors = [part[:, 0, 0] for part, pooled in zip(parts, self.pooled, strict=True) if pooled]
        # Pooled taps alone are of images of one size, one position of the finest grid.
        size = tf.shape((maps or parts)[0])
        grid = size[1:3] * (self.tap_stride // self.square)
        if maps:
            known = tf.image.resize(tf.concat(maps, axis=-1), grid)
        else:
            known = tf.zeros(tf.concat([size[:1], grid, [1]], 0))
        return (known, tf.concat(vectors, axis=-1)) if vectors else (known,)

    def adapt(self, batches: Iterable[Any], images: int) -> None:
        """Fits the statistics of features and latents in one pass over `batches` of x (B,H,W,3)."""
        self.fit_statistics(self.space.watch(batches), images, None)

    @property
    def fingerprint(self) -> str:
        """A hash of the weights of all that is frozen."""
        return self.extractor.fingerprint + (self.space.fingerprint or "")
