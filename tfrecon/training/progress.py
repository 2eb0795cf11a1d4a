"""What a person sees of a run: progress bar, history.csv, TensorBoard scalars and sample grids."""

import contextlib
import csv
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.plugins.hparams import api as hparams

from tfrecon.base import files, images
from tfrecon.base.bars import tqdm
from tfrecon.training.optimizers import loss_scale
from tfrecon.training.run import ANIMATION, SAMPLES, Run
from tfrecon.training.sentinel import of_one_colour
from tfrecon.training.trackers import hyperparameters

FRAMES = "progress"
"""The folder in a run's of the frames of its animation, a PNG each."""
MOST_FRAMES, FRAME_SIDE = 32, 128
"""Frames of an animation, and pixels a side of each image in it."""
FRAME_MS, LAST_MS = 200, 2000
"""How long a frame is seen."""
LOGS, TRAIN, VALIDATION, TEST = "logs", "train", "validation", "test"
"""TensorBoard's folder in a run's, and those in it."""
BAR = 4
"""Height in pixels of the bar that shows how much of the training is done."""


class Progress(keras.callbacks.Callback):
    """One bar over all steps of the run, and one line an epoch; at the end a sentence where the
    steps have waited long for their data."""

    def __init__(self, total_steps: int, start_step: int) -> None:
        super().__init__()
        self.bar = tqdm(total=total_steps, initial=start_step, desc="training", unit="step")
        self.seconds = self.waited = 0.0
        """Of all steps but the first of each `fit` call, which traces and fills the buffers."""
        self._began: tuple[float, float] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """The next step is a first one."""
        self._began = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Until now other callbacks and validation had the time."""
        if self._began:
            self._began = time.perf_counter(), self.model.waited

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """One step further."""
        now = time.perf_counter(), self.model.waited
        if self._began:
            self.seconds += now[0] - self._began[0]
            self.waited += now[1] - self._began[1]
        self._began = now
        self.bar.update()

    def close(self) -> None:
        """Ends the bar. Tells of the data where the steps have waited for it for more than a tenth
        of their time, and for a second."""
        if self.waited > max(1.0, 0.1 * self.seconds):
            self.bar.write(
                f"the model has waited for its data for {self.waited / self.seconds:.0%} of the "
                f"time of its steps, {self.waited:.0f} of {self.seconds:.0f} s: decode photos once "
                "(data.cache=memory or disk), keep smaller ones, or give it more processor cores"
            )
        self.bar.close()

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
        self._writers: dict[str, Any] = {}

    def writer(self, part: str) -> Any:
        """The TensorBoard writer of `TRAIN`, `VALIDATION`, or "", the whole run; its file is there
        from the first value on. A value has one name in the first two, so that their curves lie
        over each other."""
        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(str(self.path / LOGS / part))
        return self._writers[part]

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Shows the `settings` of a new run, as text and as hyper-parameters."""
        self.restore([], -1)  # what was killed before its first state
        self.step = 0
        with self.writer("").as_default(step=0):
            tf.summary.text("configuration", f"```json\n{json.dumps(settings, indent=2)}\n```")
            hparams.hparams(hyperparameters(settings), self.path.name, 0.0)
        self.writer("").flush()

    def restore(self, rows: list[dict[str, float]], step: int) -> None:
        """Goes on after `step`: what TensorBoard's files hold of later ones, which a kill before
        the state was saved leaves, and a torn end are dropped and will be written again."""
        self.rows, self.step = rows, step
        while self._writers:  # a training that goes back: each begins a file anew
            self._writers.popitem()[1].close()
        for part in ("", TRAIN, VALIDATION):
            files.remove_leftovers(self.path / LOGS / part)
        for path in (self.path / LOGS).rglob("*tfevents*"):
            kept: list[bytes] = []
            whole = False
            with contextlib.suppress(tf.errors.DataLossError):
                for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                    if tf.compat.v1.Event.FromString(record).step > step:
                        break
                    kept.append(record)
                else:
                    whole = True
            if not kept:
                path.unlink()
            elif not whole:
                with files.replacing(path) as new, tf.io.TFRecordWriter(str(new)) as writer:
                    for record in kept:
                        writer.write(record)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts steps."""
        self.step += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds a row and rewrites the table; a loss scale is one of the values, for all to see."""
        if logs is not None and (scale := loss_scale(self.model.optimizer)):
            logs["loss_scale"] = scale
        rate = float(np.asarray(self.model.optimizer.learning_rate))
        values = {name: float(value) for name, value in (logs or {}).items()}
        row = {"epoch": epoch + 1, "step": self.step, "learning_rate": rate, **values}
        self.rows.append(row)
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        path = self.path / "history.csv"
        with (
            files.replacing(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(self.rows)
        for name, value in row.items():
            part = VALIDATION if name.startswith("val_") else TRAIN
            with self.writer(part).as_default(step=self.step):
                tf.summary.scalar(name.removeprefix("val_"), value)
        for writer in self._writers.values():
            writer.flush()


def log_table(run: Run, table: str) -> None:
    """Shows the scores of a run's test, a `table` in Markdown, in TensorBoard instead of those of
    an earlier test."""
    folder = run.path / LOGS / TEST
    for path in folder.glob("*tfevents*"):
        path.unlink()
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=run.facts.get("steps", 0)):
        tf.summary.text("scores", table)
    writer.close()


class SampleGrid(keras.callbacks.Callback):
    """Input, output and target of fixed validation images, as `x` and `target` hold them: for
    TensorBoard, as ``samples.png``, and over the run as the animation ``progress.webp``.

    It stands before the moving average in the list of callbacks, so that it sees the averaged
    weights that validation sees. Answers of one colour are told by `tell`; one that is not finite
    says so in its place.

    The answers of an epoch are a frame. Frames are kept in `FRAMES` of the run's folder, without
    loss, and those whose epoch is a multiple of a power of two, which doubles where there would be
    more than MOST_FRAMES; so the animation is a function of what the run has seen, however often
    it was stopped. Frames that a killed process drew of later steps are drawn again.
    """

    def __init__(
        self, x: Any, target: Any, run: Run, history: History, tell: Callable[[str, str], None]
    ) -> None:
        super().__init__()
        self.x, self.target, self.tell = np.asarray(x), np.asarray(target), tell
        self.path, self.history = run.path, history
        self.steps, self.steps_per_epoch = run.facts["steps"], run.facts["steps_per_epoch"]

    def on_test_end(self, logs: Any = None) -> None:
        """Draws the grid: one row an image."""
        restored = np.asarray(self.model(self.x, training=False))
        if sentence := of_one_colour(self.x, restored, self.target):
            self.tell("one colour", sentence)
        restored = np.stack([images.marked(image) for image in restored])
        columns = [_column(stack) for stack in (self.x[..., :3], restored, self.target)]
        grid = np.concatenate(columns, axis=1)
        images.write(self.path / SAMPLES, grid)
        with self.history.writer(VALIDATION).as_default(step=self.history.step):
            tf.summary.image("input, output, target", np.clip(grid, 0, 1)[None])
        self._keep_frame(columns[1], self.history.step)

    def on_train_end(self, logs: Any = None) -> None:
        """The animation is whole."""
        self.animate()

    def _keep_frame(self, restored: Any, step: int) -> None:
        """Keeps the column (N·H,W,3) of answers after `step`, where their epoch is shown. At epochs
        1, 2, 4, 8 and so on, and the last, the animation is written anew."""
        epochs, frames = -(-step // self.steps_per_epoch), self._frames()
        stride = 1 << ((epochs - 1) // MOST_FRAMES).bit_length()
        for at, path in frames.items():
            if at >= step or at % (stride * self.steps_per_epoch):
                path.unlink()
        if epochs % stride == 0 or step == self.steps:
            pixels = _shrunk(restored, len(self.x))
            images.write(self.path / FRAMES / f"{step:09}.png", pixels)
        if epochs & (epochs - 1) == 0 or step == self.steps:
            self.animate()

    def _frames(self) -> dict[int, Path]:
        """The kept frames by their step, in order."""
        paths = sorted((self.path / FRAMES).glob("[0-9]*.png"))
        return {int(path.stem): path for path in paths}

    def animate(self) -> None:
        """Writes the animation of the frames that are kept, a bar below each for the share of the
        steps that is done."""
        sides = [_shrunk(_column(part), len(self.x)) for part in (self.x[..., :3], self.target)]
        pictures: list[Image.Image] = []
        for step, path in self._frames().items():
            picture = np.concatenate([sides[0], images.read(path), sides[1]], 1)
            bar = np.zeros((BAR, picture.shape[1], 3), np.uint8)
            bar[:, : round(step / self.steps * picture.shape[1])] = 255
            pictures.append(Image.fromarray(np.concatenate([picture, bar])))
        if not pictures:
            return
        seen_ms = [*[FRAME_MS] * (len(pictures) - 1), LAST_MS]
        with files.replacing(self.path / ANIMATION) as new:
            pictures[0].save(
                new, format="WEBP", save_all=True, append_images=pictures[1:], loop=0,
                duration=seen_ms, quality=70, method=2,
            )  # fmt: skip


def _column(stack: Any) -> Any:
    """(N,H,W,3) as (N·H,W,3)."""
    return np.concatenate(list(stack), axis=0)


def _shrunk(column: Any, count: int) -> Any:
    """`count` images above each other as uint8, their sides FRAME_SIDE pixels at most."""
    pixels, side = images.to_uint8(column), min(column.shape[1], FRAME_SIDE)
    return images.resized(pixels, count * side, side)
