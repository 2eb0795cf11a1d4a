"""A DCGAN-style generator and discriminator for damaged photos (after Radford et al. 2016,
https://arxiv.org/abs/1511.06434)."""

from typing import Any

import keras
from keras import layers

from tfrecon.base.registry import Positive, Weight, checked
from tfrecon.layers.convolutions import Conv2D
from tfrecon.layers.grids import GridMeans
from tfrecon.layers.normalization import normalization
from tfrecon.layers.ranges import from_signed, to_signed
from tfrecon.models.adversarial import AdversarialModel
from tfrecon.models.base import composed, halvings
from tfrecon.networks.blocks import seeded
from tfrecon.networks.gan import unet

GRID = 4
"""The discriminator's last map is averaged to so many positions a side: any training size fits."""


@checked
def restoration_gan(
    *, image_size: Positive = 256, mask: bool = False, base_filters: Positive = 64,
    discriminator_filters: Positive = 64, composite: bool = True,
    reconstruction_weight: Weight = 100.0,
    adversarial_weight: Weight = 1.0, seed: int | None = None,
) -> AdversarialModel:  # fmt: skip
    """The damaged photo (B,H,W,3, or 4 with a mask) to the restored one (B,H,W,3), all in [0,1].

    The generator goes 8 stages down to a vector of 8·`base_filters` for 256 pixels and 8 up with
    concatenations; the discriminator gives one logit for (damaged, candidate), where that of
    pix2pix gives one for each patch. Raises UserError as `tfrecon.models.pix2pix.pix2pix`.

    Args:
        image_size, mask, composite, adversarial_weight: as of `tfrecon.models.pix2pix.pix2pix`.
        base_filters: filters of the generator's first stage (64 as published).
        discriminator_filters: filters of the discriminator's first stage (64 as published).
        reconstruction_weight: weight of the reconstruction loss (100 as published, with ``l1``).
        seed: of the initial weights.
    """
    depth, channels = halvings("restoration_gan", image_size), 3 + mask
    network = unet(channels=channels, depth=depth, base_filters=base_filters, dropout=0, seed=seed)
    x = keras.Input((None, None, channels), name="x")
    restored = from_signed("from_signed")(network(to_signed("to_signed")(x)))
    discriminator = dense_discriminator(
        channels=channels, base_filters=discriminator_filters,
        seed=None if seed is None else seed + 1,
    )  # fmt: skip
    return AdversarialModel(
        composed(x, restored, composite), discriminator,
        reconstruction_weight=reconstruction_weight, adversarial_weight=adversarial_weight,
        size_multiple=2**depth, name="restoration_gan",
    )  # fmt: skip


def dense_discriminator(*, channels: int, base_filters: int, seed: int | None) -> keras.Model:
    """([(B,H,W,channels), (B,H,W,3)] in [0,1]) to one logit an image, (B,1).

    The first input is what the generator was given, the second the candidate. Four 4×4 stride-2
    convolutions of 1, 2, 4, 8 times `base_filters`, batch-normalised but for the first, then dense
    layers of `base_filters` and of one unit.
    """
    start = seeded(seed)
    given = keras.Input((None, None, channels), name="given")
    candidate = keras.Input((None, None, 3), name="candidate")
    x: Any = to_signed("signed")(layers.Concatenate(name="pair")([given, candidate]))
    for number in range(4):
        x = Conv2D(
            base_filters << number, 4, 2, "same", use_bias=not number,
            kernel_initializer=start(), name=f"conv{number + 1}",
        )(x)  # fmt: skip
        x = normalization("batch" if number else "none", "moving", f"norm{number + 1}")(x)
        x = layers.LeakyReLU(0.2, name=f"act{number + 1}")(x)
    x = GridMeans(GRID, name="grid")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(base_filters, kernel_initializer=start(), name="dense")(x)
    x = layers.LeakyReLU(0.2, name="act5")(x)
    logit = layers.Dense(1, kernel_initializer=start(), dtype="float32", name="logit")(x)
    return keras.Model([given, candidate], logit, name="dense_discriminator")
