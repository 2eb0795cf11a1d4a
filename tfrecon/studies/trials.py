"""The cells of a search: Optuna (extra ``search``) draws them, each by what those before have
shown, and ends those that promise less than the others.

Every trial lies in a database in the study's folder, so that a search that was stopped goes on. The
draw of a trial depends on the seed, its number and the trials before it alone.
"""

import csv
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrecon.base import extras
from tfrecon.base.errors import UserError, foreign
from tfrecon.studies.axes import Cell, Range
from tfrecon.studies.matrix import Study
from tfrecon.training.run import complete
from tfrecon.training.state import higher_is_better

DATABASE = "search.sqlite3"
REASON, AXES = "reason", "axes"
"""What a trial, and the search, have in the database beside what Optuna keeps."""
FIRST_PRUNED = (4, 2)
"""So many trials end, and so many epochs of each are waited for, before any is given up."""


class Trials:
    """The trials of a study that are in its folder, and those that are drawn: an `Agenda`.

    The value of a trial is the best that its run had of ``fit.monitor`` in validation.
    """

    def __init__(self, study: Study, folder: Path, trains: bool) -> None:
        """Raises UserError where the database is damaged or that of another search, and, unless the
        search `trains`, where there is none."""
        if study.search is None:
            raise ValueError("the study has no search")
        self._optuna: Any = extras.imported("search", "[search]")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._study, self._search, self._folder = study, study.search, folder
        self.total, self.finished = self._search.settings.trials, 0
        (self._monitor, *others) = {
            complete(cell.tables).fit.monitor for cell in self._search.corners()
        }
        if others:
            raise UserError(
                f"trials are compared by fit.monitor, and it is {self._monitor} and {others[0]}; "
                "give all the same"
            )
        # Trials with the epochs that the database has of them, by the names of their cells.
        self._running: dict[str, tuple[Any, set[int]]] = {}
        path = folder / DATABASE
        if not trains and not path.is_file():
            raise UserError(f"{str(folder)!r} has no trials yet; run the study first")
        folder.mkdir(parents=True, exist_ok=True)
        with foreign("database", path, "restore it, or delete it with the folder"):
            self._storage = self._optuna.storages.RDBStorage(
                f"sqlite:///{path.resolve().as_posix()}"
            )
            self._trials = self._optuna.create_study(
                storage=self._storage, study_name=study.name,
                load_if_exists=True, pruner=self._optuna.pruners.MedianPruner(*FIRST_PRUNED),
                direction="maximize" if higher_is_better(self._monitor) else "minimize",
            )  # fmt: skip
            described = [*self._search.described(), self._monitor]
            recorded = self._trials.user_attrs.get(AXES)
        if recorded is None:
            self._trials.set_user_attr(AXES, described)
        elif recorded != described:
            raise UserError(
                f"the trials in {str(folder)!r} were drawn of other axes ({'; '.join(recorded)}); "
                "give the study's file another name, or delete the folder"
            )

    def cells(self, folder: Path, failed: dict[str, str]) -> Iterator[Cell]:
        """Those of trials that were stopped, then new ones until there are as many as are asked
        for; trials that failed when the study ran before do not count."""
        states = self._optuna.trial.TrialState
        before = self._of(states.COMPLETE, states.PRUNED, states.RUNNING)
        stopped = self._of(states.RUNNING)
        self.finished = len(before) - len(stopped)
        return self._given([t.number for t in stopped], self.total - len(before))

    def _given(self, stopped: list[int], more: int) -> Iterator[Cell]:
        for number in stopped:
            yield self._cell(number)
        for _ in range(more):
            trial = self._drawn()
            if (same := self._same(trial)) is None:
                yield self._cell(trial.number)
                continue
            trial.set_user_attr(REASON, f"the same settings as trial{same.number:03}")
            value = same.value if same.state == self._optuna.trial.TrialState.COMPLETE else None
            self._trials.tell(trial, value, same.state)
            self.finished += 1

    def gives_up(self, cell: Cell) -> str:
        """Tells Optuna the newest validations, and asks it whether they are worth going on."""
        trial, told = self._running[cell.name]
        new = {epoch: value for epoch, value in self._validated(cell) if epoch not in told}
        for epoch, value in new.items():
            trial.report(value, epoch)
        told.update(new)
        if not new or not self._search.settings.prune or not trial.should_prune():
            return ""
        epoch, value = max(new.items())
        reason = f"given up after epoch {epoch}, at {self._monitor} {value:.4g}"
        trial.set_user_attr(REASON, reason)
        self._trials.tell(trial, state=self._optuna.trial.TrialState.PRUNED)
        self.finished += 1
        return reason

    def ended(self, cell: Cell, reason: str) -> None:
        """Tells Optuna the value of a trial, or that it failed."""
        (trial, _), values = self._running.pop(cell.name), [v for _, v in self._validated(cell)]
        if not reason and values:
            better = max if higher_is_better(self._monitor) else min
            self._trials.tell(trial, better(values))
            self.finished += 1
            return
        trial.set_user_attr(REASON, reason or f"no validation gave a finite {self._monitor}")
        self._trials.tell(trial, state=self._optuna.trial.TrialState.FAIL)

    def drawn(self) -> Study:
        """The study with the cells of the trials that there are."""
        cells = [self._search.cell(t.params, t.number) for t in self._trials.get_trials()]
        axes = {a: [*dict.fromkeys(c.labels[a] for c in cells)] for a in self._search.axes}
        return dataclasses.replace(self._study, cells=cells, axes=axes, search=None)

    def reasons(self) -> dict[str, str]:
        """Why trials have no result, by the names of their cells."""
        return {
            self._search.cell(trial.params, trial.number).name: trial.user_attrs[REASON]
            for trial in self._trials.get_trials()
            if REASON in trial.user_attrs
        }

    def _of(self, *states: Any) -> list[Any]:
        return self._trials.get_trials(deepcopy=False, states=states)

    def _drawn(self) -> Any:
        """A new trial. Its seed is its own, as the state of a generator would be lost by a stop."""
        number = len(self._trials.get_trials(deepcopy=False))
        seed = (1_000_003 * self._search.settings.seed + number) % 2**32
        self._trials.sampler = self._optuna.samplers.TPESampler(seed=seed)
        return self._trials.ask(
            {name: self._distribution(axis) for name, axis in self._search.axes.items()}
        )

    def _distribution(self, axis: Any) -> Any:
        of = self._optuna.distributions
        if not isinstance(axis, Range):
            return of.CategoricalDistribution([value.label for value in axis])
        whole = isinstance(axis.low, int) and isinstance(axis.high, int)
        kind = of.IntDistribution if whole else of.FloatDistribution
        return kind(axis.low, axis.high, log=axis.log)

    def _same(self, trial: Any) -> Any:
        """An earlier trial of the same values that has ended, or None."""
        states = self._optuna.trial.TrialState
        ended = self._of(states.COMPLETE, states.PRUNED)
        return next((other for other in ended if other.params == trial.params), None)

    def _cell(self, number: int) -> Cell:
        frozen = self._trials.get_trials(deepcopy=False)[number]
        cell = self._search.cell(frozen.params, number)
        study = self._storage.get_study_id_from_name(self._study.name)
        key = self._storage.get_trial_id_from_study_id_trial_number(study, number)
        trial = self._optuna.trial.Trial(self._trials, key)
        self._running[cell.name] = trial, {*frozen.intermediate_values}
        return cell

    def _validated(self, cell: Cell) -> list[tuple[int, float]]:
        """(epoch, value) of the validations that a run has taken so far."""
        path = self._folder / cell.name / "history.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            rows = [*csv.DictReader(file)]
        found = [(int(row["epoch"]), float(row.get(self._monitor) or "nan")) for row in rows]
        return [(epoch, value) for epoch, value in found if math.isfinite(value)]
