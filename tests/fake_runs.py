"""Runs that were never trained: their models return a fixed function of the input."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import keras
from fakes import animals_contest

from tfrecon.config import from_tables
from tfrecon.run import Run


@dataclasses.dataclass(frozen=True)
class FakeRun(Run):
    """A run whose model returns a fixed function of its input."""

    restore: Any = None

    def load_model(self, options=None):
        channels = 4 if self.has_mask else 3
        inputs = keras.Input((None, None, channels))
        model: Any = keras.Model(inputs, keras.layers.Lambda(self.restore)(inputs))
        model.size_multiple = 1
        return model


def fake_run(folder: Path, restore, *, mask=True, name="fake", **data) -> Run:
    config = from_tables({"model": "pix2pix", "data": {"image_size": 64, **data}})
    run = FakeRun(folder / "checkpoints" / name, config, {"mask": mask}, restore)
    run.path.mkdir(parents=True)
    return run


def contest_run(folder: Path, restore, **options) -> Run:
    root = animals_contest(folder / "contest", count=3)
    return fake_run(folder, restore, recipe="animals_inpainting", root=str(root), **options)


def read_csv(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
