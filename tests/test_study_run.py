"""Studies as a user runs them: killed, gone on with, failing, verified; and cells of the 44."""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import fakes
import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecon import study as verb
from tfrecon.base import checkpoint, files
from tfrecon.models import build_model
from tfrecon.studies.matrix import read_study
from tfrecon.training.preparation import compile_model
from tfrecon.training.run import complete

REPOSITORY = Path(__file__).parents[1]

STUDY = """
title = "Two widths of a small network"
[data]
recipe = "folder"
damage = "gaussian_noise"
image_size = 32
crop_size = 32
load_size = 32
[fit]
steps = 40
steps_per_epoch = 20
batch_size = 2
loss = "l1"
checkpoint_seconds = 0
precision = "float32"
[[axes]]
name = "width"
key = "model"
values = [{ name = "residual_unet", width = 4 }, { name = "nafnet", width = 4 }]
[[axes]]
name = "size"
key = "data.val_size"
values = [32]
"""
BAD = (
    STUDY
    + """
[[axes]]
name = "crop"
values = [{ name = "whole" }, { name = "odd", data = { crop_size = 30 } }]
"""
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    fakes.photo_folder(tmp_path / "photos", 20)
    (tmp_path / "own.toml").write_text(STUDY.replace('"folder"', '"folder"\nroot = "photos"'))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # of the cells, which are processes
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def study(here, capsys):
    """Runs the verb in this process, which saves its start; its cells have their own."""

    def run(*extra):
        code = verb.main([str(here / "own.toml"), *extra])
        said = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)

    return run


def processes_in(folder):
    """Cells that run with `folder` as their working folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            if b"tfrecon.studies.worker" in words and (path / "cwd").resolve() == folder:
                found.append(path)
        except OSError:
            continue
    return found


def killed_once(here, until):
    """Starts the study and kills it, and it alone, as soon as a file like `until` is there."""
    command = [sys.executable, "-m", "tfrecon.study", "own.toml"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list(here.glob(f"checkpoints/own/*/{until}")):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    lock = (here / "checkpoints" / "own" / files.LOCK).open("w")
    with lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    first.send_signal(signal.SIGKILL)
    first.wait()
    while processes_in(here):
        assert time.monotonic() < deadline, "its cells end with it"
        time.sleep(0.02)


@pytest.mark.slow
def test_an_interrupted_study_goes_on_and_a_failing_cell_stops_no_other(
    here, study, usual_handlers
):
    """It is interrupted before its first checkpoint, with the cell that it trains."""
    text = BAD.replace('"folder"', '"folder"\nroot = "photos"')
    text = text.replace("steps = 40", "minutes = 0.02").replace("_seconds = 0", "_seconds = 900")
    text = text.replace("steps_per_epoch = 20", "steps_per_epoch = 100000")
    (here / "own.toml").write_text(text)

    def interrupt():
        deadline = time.monotonic() + 200
        while not list(here.glob("checkpoints/own/*/config.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    done = study("--only", "residual_unet-*")
    assert done.returncode == 130 and "stopped by Ctrl-C" in done.stderr
    assert list(here.glob("checkpoints/own/*/config.json")), "a cell had begun"
    assert not list(here.glob("checkpoints/own/*/state.npz")) and not processes_in(here)

    done = study("--only", "residual_unet-*")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "error: 1 of 2 cells failed, for the reasons above: residual_unet-32-odd" in done.stderr
    assert "residual_unet-32-odd: failed: data.crop_size must be a multiple of" in done.stderr
    assert "residual_unet-32-whole: PSNR" in done.stdout
    page = (here / "checkpoints" / "own" / "report.html").read_text()
    assert "data.crop_size must be a multiple of" in page, "the report says why"
    # The minutes that it was given are still known, though it was begun twice.
    other = study("--minutes-per-run", "3", "--report-only")
    assert other.returncode == 2
    assert "has fit.minutes = 0.02, not 3.0; give the same --set" in other.stderr


@pytest.mark.slow
def test_a_killed_study_goes_on_and_its_report_can_be_trusted(here, study):
    folder = here / "checkpoints" / "own"
    killed_once(here, "state.npz")
    (cut,) = folder.glob("*/state.npz")
    reached = checkpoint.load_note(cut)["step"]
    assert 0 < reached < 40, "it was killed in the middle of its first cell"
    assert not (folder / "report.html").exists()
    log = folder / "output" / f"{cut.parent.name}.txt"
    before = len(log.read_text())

    done = study("--jobs", "2" if len(os.sched_getaffinity(0)) > 1 else "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "residual_unet-32" in done.stdout and "[2/2]" in done.stdout
    said = log.read_text()[before:]
    assert "/40 [" in said and " 0/40" not in said, "it went on where it was"
    for name in ("report.html", "report.md", "leaderboard.csv", "pairs.csv", "ablations.csv"):
        assert (folder / name).stat().st_size, name
    with (folder / "leaderboard.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert {"residual_unet-32", "nafnet-32", "damaged input"} <= set(rows)
    assert float(rows["nafnet-32"]["multiply_adds"]) > 0
    assert float(rows["nafnet-32"]["train_memory_gib"]) > 0

    weights = {path: path.stat().st_mtime_ns for path in folder.glob("*/best.npz")}
    again = study()
    assert again.returncode == 0 and "2 of 2 cells are finished already" in again.stdout
    assert weights == {path: path.stat().st_mtime_ns for path in folder.glob("*/best.npz")}

    verified = study("--verify", "nafnet-32")
    assert verified.returncode == 0, verified.stderr
    assert "nafnet-32: all" in verified.stdout and "repeat" in verified.stdout
    scores = folder / "nafnet-32" / "report" / "per_image.csv"
    lines = scores.read_text().splitlines()
    head, one = lines[0].split(","), lines[1].split(",")
    one[head.index("psnr")] = "31.5"
    scores.write_text("\n".join([lines[0], ",".join(one), *lines[2:]]) + "\n")
    tampered = study("--verify", "nafnet-32")
    assert tampered.returncode == 2 and "does not repeat: psnr" in tampered.stderr

    (folder / "nafnet-32" / "run.json").write_text("{")
    damaged = study("--report-only")
    assert damaged.returncode == 0, damaged.stderr
    assert "Without a result: nafnet-32 (1)." in damaged.stdout
    assert "holds a damaged run" in (folder / "report.html").read_text()

    (here / "own.toml").write_text(
        (here / "own.toml").read_text().replace("steps = 40", "steps = 50")
    )
    changed = study("--report-only")
    assert changed.returncode == 2
    assert "has fit.steps = 40, not 50; give the same" in changed.stderr

    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    board = EventMultiplexer().AddRunsFromDirectory(str(folder))
    parts = ("", "/train", "/validation", "/test")
    shown = {f"{cell}/logs{part}" for cell in ("residual_unet-32", "nafnet-32") for part in parts}
    assert shown == set(board.Runs())


FOUR = """
[[axes]]
name = "rate"
key = "fit.learning_rate"
values = [1e-3, 1e-4]
"""


@pytest.mark.slow
def test_a_study_on_ray_goes_on_where_a_worker_is_killed(here):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with (here / "own.toml").open("a") as file:
        file.write(FOUR)
    command = [sys.executable, "-m", "tfrecon.study", "own.toml", "--on", "ray"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        deadline, killed = time.monotonic() + 400, None
        while killed is None and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
            for cell in (
                processes_in(here) if list(here.glob("checkpoints/own/*/state.npz")) else []
            ):
                parent = (cell / "stat").read_text().rpartition(")")[2].split()[1]
                killed = (cell / "cmdline").read_bytes().split(b"\0")[4].decode()
                os.kill(int(parent), signal.SIGKILL)
                break
        said, errors = run.communicate(timeout=400)
    assert run.returncode == 0, said + errors
    name = Path(killed).name
    assert f"{name}: its worker is lost (WorkerCrashedError); will be tried again" in errors
    assert errors.count("\n") == 1, "and nothing of Ray's own"
    assert "[4/4]" in said
    log = (here / "checkpoints" / "own" / "output" / f"{name}.txt").read_text()
    assert log.count(" 0/40") == 1, "it went on where it was"
    with (here / "checkpoints" / "own" / "leaderboard.csv").open() as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert names > {f"{m}-32-{r}" for m in ("residual_unet", "nafnet") for r in (0.001, 0.0001)}
    assert not processes_in(here)


@pytest.mark.slow
def test_a_search_is_a_study(here, study):
    pytest.importorskip("optuna", reason="the extra search is not installed")
    path = here / "own.toml"
    path.write_text(
        path.read_text().replace("steps = 40", "steps = 4").replace("_epoch = 20", "_epoch = 2")
        + FOUR.replace("values = [1e-3, 1e-4]", "low = 1e-4\nhigh = 1e-2")
        + "[search]\ntrials = 2\n"
    )
    done = study()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trial000-" in done.stdout and "[2/2]" in done.stdout
    with (here / "checkpoints" / "own" / "leaderboard.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["name"].startswith("trial")]
    assert len(rows) == 2 and all(1e-4 <= float(row["rate"]) <= 1e-2 for row in rows)
    path.write_text(path.read_text().replace("trials = 2", "trials = 3"))
    more = study()
    assert more.returncode == 0, more.stdout + more.stderr
    assert "2 of 3 cells are finished already" in more.stdout and "[3/3]" in more.stdout
    assert more.stdout.count(": begun") == 1
    assert study("--verify", rows[0]["name"]).returncode == 0


def without_weights(model):
    found = {**model, "weights": "none"} if "sources" not in model else dict(model)
    if "sources" in found:
        found["sources"] = [{**source, "weights": "none"} for source in found["sources"]]
    return found


CELLS = read_study(REPOSITORY / "configs" / "studies" / "feature_inversion_44.toml").cells[::3]
"""Every third of the 44: each value of each axis is among them."""


def test_the_cells_that_take_a_step_show_every_value_of_the_study():
    study = read_study(REPOSITORY / "configs" / "studies" / "feature_inversion_44.toml")
    for axis, labels in study.axes.items():
        assert {cell.labels[axis] for cell in CELLS} == set(labels)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_cells_of_the_44_build_and_take_a_step(cell, eagerly):
    tables = json.loads(json.dumps(cell.tables))
    tables["model"] = without_weights(tables["model"])
    tables["fit"] |= {"loss": "mse", "batch_size": 2}  # LPIPS needs its weights
    config = complete(tables)
    keras.backend.clear_session()
    model = build_model(config.model, image_size=64, mask=False, seed=0)
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    model.adapt([images], len(images))
    compile_model(model, config.fit, 10, tf.distribute.get_strategy())
    before = [np.asarray(variable) for variable in model.trainable_variables]
    logs = model.train_on_batch(images, images, return_dict=True)
    assert np.isfinite(logs["loss"])
    after = [np.asarray(variable) for variable in model.trainable_variables]
    moved = sum(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert moved > len(before) / 2, "a step moves most of its variables"
    assert model(images).shape == images.shape
