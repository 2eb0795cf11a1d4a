"""The mean over eight flips and turns: alone, in an export, over a folder and in a submission."""

import csv
import itertools
from pathlib import Path

import fakes
import numpy as np
import pytest
import tensorflow as tf
from exported_models import tiny
from PIL import Image

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.inference.folder import restore_files
from tfrecon.inference.restorer import Export, open_export, restorer, self_ensemble
from tfrecon.inference.restoring import Settings
from tfrecon.inference.saved_model import export_model


def photos(*shape):
    return np.random.default_rng(1).random(shape, np.float32)


def identity(x):
    return x[..., :3]


def eight(x):
    """The flips and turns by NumPy's rot90, and what undoes each."""
    for turns, flip in itertools.product(range(4), (False, True)):
        turned = np.rot90(x[:, :, ::-1] if flip else x, turns, (1, 2))
        yield (
            turned,
            lambda y, k=turns, f=flip: (
                np.rot90(y, -k, (1, 2))[:, :, ::-1] if f else np.rot90(y, -k, (1, 2))
            ),
        )


@pytest.mark.parametrize("size", [(5, 5), (4, 7), (1, 3)])
def test_every_turn_is_undone(size):
    x = photos(2, *size, 4)
    np.testing.assert_allclose(self_ensemble(identity)(x), x[..., :3], atol=1e-6)


def test_it_is_the_mean_over_the_eight_turns_of_photo_and_mask():
    restore = restorer(tiny(True))
    x = photos(2, 12, 19, 4)
    expected = np.mean([undo(restore(turned.copy())) for turned, undo in eight(x)], axis=0)
    found = self_ensemble(restore)(x)
    assert found.shape == (2, 12, 19, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - restore(x)).max() > 1e-3
    np.testing.assert_allclose(self_ensemble(restore)(tf.constant(x)), expected, atol=1e-5)


def test_each_turn_is_seen_once():
    seen = []

    def remember(x):
        seen.append(x[0, ..., 0].tobytes() + bytes(x.shape[1:3]))
        return x

    self_ensemble(remember)(photos(1, 3, 5, 3))
    assert len(set(seen)) == len(seen) == 8


@pytest.mark.parametrize("has_mask", [False, True])
def test_an_export_holds_the_ensemble(tmp_path, has_mask):
    model = tiny(has_mask)
    differences = export_model(model, tmp_path / "tiny", has_mask, ensemble=True)
    assert max(difference.restore for difference in differences) < 1e-5
    export = open_export(tmp_path / "tiny")
    x = photos(1, 10, 21, 4 if has_mask else 3)
    expected = self_ensemble(restorer(model))(x)
    np.testing.assert_allclose(export.restore(x), expected, atol=1e-5)
    assert export.record["ensemble"] == 8
    with pytest.raises(UserError, match="is an ensemble already; leave out --ensemble"):
        restore_files(export, tmp_path, tmp_path / "out", settings=Settings(ensemble=True))


class LeftHalfBlack(Export):
    """Blackens the left half of whatever it is given."""

    def restore(self, x):
        restored = x[..., :3].copy()
        restored[:, :, : x.shape[2] // 2] = 0
        return restored


def test_a_folder_is_restored_by_the_ensemble(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (20, 12), (200, 100, 40)).save(tmp_path / "in" / "a.png")
    export = LeftHalfBlack(Path("exports/fake"), False, {}, None)
    restore_files(export, tmp_path / "in", tmp_path / "out", settings=Settings(ensemble=True))
    # Every quarter is black in half of the eight.
    assert images.read(tmp_path / "out" / "a.png")[3, 3].tolist() == [100, 50, 20]


def test_a_submission_of_the_ensemble(tmp_path, monkeypatch):
    from tfrecon import submit
    from tfrecon.base.config import from_tables
    from tfrecon.training.run import BEST, Run

    root = fakes.animals_contest(tmp_path / "contest", count=3)
    config = from_tables({
        "model": "pix2pix", "data": {"recipe": "animals_inpainting", "root": str(root)},
    })  # fmt: skip
    run = Run(tmp_path / "checkpoints" / "tiny", config, {"mask": True})
    run.path.mkdir(parents=True)
    run.save()
    (run.path / BEST).touch()
    monkeypatch.setattr(Run, "load_model", lambda self, options=None: tiny(True))
    values = []
    for more in ([], ["--ensemble"]):
        out = tmp_path / f"{len(more)}.csv"
        assert submit.main([str(run.path), "--out", str(out), *more]) == 0
        with out.open() as file:
            values.append(np.array([float(row[1]) for row in list(csv.reader(file))[1:]]))
    assert values[0].shape == values[1].shape and np.abs(values[0] - values[1]).max() > 1e-3
