"""Local weights of Stable Diffusion 1.x, as diffusers saves them, for the networks of that name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrecon.backbones.backbone import assign, torch_names
from tfrecon.base import weights
from tfrecon.base.errors import UserError
from tfrecon.networks.stable_diffusion import LATENT_CHANNELS

FILE = "diffusion_pytorch_model.safetensors"
OLD_NAMES = {
    ".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0.",
}  # fmt: skip
"""What the attention of the autoencoder was called when version 1.5 was saved."""


def load_denoiser(denoiser: keras.Model, folder: str) -> None:
    """Puts ``unet/`` of a folder into a `sd1_denoiser`.

    The widened part of the first convolution starts at zero, so that the condition changes nothing
    at first. Raises UserError for a folder without the file and for arrays of another shape.
    """
    arrays = dict(_arrays(folder, "unet"))
    first = arrays.get("conv_in.weight")
    wide = tuple(denoiser.get_layer("conv_in").kernel.shape)[2]
    if first is not None and first.ndim == 4 and first.shape[1] == LATENT_CHANNELS:
        more = np.zeros((first.shape[0], wide - LATENT_CHANNELS, *first.shape[2:]), first.dtype)
        arrays["conv_in.weight"] = np.concatenate([first, more], axis=1)
    for name, variable in torch_names(denoiser).items():
        if name.startswith("vector_proj."):
            arrays[name] = np.zeros(tuple(variable.shape)[::-1], np.float32)
    assign(denoiser, arrays, f"model.sd1_weights, {folder}/unet,")


def load_autoencoder(encoder: keras.Model, decoder: keras.Model, folder: str) -> None:
    """Puts ``vae/`` of a folder into both halves. Raises UserError as `load_denoiser` does."""
    arrays: dict[str, Any] = {}
    for name, array in _arrays(folder, "vae").items():
        for old, new in OLD_NAMES.items():
            name = name.replace(old, new)
        arrays[name] = array
    for network in (encoder, decoder):
        assign(network, arrays, f"model.sd1_weights, {folder}/vae,")


def _arrays(folder: str, part: str) -> Mapping[str, Any]:
    path = Path(folder) / part / FILE
    if not path.is_file():
        raise UserError(
            f"model.sd1_weights = {folder!r} has no {part}/{FILE}; give the folder of Stable "
            "Diffusion 1.x as diffusers saves it, or leave the option out for random weights"
        )
    return weights.read(path)
