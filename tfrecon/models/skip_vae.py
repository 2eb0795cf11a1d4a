"""A variational autoencoder with skip connections, from a damaged photo to the restored one."""

from __future__ import annotations

from typing import Any

import keras

from tfrecon.base.errors import UserError, at_least
from tfrecon.layers.gaussian_latent import GaussianLatent
from tfrecon.layers.ranges import Composite
from tfrecon.models.supervised import Restorer
from tfrecon.networks.skip_vae import MULTIPLES, skip_vae_network

MIN_DEPTH = 3


def skip_vae(
    *,
    image_size: int = 256,
    mask: bool = False,
    base_filters: int = 64,
    latent: int = 64,
    beta: float = 1.0,
    draw: int = 0,
    composite: bool = True,
    seed: int | None = None,
) -> SkipVAE:
    """The damaged photo (B,H,W,3, or 4 with a mask) to the restored one (B,H,W,3), all in [0,1].

    Minimises the reconstruction loss of the configuration (``l2``, or ``bernoulli``) + β·KL; see
    `tfrecon.layers.gaussian_latent` for the units of β. At inference the latent is its mean.

    Args:
        image_size: side of the training images in pixels; sets the depth (8 for 256).
        mask: whether the input's last channel is a mask, 1 = damaged.
        base_filters: filters of the first stage (64 as published).
        latent: latent values a position of the coarsest grid, one position for 256 pixels.
        beta: weight of the KL term.
        draw: at inference 0 takes the latent's mean, a number above 0 one sample for each number.
        composite: known pixels pass through unchanged, where there is a mask.
        seed: of the initial weights and of the latent noise.

    Raises:
        UserError: an image size that cannot be halved three times, or an option out of range.
    """
    depth = min(len(MULTIPLES), (image_size & -image_size).bit_length() - 1)
    if depth < MIN_DEPTH:
        raise UserError(
            f"skip_vae cannot take data.image_size = {image_size}: it halves the side, so it must "
            f"be a multiple of {2**MIN_DEPTH}; the published one is 256"
        )
    at_least("model.base_filters", base_filters, 2)
    at_least("model.latent", latent, 1)
    at_least("model.draw", draw, 0)
    if not beta > 0:
        raise UserError(f"model.beta must be greater than 0, not {beta}")
    x = keras.Input((None, None, 3 + mask), name="x", dtype="float32")
    restored: Any = skip_vae_network(
        channels=3 + mask, depth=depth, base_filters=base_filters, latent=latent, beta=beta,
        draw=draw, seed=seed,
    )(x)  # fmt: skip
    if mask and composite:
        restored = Composite(name="composite")(x[..., :3], restored, x[..., 3:])
    network = keras.Model(x, restored, name="generator")
    return SkipVAE(network, size_multiple=2**depth, name="skip_vae")


@keras.saving.register_keras_serializable("tfrecon")
class SkipVAE(Restorer):
    """A `Restorer` that logs ``kl``: the mean KL divergence an image position, in nats."""

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(network, **kwargs)
        self.kl = keras.metrics.Mean(name="kl")

    @property
    def latent(self) -> GaussianLatent:
        """The layer between encoder and decoder."""
        return self.network.get_layer("skip_vae").get_layer("latent")

    def compute_loss(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Keras's own: reconstruction and what the latent added in this call."""
        latent = self.latent
        kl = sum(self.losses) * latent.values / latent.beta
        self.kl.update_state(kl, sample_weight=keras.ops.shape(x)[0])  # the last batch is smaller
        return super().compute_loss(x, *args, **kwargs)
