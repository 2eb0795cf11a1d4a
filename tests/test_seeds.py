"""Random numbers of replicas."""

import keras
import numpy as np
import tensorflow as tf
from kit import two_replicas

from tfrecon.layers.gaussian_latent import GaussianLatent
from tfrecon.layers.seeds import NoiseChannels, Seeds
from tfrecon.models.diffusion import diffusion


def drawn_by_two(make, call):
    strategy = two_replicas()
    with strategy.scope():
        made = make()
    step = tf.function(
        lambda: strategy.experimental_local_results(strategy.run(lambda: call(made)))
    )
    return [[np.asarray(drawn) for drawn in step()] for _ in range(2)]


def test_replicas_draw_numbers_of_their_own():
    def normal(seeds):
        return keras.random.normal((1000,), seed=seeds)

    (first, second), (third, _) = drawn_by_two(lambda: Seeds(3), normal)
    alone = Seeds(3)
    np.testing.assert_array_equal(first, normal(alone))
    np.testing.assert_array_equal(third, normal(alone))
    for draws in (second, third):
        assert abs(np.corrcoef(first, draws)[0, 1]) < 0.15


def test_noise_in_training_differs_between_replicas():
    zeros = tf.zeros((1, 4, 4, 2))
    for make, call in (
        (lambda: NoiseChannels(2, seed=0), lambda layer: layer(zeros, training=True)),
        (lambda: GaussianLatent(0.1, 6, seed=0), lambda layer: layer(zeros, zeros, training=True)),
        (
            lambda: diffusion(image_size=32, width=8, seed=0),
            lambda model: keras.random.uniform((4,), seed=model.random),
        ),
    ):
        ((first, second), _) = drawn_by_two(make, call)
        assert np.abs(first - second).max() > 0.1
