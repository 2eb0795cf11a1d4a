"""Checks that every model, loss and metric passes, so that a new one is tested by one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.base.registry import Spec
from tfrecon.inference.restorer import restorer
from tfrecon.losses import mixture
from tfrecon.models import build_model
from tfrecon.models.base import ReconstructionModel
from tfrecon.training.datasets import shared
from tfrecon.training.optimizers import FusedAdam, LossScale


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

    half = metric(y_true, tf.cast(y_pred, tf.bfloat16))
    assert half.dtype == tf.float32, "computed in float32 whatever comes in"
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


@dataclass(frozen=True)
class Row:
    """What the tests know of a model: its smallest `options`, the number of `parameters` that it
    then infers with on images of 32 pixels (without masks, where it takes such), whether its data
    may have `masks`, and the options that add layers `drawing` random numbers in training."""

    options: dict[str, Any]
    parameters: int
    masks: tuple[bool, ...] = (False, True)
    drawing: dict[str, Any] = field(default_factory=dict)

    def build(self, name: str, mask: bool, **options: Any) -> ReconstructionModel:
        """The model, ready to be trained, with answers that depend on all that it sees."""
        spec = Spec(name, {**self.options, **options})
        model = build_model(spec, image_size=32, mask=mask, seed=0)
        if model.adapts_to:
            x = _damaged_batch(3, 32)[1]
            model.adapt([x[:4], x[4:]], len(x))
        return awake(model) if model.makes_samples else model


FEATURES = {"backbone": "vgg16", "taps": ["block2"], "weights": "none"}
ROWS = {
    "pix2pix": Row(
        {"base_filters": 8, "discriminator_filters": 8, "dropout": 0.0}, 262_251,
        drawing={"dropout": 0.5},
    ),
    "feature_inversion": Row({**FEATURES, "decoder": "transposed_conv"}, 165_443, (False,)),
    "feature_gan": Row(
        {**FEATURES, "width": 16, "discriminator_filters": 8}, 13_395, (False,),
        {"noise_channels": 2},
    ),
    "autoencoder": Row({"width": 8, "depth": 1, "discriminator_filters": 4}, 59_116, (False,)),
    "diffusion": Row({"width": 8, "steps": 2}, 46_352),
    "residual_unet": Row({"width": 8}, 119_460),
    "nafnet": Row({"width": 8, "encoder": [1, 1], "middle": 1, "decoder": [1, 1]}, 19_899),
    "inpainting_unet": Row({"width": 8, "reduction": 2}, 57_348, (True,)),
    "skip_vae": Row({"base_filters": 8, "latent": 8}, 37_944),
    "restoration_gan": Row({"base_filters": 8, "discriminator_filters": 8}, 262_251),
}  # fmt: skip
"""The table of all models: a new one gets a row here."""


def awake(model: Any) -> Any:
    """A denoiser whose answers depend on all that it sees: the head of a fresh one is 0."""
    random = np.random.default_rng(0)
    for layer in model.network.layers:
        if layer.name == "head" or layer.name.endswith(("conv2", "_modulation")):
            layer.kernel.assign(random.normal(0, 0.005, layer.kernel.shape))
    return model


def draw_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image gets the same noise and the same time, so that replicas, which draw numbers of
    their own otherwise, can be compared."""

    def normal(shape: Any, **options: Any) -> Any:
        noise = tf.random.stateless_normal(tf.convert_to_tensor(shape)[1:], seed=(0, 0))
        return tf.broadcast_to(noise, shape)

    monkeypatch.setattr(keras.random, "normal", normal)
    monkeypatch.setattr(keras.random, "uniform", lambda shape, **options: tf.fill(shape, 0.5))


def check_model(
    build: Callable[[], keras.Model], *, channels: int, size: int, traced: bool = False
) -> None:
    """What every model promises: `build` makes it, compiled anew at each call by the checks.

    Image in, image out, in [0,1], at its own size and at odd sizes; `get_config` round trip and
    saved weights; the same step on 1 and on 2 replicas; a loss that falls on one batch. `traced`
    takes that step in graphs, as training does: the slow tests do, since it costs five times more.
    """
    x, y = _damaged_batch(channels, size)
    model = build()
    restored = np.asarray(model(x, training=False))
    assert restored.shape == y.shape and restored.dtype == np.float32
    assert restored.min() >= 0 and restored.max() <= 1
    assert size % model.size_multiple == 0
    odd = np.asarray(restorer(model)(x[:1, : size - 3, : size // 2 + 1]))
    assert odd.shape == (1, size - 3, size // 2 + 1, 3)
    np.testing.assert_allclose(model(x[1:2], training=False), restored[1:2], atol=2e-5)

    copy = type(model).from_config(model.get_config())
    copy(x)
    for mine, theirs in zip(copy.weights, model.weights, strict=True):
        mine.assign(theirs)
    np.testing.assert_allclose(copy(x, training=False), restored, atol=1e-6)

    check_replicas(build, channels, size, traced)

    model.compile(FusedAdam(2e-3, 0.5), loss=mixture([Spec("l1")]), jit_compile=False)
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    losses = model.fit(data, steps_per_epoch=4, epochs=12, verbose=0, shuffle=False).history
    name = next(iter(name for name in losses if name in ("reconstruction", "loss")))
    assert losses[name][-1] < 0.9 * losses[name][0], losses[name]


def _damaged_batch(channels: int, size: int, count: int = 8) -> tuple[Any, Any]:
    """x (B,S,S,channels) with a black square under the mask where there is one, and its target."""
    random = np.random.default_rng(1)
    y = tf.image.resize(random.random((count, 6, 6, 3), np.float32), (size, size)).numpy()
    mask = np.zeros((count, size, size, 1), np.float32)
    mask[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    x = y * (1 - mask)
    return (np.concatenate([x, mask], -1) if channels == 4 else x), y


@functools.cache
def two_replicas() -> tf.distribute.Strategy:
    """One strategy for the whole process: the collectives of a second one collide with its own."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def check_replicas(
    build: Callable[[], keras.Model], channels: int, size: int, traced: bool
) -> None:
    """One SGD step on the same global batch gives the same weights on 1 and on 2 devices, and there
    with a loss scale, by which a power of two leaves every digit alone."""
    one, two = (
        stepped(build, channels, size, strategy, traced, scaled)
        for strategy, scaled in ((tf.distribute.get_strategy(), False), (two_replicas(), True))
    )
    worst = max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))
    assert worst < 1e-6, f"1 and 2 replicas differ by {worst:.1e}"


def stepped_row(name: str, strategy: Any, traced: bool = True) -> list[np.ndarray]:
    """The weights of a model of `ROWS` after that step."""
    row = ROWS[name]
    mask = row.masks[-1]
    return stepped(functools.partial(row.build, name, mask=mask), 3 + mask, 32, strategy, traced)


def stepped(
    build: Callable[[], keras.Model], channels: int, size: int, strategy: tf.distribute.Strategy,
    traced: bool = True, scaled: bool = False,
) -> list[np.ndarray]:  # fmt: skip
    """The weights after one SGD step under `strategy`, always on the same global batch."""
    data = tf.data.Dataset.from_tensors(_damaged_batch(channels, size)).repeat()
    with strategy.scope():
        model: Any = build()
        sgd: Any = keras.optimizers.SGD(0.05)
        model.compile(
            LossScale(sgd) if scaled else sgd, loss=mixture([Spec("l1")]), jit_compile=False,
            run_eagerly=not traced,
        )  # fmt: skip
    model.fit(shared(data), steps_per_epoch=1, verbose=0, shuffle=False)
    return [np.asarray(weight) for weight in model.weights]
