"""What a person sees of a run: progress bar, history.csv, TensorBoard scalars and sample grids."""

import contextlib
import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrecon.base import files, images
from tfrecon.training.sentinel import of_one_colour


class Progress(keras.callbacks.Callback):
    """One bar over all steps of the run, and one line an epoch."""

    def __init__(self, total_steps: int, start_step: int) -> None:
        super().__init__()
        self.bar = tqdm(total=total_steps, initial=start_step, desc="training", unit="step")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """One step further."""
        self.bar.update()

    def set_step(self, step: int) -> None:
        """The run goes on from another step."""
        self.bar.n = step
        self.bar.refresh()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Prints the epoch's values."""
        values = "  ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())
        self.bar.write(f"epoch {epoch + 1}, step {self.bar.n}: {values}")


class History(keras.callbacks.Callback):
    """``history.csv`` and TensorBoard scalars, one row an epoch; the rows are part of the state."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.step = 0

    @functools.cached_property
    def writer(self) -> Any:
        """The TensorBoard writer; its file is there from the first value on."""
        return tf.summary.create_file_writer(str(self.path / "logs"))

    def restore(self, rows: list[dict[str, float]], step: int) -> None:
        """Goes on after `step`: what TensorBoard's files hold of later ones, which a kill before
        the state was saved leaves, and a torn end are dropped and will be written again."""
        self.rows, self.step = rows, step
        if "writer" in vars(self):  # a training that goes back: the writer begins a file anew
            self.writer.close()
            del self.writer
        files.remove_leftovers(self.path / "logs")
        for path in (self.path / "logs").glob("*tfevents*"):
            kept: list[bytes] = []
            whole = False
            with contextlib.suppress(tf.errors.DataLossError):
                for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                    if tf.compat.v1.Event.FromString(record).step > step:
                        break
                    kept.append(record)
                else:
                    whole = True
            if not whole:
                with files.replacing(path) as new, tf.io.TFRecordWriter(str(new)) as writer:
                    for record in kept:
                        writer.write(record)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts steps."""
        self.step += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds a row and rewrites the table."""
        rate = float(np.asarray(self.model.optimizer.learning_rate))
        values = {name: float(value) for name, value in (logs or {}).items()}
        row = {"epoch": epoch + 1, "step": self.step, "learning_rate": rate, **values}
        self.rows.append(row)
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        path = self.path / "history.csv"
        with files.replacing(path) as temporary, temporary.open("w", newline="") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(self.rows)
        with self.writer.as_default(step=self.step):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        self.writer.flush()


class SampleGrid(keras.callbacks.Callback):
    """Input, output and target of fixed validation images, for TensorBoard and as ``samples.png``.

    It stands before the moving average in the list of callbacks, so that it sees the averaged
    weights that validation sees. Answers of one colour are told by `tell`.
    """

    def __init__(
        self, x: Any, target: Any, path: Path, history: History, tell: Callable[[str, str], None]
    ) -> None:
        super().__init__()
        self.x, self.target, self.tell = x, target, tell
        self.path, self.history = path, history

    def on_test_end(self, logs: Any = None) -> None:
        """Draws the grid: one row an image."""
        restored = np.asarray(self.model(self.x, training=False))
        if sentence := of_one_colour(self.x, restored, self.target):
            self.tell("one colour", sentence)
        rows = np.concatenate([np.asarray(self.x)[..., :3], restored, np.asarray(self.target)], 2)
        grid = np.concatenate(list(rows), axis=0)
        images.write(self.path / "samples.png", grid)
        with self.history.writer.as_default(step=self.history.step):
            tf.summary.image("input, output, target", np.clip(grid, 0, 1)[None])
