"""Commands that are killed at chosen and at random points end as if nothing had happened."""

import json

import fakes
import pytest
from harness import RANDOM, Fault, assert_same, chain, command
from kit import ROWS

from tfrecon.models import MODELS
from tfrecon.training import loop
from tfrecon.training.run import open_run

POINTS = [
    Fault("SIGKILL", "rename", "config.json"),
    Fault("torn write", "write", "state.npz"),
    Fault("SIGKILL", "rename", "state.npz", 2),
    Fault("SIGTERM", "write", "state.npz"),
    # Both in the epoch that is the first to have best weights: there may be no better ones later.
    Fault("full disk", "write", "best.npz"),
    Fault("SIGKILL", "rename", "best.npz"),
    Fault("SIGKILL", "open", "state.npz"),
    Fault("full disk", "fsync", "state.npz", 2),
    Fault("SIGINT", "fsync", "state.npz", 2),
    Fault("SIGKILL", "any", nth=RANDOM),
    Fault("SIGKILL", "any", nth=RANDOM),
    Fault("SIGKILL", "rename", "per_image.csv"),
    Fault("full disk", "write", "per_image.csv"),
]
"""Where each model is struck, one after the other, in processes that go on in between."""


def settings(model, photos):
    """What trains a model in 8 steps of three epochs on 32 pixels."""
    row = ROWS[model]
    damage = '{name = "boxes", size = 8}' if True in row.masks else '"identity"'
    options = {**row.options, **row.drawing}
    given = {
        **{f"model.{key}": json.dumps(value) for key, value in options.items()},
        "data.root": json.dumps(str(photos)), "data.image_size": 32, "data.damage": damage,
        "data.crop_size": 32, "data.load_size": 32,
        "fit.steps": 8, "fit.batch_size": 4, "fit.steps_per_epoch": 3, "fit.ema_decay": 0.9,
        "fit.checkpoint_seconds": 0, "fit.monitor": '"val_psnr"',
    }  # fmt: skip
    sets = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    return ["tfrecon.fit", "--model", model, "--data", "folder", "--run", "run", *sets]


@pytest.mark.fault
@pytest.mark.parametrize("model", MODELS)
def test_a_model_ends_as_if_nothing_had_happened(tmp_path, model, table, fault_seed):
    begin = settings(model, fakes.photo_folder(tmp_path / "photos", 12))
    whole, struck = tmp_path / "whole", tmp_path / "struck"
    whole.mkdir()
    struck.mkdir()
    plain = command(begin, whole)
    assert plain.code == 0, plain.stderr
    folder = struck / "checkpoints" / "run"

    def go_on():
        is_run = (folder / "config.json").exists()
        return ["tfrecon.fit", "--run", "run", "--resume"] if is_run else begin

    chain(
        begin, struck, POINTS, table(model), go_on=go_on, seed=f"{fault_seed} {model}",
        most=len(plain.events) // 6,
    )  # fmt: skip
    assert_same(struck, whole)


def test_a_killed_training_ends_as_if_nothing_had_happened(tmp_path):
    """The short part: the other trainings are this process's, which saves their start."""
    photos = fakes.photo_folder(tmp_path / "photos", 12)
    done = command(
        settings("pix2pix", photos), tmp_path, [Fault("SIGKILL", "open", "state.npz", 5)]
    )
    assert done.code == -9, done.stderr
    struck = tmp_path / "checkpoints" / "run"
    config = open_run(struck).config
    whole = loop.train(config, tmp_path / "whole")
    loop.train(config, struck, resume=True)
    for run in (whole.path, struck):
        (run / "run.json").unlink()  # tells of the processes
    assert_same(struck, whole.path)
