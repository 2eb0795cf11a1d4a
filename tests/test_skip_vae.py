import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from kit import check_loss

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference.restorer import open_export, restorer
from tfrecon.inference.saved_model import export_model
from tfrecon.layers.gaussian_latent import GaussianLatent, kl_divergence
from tfrecon.losses import mixture
from tfrecon.losses.mixed import bernoulli
from tfrecon.models.skip_vae import skip_vae

SMALL = {"base_filters": 8, "latent": 8, "image_size": 32, "seed": 0}


def test_skip_vae_as_published():
    network = skip_vae().network.get_layer("skip_vae")
    shapes = [network.get_layer(f"down{n}").output.shape[-1] for n in range(1, 9)]
    assert shapes == [64, 128, 128, 256, 256, 512, 512, 512]
    assert network.get_layer("mean").output.shape[-1] == 64
    assert network.compute_output_shape((1, 256, 256, 3)) == (1, 256, 256, 3)
    assert sum(isinstance(layer, keras.layers.Concatenate) for layer in network.layers) == 8
    assert network.count_params() == _published_parameters()


def _published_parameters():
    """Counted from the description alone; batch normalisation has four numbers a filter."""
    down = [3, 64, 128, 128, 256, 256, 512, 512, 512]
    stages = list(itertools.pairwise(down))
    below = 64  # the latent
    for filters, beside in zip([*reversed(down[1:-1]), 32], [*reversed(down[:-1])], strict=True):
        stages.append((below, filters))
        below = filters + beside
    heads = 2 * (512 * 64 + 64) + 9 * below * 3 + 3
    return sum(9 * given * filters + 4 * filters for given, filters in stages) + heads


def test_kl_against_the_integral():
    """∫ q log(q/p) of two normal densities, by the trapezium rule."""
    mean, log_variance = np.array([0.7, -1.2]), np.array([0.4, -1.0])
    z = np.linspace(-15, 15, 200_001)[:, None]
    q = np.exp(-((z - mean) ** 2) / (2 * np.exp(log_variance)) - log_variance / 2)
    q /= np.sqrt(2 * np.pi)
    p = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    integrand = np.where(q > 0, q * np.log(np.where(q > 0, q, 1) / np.maximum(p, 1e-300)), 0)
    expected = np.trapezoid(integrand, z[:, 0], axis=0).sum()
    found = kl_divergence(mean[None].astype("float32"), log_variance[None].astype("float32"))
    assert float(found[0]) == pytest.approx(expected, rel=1e-4)


def test_gradients_of_the_kl_term_and_of_a_sample():
    """∂KL/∂μ = μ and ∂KL/∂log σ² = (σ² - 1)/2; ∂z/∂μ = 1 and ∂z/∂log σ² = (z - μ)/2."""
    random = np.random.default_rng(0)
    drawn = random.normal(size=(2, 2, 3, 3, 4))
    mean, log_variance = (tf.Variable(values, dtype=tf.float32) for values in drawn)
    layer = GaussianLatent(beta=0.5, values=6, seed=1)
    with tf.GradientTape(persistent=True) as tape:
        z = layer(mean, log_variance, training=True)
        added = layer.losses[0]
    scale = 0.5 / 6 / (2 * 3 * 3)  # β, values of an image, positions and images averaged over
    expected = scale * mean, scale * (tf.exp(log_variance) - 1) / 2
    for found, right in zip(tape.gradient(added, [mean, log_variance]), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-8)
    expected = np.ones(mean.shape), (z - mean) / 2
    for found, right in zip(tape.gradient(z, [mean, log_variance]), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-6)


def test_latent_samples_in_training_and_is_its_mean_at_inference():
    layer = GaussianLatent(beta=0.5, values=6, seed=1)
    mean = np.full((1, 50, 50, 4), 0.3, np.float32)
    log_variance = np.full_like(mean, 2 * np.log(0.25))
    np.testing.assert_array_equal(layer(mean, log_variance), mean)
    expected = 0.5 * float(kl_divergence(mean, log_variance)[0, 0, 0]) / 6
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)
    drawn = np.asarray(layer(mean, log_variance, training=True))
    assert drawn.mean() == pytest.approx(0.3, abs=0.01)
    assert drawn.std() == pytest.approx(0.25, abs=0.01)
    assert np.abs(drawn - np.asarray(layer(mean, log_variance, training=True))).max() > 0.1
    first, second = (GaussianLatent(0.5, 6, draw)(mean, log_variance) for draw in (1, 2))
    assert np.abs(first - second).max() > 0.1
    np.testing.assert_array_equal(first, GaussianLatent(0.5, 6, 1)(mean, log_variance))


SMALLER = {**SMALL, "image_size": 16}


def _fitted(beta, steps=60):
    random = np.random.default_rng(0)
    y = tf.image.resize(random.random((4, 4, 4, 3), np.float32), (16, 16)).numpy()
    model = skip_vae(**SMALLER, beta=beta)
    model.compile(keras.optimizers.Adam(3e-3), loss=mixture([Spec("l2")]), jit_compile=False)
    data = tf.data.Dataset.from_tensors((y, y)).repeat()
    history = model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False).history
    return model, y, history["kl"][-1]


def test_beta_holds_the_latent_down_and_draws_differ():
    _, _, little = _fitted(beta=1e-4)
    model, y, much = _fitted(beta=1e3)
    assert np.isfinite([little, much]).all() and much < 0.2 * little
    found = model.evaluate(y, y, batch_size=3, verbose=0, return_dict=True)
    kl = float(np.mean(kl_divergence(*_moments(model, y))))
    assert found["kl"] == pytest.approx(kl, rel=1e-4)
    config = model.get_config()
    drawn = [skip_vae(**SMALLER, draw=draw) for draw in (0, 1, 2)]
    for other in drawn:
        other(y)
        for mine, theirs in zip(other.inference_variables, model.inference_variables, strict=True):
            mine.assign(theirs)
    mean, first, second = (np.asarray(other(y)) for other in drawn)
    np.testing.assert_allclose(mean, model(y), atol=1e-6)
    assert np.abs(mean - first).max() > 0 and np.abs(first - second).max() > 0
    assert config["size_multiple"] == 16


@pytest.mark.parametrize(("channels", "draw"), [pytest.param(3, 0, marks=pytest.mark.slow), (4, 2)])
def test_the_export_equals_the_model(tmp_path, channels, draw):
    model = skip_vae(mask=channels == 4, draw=draw, **SMALL)
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:  # biases and scales away from 0 and 1
        variable.assign(variable + random.normal(0, 0.05, variable.shape))
    export_model(model, tmp_path / "skip_vae", channels == 4)
    x = random.random((2, 40, 50, channels), np.float32)
    x[..., 3:] = x[..., 3:] > 0.5
    restored = open_export(tmp_path / "skip_vae").restore(x)
    np.testing.assert_allclose(restored, restorer(model)(x), atol=1e-5)


def _moments(model, y):
    network = model.network.get_layer("skip_vae")
    outputs = [network.get_layer(name).output for name in ("mean", "log_variance")]
    return keras.Model(network.input, outputs)(y)


def test_bernoulli_likelihood():
    check_loss(bernoulli())
    y, p = np.full((1, 2, 2, 3), 0.3, np.float32), np.full((1, 2, 2, 3), 0.6, np.float32)
    expected = 0.3 * np.log(0.3 / 0.6) + 0.7 * np.log(0.7 / 0.4)
    assert float(bernoulli()(y, p)) == pytest.approx(expected, rel=1e-5)
    entropy = keras.losses.BinaryCrossentropy()
    cross = float(entropy(y, p)) - float(entropy(y, y))
    assert float(bernoulli()(y, p)) == pytest.approx(cross, rel=1e-4)


@pytest.mark.parametrize(("options", "words"), [
    ({"image_size": 100}, "must be a multiple of 8"),
    ({"beta": 0.0}, "greater than 0"),
    ({"latent": 0}, "'latent' of 'skip_vae' must be 1 or more"),
    ({"draw": -1}, "'draw' of 'skip_vae' must be 0 or more"),
])  # fmt: skip
def test_options_out_of_range(options, words):
    with pytest.raises(UserError, match=words):
        skip_vae(**options)
