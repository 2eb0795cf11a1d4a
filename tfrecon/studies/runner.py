"""Trains the cells of a study that have no result yet, each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

from tfrecon.base import files, platforms
from tfrecon.base.config import merged
from tfrecon.base.errors import UserError
from tfrecon.metrics.measures import MEASURES, main_column
from tfrecon.reports.comparison import REPORT, Scored, has_report, read_report
from tfrecon.studies.matrix import OUTPUT, Cell
from tfrecon.training.run import check_same_settings, has_state, open_run

REMEDY = (
    "give the same --set and --minutes-per-run as before, or delete its folder to train "
    "the cell anew"
)

INDIFFERENT = {
    "data": ("cache",), "fit": ("checkpoint_seconds",)
}  # fmt: skip
"""Settings that do not change a result and are no places: those of a cell that is there stay as
they are."""

POLL_SECONDS = 0.2
USER_MISTAKE = 2


def result(cell: Cell, folder: Path) -> Scored | None:
    """The result of a cell in a study's folder; None where it has none yet.

    Raises UserError for a damaged run or report, and where the run was trained with other settings
    than the cell has now.
    """
    path = folder / cell.name
    if not has_state(path):
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
    cores = platforms.cores()
    if not 1 <= jobs <= len(cores):
        raise UserError(f"--jobs must lie between 1 and {len(cores)}, the cores here, not {jobs}")
    shares = [cores[n * len(cores) // jobs : (n + 1) * len(cores) // jobs] for n in range(jobs)]
    failed: dict[str, str] = {}
    ended = threading.Event()
    with files.claimed(folder), futures.ThreadPoolExecutor(
        # A process takes over the cores of the thread that starts it.
        jobs, initializer=lambda: platforms.keep_to(shares.pop())
    ) as pool:  # fmt: skip
        files.remove_leftovers(folder)  # of its report
        waiting = _unfinished(cells, folder, failed)
        if finished := len(cells) - len(waiting) - len(failed):
            print(f"{finished} of {len(cells)} cells are finished already")
        again: set[str] = set()
        try:
            tried = {pool.submit(_attempt, cell, folder, ended): cell for cell in waiting}
            while tried:
                # With a limit: Polars lets an interrupt resume a wait, not end it.
                done, _ = futures.wait(tried, POLL_SECONDS, futures.FIRST_COMPLETED)
                for future in done:
                    cell, (code, score, reason) = tried.pop(future), future.result()
                    if not reason:
                        finished += 1
                        print(f"{cell.name}: {score} [{finished}/{len(cells)}]", flush=True)
                    elif code != USER_MISTAKE and cell.name not in again:
                        again.add(cell.name)
                        tried[pool.submit(_attempt, cell, folder, ended)] = cell
                        print(f"{cell.name}: {reason}; will be tried again", file=sys.stderr)
                    else:
                        failed[cell.name] = reason
                        print(f"{cell.name}: failed: {reason}", file=sys.stderr)
        finally:  # a mistake or an interrupt ends the cells that still run
            ended.set()
            pool.shutdown(cancel_futures=True)
    return failed


def _attempt(cell: Cell, folder: Path, ended: threading.Event) -> tuple[int, str, str]:
    """Trains a cell in a process, which is killed when the study has `ended`. Returns the exit
    code, the score with the time, and the reason why there is none; one of both texts is empty."""
    print(f"{cell.name}: begun", flush=True)
    started, log = time.monotonic(), folder / OUTPUT / f"{cell.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        "TF_NUM_INTRAOP_THREADS": str(len(platforms.cores())), **os.environ,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # cells share a GPU
    }  # fmt: skip
    command = [sys.executable, "-m", "tfrecon.studies.worker", str(folder / cell.name)]
    # Before it starts: both processes move one and the same place in the file.
    said_before = log.stat().st_size if log.exists() else 0
    # Its input stays open as long as it runs: a cell ends when its study is gone.
    with log.open("ab") as file, subprocess.Popen(
        [*command, json.dumps(cell.tables)], env=environment, stdin=subprocess.PIPE, stdout=file,
        stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        while (code := process.poll()) is None:
            if ended.wait(POLL_SECONDS):
                process.kill()
                process.wait()
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return code, "", f"stopped by {name}{hint}; see {log}"
    if code:
        said = log.read_bytes()[said_before:].decode(errors="replace")
        lines = [line for line in said.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        last = errors[-1].removeprefix("error: ") if errors else (lines or ["no output"])[-1]
        return code, "", f"{' '.join(last.split())} (see {log})"
    try:
        scored = result(cell, folder)
    except UserError as error:
        return code, "", str(error)
    if not scored:
        return code, "", f"ended without a report; see {log}"
    measure = MEASURES[main_column(scored.means)]
    score = f"{measure.region_label} {measure.number(scored.means[measure.column])}"
    if scored.cost.failed:
        score += f", failed on {scored.cost.failed:g} images"
    return code, f"{score}, {(time.monotonic() - started) / 60:.1f} min", ""


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
