import itertools
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from fakes import photo, save
from PIL import Image

from tfrecon.base import images
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import augment, disk_cache, pipeline, store
from tfrecon.data.damage import damage
from tfrecon.data.sample import Sample

BOXES = Spec("boxes", {"count": 2, "size": 6})
CACHES = ("none", "memory", "disk")


def config(folder: Path, **options) -> DataConfig:
    options = {"image_size": 24, "damage": BOXES, "cache": "none", **options}
    return DataConfig(recipe=Spec("folder"), cache_dir=str(folder / "cache"), **options)


def clean_samples(folder: Path, count: int = 5, height: int = 32, width: int = 40) -> list[Sample]:
    samples = [Sample(f"photo {n}", target=folder / f"{n}.png") for n in range(count)]
    for number, sample in enumerate(samples):
        assert sample.target is not None
        save(sample.target, photo(height, width, seed=number))
    return samples


def coordinates(height: int, width: int) -> np.ndarray:
    """Red tells the row, green the column, so that a crop shows where it was cut."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows + 50, columns + 50, np.full_like(rows, 200)], axis=-1)


def damaged_pairs(folder: Path, count: int = 3, height: int = 32, width: int = 40) -> list[Sample]:
    """Two black boxes each, and the coordinates around and under them."""
    samples = []
    for number in range(count):
        boxes = ((2 + number, 3, 9, 7), (18, 20 + number, 7, 9))
        whole = coordinates(height, width)
        hidden = whole.copy()
        for top, left, high, wide in boxes:
            hidden[top : top + high, left : left + wide] = 0
        paths = folder / "damaged" / f"{number}.png", folder / "clean" / f"{number}.png"
        for path, pixels in zip(paths, (hidden, whole), strict=True):
            save(path, pixels)
        samples.append(Sample(f"pair {number}", *paths, boxes=boxes))
    return samples


def taken(batches: tf.data.Dataset, count: int = -1) -> list[Any]:
    return list(batches.take(count).as_numpy_iterator())


def joined(batches: tf.data.Dataset, count: int = -1) -> dict[str, np.ndarray]:
    """The values of `count` batches in one."""
    batches_taken = taken(batches, count)
    return {
        part: np.concatenate([batch[part] for batch in batches_taken]) for part in batches_taken[0]
    }


def assert_equal(first: list[dict[str, np.ndarray]], second: list[dict[str, np.ndarray]]) -> None:
    for mine, theirs in zip(first, second, strict=True):
        assert mine.keys() == theirs.keys()
        for part in mine:
            np.testing.assert_array_equal(mine[part], theirs[part], part)


# --- order and position ------------------------------------------------------------------------


def order(samples: list[Sample], data: DataConfig, seed: int, epochs: int) -> list[list[bytes]]:
    """The ids of each epoch; batches of 3 do not divide an epoch of 7."""
    batches = pipeline.dataset(samples, data, training=True, batch_size=3, seed=seed)
    ids = list(joined(batches, len(samples) * epochs // 3)["id"])
    return [ids[len(samples) * n :][: len(samples)] for n in range(epochs)]


def test_each_epoch_is_another_permutation_and_each_seed_another_order(tmp_path):
    samples = clean_samples(tmp_path, count=7)
    epochs = order(samples, config(tmp_path), seed=0, epochs=3)
    others = order(samples, config(tmp_path), seed=1, epochs=3)
    everything = sorted(sample.id.encode() for sample in samples)
    assert all(sorted(epoch) == everything for epoch in (*epochs, *others))
    assert len({tuple(epoch) for epoch in (*epochs, *others)}) == 6
    assert epochs == order(samples, config(tmp_path), seed=0, epochs=3)


@pytest.mark.parametrize("start", [1, 3, 6])
@pytest.mark.parametrize("crops", [1, 3])
def test_the_stream_can_start_at_any_step(tmp_path, start, crops):
    samples = clean_samples(tmp_path, count=5)  # with batches of 2, step 3 begins inside an epoch
    data = config(tmp_path, crops=crops)

    def stream(start_step: int) -> tf.data.Dataset:
        return pipeline.dataset(
            samples, data, training=True, batch_size=2, seed=4, start_step=start_step
        )

    assert_equal(taken(stream(start), 4), taken(stream(0).skip(start), 4))


@pytest.mark.parametrize("cache", CACHES)
def test_several_crops_of_a_photo_come_in_batches_in_turn(tmp_path, cache, monkeypatch):
    samples, calls = clean_samples(tmp_path, count=7), []
    load = store.Store.load
    monkeypatch.setattr(store.Store, "load", lambda *of: calls.append(of) or load(*of))

    def stream(crops: int) -> tf.data.Dataset:
        data = config(tmp_path, cache=cache, crops=crops)
        return pipeline.dataset(samples, data, training=True, batch_size=3, seed=2)

    expected, batches = taken(stream(1), 5), taken(stream(3), 15)
    assert len(calls) == 2, "a photo is loaded once for its three crops"
    for place, batch in enumerate(batches):
        np.testing.assert_array_equal(batch["id"], expected[place // 3]["id"])
        assert len(set(batch["id"])) == 3 or place // 3 == 2, "but across the end of an epoch"
    for part in ("target", "mask"):
        crops = np.concatenate([batch[part] for batch in batches])
        assert len(np.unique(crops, axis=0)) > 0.8 * len(crops), part
    whole = taken(pipeline.dataset(samples, config(tmp_path, crops=3), batch_size=7))
    assert_equal(whole, taken(pipeline.dataset(samples, config(tmp_path), batch_size=7)))


def test_evaluation_takes_each_sample_once_in_order(tmp_path):
    samples = clean_samples(tmp_path, count=5)
    batches = taken(pipeline.dataset(samples, config(tmp_path), batch_size=2))
    assert [len(batch["id"]) for batch in batches] == [2, 2, 1]
    ids = [name.decode() for batch in batches for name in batch["id"]]
    assert ids == [sample.id for sample in samples]


def test_shapes_types_and_ranges(tmp_path):
    batch = taken(pipeline.dataset(clean_samples(tmp_path), config(tmp_path), batch_size=3), 1)[0]
    assert {part: value.shape for part, value in batch.items()} == {
        "id": (3,), "input": (3, 24, 24, 3), "target": (3, 24, 24, 3), "mask": (3, 24, 24, 1),
    }  # fmt: skip
    for part in ("input", "target", "mask"):
        assert batch[part].dtype == np.float32
        assert 0 <= batch[part].min() <= batch[part].max() <= 1
    assert batch["target"].max() > 0.5, "not divided by 255 twice"


def test_samples_without_truth_give_input_and_mask_only(tmp_path):
    pairs = damaged_pairs(tmp_path)
    unknown = [Sample(pair.id, pair.input, boxes=pair.boxes) for pair in pairs]
    whole = taken(pipeline.dataset(pairs, config(tmp_path), batch_size=3))[0]
    blind = taken(pipeline.dataset(unknown, config(tmp_path), batch_size=3))[0]
    assert blind.keys() == {"id", "input", "mask"}
    assert_equal([blind], [{part: whole[part] for part in blind}])


# --- caches ------------------------------------------------------------------------------------


def mixed_samples(folder: Path) -> list[Sample]:
    """PNG, JPEG, a grey file that TensorFlow does not decode as we do, and regions of one photo."""
    save(folder / "a.png", photo(30, 44, seed=0))
    save(folder / "b.jpg", photo(44, 30, seed=1))
    Image.fromarray(photo(33, 35, seed=2)).convert("L").save(folder / "c.png")
    save(folder / "d.jpg", photo(60, 70, seed=3))
    regions = [(0, 0, 30, 30), (25, 31, 30, 36), (5, 40, 40, 30)]
    whole = [Sample(name, target=folder / name) for name in ("a.png", "b.jpg", "c.png")]
    return whole + [
        Sample(f"d {region}", target=folder / "d.jpg", region=region) for region in regions
    ]


@pytest.mark.parametrize("make", [mixed_samples, damaged_pairs])
@pytest.mark.parametrize("training", [True, False])
def test_caches_give_identical_batches(tmp_path, make, training):
    samples = make(tmp_path)

    def batches(cache: str) -> list[dict[str, np.ndarray]]:
        data = config(tmp_path, cache=cache)
        stream = pipeline.dataset(samples, data, training=training, batch_size=2, seed=1)
        return taken(stream, 5 if training else -1)

    decoded, in_memory, on_disk = (batches(cache) for cache in CACHES)
    assert_equal(decoded, in_memory)
    assert_equal(decoded, on_disk)
    assert_equal(decoded, batches("disk"))  # read this time


def test_each_file_is_decoded_once_for_all_its_regions(tmp_path, monkeypatch):
    decoded = []

    def counting(path, page, read=images.decoded):
        decoded.append(Path(path).name)
        return read(path)

    monkeypatch.setattr(images, "decoded", counting)
    samples = mixed_samples(tmp_path)
    for cache in ("memory", "disk", "disk"):
        store.Store(samples, ["target"], cache, tmp_path / "cache")
    assert sorted(decoded) == sorted(["a.png", "b.jpg", "c.png", "d.jpg"] * 2)


def test_a_reader_keeps_what_is_used_again_within_its_limit(tmp_path, monkeypatch):
    decoded = []

    def counting(path, page, read=images.decoded):
        decoded.append(path.name)
        return read(path)

    monkeypatch.setattr(images, "decoded", counting)
    places = [(sample.files[0], 0) for sample in clean_samples(tmp_path, count=3)]
    reader = store.Reader(places, allowed=2 * 32 * 40 * 3)
    for _ in range(2):
        for place in places:
            reader(*place, None)
    assert decoded == ["0.png", "1.png", "2.png", "2.png"]
    reader.release(places[:1])
    for place in (*places[1:], *places[1:]):
        reader(*place, None)
    assert decoded[4:] == ["2.png"], "there is room again"


def test_a_changed_file_or_box_is_seen_through_the_disk_cache(tmp_path):
    samples, data = damaged_pairs(tmp_path), config(tmp_path, cache="disk")

    def batch(samples: list[Sample]) -> dict[str, np.ndarray]:
        return taken(pipeline.dataset(samples, data, batch_size=3))[0]

    before = batch(samples)
    assert samples[1].target is not None
    save(samples[1].target, coordinates(32, 40)[:, ::-1])
    changed = batch(samples)
    same = [bool((before["target"][n] == changed["target"][n]).all()) for n in range(3)]
    assert same == [True, False, True]
    moved = Sample(samples[0].id, samples[0].input, samples[0].target, boxes=((0, 16, 8, 8),))
    assert (batch([moved, *samples[1:]])["mask"][0] != before["mask"][0]).any()


def test_the_disk_cache_goes_on_where_it_was_left_and_mends_what_is_damaged(tmp_path, monkeypatch):
    decoded = []

    def counting(path, *rest, read=images.decoded, **options):
        decoded.append(path.name)
        return read(path, *rest, **options)

    monkeypatch.setattr(images, "decoded", counting)
    monkeypatch.setattr(disk_cache, "SHARD", 2 * 32 * 40 * 3)
    samples, data = clean_samples(tmp_path), config(tmp_path, cache="disk")
    torn = samples[3].target
    assert torn is not None
    whole = torn.read_bytes()
    facts = torn.stat()
    torn.write_bytes(bytes(len(whole)))
    os.utime(torn, ns=(0, facts.st_mtime_ns))
    with pytest.raises(UserError, match="cannot be decoded"):
        pipeline.dataset(samples, data, batch_size=5)
    torn.write_bytes(whole)
    os.utime(torn, ns=(0, facts.st_mtime_ns))
    expected = taken(pipeline.dataset(samples, config(tmp_path), batch_size=5))
    decoded.clear()
    assert_equal(taken(pipeline.dataset(samples, data, batch_size=5)), expected)
    assert sorted(decoded) == ["2.png", "3.png", "4.png"]
    decoded.clear()
    shard = sorted((tmp_path / "cache").glob("*/*.shard"))[1]
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    assert_equal(taken(pipeline.dataset(samples, data, batch_size=5)), expected)
    assert sorted(decoded) == ["2.png", "3.png"]


def test_a_failure_while_writing_the_disk_cache_leaves_nothing(tmp_path):
    samples, data = clean_samples(tmp_path), config(tmp_path, cache="disk")
    assert samples[-1].target is not None
    samples[-1].target.write_bytes(samples[-1].target.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be decoded"):
        pipeline.dataset(samples, data, batch_size=5)
    assert not (tmp_path / "cache").exists()


def test_images_that_do_not_fit_into_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MEMORY_SHARE", 1e-9)
    with pytest.raises(UserError, match=r"keep them on disk with --set data\.cache=disk"):
        pipeline.dataset(clean_samples(tmp_path), config(tmp_path, cache="memory"), batch_size=1)


# --- damage ------------------------------------------------------------------------------------


def masks_by_id(batches: tf.data.Dataset, count: int = -1) -> dict[bytes, np.ndarray]:
    values = joined(batches, count)
    return dict(zip(values["id"], values["mask"], strict=True))


def test_training_damage_is_fresh_at_each_step(tmp_path):
    samples = clean_samples(tmp_path, count=2)
    data = config(tmp_path, load_size=24, flip=False)
    drawn = joined(pipeline.dataset(samples, data, training=True, batch_size=2, seed=0), 8)
    assert len(np.unique(drawn["mask"], axis=0)) > 14, "the same places in each epoch"
    other = joined(pipeline.dataset(samples, data, training=True, batch_size=2, seed=1), 8)
    assert len(np.unique(np.concatenate([drawn["mask"], other["mask"]]), axis=0)) > 28


def test_evaluation_damage_belongs_to_the_id_alone(tmp_path):
    samples, data = clean_samples(tmp_path), config(tmp_path)
    masks = masks_by_id(pipeline.dataset(samples, data, batch_size=5))
    assert len(np.unique(np.stack(list(masks.values())), axis=0)) == 5, "ids share a draw"
    variants = (
        pipeline.dataset(samples[::-1], data, batch_size=2),
        pipeline.dataset(samples[1:3], data, batch_size=1, seed=9),
    )
    for variant in variants:
        for name, mask in masks_by_id(variant).items():
            np.testing.assert_array_equal(mask, masks[name])


def test_drawn_damage_blackens_the_mask_only(tmp_path):
    batch = taken(pipeline.dataset(clean_samples(tmp_path), config(tmp_path), batch_size=5))[0]
    assert set(np.unique(batch["mask"])) == {0, 1}
    np.testing.assert_array_equal(batch["mask"].sum((1, 2, 3)), 2 * 6 * 6)
    np.testing.assert_array_equal(batch["input"], batch["target"] * (1 - batch["mask"]))


def test_pairs_keep_their_damage_unless_training_redraws_it(tmp_path):
    samples = damaged_pairs(tmp_path)
    data = config(tmp_path, load_size=24, flip=False, redraw_damage=True)
    drawn = joined(pipeline.dataset(samples, data, training=True, batch_size=3), 3)
    np.testing.assert_array_equal(drawn["mask"].sum((1, 2, 3)), 2 * 6 * 6)
    kept = joined(pipeline.dataset(samples, data, batch_size=3))
    plain = joined(pipeline.dataset(samples, config(tmp_path), batch_size=3))
    np.testing.assert_array_equal(kept["mask"], plain["mask"])
    assert kept["mask"].sum() > drawn["mask"][:3].sum()


def test_boxes_of_one_size_are_drawn_anew_where_training_may_choose(tmp_path):
    pairs = damaged_pairs(tmp_path)
    alike = [replace(s, boxes=((1, 1, 5, 5), (9, 9, 5, 5), (17, 3, 5, 5))) for s in pairs]
    unlike = [replace(alike[0], boxes=alike[0].boxes[:2]), *alike[1:]]
    data = config(tmp_path, damage=None, load_size=24, flip=False, redraw_damage="auto")
    drawn = joined(pipeline.dataset(alike, data, training=True, batch_size=3), 3)
    np.testing.assert_array_equal(drawn["mask"].sum((1, 2, 3)), 3 * 5 * 5)
    assert len({mask.tobytes() for mask in drawn["mask"]}) > 1
    for samples, settings in ((unlike, data), (alike, replace(data, damage=BOXES))):
        kept, plain = (
            joined(pipeline.dataset(samples, each, training=True, batch_size=3), 3)
            for each in (settings, replace(settings, redraw_damage=False))
        )
        np.testing.assert_array_equal(kept["mask"], plain["mask"])


def test_data_that_says_nothing_of_its_damage_is_an_error(tmp_path):
    samples, pairs = clean_samples(tmp_path), damaged_pairs(tmp_path / "pairs")
    contest = DataConfig(recipe=Spec("animals_inpainting"))
    with pytest.raises(UserError, match=r"--set data\.damage\.name=boxes"):
        pipeline.dataset(samples, contest, batch_size=1)
    with pytest.raises(UserError, match="has no damaged file but others have"):
        pipeline.dataset([*pairs, *samples], config(tmp_path), batch_size=1)


# --- geometry ----------------------------------------------------------------------------------


def test_one_draw_moves_input_target_and_mask(tmp_path):
    data = config(tmp_path, load_size=32)  # the photos' own size, so that nothing is blended
    batches = pipeline.dataset(damaged_pairs(tmp_path), data, training=True, batch_size=3)
    values = joined(batches, 12)
    assert set(np.unique(values["mask"])) == {0, 1}
    hidden = (values["input"] == 0).all(axis=-1, keepdims=True)
    np.testing.assert_array_equal(hidden, values["mask"] == 1)
    known = ~hidden[..., 0]
    np.testing.assert_array_equal(values["input"][known], values["target"][known])

    red, green = (np.rint(values["target"][..., channel] * 255) - 50 for channel in (0, 1))
    steps = np.diff(green, axis=2).reshape(len(green), -1)
    assert (steps == steps[:, :1]).all() and set(steps[:, 0]) == {-1, 1}, "some are mirrored, whole"
    assert (np.diff(red, axis=1) == 1).all(), "and never upside down"
    tops, lefts = np.unique(red.min((1, 2))), np.unique(green.min((1, 2)))
    assert {tops.min(), tops.max()} == {0, 8} and lefts.min() < 4 and lefts.max() > 12
    assert tops.max() <= 32 - 24 and lefts.max() <= 40 - 24


def test_resized_pairs_agree_outside_the_mask(tmp_path):
    data = config(tmp_path, load_size=29)
    values = joined(pipeline.dataset(damaged_pairs(tmp_path), data, training=True, batch_size=3), 8)
    assert set(np.unique(values["mask"])) == {0, 1}, "resizing blends a mask; it must stay binary"
    assert values["mask"].sum((1, 2, 3)).max() <= 2 * 11 * 10, "more than the boxes and their edge"
    known = values["mask"][..., 0] == 0
    np.testing.assert_allclose(values["input"][known], values["target"][known], atol=2e-3)
    assert not values["input"][~known].any()


def test_load_size_of_the_image_means_no_crop(tmp_path):
    samples = clean_samples(tmp_path, count=3, height=24, width=24)
    data = config(tmp_path, load_size=24, flip=False)
    values = joined(pipeline.dataset(samples, data, training=True, batch_size=3), 2)
    for name, target in zip(values["id"], values["target"], strict=True):
        pixels = photo(24, 24, seed=int(name.split()[-1]))
        np.testing.assert_array_equal(target, images.to_float(pixels))


def test_photos_are_cropped_without_load_size(tmp_path):
    [sample] = clean_samples(tmp_path, count=1, height=48, width=48)
    values = joined(
        pipeline.dataset([sample], config(tmp_path, flip=False), training=True, batch_size=1), 12
    )
    assert len(np.unique(values["target"], axis=0)) > 3, "286 : 256 leaves places to choose from"


@pytest.mark.parametrize(("height", "width"), [(48, 80), (80, 48), (16, 20), (24, 31)])
def test_evaluation_is_the_centre_after_the_short_side_is_fitted(tmp_path, height, width):
    [sample] = clean_samples(tmp_path, count=1, height=height, width=width)
    target = joined(pipeline.dataset([sample], config(tmp_path), batch_size=1))["target"][0]
    short = min(height, width)
    new_height, new_width = -(-height * 24 // short), -(-width * 24 // short)
    fitted = Image.fromarray(photo(height, width, seed=0)).resize(
        (new_width, new_height), Image.Resampling.BILINEAR
    )  # Pillow antialiases as we do
    top, left = (new_height - 24) // 2, (new_width - 24) // 2
    expected = images.to_float(np.asarray(fitted)[top : top + 24, left : left + 24])
    np.testing.assert_allclose(target, expected, atol=1.01 / 255)


SQUARE = partial(augment.centre_crop, size=16)
STEPS = {
    "enlarge": (partial(augment.resize_short_side, size=40), (40, 49)),
    "shrink": (partial(augment.resize_short_side, size=20), (20, 25)),
    "keep": (partial(augment.resize_short_side, size=27), (27, 33)),
    "random_window": (partial(augment.random_window, size=16, load_size=40), (11, 11)),
    "resize": (partial(augment.resize, size=30), (30, 30)),
    "resize, antialiased": (partial(augment.resize, size=12), (12, 12)),
    "centre_crop": (partial(augment.centre_crop, size=16), (16, 16)),
    "random_flip": (augment.random_flip, (27, 33)),
    "random_turn": (lambda parts, seed: augment.random_turn(SQUARE(parts, seed), seed), (16, 16)),
}


def test_all_parts_are_turned_alike_by_each_multiple_of_90_degrees():
    pixels = photo(16, 16, seed=0)
    turned = [
        augment.random_turn({"target": pixels, "input": pixels + 1}, (0, n)) for n in range(20)
    ]
    all_turns = {np.rot90(pixels, quarters).tobytes() for quarters in range(4)}
    assert {parts["target"].numpy().tobytes() for parts in turned} == all_turns
    for parts in turned:
        np.testing.assert_array_equal(parts["input"], parts["target"] + 1)


def test_training_crops_are_turned_on_request_alone(tmp_path):
    samples = clean_samples(tmp_path, count=1, height=24, width=24)
    asked = {"damage": Spec("identity"), "load_size": 24, "flip": False}
    turns = list[int]()
    for turn in (False, True):
        data = config(tmp_path, turn=turn, **asked)
        batches = pipeline.dataset(samples, data, training=True, batch_size=8)
        crops = next(iter(batches))["target"].numpy()
        turns.append(len({crop.tobytes() for crop in crops}))
    assert turns[0] == 1 < turns[1]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_steps_do_the_same_eagerly_and_in_a_pipeline(name, kind):
    step, (height, width) = STEPS[name]
    photos = {"target": photo(27, 33, seed=0), "mask": photo(27, 33, seed=1)[..., :1]}
    parts = {part: pixels.astype(kind) for part, pixels in photos.items()}
    seeds = [(0, number) for number in range(12)]

    def apply(seed):
        unknown = tf.numpy_function(lambda: list(parts.values()), [], [kind, kind])
        shaped = [tf.ensure_shape(part, [None, None, None]) for part in unknown]
        return step(dict(zip(parts, shaped, strict=True)), seed)

    piped = tf.data.Dataset.from_tensor_slices(tf.constant(seeds, tf.int64)).map(apply)
    piped_parts = list(piped.as_numpy_iterator())
    for seed, theirs in zip(seeds, piped_parts, strict=True):
        constants = {part: tf.constant(pixels) for part, pixels in parts.items()}
        mine = step(constants, tf.constant(seed, tf.int64))
        assert mine.keys() == theirs.keys() == parts.keys()
        for part, pixels in parts.items():
            assert theirs[part].shape == (height, width, pixels.shape[-1])
            np.testing.assert_array_equal(mine[part], theirs[part])
            assert pixels.min() - 1e-3 < theirs[part].min() <= theirs[part].max()
            assert theirs[part].max() < pixels.max() + 1e-3
    assert (len({theirs["mask"].tobytes() for theirs in piped_parts}) > 1) == name.startswith(
        "random"
    )


@pytest.mark.parametrize(("size", "load_size"), [(32, 60), (50, 80), (32, 54), (16, 24), (20, 20)])
def test_a_window_has_the_scale_of_load_size_and_lies_anywhere(size, load_size):
    window = partial(augment.random_window, size=size, load_size=load_size)
    steps = window, partial(augment.resize, size=size)
    places = []
    for number in range(40):
        seed = tf.constant([7, number], tf.int64)
        parts = {"target": tf.constant(coordinates(60, 80))}
        for step in steps:
            parts = step(parts, seed)
        window = parts["target"].numpy() - 50
        for values in (window[size // 2, :, 1], window[:, size // 2, 0]):
            inner = values[2:-2]  # the pixels at the edge see nothing of what lies behind it
            np.testing.assert_allclose(np.diff(inner), 60 / load_size, rtol=0.05)
        places.append((window[..., 0].min(), window[..., 1].min()))
    side = 60 * size / load_size
    for (first, last), room in zip(np.quantile(places, (0, 1), axis=0).T, (60, 80), strict=True):
        assert 0 <= first < 4 + 60 / load_size
        assert room - side - 4 < last < room - side + 60 / load_size + 1


def test_a_resized_photo_is_never_a_pixel_short():
    step = partial(augment.resize_short_side, size=286)
    for height, width in itertools.product((3, 7, 101, 286, 287), (5, 11, 285, 300)):
        shape = step({"target": tf.zeros([height, width, 1], tf.uint8)}, None)["target"].shape
        ratio = np.clip(height / width, 1 / augment.LONG, augment.LONG)
        assert min(shape[:2]) == 286 and abs(shape[0] / shape[1] / ratio - 1) < 0.05


@pytest.mark.parametrize(("height", "width"), [(20_000, 1), (2, 30_001), (3_001, 7)])
def test_the_middle_of_a_strip_is_cut_before_it_is_enlarged(height, width):
    """In the graph a strip of 20,000 pixels would take gigabytes, and shows the same."""
    rows, columns = np.mgrid[:height, :width]
    strip = np.stack([rows, columns, rows * 0], axis=-1).astype(np.float32)
    steps = (
        partial(augment.resize_short_side, size=64), partial(augment.centre_crop, size=64),
    )  # fmt: skip
    largest = 0
    parts = {"target": tf.constant(strip)}
    for step in steps:
        parts = step(parts, None)
        largest = max(largest, int(tf.size(parts["target"])))
    assert largest <= (augment.LONG + 1) * 64 * 64 * 3
    scale = min(height, width) / 64
    expected = [(side - 1) / 2 for side in (height, width)]
    found = parts["target"].numpy()[..., :2].mean(axis=(0, 1))
    np.testing.assert_allclose(found, expected, atol=max(1.0, scale))


# --- boxes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("piped", [False, True])
def test_boxes_lie_inside_have_their_size_and_do_not_meet(piped):
    draw = damage(Spec("boxes", {"count": 3, "size": 7}))
    target = photo(30, 40, seed=0) / np.float32(255)
    seeds = tf.data.Dataset.range(100).map(lambda number: tf.stack([number, 5]))
    if piped:
        draws = seeds.map(lambda seed: draw(target, seed)).as_numpy_iterator()
    else:
        draws = ((a.numpy(), b.numpy()) for a, b in (draw(target, seed) for seed in seeds))
    union = np.zeros((30, 40))
    for damaged, mask in draws:
        assert mask.shape == (30, 40, 1) and set(np.unique(mask)) == {0, 1}
        assert mask.sum() == 3 * 7 * 7, "cut off at the border, or one on another"
        np.testing.assert_array_equal(damaged, target * (1 - mask))
        union += mask[..., 0]
    for side in (union, union.T, union[::-1], union[:, ::-1].T):
        assert side[0].any(), "a border is never reached"


def test_boxes_that_cannot_avoid_each_other_overlap():
    draw = damage(Spec("boxes", {"count": 4, "size": 6}))
    _, mask = draw(tf.ones([10, 8, 3]), [0, 1])
    assert 36 < mask.numpy().sum() <= 80


def test_a_box_of_the_whole_image_is_allowed_and_a_larger_one_is_not(tmp_path):
    draw = damage(Spec("boxes", {"count": 1, "size": 8}))
    assert draw(tf.ones([8, 8, 3]), [0, 0])[1].numpy().all()
    with pytest.raises(UserError, match=r"8 pixels does not fit into .* 7×9"):
        draw(tf.ones([7, 9, 3]), [0, 0])
    data = config(tmp_path, damage=Spec("boxes", {"size": 25}))
    with pytest.raises(UserError, match=r"^a box of 25 pixels does not fit"):
        pipeline.dataset(clean_samples(tmp_path), data, batch_size=1)
    with pytest.raises(
        UserError, match="option 'count' of damage 'boxes' must be 1 or more, not 0"
    ):
        damage(Spec("boxes", {"count": 0}))


# --- what Keras and the verbs take -------------------------------------------------------------


def test_keras_takes_pairs_and_the_weights_of_holes(tmp_path):
    batches = pipeline.dataset(clean_samples(tmp_path), config(tmp_path), batch_size=5)
    [batch] = taken(batches)
    [(x, y)] = pipeline.keras_dataset(batches).as_numpy_iterator()
    np.testing.assert_array_equal(x, np.concatenate([batch["input"], batch["mask"]], axis=-1))
    np.testing.assert_array_equal(y, batch["target"])
    [(_, _, weights)] = pipeline.keras_dataset(batches, hole_weight=4.0).as_numpy_iterator()
    np.testing.assert_array_equal(weights, np.where(batch["mask"] == 1, 4, 1))


def test_data_without_masks_has_neither_channel_nor_weights(tmp_path):
    pairs = [Sample(pair.id, pair.input, pair.target) for pair in damaged_pairs(tmp_path)]
    assert not pipeline.has_mask(pairs, config(tmp_path))
    assert pipeline.has_mask(damaged_pairs(tmp_path), config(tmp_path))
    assert pipeline.has_mask(clean_samples(tmp_path), config(tmp_path))
    batches = pipeline.dataset(pairs, config(tmp_path), batch_size=3)
    [(x, y)] = pipeline.keras_dataset(batches, hole_weight=4.0).as_numpy_iterator()
    assert x.shape == y.shape == (3, 24, 24, 3)


def test_native_batches_group_equal_sizes_and_keep_the_order(tmp_path):
    sizes = [(20, 30)] * 3 + [(30, 20)] + [(20, 30)] * 2
    samples = []
    for number, (height, width) in enumerate(sizes):
        save(tmp_path / f"{number}.png", photo(height, width, seed=number))
        box = (number, 2, 5, 4)
        samples.append(Sample(str(number), input=tmp_path / f"{number}.png", boxes=(box,)))
    batches = list(pipeline.native_batches(samples, batch_size=2))
    assert [[sample.id for sample in group] for group, _, _ in batches] == [
        ["0", "1"], ["2"], ["3"], ["4", "5"],
    ]  # fmt: skip
    for group, pixels, masks in batches:
        assert masks is not None and masks.shape == (*pixels.shape[:3], 1)
        for sample, image, mask in zip(group, pixels, masks, strict=True):
            number = int(sample.id)
            np.testing.assert_array_equal(
                image, images.to_float(photo(*sizes[number], seed=number))
            )
            assert mask.sum() == 20 and mask[number : number + 5, 2:6].all()
    whole = [Sample(sample.id, input=sample.input) for sample in samples]
    assert all(masks is None for _, _, masks in pipeline.native_batches(whole, batch_size=2))


def test_a_pair_of_two_sizes_is_an_error_that_names_it(tmp_path):
    [pair] = damaged_pairs(tmp_path, count=1)
    assert pair.target is not None
    save(pair.target, coordinates(32, 39))
    with pytest.raises(UserError, match="'pair 0' differ in size"):
        pipeline.dataset([pair], config(tmp_path, cache="memory"), batch_size=1)
