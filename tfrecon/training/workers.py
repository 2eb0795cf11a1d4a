"""Training on several machines: each runs the same command, and TF_CONFIG says which one it is.

Worker 0 keeps the run. The others train beside it in a folder of their own, which ends with them;
a run that goes on is read by all, so that they have to see its folder. Whoever is lost takes the
training down with it, which goes on from the last state once all are started again.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrecon.base import files
from tfrecon.base.config import FitConfig
from tfrecon.base.errors import Stopped, UserError, WorkerLost
from tfrecon.training.run import BEFORE, BEST, CONFIG, FACTS, STATE, TIME

VARIABLE = "TF_CONFIG"
EXAMPLE = (
    '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)  # fmt: skip
"""What TensorFlow raises in those that are left. An InternalError is none: it says that the workers
have lost step with each other, which is a fault of ours."""


@dataclass(frozen=True)
class Worker:
    """The process `index`, from 0 on, of `count` that train together."""

    index: int
    count: int

    @property
    def keeps_run(self) -> bool:
        """Whether what it writes is the run."""
        return self.index == 0


def this_worker(fit: FitConfig) -> Worker:
    """Which worker this process is; 0 of 1 unless several machines train.

    Raises UserError for a TF_CONFIG that is missing or says nothing of the kind.
    """
    if fit.strategy != "multiworker":
        return Worker(0, 1)
    text = os.environ.get(VARIABLE, "")
    try:
        found = json.loads(text)
        first = len(found["cluster"].get("chief", []))
        count = first + len(found["cluster"].get("worker", []))
        task = found["task"]
        index = int(task["index"]) + {"chief": 0, "worker": first}[task["type"]]
        if not 0 <= index < count:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"fit.strategy = 'multiworker' needs to know from ${VARIABLE} who trains together and "
            f"which of them this process is, and it is {text!r}; set it for each process, e.g. "
            f"{VARIABLE}='{EXAMPLE}'"
        ) from None
    return Worker(index, count)


@functools.cache
def strategy() -> tf.distribute.Strategy:
    """The strategy of all workers, which waits for them; the first that a process asks of
    TensorFlow. Raises UserError where it is not the first."""
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise UserError(
            f"workers cannot be joined once TensorFlow is in use ({str(error).splitlines()[0]}); "
            "train in a process of its own, as python -m tfrecon.fit does"
        ) from error


@contextlib.contextmanager
def at_work(worker: Worker, path: Path) -> Iterator[Path]:
    """The folder in which this worker trains the run `path`, which is its own in the block: `path`
    for the one that keeps it, else a temporary one with what is there of the run.

    Raises `files.Taken` where another process works in `path`, and WorkerLost where one of the
    others is.
    """
    again = f"start all of them again with --resume --run {path}"
    try:
        if worker.keeps_run:
            with files.claimed(path):
                yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder, path.name)
            own.mkdir()
            for name in (CONFIG, FACTS, STATE, BEFORE, BEST, TIME):
                if (path / name).is_file():
                    shutil.copyfile(path / name, own / name)
            print(f"worker {worker.index} of {worker.count}; worker 0 keeps the run {path}")
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # worker 0 says it
                    yield own
            except (UserError, Stopped) as error:  # of the run, not of a folder that is gone
                error.args = (str(error).replace(str(own), str(path)), *error.args[1:])
                raise
    except LOST as error:
        if worker.count == 1:
            raise
        raise WorkerLost(
            f"one of the {worker.count} workers is lost ({type(error).__name__}); {again}"
        ) from error


def agree(what: Any) -> None:
    """Raises UserError unless all workers have the same to say of a training that they begin."""
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).digest()
    own = int.from_bytes(digest[:3], "big")

    @tf.function
    def sums() -> tuple[Any, Any]:
        each = strategy().run(lambda: tf.constant([own, own**2], tf.int64))
        return strategy().reduce("SUM", each, axis=None)

    total, squares = (int(value) for value in sums())
    if strategy().num_replicas_in_sync * squares != total**2:  # by Cauchy and Schwarz
        raise UserError(
            "the workers do not begin alike: configuration, data, weights and the run's last state "
            "must be the same for all; give all of them the same command and the same folders"
        )
