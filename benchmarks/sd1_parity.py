"""Compares the Stable Diffusion networks with diffusers', at small widths with random weights.

    python benchmarks/sd1_parity.py reference FILE.npz     # needs torch and diffusers
    python benchmarks/sd1_parity.py compare FILE.npz       # needs tfrecon

The first writes weights, inputs and outputs; the second loads the weights by name and prints the
largest difference divided by the largest value. The two libraries do not fit one environment.
"""

from __future__ import annotations

import sys

import numpy as np

UNET = {"widths": (32, 64, 96, 96), "heads": 4, "groups": 16, "context": 24}
VAE = {"widths": (16, 32, 48, 48), "groups": 8}
SIZE, WORDS = 16, 7


def reference(path: str) -> None:
    """Writes what diffusers computes."""
    import torch  # pyright: ignore[reportMissingImports]
    from diffusers import (  # pyright: ignore[reportMissingImports]
        AutoencoderKL,
        UNet2DConditionModel,
    )

    torch.manual_seed(0)
    model = UNet2DConditionModel(
        sample_size=SIZE, in_channels=4, out_channels=4, block_out_channels=UNET["widths"],
        layers_per_block=2, cross_attention_dim=UNET["context"], attention_head_dim=UNET["heads"],
        norm_num_groups=UNET["groups"],
    ).eval()  # fmt: skip
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, block_out_channels=VAE["widths"], layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4, norm_num_groups=VAE["groups"],
    ).eval()  # fmt: skip
    for module in (model, vae):
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.data.normal_(0.5, 0.2)
    random = np.random.default_rng(0)
    noisy = random.standard_normal((2, 4, SIZE, SIZE)).astype(np.float32)
    text = random.standard_normal((2, WORDS, UNET["context"])).astype(np.float32)
    t = np.float32([10.0, 700.0])
    images = random.random((2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        noise = model(torch.tensor(noisy), torch.tensor(t), torch.tensor(text)).sample
        moments = vae.encode(2 * torch.tensor(images) - 1).latent_dist.parameters
        decoded = vae.decode(moments[:, :4]).sample / 2 + 0.5
    arrays = {f"unet/{k}": v.numpy() for k, v in model.state_dict().items()}
    arrays |= {f"vae/{k}": v.numpy() for k, v in vae.state_dict().items()}
    np.savez(
        path, **arrays, noisy=noisy, text=text, t=t, images=images, noise=noise.numpy(),
        moments=moments.numpy(), decoded=decoded.numpy(),
    )  # fmt: skip


def compare(path: str) -> None:
    """Prints how far ours is from it."""
    import keras

    from tfrecon.backbones.backbone import assign
    from tfrecon.models import stable_diffusion as sd1

    with np.load(path) as archive:
        found = dict(archive)

    def part(name: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(f"{name}/"): v for k, v in found.items() if k.startswith(name)}

    def picture(name: str) -> np.ndarray:
        return found[name].transpose(0, 2, 3, 1)

    def told(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
        print(f"{name}: {worst:.1e} of the largest value")

    inputs = [keras.Input((None, None, 4)), keras.Input(()), keras.Input((None, UNET["context"]))]
    options = {k: v for k, v in UNET.items() if k != "context"}
    model = keras.Model(inputs, sd1.unet(inputs=inputs, **options))
    assign(model, part("unet"), "the file")
    told("UNet", model([picture("noisy"), found["t"] / 1000, found["text"]]), picture("noise"))
    encoder, decoder = sd1.encoder(**VAE), sd1.decoder(**VAE)
    assign(encoder, part("vae"), "the file")
    assign(decoder, part("vae"), "the file")
    moments = picture("moments")
    told("encoder", encoder(picture("images")), moments)
    told("decoder", decoder(moments[..., :4]), picture("decoded"))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("reference", "compare"):
        sys.exit(__doc__)
    {"reference": reference, "compare": compare}[sys.argv[1]](sys.argv[2])
