"""Runs: exact resume, segments, checkpoints, moving average, what a run leaves behind."""

import csv
import errno
import json
from collections import Counter
from pathlib import Path

import fakes
import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import assert_equal_states, config, interrupted, state

from tfrecon.base import checkpoint, images
from tfrecon.base.config import from_tables, merged
from tfrecon.base.errors import UserError
from tfrecon.reports.evaluation import evaluate_runs
from tfrecon.training import datasets, loop, preparation
from tfrecon.training.ema import MovingAverage
from tfrecon.training.progress import SampleGrid
from tfrecon.training.run import Run, check_same_settings, open_run
from tfrecon.training.state import kept_variables


@pytest.fixture(scope="module")
def short(tmp_path_factory, photos):
    """A run of one epoch of 3 steps: its best weights are the average of the last step."""
    return loop.train(config(photos, steps=3), tmp_path_factory.mktemp("short") / "run")


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_stopped_run_ends_as_if_it_had_never_stopped(tmp_path, monkeypatch, photos, step):
    settings = config(photos, early_stopping_patience=9, reduce_on_plateau_patience=1)
    whole = loop.train(settings, tmp_path / "whole")
    interrupted(monkeypatch, settings, tmp_path / "stopped", step)
    resumed = loop.train(settings, tmp_path / "stopped", resume=True)
    assert_equal_states(resumed, whole)
    assert state(resumed)[1] == state(whole)[1]
    for name in ("history.csv", "best.npz"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_batches_are_brought_to_the_one_gpu_ahead_and_change_nothing(
    tmp_path, monkeypatch, photos, plain
):
    listed, seen = tf.config.list_logical_devices, []
    gpu = listed("CPU")[1]
    monkeypatch.setattr(
        tf.config,
        "list_logical_devices",
        lambda kind=None: [gpu] if kind == "GPU" else listed(kind),
    )
    original = loop.on_device

    def looked_at(*of):
        batches = original(*of)
        x, y = next(iter(batches))[:2]
        seen.extend([x.device, y.device])
        return batches

    monkeypatch.setattr(loop, "on_device", looked_at)
    run = loop.train(config(photos), tmp_path / "run")
    assert seen and all(device.endswith("CPU:1") for device in seen)
    assert_equal_states(run, plain)
    batches, mirrored = tf.data.Dataset.range(2), tf.distribute.MirroredStrategy(["CPU:0"])
    assert original(batches, mirrored) is batches, "which is distributed by Keras"


def test_without_the_random_generators_a_resumed_run_differs(tmp_path, monkeypatch, photos, plain):
    settings = config(photos)
    interrupted(monkeypatch, settings, tmp_path / "stopped", 4)
    path = tmp_path / "stopped" / "state.npz"
    arrays, note = checkpoint.load(path)
    groups: dict[str, list[np.ndarray]] = {}
    for name in sorted(arrays):
        generator = name.startswith("model/") and np.issubdtype(arrays[name].dtype, np.integer)
        value = np.array([arrays[name][0], 0]) if generator else arrays[name]
        groups.setdefault(name.split("/")[0], []).append(value)
    checkpoint.save(path, groups, note)
    resumed = loop.train(settings, tmp_path / "stopped", resume=True)
    mine, theirs = state(resumed)[0], state(plain)[0]
    assert any(not np.array_equal(mine[name], array) for name, array in theirs.items())


def test_what_a_run_leaves_behind(plain):
    run = plain
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "config.json", "run.json", "state.npz", "state-before.npz", "best.npz", "history.csv",
        "samples.png", "progress.webp", "progress", "logs", "time.json",
    }  # fmt: skip
    rows = list(csv.DictReader((run.path / "history.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["3", "6", "8"]
    assert {"val_psnr", "val_ssim", "val_reconstruction", "discriminator"} <= rows[0].keys()
    assert images.read(run.path / "samples.png").shape[1] == 3 * 32
    opened = open_run(run.path)
    assert opened.config == run.config and opened.has_mask
    assert opened.train_minutes and opened.train_minutes < 10
    x = np.zeros((1, 32, 32, 4), np.float32)
    assert opened.load_model()(x).shape == (1, 32, 32, 3)


def test_best_weights_are_the_moving_average(short):
    # One epoch: the best checkpoint is the last, so it must hold the average, not the raw weights.
    run = short
    arrays = state(run)[0]
    best = checkpoint.load(run.path / "best.npz")[0]
    for name, array in best.items():
        np.testing.assert_array_equal(array, arrays[name.replace("model", "average")])
    raw = [arrays[name] for name in sorted(arrays) if name.startswith("model/")]
    assert not np.array_equal(best["model/0000"], raw[0])


def test_the_time_of_a_resumed_run_goes_on(tmp_path, monkeypatch, photos):
    interrupted(monkeypatch, config(photos), tmp_path / "run", 4)
    (tmp_path / "run" / "time.json").write_text('{"train_seconds": 600}')
    resumed = loop.train(config(photos), tmp_path / "run", resume=True)
    assert resumed.train_minutes and 10 < resumed.train_minutes < 20


def test_what_the_moving_average_gains_is_told(tmp_path, photos, short):
    run = short
    report = evaluate_runs([run], compare_ema=True, baselines=False)
    assert {method for method, _ in report.summary} == {"pix2pix", "pix2pix, without EMA"}
    # One epoch: the best weights are the last step's average.
    model = run.load_model()
    gain = report.summary["pix2pix", "hole_psnr"].mean
    gain -= report.summary["pix2pix, without EMA", "hole_psnr"].mean
    assert (
        report.verdicts[-1].replace("−", "-").startswith(f"pix2pix: {gain:+.2f} dB by EMA weights")
    )
    raw = [variable.numpy() for variable in kept_variables(model)]
    arrays = state(run)[0]
    checkpoint.assign(run.path / "state.npz", arrays, {"model": kept_variables(model)})
    after = [variable.numpy() for variable in kept_variables(model)]
    assert any(not np.array_equal(a, b) for a, b in zip(raw, after, strict=True))
    plain = loop.train(config(photos, steps=1, ema_decay=0.0), tmp_path / "plain")
    with pytest.raises(UserError, match="kept no moving average"):
        evaluate_runs([plain], compare_ema=True)


def test_moving_average_follows_its_formula():
    weight = keras.Variable(np.float32(1.0))
    average = MovingAverage([weight], 0.5)
    expected = 1.0
    for update, value in enumerate((2.0, 3.0, 5.0, 7.0)):
        weight.assign(value)
        average.on_train_batch_end(0)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * value
    assert float(average.variables[0]) == pytest.approx(expected, rel=1e-6)
    average.on_test_begin()
    assert float(weight) == pytest.approx(expected, rel=1e-6)
    average.on_test_end()
    assert float(weight) == 7.0


def test_segments_cover_every_step_once():
    assert list(loop.segments(0, 8, 3)) == [(0, 2, 3), (6, 1, 2)]
    assert list(loop.segments(4, 8, 3)) == [(4, 1, 2), (6, 1, 2)]
    assert list(loop.segments(4, 12, 3)) == [(4, 1, 2), (6, 2, 3)]
    assert list(loop.segments(0, 2, 3)) == [(0, 1, 2)]
    assert list(loop.segments(8, 8, 3)) == []


def quick_calibration(monkeypatch):
    monkeypatch.setattr(preparation, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(preparation, "CALIBRATION_SECONDS", 0.2)


def test_minutes_and_auto_stay_as_asked_and_a_run_records_what_they_became(
    tmp_path, photos, monkeypatch
):
    quick_calibration(monkeypatch)
    asked = config(photos, steps=None, minutes=0.02, precision="auto")
    timed = loop.train(asked, tmp_path / "timed")
    opened = open_run(timed.path)
    assert opened.config == asked and opened.facts == timed.facts
    steps, precision = opened.facts["steps"], opened.facts["precision"]
    assert steps >= 1 and precision in ("float32", "bfloat16")
    assert set(opened.facts["calibration"]) == {"seconds_per_step", "seconds_per_validation"}
    assert state(timed)[1]["step"] == steps
    check_same_settings({"fit": asked.to_dict()["fit"]}, opened)
    check_same_settings({"fit": {"minutes": 0.02}}, opened)
    for fit in ({"steps": steps}, {"minutes": 3}, {"precision": precision}):
        with pytest.raises(UserError, match=r"has fit\.(minutes|precision) = (0\.02|'auto'), not"):
            check_same_settings({"fit": fit}, opened)
    # The calibration leaves no trace: a run of so many steps ends with the same weights.
    counted = loop.train(config(photos, steps=steps, precision=precision), tmp_path / "counted")
    assert_equal_states(timed, counted)
    # A run that is resumed before its first checkpoint keeps its number of steps.
    for name in ("state.npz", "state-before.npz", "best.npz"):
        (timed.path / name).unlink()
    monkeypatch.setattr(loop, "measured_pace", None)
    assert loop.train(asked, timed.path, resume=True).facts["steps"] == steps


def old_format(run, minutes=None):
    """Rewrites the run's JSON files as they were before the configuration was kept as asked."""
    content = run.config.to_dict()
    content["fit"] |= {"minutes": None, "epochs": None, "steps": run.facts["steps"] or None,
                       "precision": run.facts["precision"]}  # fmt: skip
    new = ("format", "precision", "calibration")
    facts = {key: value for key, value in run.facts.items() if key not in new}
    (run.path / "config.json").write_text(json.dumps(content))
    (run.path / "run.json").write_text(json.dumps({**facts, "minutes": minutes}))


def test_a_run_of_the_old_format_is_opened_and_goes_on(tmp_path, photos, monkeypatch):
    quick_calibration(monkeypatch)
    settings = config(photos, precision="auto")
    whole = loop.train(settings, tmp_path / "whole")
    interrupted(monkeypatch, settings, tmp_path / "old", 4)
    old_format(open_run(tmp_path / "old"))
    opened = open_run(tmp_path / "old")
    assert opened.config.fit.precision == opened.facts["precision"] == whole.facts["precision"]
    assert opened.load_model()(np.zeros((1, 32, 32, 4), np.float32)).shape == (1, 32, 32, 3)
    check_same_settings({"fit": settings.to_dict()["fit"]}, opened)
    other = "float32" if opened.facts["precision"] == "bfloat16" else "bfloat16"
    for fit, key in (({"steps": 9}, "steps"), ({"precision": other}, "precision")):
        with pytest.raises(UserError, match=f"has fit.{key} = "):
            check_same_settings({"fit": fit}, opened)
    resumed = loop.train(opened.config, opened.path, resume=True)
    assert_equal_states(resumed, whole)

    old_format(whole, minutes=3)
    opened = open_run(whole.path)
    assert (opened.config.fit.minutes, opened.config.fit.steps) == (3, None)
    assert opened.facts["steps"] == 8
    check_same_settings({"fit": {"minutes": 3}}, opened)
    with pytest.raises(UserError, match=r"has fit\.minutes = 3, not 4"):
        check_same_settings({"fit": {"minutes": 4}}, opened)
    old_format(Run(whole.path, settings, {**whole.facts, "steps": 0}))  # solved for
    check_same_settings({"fit": settings.to_dict()["fit"]}, open_run(whole.path))


def test_a_run_decodes_each_photo_once(tmp_path, photos, monkeypatch):
    quick_calibration(monkeypatch)
    decoded = []

    def counting(path, page, read=images.decoded, **options):
        if photos in Path(path).parents:  # a frame of the animation is read again
            decoded.append(path)
        return read(path, page, **options)

    monkeypatch.setattr(images, "decoded", counting)
    settings = config(photos, steps=None, minutes=0.02, steps_per_epoch=2)
    run = loop.train(settings, tmp_path / "run", probe=True)
    assert run.facts["steps"] >= 1
    assert len(decoded) == len(set(decoded)) == 12
    decoded.clear()
    inversion = {"name": "feature_inversion", "weights": None}
    inversion["decoder"] = {"name": "linear", "kernel_size": 1}
    tables = {**settings.to_dict(), "model": inversion}
    tables["data"]["damage"] = "identity"
    loop.train(from_tables(tables), tmp_path / "solved")
    assert len(decoded) == len(set(decoded)) == 12, "fitting a closed form decodes none again"


def test_without_a_cache_in_memory_photos_are_decoded_for_the_check_and_in_training(
    tmp_path, photos, monkeypatch
):
    decoded = Counter()

    def counting(path, page, read=images.decoded):
        decoded[path] += 1
        return read(path)

    monkeypatch.setattr(images, "decoded", counting)
    tables = config(photos).to_dict()
    data = datasets.load_data(from_tables(merged(tables, {"data": {"cache": "none"}})))
    assert not data.decoded and set(decoded.values()) == {1}
    on_disk = from_tables(merged(tables, {"data": {"cache": "disk", "cache_dir": str(tmp_path)}}))
    data = datasets.load_data(on_disk)
    for _ in range(2):
        datasets.training_batches(on_disk, data)
    assert not data.decoded and {decoded[sample.target] for sample in data.train} == {3}


class Counting(keras.callbacks.Callback):
    """Adds its number of steps to the values of an epoch."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def on_epoch_end(self, epoch, logs=None):
        logs["seen"] = self.steps


def test_callbacks_of_the_user_are_called_before_history_and_checkpoint(
    tmp_path, monkeypatch, photos, plain
):
    settings = config(photos)
    seen = Counting()
    stop = keras.callbacks.EarlyStopping("seen", mode="min", patience=1)
    run = loop.train(settings, tmp_path / "run", callbacks=[seen, stop])
    rows = list(csv.DictReader((run.path / "history.csv").read_text().splitlines()))
    assert [row["seen"] for row in rows] == ["3.0", "6.0"] and seen.steps == 6
    assert state(run)[1]["stopped"], "the checkpoint has seen that a callback stopped the training"

    interrupted(monkeypatch, settings, tmp_path / "stopped", 4)
    patient = keras.callbacks.EarlyStopping("val_psnr", mode="max", patience=9)
    resumed = loop.train(settings, tmp_path / "stopped", resume=True,
                         callbacks=[Counting(), patient])  # fmt: skip
    assert_equal_states(resumed, plain)
    assert len(state(resumed)[1]["counters"]) == 1, "those of a user's EarlyStopping are kept"


def test_the_counters_of_the_stoppers_survive_a_stop(tmp_path, monkeypatch, photos):
    def worsens(self, epoch, logs):
        logs["val_psnr"] = -float(epoch)  # Keras hands one dictionary to all callbacks

    monkeypatch.setattr(SampleGrid, "on_epoch_end", worsens, raising=False)
    settings = config(photos, steps=30, early_stopping_patience=3, reduce_on_plateau_patience=2)
    interrupted(monkeypatch, settings, tmp_path / "run", 7)  # both have waited one epoch
    run = loop.train(settings, tmp_path / "run", resume=True)
    rows = list(csv.DictReader((run.path / "history.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["3", "6", "9", "12"]
    rates = [float(row["learning_rate"]) for row in rows]
    # A row has the rate that its epoch was trained with: reduced at the end of the third.
    np.testing.assert_allclose(rates, [2e-4, 2e-4, 2e-4, 1e-4], rtol=1e-6)
    assert checkpoint.load(run.path / "best.npz")[1]["step"] == 3
    loop.train(settings, tmp_path / "run", resume=True)
    assert state(run)[1]["step"] == 12, "stopped early, it stays stopped"


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    checkpoint.save(path, {"model": [np.arange(3)]}, {"step": 1})
    real = np.savez

    def full(file, **arrays):
        real(file, **arrays)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, {"model": [np.arange(4)]}, {"step": 2})
    assert checkpoint.load(path)[1] == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


def test_bad_checkpoints_are_refused(tmp_path):
    path = tmp_path / "state.npz"
    with pytest.raises(UserError, match="does not exist"):
        checkpoint.load(path)
    checkpoint.save(path, {"model": [np.zeros((2, 3))]}, {})
    arrays, _ = checkpoint.load(path)
    with pytest.raises(UserError, match=r"another model: 'model/0000' should be \(2, 4\)"):
        checkpoint.assign(path, arrays, {"model": [tf.Variable(np.zeros((2, 4)))]})
    with pytest.raises(UserError, match="'model/0001' should be"):
        checkpoint.assign(path, arrays, {"model": [tf.Variable(np.zeros((2, 3)))] * 2})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="is truncated or damaged"):
        checkpoint.load(path)


@pytest.mark.slow
def test_replicas_train_and_resume(tmp_path, monkeypatch, eagerly):
    photos = fakes.photo_folder(tmp_path / "photos", 30)
    settings = config(photos, strategy="mirrored")
    monkeypatch.setattr(preparation, "distribution", lambda fit: two_replicas())
    whole = loop.train(settings, tmp_path / "whole")
    assert whole.facts["replicas"] == 2
    interrupted(monkeypatch, settings, tmp_path / "stopped", 4)
    resumed = loop.train(settings, tmp_path / "stopped", resume=True)
    assert_equal_states(resumed, whole)


def two_replicas():
    from kit import two_replicas

    return two_replicas()


def test_mirrored_takes_every_device(photos, monkeypatch):
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", list)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    shared_by = preparation.distribution(
        config(photos, strategy="mirrored", batch_size=2 * 3 * 4).fit
    )
    assert shared_by == [device.name for device in devices]
    alone = preparation.distribution(config(photos, strategy="none").fit)
    assert alone is tf.distribute.get_strategy()


def test_a_batch_that_replicas_cannot_share_is_refused(photos):
    with pytest.raises(UserError, match="cannot be shared by 2 replicas"):
        preparation.distribution(config(photos, strategy="mirrored", batch_size=3).fit)
