"""Multiply-adds against numbers by hand."""

import keras
import pytest
import tensorflow as tf
from keras import layers

from tfrecon.reports.operations import multiply_adds


def functional(*stack):
    x = inputs = keras.Input((None, None, 3))
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([layers.Conv2D(8, 3, padding="same")], 32 * 32 * 8 * 27),
        ([layers.Conv2D(8, 3, 2, padding="same")], 16 * 16 * 8 * 27),
        ([layers.Conv2D(6, 3, groups=3, padding="same")], 32 * 32 * 6 * 9),
        ([layers.Conv2DTranspose(4, 4, 2, padding="same")], 32 * 32 * 3 * 4 * 16),
        ([layers.DepthwiseConv2D(5, padding="same")], 32 * 32 * 3 * 25),
        ([layers.Dense(7)], 32 * 32 * 3 * 7),
    ],
)
def test_layers(stack, expected):
    assert multiply_adds(functional(*stack), 32, 3) == expected


def test_a_product_of_tokens():
    inputs = keras.Input((32, 32, 3))
    tokens = layers.Reshape((1024, 3))(inputs)
    assert multiply_adds(keras.Model(inputs, layers.Dot(2)([tokens, tokens])), 32, 3) == 3 * 1024**2


class Loops(keras.Model):
    """A convolution three times over, in a loop whose end is stated or not."""

    def __init__(self, stated):
        super().__init__()
        self.stated, self.convolution = stated, layers.Conv2D(3, 3, padding="same")
        self.convolution.build((None, 16, 16, 3))  # a loop's body creates no variable

    def call(self, x, training=False):
        return tf.while_loop(
            lambda index, _: index < 3, lambda index, x: (index + 1, self.convolution(x)),
            (tf.constant(0), x), maximum_iterations=3 if self.stated else None,
        )[1]  # fmt: skip


def test_a_loop_counts_as_often_as_it_runs():
    assert multiply_adds(Loops(stated=True), 16, 3) == 3 * 16 * 16 * 3 * 27
    assert multiply_adds(Loops(stated=False), 16, 3) is None


def test_of_sizes_that_a_model_does_not_take_nothing_is_said():
    fixed = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(1)])
    assert multiply_adds(fixed, 9, 3) is None
