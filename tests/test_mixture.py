"""Training photos of several recipes: their shares, their order, and what cannot be mixed."""

import re
from collections import Counter
from pathlib import Path

import fakes
import numpy as np
import pytest

from tfrecon.base.config import Config, DataConfig, from_tables
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import pipeline
from tfrecon.data.mixture import extra_samples, extras, mixed_order, quotas
from tfrecon.data.photos import print_once
from tfrecon.data.sample import Sample
from tfrecon.training import datasets

BOXES = Spec("boxes", {"size": 6})


def order(counts, weights, length: int, seed: int = 0, position: int = 0) -> np.ndarray:
    """(length, 2): position and index."""
    found = mixed_order(counts, weights, seed, position).take(length)
    return np.array(list(found.as_numpy_iterator()))


def photos(root: Path, count: int = 12, first: int = 0) -> Path:
    for number in range(count):
        fakes.save(root / f"{root.name}{number}.png", fakes.photo(24, 24, seed=first + number))
    return root


def pairs(root: Path) -> Path:
    for side in ("input", "target"):
        photos(root / side, first=50)
        for path in (root / side).iterdir():
            path.rename(path.with_name(path.name.replace(side, "pair")))
    return root


def config(root: Path, *extra: dict, **data) -> Config:
    data = {"recipe": "folder", "image_size": 16, "load_size": 16, "root": str(root), **data}
    tables = {"data": {"damage": BOXES.to_dict(), **data, "extra": list(extra)}}
    return from_tables({"model": "pix2pix", "fit": {"batch_size": 4}, **tables})


# --- order -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "weights", "expected"),
    [
        ([60, 30], [1, 1], [45, 45]),
        ([60, 30], [1, 0.5], [60, 30]),
        ([10, 1], [1, 1], [6, 5]),
        ([5, 5, 5], [1, 2, 1], [4, 7, 4]),  # 3.75, 7.5, 3.75
        ([3, 300], [1, 0.25], [242, 61]),  # 242.4 and 60.6
    ],
)
def test_an_epoch_shows_exactly_the_shares(counts, weights, expected):
    assert quotas(counts, weights) == expected
    total = sum(counts)
    found = order(counts, weights, 4 * total)
    np.testing.assert_array_equal(found[:, 0], np.arange(4 * total))
    source = np.searchsorted(np.cumsum(counts), found[:, 1], side="right")
    for epoch in source.reshape(4, total):
        np.testing.assert_array_equal(np.bincount(epoch, minlength=len(counts)), expected)


def test_sources_are_mixed_evenly_within_an_epoch():
    found = order([400, 100], [1, 1], 500)[:, 1] >= 400
    # A quarter of an epoch, drawn without replacement: 62.5 expected, standard deviation 4.8.
    np.testing.assert_allclose(found.reshape(4, 125).sum(axis=1), 62.5, atol=20)
    assert (np.diff(found.astype(int)) != 0).sum() > 200, "sources come in blocks"


@pytest.mark.parametrize("weights", [[1, 1], [1, 0.3], [1, 4]])
def test_a_source_shows_all_its_photos_before_any_comes_again(weights):
    counts = [7, 5]
    found = order(counts, weights, 12 * 30)[:, 1]
    for first, count in ((0, 7), (7, 5)):
        own = found[(found >= first) & (found < first + count)]
        times = Counter(own.tolist())
        # Epochs shuffle what they show, so an open pass is the only difference.
        assert len(times) == count and max(times.values()) - min(times.values()) <= 1


def test_epochs_and_seeds_differ_and_repeat_exactly():
    one = order([6, 6], [1, 1], 36)
    np.testing.assert_array_equal(one, order([6, 6], [1, 1], 36))
    assert (one[:, 1] != order([6, 6], [1, 1], 36, seed=1)[:, 1]).any()
    epochs = {tuple(epoch) for epoch in one[:, 1].reshape(3, 12)}
    assert len(epochs) == 3


@pytest.mark.parametrize("position", [1, 11, 12, 13, 100])
def test_the_order_can_start_anywhere(position):
    whole = order([7, 5], [1, 0.7], position + 30)
    np.testing.assert_array_equal(order([7, 5], [1, 0.7], 30, position=position), whole[position:])


# --- the stream --------------------------------------------------------------------------------


def mixed(tmp_path: Path, **data) -> tuple[Config, datasets.Data]:
    other = {"name": "folder", "root": str(photos(tmp_path / "other", first=20)), "weight": 0.5}
    settings = config(photos(tmp_path / "main"), other, **data)
    return settings, datasets.load_data(settings)


def test_training_mixes_and_validation_does_not(tmp_path):
    settings, data = mixed(tmp_path)
    main, other = len(data.train), len(data.extra[0])
    assert (main, other) == (9, 9) and len(data.all_train) == 18
    batches = pipeline.dataset(
        data.train, settings.data, training=True, batch_size=4, extra=data.extra
    )
    ids = [name for batch in batches.take(9).as_numpy_iterator() for name in batch["id"]]
    assert sum(name.startswith(b"other") for name in ids) == 2 * 6  # a third in each of two epochs
    assert set(ids) == {s.id.encode() for s in (*data.train, *data.extra[0])}, "another split's"
    truth = {s.id.encode(): s.target for s in (*data.train, *data.extra[0])}
    batch = next(batches.as_numpy_iterator())
    for name, target in zip(batch["id"], batch["target"], strict=True):
        whole = fakes.Image.open(truth[name]).resize((16, 16), fakes.Image.Resampling.BILINEAR)
        sides = [np.asarray(whole)[:, ::step] / 255 for step in (1, -1)]
        assert min(abs(target - side).max() for side in sides) < 0.02, "not the photo of its id"
    shown = datasets.validation_batches(settings, data, replicas=1)
    assert sum(len(x) for x, _ in shown) == len(data.val)


@pytest.mark.parametrize("start", [1, 5, 7])
@pytest.mark.parametrize("crops", [1, 2])
def test_the_mixed_stream_can_start_at_any_step(tmp_path, start, crops):
    settings, data = mixed(tmp_path, crops=crops)
    batches = pipeline.dataset(
        data.train, settings.data, training=True, batch_size=4, extra=data.extra, start_step=start
    )
    for step, batch in enumerate(batches.take(3).as_numpy_iterator(), start + 1):
        shown = [name.decode() for name in batch["id"]]
        assert datasets.batch_ids(settings, data, step) == shown
    later = datasets.training_batches(settings, data, start).take(3).as_numpy_iterator()
    whole = datasets.training_batches(settings, data).skip(start).take(3).as_numpy_iterator()
    for (x, y), (other_x, other_y) in zip(later, whole, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)


def test_damaged_pairs_and_clean_photos_mix_when_all_damage_is_drawn(tmp_path):
    other = {"name": "folder", "root": str(pairs(tmp_path / "other"))}
    main = photos(tmp_path / "main")
    with pytest.raises(
        UserError, match=r"are clean .*'folder' are damaged, without masks; set"
    ) as e:
        datasets.load_data(config(main, other))
    assert "data.redraw_damage=true" in str(e.value) and "\n" not in str(e.value)
    settings = config(main, other, redraw_damage=True)
    data = datasets.load_data(settings)
    x, _ = next(datasets.training_batches(settings, data).as_numpy_iterator())
    assert data.mask and x.shape == (4, 16, 16, 4)
    np.testing.assert_array_equal(x[..., 3].sum((1, 2)), 2 * 6 * 6)


def test_pairs_mix_with_pairs(tmp_path):
    other = {"name": "folder", "root": str(pairs(tmp_path / "other"))}
    settings = config(pairs(tmp_path / "main"), other)
    data = datasets.load_data(settings)
    x, y = next(datasets.training_batches(settings, data).as_numpy_iterator())
    assert not data.mask
    np.testing.assert_array_equal(x, y)  # both sides of these pairs are the same photo


def test_training_may_not_give_masks_that_validation_lacks(tmp_path, capsys):
    settings = config(pairs(tmp_path / "main"), redraw_damage=True)
    with pytest.raises(
        UserError, match=r"validation reads give no masks .* training draws has one"
    ):
        datasets.load_data(settings)
    print_once.cache_clear()
    datasets.load_data(config(tmp_path / "main", redraw_damage=True, damage="blur"))
    assert "training draws blur anew onto the clean photos; with --set" in capsys.readouterr().out


# --- errors ------------------------------------------------------------------------------------


def test_extras_are_read_like_losses():
    data = from_tables({
        "model": "pix2pix",
        "data": {"extra": ["demo", {"name": "folder", "root": "p", "weight": 2, "inputs": "a"}]},
    }).data  # fmt: skip
    assert extras(data) == [
        (Spec("demo"), None, 1.0), (Spec("folder", {"inputs": "a"}), Path("p"), 2.0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"weight": 0},
            "the weight of data.extra 'folder' must be greater than 0 and finite, not 0",
        ),
        ({"weight": "1"}, "must be a number, not '1'"),
        ({"weight": float("inf")}, "finite, not inf"),
        ({"weight": True}, "not True"),
        ({"root": 3}, "the root of data.extra 'folder' must be a string or nothing, not 3"),
        ({"root": "nowhere"}, "folder 'nowhere' does not exist"),
        ({"rooot": "p"}, "unknown option 'rooot' of recipe 'folder'; known: inputs, layout"),
        ({"name": "foldr"}, "unknown recipe 'foldr'; did you mean 'folder'?"),
    ],
)
def test_a_wrong_extra_is_one_sentence(table, said):
    data = DataConfig(extra=[Spec.parse({"name": "folder", **table}, "data.extra")])
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        extra_samples(data)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_mixed(tmp_path):
    with pytest.raises(UserError, match=r"a weight of 0.001 in data.extra shows no photo in an"):
        quotas([100, 3], [1, 0.001])
    with pytest.raises(UserError, match=r"set data\.extra=\[\], or data\.feature_cache_gib=0"):
        config(tmp_path, {"name": "demo"}, feature_cache_gib=1)
    clean = [Sample("a", target=photos(tmp_path / "main", 1) / "main0.png")]
    data = config(tmp_path, {"name": "demo"}).data
    with pytest.raises(UserError, match=r"data.extra names 1 recipes and photos of 0 are given"):
        pipeline.dataset(clean, data, training=True, batch_size=1)


def test_unreadable_files_of_an_extra_recipe_are_listed(tmp_path):
    other = photos(tmp_path / "other")
    for path in other.iterdir():
        path.write_bytes(b"no image")
    settings = config(photos(tmp_path / "main"), {"name": "folder", "root": str(other)})
    with pytest.raises(UserError, match=r"9 image files cannot be read: .*other"):
        datasets.load_data(settings)
    with pytest.raises(UserError, match="no image of 'folder' can be read"):
        datasets.load_data(settings, skip_unreadable=True)
