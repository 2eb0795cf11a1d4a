import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.layers.grids import GridMeans
from tfrecon.models.restoration_gan import dense_discriminator, restoration_gan


def test_restoration_gan_as_published():
    model = restoration_gan()
    network = model.generator.get_layer("unet")
    assert network.get_layer("down8").output.shape[-1] == 512
    assert network.compute_output_shape((1, 256, 256, 3)) == (1, 256, 256, 3)
    assert model.size_multiple == 256
    x = np.zeros((2, 256, 256, 3), np.float32)
    assert model.discriminator([x, x]).shape == (2, 1)
    filters = [model.discriminator.get_layer(f"conv{n}").filters for n in range(1, 5)]
    assert filters == [64, 128, 256, 512]
    # The generator of pix2pix; the dense layer sees 4×4 positions of 512.
    assert 54.3e6 < model.generator.count_params() < 54.6e6
    kernels = 16 * (6 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    norms, biases = 4 * (128 + 256 + 512), 64
    dense = 4 * 4 * 512 * 64 + 64 + 64 + 1
    assert model.discriminator.count_params() == kernels + norms + biases + dense


def test_the_discriminator_judges_the_pair():
    network = dense_discriminator(channels=3, base_filters=8, seed=0)
    random = np.random.default_rng(0)
    given, candidate = random.random((2, 4, 32, 32, 3), np.float32)
    logits = np.asarray(network([given, candidate]))
    assert logits.dtype == np.float32 and np.ptp(logits) > 0
    assert np.abs(network([given[::-1], candidate]) - logits).max() > 1e-4
    assert np.abs(network([given, candidate[::-1]]) - logits).max() > 1e-4


def test_means_of_a_grid_are_those_of_keras_to_the_bit():
    """Of which older versions have none; and their shape is known where that of the map is not."""
    for height, width in ((1, 1), (2, 3), (5, 7), (16, 16), (17, 64)):
        x = tf.random.stateless_normal((2, height, width, 3), (height, width))
        found, answers = [], []
        for layer in (GridMeans(4), keras.layers.AdaptiveAveragePooling2D(4)):
            with tf.GradientTape() as tape:
                tape.watch(x)
                answers.append(layer(x))
                total = tf.reduce_sum(answers[-1] ** 2)
            found.append(tape.gradient(total, x))
        np.testing.assert_array_equal(*answers)
        np.testing.assert_allclose(*found, atol=1e-6)
    assert GridMeans(4)(keras.Input((None, None, 3))).shape == (None, 4, 4, 3)


@pytest.mark.parametrize(("options", "words"), [
    ({"image_size": 100}, "must be a multiple of 8"),
    ({"base_filters": 0}, "'base_filters' of 'restoration_gan' must be 1 or more"),
])  # fmt: skip
def test_options_out_of_range(options, words):
    with pytest.raises(UserError, match=words):
        restoration_gan(**options)
