"""Every model, in float16: steps whose gradients overflow are left out, and a stopped run ends as
if it had never stopped, to the bit."""

import csv

import fakes
import keras
import numpy as np
import pytest
from kit import ROWS
from tiny_runs import assert_equal_states, interrupted, state

from tfrecon.base.config import from_tables
from tfrecon.models import MODELS, defaults
from tfrecon.training import loop


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return fakes.photo_folder(tmp_path_factory.mktemp("photos"), 12)


class Overflow(keras.callbacks.Callback):
    """Gives the loss a scale, for the second step of an epoch, with which every gradient
    overflows."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.dynamic_scale.assign(2.0 ** (126 if batch == 1 else 8))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_stopped_run_ends_as_if_it_had_never_stopped(
    tmp_path, monkeypatch, photos, eagerly, model
):
    row = ROWS[model]
    damage = {"name": "boxes", "size": 8} if True in row.masks else "identity"
    optimizer = defaults(model)["fit"].get("optimizer", "adam")
    config = from_tables({
        "model": {"name": model, **row.options, **row.drawing},
        "data": {"recipe": "folder", "root": str(photos), "image_size": 32, "damage": damage},
        "fit": {"steps": 5, "batch_size": 4, "steps_per_epoch": 3, "ema_decay": 0.9,
                "checkpoint_seconds": 0, "optimizer": optimizer, "monitor": "val_psnr",
                "precision": "float16"},
    })  # fmt: skip
    whole = loop.train(config, tmp_path / "whole", callbacks=[Overflow()])
    with (whole.path / "history.csv").open() as file:
        scales = [float(row["loss_scale"]) for row in csv.DictReader(file)]
    assert scales == [2.0**8, 2.0**125], "the overflow halved it"
    assert "incidents" not in whole.facts
    assert all(np.isfinite(array).all() for array in state(whole)[0].values())
    interrupted(monkeypatch, config, tmp_path / "stopped", 2, callbacks=[Overflow()])
    resumed = loop.train(config, tmp_path / "stopped", resume=True, callbacks=[Overflow()])
    assert state(resumed)[1]["step"] == state(whole)[1]["step"] == 5
    assert_equal_states(resumed, whole)
