"""A pix2pix of 32 pixels that trains 8 steps in three epochs, runs of it that are stopped, and what
two runs that are the same have in common."""

import numpy as np
import pytest

from tfrecon.base import checkpoint
from tfrecon.base.config import from_tables, merged
from tfrecon.training import loop
from tfrecon.training.progress import Progress


def config(root, **fit):
    tables = {
        "model": {"name": "pix2pix", "base_filters": 4, "discriminator_filters": 4},
        "data": {
            "recipe": "folder", "root": str(root), "image_size": 32,
            "damage": {"name": "boxes", "size": 8},
        },
        "fit": {
            "steps": 8, "batch_size": 2, "steps_per_epoch": 3, "ema_decay": 0.9,
            "checkpoint_seconds": 0, "seed": 5,
        },
    }  # fmt: skip
    return from_tables(merged(tables, {"fit": fit}))


def state(run):
    return checkpoint.load(run.path / "state.npz")


def assert_equal_states(run, other):
    """The two runs have kept the same arrays and drawn the same animation, bit for bit."""
    mine, theirs = state(run)[0], state(other)[0]
    assert mine.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(mine[name], array, err_msg=name)
    drawn = [run.path / "progress.webp", other.path / "progress.webp"]
    assert drawn[0].read_bytes() == drawn[1].read_bytes()


def interrupted(monkeypatch, config, path, step, **options):
    """Trains and is stopped just after `step`, in the middle of whatever epoch that is."""
    original = Progress.on_train_batch_end

    def stop(self, batch, logs=None):
        original(self, batch, logs)
        if self.bar.n == step + 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_train_batch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, path, **options)
    assert checkpoint.load(path / "state.npz")[1]["step"] == step
