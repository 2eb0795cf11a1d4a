"""Checkpoints from which a killed run goes on bit for bit."""

import math
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrecon.base import checkpoint, files
from tfrecon.base.bars import tqdm
from tfrecon.base.errors import Stopped, UserError
from tfrecon.base.platforms import peak_memory_gib
from tfrecon.metrics.measures import MEASURES
from tfrecon.models.base import ReconstructionModel
from tfrecon.training.ema import MovingAverage
from tfrecon.training.optimizers import halve_rate
from tfrecon.training.progress import History
from tfrecon.training.run import (
    BEFORE,
    BEST,
    STATE,
    TIME,
    Run,
    load_best,
    resources_used,
    resume_command,
    start_command,
)
from tfrecon.training.sentinel import MOST_HALVINGS, Diverged, learns_nothing

COUNTERS = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}
"""What Keras's callbacks count in, and reset whenever `fit` begins."""

OTHER_RUN = "repeat the command with another --run and other data or options of the model"
"""What to do where a model has no good weights at all."""

NO_FLOAT16 = "float16 ends at 65,504: --set fit.precision=float32 may do, or "

HIGHEST_RATE = 1e-4
"""Of the learning rates that a training which has diverged is begun again with."""

States = list[checkpoint.Saved]
"""The newest state of a run and its last good one, which may be the same."""

GOOD_STEPS, GOOD_SHARE = 100, 20
"""A new last good state is taken when so many steps have gone by since the one before, and the
so-many-th part of all steps done: where it stands depends on the steps alone, so that a run that
was stopped goes back to the same. Copying the state costs less than a percent of them."""


class Checkpoint(keras.callbacks.Callback):
    """Writes ``state.npz`` (all that a continuation needs), ``state-before.npz`` (an earlier one)
    and ``best.npz`` (weights to use).

    The state: all variables of the model, random generators included, the optimizer's, the moving
    average's, the running means of the epoch's losses, the history, and the counters of those
    callbacks that `COUNTERS` knows. It stands last in the list of callbacks, so that it saves what
    the others have done.

    The *last good state* is the one to which `go_back` takes a training whose step went wrong. It
    is the state at the beginning of the run and later that after the first step, its validation
    included where it ends an epoch, that `GOOD_STEPS` and `GOOD_SHARE` allow; every value in it is
    finite. It is kept in memory, and becomes ``state-before.npz`` before the first newer
    ``state.npz``: at any moment one of the two files is whole.
    """

    def __init__(
        self, run: Run, history: History, average: MovingAverage | None,
        counters: list[keras.callbacks.Callback], seconds_before: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.run = run
        self.path, self.steps = run.path, run.facts["steps"]
        self.steps_per_epoch = run.facts["steps_per_epoch"]
        self.monitor, self.seconds = run.config.fit.monitor, run.config.fit.checkpoint_seconds
        self.history, self.average = history, average
        self.counters = [callback for callback in counters if isinstance(callback, tuple(COUNTERS))]
        self.signals: list[int] = []
        """Those that have asked the training to stop; see `tfrecon.base.system.signals_noted`."""
        self.step = 0
        self.best: float | None = None
        self.stopped = False
        self.halvings = 0
        """How often the learning rate has been halved, each time after a step that went wrong."""
        self.good: checkpoint.Saved
        self._good_on_disk: int | None = None
        self.saved_at = self._began = time.monotonic()
        self._before = seconds_before  # of fitting statistics, or of training before a stop
        self._peak = 0.0
        self._counts: list[dict[str, Any]] = []
        self._running: dict[str, np.ndarray[Any, Any]] = {}

    def begin(self, model: ReconstructionModel) -> None:
        """The state at the beginning of the run is the first good one. Raises UserError where it is
        not finite, as that of a model solved for on photos that do not determine it."""
        self.set_model(model)
        try:
            self._keep()
        except Diverged as bad:
            half = NO_FLOAT16 if self.run.facts["precision"] == "float16" else ""
            raise UserError(f"{bad}; {half}{OTHER_RUN}") from None

    def restore(self, model: ReconstructionModel, states: States) -> None:
        """Puts the newest of the `states` back, and keeps the last good one alone; the list is
        empty then, as nobody else is to hold their memory while the training goes on.

        Raises UserError where the best weights are damaged.
        """
        self.set_model(model)
        newest, self.good = states
        states.clear()
        note = newest[1]
        self._put_back(newest)
        self.best, self.halvings = note["best"], note.get("halvings", 0)
        halve_rate(model.optimizer, self.halvings, self.halvings)
        self.run.facts["incidents"] = note.get("incidents", {})
        before = resources_used(self.path)
        self._before, self._peak = before["train_seconds"], before["peak_memory_gib"]
        if (self.path / BEST).is_file():
            # They may be of a later step than the state, and stay until there are better ones.
            self.best = load_best(self.path)[1].get(self.monitor, self.best)
        elif self.best is not None:
            print(f"{BEST} is missing: the best weights are chosen anew from step {self.step} on")
            self.best = None

    def _put_back(self, saved: checkpoint.Saved) -> None:
        arrays, note = saved
        checkpoint.assign(self.path / STATE, arrays, self._groups(self.model))
        self._running = {name: array for name, array in arrays.items() if "running/" in name}
        self._counts, self.step, self.stopped = note["counters"], note["step"], note["stopped"]
        self.history.restore([*note["history"]], self.step)

    def go_back(self, diverged: Diverged, ids: Sequence[str]) -> None:
        """Takes the training back to its last good state, with half the learning rate; the step
        that went wrong took the photos `ids`. Raises UserError where that is not to be done, or
        has been done `MOST_HALVINGS` times."""
        photos = f" (photos: {', '.join(ids)})" if ids else ""
        what = f"{diverged}{photos}"
        if not self.run.config.fit.sentinel or self.halvings == MOST_HALVINGS:
            self.tell("end", f"training diverged: {what}")
            self._write_good()
            often = f", after {self.halvings} returns to a good state" if self.halvings else ""
            raise UserError(f"training diverged: {what}{often}; {self.another_run}")
        self._put_back(self.good)
        self.halvings += 1
        halve_rate(self.model.optimizer, self.halvings, self.good[1].get("halvings", 0))
        self.tell(
            f"return {self.halvings}",
            f"{what}: training went back to step {self.step} with half the learning rate "
            f"({self.halvings} of {MOST_HALVINGS} times)",
        )

    @property
    def another_run(self) -> str:
        """What to do where this run cannot be trained."""
        if not self.steps:
            return OTHER_RUN
        rate = min(HIGHEST_RATE, self.run.config.fit.learning_rate * 0.5 ** (self.halvings + 1))
        return (
            "begin another from its last good weights with "
            f"{start_command(self.path)} --set fit.learning_rate={rate:g}; adding --set "
            "fit.optimizer.clipnorm=1 may help, too"
        )

    def tell(self, kind: str, sentence: str) -> None:
        """Warns of what happens in a training, once of each `kind`, and records it."""
        incidents = self.run.facts.get("incidents", {})
        if kind not in incidents:
            self.run.record(incidents={**incidents, kind: sentence})
            tqdm.write(f"warning: {sentence}", file=sys.stderr)  # on a line of its own

    def on_train_begin(self, logs: Any = None) -> None:
        """Keras has just reset its callbacks' counters: they get their values back."""
        for callback, counts in zip(self.counters, self._counts, strict=False):
            for name, value in counts.items():
                setattr(callback, name, value)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keras has just reset the running means: in the middle of an epoch they go on."""
        if self.step % self.steps_per_epoch and self._running:
            for name, variables in _running(self.model).items():
                for place, variable in enumerate(variables):
                    if f"{name}/{place:04d}" in self._running:  # else not yet built when saved
                        variable.assign(self._running[f"{name}/{place:04d}"])
        self._running = {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves when it is time, except at the end of an epoch, whose validation comes first; the
        last one may be short."""
        self.step += 1
        if self.step % self.steps_per_epoch and self.step < self.steps:
            self._save_when_due()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keeps the weights if validation has never been better, and saves the state."""
        self.keep_best(logs or {})
        if sentence := learns_nothing(logs or {}):
            self.tell("discriminator", sentence)
        self._counts = self._count()
        self.stopped = bool(self.model.stop_training)
        self._save_when_due()

    def keep_best(self, logs: Mapping[str, Any]) -> None:
        """Writes the weights if validation, whose values `logs` holds, has never been better; a
        validation that is not finite is no better than any."""
        if self.monitor not in logs:
            raise UserError(
                f"fit.monitor names {self.monitor!r}, which validation does not compute; it has "
                + ", ".join(name for name in logs if name.startswith("val_"))
            )
        value = float(logs[self.monitor])
        sign = 1 if higher_is_better(self.monitor) else -1
        if math.isfinite(value) and (self.best is None or sign * value > sign * self.best):
            variables = self.average.variables if self.average else self.model.inference_variables
            self._check_finite({"model": variables})
            self._write_good()  # best weights without a state could not be trained on
            note = {"step": self.step, self.monitor: value}
            checkpoint.save(self.path / BEST, {"model": variables}, note)
            self.best = value

    def _save_when_due(self) -> None:
        """Keeps a good state and saves when it is time; saves when a signal has come, too, which
        ends the training. Of several machines, which keep no common time and read a state
        together, the steps alone decide: they save with each good state."""
        keeps = self.step - self.good[1]["step"] >= max(GOOD_STEPS, self.step // GOOD_SHARE)
        if keeps:
            self._keep()
        late = self.signals or time.monotonic() - self.saved_at >= self.seconds
        if keeps if self.run.config.fit.strategy == "multiworker" else late:
            self.save()
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Raises Stopped when a signal has come; the state is saved by then. Several machines go on
        from their last good one."""
        if self.signals:
            number = self.signals[0]
            raise Stopped(
                f"stopped by {signal.Signals(number).name} at step {self.step}; go on with "
                f"{resume_command(self.path)}",
                number,
            )

    def save(self) -> None:
        """Writes ``state.npz``, and before it the last good state where that is not on the disk."""
        groups = self._all_groups()
        self._write_good()
        checkpoint.save(self.path / STATE, groups, self._note(self.good[1]["step"]))
        self.saved_at = time.monotonic()
        seconds = self._before + self.saved_at - self._began
        self._peak = max(self._peak, peak_memory_gib())
        so_far = {"train_seconds": round(seconds, 1), "peak_memory_gib": round(self._peak, 2)}
        files.write_json(self.path / TIME, so_far)

    def _keep(self) -> None:
        """The state as it is now becomes the last good one."""
        variables = checkpoint.named(self._all_groups())
        arrays = {name: np.asarray(variable) for name, variable in variables.items()}
        self.good = arrays, self._note(self.step)

    def _write_good(self) -> None:
        if self._good_on_disk != self.good[1]["step"]:
            checkpoint.write(self.path / BEFORE, *self.good)
            self._good_on_disk = self.good[1]["step"]

    def _note(self, good: int) -> dict[str, Any]:
        return {
            "step": self.step, "best": self.best, "stopped": self.stopped, "good": good,
            "halvings": self.halvings, "incidents": self.run.facts.get("incidents", {}),
            "history": [*self.history.rows], "counters": self._count(),
        }  # fmt: skip

    def _all_groups(self) -> dict[str, list[Any]]:
        """All variables of the state. Raises `Diverged` for one with a value that is not finite,
        so that no such file takes the place of a good one."""
        groups = self._groups(self.model)
        self._check_finite(groups)
        return {**groups, **_running(self.model)}

    def _check_finite(self, groups: Mapping[str, Sequence[Any]]) -> None:
        for name, variables in groups.items():
            if not all(np.isfinite(np.asarray(variable)).all() for variable in variables):
                raise Diverged(f"a value of the {name}", self.step, False)

    def _count(self) -> list[dict[str, Any]]:
        if not self.step:  # Keras gives its callbacks their counters when `fit` begins
            return []
        return [
            {name: _number(getattr(callback, name)) for name in names}
            for callback in self.counters
            for kind, names in COUNTERS.items()
            if isinstance(callback, kind)
        ]

    def _groups(self, model: ReconstructionModel) -> dict[str, list[Any]]:
        groups = {"model": kept_variables(model), "optimizer": list(model.optimizer.variables)}
        if self.average:
            groups["average"] = [*self.average.variables, self.average.updates]
        return groups


def higher_is_better(monitor: str) -> bool:
    """Whether a validation value is a quality, not a loss."""
    name = monitor.removeprefix("val_")
    return name in MEASURES and MEASURES[name].better == "more"


def kept_variables(model: ReconstructionModel) -> list[Any]:
    """The raw variables of `model` that the state holds, in its order: none that is frozen, and no
    metric's."""
    left_out = {id(v) for variables in _running(model).values() for v in variables}
    left_out |= {id(v) for v in model.frozen_variables}
    return [variable for variable in model.variables if id(variable) not in left_out]


def _running(model: keras.Model) -> dict[str, list[Any]]:
    """The variables of each of the model's metrics: means over the steps of the epoch so far."""
    return {f"running/{metric.name}": list(metric.variables) for metric in model.metrics}


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def newest_states(path: Path) -> States | None:
    """Of the run in a folder the newest whole state, and the last good one that it names, or else
    itself; None where the run has no state. Says so where ``state.npz`` is not whole.

    Raises UserError where there are states and none of them is whole.
    """
    whole: dict[str, checkpoint.Saved] = {}
    damaged: list[str] = []
    for name in (STATE, BEFORE):
        if (path / name).is_file():
            try:
                whole[name] = checkpoint.load(path / name)
            except UserError:
                damaged.append(name)
    if damaged and not whole:
        best = ", evaluate or export its best weights" if (path / BEST).is_file() else ""
        raise UserError(
            f"run {str(path)!r} cannot go on, as its state is damaged ({', '.join(damaged)}); put "
            f"a copy in its place{best}, or start another --run"
        )
    if not whole:
        return None
    name = max(whole, key=lambda name: whole[name][1]["step"])
    newest, step = whole[name], whole[name][1]["step"]
    if STATE not in whole:
        how = "damaged" if damaged else "missing"
        print(f"{STATE} is {how}; going on from the one before, step {step}")
    elif damaged:
        print(f"{BEFORE} is damaged; going on from {STATE}, step {step}")
    good = newest[1].get("good")
    return [newest, next((saved for saved in whole.values() if saved[1]["step"] == good), newest)]
