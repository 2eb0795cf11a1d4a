"""A training followed by Weights & Biases or MLflow, through the callbacks that these have for
Keras; each is an extra of its name. What TensorBoard, too, is told of a run's settings."""

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tfrecon.base import extras
from tfrecon.base.errors import UserError
from tfrecon.training.run import Run

PROJECT = "tfrecon"
"""Where Weights & Biases keeps the runs, unless WANDB_PROJECT says so."""


def hyperparameters(tables: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names, ``fit.learning_rate``: numbers and texts as they are,
    lists as JSON; those that are not set are left out."""
    found: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, Mapping):
            found |= hyperparameters(value, f"{before}{name}.")
        elif value is not None:
            plain = isinstance(value, bool | int | float | str)
            found[before + name] = value if plain else json.dumps(value)
    return found


def check(names: Sequence[str]) -> None:
    """Raises UserError for a tracker whose package is not here, naming the extra."""
    for name in names:
        extras.check(name, f"fit.log = {[*names]}")


@contextlib.contextmanager
def tracked(run: Run, recorded: Run | None) -> Iterator[list[Any]]:
    """In the block the trackers that ``fit.log`` names follow the run, by the callbacks that are
    given; a `recorded` run goes on where they have it. Raises UserError where one does not start.
    """
    before = recorded.facts.get("tracked_as", {}) if recorded else {}
    known, callbacks = dict(before), []
    with contextlib.ExitStack() as opened:
        for name in run.config.fit.log:
            try:
                callback, known[name] = TRACKERS[name](run, before.get(name), opened)
            except Exception as error:  # their own classes, and those of the network
                raise UserError(
                    f"{name} does not start ({str(error).strip() or type(error).__name__}); set it "
                    "up as its documentation says, or leave it out of fit.log"
                ) from error
            callbacks.append(callback)
        if known:
            run.facts["tracked_as"] = known
        yield callbacks


def _wandb(run: Run, known: str | None, opened: contextlib.ExitStack) -> tuple[Any, str]:
    wandb: Any = importlib.import_module("wandb")
    keras: Any = importlib.import_module("wandb.integration.keras")
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    began = opened.enter_context(
        wandb.init(
            project=project, name=run.name, id=known, resume="allow" if known else None,
            config=run.settings,
        )
    )  # fmt: skip
    return keras.WandbMetricsLogger(), began.id


def _mlflow(run: Run, known: str | None, opened: contextlib.ExitStack) -> tuple[Any, str]:
    mlflow: Any = importlib.import_module("mlflow")
    keras: Any = importlib.import_module("mlflow.keras")
    began = opened.enter_context(mlflow.start_run(run_id=known, run_name=run.name))
    if not known:
        mlflow.log_params(hyperparameters(run.settings))
    return keras.MlflowCallback(), began.info.run_id


TRACKERS: dict[str, Callable[[Run, str | None, contextlib.ExitStack], tuple[Any, str]]] = {
    "wandb": _wandb, "mlflow": _mlflow,
}  # fmt: skip
"""Each starts its run, or goes on with the `known` one, and returns its callback and its own name
of the run; the stack ends it."""
