"""Several processes that train one run together, on loopback."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from kit import ROWS, draw_alike, stepped_row

from tfrecon.base import checkpoint
from tfrecon.base.config import FitConfig
from tfrecon.base.errors import UserError, WorkerLost
from tfrecon.training import preparation, workers
from tfrecon.training.workers import VARIABLE, Worker, at_work, this_worker

MULTI = FitConfig(strategy="multiworker")
TWO = {"worker": ["a:1", "b:1"]}
TINY = [
    "--strategy", "multiworker", "--model", "residual_unet", "--data", "folder", "--root", "photos",
    *itertools.chain.from_iterable(("--set", setting) for setting in (
        "model.width=4", "fit.precision=float32", "data.image_size=32",
        "data.load_size=32", "data.val_size=32", "data.crop_size=32", "fit.batch_size=2",
        "data.damage={name='boxes',size=8}",
    )),
]  # fmt: skip


SOON = ["-c", """
import sys
from tfrecon.base.cli import start_tensorflow
start_tensorflow()
from tfrecon import fit
from tfrecon.training import state
state.GOOD_STEPS = 10
sys.exit(fit.main())
"""]  # fmt: skip
"""The verb, which writes a state of several workers after fewer steps."""


def place(cluster: Any, kind: str, index: int) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "worker"),
    [
        (TWO, "worker", 1, Worker(1, 2)),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "chief", 0, Worker(0, 2)),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "worker", 0, Worker(1, 2)),
    ],
)
def test_variable_says_who_this_is(
    cluster: Any, kind: str, index: int, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, place(cluster, kind, index))
    assert this_worker(MULTI) == worker
    assert this_worker(FitConfig()) == Worker(0, 1), "other strategies do not look at it"


@pytest.mark.parametrize(
    "text",
    [None, "", "{", "[]", "{}", place(TWO, "worker", 2), place(TWO, "ps", 0),
     place(TWO, "worker", -1), place({"worker": 3}, "worker", 0)],
)  # fmt: skip
def test_another_variable_is_refused(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(UserError, match=r"who trains together.*set it for each process"):
        this_worker(MULTI)


def test_minutes_are_refused(tmp_path: Path) -> None:
    config = tiny_runs.config(tmp_path, strategy="multiworker", minutes=1, steps=None)
    with pytest.raises(UserError, match="give --steps instead"):
        preparation.check_settings(config)


def test_other_workers_have_copies_and_speak_of_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    with pytest.raises(UserError) as said, at_work(Worker(1, 2), run) as own:
        assert own != run and (own / "config.json").read_text() == "{}"
        print("hidden")
        raise UserError(f"{own / 'state.npz'} is damaged")
    assert str(said.value) == f"{run / 'state.npz'} is damaged"
    assert not own.exists() and [path.name for path in run.iterdir()] == ["config.json"]
    assert "hidden" not in capfd.readouterr().out
    with at_work(Worker(0, 2), run) as own:
        assert own == run


def ports(count: int) -> list[int]:
    """Free ones, which stay free for a moment."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found


def pair(commands: list[list[str]], folder: Path) -> list[subprocess.Popen[str]]:
    """Two processes that know of each other."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports(2)]}
    root = str(Path(workers.__file__).parents[2])
    return [
        subprocess.Popen(
            [sys.executable, *command], cwd=folder, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": root, VARIABLE: place(cluster, "worker", index)},
        )
        for index, command in enumerate(commands)
    ]  # fmt: skip


def said(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [process.communicate(timeout=300)[0] for process in processes]


@pytest.mark.slow
def test_two_workers_take_the_step_of_one_device_with_every_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = str(Path(__file__).with_name("workers.py"))
    both = pair([[script, "0"], [script, "1"]], tmp_path)
    told = said(both)
    assert [process.returncode for process in both] == [0, 0], told
    draw_alike(monkeypatch)
    for name in ROWS:
        # Step by step, which takes a fifth of the time that its graph is made in.
        alone = stepped_row(name, tf.distribute.get_strategy(), traced=False)
        for who in "01":
            weights = np.load(tmp_path / who / f"{name}.npz")
            for one, key in zip(alone, weights, strict=True):
                np.testing.assert_allclose(weights[key], one, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_lost_worker_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    """One worker is killed once there is a state; all are started again, and end with the weights
    of a run that was never stopped."""
    fakes.photo_folder(tmp_path / "photos", 40)
    begin = [*SOON, *TINY, "--steps", "40", "--set", "fit.steps_per_epoch=20", "--run"]
    whole = pair([[*begin, "whole"]] * 2, tmp_path)
    told = said(whole)
    assert [process.returncode for process in whole] == [0, 0], told
    assert "worker 1 of 2; worker 0 keeps the run checkpoints/whole" in told[1]

    both = pair([[*begin, "lost"]] * 2, tmp_path)
    state = tmp_path / "checkpoints" / "lost" / "state.npz"
    while not state.exists() and both[1].poll() is None:
        time.sleep(0.05)
    both[1].send_signal(signal.SIGKILL)
    left, _ = said(both)
    assert both[0].returncode == WorkerLost.code, left
    assert "one of the 2 workers is lost" in left
    again = pair([[*SOON, "--run", "lost", "--resume"]] * 2, tmp_path)
    told = said(again)
    assert [process.returncode for process in again] == [0, 0], told
    arrays = [
        checkpoint.load(tmp_path / "checkpoints" / name / "state.npz")[0]
        for name in ("lost", "whole")
    ]
    for name in arrays[0]:
        np.testing.assert_array_equal(*(state[name] for state in arrays), err_msg=name)


@pytest.mark.slow
def test_workers_that_begin_otherwise_are_told(tmp_path: Path) -> None:
    fakes.photo_folder(tmp_path / "photos", 40)
    given = ["-m", "tfrecon.fit", *TINY, "--steps", "2", "--run", "x", "--set"]
    both = pair([[*given, f"fit.seed={seed}"] for seed in (1, 2)], tmp_path)
    for text, process in zip(said(both), both, strict=True):
        assert process.returncode == 2 and "do not begin alike" in text, text
    assert not (tmp_path / "checkpoints" / "x" / "config.json").exists()


@pytest.mark.slow
def test_workers_of_ray_end_with_the_weights_of_one_process(tmp_path: Path) -> None:
    """One of two actors is killed once there is a state."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    fakes.photo_folder(tmp_path / "photos", 40)
    begin = [
        sys.executable,
        "-m",
        "tfrecon.fit",
        *TINY[2:],
        "--steps",
        "120",
        "--set",
        "fit.optimizer=sgd",
    ]
    begin += ["--set", "fit.precision=float32", "--set", "fit.steps_per_epoch=60", "--run"]
    environment = {**os.environ, "PYTHONPATH": str(Path(workers.__file__).parents[2])}
    command = [*begin, "two", "--on", "ray", "--workers", "2"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        state, killed = tmp_path / "checkpoints" / "two" / "state.npz", False
        while not killed and run.poll() is None:
            time.sleep(0.05)
            for process in Path("/proc").glob("[0-9]*") if state.exists() else ():
                with contextlib.suppress(OSError):
                    words = (process / "cmdline").read_bytes()
                    if b"tfrecon.fit" in words and (process / "cwd").resolve() == tmp_path:
                        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                        if int(parent) != os.getpid():
                            os.kill(int(parent), signal.SIGKILL)
                            killed = True
                            break
        text, errors = run.communicate(timeout=400)
    assert run.returncode == 0 and killed, text + errors
    assert errors == "warning: a worker is lost (ActorDiedError); all workers begin again\n"
    assert "2 replicas" in text and "all metrics, notes and pictures: checkpoints/two" in text
    assert not list((tmp_path / "checkpoints").glob(".*")), "the workers' logs are gone"
    alone = [*begin, "one", "--strategy", "none"]
    subprocess.run(alone, cwd=tmp_path, env=environment, check=True, capture_output=True)
    one, two = (
        checkpoint.load(tmp_path / "checkpoints" / name / "state.npz")[0] for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name in one:
        if name.startswith("model/"):
            np.testing.assert_allclose(one[name], two[name], atol=1e-5, err_msg=name)
