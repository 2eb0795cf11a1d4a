"""Runs that were never trained: their models return a fixed function of the input."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
from fakes import animals_contest

from tfrecon.base.config import from_tables
from tfrecon.models.supervised import wrapped
from tfrecon.training.run import Run


@dataclasses.dataclass(frozen=True)
class FakeRun(Run):
    """A run whose model returns a fixed function of its input."""

    restore: Any = None

    def load_model(self, options=None):
        channels = 4 if self.has_mask else 3
        inputs = keras.Input((None, None, channels))
        return wrapped(keras.Model(inputs, keras.layers.Lambda(self.restore)(inputs)))


def fake_run(folder: Path, restore, *, mask=True, name="fake", **data) -> Run:
    config = from_tables({"model": "pix2pix", "data": {"image_size": 64, **data}})
    run = FakeRun(folder / "checkpoints" / name, config, {"mask": mask}, restore)
    run.path.mkdir(parents=True)
    return run


def contest_run(folder: Path, restore, **options) -> Run:
    root = animals_contest(folder / "contest", count=3)
    return fake_run(folder, restore, recipe="animals_inpainting", root=str(root), **options)


def grey_and_same(folder: Path) -> tuple[Run, Run]:
    """One that answers grey, and one that gives its input back and trained for 90 seconds."""
    root = animals_contest(folder / "contest", count=3)
    data = {"recipe": "animals_inpainting", "root": str(root)}
    grey = fake_run(folder, lambda x: 0 * x[..., :3] + 0.5, name="grey", **data)
    same = fake_run(folder, lambda x: x[..., :3], name="same", **data)
    time = {"train_seconds": 90, "peak_memory_gib": 2.5}
    (same.path / "time.json").write_text(json.dumps(time))
    return grey, same


def read_csv(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
