"""pix2pix: image-to-image translation with a conditional GAN (Isola et al., CVPR 2017,
https://arxiv.org/abs/1611.07004), here from a damaged photo to the restored one.

Differences from the paper, each an option: the mask is an input channel, known pixels pass through
unchanged, and the holes may be filled before the generator sees them.
"""

from typing import Annotated, Literal

import keras

from tfrecon.base.registry import Between, Positive, Weight, checked
from tfrecon.layers.normalization import Inference
from tfrecon.layers.ranges import Residual, from_signed, to_signed
from tfrecon.models.adversarial import AdversarialModel
from tfrecon.models.base import Fill, composed, filled, halvings
from tfrecon.networks.gan import patch_discriminator, unet
from tfrecon.networks.residual_network import multiple, residual_network


@checked
def pix2pix(
    *, image_size: Positive = 256, mask: bool = True, base_filters: Positive = 64,
    discriminator_filters: Positive = 64, generator: Literal["unet", "residual_unet"] = "unet",
    normalization: Literal["batch", "instance", "none"] = "batch", inference: Inference = "moving",
    dropout: Annotated[float, Between(0, 1, "[)")] = 0.5, dropout_at_inference: bool = False,
    fill: Fill = "none", residual: bool = False,
    composite: bool = True, reconstruction_weight: Weight = 100.0, adversarial_weight: Weight = 1.0,
    seed: int | None = None,
) -> AdversarialModel:  # fmt: skip
    """pix2pix for damaged photos: (B,H,W,4 with a mask, else 3) to (B,H,W,3), all in [0,1]. Raises
    UserError for an image size that cannot be halved three times, and an option out of range.

    Args:
        image_size: side of the training images in pixels; sets the U-Net's depth (8 for 256).
        mask: whether the input's last channel is a mask, 1 = damaged.
        base_filters: filters of the generator's first stage (64 in the paper).
        discriminator_filters: filters of the PatchGAN's first stage (64 in the paper).
        generator: the paper's U-Net, or the network of the model `residual_unet`, which corrects
            its input, has neither normalisation nor dropout, and can begin with its weights.
        normalization: of U-Net and discriminator; the paper's is ``"batch"``.
        inference: statistics that batch normalisation uses at inference: its moving averages, or
            those of the test image itself (the paper's habit).
        dropout: rate of the first three decoder stages (0.5 in the paper).
        dropout_at_inference: whether dropout stays on at inference (the paper's habit).
        fill: what the generator sees in the holes: black, the mean colour or the harmonic fill.
        residual: the U-Net predicts a correction of its (filled) input, starting at zero.
        composite: known pixels pass through unchanged; needs a mask.
        reconstruction_weight: λ of the paper, 100.
        adversarial_weight: weight of the adversarial term; 0 trains without a discriminator.
        seed: of the initial weights and of dropout.
    """
    channels = 4 if mask else 3
    if generator == "unet":
        depth = halvings("pix2pix", image_size)
        size_multiple = 2**depth
        network = unet(
            channels=channels, depth=depth, base_filters=base_filters, norm=normalization,
            inference=inference, dropout=dropout, dropout_at_inference=dropout_at_inference,
            zero_head=residual, seed=seed,
        )  # fmt: skip
    else:
        size_multiple, residual = multiple("deep"), True
        network = residual_network(channels=channels, width=base_filters, seed=seed)
    discriminator = patch_discriminator(
        channels=channels, base_filters=discriminator_filters, norm=normalization,
        seed=None if seed is None else seed + 1,
    )  # fmt: skip
    return AdversarialModel(
        _generator(network, mask, fill, residual, composite), discriminator,
        reconstruction_weight=reconstruction_weight, adversarial_weight=adversarial_weight,
        size_multiple=size_multiple, name="pix2pix",
    )  # fmt: skip


def _generator(
    network: keras.Model, mask: bool, fill: Fill, residual: bool, composite: bool
) -> keras.Model:
    """The network between the image contract on both sides."""
    x = keras.Input((None, None, 4 if mask else 3), name="x")
    photos, seen = filled("pix2pix", x, fill)
    if network.name == "unet":
        seen = to_signed("to_signed")(seen)
    answer = network(seen)
    if residual:
        restored = Residual(name="residual")(photos, answer)
    else:
        restored = from_signed("from_signed")(answer)
    return composed(x, restored, composite)
