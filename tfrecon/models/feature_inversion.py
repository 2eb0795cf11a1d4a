"""Feature inversion: an image from the frozen features of a pretrained network (Mahendran & Vedaldi
2015; Dosovitskiy & Brox 2016), by a decoder that is trained, or solved for, on pairs of both.

    image → frozen backbone → taps → standardised → fused → decoder → image
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecon.backbones import DEFAULT
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Positive, Spec, build, check, checked
from tfrecon.base.system import float32_policy
from tfrecon.layers.defences import DEFENCES, Defended
from tfrecon.layers.ridge import Ridge, effective_rank, fitting_kernel_size
from tfrecon.models.base import refuse_masks
from tfrecon.models.boosting import Descent, Stage, fit_stages
from tfrecon.models.frozen_features import Extractor, FrozenFeatures, check_size, parse_sources
from tfrecon.models.refinement import REFINEMENTS
from tfrecon.models.supervised import Supervised
from tfrecon.networks.decoders import DECODERS
from tfrecon.networks.fusion import FUSIONS

CONTEXT = dict.fromkeys(("channels", "doublings", "seed"))
"""What decoders and fusions are told by the model, not by the user."""

SHOWN_EIGENVALUES = 32
"""Of the features' covariance, at most, that a run records."""


@checked
def feature_inversion(
    *, image_size: Positive = 224, mask: bool = False, backbone: str | None = None,
    taps: list[str] | None = None, weights: str | None = DEFAULT,
    sources: list[dict[str, Any]] | None = None, decoder: str | dict[str, Any] = "residual",
    fusion: str | dict[str, Any] = "concat", refine: str | dict[str, Any] | None = None,
    defence: str | dict[str, Any] | None = None, seed: int | None = None,
) -> FeatureInversion:  # fmt: skip
    """The image (B,H,W,3) in [0,1] to its reconstruction from features, of the same shape. Raises
    UserError for masks, unknown names, taps that do not divide the image and options out of range.

    Args:
        image_size: side of the validation images in pixels, which the taps must divide.
        mask: must be False; an inversion sees whole images.
        backbone: name of the frozen network (`tfrecon.backbones.BACKBONES`); None is vgg16.
        taps: where it is read; None is block1 of vgg16. Several are aligned to the finest.
        weights: a weight set of the backbone, a file, or None for random weights.
        sources: several of the three above, for an ensemble, instead of them.
        decoder: name, or table with a name and options (`tfrecon.networks.decoders`).
        fusion: how several taps become one (`tfrecon.networks.fusion`); unused with one tap.
        refine: name or table of how the pixels move towards the features at inference
            (`tfrecon.models.refinement.REFINEMENTS`); None: they do not.
        defence: name or table of what is done to the features before they are decoded, in training
            as at inference (`tfrecon.layers.defences`); None: nothing.
        seed: of the initial weights, random backbones included.
    """
    options = dict(locals())
    refuse_masks("feature_inversion", mask)
    check_feature_inversion(options)
    return FeatureInversion({**options, "seed": seed or 0}, name="feature_inversion")


def check_feature_inversion(options: Mapping[str, Any]) -> None:
    """Raises UserError for whatever is wrong with all options of `feature_inversion` and can be
    seen before anything is built or read."""
    parse_sources(options)
    check(_part(options["decoder"], "decoder"), DECODERS, "decoder", CONTEXT)
    check(_part(options["fusion"], "fusion"), FUSIONS, "fusion", CONTEXT)
    if options["refine"] is not None:
        check(Spec.parse(options["refine"], "model.refine"), REFINEMENTS, "refinement", ["stride"])
    if options["defence"] is not None:
        check(Spec.parse(options["defence"], "model.defence"), DEFENCES, "defence")


def _part(value: Any, kind: str) -> Spec:
    """The Spec of a decoder or fusion; options without a name are those of the default."""
    if isinstance(value, Mapping) and "name" not in value:
        default = {"decoder": "residual", "fusion": "concat"}[kind]
        value = {"name": default, **value}
    return Spec.parse(value, f"model.{kind}")


@keras.saving.register_keras_serializable("tfrecon")
class FeatureInversion(FrozenFeatures, Supervised):
    """See `feature_inversion`; `adapt` fits the linear part, too."""

    def __init__(self, options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options, image_size, seed = options, options["image_size"], options["seed"]
        decoder = _part(options["decoder"], "decoder")
        exact = decoder.name == "boosted"  # rounded features would bound what its stages can see
        with float32_policy() if exact else contextlib.nullcontext():
            channels = self.read_from(Extractor(options))
        if options["defence"] is not None:
            spec = Spec.parse(options["defence"], "model.defence")
            self.defence = Defended(build(spec, DEFENCES, "defence"), name="defence")
            self.defence.build((None, None, None, sum(channels)))
        self.fuse, fused = None, channels[0]
        if len(channels) > 1:
            fusion = _part(options["fusion"], "fusion")
            self.fuse = build(fusion, FUSIONS, "fusion", channels=channels, seed=seed)
            fused = self.fuse.output_shape[-1]
        doublings = self.extractor.doublings
        made = build(decoder, DECODERS, "decoder", channels=fused, doublings=doublings, seed=seed)
        self.network, self.ridge = made.network, None
        self.size_multiple = max(self.extractor.size_multiple, self.tap_stride * made.pooling)
        check_size(image_size, self.size_multiple)
        if made.ridge:
            grid = image_size // self.tap_stride
            size = made.kernel_size or fitting_kernel_size(sum(channels), grid)
            if size > grid:
                raise UserError(
                    f"the decoder's kernel_size is {size}, more than the {grid} positions of the "
                    "tap; make it smaller"
                )
            self.ridge = Ridge(sum(channels), doublings, size, made.penalty, name="ridge")
            self.ridge.build((None, None, None, sum(channels)))
        grid = image_size // self.tap_stride
        if options["refine"] is not None:
            refinement = Spec.parse(options["refine"], "model.refine")
            self.refine = build(refinement, REFINEMENTS, "refinement", stride=self.tap_stride)
        self.stages = [
            Descent(made.descent, made.rate, name=f"stage{number}") if made.descent
            else Stage(sum(channels), doublings, grid, name=f"stage{number}")
            for number in range(made.stages)
        ]  # fmt: skip
        for stage in self.stages:
            stage.build(())

    def received(self, x: Any) -> list[Any]:
        """The taps of images (B,H,W,3), or of what `raw_features` gave, as they are decoded: each
        (B,h,w,C), with the defence. Noise follows what x is, so that it is the same again."""
        raw = list(x) if isinstance(x, tuple | list) else self.raw_features(x)
        if self.defence is None:
            return raw
        whole = tf.concat(raw, axis=-1)
        digits = tf.cast(tf.round(255.0 * (whole if isinstance(x, tuple | list) else x)), tf.int32)
        defended = self.defence(whole, tf.reduce_sum(digits, (1, 2, 3)))
        return tf.split(defended, [part.shape[-1] for part in raw], axis=-1)

    def decode(self, features: Sequence[Any], training: bool = False) -> Any:
        """The image from what `features` gives; not clipped."""
        image: Any = 0.0
        if self.ridge is not None:
            image += self.ridge(tf.concat(features, axis=-1))
        if self.network is not None:
            fused = self.fuse(features, training=training) if self.fuse else features[0]
            image += self.network(fused, training=training)
        return image

    def call(self, x: Any, training: bool = False) -> Any:
        """(B,H,W,3) in [0,1], or its `raw_features`, to its reconstruction; clipped, and refined,
        at inference only."""
        if self.stages:
            image, *_, features = self.boosted(x)
        else:
            features = self.features(self.received(x))
            image = self.decode(features, training)
        if training:
            return image
        image = tf.clip_by_value(image, 0.0, 1.0)
        return image if self.refine is None else self.refine(image, features, self.features)

    def boosted(self, x: Any) -> tuple[Any, Any, Any, list[Any]]:
        """The linear answer to x after the stages so far, in [0,1]; the wanted features (B,h,w,C),
        1 where they are above zero, and the wanted features of each tap."""
        raw = self.received(x)
        features = self.features(raw)
        wanted = tf.concat(features, axis=-1)
        active = tf.cast(tf.concat(raw, axis=-1) > 0, wanted.dtype)
        image = tf.clip_by_value(self.decode(features), 0.0, 1.0)
        for stage in self.stages:
            image = stage(image, wanted, active, features=self.features)
        return image, wanted, active, features

    def adapt(self, batches: Iterable[Any], images: int) -> dict[str, Any]:
        """Fits statistics and linear part in one pass over `batches` of x (B,H,W,3), `images` in
        all, each stage in a further one, and before them what a defence depends on. Of a linear
        part it returns the spectrum of the features."""
        if self.defence is not None:
            self.defence.take(self.fit_statistics(batches, images))
        sums = self.fit_statistics(batches, images, self.ridge, self.received)
        if self.stages:
            self._take(sums.solve(with_held_out=False))
            answer = self.boosted
            errors = fit_stages(
                self.stages, batches, images, lambda x: answer(x)[:3], self.features
            )
            decibels = (f"{-10 * math.log10(max(error, 1e-12)):.1f}" for error in errors)
            print(f"stages on images held out, PSNR of the mean error: {', '.join(decibels)} dB")
        if self.ridge is None:
            return {}
        self._take(sums.solve())
        return {"spectrum": spectrum(sums.eigenvalues())}

    def _take(self, answer: tuple[Any, Any]) -> None:
        for variable, value in zip((self.ridge.kernel, self.ridge.bias), answer, strict=True):
            variable.assign(value)

    @property
    def inference_variables(self) -> list[Any]:
        """Statistics, linear part, fusion and decoder, in the order in which they were made."""
        frozen = {id(variable) for variable in self.frozen_variables}
        return [v for v in self.weights if id(v) not in frozen and v.dtype.startswith("float")]


def spectrum(eigenvalues: Any) -> dict[str, Any]:
    """JSON-ready, of eigenvalues with the largest first: their `effective_rank`, and those of
    SHOWN_EIGENVALUES `numbers`, from 1 on, that lie evenly on a logarithmic scale."""
    evenly = np.geomspace(1, len(eigenvalues), SHOWN_EIGENVALUES)
    numbers = [int(number) for number in np.unique(np.rint(evenly))]
    shown = [float(f"{eigenvalues[number - 1]:.4g}") for number in numbers]
    rank = round(effective_rank(eigenvalues), 3)
    return {"effective_rank": rank, "numbers": numbers, "eigenvalues": shown}
