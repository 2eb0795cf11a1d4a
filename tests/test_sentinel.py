"""What a training does about steps that go wrong, and about files of a run that are damaged."""

import csv
import json
import os
import re
import shlex
import shutil
import signal

import fakes
import keras
import numpy as np
import pytest
from tiny_runs import assert_equal_states, config, state

from tfrecon import evaluate, export, fit
from tfrecon.base import checkpoint
from tfrecon.base.config import from_tables
from tfrecon.base.errors import Stopped, UserError
from tfrecon.data import pipeline
from tfrecon.training import loop
from tfrecon.training import state as states
from tfrecon.training.datasets import load_data
from tfrecon.training.progress import SampleGrid
from tfrecon.training.run import open_run
from tfrecon.training.sentinel import learns_nothing, of_one_colour


class Spoils(keras.callbacks.Callback):
    """A weight is NaN when step `step` begins, the first `times` times; signal at the end of step
    `stop`."""

    def __init__(self, step, times=1, stop=None):
        super().__init__()
        self.bad, self.times, self.stop = step, times, stop

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.bad - 1 and self.times:
            self.times -= 1
            self.model.trainable_variables[-1].assign(np.nan * self.model.trainable_variables[-1])

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.stop:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def often(monkeypatch):
    """Good states are taken every second step."""
    monkeypatch.setattr(states, "GOOD_STEPS", 2)


@pytest.mark.parametrize("schedule", ["constant", pytest.param("cosine", marks=pytest.mark.slow)])
def test_a_bad_step_is_undone_and_a_stop_before_or_after_changes_nothing(
    tmp_path, photos, often, capsys, schedule, request
):
    if schedule == "cosine":  # the other holds it in graphs
        request.getfixturevalue("eagerly")
    settings = config(photos, checkpoint_seconds=10**6, schedule=schedule)
    whole = loop.train(settings, tmp_path / "whole", callbacks=[Spoils(6)])
    batch = next(iter(pipeline.dataset(
        load_data(settings).train, settings.data, training=True, batch_size=2, seed=5, start_step=5
    )))  # fmt: skip
    ids = ", ".join(name.decode() for name in batch["id"].numpy())
    (sentence,) = whole.incidents
    assert sentence.endswith(
        f"is not finite at step 6 (photos: {ids}): training went back to step 4 with half the "
        "learning rate (1 of 3 times)"
    )
    assert f"warning: {sentence}" in capsys.readouterr().err
    assert open_run(whole.path).incidents == [sentence]
    rows = list(csv.DictReader((whole.path / "history.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["3", "6", "8"]
    if schedule == "constant":
        rates = [float(row["learning_rate"]) for row in rows]
        np.testing.assert_allclose(rates, [2e-4, 1e-4, 1e-4])
    for stop in (5,) if schedule == "constant" else (5, 7):
        path = tmp_path / str(stop)
        with pytest.raises(Stopped):
            loop.train(settings, path, callbacks=[Spoils(6, stop=stop)])
        after = [Spoils(6)] if stop == 5 else []
        resumed = loop.train(settings, path, resume=True, callbacks=after)
        assert_equal_states(resumed, whole)
        assert state(resumed)[1] == state(whole)[1]
        assert resumed.incidents == open_run(path).incidents == [sentence]


def test_after_three_returns_it_stops_with_the_evidence(tmp_path, photos):
    path = tmp_path / "run"
    with pytest.raises(UserError, match=r"at step 6 \(photos: .*\), after 3 returns to a good sta"):
        loop.train(config(photos), path, callbacks=[Spoils(6, times=9)])
    assert [sentence.count("went back to step 0") for sentence in open_run(path).incidents] == [
        1, 1, 1, 0
    ]  # fmt: skip
    for name in ("state.npz", "state-before.npz", "best.npz"):
        assert all(np.isfinite(array).all() for array in checkpoint.load(path / name)[0].values())


class StopsBadly(keras.callbacks.Callback):
    """Ends the training early after the second epoch, when its optimizer holds a NaN, once."""

    due = True

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and self.due:
            self.due = False
            self.model.stop_training = True
            self.model.optimizer.variables[-1].assign(np.nan * self.model.optimizer.variables[-1])


def test_an_early_stop_that_is_undone_is_none(tmp_path, photos, capsys):
    run = loop.train(config(photos), tmp_path / "run", callbacks=[StopsBadly()])
    assert "a value of the optimizer is not finite at step 6" in capsys.readouterr().err
    note = state(run)[1]
    assert (note["step"], note["stopped"]) == (8, False)


def test_a_model_solved_for_that_answers_no_numbers_is_told_of(tmp_path, photos, monkeypatch):
    tables = config(photos).to_dict()
    decoder = {"name": "linear", "kernel_size": 1}
    tables["model"] = {"name": "feature_inversion", "weights": None, "decoder": decoder}
    tables["data"]["damage"] = "identity"
    monkeypatch.setattr(keras.Model, "evaluate", lambda *_, **__: {"psnr": np.nan})
    for resume in (False, True):
        with pytest.raises(UserError, match=r"finite after none .* other data or options of the m"):
            loop.train(from_tables(tables), tmp_path / "run", resume=resume)


def test_a_model_that_begins_with_no_number_is_told_of(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(states.Checkpoint, "_groups", lambda self, model: {"model": [np.nan]})
    with pytest.raises(UserError, match="the model is not finite at step 0; repeat the command wi"):
        loop.train(config(photos), tmp_path / "run")
    with pytest.raises(UserError, match=r"at step 0; float16 ends at .*fit\.precision=float32 may"):
        loop.train(config(photos, precision="float16"), tmp_path / "half")


def test_trainings_that_learn_nothing_are_told_of_once(tmp_path, photos, monkeypatch, capsys):
    monkeypatch.setattr(
        SampleGrid, "on_epoch_end", lambda self, epoch, logs: logs.update(discriminator=0.002),
        raising=False,
    )  # fmt: skip
    run = loop.train(config(photos), tmp_path / "run")
    (sentence,) = run.incidents
    assert "at its floor (loss 0.002)" in sentence
    assert learns_nothing({"discriminator": 0.5}) is learns_nothing({}) is None
    assert capsys.readouterr().err.count(sentence) == 1

    random = np.random.default_rng(0).random((2, 8, 8, 3))
    grey = random.copy()
    grey[:, 2:4] = 0.5
    mask = np.zeros((2, 8, 8, 1))
    mask[:, 2:4] = 1
    assert of_one_colour(random, np.full_like(random, 0.3), random)
    assert of_one_colour(np.concatenate([random, mask], -1), grey, random), "inside the holes"
    assert of_one_colour(random, grey, random) is None
    assert of_one_colour(random, np.full_like(random, 0.3), np.full_like(random, 0.7)) is None


def rewritten(path, **changed):
    """Writes a checkpoint anew with other members, as a whole archive."""
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files} | changed
    with path.open("wb") as file:
        np.savez(file, **{name: array for name, array in members.items() if array is not None})


def test_a_checkpoint_is_what_was_written(tmp_path):
    path = tmp_path / "best.npz"
    checkpoint.save(path, {"model": [np.arange(3.0), np.float32(2)]}, {"step": 1})
    arrays, note = checkpoint.load(path)
    assert sorted(arrays) == ["model/0000", "model/0001"] and note == {"step": 1}
    for changed in (
        {"model/0000": np.array([0, 1, 2.5])}, {"model/0000": np.arange(3, dtype=np.float32)},
        {"model/0001": None}, {"model/0002": np.zeros(1)},
        {"note.json": np.frombuffer(b'{"step": 2}', np.uint8)},
    ):  # fmt: skip
        checkpoint.save(path, {"model": [np.arange(3.0), np.float32(2)]}, {"step": 1})
        rewritten(path, **changed)
        with pytest.raises(UserError, match="is truncated or damaged"):
            checkpoint.load(path)
    rewritten(path, blake2b=None)
    assert checkpoint.load(path)[1] == {"step": 2}, "those of older runs have no hash"


def found(path):
    pair = states.newest_states(path)
    assert pair
    return pair


def torn(path):
    path.write_bytes(path.read_bytes()[:-200])


def test_a_damaged_state_is_not_the_end(tmp_path, photos, plain, often, capsys):
    path = tmp_path / "run"
    with pytest.raises(Stopped):
        loop.train(config(photos), path, callbacks=[Spoils(0, stop=5)])
    copy = shutil.copytree(path, tmp_path / "copy")
    torn(path / "state.npz")
    assert_equal_states(loop.train(config(photos), path, resume=True), plain)
    said = "state.npz is damaged; going on from the one before, step 4"
    assert said in capsys.readouterr().out
    assert (path / "best.npz").read_bytes() == (plain.path / "best.npz").read_bytes()

    newest, good = found(copy)
    assert (newest[1]["step"], good[1]["step"]) == (5, 4) and not capsys.readouterr().out
    torn(copy / "state-before.npz")
    newest, good = found(copy)
    assert newest is good and newest[1]["step"] == 5
    said = "state-before.npz is damaged; going on from state.npz, step 5"
    assert said in capsys.readouterr().out
    torn(copy / "state.npz")
    with pytest.raises(UserError, match=r"damaged \(state.npz, state-before.npz\); put a copy in"):
        found(copy)


def test_best_weights_are_not_taken_for_worse_ones(tmp_path, photos, plain, capsys, monkeypatch):
    path = shutil.copytree(plain.path, tmp_path / "run")
    (path / "state.npz").unlink()
    checkpoint.save(path / "best.npz", {"model": [np.zeros(2)]}, {"step": 7, "val_psnr": 99.0})
    better = (path / "best.npz").read_bytes()
    held = []
    monkeypatch.setattr(loop, "newest_states", lambda path: held.append(found(path)) or held[0])
    loop.train(config(photos), path, resume=True)
    monkeypatch.undo()
    assert held == [[]], "what is put back is not held in memory"
    assert "state.npz is missing; going on from the one before, step 0" in capsys.readouterr().out
    assert (path / "best.npz").read_bytes() == better

    loop.train(config(photos), path, resume=True)
    assert "is finished: 8 of 8 steps are done" in capsys.readouterr().out


def command(text):
    """The arguments of the command that a sentence names."""
    return shlex.split(re.search(r"python -m tfrecon\.fit (.*?)(\)|;|$)", text)[1])


@pytest.mark.slow
def test_every_remedy_works(tmp_path, photos, monkeypatch, capsys, eagerly):
    """Each sentence about a run names what to do; that is done here, and works."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    arguments = shlex.split(
        "--model nafnet --data folder --root photos --steps 4 --set model.width=4 --set "
        "model.encoder=[1] --set model.decoder=[1] --set data.image_size=32 --set "
        "data.crop_size=32 --set data.load_size=32 --set data.damage.name=boxes --set "
        "data.damage.size=8 --set fit.batch_size=4 --set fit.steps_per_epoch=2 --set "
        "fit.checkpoint_seconds=0"
    )

    def fails(verb, *arguments):
        assert verb.main(list(arguments)) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    def works(verb, *arguments):
        assert verb.main(list(arguments)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    works(fit, *arguments, "--run", "base")
    base = tmp_path / "checkpoints" / "base"
    assert "exists; go on with --resume or choose another" in fails(
        fit, *arguments, "--run", "base"
    )
    said = works(fit, "--run", "base", "--resume")
    assert "is finished: 4 of 4 steps are done; lengthen it with" in said
    shutil.copytree("checkpoints/base", "kept-base")
    said = works(fit, *command(next(line for line in said.splitlines() if "lengthen" in line)))
    assert "lengthened at step 4 from 4 to 8 steps: " in said
    shutil.rmtree("checkpoints/base")
    os.rename("kept-base", "checkpoints/base")

    # best weights: damaged, then removed as told
    (base / "best.npz").write_bytes(b"torn")
    evaluation = str(base.relative_to(tmp_path))
    said = fails(evaluate, evaluation, "--no-slow")
    assert "put a copy in its place, or remove it and let" in said
    assert "or remove it and let" in fails(fit, "--run", "base", "--resume")
    (base / "best.npz").unlink()
    said = fails(evaluate, evaluation, "--no-slow")
    assert "has no weights yet; finish it with" in said
    assert "best.npz is missing: the best weights are chosen anew" in works(fit, *command(said))
    works(evaluate, evaluation, "--no-slow")

    # a run below another folder, opened from there
    monkeypatch.chdir(base.parent)
    (base / "best.npz").rename("kept")
    said = fails(export, "base")
    os.rename("kept", base / "best.npz")
    monkeypatch.chdir(tmp_path)
    works(fit, *command(said))

    # both states are damaged
    kept = {name: (base / name).read_bytes() for name in ("state.npz", "state-before.npz")}
    for name in kept:
        (base / name).write_bytes(b"torn")
    said = fails(fit, "--run", "base", "--resume")
    assert "(state.npz, state-before.npz); put a copy in its place, evaluate or export" in said
    assert "exists; go on with --resume" in fails(fit, *arguments, "--run", "base")
    works(evaluate, evaluation, "--no-slow")
    works(export, evaluation)
    for name in kept:
        (base / name).unlink()
    assert "evaluate or export it as it is" in fails(fit, "--run", "base", "--resume")
    for name, content in kept.items():
        (base / name).write_bytes(content)
    works(fit, "--run", "base", "--resume")

    # the data lies elsewhere; the content is the same
    os.rename("photos", "moved")
    resume = "--run", "base", "--resume"
    for verb, first in (evaluate, (evaluation, "--no-slow")), (fit, resume):
        assert "does not exist; give an existing one with --root DIR" in fails(verb, *first)
        works(verb, *first, "--root", "moved")
    works(fit, "--run", "base", "--resume")
    works(evaluate, evaluation, "--no-slow")
    shutil.copytree("moved", "other")
    fakes.save(tmp_path / "other" / "photo_0.jpg", fakes.photo(80, 96, seed=77))
    said = fails(fit, *resume, "--root", "other")
    assert "have changed since it began" in said and "restore them, or start another --run" in said
    assert json.loads((base / "config.json").read_text())["data"]["root"] == "moved"

    # diverged
    arguments = [*arguments, "--root", "moved", "--set", "fit.optimizer=sgd"]
    wild = [*arguments, "--set", "fit.learning_rate=1e30"]
    said = fails(fit, *wild, "--run", "wild")
    assert "begin another from its last good weights with python -m tfrecon.fit --from" in said
    assert "not finite" in fails(fit, "--run", "wild", "--resume")
    said = works(fit, *command(said))
    assert re.search(r"started from checkpoints/wild: (\d+) of \1 arrays", said)
    assert open_run("checkpoints/nafnet_folder").config.fit.learning_rate == 1e-4
    works(fit, *arguments, "--run", "tame", "--set", "fit.learning_rate=1e-4")
