"""The feature GAN: shapes, losses against their formulas, noise, R1, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.initializers import GlorotUniform
from kit import check_model

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.layers.spectral import SpectralConv2D
from tfrecon.losses import mixture
from tfrecon.losses.adversarial_losses import ADVERSARIAL_LOSSES
from tfrecon.models.feature_gan import feature_gan

SMALL = {
    "image_size": 32, "weights": None, "seed": 0, "backbone": "vgg16", "taps": ["block2"],
    "width": 16, "discriminator_filters": 8,
}  # fmt: skip


def photos(count=6, size=32):
    random = np.random.default_rng(1)
    return tf.image.resize(random.random((count, 9, 9, 3), np.float32), (size, size)).numpy()


def adapted(**options):
    model = feature_gan(**{**SMALL, **options})
    model.adapt([photos()], 6)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {"adversarial_loss": "hinge", "spectral_norm": True, "r1_weight": 0.1},
    {"taps": ["block1", "block3"]},
])  # fmt: skip
def test_its_options_keep_the_promises_of_a_model(options):
    check_model(lambda: adapted(**options), channels=3, size=32)


def test_the_published_generator():
    model = feature_gan(image_size=128, backbone="resnet101", taps=["layer3"], weights=None,
                        noise_channels=100)  # fmt: skip
    network = model.generator
    assert network.input_shape == (None, None, None, 1024)
    assert network.compute_output_shape((1, 8, 8, 1024)) == (1, 128, 128, 3)
    assert network.get_layer("project").output.shape[-1] == 128
    assert network.get_layer("noise").output.shape[-1] == 228
    filters = [network.get_layer(f"up{n}").filters for n in range(1, 5)]
    assert filters == [64, 32, 32, 32]
    convolutions = [model.discriminator.get_layer(f"conv{n}") for n in range(1, 5)]
    assert [layer.filters for layer in convolutions] == [64, 128, 256, 512]
    assert all(layer.strides == (2, 2) for layer in convolutions)
    assert model.discriminator(np.zeros((1, 128, 128, 3), np.float32)).shape == (1, 7, 7, 1)


def test_adversarial_losses_are_their_formulas():
    real, fake = np.float32([[2.0], [-1.0]]), np.float32([[0.5], [-3.0]])
    bce, hinge = ADVERSARIAL_LOSSES["bce"], ADVERSARIAL_LOSSES["hinge"]

    def softplus(x):
        return np.log1p(np.exp(x))

    assert float(bce.generator(fake)) == pytest.approx(softplus(-fake).mean(), rel=1e-5)
    expected = 0.5 * (softplus(-real).mean() + softplus(fake).mean())
    assert float(bce.discriminator(real, fake)) == pytest.approx(expected, rel=1e-5)
    assert float(hinge.generator(fake)) == pytest.approx(-fake.mean())
    assert float(hinge.discriminator(real, fake)) == pytest.approx((0 + 2) / 2 + (1.5 + 0) / 2)


def test_r1_is_half_the_squared_gradient():
    model = adapted(r1_weight=1.0, spectral_norm=True)
    inputs = keras.Input((None, None, 3))
    model.discriminator = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    kernel = model.discriminator.weights[0]
    kernel.assign([[1.0], [2.0], [3.0]])
    _, penalty = model._real(None, tf.constant(photos(2, 4)))
    # The logits' sum has the gradient (1, 2, 3) at each of 16 pixels.
    assert float(penalty) == pytest.approx(0.5 * 16 * (1 + 4 + 9))


def test_spectral_normalisation_divides_by_the_largest_singular_value():
    layer = SpectralConv2D(5, 3, use_bias=False, kernel_initializer=GlorotUniform(seed=0))
    x = photos(2, 8)
    for _ in range(50):
        layer(x, training=True)
    kernel = np.asarray(layer.kernel)
    largest = np.linalg.svd(kernel.reshape(-1, 5), compute_uv=False)[0]
    np.testing.assert_allclose(layer(x), tf.nn.conv2d(x, kernel / largest, 1, "VALID"), atol=1e-4)
    before = np.asarray(layer.vector)
    layer(x)
    np.testing.assert_array_equal(layer.vector, before)


def test_noise_changes_training_and_draws_only():
    model = adapted(noise_channels=4)
    x = photos(2)
    np.testing.assert_array_equal(model(x), model(x))
    features = model.condition(x)
    first, second = (np.asarray(model.generator(features, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    drawn = adapted(noise_channels=4, draw=2)
    for mine, theirs in zip(drawn.weights, model.weights, strict=True):
        mine.assign(theirs)
    np.testing.assert_array_equal(drawn(x), drawn(x))
    np.testing.assert_allclose(drawn(x)[1:], drawn(x[1:]), atol=1e-5)
    assert np.abs(drawn(x) - model(x)).max() > 1e-4


def test_the_discriminator_learns_from_the_images_alone():
    model = adapted()
    model.compile(keras.optimizers.Adam(1e-3), loss=mixture([Spec("l1")]), jit_compile=False)
    before = [np.asarray(w) for w in model.discriminator.trainable_variables]
    frozen = [np.asarray(w) for w in model.frozen_variables]
    history = model.fit(photos(), photos(), batch_size=3, verbose=0).history
    assert {"reconstruction", "generator_adversarial", "discriminator"} <= history.keys()
    after = [np.asarray(w) for w in model.discriminator.trainable_variables]
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, after, strict=True))
    for a, b in zip(frozen, model.frozen_variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("options", "words"), [
    ({"mask": True}, "takes no masks"),
    ({"adversarial_loss": "hinges"}, "must be one of 'bce', 'hinge', not 'hinges'"),
    ({"adversarial_weight": 0, "reconstruction_weight": 0}, "nothing would be learned"),
    ({"draw": 1}, "model.noise_channels is 0"),
    ({"width": 0}, "'width' of 'feature_gan' must be 1 or more"),
    ({"image_size": 30}, "multiples of"),
])  # fmt: skip
def test_what_is_refused(options, words):
    with pytest.raises(UserError, match=words):
        feature_gan(**{**SMALL, **options})
