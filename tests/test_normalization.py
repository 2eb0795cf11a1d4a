import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.layers.normalization import BatchNorm


def _trained(layer, x, weights):
    """Output, gradients, the gradient of the squared gradient, and the moving averages."""
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            total = tf.reduce_sum(tf.cast(y * weights, "float32"))
        gradients = tape.gradient(total, [x, layer.gamma.value, layer.beta.value])
        square = tf.reduce_sum(tf.square(tf.cast(gradients[0], "float32")))
    second = outer.gradient(square, x)
    found = (y, *gradients, second, layer.moving_mean, layer.moving_variance)
    return [np.float32(value) for value in found]


@pytest.mark.parametrize("shape", [(3, 5, 7, 8), (2, 1, 1, 4), (1, 1, 1, 4)])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_kernel_trains_as_keras_does(policy, shape):
    keras.config.set_dtype_policy(policy)
    random, answers = np.random.default_rng(0), []
    values = [random.normal(3.0, 2.0, shape), random.normal(0.0, 1.0, shape)]
    for kind in (BatchNorm, keras.layers.BatchNormalization):
        layer = kind(epsilon=1e-3, momentum=0.9)
        layer.build((None, None, None, shape[-1]))
        layer.gamma.assign(np.linspace(0.5, 2.0, shape[-1]))
        layer.beta.assign(np.linspace(-1.0, 1.0, shape[-1]))
        answers.append(_trained(layer, *(tf.cast(v, layer.compute_dtype) for v in values)))
    tolerance = {"mixed_bfloat16": 1e-2, "mixed_float16": 2e-3}[policy]
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_what_the_kernel_cannot_do_is_left_to_keras(monkeypatch):
    monkeypatch.setattr(BatchNorm, "_by_kernel", None)  # called, it would fail
    x = np.ones((2, 3, 3, 4), np.float32)
    BatchNorm()(x, training=True)  # of float32 values
    keras.config.set_dtype_policy("mixed_bfloat16")
    for options in ({"scale": False}, {"center": False}, {"synchronized": True}):
        BatchNorm(**options)(x, training=True)
    frozen = BatchNorm()
    frozen.trainable = False
    frozen(x, training=True)
    BatchNorm()(x[:, 0, 0], training=True)
