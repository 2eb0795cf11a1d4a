"""Trains the cells of a study that have no result yet, each in a process of its own."""

import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

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


class Agenda(Protocol):
    """The cells that a study trains, which need not all be known before."""

    total: int
    finished: int

    def cells(self, folder: Path, failed: dict[str, str]) -> Iterator[Cell]:
        """Those that are still to be trained, each given when there is room for it. Puts the
        others that have no result into `failed`, by name, with the reason."""
        ...

    def gives_up(self, cell: Cell) -> str:
        """Why a cell that is being trained is ended now; nothing where it goes on."""
        ...

    def ended(self, cell: Cell, reason: str) -> None:
        """A cell has a result, or a `reason` why it has none."""
        ...


class Matrix:
    """Cells that are known from the start, but for those that have a result."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells, self.total, self.finished = cells, len(cells), 0

    def cells(self, folder: Path, failed: dict[str, str]) -> Iterator[Cell]:
        """Those without a result, in their order."""
        waiting = _unfinished(self._cells, folder, failed)
        self.finished = self.total - len(waiting) - len(failed)
        return iter(waiting)

    def gives_up(self, cell: Cell) -> str:
        """None is."""
        return ""

    def ended(self, cell: Cell, reason: str) -> None:
        """Counts."""
        self.finished += not reason


def train(agenda: Agenda, folder: Path, launcher: Launcher) -> dict[str, str]:
    """Trains the cells of an agenda, as many at a time as the launcher runs; returns why cells
    failed, by name.

    A cell that was stopped goes on where it was. A cell that dies of anything but a mistake in its
    settings or data is tried a second time, and as often as its machine is lost. Raises UserError
    while another process trains the same study.
    """
    failed: dict[str, str] = {}
    with files.claimed(folder):
        files.remove_leftovers(folder)  # of its report
        cells = agenda.cells(folder, failed)
        if agenda.finished:
            print(f"{agenda.finished} of {agenda.total} cells are finished already")
        again: list[Cell] = []
        tried: set[str] = set()
        running: list[_Attempt] = []
        try:
            while True:
                while len(running) < launcher.jobs:
                    if (cell := again.pop(0) if again else next(cells, None)) is None:
                        break
                    running.append(_Attempt(cell, folder, launcher))
                if not running:
                    return failed
                time.sleep(POLL_SECONDS)
                for attempt in [*running]:
                    cell, ended = attempt.cell, attempt.ended()
                    if ended is None and not (why := agenda.gives_up(cell)):
                        continue
                    running.remove(attempt)
                    if ended is None:
                        launcher.stop(attempt.job)
                        _tell(agenda, cell, why)
                    elif _is_tried_again(cell, ended, tried):
                        again.append(cell)
                    else:
                        _settle(agenda, cell, ended, failed)
        finally:  # a mistake or an interrupt ends the cells that still run
            for attempt in running:
                launcher.stop(attempt.job)


Ended = tuple[int, str, str]
"""The exit code, the score with the time, and the reason why there is none; one text is empty."""


def _is_tried_again(cell: Cell, ended: Ended, tried: set[str]) -> bool:
    code, _, reason = ended
    again = code == LOST or bool(reason and code != USER_MISTAKE and cell.name not in tried)
    if again:
        tried |= {cell.name} if code != LOST else set()
        print(f"{cell.name}: {reason}; will be tried again", file=sys.stderr)
    return again


def _settle(agenda: Agenda, cell: Cell, ended: Ended, failed: dict[str, str]) -> None:
    _, score, reason = ended
    agenda.ended(cell, reason)
    if reason:
        failed[cell.name] = reason
        print(f"{cell.name}: failed: {reason}", file=sys.stderr)
    else:
        _tell(agenda, cell, score)


def _tell(agenda: Agenda, cell: Cell, what: str) -> None:
    print(f"{cell.name}: {what} [{agenda.finished}/{agenda.total}]", flush=True)


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

    def ended(self) -> Ended | None:
        """What came of it; None while it runs."""
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
