"""A DCGAN-style generator and discriminator for damaged photos (after Radford et al. 2016)."""

from __future__ import annotations

from typing import Any

import keras

from tfrecon.base.errors import UserError, at_least
from tfrecon.layers.ranges import Composite, FromSigned, ToSigned
from tfrecon.models.adversarial import AdversarialModel
from tfrecon.networks.dense_discriminator import dense_discriminator
from tfrecon.networks.unet import unet

MIN_DEPTH = 3


def restoration_gan(
    *,
    image_size: int = 256,
    mask: bool = False,
    base_filters: int = 64,
    discriminator_filters: int = 64,
    composite: bool = True,
    reconstruction_weight: float = 100.0,
    adversarial_weight: float = 1.0,
    seed: int | None = None,
) -> AdversarialModel:
    """The damaged photo (B,H,W,3, or 4 with a mask) to the restored one (B,H,W,3), all in [0,1].

    The generator goes 8 stages down to a vector of 8·`base_filters` for 256 pixels and 8 up with
    concatenations; the discriminator gives one logit for (damaged, candidate), where that of
    pix2pix gives one for each patch.

    Args:
        image_size: side of the training images in pixels; sets the depth (8 for 256).
        mask: whether the input's last channel is a mask, 1 = damaged.
        base_filters: filters of the generator's first stage (64 as published).
        discriminator_filters: filters of the discriminator's first stage (64 as published).
        composite: known pixels pass through unchanged, where there is a mask.
        reconstruction_weight: weight of the reconstruction loss (100 as published, with ``l1``).
        adversarial_weight: weight of the adversarial term; 0 trains without a discriminator.
        seed: of the initial weights.

    Raises:
        UserError: an image size that cannot be halved three times, or an option out of range.
    """
    depth = min(8, (image_size & -image_size).bit_length() - 1)
    if depth < MIN_DEPTH:
        raise UserError(
            f"restoration_gan cannot take data.image_size = {image_size}: it halves the side, so "
            f"it must be a multiple of {2**MIN_DEPTH}; the published one is 256"
        )
    at_least("model.base_filters", base_filters, 1)
    at_least("model.discriminator_filters", discriminator_filters, 1)
    channels = 3 + mask
    network = unet(channels=channels, depth=depth, base_filters=base_filters, dropout=0, seed=seed)
    x = keras.Input((None, None, channels), name="x")
    restored: Any = FromSigned(name="from_signed")(network(ToSigned(name="to_signed")(x)))
    if mask and composite:
        restored = Composite(name="composite")(x[..., :3], restored, x[..., 3:])
    discriminator = dense_discriminator(
        channels=channels,
        base_filters=discriminator_filters,
        seed=None if seed is None else seed + 1,
    )
    return AdversarialModel(
        keras.Model(x, restored, name="generator"),
        discriminator,
        reconstruction_weight=float(reconstruction_weight),
        adversarial_weight=float(adversarial_weight),
        size_multiple=2**depth,
        name="restoration_gan",
    )
