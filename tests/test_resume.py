"""Every model: a stopped run ends as if it had never stopped, to the bit."""

import fakes
import numpy as np
import pytest
from test_training import interrupted

from tfrecon.base import checkpoint
from tfrecon.base.config import from_tables
from tfrecon.models import DEFAULTS, MODELS
from tfrecon.training import loop

FEATURES = {"backbone": "vgg16", "taps": ["block2"], "weights": "none"}
SMALL = {
    "pix2pix": {"base_filters": 4, "discriminator_filters": 4, "dropout": 0.5},
    "feature_inversion": {**FEATURES, "decoder": "transposed_conv"},
    "feature_gan": {**FEATURES, "width": 8, "discriminator_filters": 4, "noise_channels": 2},
    "autoencoder": {"width": 8, "depth": 1, "discriminator_filters": 4},
    "diffusion": {"width": 8, "steps": 2},
    "residual_unet": {"width": 8},
    "nafnet": {"width": 4},
    "inpainting_unet": {"width": 8},
    "skip_vae": {"base_filters": 4, "latent": 4},
    "restoration_gan": {"base_filters": 4, "discriminator_filters": 4},
}
WHOLE = ("feature_inversion", "feature_gan", "autoencoder")
"""Models that see undamaged images."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return fakes.photo_folder(tmp_path_factory.mktemp("photos"), 12)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_stopped_run_ends_as_if_it_had_never_stopped(tmp_path, monkeypatch, photos, model):
    damage = "identity" if model in WHOLE else {"name": "boxes", "size": 8}
    optimizer = DEFAULTS[model]["fit"].get("optimizer", "adam")
    config = from_tables({
        "model": {"name": model, **SMALL[model]},
        "data": {"recipe": "folder", "root": str(photos), "image_size": 32, "damage": damage},
        "fit": {"steps": 8, "batch_size": 4, "steps_per_epoch": 3, "ema_decay": 0.9,
                "checkpoint_seconds": 0, "optimizer": optimizer, "monitor": "val_psnr"},
    })  # fmt: skip
    whole = loop.train(config, tmp_path / "whole")
    interrupted(monkeypatch, config, tmp_path / "stopped", 4)
    resumed = loop.train(config, tmp_path / "stopped", resume=True)
    found, note = checkpoint.load(resumed.path / "state.npz")
    expected, theirs = checkpoint.load(whole.path / "state.npz")
    assert note["step"] == theirs["step"] == 8 and found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
