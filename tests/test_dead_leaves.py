"""Drawn training images: their statistics, and their files."""

import numpy as np
import pytest

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import dead_leaves, recipes

SMALL = {"count": 3, "size": 48, "photo_colours": False}


def names(root, split="train", **options):
    return recipes.samples(Spec("dead_leaves", {**SMALL, **options}), root, split)


def test_an_image_depends_on_its_seed_alone():
    first, again, other = (
        np.asarray(dead_leaves.image(seed, 64)) for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    assert np.abs(first.astype(int) - other).mean() > 10


def test_power_falls_with_frequency_as_in_photos():
    """As a power law; that of photos of BSDS500, measured in the same way, has exponent −2.3."""
    power = np.zeros((128, 128))
    for number in range(24):
        grey = np.asarray(dead_leaves.image((0, number), 128).convert("L"), float)
        window = np.hanning(128)[:, None] * np.hanning(128)
        power += np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(128)]))
    inside = (frequency > 0.03) & (frequency < 0.35)
    slope = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0]
    assert -4 < slope < -2


def test_files_are_drawn_once_and_more_are_added(tmp_path):
    before = {s.id: (s.target, s.target.stat().st_mtime_ns) for s in names(tmp_path)}
    assert len(before) == 3 and images.size(next(iter(before.values()))[0]) == (48, 48)
    more = {s.id: (s.target, s.target.stat().st_mtime_ns) for s in names(tmp_path, count=5)}
    assert len(more) == 5 and before.items() < more.items()
    pixels = {s.target.read_bytes() for split in ("train", "val") for s in names(tmp_path, split)}
    assert len(pixels) == 4, "splits share no image"
    assert {s.target.read_bytes() for s in names(tmp_path, seed=1)}.isdisjoint(pixels)


def test_another_way_of_drawing_takes_no_kept_file(tmp_path, monkeypatch):
    before = {sample.target for sample in names(tmp_path)}
    monkeypatch.setattr(dead_leaves, "VERSION", dead_leaves.VERSION + 1)
    assert before.isdisjoint(sample.target for sample in names(tmp_path))


def test_without_a_folder_they_lie_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert all(tmp_path in sample.target.parents for sample in names(None))


def test_colours_are_those_of_photos(tmp_path):
    """A palette of two colours and what lies between them, shading and texture aside."""
    palette = np.tile(np.float32([[0.9, 0.1, 0.1]]), (64, 1))
    drawn = [np.asarray(dead_leaves.image((0, n), 64, palette), int) for n in range(12)]
    shares = [(image.max(axis=-1) - image.min(axis=-1) > 90).mean() for image in drawn]
    assert np.mean([share > 0.5 for share in shares]) >= 0.4
    photos, random = (names(tmp_path, photo_colours=use)[0].target for use in (True, False))
    assert photos.read_bytes() != random.read_bytes()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("count", 0, "must be 1 or more"),
        ("size", 513, "must lie in [16, 512]"),
        ("seed", -1, "must be 0 or more"),
        ("colours", "red", "unknown option 'colours'"),
    ],
)
def test_bad_options_are_refused(tmp_path, option, value, said):
    with pytest.raises(UserError) as raised:
        names(tmp_path, **{option: value})
    assert said in str(raised.value)
    assert not [*tmp_path.iterdir()]
