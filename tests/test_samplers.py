"""Schedules of noise and samplers against closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.diffusion.samplers import SAMPLERS
from tfrecon.diffusion.schedules import PREDICTIONS, SCHEDULES, T_MAX, linear

TIMES = tf.constant([0.01, 0.2, 0.5, 0.9, T_MAX])


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_go_from_data_to_noise(name):
    schedule = SCHEDULES[name]()
    t = tf.linspace(0.0, 1.0, 101)
    alpha, sigma = np.asarray(schedule.alpha(t)), np.asarray(schedule.sigma(t))
    assert alpha[0] == pytest.approx(1) and sigma[0] == pytest.approx(0, abs=1e-6)
    assert alpha[-1] < 0.07 and sigma[-1] == pytest.approx(1, abs=3e-3)
    assert (np.diff(alpha) < 0).all() and (np.diff(sigma / np.maximum(alpha, 1e-6)) > 0).all()
    if name != "flow":
        np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=1e-5)


def test_schedules_are_the_papers():
    t = tf.constant([0.25, 0.5, 1.0])
    # Ho et al. 2020: 1000 steps of β from 1e-4 to 0.02; continuous time is their limit.
    beta = np.linspace(1e-4, 0.02, 1000)
    products = np.sqrt(np.cumprod(1 - beta))[[249, 499, 999]]
    np.testing.assert_allclose(linear().alpha(t), products, rtol=0.04)
    # Rombach et al. 2022, whose last step still has 7% of the signal.
    beta = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    products = np.sqrt(np.cumprod(1 - beta))[[249, 499, 999]]
    np.testing.assert_allclose(SCHEDULES["scaled_linear"]().alpha(t), products, rtol=0.02)
    # Nichol and Dhariwal 2021, eq. 17.
    nichol = np.cos((np.asarray(t) + 0.008) / 1.008 * np.pi / 2)
    np.testing.assert_allclose(SCHEDULES["cosine"](offset=0.008).alpha(t), nichol, atol=1e-6)
    np.testing.assert_allclose(SCHEDULES["flow"]().sigma(t), t)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_forward_process_has_its_stated_mean_and_variance(name):
    schedule = SCHEDULES[name]()
    random = np.random.default_rng(0)
    clean = tf.fill((100_000, 1), 0.7)
    noise = random.standard_normal((100_000, 1), np.float32)
    for t in TIMES:
        noisy = np.asarray(schedule.noised(clean, noise, tf.fill((100_000,), t)))
        assert noisy.mean() == pytest.approx(float(0.7 * schedule.alpha(t)), abs=0.01)
        assert noisy.std() == pytest.approx(float(schedule.sigma(t)), rel=0.01)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_estimates_undo_targets(name, prediction):
    schedule = SCHEDULES[name]()
    random = np.random.default_rng(0)
    clean, noise = random.standard_normal((2, len(TIMES), 4, 4, 3), np.float32)
    noisy = schedule.noised(clean, noise, TIMES)
    target = schedule.target(prediction, clean, noise, TIMES)
    found, direction = schedule.estimates(prediction, target, noisy, TIMES)
    np.testing.assert_allclose(found, clean, atol=2e-3)
    np.testing.assert_allclose(direction, noise, atol=1e-4)


def test_velocity_of_flow_is_the_derivative():
    schedule = SCHEDULES["flow"]()
    clean, noise = tf.constant([[2.0]]), tf.constant([[-1.0]])
    t, step = tf.constant([0.4]), 1e-2
    slope = schedule.noised(clean, noise, t + step) - schedule.noised(clean, noise, t)
    np.testing.assert_allclose(
        schedule.target("velocity", clean, noise, t), slope / step, rtol=1e-4
    )


MEAN = np.float32([0.4, -0.6])
COVARIANCE = np.float32([[0.5, 0.2], [0.2, 0.3]])


def exact(schedule):
    """The best possible denoiser of data of N(MEAN, COVARIANCE): E[x_0 | x_t]."""

    def denoise(noisy, t):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        total = alpha**2 * COVARIANCE + sigma**2 * np.eye(2, dtype=np.float32)
        gain = alpha * tf.linalg.matmul(COVARIANCE, tf.linalg.inv(total))
        clean = MEAN + tf.linalg.matmul(noisy - alpha * MEAN, gain, transpose_b=True)
        return clean, (noisy - alpha * clean) / sigma

    return denoise


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 400), ("heun", 60)])
@pytest.mark.parametrize("name", ["linear", "cosine", "flow"])  # the fourth ends with some signal
def test_samplers_reproduce_a_gaussian(name, sampler, steps):
    schedule = SCHEDULES[name]()
    noise = np.random.default_rng(0).standard_normal((20_000, 2), np.float32)
    noise = (noise - noise.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(noise.T))).T
    samples = np.asarray(
        tf.function(lambda x: SAMPLERS[sampler](exact(schedule), schedule, x, steps))(
            noise.astype(np.float32)
        )
    )
    np.testing.assert_allclose(samples.mean(0), MEAN, atol=0.01)
    np.testing.assert_allclose(np.cov(samples.T), COVARIANCE, atol=0.015)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_keeps_no_noise_of_a_schedule_that_begins_with_some(sampler):
    schedule = SCHEDULES["cosine"](offset=0.2)
    noise = np.random.default_rng(0).standard_normal((50, 2), np.float32)

    def known(noisy, t):
        clean = tf.broadcast_to(MEAN, noisy.shape)
        return clean, (noisy - schedule.alpha(t) * clean) / schedule.sigma(t)

    sample = SAMPLERS[sampler](known, schedule, noise, 5)
    np.testing.assert_allclose(sample, np.broadcast_to(MEAN, (50, 2)), atol=1e-6)


def test_heun_is_of_second_order_and_ddim_of_first():
    schedule = SCHEDULES["cosine"]()
    noise = np.random.default_rng(0).standard_normal((50, 2), np.float32)

    def sample(sampler, steps):
        return np.asarray(SAMPLERS[sampler](exact(schedule), schedule, noise, steps))

    truth = sample("heun", 400)
    errors = {
        (sampler, steps): np.abs(sample(sampler, steps) - truth).max()
        for sampler in SAMPLERS
        for steps in (10, 20)
    }
    assert 1.6 < errors["ddim", 10] / errors["ddim", 20] < 2.6
    assert errors["heun", 10] / errors["heun", 20] > 2.5
    assert errors["heun", 10] < errors["ddim", 20]


@pytest.mark.parametrize(("options", "words"), [
    ({"beta_max": 4.0}, "does not end in noise"),
    ({"beta_min": 3.0, "beta_max": 2.0}, "beta_min ≤ beta_max"),
])  # fmt: skip
def test_schedules_that_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        linear(**options)
