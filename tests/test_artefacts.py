"""Colour shift, checkerboards and seams against closed forms."""

import math

import numpy as np
import pytest

from tfrecon.metrics import artefacts
from tfrecon.metrics.artefacts import (
    CHECKER_FLOOR,
    checker_energy,
    checkerboard,
    colour_shift,
    seam,
)


def photos(*shape):
    return np.random.default_rng(3).uniform(0.2, 0.8, shape).astype(np.float32)


def boxes(count=2, size=40):
    mask = np.zeros((count, size, size, 1), np.float32)
    mask[0, 10:20, 5:25] = 1
    return mask


def test_a_constant_offset_is_the_colour_shift():
    y = photos(2, 20, 24, 3)
    np.testing.assert_allclose(colour_shift(y, y + 0.1), 0.1, atol=1e-6)
    np.testing.assert_allclose(colour_shift(y, y - [0.3, 0, 0]), 0.3 / math.sqrt(3), atol=1e-6)
    noise = np.random.default_rng(0).choice([-0.1, 0.1], y.shape)
    noise -= noise.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(colour_shift(y, y + noise), 0, atol=1e-6)


def test_the_colour_shift_of_holes_looks_at_holes_alone():
    y, mask = photos(2, 40, 40, 3), boxes()
    found = colour_shift(y, y + 0.2 * mask, mask).numpy()
    assert found[0] == pytest.approx(0.2, abs=1e-6) and math.isnan(found[1])
    assert float(colour_shift(y, y + 0.2 * mask)[0]) == pytest.approx(0.2 * 200 / 1600, abs=1e-6)


@pytest.mark.parametrize("pattern", [
    lambda i, j: (-1.0) ** (i + j), lambda i, j: (-1.0) ** i, lambda i, j: (-1.0) ** (j // 2),
])  # fmt: skip
def test_a_pattern_of_amplitude_a_has_the_energy_of_its_square(pattern):
    rows, columns = np.mgrid[0:50, 0:37]
    ramp = 0.2 + 0.003 * rows + 0.005 * columns
    added = 0.05 * pattern(rows, columns)
    images = np.stack([ramp, ramp + added])[..., None].repeat(3, -1).astype(np.float32)
    np.testing.assert_allclose(checker_energy(images), [0, 0.0025], atol=1e-8, rtol=1e-4)
    decibels = 10 * math.log10((0.0025 + CHECKER_FLOOR) / CHECKER_FLOOR)
    assert float(checkerboard(images[:1], images[1:])[0]) == pytest.approx(decibels, abs=0.01)
    assert float(checkerboard(images[1:], images[:1])[0]) == pytest.approx(-decibels, abs=0.01)


def test_other_periods_are_no_checkerboard():
    rows, columns = np.mgrid[0:67, 0:67]
    for period in (3, 8):
        wave = 0.5 + 0.1 * np.cos(2 * np.pi * columns / period) + 0 * rows
        image = wave[None, ..., None].repeat(3, -1).astype(np.float32)
        assert checker_energy(image)[0] < 0.05 * 0.005, period


def test_energy_equals_the_power_spectrum_at_its_frequencies():
    image = photos(1, 19, 19, 3)
    means = np.mean([image[:, i : i + 16, j : j + 16] for i in range(4) for j in range(4)], axis=0)
    spectrum = np.fft.fft2((image[:, :16, :16] - means)[0], axes=(0, 1)) / 256
    power = np.abs(spectrum[::4, ::4]) ** 2
    expected = (power.sum((0, 1)) - power[0, 0]).mean()
    assert float(checker_energy(image)[0]) == pytest.approx(expected, rel=1e-4)


def test_images_without_a_window_have_no_checkerboard():
    image = photos(1, 18, 40, 3)
    assert np.isnan(checkerboard(image, image))


def test_a_box_filled_with_an_offset_has_a_seam_of_it():
    flat, mask = np.full((2, 40, 40, 3), 0.4, np.float32), boxes()
    found = seam(flat, flat + 0.15 * mask, mask).numpy()
    assert found[0] == pytest.approx(0.15, abs=1e-6) and math.isnan(found[1])
    np.testing.assert_allclose(seam(flat, flat, mask)[0], 0)
    within = flat.copy()
    within[:, 12:18, 8:20] = 0.9  # two pixels away from the border
    assert seam(flat, within, mask)[0] == 0


def test_a_fill_smoother_than_the_truth_has_a_negative_seam():
    y, mask = photos(1, 40, 40, 3), boxes(1)
    inside = np.where(mask > 0, 0, y)
    pairs = [
        np.abs(np.diff(image, axis=axis)).mean(-1)[np.abs(np.diff(mask, axis=axis))[..., 0] > 0]
        for image in (inside, y)
        for axis in (1, 2)
    ]
    black, true = np.concatenate(pairs[:2]).mean(), np.concatenate(pairs[2:]).mean()
    assert float(seam(y, inside, mask)[0]) == pytest.approx(black - true, abs=1e-6)
    assert float(seam(inside, y, mask)[0]) == pytest.approx(true - black, abs=1e-6)
    assert np.isnan(seam(y, y, np.ones_like(mask))[0])


def test_the_error_on_the_scale_of_bytes():
    y = photos(2, 8, 8, 3)
    np.testing.assert_allclose(artefacts.mse255(y, y + 2 / 255), 4, rtol=1e-4)


def test_scores_do_not_mix_images():
    y, p = photos(4, 40, 40, 3)[:2], photos(4, 40, 40, 3)[2:]
    for score in (artefacts.mse255, artefacts.colour_shift, artefacts.checkerboard):
        both, second = score(y, p).numpy(), score(y[1:], p[1:]).numpy()
        np.testing.assert_allclose(both[1:], second, rtol=1e-5)
