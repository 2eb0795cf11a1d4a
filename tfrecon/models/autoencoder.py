"""The KL autoencoder whose latents `diffusion` works in (Rombach et al. 2022, section 3.1), small
enough for a CPU."""

from __future__ import annotations

from typing import Annotated

import keras

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Above, Positive, Weight, checked
from tfrecon.layers.gaussian_latent import GaussianLatent
from tfrecon.layers.grids import DepthToSpace, SpaceToDepth
from tfrecon.layers.ranges import to_signed
from tfrecon.losses.adversarial_losses import AdversarialName
from tfrecon.models.adversarial import AdversarialModel, check_adversarial
from tfrecon.models.base import refuse_masks
from tfrecon.networks.blocks import convolution, pixels, residual_blocks, seeded
from tfrecon.networks.gan import patch_discriminator

ACTIVATION = "leaky_relu"
STAGES = 3
REDUCTION = 1 << STAGES
"""Pixels a side for one position of the latent."""


@checked
def autoencoder(
    *, image_size: Positive = 128, mask: bool = False, latent_channels: Positive = 4,
    width: Positive = 32, depth: Positive = 2, beta: Annotated[float, Above(0)] = 1e-5,
    discriminator_filters: Positive = 32, adversarial_loss: AdversarialName = "hinge",
    adversarial_weight: Weight = 0.01, reconstruction_weight: Weight = 1.0, seed: int | None = None,
) -> Autoencoder:  # fmt: skip
    """The image (B,H,W,3) in [0,1] to itself, through a latent of one position for 8×8 pixels.

    Its scores bound those of a diffusion in its latents. Reconstruction (``l1`` and ``lpips`` as
    published) + β·KL + the adversarial term of a PatchGAN on the image alone. Raises UserError for
    masks, a size that is no multiple of 8 and an option out of range.

    Args:
        image_size: side of the validation images in pixels, a multiple of 8.
        mask: must be False.
        latent_channels: values a position (4 or 16 as published).
        width: channels of the finest of its three grids.
        depth: residual blocks of each grid, on both ways.
        beta: weight of the KL term, in the units of `tfrecon.layers.gaussian_latent`.
        discriminator_filters: filters of the PatchGAN's first stage.
        adversarial_loss, adversarial_weight: as of `tfrecon.models.feature_gan.feature_gan`.
        reconstruction_weight: weight of the reconstruction loss.
        seed: of the initial weights and of the latent noise.
    """
    refuse_masks("autoencoder", mask)
    if image_size % REDUCTION:
        raise UserError(
            f"autoencoder cannot take data.image_size = {image_size}; make it a multiple of "
            f"{REDUCTION}"
        )
    check_adversarial(adversarial_weight, reconstruction_weight)
    seeds = [None if seed is None else seed + more for more in range(3)]
    x = keras.Input((None, None, 3), name="x", dtype="float32")
    encoder = encoder_network(latent_channels, width, depth, seeds[0])
    latent = GaussianLatent(beta, 3 * REDUCTION**2, seed=seed, name="latent")
    decoder = decoder_network(latent_channels, width, depth, seeds[1])
    network = keras.Model(x, decoder(latent(*encoder(x))), name="generator")
    discriminator = patch_discriminator(
        channels=0, base_filters=discriminator_filters, seed=seeds[2]
    )
    return Autoencoder(
        network, discriminator, reconstruction_weight=reconstruction_weight,
        adversarial_weight=adversarial_weight, adversarial_loss=adversarial_loss,
        size_multiple=REDUCTION, name="autoencoder", autocast=False,
    )  # fmt: skip


@keras.saving.register_keras_serializable("tfrecon")
class Autoencoder(AdversarialModel):
    """See `autoencoder`. The discriminator sees the image alone: the input is the truth."""

    @property
    def encoder(self) -> keras.Model:
        """Images (B,H,W,3) in [0,1] to mean and log-variance, (B,H/8,W/8,C) each."""
        return self.generator.get_layer("encoder")

    @property
    def decoder(self) -> keras.Model:
        """Latents (B,h,w,C) to images (B,8h,8w,3) around [0,1], not clipped."""
        return self.generator.get_layer("decoder")


def encoder_network(latent_channels: int, width: int, depth: int, seed: int | None) -> keras.Model:
    """Images (B,H,W,3) in [0,1] to mean and log-variance of the latent, (B,H/8,W/8,C) each.

    Grids of `width`, 2·`width` and 4·`width` channels on squares of 2, 4 and 8 pixels, with `depth`
    residual blocks each, without normalisation.
    """
    start = seeded(seed)
    images = keras.Input((None, None, 3), name="images", dtype="float32")
    x = SpaceToDepth(2, name="squares")(to_signed("signed")(images))
    x = convolution(x, width, 3, start, "enter")
    for stage in range(STAGES):
        if stage:
            x = convolution(x, width << stage, 2, start, f"down{stage}", strides=2)
        x = residual_blocks(x, depth, start, f"stage{stage}", ACTIVATION)
    heads = [
        convolution(x, latent_channels, 3, start, name, scale=scale, dtype="float32")
        for name, scale in (("mean", 1.0), ("log_variance", 1e-2))
    ]
    return keras.Model(images, heads, name="encoder")


def decoder_network(latent_channels: int, width: int, depth: int, seed: int | None) -> keras.Model:
    """The latent (B,h,w,C) to images (B,8h,8w,3), float32: the encoder's mirror image.

    Linear at its end: behind a tanh one bad step can saturate every pixel, and no gradient leads
    back.
    """
    start = seeded(seed)
    latent = keras.Input((None, None, latent_channels), name="latent")
    x = convolution(latent, width << (STAGES - 1), 3, start, "enter")
    for stage in reversed(range(STAGES)):
        x = residual_blocks(x, depth, start, f"stage{stage}", ACTIVATION)
        if stage:
            x = convolution(x, 4 * (width << (stage - 1)), 1, start, f"widen{stage}")
            x = DepthToSpace(name=f"up{stage}")(x)
    return keras.Model(latent, pixels(x, 1, start), name="decoder")
