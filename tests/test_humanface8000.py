"""Pairs of clean and damaged faces, and inputs of another size than their targets."""

import os
from pathlib import Path

import fakes
import numpy as np
import pytest

from tfrecon.base import images
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import pipeline, recipes
from tfrecon.data.check import readable
from tfrecon.data.store import Store

REAL = Path(__file__).parents[2] / "shared" / "data" / "humanface8000"
SPEC = Spec("humanface8000")


def splits(root, spec=SPEC):
    return {split: recipes.samples(spec, root, split) for split in ("train", "val", "test")}


def test_pairs_by_stem_and_splits_by_hash(tmp_path):
    root = fakes.humanface8000(tmp_path / "humanface8000")
    by_split = splits(root)
    ids = [sample.id for samples in by_split.values() for sample in samples]
    assert sorted(ids) == [f"{index:05}" for index in range(40)]
    for sample in (each for samples in by_split.values() for each in samples):
        assert sample.input.stem == sample.target.stem == sample.id
        assert (sample.input.parent.name, sample.target.parent.name) == ("gray", "color")
    for other in (root / "landscape Images", tmp_path):
        assert splits(other) == by_split
    more = splits(root, Spec("humanface8000", {"val": 0.3}))
    assert len(more["val"]) > len(by_split["val"]) and more["test"] == by_split["test"]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL.name} is not in the shared data")
def test_the_real_faces():
    by_split = splits(REAL)
    counts = {split: len(samples) for split, samples in by_split.items()}
    assert sum(counts.values()) == 600
    assert 40 < counts["test"] < 80 and 15 < counts["val"] < 50
    batch = next(
        iter(pipeline.dataset(by_split["test"], DataConfig(SPEC, cache="none"), batch_size=8))
    )
    error = np.mean((batch["input"].numpy() - batch["target"].numpy()) ** 2, axis=(1, 2, 3))
    shuffled = batch["input"].numpy()[::-1]
    assert error.mean() < 0.2 * np.mean((shuffled - batch["target"].numpy()) ** 2)


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_an_input_of_another_size_is_brought_to_its_target(tmp_path, cache):
    samples = recipes.samples(SPEC, fakes.humanface8000(tmp_path, 12), "train")
    readable(samples)
    store = Store(samples, ("target", "input"), cache, tmp_path / "cache")
    different = 0
    for index, sample in enumerate(samples):
        parts = {name: part.numpy() for name, part in store.load(np.int64(index)).items()}
        assert parts["input"].shape == parts["target"].shape == (48, 40, 3)
        pixels = images.read(sample.input)
        different += pixels.shape != (48, 40, 3)
        expected = pixels if pixels.shape == (48, 40, 3) else images.resized(pixels, 48, 40)
        np.testing.assert_array_equal(parts["input"], expected)
    assert different


def test_one_side_alone_is_an_error_that_names_it(tmp_path):
    root = fakes.humanface8000(tmp_path, 3)
    os.rename(root / "landscape Images" / "gray", root / "away")
    with pytest.raises(UserError, match=r"gray' does not exist or is no folder; add it"):
        recipes.samples(SPEC, root, "train")
    os.rename(root / "away", root / "landscape Images" / "gray")
    (root / "landscape Images" / "color" / "00001.jpg").unlink()
    with pytest.raises(UserError, match=r"00001.jpg' has no partner of the same stem in .*color'"):
        recipes.samples(SPEC, root, "train")
    (root / "landscape Images" / "color").rename(root / "away")
    with pytest.raises(UserError, match="holds no folder 'color'"):
        recipes.samples(SPEC, root, "train")


def test_a_share_of_validation_that_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="must lie in"):
        recipes.samples(Spec("humanface8000", {"val": 0.95}), tmp_path, "train")
