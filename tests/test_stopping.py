"""How a training ends before its time: by a signal, by values that are not finite, and not at all
by another process in its folder."""

import math
import os
import shlex
import shutil
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_runs import assert_equal_states, config

from tfrecon import fit
from tfrecon.base import checkpoint, files
from tfrecon.base.errors import Stopped, UserError
from tfrecon.base.system import signals_noted
from tfrecon.training import loop
from tfrecon.training.progress import SampleGrid

pytestmark = pytest.mark.usefixtures("usual_handlers")


def test_two_trainings_do_not_share_a_folder(tmp_path, photos, plain):
    with files.claimed(tmp_path / "run"), pytest.raises(files.Taken, match="another process works"):
        loop.train(config(photos), tmp_path / "run")
    shutil.copytree(plain.path, tmp_path / "again")
    before = everything_below(tmp_path / "again")
    with pytest.raises(files.Taken, match="again' exists; go on with --resume, or choose another"):
        loop.train(config(photos), tmp_path / "again")
    for name in ("state.npz", "state-before.npz"):
        (tmp_path / "again" / name).unlink()
        del before[name]
    for resume in (False, True):
        with pytest.raises(UserError, match="--run"):
            loop.train(config(photos), tmp_path / "again", resume=resume)
    assert everything_below(tmp_path / "again") == before


def everything_below(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class At(keras.callbacks.Callback):
    """Calls `action` with the model after step `step`."""

    def __init__(self, step, action):
        super().__init__()
        self.step, self.action, self.steps = step, action, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.step:
            self.action(self.model)


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGTERM, 4), (signal.SIGINT, 3), (signal.SIGINT, 8)]
)
def test_a_signal_saves_at_the_next_step_and_the_run_goes_on(tmp_path, photos, plain, number, step):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    settings, path = config(photos, checkpoint_seconds=10**6), tmp_path / "stopped"
    killer = At(step, lambda model: os.kill(os.getpid(), number))
    sentence = f"stopped by {number.name} at step {step}; go on with python -m tfrecon.fit --run "
    with pytest.raises(Stopped, match=sentence) as stop:
        loop.train(settings, path, callbacks=[killer])
    assert stop.value.number == number
    assert checkpoint.load(path / "state.npz")[1]["step"] == step, "saved, long before it was due"
    assert_equal_states(loop.train(settings, path, resume=True), plain)
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def test_a_second_signal_stops_at_once():
    with pytest.raises(KeyboardInterrupt), signals_noted() as noted:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert noted == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals_noted() as noted:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
    assert noted == [] and signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_state_that_is_not_finite_takes_no_good_ones_place(tmp_path, photos):
    def spoil(model):
        model.trainable_variables[-1].assign(np.nan * model.trainable_variables[-1])

    for step in (5, 8):  # inside, and after the last
        path = tmp_path / str(step)
        with pytest.raises(UserError, match=f"the model is not finite at step {step}; begin"):
            loop.train(config(photos, sentinel=False), path, callbacks=[At(step, spoil)])
        assert checkpoint.load(path / "state.npz")[1]["step"] == step - 1
        for name in ("state.npz", "best.npz"):
            arrays = checkpoint.load(path / name)[0].values()
            assert all(np.isfinite(array).all() for array in arrays)


def test_a_validation_that_is_not_finite_is_no_best_one(tmp_path, photos, monkeypatch):
    values = iter((math.nan, 20.0, 30.0, math.nan))

    def replaced(self, epoch, logs):
        logs["val_psnr"] = next(values)

    monkeypatch.setattr(SampleGrid, "on_epoch_end", replaced, raising=False)
    run = loop.train(config(photos), tmp_path / "run")
    assert checkpoint.load(run.path / "best.npz")[1] == {"step": 8, "val_psnr": 30.0}
    with pytest.raises(UserError, match="val_psnr was finite after none of the epochs"):
        loop.train(config(photos, steps=2), tmp_path / "none")


def test_a_stop_after_training_names_the_command_that_goes_on(tmp_path, monkeypatch, capsys):
    def stopped(runs, **options):
        raise Stopped("stopped by SIGTERM after 1 of 2 photos", signal.SIGTERM, True)

    monkeypatch.setattr(loop, "train", lambda config, path, **options: path)
    monkeypatch.setattr("tfrecon.reports.evaluation.evaluate_runs", stopped)
    run = str(tmp_path / "my run")
    words = ["--model", "pix2pix", "--data", "demo", "--run", run, "--skip-unreadable"]
    assert fit.main(words) == 143
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith(f"; go on with python -m tfrecon.evaluate '{run}' --skip-unreadable")
    )


def test_a_stop_before_the_first_step_names_the_command(tmp_path, monkeypatch, capsys, photos):
    """SIGTERM while TensorFlow starts, while photos are decoded, and once the run is there."""
    monkeypatch.chdir(tmp_path)
    words = ["--model", "pix2pix", "--data", "folder", "--root", str(photos), "--run", "x"]
    words += ["--steps", "1", "--set", "data.image_size=32", "--set", "model.base_filters=4"]
    words += ["--set", "data.damage={name='boxes', size=8}"]

    def struck(*_, **options):
        os.kill(os.getpid(), signal.SIGTERM)

    for module, name, remedy in (
        (fit, "start_tensorflow", shlex.join(words)),
        (loop, "load_data", shlex.join(words)),
        (loop.Checkpoint, "begin", "--run checkpoints/x --resume"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, struck)
            assert fit.main(words) == 143
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == f"stopped by SIGTERM; go on with python -m tfrecon.fit {remedy}"
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert Path("checkpoints/x/config.json").exists() == remedy.endswith("--resume")
