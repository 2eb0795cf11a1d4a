"""Feature inversion: an image from the frozen features of a pretrained network (Mahendran & Vedaldi
2015; Dosovitskiy & Brox 2016), by a decoder that is trained, or solved for, on pairs of both.

    image → frozen backbone → taps → standardised → fused → decoder → image
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfrecon.backbones import DEFAULT, check_image_size, check_taps, feature_taps
from tfrecon.errors import UserError
from tfrecon.layers.align import align
from tfrecon.layers.ridge import Ridge, Standardise, Sums
from tfrecon.metrics import results
from tfrecon.networks.decoders import DECODERS
from tfrecon.networks.fusion import FUSIONS
from tfrecon.registry import Spec, build, check, check_options

CONTEXT = dict.fromkeys(("channels", "doublings", "seed"))
"""What decoders and fusions are told by the model, not by the user."""


@dataclass(frozen=True)
class Source:
    """One backbone, the taps that are read, and its weights."""

    backbone: str
    taps: tuple[str, ...]
    weights: str | None


def feature_inversion(
    *,
    image_size: int = 224,
    mask: bool = False,
    backbone: str | None = None,
    taps: list[str] | None = None,
    weights: str | None = DEFAULT,
    sources: list[dict[str, Any]] | None = None,
    decoder: str | dict[str, Any] = "residual",
    fusion: str | dict[str, Any] = "concat",
    refine_steps: int = 0,
    refine_rate: float = 0.005,
    seed: int | None = None,
) -> FeatureInversion:
    """The image (B,H,W,3) in [0,1] to its reconstruction from features, of the same shape.

    Args:
        image_size: side of the validation images in pixels, which the taps must divide.
        mask: must be False; an inversion sees whole images.
        backbone: name of the frozen network (`tfrecon.backbones.BACKBONES`); None is vgg16.
        taps: where it is read; None is block1.
        weights: a weight set of the backbone, a file, or None for random weights.
        sources: several of the three above, for an ensemble, instead of them.
        decoder: name, or table with a name and options (`tfrecon.networks.decoders`).
        fusion: how several taps become one (`tfrecon.networks.fusion`); unused with one tap.
        refine_steps: at inference, steps of gradient descent on the pixels towards the features.
        refine_rate: the largest change of a value in the first of those steps.
        seed: of the initial weights, random backbones included.

    Raises:
        UserError: masks, unknown names, taps that do not divide the image, options out of range.
    """
    if mask:
        raise UserError(
            "model 'feature_inversion' sees whole images and takes no masks; set "
            "data.damage=identity, or choose a restoration model"
        )
    found = check_feature_inversion(
        backbone=backbone, taps=taps, weights=weights, sources=sources, decoder=decoder,
        fusion=fusion, refine_steps=refine_steps,
    )  # fmt: skip
    return FeatureInversion(
        found, Spec.parse(decoder, "model.decoder"), Spec.parse(fusion, "model.fusion"),
        image_size=image_size, refine_steps=refine_steps, refine_rate=refine_rate, seed=seed or 0,
        name="feature_inversion",
    )  # fmt: skip


def check_feature_inversion(
    *, backbone: str | None = None, taps: list[str] | None = None, weights: str | None = DEFAULT,
    sources: list[dict[str, Any]] | None = None, decoder: Any = "residual", fusion: Any = "concat",
    refine_steps: int = 0, **others: Any,
) -> list[Source]:  # fmt: skip
    """The sources that the options of `feature_inversion` name. Raises UserError for any name that
    is unknown, before anything is built or read."""
    if sources is None:
        found = [_source(backbone or "vgg16", taps or ["block1"], weights)]
    elif backbone or taps or weights != DEFAULT:
        raise UserError(
            "model.sources replaces model.backbone, model.taps and model.weights; set either"
        )
    else:
        found = [_listed_source(number, table) for number, table in enumerate(sources)]
    if not found:
        raise UserError("model.sources is empty; list at least one {backbone, taps}")
    pairs = [(s.backbone, s.weights, tap) for s in found for tap in s.taps]
    for pair in pairs:
        if pairs.count(pair) > 1:
            raise UserError(f"tap {pair[2]!r} of backbone {pair[0]!r} is given twice; keep one")
    check(Spec.parse(decoder, "model.decoder"), DECODERS, "decoder", CONTEXT)
    check(Spec.parse(fusion, "model.fusion"), FUSIONS, "fusion", CONTEXT)
    if refine_steps < 0:
        raise UserError(f"model.refine_steps must be 0 or more, not {refine_steps}")
    return found


def _source(backbone: str, taps: Sequence[str], weights: str | None = DEFAULT) -> Source:
    check_taps(backbone, taps, weights)
    return Source(backbone, tuple(taps), weights)


def _listed_source(number: int, table: Any) -> Source:
    def source(*, backbone: str, taps: list[str], weights: str | None = DEFAULT) -> Source:
        return _source(backbone, taps, weights)

    where = f"model.sources[{number}]"
    if not isinstance(table, Mapping) or not {"backbone", "taps"} <= table.keys():
        raise UserError(f"{where} must be a table with backbone and taps, not {table!r}")
    return source(**check_options(source, Spec(where, table), "entry"))


@keras.saving.register_keras_serializable("tfrecon")
class FeatureInversion(keras.Model):
    """See `feature_inversion`. The backbones are frozen and no part of a checkpoint.

    `adapt` must have been called, or its values assigned, before the model means anything: it fits
    the features' statistics and the linear part.
    """

    def __init__(
        self, sources: Sequence[Source], decoder: Spec, fusion: Spec, *, image_size: int,
        refine_steps: int, refine_rate: float, seed: int, **kwargs: Any,
    ) -> None:  # fmt: skip
        # Not cast on entry: images in bfloat16 would have lost a bit of their eight.
        super().__init__(autocast=False, **kwargs)
        self.options = {
            "sources": [
                {"backbone": s.backbone, "taps": list(s.taps), "weights": s.weights}
                for s in sources
            ],
            "decoder": decoder.to_dict(), "fusion": fusion.to_dict(), "image_size": image_size,
            "refine_steps": refine_steps, "refine_rate": refine_rate, "seed": seed,
        }  # fmt: skip
        self.refine_steps, self.refine_rate = refine_steps, refine_rate
        self.validating = False
        for source in sources:
            check_image_size(source.backbone, source.taps, image_size)
        self.backbones = [feature_taps(s.backbone, s.taps, s.weights, seed) for s in sources]
        taps = [check_taps(s.backbone, s.taps, s.weights).taps[name]
                for s in sources for name in s.taps]  # fmt: skip
        fixed = {check_taps(s.backbone, s.taps, s.weights).fixed_size for s in sources} - {None}
        self.halvings = [_halvings(tap.stride, image_size) for tap in taps]
        doublings = min(self.halvings)
        multiple = 2 ** max((h for h, t in zip(self.halvings, taps, strict=True) if t.stride),
                            default=0)  # fmt: skip
        pooled_only = all(tap.stride is None for tap in taps)
        self.fixed_size = next(iter(fixed), image_size if pooled_only else None)
        self.size_multiple = multiple
        _check_size(image_size, multiple, self.fixed_size)
        channels = [tap.channels for tap in taps]
        self.standardise = [Standardise(name=f"standardise{n}") for n in range(len(taps))]
        for layer, count in zip(self.standardise, channels, strict=True):
            layer.build((None, None, None, count))
        self.fuse = None
        if len(taps) > 1:
            self.fuse = build(fusion, FUSIONS, "fusion", channels=channels, seed=seed)
            channels = [self.fuse.output_shape[-1]]
        made = build(
            decoder, DECODERS, "decoder", channels=channels[0], doublings=doublings, seed=seed
        )
        self.network, self.ridge = made.network, None
        if made.ridge is not None:
            total = sum(tap.channels for tap in taps)
            self.ridge = Ridge(total, doublings, **made.ridge, name="ridge")
            self.ridge.build((None, None, None, total))

    def build(self, input_shape: Any) -> None:
        """Nothing is left to build."""
        self.built = True

    def features(self, x: Any) -> list[Any]:
        """The standardised taps of images (B,H,W,3), each (B,h,w,C) float32 on the finest grid; a
        tuple or list is what `raw_features` gave for them."""
        raw = x if isinstance(x, tuple | list) else self.raw_features(x)
        return [layer(part) for layer, part in zip(self.standardise, raw, strict=True)]

    def raw_features(self, images: Any) -> list[Any]:
        """The taps of images (B,H,W,3) as the backbones give them, on the finest grid."""
        taps = list(
            itertools.chain.from_iterable(
                tf.nest.flatten(backbone(images, training=False)) for backbone in self.backbones
            )
        )
        size = [images.shape[axis] or tf.shape(images)[axis] for axis in (1, 2)]
        grids = {n: [side // 2**n for side in size] for n in {*self.halvings}}
        finest = grids[min(self.halvings)]
        return [align(tap, grids[n], finest) for tap, n in zip(taps, self.halvings, strict=True)]

    def tap_maps(self, images: Any) -> dict[str, Any]:
        """The taps of images (B,H,W,3) by ``backbone tap``, each (B,h,w,C) on its own grid."""
        return {
            f"{source['backbone']} {tap}": maps
            for source, backbone in zip(self.options["sources"], self.backbones, strict=True)
            for tap, maps in zip(
                source["taps"], tf.nest.flatten(backbone(images, training=False)), strict=True
            )
        }

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
        features = self.features(x)
        image = self.decode(features, training)
        if training:
            return image
        image = tf.clip_by_value(image, 0.0, 1.0)
        return self._refined(image, features) if self.refine_steps else image

    def _refined(self, image: Any, features: Sequence[Any]) -> Any:
        """Adam on the pixels (Kingma & Ba 2015) down ‖z(image) - features‖², with z standardised:
        each channel counts by the inverse of its training variance (Mahendran & Vedaldi 2015)."""
        features = [tf.stop_gradient(part) for part in features]

        def step(number: Any, image: Any, first: Any, second: Any) -> tuple[Any, ...]:
            with tf.GradientTape() as tape:
                tape.watch(image)
                own = self.features(image)
                loss = sum(
                    tf.reduce_sum(tf.math.squared_difference(a, b))
                    for a, b in zip(own, features, strict=True)
                )
            gradient = tape.gradient(loss, image)
            first = 0.9 * first + 0.1 * gradient
            second = 0.99 * second + 0.01 * tf.square(gradient)
            time = tf.cast(number + 1, tf.float32)
            rate = self.refine_rate * (1 - tf.cast(number, tf.float32) / self.refine_steps)
            unbiased = first / (1 - 0.9**time), second / (1 - 0.99**time)
            image -= rate * unbiased[0] / (tf.sqrt(unbiased[1]) + 1e-8)
            return number + 1, tf.clip_by_value(image, 0.0, 1.0), first, second

        start = (tf.constant(0), image, tf.zeros_like(image), tf.zeros_like(image))
        return tf.while_loop(lambda n, *_: n < self.refine_steps, step, start)[1]

    def adapt(self, batches: Iterable[Any], images: int) -> None:
        """Fits statistics and linear part in one pass over `batches` of x (B,H,W,3), `images` in
        all."""
        sums = Sums(images, self.ridge)
        features = tf.function(
            lambda x: tf.concat(self.raw_features(x), axis=-1), reduce_retracing=True
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
        if self.ridge is not None:
            kernel, bias = sums.solve()
            self.ridge.kernel.assign(kernel)
            self.ridge.bias.assign(bias)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Keras's own, with the compiled metrics."""
        self.validating = True
        try:
            return super().test_step(data)
        finally:
            self.validating = False

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """The loss, and in validation the compiled metrics: SSIM of the training crops would cost
        some percent of a step."""
        if self.validating:
            return super().compute_metrics(x, y, y_pred, sample_weight)
        return results(self.metrics[:1])

    def get_metrics_result(self) -> dict[str, Any]:
        """The loss, and what validation computed."""
        return results(self.metrics)

    @property
    def fingerprint(self) -> str:
        """A hash of the backbones' weights and preprocessing."""
        return "-".join(backbone.fingerprint for backbone in self.backbones)

    @property
    def features_key(self) -> str:
        """What `raw_features` of an image depend on: weights, taps, grids and precision."""
        facts = self.fingerprint, self.options["sources"], self.halvings, self.compute_dtype
        return repr(facts)

    @property
    def frozen_variables(self) -> list[Any]:
        """The backbones' variables, which no checkpoint holds."""
        return [variable for backbone in self.backbones for variable in backbone.variables]

    @property
    def inference_variables(self) -> list[Any]:
        """What a checkpoint of the best weights holds: statistics, linear part, fusion, decoder."""
        frozen = {id(variable) for variable in self.frozen_variables}
        return [v for v in self.weights if id(v) not in frozen and v.dtype.startswith("float")]

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {"name": self.name, **self.options}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FeatureInversion:
        """The model that `get_config` describes, with fresh weights."""
        return feature_inversion(**{key: value for key, value in config.items() if key != "name"})


def _halvings(stride: int | None, image_size: int) -> int:
    """How often the image is halved on the way to a tap."""
    return round(math.log2(stride or image_size))


def _check_size(image_size: int, multiple: int, fixed: int | None) -> None:
    if fixed is not None and image_size != fixed:
        raise UserError(f"data.image_size must be {fixed} for these backbones, not {image_size}")
    if fixed is not None and fixed & (fixed - 1) and multiple == 1:
        raise UserError(
            f"from one position no doubling reaches {image_size} pixels; set data.image_size to a "
            "power of two, e.g. 128 or 256"
        )
    if image_size % multiple:
        below = image_size - image_size % multiple
        raise UserError(
            f"these taps halve the image {multiple.bit_length() - 1} times, and no doubling of "
            f"their grid reaches data.image_size = {image_size}; sizes that work are multiples of "
            f"{multiple}, e.g. {below or multiple} or {below + multiple}"
        )
