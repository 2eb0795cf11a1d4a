"""Checkpoints from which a killed run goes on bit for bit."""

import math
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfrecon.base import checkpoint, files
from tfrecon.base.errors import Stopped, UserError
from tfrecon.base.system import peak_memory_gib
from tfrecon.metrics.measures import MEASURES
from tfrecon.models.base import ReconstructionModel
from tfrecon.training.ema import MovingAverage
from tfrecon.training.progress import History
from tfrecon.training.run import BEST, STATE, TIME, Run, resources_used

COUNTERS = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}
"""What Keras's callbacks count in, and reset whenever `fit` begins."""


class Checkpoint(keras.callbacks.Callback):
    """Writes ``state.npz`` (all that a continuation needs) and ``best.npz`` (weights to use).

    The state: all variables of the model, random generators included, the optimizer's, the moving
    average's, the running means of the epoch's losses, the history, and the counters of those
    callbacks that `COUNTERS` knows. It stands last in the list of callbacks, so that it saves what
    the others have done.
    """

    def __init__(
        self, run: Run, history: History, average: MovingAverage | None,
        counters: list[keras.callbacks.Callback], seconds_before: float,
    ) -> None:  # fmt: skip
        super().__init__()
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
        self.saved_at = self._began = time.monotonic()
        self._before = seconds_before  # of fitting statistics, or of training before a stop
        self._peak = 0.0
        self._counts: list[dict[str, Any]] = []
        self._running: dict[str, np.ndarray[Any, Any]] = {}

    def restore(self, model: ReconstructionModel) -> None:
        """Puts the state of the run back."""
        path = self.path / STATE
        arrays, note = checkpoint.load(path)
        checkpoint.assign(path, arrays, self._groups(model))
        self._running = {name: array for name, array in arrays.items() if "running/" in name}
        self.step, self.best, self.stopped = note["step"], note["best"], note["stopped"]
        self._counts = note["counters"]
        before = resources_used(self.path)
        self._before, self._peak = before["train_seconds"], before["peak_memory_gib"]
        self.history.restore(note["history"], self.step)

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
        """Keeps the weights if validation has never been better, and saves the state; a validation
        that is not finite is no better than any."""
        if self.monitor not in (logs or {}):
            raise UserError(
                f"fit.monitor names {self.monitor!r}, which validation does not compute; it has "
                + ", ".join(name for name in logs or {} if name.startswith("val_"))
            )
        value = float(logs[self.monitor])
        sign = 1 if higher_is_better(self.monitor) else -1
        if math.isfinite(value) and (self.best is None or sign * value > sign * self.best):
            self.best = value
            variables = self.average.variables if self.average else self.model.inference_variables
            note = {"step": self.step, self.monitor: value}
            checkpoint.save(self.path / BEST, self._finite({"model": variables}), note)
        self._counts = self._count()
        self.stopped = bool(self.model.stop_training)
        self._save_when_due()

    def _save_when_due(self) -> None:
        """Saves the state when it is time, and when a signal has come, which ends the training."""
        if self.signals or time.monotonic() - self.saved_at >= self.seconds:
            self.save()
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Raises Stopped when a signal has come; the state is saved by then."""
        if self.signals:
            number = self.signals[0]
            raise Stopped(
                f"stopped by {signal.Signals(number).name} at step {self.step}; go on with "
                f"python -m tfrecon.fit --run {self.path} --resume",
                number,
            )

    def save(self) -> None:
        """Writes ``state.npz``."""
        note = {
            "step": self.step, "best": self.best, "stopped": self.stopped,
            "history": self.history.rows, "counters": self._count(),
        }  # fmt: skip
        groups = {**self._finite(self._groups(self.model)), **_running(self.model)}
        checkpoint.save(self.path / STATE, groups, note)
        self.saved_at = time.monotonic()
        seconds = self._before + self.saved_at - self._began
        self._peak = max(self._peak, peak_memory_gib())
        so_far = {"train_seconds": round(seconds, 1), "peak_memory_gib": round(self._peak, 2)}
        files.write_json(self.path / TIME, so_far)

    def _finite(self, groups: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The variables' values. Raises UserError for one that is not finite, so that no such file
        takes the place of a good one."""
        values = {name: [np.asarray(variable) for variable in groups[name]] for name in groups}
        for name, arrays in values.items():
            if not all(np.isfinite(array).all() for array in arrays):
                raise UserError(
                    f"training diverged: the {name} has a value that is not finite at step "
                    f"{self.step}, which is not saved; start another run with a lower "
                    "fit.learning_rate or with fit.optimizer.clipnorm"
                )
        return values

    def _count(self) -> list[dict[str, Any]]:
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
