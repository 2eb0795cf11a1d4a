"""Zoom and colour jitter: what they draw, and what they leave alone."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from tfrecon.base.config import from_tables
from tfrecon.base.errors import UserError
from tfrecon.data import augment


def gradient(side=100):
    """Colour 0 holds the row and colour 1 the column, so that a window says where it lies."""
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    return np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)


def test_zoom_shows_a_random_share_of_the_window():
    step = partial(augment.random_window, size=50, load_size=50, zoom=0.5)
    sides, corners = [], []
    for seed in range(200):
        window = np.asarray(step({"target": gradient()}, tf.constant([seed, 0]))["target"])
        assert window.shape[0] == window.shape[1]
        sides.append(window.shape[0])
        corners.append(window[0, 0, 0])
    assert min(sides) in range(50, 54) and max(sides) in range(96, 101)
    assert np.mean(sides) == pytest.approx(75, abs=3)
    assert max(corners) > 25


def test_without_zoom_the_window_is_what_it_was():
    seed = tf.constant([3, 4])
    window = partial(augment.random_window, {"target": gradient()}, seed, size=40, load_size=80)
    np.testing.assert_array_equal(window()["target"], window(zoom=1.0)["target"])


def test_color_jitter_scales_channels_alike_in_input_and_target():
    random = np.random.default_rng(0)
    parts = {
        "target": random.integers(1, 256, (8, 8, 3)).astype(np.float32),
        "input": random.integers(1, 256, (8, 8, 3)).astype(np.float32),
        "mask": np.full((8, 8, 1), 255, np.float32),
    }
    step, found = partial(augment.color_jitter, strength=0.2), []
    for seed in range(100):
        out = {name: np.asarray(part) for name, part in step(parts, [seed, 1]).items()}
        np.testing.assert_array_equal(out["mask"], parts["mask"])
        factors = [np.median(out["target"][..., c] / parts["target"][..., c]) for c in range(3)]
        for name in ("target", "input"):
            expected = np.minimum(parts[name] * factors, 255)
            np.testing.assert_allclose(out[name], expected, rtol=1e-4)
        found.append(factors)
    assert np.min(found) == pytest.approx(0.8, abs=0.02)
    assert np.max(found) == pytest.approx(1.2, abs=0.03)
    assert np.ptp(found, axis=1).max() > 0.1


@pytest.mark.parametrize(("key", "value"), [
    ("zoom", 0), ("zoom", 1.5), ("color_jitter", 1), ("color_jitter", -0.1),
])  # fmt: skip
def test_values_out_of_range(key, value):
    with pytest.raises(UserError, match=rf"data\.{key} must lie in"):
        from_tables({"model": "pix2pix", "data": {key: value}})
