"""Checks that every loss and metric passes, so that a new one is tested by one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf


def image_pairs(count: int = 3, height: int = 20, width: int = 24) -> tuple[Any, Any]:
    """Two different float32 stacks (B,H,W,3) in [0,1]."""
    random = np.random.default_rng(0)
    shape = (count, height, width, 3)
    return random.random(shape, np.float32), random.random(shape, np.float32)


def check_metric(metric: Callable[..., Any], *, ideal: float) -> None:
    """One value an image; `ideal` on equal images; images do not mix; holes; errors."""
    y_true, y_pred = image_pairs()
    _check_per_image(metric, y_true, y_pred, ideal)

    hole = np.zeros((*y_true.shape[:3], 1), np.float32)
    hole[:2, 5:9, 5:9] = 1
    holes = metric(y_true, y_pred, hole).numpy()
    assert holes.shape == (3,)
    assert np.isfinite(holes[:2]).all() and np.isnan(holes[2]), "an image without a hole is NaN"
    assert not np.allclose(holes[:2], metric(y_true, y_pred).numpy()[:2]), "the mask has no effect"
    whole = metric(y_true, y_pred, np.ones_like(hole))
    np.testing.assert_allclose(whole, metric(y_true, y_pred), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(metric(y_true, y_true, hole)[:2], ideal, atol=1e-6)
    far = y_pred.copy()
    far[:, :, -1] = 0  # farther from the hole than any window reaches
    np.testing.assert_allclose(metric(y_true, far, hole)[:2], holes[:2], atol=1e-6)

    traced = tf.function(metric, [tf.TensorSpec((None, None, None, 3))] * 2)
    np.testing.assert_allclose(traced(y_true, y_pred), metric(y_true, y_pred), rtol=1e-5)
    for wrong in (y_pred[:2], y_pred[:, :, :-1], y_pred[..., :1], y_pred[0]):
        with pytest.raises(ValueError, match="one shape"):
            metric(y_true, wrong)
    with pytest.raises(ValueError, match="masks must be"):
        metric(y_true, y_pred, y_true)


def check_loss(loss: keras.losses.Loss, *, ideal: float = 0.0) -> None:
    """One value an image; `ideal` on equal images; images do not mix; gradients are finite."""
    y_true, y_pred = image_pairs()
    _check_per_image(loss.call, y_true, y_pred, ideal)
    for prediction in (y_pred, y_true):
        prediction = tf.constant(prediction)
        with tf.GradientTape() as tape:
            tape.watch(prediction)
            value: Any = loss(y_true, prediction)
        gradient: Any = tape.gradient(value, prediction)
        assert value.shape == (), "Keras reduces a loss to one value"
        assert np.isfinite(gradient.numpy()).all(), "the gradient is not finite"


def _check_per_image(function: Callable[..., Any], y_true: Any, y_pred: Any, ideal: float) -> None:
    values = np.asarray(function(y_true, y_pred))
    assert values.shape == (len(y_true),), f"one value an image, not {values.shape}"
    assert np.isfinite(values).all()
    np.testing.assert_allclose(function(y_true, y_true), ideal, atol=1e-6)
    singles = [
        np.asarray(function(y_true[i : i + 1], y_pred[i : i + 1])) for i in range(len(values))
    ]
    np.testing.assert_allclose(values, np.concatenate(singles), rtol=1e-5, atol=1e-7)
    half = np.asarray(function(tf.constant(y_true), tf.cast(y_pred, tf.bfloat16)))
    assert half.dtype == np.float32, "computed in float32 whatever comes in"
