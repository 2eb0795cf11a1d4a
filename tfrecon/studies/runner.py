"""Trains the cells of a study that have no result yet, each in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tfrecon.base.config import merged
from tfrecon.base.errors import UserError
from tfrecon.metrics.measures import MEASURES, main_column
from tfrecon.reports.comparison import REPORT, Scored, has_report, read_report
from tfrecon.studies.matrix import OUTPUT, Cell
from tfrecon.training.run import STATE, check_same_settings, open_run

REMEDY = (
    "give the same --root, --set and --minutes-per-run as before, or delete its folder to train "
    "the cell anew"
)

INDIFFERENT = {
    "data": ("root", "cache", "cache_dir"), "fit": ("checkpoint_seconds",)
}  # fmt: skip
"""Settings that do not change a result: those of a cell that is there stay as they are."""

POLL_SECONDS = 0.2
USER_MISTAKE = 2


@dataclass
class _Running:
    cell: Cell
    process: subprocess.Popen[bytes]
    cores: list[int]
    started: float
    log: Path
    said_before: int
    """Bytes of the log that earlier attempts wrote."""


def result(cell: Cell, folder: Path) -> Scored | None:
    """The result of a cell in a study's folder; None where it has none yet.

    Raises UserError for a damaged run or report, and where the run was trained with other settings
    than the cell has now.
    """
    path = folder / cell.name
    if not (path / STATE).is_file():
        return None
    run = open_run(path)
    recorded = run.config.to_dict()
    kept = {section: {key: recorded[section][key] for key in keys}
            for section, keys in INDIFFERENT.items()}  # fmt: skip
    check_same_settings(merged(cell.tables, kept), run, REMEDY)
    return read_report(run.path / REPORT, [run])[0] if has_report(run) else None


def train(cells: Sequence[Cell], folder: Path, jobs: int) -> dict[str, str]:
    """Trains those of the cells that have no result, `jobs` at a time, the cores divided between
    them; returns why cells failed, by name.

    A cell that was stopped goes on where it was. A cell that dies of anything but a mistake in its
    settings or data is tried a second time. Raises UserError for more jobs than cores and while
    another process trains the same study.
    """
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= jobs <= len(cores):
        raise UserError(f"--jobs must lie between 1 and {len(cores)}, the cores here, not {jobs}")
    free = [cores[n * len(cores) // jobs : (n + 1) * len(cores) // jobs] for n in range(jobs)]
    failed: dict[str, str] = {}
    again: set[str] = set()
    running: list[_Running] = []
    with _locked(folder), _ended_at_last(running):
        waiting = _unfinished(cells, folder, failed)

        def finished() -> int:
            return len(cells) - len(waiting) - len(running) - len(failed)

        if finished():
            print(f"{finished()} of {len(cells)} cells are finished already")
        while waiting or running:
            while waiting and free:
                running.append(_start(waiting.pop(0), folder, free.pop(0)))
                print(f"{running[-1].cell.name}: begun", flush=True)
            time.sleep(POLL_SECONDS)
            for ended in [job for job in running if job.process.poll() is not None]:
                running.remove(ended)
                free.append(ended.cores)
                _close(ended)
                name, reason = ended.cell.name, _failure(ended, folder)
                if not reason:
                    print(f"{_said(ended, folder)} [{finished()}/{len(cells)}]", flush=True)
                elif ended.process.returncode != USER_MISTAKE and name not in again:
                    again.add(name)
                    waiting.append(ended.cell)
                    print(f"{name}: {reason}; will be tried again", file=sys.stderr)
                else:
                    failed[name] = reason
                    print(f"{name}: failed: {reason}", file=sys.stderr)
    return failed


@contextlib.contextmanager
def _ended_at_last(running: Sequence[_Running]) -> Iterator[None]:
    """Kills the cells that still run when a mistake or an interrupt ends the study."""
    try:
        yield
    finally:
        for job in running:
            job.process.kill()
            job.process.wait()
            _close(job)


def _unfinished(cells: Sequence[Cell], folder: Path, failed: dict[str, str]) -> list[Cell]:
    """The cells without a result; puts those that can have none into `failed`, and says why."""
    waiting: list[Cell] = []
    for cell in cells:
        try:
            if result(cell, folder) is None:
                waiting.append(cell)
        except UserError as error:
            failed[cell.name] = str(error)
            print(f"{cell.name}: {error}", file=sys.stderr)
    return waiting


def _start(cell: Cell, folder: Path, cores: list[int]) -> _Running:
    log = folder / OUTPUT / f"{cell.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    said_before = log.stat().st_size if log.exists() else 0
    environment = {**os.environ, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}  # cells share a GPU
    command = [sys.executable, "-m", "tfrecon.studies.worker", str(folder / cell.name)]
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
    # Before it starts a thread: threads take the cores of the one that starts them.
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(process.pid, cores)
    stdin = cast(IO[bytes], process.stdin)  # which stays open: the cell ends when it closes
    with contextlib.suppress(BrokenPipeError):  # it has failed already, and says why
        stdin.write(json.dumps(cell.tables).encode() + b"\n")
        stdin.flush()
    return _Running(cell, process, cores, time.monotonic(), log, said_before)


def _close(job: _Running) -> None:
    with contextlib.suppress(BrokenPipeError):
        cast(IO[bytes], job.process.stdin).close()


def _failure(job: _Running, folder: Path) -> str | None:
    """Why a process that has ended has no result; None where it has a result."""
    code, log = job.process.returncode, job.log
    said = log.read_bytes()[job.said_before :].decode(errors="replace")
    lines = [line for line in said.splitlines() if line.strip()]
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"stopped by {name}{hint}; see {log}"
    if code:
        errors = [line for line in lines if line.startswith("error: ")]
        last = errors[-1].removeprefix("error: ") if errors else (lines or ["no output"])[-1]
        return f"{' '.join(last.split())} (see {log})"
    try:
        return None if result(job.cell, folder) else f"ended without a report; see {log}"
    except UserError as error:
        return str(error)


def _said(job: _Running, folder: Path) -> str:
    """The score of a finished cell and how long it took."""
    scored, score = result(job.cell, folder), "no result"
    if scored:
        measure = MEASURES[main_column(scored.means)]
        score = f"{measure.region_label} {measure.number(scored.means[measure.column])}"
    return f"{job.cell.name}: {score}, {(time.monotonic() - job.started) / 60:.1f} min"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The study's folder, held by this process alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process trains the study in {str(folder)!r}; wait for it, or stop it"
            ) from None
        yield
