"""Schedules and samplers against closed forms, and the diffusion model."""

import functools
import json
import shutil

import fakes
import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from kit import check_model
from test_training import interrupted

from tfrecon import checkpoint, training
from tfrecon.backbones.base import to_torch, torch_names
from tfrecon.config import from_tables
from tfrecon.diffusion.samplers import SAMPLERS
from tfrecon.diffusion.schedules import PREDICTIONS, SCHEDULES, T_MAX, linear
from tfrecon.errors import UserError
from tfrecon.evaluation.report import evaluate_runs
from tfrecon.inference import open_export, restorer
from tfrecon.losses import mixture
from tfrecon.models.autoencoder import autoencoder
from tfrecon.models.diffusion import diffusion
from tfrecon.models.stable_diffusion import OLD_NAMES, load_autoencoder, load_denoiser
from tfrecon.networks import stable_diffusion as sd1
from tfrecon.registry import Spec
from tfrecon.saved_model import export_run

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


# --- the model ------------------------------------------------------------------------------------

SMALL = {"image_size": 32, "width": 8, "steps": 3, "seed": 0}
FEATURES = {"backbone": "vgg16", "taps": ["block3"], "weights": None}


def photos(count=8, size=32):
    random = np.random.default_rng(1)
    return tf.image.resize(random.random((count, 6, 6, 3), np.float32), (size, size)).numpy()


@pytest.fixture
def still(monkeypatch):
    """Every training image at t = 0.5, with the same noise and its condition: replicas draw their
    own otherwise."""
    noise = np.random.default_rng(0).standard_normal((32, 32, 3)).astype(np.float32)
    monkeypatch.setattr(
        keras.random, "normal", lambda shape, **options: tf.broadcast_to(noise, shape)
    )
    monkeypatch.setattr(keras.random, "uniform", lambda shape, **options: tf.fill(shape, 0.5))


@pytest.mark.parametrize("options", [
    {"mask": True}, {**FEATURES, "guidance": 2.0, "sampler": "heun"},
    {"backbone": "resnet34", "taps": ["layer2", "avgpool"], "weights": None, "schedule": "flow"},
])  # fmt: skip
def test_diffusion_keeps_the_promises_of_a_model(still, options):
    channels = 4 if "mask" in options else 3
    check_model(lambda: diffusion(**SMALL, **options), channels=channels, size=32)


def test_known_pixels_stay_and_draws_differ():
    y = photos(2)
    mask = np.zeros((2, 32, 32, 1), np.float32)
    mask[:, 8:20, 8:20] = 1
    x = np.concatenate([y * (1 - mask), mask], -1)
    first = np.asarray(diffusion(mask=True, **SMALL)(x))
    known = mask[..., 0] == 0
    np.testing.assert_array_equal(first[known], y[known])
    np.testing.assert_array_equal(first, diffusion(mask=True, **SMALL)(x))
    second = np.asarray(diffusion(mask=True, draw=1, **SMALL)(x))
    assert np.abs(second - first)[~known].max() > 0.05


def test_the_condition_is_left_out_for_its_share():
    model = diffusion(**SMALL, **FEATURES, condition_dropout=0.5)
    model.compile(keras.optimizers.SGD(0.0), loss=mixture([Spec("l2")]), jit_compile=False)
    seen = []
    network = model.network

    def spy(inputs, **options):
        seen.append(inputs[1])
        return network(inputs, **options)

    x = photos(64)
    model.network = None  # Keras replaces no layer by a function
    object.__setattr__(model, "network", spy)
    spy.trainable_variables = network.trainable_variables
    model.train_step((x, x))
    share = np.mean([not np.asarray(one).any() for one in seen[0]])
    assert 0.3 < share < 0.7


def test_guidance_moves_away_from_the_unconditioned():
    model = diffusion(**SMALL, **FEATURES)
    head = model.network.get_layer("head")
    head.kernel.assign(np.random.default_rng(0).normal(0, 0.05, head.kernel.shape))
    noisy, condition = tf.random.stateless_normal((1, 32, 32, 3), (0, 0)), None
    condition = model.condition(photos(1))
    t = tf.constant(0.5)

    def clean(guidance):
        model.options["guidance"] = guidance
        return np.asarray(model.estimates(noisy, condition, t)[0])

    nothing = tuple(tf.zeros_like(part) for part in condition)
    model.options["guidance"] = 1.0
    unguided = np.asarray(model.estimates(noisy, nothing, t)[0])
    plain, guided = clean(1.0), clean(3.0)
    inside = (np.abs(guided) < 1) & (np.abs(plain) < 1) & (np.abs(unguided) < 1)
    np.testing.assert_allclose(
        (guided - unguided)[inside], 3 * (plain - unguided)[inside], atol=1e-4
    )


def test_it_learns_to_use_its_condition():
    """Each photo has one colour, which only its features tell."""
    colours = np.random.default_rng(0).random((16, 1, 1, 3), np.float32)
    y = np.broadcast_to(colours, (16, 32, 32, 3)).astype(np.float32)
    model = diffusion(image_size=32, width=16, seed=0, steps=8, condition_dropout=0.0)
    model.compile(keras.optimizers.Adam(2e-3), loss=mixture([Spec("l2")]), jit_compile=False)
    model.fit(y, y, batch_size=16, epochs=200, verbose=0)
    error = np.abs(np.asarray(model(y)) - y).mean()
    assert error < 0.7 * np.abs(y - y.mean(0)).mean()


@pytest.mark.parametrize(("options", "words"), [
    ({"steps": 0}, "model.steps must be 1 or more"),
    ({"sampler": "euler"}, "unknown model.sampler 'euler'"),
    ({"prediction": "v"}, "unknown model.prediction 'v'"),
    ({"schedule": {"name": "linear", "beta_max": 1.0}}, "does not end in noise"),
    ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean"),
    ({**FEATURES, "mask": True}, "takes no masks"),
    ({**FEATURES, "taps": ["block1"], "patch": 4}, "lower model.patch"),
    ({**FEATURES, "image_size": 36}, "multiples of"),
    ({"patch": 3}, "model.patch must be"),
])  # fmt: skip
def test_options_that_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        diffusion(**{**SMALL, **options})


# --- latents --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    root = fakes.photo_folder(folder / "photos", 12)
    config = from_tables({
        "model": {"name": "autoencoder", "width": 8, "depth": 1, "discriminator_filters": 4},
        "data": {"recipe": "folder", "root": str(root), "image_size": 32, "damage": "identity"},
        "fit": {"steps": 3, "batch_size": 4, "steps_per_epoch": 3},
    })  # fmt: skip
    return training.train(config, folder / "encoder")


def test_autoencoder_keeps_the_promises_of_a_model(monkeypatch):
    monkeypatch.setattr(keras.random, "normal", lambda shape, **options: tf.zeros(shape))
    small = {"image_size": 32, "width": 8, "depth": 1, "discriminator_filters": 4, "seed": 0}
    check_model(lambda: autoencoder(**small), channels=3, size=32)


def test_diffusion_in_the_latents_of_a_run(still, encoder_run):
    folder = str(encoder_run.path)
    model = diffusion(**SMALL, **FEATURES, autoencoder=folder)
    x = photos()
    model.adapt([x[:4], x[4:]], 8)
    latents = np.asarray(model.space.encode(x))
    assert latents.shape == (8, 4, 4, 4)
    np.testing.assert_allclose(latents.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(latents.std((0, 1, 2)), 1, atol=1e-3)
    encoder = encoder_run.load_model()
    expected = encoder.decoder(encoder.encoder(x)[0])
    np.testing.assert_allclose(model.space.decode(latents), expected, atol=1e-4)
    assert model.network.input_shape[0] == (None, None, None, 4)
    assert np.asarray(model(x)).shape == x.shape
    names = {variable.path for variable in model.trainable_variables}
    assert names and not any("encoder" in name for name in names)
    masked = diffusion(**SMALL, mask=True, autoencoder=folder)
    assert np.asarray(masked(np.concatenate([x, x[..., :1] > 0.5], -1))).shape == x.shape


def test_a_run_in_latents_trains_exports_and_resumes(tmp_path, monkeypatch, encoder_run):
    tables = {
        "model": {"name": "diffusion", "autoencoder": str(encoder_run.path), "width": 8,
                  "steps": 2, **{k: v for k, v in FEATURES.items() if v}, "weights": "none"},
        "data": {"recipe": "folder", "root": encoder_run.config.data.root, "image_size": 32,
                 "damage": "identity"},
        "fit": {"steps": 8, "batch_size": 4, "steps_per_epoch": 3, "monitor": "val_loss",
                "ema_decay": 0.9, "checkpoint_seconds": 0},
    }  # fmt: skip
    config = from_tables(tables)
    whole = training.train(config, tmp_path / "whole")
    interrupted(monkeypatch, config, tmp_path / "stopped", 4)
    resumed = training.train(config, tmp_path / "stopped", resume=True)
    theirs = checkpoint.load(resumed.path / "state.npz")[0]
    for name, array in checkpoint.load(whole.path / "state.npz")[0].items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    report = evaluate_runs([whole], draws=2, slow=False)
    rows = {cell.method for cell in report.summary}
    assert {"diffusion", "diffusion, draw 1", "diffusion, draw 2"} <= rows
    assert any(line.startswith("diffusion over 2 draws: PSNR (dB) ") for line in report.verdicts)
    assert all(difference.restore < 1e-4 for difference in export_run(whole, tmp_path / "export"))
    export, model = open_export(tmp_path / "export"), whole.load_model()
    x = photos(1)
    np.testing.assert_allclose(export.sample(x, 3), model.sample(x, 3), atol=1e-4)
    np.testing.assert_allclose(export.sample(x, 0), export.restore(x), atol=1e-5)
    assert np.abs(export.sample(x, 3) - export.sample(x, 4)).max() > 1e-3


def test_folders_that_are_no_autoencoder(tmp_path, encoder_run):
    with pytest.raises(UserError, match="is no trained run; train one with"):
        diffusion(**SMALL, autoencoder=str(tmp_path))
    shutil.copytree(encoder_run.path, tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    text = path.read_text().replace('"name": "autoencoder"', '"name": "pix2pix"')
    tables = json.loads(text)
    tables["model"] = {"name": "pix2pix"}
    path.write_text(json.dumps(tables))
    with pytest.raises(UserError, match="is a run of 'pix2pix'"):
        diffusion(**SMALL, autoencoder=str(tmp_path / "copy"))
    with pytest.raises(UserError, match="multiple of 8"):
        autoencoder(image_size=36)


# --- Stable Diffusion 1.x -------------------------------------------------------------------------

TINY_UNET = {"widths": (8, 8, 16, 16), "heads": 2, "groups": 4, "text_width": 12}
TINY_VAE = {"widths": (8, 8, 8, 8), "groups": 4}


def tiny_sd1(condition=3, vector=0):
    network = sd1.sd1_denoiser(condition_channels=condition, global_channels=vector, **TINY_UNET)
    return network, sd1.encoder(**TINY_VAE), sd1.decoder(**TINY_VAE)


def saved(folder, part, networks, rename=lambda name: name):
    """Arrays as diffusers saves them, random, for all variables of `networks`."""
    random = np.random.default_rng(0)
    arrays = {}
    for network in networks:
        for name, variable in torch_names(network).items():
            array = random.normal(0, 0.1, variable.shape).astype(np.float32)
            array = to_torch(array) if array.ndim > 1 else array
            if name == "conv_in.weight":
                array = array[:, :4]
            arrays[rename(name)] = np.ascontiguousarray(array)
    (folder / part).mkdir(parents=True)
    safetensors.numpy.save_file(arrays, folder / part / "diffusion_pytorch_model.safetensors")
    return arrays


def test_sd1_weights_load_by_name_and_the_condition_starts_silent(tmp_path):
    network, encoder, decoder = tiny_sd1(vector=5)
    arrays = saved(tmp_path, "unet", [tiny_sd1()[0]])
    load_denoiser(network, str(tmp_path))
    kernel = np.asarray(network.get_layer("conv_in").kernel)
    np.testing.assert_array_equal(kernel[:, :, :4], arrays["conv_in.weight"].transpose(2, 3, 1, 0))
    assert kernel.shape[2] == 7 and not kernel[:, :, 4:].any()
    random = np.random.default_rng(0)
    noisy, condition = (
        random.standard_normal((1, 16, 16, 4)),
        random.standard_normal((1, 16, 16, 3)),
    )
    vector, t = random.standard_normal((1, 5)), np.float32([0.3])
    said = network([noisy, condition, t, vector])
    np.testing.assert_allclose(said, network([noisy, 0 * condition, t, 0 * vector]), atol=1e-6)
    assert np.abs(said - network([noisy, condition, t + 0.5, vector])).max() > 1e-4

    def old(name):
        for before, after in OLD_NAMES.items():
            name = name.replace(after, before)
        return name

    arrays = saved(tmp_path, "vae", [encoder, decoder], old)
    load_autoencoder(encoder, decoder, str(tmp_path))
    query = encoder.get_layer("encoder.mid_block.attentions.0.to_q").kernel
    np.testing.assert_array_equal(query, arrays["encoder.mid_block.attentions.0.query.weight"].T)
    x = photos(1)
    latent = encoder(x)[..., :4]
    assert latent.shape == (1, 4, 4, 4) and decoder(latent).shape == x.shape


def test_sd1_weights_that_do_not_fit(tmp_path):
    network = tiny_sd1()[0]
    with pytest.raises(UserError, match=r"has no unet/diffusion_pytorch_model\.safetensors"):
        load_denoiser(network, str(tmp_path))
    other = sd1.sd1_denoiser(condition_channels=3, **{**TINY_UNET, "widths": (8, 16, 16, 16)})
    saved(tmp_path, "unet", [other])
    with pytest.raises(UserError, match=r"must be .* and is"):
        load_denoiser(network, str(tmp_path))


def test_diffusion_with_the_networks_of_sd1(monkeypatch):
    """At small widths; benchmarks/sd1.py runs the whole ones."""
    for name, tiny in (("sd1_denoiser", TINY_UNET), ("encoder", TINY_VAE), ("decoder", TINY_VAE)):
        monkeypatch.setattr(sd1, name, functools.partial(getattr(sd1, name), **tiny))
    options = {"autoencoder": "sd1", "denoiser": "sd1", "schedule": "scaled_linear", "steps": 2}
    model = diffusion(image_size=128, prediction="noise", **options)
    assert model.size_multiple == 64
    model.compile(keras.optimizers.Adam(1e-4), loss=mixture([Spec("l2")]), jit_compile=False)
    x = photos(2, 128)
    trained = len(model.trainable_variables)
    assert trained == len(model.network.trainable_variables), "the autoencoder is frozen"
    assert np.isfinite(model.fit(x, x, batch_size=2, verbose=0).history["loss"][0])
    assert np.asarray(model(x)).shape == x.shape
    assert restorer(model)(x[:1, :100, :80]).shape == (1, 100, 80, 3), "padded to 64"
    with pytest.raises(UserError, match=r"set model\.autoencoder=sd1"):
        diffusion(denoiser="sd1")
    with pytest.raises(UserError, match=r"model\.sd1_weights are for"):
        diffusion(sd1_weights="folder")
    with pytest.raises(UserError, match="multiples of 64"):
        diffusion(image_size=96, **FEATURES, **options)
