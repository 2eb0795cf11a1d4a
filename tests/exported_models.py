"""Tiny models for the tests of inference, export and reconstruction."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from tfrecon.models.supervised import Restorer, wrapped


def tiny(has_mask: bool, size_multiple: int = 8) -> Restorer:
    """Three strided steps down, three up, position-dependent by its padding; known pixels kept."""
    keras.utils.set_random_seed(3)
    inputs = layers.Input((None, None, 4 if has_mask else 3))
    x = inputs
    for filters in (8, 12, 16):
        x = layers.Conv2D(filters, 4, 2, "same", activation="relu")(x)
        x = layers.BatchNormalization()(x)
    for filters in (12, 8, 3):
        x = layers.Conv2DTranspose(filters, 4, 2, "same", activation="relu")(x)
    x = layers.Activation("sigmoid")(x)
    if has_mask:
        x = Composite()([inputs, x])
    model = keras.Model(inputs, x)
    randomise(model)
    return wrapped(model, size_multiple=size_multiple)


def fixed(size: int = 32) -> Restorer:
    """Takes (B,size,size,3) only."""
    inputs = layers.Input((size, size, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(3, 3, padding="same", activation="sigmoid")(x)
    return wrapped(keras.Model(inputs, x), fixed_size=size)


def randomise(model: keras.Model) -> None:
    """Biases and batch statistics away from 0 and 1, where a mistake would not show."""
    random = np.random.default_rng(5)
    for variable in model.variables:
        if len(variable.shape) == 1:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))


@keras.saving.register_keras_serializable("tfrecon_tests")
class Composite(layers.Layer):
    """Known pixels of (B,H,W,4) with the candidate (B,H,W,3) in the holes."""

    def call(self, inputs):
        x, candidate = inputs
        mask = x[..., 3:]
        return x[..., :3] * (1 - mask) + candidate * mask
