"""Losses against closed forms and NumPy, per image, with pixel weights, mixed by weight."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from kit import check_loss, image_pairs

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.losses import LOSSES, mixture
from tfrecon.metrics.logged import METRICS
from tfrecon.models.autoencoder import autoencoder
from tfrecon.models.feature_gan import feature_gan
from tfrecon.models.pix2pix import pix2pix
from tfrecon.models.restoration_gan import restoration_gan

WHOLE = ("ssim", "focal_frequency", "total_variation")


def loss(name, **options):
    return mixture([Spec(name, options)])


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"log_mse", "total_variation", "lpips"}))
def test_contract(name):
    check_loss(loss(name))


@pytest.mark.parametrize("options", [{}, {"patch": 8}, {"epsilon": 0.01}])
def test_contract_of_log_mse(options):
    check_loss(loss("log_mse", **options), ideal=math.log(options.get("epsilon", 1e-5)))


def test_contract_of_total_variation():
    truth, _ = image_pairs()
    check_loss(loss("total_variation"), ideal=total_variation(truth))


def total_variation(images):
    vertical = np.abs(np.diff(images.astype(np.float64), axis=1)).sum(axis=(1, 2, 3))
    horizontal = np.abs(np.diff(images.astype(np.float64), axis=2)).sum(axis=(1, 2, 3))
    return (vertical + horizontal) / images[0].size


def log_mse(truth, prediction, patch):
    squares = (truth.astype(np.float64) - prediction) ** 2
    height, width = truth.shape[1:3]
    values = [
        np.log(squares[:, y : y + patch, x : x + patch].mean(axis=(1, 2, 3)) + 1e-5)
        for y in range(0, height, patch)
        for x in range(0, width, patch)
    ]
    return np.mean(values, axis=0)


def focal_frequency(truth, prediction):
    """Term by term, from the definition of the transform."""
    difference = truth.astype(np.float64) - prediction
    rows, columns = (
        np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) / np.sqrt(n)
        for n in truth.shape[1:3]
    )
    spectrum = np.abs(np.einsum("uy,byxc,xv->buvc", rows, difference, columns))
    weights = spectrum / spectrum.max(axis=(1, 2), keepdims=True)
    return (weights * spectrum**2).mean(axis=(1, 2, 3))


VALUES: dict[str, Any] = {
    "l1": lambda y, p: np.abs(y - p).mean(axis=(1, 2, 3)),
    "l2": lambda y, p: np.square(y - p).mean(axis=(1, 2, 3)),
    "charbonnier": lambda y, p: (np.sqrt((y - p) ** 2 + 1e-6) - 1e-3).mean(axis=(1, 2, 3)),
    "ssim": lambda y, p: 1 - METRICS["ssim"](y, p).numpy(),  # itself held to scikit-image
    "log_mse": lambda y, p: np.log(np.square(y - p).mean(axis=(1, 2, 3)) + 1e-5),
    "focal_frequency": focal_frequency,
    "total_variation": lambda y, p: total_variation(p),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    truth, prediction = image_pairs(height=17, width=24)
    expected = VALUES[name](truth, prediction)
    np.testing.assert_allclose(loss(name).call(truth, prediction), expected, rtol=1e-5)
    assert float(loss(name)(truth, prediction)) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "lpips"])
def test_values_in_float32_whatever_comes_in(name):
    truth, prediction = (tf.cast(images, tf.bfloat16) for images in image_pairs())
    expected = loss(name).call(tf.cast(truth, tf.float32), tf.cast(prediction, tf.float32))
    value = tf.convert_to_tensor(loss(name).call(truth, prediction))
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_the_fields_names_are_the_same_losses():
    assert LOSSES["mae"] is LOSSES["l1"] and LOSSES["mse"] is LOSSES["l2"]


def test_log_mse_averages_patches():
    truth, prediction = image_pairs(height=16, width=24)
    value = loss("log_mse", patch=8).call(truth, prediction)
    np.testing.assert_allclose(value, log_mse(truth, prediction, 8), rtol=1e-5)
    whole = loss("log_mse").call(truth, prediction)
    assert np.abs(value - whole).max() > 1e-4
    np.testing.assert_allclose(loss("log_mse", patch=99).call(truth, prediction), whole, rtol=1e-6)
    with pytest.raises(UserError, match="'patch' of loss 'log_mse' must be 1 or more, not 0"):
        loss("log_mse", patch=0)
    for name in ("log_mse", "charbonnier"):
        with pytest.raises(
            UserError,
            match=f"'epsilon' of loss '{name}' must be greater than 0 and finite, not 0.0",
        ):
            loss(name, epsilon=0.0)


def test_focal_frequency_weights_are_constants():
    truth, prediction = (tf.constant(images) for images in image_pairs(height=8, width=8))
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        value = tf.reduce_sum(loss("focal_frequency").call(truth, prediction))
    found: Any = tape.gradient(value, prediction)
    spectrum = np.fft.fft2(prediction - truth, axes=(1, 2), norm="ortho")
    weights = np.abs(spectrum) / np.abs(spectrum).max(axis=(1, 2), keepdims=True)
    expected = np.fft.ifft2(2 * weights * spectrum, axes=(1, 2), norm="ortho").real
    np.testing.assert_allclose(found, expected / truth[0].numpy().size, atol=1e-6)


def test_ssim_of_an_image_smaller_than_its_window_is_an_error():
    small = np.zeros((1, 10, 30, 3), np.float32)
    message = "11×11 pixels or more, not 10×30; make data.image_size or, in training, data.crop"
    with pytest.raises(UserError, match=message):
        loss("ssim")(small, small)
    model = keras.Sequential([keras.Input((10, 30, 3)), keras.layers.Dense(3)])
    model.compile(loss=loss("ssim"))
    with pytest.raises(UserError, match=r"^this SSIM needs"):
        model.fit(small, small, verbose=0)


def test_mixture_is_the_weighted_sum():
    x, y = np.zeros((2, 4, 4, 3), np.float32), np.full((2, 4, 4, 3), 0.5, np.float32)
    both = mixture([Spec("l1", {"weight": 2.0}), Spec("l2", {"weight": 4.0})])
    assert float(both(x, y)) == pytest.approx(2 * 0.5 + 4 * 0.25)
    with pytest.raises(UserError, match="unknown loss 'l3'"):
        mixture([Spec("l3")])
    with pytest.raises(UserError, match="weight of loss 'l1' must be a number, not 'half'"):
        mixture([Spec("l1", {"weight": "half"})])


def test_mixture_sums_pixelwise_and_whole_terms():
    truth, prediction = image_pairs()
    both = mixture([Spec("mse", {"weight": 0.5}), Spec("ssim", {"weight": 0.25})])
    expected = 0.5 * VALUES["l2"](truth, prediction) + 0.25 * VALUES["ssim"](truth, prediction)
    np.testing.assert_allclose(both.call(truth, prediction), expected, rtol=1e-5)
    check_loss(both)


def test_pixel_weights_give_the_weighted_mean_of_each_image():
    y, p = np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4, 4, 3), np.float32)
    p[0, 0] = 1.0  # one row of four
    weights = np.ones((2, 4, 4, 1), np.float32)
    weights[:, 0] = 3.0
    first = 3 * 4 / (3 * 4 + 12)
    assert float(loss("l1")(y, p, weights)) == pytest.approx(first / 2)
    logs = (math.log(first + 1e-5) + math.log(1e-5)) / 2
    assert float(loss("log_mse")(y, p, weights)) == pytest.approx(logs)
    both = mixture([Spec("mae", {"weight": 2.0}), Spec("log_mse", {"weight": 0.5})])
    assert float(both(y, p, weights)) == pytest.approx(2 * first / 2 + 0.5 * logs)


@pytest.mark.parametrize("name", WHOLE)
def test_a_loss_of_whole_images_refuses_pixel_weights(name):
    images, other = image_pairs()
    weights = np.ones((*images.shape[:3], 1), np.float32)
    for one in (loss(name), mixture([Spec("l1"), Spec(name, {"weight": 0.5})])):
        with pytest.raises(UserError, match=rf"'{name}' compares whole images.*fit.hole_weight=1"):
            one(images, other, weights)


def test_the_refusal_reaches_the_user_of_fit():
    images, other = image_pairs()
    inputs = keras.Input((None, None, 3))
    model: Any = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    model.compile("sgd", loss=loss("ssim"))
    weights = np.ones((*images.shape[:3], 1), np.float32)
    with pytest.raises(UserError, match=r"set fit\.hole_weight=1"):
        model.fit(images, other, sample_weight=weights, verbose=0)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "lpips"])
def test_whole_numbers_are_no_images(name):
    floats, pixels = (
        np.full((1, 16, 16, 3), 0.5, np.float32),
        np.full((1, 16, 16, 3), 127, np.uint8),
    )
    loss = LOSSES[name]()
    for pair in ((floats, pixels), (pixels, floats)):
        with pytest.raises(UserError, match="holds uint8 and must hold floats in"):
            loss(*pair)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_is_finite_and_not_negative(weight):
    with pytest.raises(UserError, match="weight of loss 'l1' must be 0 or more"):
        mixture([Spec("l1", {"weight": weight})])
    for model in (pix2pix, autoencoder, restoration_gan, feature_gan):
        for option in ("adversarial_weight", "reconstruction_weight"):
            with pytest.raises(UserError, match=f"{option}.*must be 0 or more"):
                model(**{option: weight})
