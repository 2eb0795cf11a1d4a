"""The cache of frozen features: computed once, never stale, under its limit."""

import dataclasses
import os
import re
from pathlib import Path

import fakes
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.base import images
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.data import disk_cache, feature_cache, pipeline
from tfrecon.data.damage import IDENTITY
from tfrecon.data.feature_cache import FeatureCache
from tfrecon.data.sample import Sample
from tfrecon.models.feature_inversion import feature_inversion

SIZE = 16
ENTRY = 2 * 8 * 8 * 3 + 64 + 2 * 16 * 16 * 3
"""Bytes of one record of `Extract`: two features, of which the second has three values and takes 64
bytes, and the target; two bytes a value."""
FIRST = f"{0:012}.shard"


class Extract:
    """Every second pixel times 300, and the mean colour; counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return [300 * x[:, ::2, ::2], tf.reduce_mean(x, (1, 2), keepdims=True)]


@pytest.fixture
def samples(tmp_path):
    samples = []
    for number in range(5):
        path = tmp_path / "photos" / f"{number}.png"
        fakes.save(path, fakes.photo(SIZE, SIZE, seed=number))
        samples.append(Sample(path.stem, target=path))
    return samples


def settings(samples, **options):
    known = {"damage": IDENTITY, "image_size": SIZE, "load_size": SIZE, "feature_cache_gib": 1.0,
             "cache_dir": str(samples[0].target.parents[1] / "cache")}  # fmt: skip
    return DataConfig(**{**known, **options})


def opened(samples, about="weights and taps", **options):
    """A cache and how often it asked for features."""
    extract = Extract()
    return FeatureCache(samples, settings(samples, **options), extract, about), extract.calls


def keys(samples):
    return sorted(p.name for p in Path(settings(samples).cache_dir, "features").glob("*/"))


def content(cache):
    return [cache.entry(number) for number in range(len(cache))]


def assert_equal(mine, theirs):
    for a, b in zip(tf.nest.flatten(mine), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


# --- what is kept


def test_entries_are_the_photos_and_their_mirror_images(samples, monkeypatch):
    monkeypatch.setattr(feature_cache, "AT_A_TIME", 2)  # the last one alone
    cache, _ = opened(samples)
    assert len(cache) == 10
    assert cache.records.size() == 10 * ENTRY
    for number, sample in enumerate(samples):
        photo = images.read(sample.target) / np.float32(255)
        for mirrored, x in enumerate((photo, photo[:, ::-1])):
            (pixels, mean), target = cache.entry(2 * number + mirrored)
            np.testing.assert_array_equal(target, x)  # v/255 survives exactly
            assert target.dtype == np.float32 and pixels.dtype == mean.dtype == np.float16
            np.testing.assert_allclose(pixels, 300 * x[::2, ::2], rtol=2**-11)
            np.testing.assert_allclose(mean[0, 0], x.mean((0, 1)), rtol=2**-11 + 1e-6)


def test_large_photos_are_cut_as_for_validation(tmp_path):
    path = tmp_path / "photos" / "wide.png"
    fakes.save(path, fakes.photo(40, 64, seed=3))
    sample = [Sample("wide", target=path)]
    config = settings(sample, load_size=8, crop_size=8, flip=False, resize="bicubic")
    cache = FeatureCache(sample, config, Extract(), "")
    small = tf.image.resize(images.read(path) / np.float32(255), (8, 13), "bicubic", antialias=True)
    expected = np.clip(small[:, 2:10], 0, 1)
    assert len(cache) == 1
    np.testing.assert_allclose(cache.entry(0)[1], expected, atol=0.51 / 65535 + 1e-6)


def test_values_beyond_float16_are_clipped(samples):
    config = settings(samples)
    cache = FeatureCache(samples, config, lambda x: [1e6 * (x - 0.6)], "")
    for (features,), target in content(cache):
        expected = np.clip(1e6 * (target - 0.6), -65504, 65504)
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=0.1)


# --- computed once, never stale


def test_a_second_run_computes_nothing(samples):
    first, calls = opened(samples)
    assert calls == 3  # the shapes, five photos, their mirror images
    second, calls = opened(samples)
    assert calls == 0
    assert_equal(content(second), content(first))


@pytest.mark.parametrize("change", [
    {"about": "other weights"}, {"flip": False}, {"resize": "bicubic"}, {"image_size": 8},
    {"crop_size": 8}, {"samples": slice(4)}, {"samples": slice(None, None, -1)},
])  # fmt: skip
def test_whatever_changes_another_key_is_computed(samples, change):
    opened(samples)
    change = dict(change)
    kept = samples[change.pop("samples", slice(None))]
    _, calls = opened(kept, **change)
    assert calls and len(keys(samples)) == 2


def test_a_changed_photo_is_seen(samples):
    opened(samples)
    path = samples[2].target
    before = path.stat().st_mtime_ns
    fakes.save(path, fakes.photo(SIZE, SIZE, seed=77))
    os.utime(path, ns=(before + 1, before + 1))
    cache, calls = opened(samples)
    assert calls
    np.testing.assert_array_equal(cache.entry(4)[1], images.read(path) / np.float32(255))


def test_the_key_of_a_model_follows_weights_taps_and_seed():
    options = {"image_size": 32, "weights": None, "decoder": "transposed_conv", "seed": 0}
    changes = [
        {}, {"seed": 1}, {"taps": ["block2"]}, {"taps": ["block1", "block2"]},
        {"taps": ["block2", "block1"]}, {"backbone": "squeezenet1_1", "taps": ["fire2"]},
    ]  # fmt: skip
    keys = [feature_inversion(**{**options, **change}).features_key for change in changes]
    assert len(set(keys)) == len(changes)
    other = {"decoder": {"name": "residual", "width": 8}}
    assert feature_inversion(**{**options, **other}).features_key == keys[0]


def truncated(path):
    os.truncate(path, path.stat().st_size - 2)


def another_byte(path):
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncated, another_byte, Path.unlink])
@pytest.mark.parametrize("flip", [True, False])
def test_a_damaged_shard_alone_is_computed_anew_before_training(samples, monkeypatch, damage, flip):
    monkeypatch.setattr(disk_cache, "SHARD", 3 * ENTRY)
    monkeypatch.setattr(feature_cache, "AT_A_TIME", 1)
    cache, _ = opened(samples, flip=flip)
    before = [([np.copy(part) for part in parts], target) for parts, target in content(cache)]
    whole = {path: path.read_bytes() for path in cache.folder.iterdir()}
    (cache.folder / f".{FIRST}.abcdefgh.part").write_bytes(b"of a killed process")
    damage(cache.folder / f"{3:012}.shard")
    again, calls = opened(samples, flip=flip)
    assert calls == 1 + (2 * 2 if flip else 2)  # mirrored or not, photos 1 and 2, or 3 and 4
    assert_equal(content(again), before)
    assert opened(samples, flip=flip)[1] == 0
    left = {path: path.read_bytes() for path in cache.folder.glob("*.shard")}
    assert left == whole


def test_a_killed_run_leaves_whole_shards_to_the_next(samples, monkeypatch):
    monkeypatch.setattr(disk_cache, "SHARD", 3 * ENTRY)
    monkeypatch.setattr(feature_cache, "AT_A_TIME", 2)
    calls = []

    def dies(x):
        calls.append(1)
        if len(calls) == 6:  # the third batch of photos
            raise KeyboardInterrupt
        return Extract()(x)

    with pytest.raises(KeyboardInterrupt):
        FeatureCache(samples, settings(samples), dies, "weights and taps")
    (key,) = Path(settings(samples).cache_dir, "features").glob("*/")
    assert sorted(path.name for path in key.iterdir()) == [f"{place:012}.shard" for place in (0, 3)]
    cache, calls = opened(samples)
    assert calls == 1 + 2 * 2 and len(cache) == 10  # photos 2 and 3, then 4
    other, _ = opened(samples, cache_dir=str(key.parents[1] / "other"))
    assert_equal(content(cache), content(other))


# --- the limit


def test_what_does_not_fit_is_refused_before_anything_is_written(samples):
    needed = 10 * ENTRY / 2**30
    sentence = re.escape(
        f"the features need {needed:.3g} GiB and data.feature_cache_gib allows {needed / 2:.3g}; "
        "allow more, "
    )
    with pytest.raises(UserError, match=sentence):
        opened(samples, feature_cache_gib=needed / 2)
    assert keys(samples) == []
    opened(samples)
    with pytest.raises(UserError, match=sentence):
        opened(samples, feature_cache_gib=needed / 2)


def test_the_least_recently_used_keys_make_room(samples):
    limit = {"feature_cache_gib": (2 * 10 * ENTRY + 4000) / 2**30}  # two caches
    folders = {}
    for time, name in enumerate(("a", "b")):
        folders[name] = opened(samples, name, **limit)[0].folder
        os.utime(folders[name], (time, time))
    old = opened(samples, "a", **limit)[0]  # used again, after b
    opened(samples, "c", **limit)
    assert folders["a"].is_dir() and not folders["b"].exists()
    os.utime(folders["a"], (5, 5))
    before = content(old)
    opened(samples, "d", **limit)
    assert not folders["a"].exists() and len(keys(samples)) == 2
    assert_equal(content(old), before)  # whoever reads it goes on


def test_what_is_not_a_key_of_the_cache_is_left_alone_and_named(samples, capsys):
    limit = {"feature_cache_gib": (10 * ENTRY + 4000) / 2**30}  # one cache
    key = opened(samples, "a", **limit)[0].folder
    root = key.parent
    theirs = {
        "results/scores.csv": "40 MB of somebody's work", f"empty-handed/{FIRST}": "{}",
        f"lookalike/{FIRST}": '\n{"type": "|u1", "crc32": [], "shapes": []}\n',
        "lookalike/notes.txt": "mine",
        f"torn/{FIRST}": "12345", f"torn/.{FIRST}.abcdefgh.part": "1",
    }  # fmt: skip
    for name, text in theirs.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "linked").symlink_to(root / "results")
    capsys.readouterr()
    opened(samples, "b", **limit)
    assert not key.exists(), "its own earlier key makes room"
    assert {name: (root / name).read_text() for name in theirs} == theirs
    assert "as no cached features: empty-handed, linked, lookalike, results, torn" in (
        capsys.readouterr().out
    )


def test_a_key_with_something_of_the_users_in_it_is_computed_anew_around_it(samples):
    cache, _ = opened(samples)
    (cache.folder / "notes.txt").write_text("mine")
    (cache.folder / FIRST).write_text("torn")
    again, calls = opened(samples)
    assert calls and (again.folder / "notes.txt").read_text() == "mine"


# --- the stream


def stream(cache, start=0, count=9):
    return list(cache.batches(2, 7, start).take(count).as_numpy_iterator())


def test_the_stream_begins_anywhere_and_passes_over_every_entry(samples):
    cache, _ = opened(samples)
    whole = stream(cache, count=10)
    assert_equal(stream(cache, 3, 7), whole[3:])
    targets = [target.tobytes() for _, batch in whole for target in batch]
    everything = {target.tobytes() for _, target in content(cache)}
    assert len(everything) == 10
    assert set(targets[:10]) == set(targets[10:]) == everything and targets[:10] != targets[10:]
    for (pixels, mean), batch in whole:
        assert pixels.shape == (2, 8, 8, 3) and mean.shape == (2, 1, 1, 3)
        np.testing.assert_allclose(pixels, 300 * batch[:, ::2, ::2], rtol=2**-11)


def test_without_flips_it_is_the_stream_of_images(samples):
    cache, _ = opened(samples, flip=False)
    config = dataclasses.replace(settings(samples, flip=False))
    batches = pipeline.dataset(samples, config, training=True, batch_size=2, seed=7, start_step=2)
    plain = [batch["target"] for batch in batches.take(9).as_numpy_iterator()]
    np.testing.assert_allclose([target for _, target in stream(cache, 2)], plain, atol=1e-7)
