"""Commands that are killed at chosen and at random points end as if nothing had happened."""

import json
import shutil
import time

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


def goes_on(begin, run):
    """Gives what goes on with a training in the folder `run`: the command itself before there is
    one."""
    resume = ["tfrecon.fit", "--run", "run", "--resume"]
    return lambda: resume if (run / "config.json").exists() else begin


def assert_as_if_nothing_had_happened(run, whole):
    """A run of this process, which saves the start of another, is the same."""
    expected = loop.train(open_run(run).config, whole)
    for path in (expected.path, run):
        (path / "run.json").unlink()  # tells of the processes
    assert_same(run, expected.path)


@pytest.mark.fault
@pytest.mark.parametrize("model", MODELS)
def test_a_model_ends_as_if_nothing_had_happened(tmp_path, model, table, fault_seed):
    begin = settings(model, fakes.photo_folder(tmp_path / "photos", 12))
    whole, struck = tmp_path / "whole", tmp_path / "struck"
    whole.mkdir()
    struck.mkdir()
    plain = command(begin, whole)
    assert plain.code == 0, plain.stderr
    chain(
        begin, struck, POINTS, table(model), go_on=goes_on(begin, struck / "checkpoints" / "run"),
        seed=f"{fault_seed} {model}", most=len(plain.events) // 6,
    )  # fmt: skip
    assert_same(struck, whole)


def test_a_killed_training_ends_as_if_nothing_had_happened(tmp_path):
    """The short part."""
    photos = fakes.photo_folder(tmp_path / "photos", 12)
    fault = Fault("SIGKILL", "rename", "progress/000000006.png")
    done = command(settings("pix2pix", photos), tmp_path, [fault])
    assert done.code == -9, done.stderr
    struck = tmp_path / "checkpoints" / "run"
    loop.train(open_run(struck).config, struck, resume=True)
    assert_as_if_nothing_had_happened(struck, tmp_path / "whole")


@pytest.mark.slow
def test_a_training_killed_at_random_points_ends_as_if_nothing_had_happened(tmp_path):
    """Twice, at other points each time, in processes that go on by the command."""
    begin = settings("pix2pix", fakes.photo_folder(tmp_path / "photos", 12))
    here, anywhere = tmp_path / "here", Fault("SIGKILL", "any", nth=RANDOM)
    run = here / "checkpoints" / "run"
    here.mkdir()
    chain(
        begin, here, [anywhere] * 2, print, go_on=goes_on(begin, run), seed=time.time_ns(), most=60
    )
    for of_evaluation in ("report", "logs/test"):
        shutil.rmtree(run / of_evaluation)
    assert_as_if_nothing_had_happened(run, tmp_path / "whole")
