"""Inference at any size: padding, cropping, tiles."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from exported_models import fixed, tiny

from tfrecon.base.errors import UserError
from tfrecon.inference.restorer import restore_any_size, restore_tiled, restorer
from tfrecon.layers.tiling import (
    crop_to,
    map_tiles,
    pad_to_multiple,
    pad_to_size,
    tile_starts,
    tile_weights,
)
from tfrecon.models.supervised import wrapped


def photos(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).random(shape, np.float32)


# Padding


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (1, 9), (2, 3), (16, 8), (17, 33)])
def test_padding_reflects_as_numpy_does(size):
    x = photos(2, *size, 4)
    down, right = -size[0] % 16, -size[1] % 16
    expected = np.pad(x, ((0, 0), (0, down), (0, right), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(pad_to_multiple(tf.constant(x), 16), expected)


def test_padding_works_with_unknown_sizes_and_is_undone_by_the_crop():
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def there_and_back(x):
        size = tf.shape(x)
        padded = pad_to_multiple(x, 64)
        return tf.shape(padded), crop_to(padded, size[1], size[2])

    for size in ((3, 70), (64, 1)):
        x = photos(1, *size, 3)
        shape, back = there_and_back(x)
        assert shape.numpy().tolist() == [1, 64, 128 if size[1] == 70 else 64, 3]
        np.testing.assert_array_equal(back, x)


def test_padding_to_a_size_leaves_longer_sides():
    x = photos(1, 3, 10, 3)
    padded = pad_to_size(tf.constant(x), 8, 8).numpy()
    assert padded.shape == (1, 8, 10, 3)
    np.testing.assert_array_equal(padded[:, :3], x)


# Any size


@pytest.mark.parametrize("channels", [3, 4])
def test_restorer_equals_the_model_at_sizes_that_it_takes(channels):
    model = tiny(channels == 4)
    x = photos(2, 24, 40, channels)
    np.testing.assert_allclose(restorer(model)(x), model(x, training=False), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (23, 41)])
def test_restorer_equals_the_model_on_the_reflected_photo(size):
    model = tiny(True)
    x = photos(1, *size, 4)
    padding = ((0, 0), (0, -size[0] % 8), (0, -size[1] % 8), (0, 0))
    whole = model(np.pad(x, padding, mode="reflect"), training=False).numpy()
    expected = whole[:, : size[0], : size[1]]
    np.testing.assert_allclose(restorer(model)(x), expected, atol=1e-6)


def test_restorer_takes_tensors_and_traces_once_for_all_sizes():
    model = tiny(False)
    traces = []
    call = model.call

    def counting(*arguments, **keywords):
        traces.append(1)
        return call(*arguments, **keywords)

    model.call = counting
    restore = restorer(model)
    for size in (8, 9, 30):
        assert restore(tf.constant(photos(1, size, size + 3, 3))).shape == (1, size, size + 3, 3)
    assert len(traces) == 1


def test_restorer_clips_to_the_image_range():
    inputs = keras.Input((None, None, 3))
    restored = restorer(wrapped(keras.Model(inputs, 3 * inputs - 1)))(photos(1, 4, 4, 3))
    assert restored.min() == 0 and restored.max() == 1


def test_restorer_refuses_what_it_cannot_serve():
    model = tiny(False)
    with pytest.raises(ValueError, match=r"must be \(B,H,W,C\)"):
        restorer(model)(photos(8, 8, 3))
    with pytest.raises(UserError, match=r"supervised\.wrapped\(model, size_multiple="):
        restorer(model.network)


# Tiles


@pytest.mark.parametrize("size, tile, overlap", [(8, 8, 3), (9, 8, 3), (100, 16, 4), (101, 16, 15)])
def test_tiles_cover_the_axis_with_at_least_the_overlap(size, tile, overlap):
    starts = tile_starts(size, tile, overlap).numpy()
    assert starts[0] == 0 and starts[-1] == size - tile
    assert (np.diff(starts) <= tile - overlap).all() and (np.diff(starts) > 0).all()
    # No more tiles than needed.
    assert len(starts) == -(-(size - tile) // (tile - overlap)) + 1


@pytest.mark.parametrize("overlap", [0, 1, 5, 15])
def test_weights_of_the_tiles_add_up_to_one(overlap):
    starts = tile_starts(101, 16, overlap)
    weights = tile_weights(starts, 101, 16, overlap).numpy()
    total = np.zeros(101)
    for start, weight in zip(starts.numpy(), weights, strict=True):
        total[start : start + 16] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert (weights > 0).all()


def identity(x):
    return x[..., :3]


@pytest.mark.parametrize("size", [(10, 10), (32, 33), (33, 100), (101, 9)])
def test_tiles_of_an_identity_give_the_photo_back(size):
    x = photos(2, *size, 4)
    np.testing.assert_allclose(restore_tiled(identity, x, 32, 8), x[..., :3], atol=1e-6)


def test_photos_that_fit_one_tile_are_restored_whole():
    seen = []

    def restore(x):
        seen.append(x.shape)
        return x

    restore_tiled(restore, photos(1, 20, 32, 3), 32, 8)
    assert seen == [(1, 20, 32, 3)]


def tile_ramp(x):
    """A model whose output depends on the place in the tile: without blending it saws."""
    height, width = x.shape[1:3]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    plane = rows / height / 2 + columns / width / 2
    return np.broadcast_to(plane[None, ..., None], (len(x), height, width, 3))


def largest_step(image):
    return max(np.abs(np.diff(image, axis=axis)).max() for axis in (1, 2))


def test_tiles_are_blended_without_a_step():
    x = photos(1, 192, 256, 3)
    sawtooth = restore_tiled(tile_ramp, x, 64, 0)
    blended = restore_tiled(tile_ramp, x, 64, 32)
    # A jump of 0.5 is spread over 32 pixels by a curve at most π/2 times as steep as a line.
    assert largest_step(sawtooth) > 0.45
    assert largest_step(blended) < 0.5 * np.pi / 2 / 32 + 1 / 64


def test_a_hole_over_a_tile_border_is_filled_and_known_pixels_stay():
    def fill(x):
        mask = x[..., 3:]
        known = (x[..., :3] * (1 - mask)).sum((1, 2)) / (1 - mask).sum((1, 2))
        return x[..., :3] * (1 - mask) + known[:, None, None] * mask

    x = np.full((1, 60, 90, 4), 0.25, np.float32)
    x[..., 3] = 0
    x[:, 20:40, 10:80, :3] = 0
    x[:, 20:40, 10:80, 3] = 1
    np.testing.assert_allclose(restore_tiled(fill, x, 32, 8), 0.25, atol=1e-6)


@pytest.mark.parametrize("overlap", [-1, 32, 40])
def test_an_impossible_overlap_is_refused(overlap):
    with pytest.raises(ValueError, match="from 0 to 31"):
        restore_tiled(identity, photos(1, 40, 40, 3), 32, overlap)


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (37, 61)])
def test_tiles_in_the_graph_equal_tiles_in_numpy(size):
    weights = tf.constant(photos(16, 16, 3))

    def step(x):
        return x[..., :3] * weights

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 4))])
    def in_graph(x):
        return map_tiles(step, x, 16, 4)

    x = photos(2, *size, 4)
    expected = restore_tiled(lambda tile: step(tile).numpy(), x, 16, 4)
    np.testing.assert_allclose(in_graph(x), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (7, 5), (1, 50), (70, 45)])
def test_a_model_of_fixed_size_takes_every_size(size):
    model = fixed(32)
    x = photos(2, *size, 3)
    restored = restorer(model)(x)
    assert restored.shape == (2, *size, 3)
    if size == (32, 32):
        np.testing.assert_allclose(restored, model(x, training=False), atol=1e-6)
    if min(size) > 32:
        # The first corner lies in one tile only: it is the model's own output.
        alone = model(x[:, :32, :32], training=False)[:, :8, :8]
        np.testing.assert_allclose(restored[:, :8, :8], alone, atol=1e-6)


def test_any_size_also_in_eager_mode():
    model = tiny(False)
    x = photos(1, 13, 21, 3)
    np.testing.assert_allclose(
        restore_any_size(model, tf.constant(x)), restorer(model)(x), atol=1e-5
    )
