"""Boosted inversion: its stages against dense algebra, what it gains, and when it ends."""

import numpy as np
import pytest
import tensorflow as tf

from tfrecon.layers.ridge import Sums
from tfrecon.models.boosting import Descent, Stage, bands, evidence, fit_stages
from tfrecon.models.feature_inversion import feature_inversion

FILTERS = np.random.default_rng(7).normal(0, 0.4, (2, 2, 3, 5)).astype(np.float32)


def features(image):
    """A frozen network of its own: a ReLU of a convolution that halves the sides."""
    return [tf.nn.relu(tf.nn.conv2d(image, FILTERS, 2, "VALID"))]


def photos(count=8, size=16):
    random = np.random.default_rng(1)
    return tf.image.resize(random.random((count, 6, 6, 3), np.float32), (size, size))


def answer_of(stages):
    def answer(x):
        wanted = features(x)[0]
        active = tf.cast(wanted > 0, tf.float32)
        image = tf.image.resize(tf.nn.avg_pool2d(x, 4, 4, "VALID"), x.shape[1:3])
        for stage in stages:
            image = stage(image, wanted, active, features=features)
        return image, wanted, active

    return answer


def seen(x, start):
    image, wanted, active = start(x)
    return image, evidence(image, wanted, active, features, 2)


def test_the_pull_is_the_slope_of_the_features_error():
    x = photos(2)
    image, shown = seen(x, answer_of([]))
    assert shown.shape == (2, 8, 8, 2 * 5 + 12)
    pull = tf.nn.depth_to_space(shown[..., 10:], 2).numpy()
    direction = np.random.default_rng(2).normal(size=image.shape).astype(np.float32)

    def half_square(step):
        moved = features(image + step * direction)[0]
        return 0.5 * np.sum((features(x)[0] - moved).numpy().astype(np.float64) ** 2)

    slope = (half_square(1e-3) - half_square(-1e-3)) / 2e-3
    assert slope == pytest.approx(-np.sum(pull * direction), rel=1e-3)


def test_a_stage_is_the_ridge_solution():
    penalty, x = 1e-2, photos()
    stage = Stage(5, 1, grid=8)
    stage.build(())
    stage.ridge.penalty = penalty
    image, shown = seen(x, answer_of([]))
    sums = Sums(1, stage.ridge)
    sums.add(shown, x - image)
    stage.assign(sums)

    z = shown.numpy().astype(np.float64)
    deviation = z.std((0, 1, 2))
    z = (z - z.mean((0, 1, 2))) / np.where(deviation > 1e-6, deviation, 1)
    left = tf.nn.space_to_depth(x - image, 2).numpy().astype(np.float64)[:, 1:-1, 1:-1]
    rows = np.concatenate([z[:, i : i + 6, j : j + 6] for i in range(3) for j in range(3)], -1)
    rows, left = rows.reshape(-1, rows.shape[-1]), left.reshape(-1, 12)
    centred, n = rows - rows.mean(0), len(rows)
    matrix = np.vstack([centred / np.sqrt(n), np.sqrt(penalty) * np.eye(rows.shape[1])])
    goal = np.vstack([(left - left.mean(0)) / np.sqrt(n), np.zeros((rows.shape[1], 12))])
    weights = np.linalg.lstsq(matrix, goal, rcond=None)[0]
    expected = (centred @ weights + left.mean(0)).reshape(8, 6, 6, 12).astype(np.float32)
    expected = tf.nn.depth_to_space(expected, 2)
    _, wanted, active = answer_of([])(x)
    corrected = stage(image, wanted, active, features=features)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(corrected, np.clip(image[:, 2:-2, 2:-2] + expected, 0, 1), atol=2e-4)


def test_stages_gain_on_images_held_out_until_one_does_not(monkeypatch):
    x = photos(32)
    stages = [Stage(5, 1, grid=8, name=f"stage{number}") for number in range(3)]
    for stage in stages:
        stage.build(())
    batches = [x[n : n + 8] for n in range(0, 32, 8)]
    errors = fit_stages(stages, batches, 32, answer_of(stages), features)
    held_out = tf.concat([batch[:1] for batch in batches], 0)
    assert errors[1] < 0.8 * errors[0]
    before = tf.reduce_mean(tf.square(answer_of([])(held_out)[0] - held_out))
    assert errors[0] == pytest.approx(float(before), rel=1e-4)
    after = tf.reduce_mean(tf.square(answer_of(stages)(held_out)[0] - held_out))
    assert float(after) == pytest.approx(min(errors), rel=1e-3)

    # A stage that answers noise is taken back, and no other is tried.
    monkeypatch.setattr(Sums, "solve", lambda sums, with_held_out: (
        np.full(sums.ridge.kernel.shape, 0.1), np.zeros(12)
    ))  # fmt: skip
    spoiled = [Stage(5, 1, grid=8), Stage(5, 1, grid=8)]
    for stage in spoiled:
        stage.build(())
    errors = fit_stages(spoiled, batches, 32, answer_of(spoiled), features)
    assert len(errors) == 2 and errors[1] > errors[0]
    assert [float(stage.used) for stage in spoiled] == [0, 0]


def test_it_leaves_the_linear_answer_far_behind():
    x, options = photos(16, 32).numpy(), {"image_size": 32, "weights": None, "seed": 0}
    errors = {}
    for decoder in ("linear", "boosted"):
        model = feature_inversion(**options, decoder=decoder)
        model.adapt([x[:8], x[8:]], 16)
        errors[decoder] = float(np.mean((model(x).numpy() - x) ** 2))
    assert errors["boosted"] < 0.2 * errors["linear"]
    assert {layer.compute_dtype for layer in model.backbones[0].layers} == {"float32"}


def test_bands_sum_up_to_the_image_and_part_its_frequencies():
    x = photos(2, 48)[:, :40]
    parts = tf.stack(tf.split(bands(x), 6, -1))
    np.testing.assert_allclose(tf.reduce_sum(parts, 0), x, atol=1e-5)
    flat = tf.split(bands(tf.ones((1, 40, 48, 3))), 6, -1)
    np.testing.assert_allclose(tf.stack(flat[:-1]), 0, atol=1e-5)


def test_a_descent_keeps_of_each_band_what_least_squares_does():
    x = photos(8, 32)
    batches, descent = [x[n : n + 2] for n in range(0, 8, 2)], Descent(5, 0.005)
    descent.build(())
    descent.ridge.penalty = 1e-5
    errors = fit_stages([descent], batches, 8, answer_of([descent]), features)
    held_out = x[::2]
    image, wanted, active = answer_of([])(held_out)
    start, seen = descent.look(image, wanted, active, features)
    rows = tf.reshape(seen, (-1, 18)).numpy().astype(np.float64)
    left = tf.reshape(held_out - start, (-1, 3)).numpy().astype(np.float64)
    rows = np.hstack([rows, np.ones((len(rows), 1))])
    answer = rows @ np.linalg.lstsq(rows, left, rcond=None)[0]
    expected = np.clip(start + answer.reshape(start.shape), 0, 1)
    given = descent(image, wanted, active, features=features)
    np.testing.assert_allclose(given, expected, atol=0.02)
    assert errors[1] == pytest.approx(np.mean((expected - held_out) ** 2), rel=0.02)
    assert errors[1] < 0.9 * errors[0]


def test_the_rate_of_a_descent_is_that_of_its_decoder():
    x = 0.3 + 0.4 * photos(1, 32)
    wanted, active = tf.nn.relu(x[:, ::2, ::2] - 0.2), tf.ones((1, 16, 16, 3))
    moved = []
    for rate in (0.001, 0.002):
        decoder = {"name": "boosted", "descent": 1, "rate": rate}
        model = feature_inversion(image_size=32, weights=None, decoder=decoder, seed=0)
        start, _ = model.stages[0].look(
            x, wanted, active, lambda image: [tf.nn.relu(image[:, ::2, ::2])]
        )
        moved.append(start - x)
    assert np.abs(moved[0]).max() > 1e-4
    np.testing.assert_allclose(moved[1], 2 * moved[0], atol=1e-6)
