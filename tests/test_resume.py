"""Every model: a stopped run ends as if it had never stopped, to the bit."""

import fakes
import numpy as np
import pytest
from kit import ROWS
from tiny_runs import interrupted

from tfrecon.base import checkpoint
from tfrecon.base.config import from_tables
from tfrecon.models import MODELS, defaults
from tfrecon.training import loop


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return fakes.photo_folder(tmp_path_factory.mktemp("photos"), 12)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_stopped_run_ends_as_if_it_had_never_stopped(tmp_path, monkeypatch, photos, model):
    row = ROWS[model]
    damage = {"name": "boxes", "size": 8} if True in row.masks else "identity"
    optimizer = defaults(model)["fit"].get("optimizer", "adam")
    config = from_tables({
        "model": {"name": model, **row.options, **row.drawing},
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
