"""A GAN that reconstructs images from frozen features, where regression only blurs.

image → frozen backbone → taps → standardised → generator → image → PatchGAN
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from tfrecon.backbones import DEFAULT
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Natural, Positive, Weight, checked
from tfrecon.layers.convolutions import Conv2DTranspose
from tfrecon.layers.normalization import normalization
from tfrecon.layers.ranges import from_signed
from tfrecon.layers.seeds import NoiseChannels
from tfrecon.losses.adversarial_losses import AdversarialName
from tfrecon.models.adversarial import AdversarialModel, check_adversarial
from tfrecon.models.base import refuse_masks
from tfrecon.models.frozen_features import Extractor, FrozenFeatures, check_size
from tfrecon.networks.blocks import convolution, seeded
from tfrecon.networks.gan import patch_discriminator

NARROWEST = 32
"""Channels that no grid of the generator goes below."""


@checked
def feature_gan(
    *, image_size: Positive = 128, mask: bool = False, backbone: str | None = None,
    taps: list[str] | None = None, weights: str | None = DEFAULT,
    sources: list[dict[str, Any]] | None = None, width: Positive = 128,
    noise_channels: Natural = 0, draw: Natural = 0, discriminator_filters: Positive = 64,
    spectral_norm: bool = False, adversarial_loss: AdversarialName = "bce",
    adversarial_weight: Weight = 1.0, reconstruction_weight: Weight = 100.0,
    r1_weight: Weight = 0.0, seed: int | None = None,
) -> FeatureGan:  # fmt: skip
    """The image (B,H,W,3) in [0,1] to its reconstruction from features, of the same shape. Raises
    UserError for masks, unknown names, taps that do not divide the image and options out of range.

    Args:
        image_size, mask, backbone, taps, weights, sources, seed: as of
            `tfrecon.models.feature_inversion.feature_inversion`.
        width: channels that the features are projected to (128 as published).
        noise_channels: channels of noise beside them (0, or 100 as published).
        draw: at inference, 0 for no noise, N for the N-th sample of it.
        discriminator_filters: filters of the PatchGAN's first of four strided convolutions.
        spectral_norm: normalises the PatchGAN's kernels instead of its activations.
        adversarial_loss: ``bce`` or ``hinge``.
        adversarial_weight: weight of the adversarial term; 0 trains without a discriminator.
        reconstruction_weight: weight of the reconstruction loss (0 as published).
        r1_weight: weight γ of the R1 penalty on the discriminator.
    """
    options = dict(locals())
    refuse_masks("feature_gan", mask)
    check_adversarial(adversarial_weight, reconstruction_weight)
    if draw and not noise_channels:
        raise UserError("model.draw chooses noise and model.noise_channels is 0; set both")
    return FeatureGan({**options, "seed": seed or 0}, name="feature_gan")


@keras.saving.register_keras_serializable("tfrecon")
class FeatureGan(FrozenFeatures, AdversarialModel):
    """See `feature_gan`. The discriminator sees the image alone: the input shows it the truth."""

    def __init__(self, options: dict[str, Any], **kwargs: Any) -> None:
        extractor = Extractor(options)
        generator = feature_generator(
            channels=sum(tap.channels for tap in extractor.taps), doublings=extractor.doublings,
            **{key: options[key] for key in ("width", "noise_channels", "draw", "seed")},
        )  # fmt: skip
        spectral = options["spectral_norm"]
        discriminator = patch_discriminator(
            channels=0, base_filters=options["discriminator_filters"], strided=4,
            norm="none" if spectral else "batch", spectral=spectral, seed=options["seed"] + 1,
        )  # fmt: skip
        terms = ("reconstruction_weight", "adversarial_weight", "adversarial_loss", "r1_weight")
        super().__init__(
            generator, discriminator, **{key: options[key] for key in terms}, autocast=False,
            **kwargs,
        )  # fmt: skip
        self.options = options
        self.read_from(extractor)
        self.size_multiple = max(extractor.size_multiple, self.tap_stride)
        check_size(options["image_size"], self.size_multiple)

    def condition(self, x: Any) -> Any:
        """The standardised taps of images (B,H,W,3), or of what `raw_features` gave, in one."""
        return tf.concat(self.features(x), axis=-1)


def feature_generator(
    *, channels: int, doublings: int, width: int, noise_channels: int, draw: int, seed: int
) -> keras.Model:  # fmt: skip
    """Features (B,h,w,channels) to images (B,h·2ⁿ,w·2ⁿ,3) in [0,1], float32, n = `doublings`.

    A 1×1 convolution to `width` (128 as published), beside it `noise_channels`, n transposed
    convolutions 4×4 of stride 2 with batch normalisation and ReLU that halve the channels (not
    below `NARROWEST`), and two 3×3 convolutions; tanh, brought to [0,1].
    """
    start = seeded(seed)
    inputs = keras.Input((None, None, channels), name="features")
    x = convolution(inputs, width, 1, start, "project", scale=2.0, activation="relu")
    if noise_channels:
        x = NoiseChannels(noise_channels, draw, seed, name="noise")(x)
    filters = width
    for stage in range(1, doublings + 1):
        filters = max(min(width, NARROWEST), filters // 2)
        x = Conv2DTranspose(
            filters, 4, 2, "same", use_bias=False, kernel_initializer=start(2.0), name=f"up{stage}"
        )(x)
        x = normalization("batch", "moving", f"up{stage}_norm")(x)
        x = layers.ReLU(name=f"up{stage}_act")(x)
    x = convolution(x, filters, 3, start, "smooth", scale=2.0, activation="relu")
    x = convolution(x, 3, 3, start, "head", scale=0.1, activation="tanh", dtype="float32")
    return keras.Model(inputs, from_signed("image")(x), name="feature_generator")
