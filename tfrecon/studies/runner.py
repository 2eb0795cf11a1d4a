"""Trains the cells of a study that have no result yet, each in a process of its own."""

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tfrecon.base import files
from tfrecon.base.config import merged
from tfrecon.base.errors import UserError
from tfrecon.metrics.measures import MEASURES, main_column
from tfrecon.reports.comparison import REPORT, Scored, has_report, read_report
from tfrecon.studies.launchers import Launcher, Lost
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
USER_MISTAKE, LOST = 2, 256
"""Exit codes: the latter no process has."""


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


def train(cells: Sequence[Cell], folder: Path, launcher: Launcher) -> dict[str, str]:
    """Trains those of the cells that have no result, as many at a time as the launcher runs;
    returns why cells failed, by name.

    A cell that was stopped goes on where it was. A cell that dies of anything but a mistake in its
    settings or data is tried a second time, and as often as its machine is lost. Raises UserError
    while another process trains the same study.
    """
    failed: dict[str, str] = {}
    with files.claimed(folder):
        files.remove_leftovers(folder)  # of its report
        waiting = _unfinished(cells, folder, failed)
        if finished := len(cells) - len(waiting) - len(failed):
            print(f"{finished} of {len(cells)} cells are finished already")
        again: set[str] = set()
        running: list[_Attempt] = []
        try:
            while waiting or running:
                while waiting and len(running) < launcher.jobs:
                    running.append(_Attempt(waiting.pop(0), folder, launcher))
                time.sleep(POLL_SECONDS)
                for attempt in [*running]:
                    if (ended := attempt.ended()) is None:
                        continue
                    running.remove(attempt)
                    cell, (code, score, reason) = attempt.cell, ended
                    if not reason:
                        finished += 1
                        print(f"{cell.name}: {score} [{finished}/{len(cells)}]", flush=True)
                    elif code == LOST or (code != USER_MISTAKE and cell.name not in again):
                        again |= {cell.name} if code != LOST else set()
                        waiting.append(cell)
                        print(f"{cell.name}: {reason}; will be tried again", file=sys.stderr)
                    else:
                        failed[cell.name] = reason
                        print(f"{cell.name}: failed: {reason}", file=sys.stderr)
        finally:  # a mistake or an interrupt ends the cells that still run
            for attempt in running:
                launcher.stop(attempt.job)
    return failed


class _Attempt:
    """A cell that is being trained."""

    def __init__(self, cell: Cell, folder: Path, launcher: Launcher) -> None:
        print(f"{cell.name}: begun", flush=True)
        self.cell, self._folder, self._launcher = cell, folder, launcher
        self._log = folder / OUTPUT / f"{cell.name}.txt"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        # Before it starts: both processes move one and the same place in the file.
        self._said_before = self._log.stat().st_size if self._log.exists() else 0
        self._started = time.monotonic()
        arguments = [str(folder / cell.name), json.dumps(cell.tables)]
        self.job = launcher.start(arguments, self._log)

    def ended(self) -> tuple[int, str, str] | None:
        """The exit code, the score with the time, and the reason why there is none, one of both
        texts being empty; None while it runs."""
        try:
            code = self._launcher.poll(self.job)
        except Lost as error:
            return LOST, "", str(error)
        except UserError as error:
            return USER_MISTAKE, "", str(error)
        if code is None:
            return None
        if code < 0:
            name = signal.Signals(-code).name
            hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
            return code, "", f"stopped by {name}{hint}; see {self._log}"
        if code:
            said = self._log.read_bytes()[self._said_before :].decode(errors="replace")
            lines = [line for line in said.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("error: ")]
            last = errors[-1].removeprefix("error: ") if errors else (lines or ["no output"])[-1]
            return code, "", f"{' '.join(last.split())} (see {self._log})"
        try:
            scored = result(self.cell, self._folder)
        except UserError as error:
            return code, "", str(error)
        if not scored:
            return code, "", f"ended without a report; see {self._log}"
        return code, self._told(scored), ""

    def _told(self, scored: Scored) -> str:
        measure = MEASURES[main_column(scored.means)]
        score = f"{measure.region_label} {measure.number(scored.means[measure.column])}"
        if scored.cost.failed:
            score += f", failed on {scored.cost.failed:g} images"
        return f"{score}, {(time.monotonic() - self._started) / 60:.1f} min"


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
