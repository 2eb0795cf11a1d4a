"""A variational autoencoder with skip connections, from a damaged photo to the restored one."""

from __future__ import annotations

from typing import Annotated, Any

import keras
from keras import layers

from tfrecon.base.registry import Above, AtLeast, Natural, Positive, checked
from tfrecon.layers.gaussian_latent import GaussianLatent
from tfrecon.layers.normalization import normalization
from tfrecon.models.base import composed, halvings
from tfrecon.models.supervised import Restorer
from tfrecon.networks.blocks import convolution, seeded

MULTIPLES = (1, 2, 2, 4, 4, 8, 8, 8)
"""Filters of the eight encoder stages, in units of `base_filters`."""


@checked
def skip_vae(
    *, image_size: Positive = 256, mask: bool = False,
    base_filters: Annotated[int, AtLeast(2)] = 64, latent: Positive = 64,
    beta: Annotated[float, Above(0)] = 1.0, draw: Natural = 0,
    composite: bool = True, seed: int | None = None,
) -> SkipVAE:  # fmt: skip
    """The damaged photo (B,H,W,3, or 4 with a mask) to the restored one (B,H,W,3), all in [0,1].

    Minimises the reconstruction loss of the configuration (``l2``, or ``bernoulli``) + β·KL; see
    `tfrecon.layers.gaussian_latent` for the units of β. At inference the latent is its mean. Raises
    UserError as `tfrecon.models.pix2pix.pix2pix`.

    Args:
        image_size, mask, composite: as of `tfrecon.models.pix2pix.pix2pix`.
        base_filters: filters of the first stage (64 as published).
        latent: latent values a position of the coarsest grid, one position for 256 pixels.
        beta: weight of the KL term.
        draw: at inference 0 takes the latent's mean, a number above 0 one sample for each number.
        seed: of the initial weights and of the latent noise.
    """
    depth = halvings("skip_vae", image_size)
    x = keras.Input((None, None, 3 + mask), name="x", dtype="float32")
    restored = skip_vae_network(
        channels=3 + mask, depth=depth, base_filters=base_filters, latent=latent, beta=beta,
        draw=draw, seed=seed,
    )(x)  # fmt: skip
    return SkipVAE(composed(x, restored, composite), size_multiple=2**depth, name="skip_vae")


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


def skip_vae_network(
    *, channels: int, depth: int, base_filters: int, latent: int, beta: float, draw: int,
    seed: int | None,
) -> keras.Model:  # fmt: skip
    """(B,H,W,channels) in [0,1] to (B,H,W,3) in [0,1], H and W multiples of ``2**depth``.

    Encoder stages are 3×3 stride 2, BN, LeakyReLU 0.2; the last one gives mean and log-variance of
    `latent` values a position. Decoder stages are nearest ×2, 3×3, BN, LeakyReLU, then the
    encoder's map of that resolution, at the last the image itself, beside it. Sigmoid output.
    """
    start = seeded(seed)

    def stage(x: Any, filters: int, name: str, strides: int = 1) -> Any:
        x = convolution(x, filters, 3, start, name, scale=2.0, strides=strides, use_bias=False)
        x = normalization("batch", "moving", f"{name}_norm")(x)
        return layers.LeakyReLU(0.2, name=f"{name}_act")(x)

    x = inputs = keras.Input((None, None, channels), name="image")
    skips: list[Any] = [inputs]
    for number, multiple in enumerate(MULTIPLES[:depth]):
        x = stage(x, multiple * base_filters, f"down{number + 1}", strides=2)
        skips.append(x)
    skips.pop()
    mean = convolution(x, latent, 1, start, "mean", dtype="float32")
    log_variance = convolution(x, latent, 1, start, "log_variance", scale=0.01, dtype="float32")
    x = GaussianLatent(beta, 3 * 4**depth, draw, seed, name="latent")(mean, log_variance)
    widths = [base_filters // 2, *(multiple * base_filters for multiple in MULTIPLES[: depth - 1])]
    for number, filters in enumerate(reversed(widths)):
        x = layers.UpSampling2D(name=f"double{number + 1}")(x)
        x = stage(x, filters, f"up{number + 1}")
        x = layers.Concatenate(name=f"skip{number + 1}")([x, skips.pop()])
    x = convolution(x, 3, 3, start, "head", dtype="float32")
    x = layers.Activation("sigmoid", dtype="float32", name="restored")(x)
    return keras.Model(inputs, x, name="skip_vae")
