"""Metrics against scikit-image, on their ideal values, and inside `model.compile`."""

import json
import math
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden import make
from kit import check_metric

from tfrecon.base.errors import UserError
from tfrecon.metrics.artefacts import ARTEFACTS
from tfrecon.metrics.kid import kid
from tfrecon.metrics.logged import METRICS, keras_metric

IDEAL = {"mse": 0, "nrmse": 0, "mae": 0, "psnr": 100, "ssim": 1, "ssim_uniform7": 1}


@pytest.mark.parametrize("name", METRICS)
def test_contract(name):
    check_metric(METRICS[name], ideal=IDEAL[name])


@pytest.mark.parametrize("case", make.cases())
@pytest.mark.parametrize("name", METRICS)
def test_values_equal_scikit_image(name, case):
    golden = json.loads(make.FILE.read_text())
    expected = golden["values"][case]
    truth, prediction = (image[None] for image in make.cases()[case])
    whole = METRICS[name](truth, prediction)[0]
    hole = METRICS[name](truth, prediction, make.mask()[None])[0]
    # PSNR is in decibels, where float32 itself keeps no more than five digits
    tolerance = {"rtol": golden["tolerance"], "atol": golden["tolerance"]}
    np.testing.assert_allclose(whole, expected[name], **tolerance)
    np.testing.assert_allclose(hole, expected[f"hole_{name}"], **tolerance)


def test_golden_file_is_what_the_tool_says():
    stored = json.loads(make.FILE.read_text())["values"]
    for case, pair in make.cases().items():
        for name, value in make.values(*pair).items():
            assert math.isclose(stored[case][name], value, rel_tol=1e-9, abs_tol=1e-12), (
                case,
                name,
            )


def test_the_two_ssim_variants_differ():
    truth, prediction = (image[None] for image in make.cases()["blur"])
    difference = METRICS["ssim"](truth, prediction) - METRICS["ssim_uniform7"](truth, prediction)
    assert abs(float(difference[0])) > 1e-3


def test_ssim_of_a_hole_at_the_border_only_is_missing():
    truth, prediction = (image[None] for image in make.cases()["noise"])
    mask = np.zeros((*truth.shape[:3], 1), np.float32)
    mask[:, :2] = 1  # no window of 7 or 11 pixels is centred here
    assert np.isnan(METRICS["ssim"](truth, prediction, mask)[0])
    assert np.isfinite(METRICS["psnr"](truth, prediction, mask)[0])


def test_ssim_of_an_image_smaller_than_its_window_is_an_error():
    small = np.zeros((1, 10, 30, 3), np.float32)
    with pytest.raises(ValueError, match="11×11 pixels or more"):
        METRICS["ssim"](small, small)


def test_nrmse_of_a_black_truth():
    black = np.zeros((1, 8, 8, 3), np.float32)
    assert METRICS["nrmse"](black, black)[0] == 0
    assert np.isnan(METRICS["nrmse"](black, black + 0.5)[0])


def identity_model(scale=1.0) -> Any:
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Rescaling(scale)(inputs))
    metrics = [keras_metric("psnr"), keras_metric("ssim")]
    model.compile(loss="mse", metrics=metrics, weighted_metrics=[])
    return model


def noisy_pairs(count):
    random = np.random.default_rng(2)
    x = random.random((count, 16, 16, 3), np.float32)
    return x, np.clip(x + random.normal(0, 0.1, x.shape), 0, 1).astype(np.float32)


def test_logged_value_is_the_mean_over_images_with_a_smaller_last_batch():
    x, y = noisy_pairs(5)
    logs = identity_model().evaluate(x, y, batch_size=2, return_dict=True, verbose=0)
    assert logs["psnr"] == pytest.approx(np.mean(METRICS["psnr"](y, x)), rel=1e-5)
    assert logs["ssim"] == pytest.approx(np.mean(METRICS["ssim"](y, x)), rel=1e-5)


def test_logged_value_is_of_clipped_predictions():
    x, _ = noisy_pairs(2)
    logs = identity_model(scale=3.0).evaluate(x, np.ones_like(x), return_dict=True, verbose=0)
    expected = np.mean(METRICS["psnr"](np.ones_like(x), np.minimum(3 * x, 1)))
    assert logs["psnr"] == pytest.approx(expected, rel=1e-5)


def test_logged_value_under_two_replicas_equals_one():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(devices) < 2:
        pytest.skip("this process has one logical CPU; tests/conftest.py makes two")
    x, y = noisy_pairs(6)
    with tf.distribute.MirroredStrategy(devices[:2]).scope():
        model = identity_model()
    two = model.evaluate(x, y, batch_size=4, return_dict=True, verbose=0)
    one = identity_model().evaluate(x, y, batch_size=4, return_dict=True, verbose=0)
    assert two == pytest.approx(one, rel=1e-5)


def test_compiled_model_saves_and_loads_with_its_metrics(tmp_path):
    model = identity_model()
    x, y = noisy_pairs(2)
    before = model.evaluate(x, y, return_dict=True, verbose=0)
    model.save(tmp_path / "model.keras")
    again: Any = keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(x, y, return_dict=True, verbose=0) == pytest.approx(before)


def test_unknown_metric_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'ssim'"):
        keras_metric("sim")


def test_kid_against_its_definition_and_on_known_sets():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(12, 5)), random.normal(0.5, 1, (15, 5))
    first /= np.sqrt(np.mean(first**2))  # the unit in which it is computed
    kernel = lambda x, y: (x @ y / 5 + 1) ** 3  # noqa: E731
    within = [
        np.mean([kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j])
        for s in (first, second)
    ]
    across = np.mean([kernel(a, b) for a in first for b in second])
    assert kid(first, second) == pytest.approx(sum(within) - 2 * across)
    same = [kid(*random.normal(size=(2, 200, 5))) for _ in range(20)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(20), "unbiased"
    assert kid(random.normal(size=(200, 5)), random.normal(1, 1, (200, 5))) > 5 * np.std(same)
    assert np.isnan(kid(first[:5], second))
    assert kid(10 * first, 10 * second) == pytest.approx(kid(first, second))


@pytest.mark.parametrize("name", [*METRICS, *ARTEFACTS])
def test_whole_numbers_are_no_images(name):
    floats = np.full((1, 16, 16, 3), 0.5, np.float32)
    metric = {**METRICS, **ARTEFACTS}[name]
    if name == "seam":
        metric = partial(metric, masks=np.ones((1, 16, 16, 1), np.float32))
    for dtype in (np.uint8, np.int64, bool):
        bytes_ = np.full((1, 16, 16, 3), 1, dtype)
        for pair, what in (((bytes_, floats), "y_true"), ((floats, bytes_), "y_pred")):
            said = rf"^{what} holds \w+ and must hold floats in \[0,1\]; convert pixels with"
            with pytest.raises(ValueError, match=said):
                metric(*pair)
    with pytest.raises(ValueError, match="must hold floats"):  # inside a graph, too
        tf.function(metric, autograph=False)(tf.constant(bytes_), tf.constant(floats))


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32])
def test_masks_may_be_of_any_type(dtype):
    y = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)
    mask = np.zeros((1, 16, 16, 1), dtype)
    mask[:, :4] = 1
    assert float(METRICS["mae"](y, y + mask.astype(np.float32), mask)[0]) == pytest.approx(1)
