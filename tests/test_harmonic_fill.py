"""The harmonic fill against cases with a known answer."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.layers.harmonic_fill import HarmonicFill, harmonic_fill


def box(height, width, top, left, size):
    mask = np.zeros((1, height, width, 1), np.float32)
    mask[:, top : top + size, left : left + size] = 1
    return mask


def ramp(height, width):
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x / width, y / height, (x + y) / (width + height)], -1)[None]


def test_constant_image_is_recovered_exactly():
    image = np.full((1, 37, 50, 3), 0.3, np.float32)
    filled = harmonic_fill(image, box(37, 50, 10, 20, 15))
    np.testing.assert_allclose(filled, image, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "size"), [(64, 64, 20), (61, 83, 30)])
def test_linear_ramp_is_nearly_recovered(height, width, size):
    image, mask = ramp(height, width), box(height, width, 12, 22, size)
    damaged = image * (1 - mask)
    error = np.abs(harmonic_fill(damaged, mask) - image)[0][mask[0, ..., 0] > 0]
    # a ramp is harmonic; the mean of the known pixels would be off by 0.1 on average
    assert error.mean() < 0.012
    assert error.max() < 0.05


def test_known_pixels_are_untouched_and_hidden_ones_are_not_read():
    random = np.random.default_rng(0)
    image = random.random((2, 33, 47, 3), np.float32)
    mask = (random.random((2, 33, 47, 1)) < 0.4).astype(np.float32)
    filled = harmonic_fill(image, mask).numpy()
    assert (filled == image)[np.broadcast_to(mask == 0, image.shape)].all()
    nonsense = np.where(mask > 0, np.float32(np.nan), image)
    np.testing.assert_array_equal(filled, harmonic_fill(nonsense, mask))
    assert filled.min() >= 0 and filled.max() <= 1


def test_fully_masked_image_is_grey_and_leaves_its_neighbour_alone():
    image = np.concatenate([ramp(32, 32), ramp(32, 32)])
    mask = np.concatenate([np.ones((1, 32, 32, 1), np.float32), box(32, 32, 8, 8, 9)])
    filled = harmonic_fill(image, mask)
    np.testing.assert_array_equal(filled[0], 0.5)
    np.testing.assert_array_equal(filled[1], harmonic_fill(image[1:], mask[1:])[0])


def test_graph_of_unknown_size_equals_eager():
    pixels = tf.TensorSpec((None, None, None, 3))
    traced = tf.function(harmonic_fill, [pixels, tf.TensorSpec((None, None, None, 1))])
    random = np.random.default_rng(1)
    for height, width in ((1, 1), (1, 7), (40, 40), (75, 51)):
        image = random.random((2, height, width, 3), np.float32)
        mask = (random.random((2, height, width, 1)) < 0.5).astype(np.float32)
        np.testing.assert_allclose(traced(image, mask), harmonic_fill(image, mask), atol=1e-6)


def test_harmonic_functions_are_continued_into_the_hole():
    y, x = np.mgrid[:64, :64] / 64
    image = np.stack([(1 + x**2 - y**2) / 2, x * y, np.exp(x) * np.sin(y) / 2.3], -1)
    image = image[None].astype(np.float32)
    mask = box(64, 64, 20, 20, 24)
    hole = mask[0, ..., 0] > 0
    mean = image[0][~hole].mean(0)
    error = np.square(harmonic_fill(image, mask) - image)[0][hole].mean()
    assert error < 0.03 * np.square(mean - image)[0][hole].mean()


def test_layer_stays_float32_under_mixed_precision_and_saves(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        images, masks = keras.Input((None, None, 3)), keras.Input((None, None, 1))
        model = keras.Model([images, masks], HarmonicFill()(images, masks))
    finally:
        keras.config.set_dtype_policy("float32")
    image, mask = ramp(30, 41), box(30, 41, 5, 6, 11)
    filled = model([image, mask])
    assert filled.dtype == tf.float32
    np.testing.assert_allclose(filled, harmonic_fill(image, mask), atol=1e-6)
    model.save(tmp_path / "fill.keras")
    layers = {"HarmonicFill": HarmonicFill}
    again: Any = keras.models.load_model(tmp_path / "fill.keras", custom_objects=layers)
    np.testing.assert_array_equal(again([image, mask]), filled)


def test_wrong_shapes_are_an_error_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(1, 8, 8, 3\) and \(1, 8, 8, 3\)"):
        harmonic_fill(np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 3)))
