"""A GAN that reconstructs images from frozen features, where regression only blurs.

image → frozen backbone → taps → standardised → generator → image → PatchGAN
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrecon.backbones import DEFAULT
from tfrecon.base.errors import UserError, at_least
from tfrecon.models.adversarial import AdversarialModel, check_adversarial
from tfrecon.models.extractor import Extractor, Source, parse_sources
from tfrecon.models.features import FrozenFeatures, check_size, refuse_masks
from tfrecon.networks.feature_generator import feature_generator
from tfrecon.networks.patch_discriminator import patch_discriminator


def feature_gan(
    *,
    image_size: int = 128,
    mask: bool = False,
    backbone: str | None = None,
    taps: list[str] | None = None,
    weights: str | None = DEFAULT,
    sources: list[dict[str, Any]] | None = None,
    width: int = 128,
    noise_channels: int = 0,
    draw: int = 0,
    discriminator_filters: int = 64,
    spectral_norm: bool = False,
    adversarial_loss: str = "bce",
    adversarial_weight: float = 1.0,
    reconstruction_weight: float = 100.0,
    r1_weight: float = 0.0,
    seed: int | None = None,
) -> FeatureGan:
    """The image (B,H,W,3) in [0,1] to its reconstruction from features, of the same shape.

    Args:
        image_size: side of the images in pixels, which the taps must divide.
        mask: must be False; an inversion sees whole images.
        backbone: name of the frozen network (`tfrecon.backbones.BACKBONES`); None is vgg16.
        taps: where it is read; None is block1 of vgg16. Several are aligned to the finest.
        weights: a weight set of the backbone, a file, or None for random weights.
        sources: several of the three above, for an ensemble, instead of them.
        width: channels that the features are projected to (128 as published).
        noise_channels: channels of noise beside them (0, or 100 as published).
        draw: at inference, 0 for no noise, N for the N-th sample of it.
        discriminator_filters: filters of the PatchGAN's first of four strided convolutions.
        spectral_norm: normalises the PatchGAN's kernels instead of its activations.
        adversarial_loss: ``bce`` or ``hinge``.
        adversarial_weight: weight of the adversarial term; 0 trains without a discriminator.
        reconstruction_weight: weight of the reconstruction loss (0 as published).
        r1_weight: weight γ of the R1 penalty on the discriminator.
        seed: of the initial weights, random backbones included.

    Raises:
        UserError: masks, unknown names, taps that do not divide the image, options out of range.
    """
    refuse_masks("feature_gan", mask)
    found = parse_sources(backbone, taps, weights, sources)
    for name, value, least in (
        ("width", width, 1), ("noise_channels", noise_channels, 0), ("draw", draw, 0),
        ("discriminator_filters", discriminator_filters, 1),
    ):  # fmt: skip
        at_least(f"model.{name}", value, least)
    check_adversarial(adversarial_loss, adversarial_weight, reconstruction_weight)
    if draw and not noise_channels:
        raise UserError("model.draw chooses noise and model.noise_channels is 0; set both")
    return FeatureGan(
        found, image_size=image_size, width=width, noise_channels=noise_channels, draw=draw,
        discriminator_filters=discriminator_filters, spectral_norm=spectral_norm,
        adversarial_loss=adversarial_loss, adversarial_weight=float(adversarial_weight),
        reconstruction_weight=float(reconstruction_weight), r1_weight=float(r1_weight),
        seed=seed or 0, name="feature_gan",
    )  # fmt: skip


@keras.saving.register_keras_serializable("tfrecon")
class FeatureGan(FrozenFeatures, AdversarialModel):
    """See `feature_gan`. The discriminator sees the image alone: the input shows it the truth."""

    def __init__(
        self, sources: Sequence[Source], *, image_size: int, width: int, noise_channels: int,
        draw: int, discriminator_filters: int, spectral_norm: bool, adversarial_loss: str,
        adversarial_weight: float, reconstruction_weight: float, r1_weight: float, seed: int,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        extractor = Extractor(sources, image_size, seed)
        generator = feature_generator(
            channels=sum(tap.channels for tap in extractor.taps), doublings=extractor.doublings,
            width=width, noise_channels=noise_channels, draw=draw, seed=seed,
        )  # fmt: skip
        discriminator = patch_discriminator(
            channels=0, base_filters=discriminator_filters, strided=4,
            norm="none" if spectral_norm else "batch", spectral=spectral_norm, seed=seed + 1,
        )  # fmt: skip
        super().__init__(
            generator, discriminator, reconstruction_weight=reconstruction_weight,
            adversarial_weight=adversarial_weight, adversarial_loss=adversarial_loss,
            r1_weight=r1_weight, autocast=False, **kwargs,
        )  # fmt: skip
        self.read_from(extractor)
        self.size_multiple = max(extractor.size_multiple, self.tap_stride)
        check_size(image_size, self.size_multiple)
        self.options = {
            "sources": [source.to_dict() for source in sources], "image_size": image_size,
            "width": width, "noise_channels": noise_channels, "draw": draw,
            "discriminator_filters": discriminator_filters, "spectral_norm": spectral_norm,
            "adversarial_loss": adversarial_loss, "adversarial_weight": adversarial_weight,
            "reconstruction_weight": reconstruction_weight, "r1_weight": r1_weight, "seed": seed,
        }  # fmt: skip

    def condition(self, x: Any) -> Any:
        """The standardised taps of images (B,H,W,3), or of what `raw_features` gave, in one."""
        return tf.concat(self.features(x), axis=-1)

    def judged(self, x: Any, image: Any) -> Any:
        """The image."""
        return image

    def adapt(self, batches: Iterable[Any], images: int) -> None:
        """Fits the features' statistics in one pass over `batches` of x (B,H,W,3)."""
        self.fit_statistics(batches, images, None)

    @property
    def inference_variables(self) -> list[Any]:
        """What a checkpoint of the best weights holds: statistics and generator."""
        return [*self.statistics, *super().inference_variables]

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {"name": self.name, **self.options}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FeatureGan:
        """The model that `get_config` describes, with fresh weights."""
        return feature_gan(**{key: value for key, value in config.items() if key != "name"})
