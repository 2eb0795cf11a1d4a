"""Weight gradients by products against TensorFlow's own, and the layers that use them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.layers import convolutions
from tfrecon.layers.convolutions import Conv2D, Conv2DTranspose, weight_gradient


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("size", "stride", "height", "width"),
    [(4, 2, 8, 12), (4, 2, 9, 7), (2, 2, 5, 6), (4, 1, 6, 5), (3, 1, 4, 7)],
)
def test_product_is_tensorflows_gradient(
    size: int, stride: int, height: int, width: int, padding: str
) -> None:
    x = tf.random.stateless_normal((2, height, width, 3), (0, 1))
    kernel = tf.random.stateless_normal((size, size, 3, 5), (2, 3))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        y = tf.nn.conv2d(x, kernel, stride, padding)
        wanted = tf.random.stateless_normal(y.shape, (4, 5))
        total = tf.reduce_sum(y * wanted)
    ours = weight_gradient(x, wanted, size, stride, padding == "SAME")
    np.testing.assert_allclose(ours, tape.gradient(total, kernel), rtol=1e-5, atol=1e-5)


def layers_of(kind: type, plain: type, height: int = 6, **options: Any) -> tuple[Any, Any, Any]:
    """A layer of ours, Keras's with the same weights, and an input."""
    x = tf.random.stateless_normal((2, height, 9, 3), (6, 7))
    made = [k(5, 4, padding="same", activation="relu", **options) for k in (kind, plain)]
    for layer in made:
        layer.build(x.shape)
    made[1].set_weights(made[0].get_weights())
    return *made, x


@pytest.mark.parametrize("wide", [0, convolutions.WIDE], ids=["all products", "one product"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [1, 6])
@pytest.mark.parametrize("kind", [Conv2D, Conv2DTranspose])
def test_layer_trains_as_keras_does(
    kind: type, height: int, stride: int, use_bias: bool, wide: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Values, both gradients and the gradient of a gradient's norm, as a gradient penalty needs."""
    monkeypatch.setattr(convolutions, "WIDE", wide)
    asked: list[bool] = []
    monkeypatch.setattr(convolutions, "_by_products", lambda *_: asked.append(True) or True)
    plain = getattr(keras.layers, kind.__name__)
    ours, theirs, x = layers_of(kind, plain, height, strides=stride, use_bias=use_bias)
    found = []
    for layer in (ours, theirs):
        options = {"training": True} if layer is ours else {}
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = layer(x, **options)
                loss = tf.reduce_sum(tf.square(y))
            slope = inner.gradient(loss, x)
            penalty = tf.reduce_sum(tf.square(slope))
        found.append((y, slope, *outer.gradient(penalty, [x, layer.kernel.value])))
        assert all(part is not None for part in found[-1])
    assert asked
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", [Conv2D, Conv2DTranspose])
def test_layer_holds_keras_own_operations_outside_training(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolutions, "_by_products", lambda *_: True)
    ours, theirs, x = layers_of(kind, getattr(keras.layers, kind.__name__), strides=2)
    graphs = [tf.function(lambda x, layer=layer: layer(x)) for layer in (ours, theirs)]
    operations = [
        [op.type for op in graph.get_concrete_function(x).graph.get_operations()]
        for graph in graphs
    ]
    assert operations[0] == operations[1]


@pytest.mark.parametrize(
    ("shape", "stride", "dtype", "chosen"),
    [
        ((4, 4, 256, 512), 2, "bfloat16", True), ((4, 4, 256, 512), 2, "float32", True),
        ((4, 4, 64, 256), 2, "bfloat16", True), ((4, 4, 64, 256), 2, "float32", False),
        ((4, 4, 64, 128), 2, "bfloat16", False), ((4, 4, 256, 512), 1, "bfloat16", True),
        ((4, 4, 512, 1), 1, "bfloat16", False), ((3, 3, 512, 512), 1, "bfloat16", False),
    ],
)  # fmt: skip
def test_way_is_chosen_by_shape(
    shape: tuple[int, ...], stride: int, dtype: str, chosen: bool
) -> None:
    """The graph of a training step holds TensorFlow's gradient of the kernel, or a product."""
    layer = Conv2D(shape[3], shape[0], stride, "same", dtype=dtype)
    layer.build((None, None, None, shape[2]))

    @tf.function
    def gradient(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True))
        return tape.gradient(loss, layer.kernel.value)

    x = tf.TensorSpec((1, 16, 16, shape[2]), dtype)
    operations = {op.type for op in gradient.get_concrete_function(x).graph.get_operations()}
    assert ("Conv2DBackpropFilter" not in operations) == chosen


@pytest.mark.parametrize(
    ("side", "filters", "products"),
    [(16, 512, True), (64, 512, False), (None, 512, False), (16, 64, False)],
)
@pytest.mark.parametrize("kind", [Conv2D, Conv2DTranspose])
def test_few_places_of_a_large_kernel_are_products_all_ways(
    kind: type, side: int | None, filters: int, products: bool
) -> None:
    layer = kind(filters, 4, 2, "same")
    layer.build((None, None, None, 512))

    @tf.function
    def gradients(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True))
        return tape.gradient(loss, [x, layer.kernel.value])

    graph = gradients.get_concrete_function(tf.TensorSpec((2, side, side, 512))).graph
    operations = {op.type for op in graph.get_operations()}
    assert (not operations & {"Conv2D", "Conv2DBackpropInput"}) == products


def test_gpus_keep_their_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    layer = Conv2D(512, 4, 2, "same")
    layer.build((None, None, None, 512))
    step = tf.function(lambda x: layer(x, training=True))
    graph = step.get_concrete_function(tf.TensorSpec((1, 16, 16, 512))).graph
    assert "Conv2D" in {op.type for op in graph.get_operations()}


@pytest.mark.parametrize("options", [{"groups": 2}, {"dilation_rate": 2}])
def test_other_kinds_of_convolutions_keep_keras_gradient(options: dict[str, int]) -> None:
    """Their gradient is not the one that the products give."""
    ours, theirs = (kind(512, 4, **options) for kind in (Conv2D, keras.layers.Conv2D))
    x = tf.random.stateless_normal((1, 12, 12, 512), (8, 9))
    found = []
    for layer in (ours, theirs):
        layer.build(x.shape)
        layer.kernel.assign(0.01 * tf.random.stateless_normal(layer.kernel.shape, (1, 2)))
        given = {"training": True} if layer is ours else {}
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(layer(x, **given)))
        found.append(tape.gradient(loss, layer.kernel.value))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-3)
