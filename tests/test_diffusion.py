"""The diffusion model in pixels and in latents."""

import json
import shutil

import fakes
import keras
import numpy as np
import pytest
import tensorflow as tf
from kit import awake, check_model, draw_alike
from tiny_runs import interrupted

from tfrecon.base import checkpoint
from tfrecon.base.config import from_tables
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference.restorer import open_export
from tfrecon.inference.saved_model import export_run
from tfrecon.losses import mixture
from tfrecon.models.autoencoder import autoencoder
from tfrecon.models.denoising import Diffusion
from tfrecon.models.diffusion import diffusion
from tfrecon.reports.evaluation import evaluate_runs
from tfrecon.training import loop

SMALL = {"image_size": 32, "width": 8, "steps": 3, "seed": 0}
FEATURES = {"backbone": "vgg16", "taps": ["block3"], "weights": None}


def photos(count=8, size=32):
    random = np.random.default_rng(1)
    return tf.image.resize(random.random((count, 6, 6, 3), np.float32), (size, size)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {**FEATURES, "guidance": 2.0, "sampler": "heun"},
    {"backbone": "resnet34", "taps": ["layer2", "avgpool"], "weights": None, "schedule": "flow"},
])  # fmt: skip
def test_diffusion_from_features_keeps_the_promises_of_a_model(monkeypatch, options):
    draw_alike(monkeypatch)
    check_model(lambda: awake(diffusion(**SMALL, **options)), channels=3, size=32)


def test_a_sample_depends_on_what_it_is_conditioned_on():
    x = photos(2)
    pooled = {"backbone": "resnet34", "taps": ["layer2", "avgpool"], "weights": None}
    for options in ({}, FEATURES, pooled):
        first, second = np.asarray(awake(diffusion(**SMALL, **options))(x))
        assert np.abs(first - second).max() > 1e-3


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


def test_the_condition_is_left_out_for_its_share(monkeypatch):
    model = diffusion(**SMALL, **FEATURES, condition_dropout=0.5)
    model.compile(keras.optimizers.SGD(0.0), loss=mixture([Spec("l2")]), jit_compile=False)
    seen = []
    loss = Diffusion.denoising_loss

    def spy(self, clean, condition, *rest, **options):
        seen.append(np.asarray(condition[0]))
        return loss(self, clean, condition, *rest, **options)

    monkeypatch.setattr(Diffusion, "denoising_loss", spy)
    x = photos(64)
    model.train_step((x, x))
    assert 0.3 < np.mean([not one.any() for one in seen[0]]) < 0.7


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
    assert inside.mean() > 0.2 and np.abs(plain - unguided)[inside].max() > 0.01
    np.testing.assert_allclose(
        (guided - unguided)[inside], 3 * (plain - unguided)[inside], atol=1e-4
    )


@pytest.mark.slow
def test_it_learns_to_use_its_condition():
    """Each photo has one colour, which nothing else tells."""
    colours = np.random.default_rng(0).random((16, 1, 1, 3), np.float32)
    y = np.broadcast_to(colours, (16, 32, 32, 3)).astype(np.float32)
    model = diffusion(image_size=32, width=16, seed=0, steps=8, condition_dropout=0.0)
    model.compile(keras.optimizers.Adam(2e-3), loss=mixture([Spec("l2")]), jit_compile=False)
    model.fit(y, y, batch_size=16, epochs=200, verbose=0)
    error = np.abs(np.asarray(model(y)) - y).mean()
    assert error < 0.7 * np.abs(y - y.mean(0)).mean()


@pytest.mark.parametrize(("options", "words"), [
    ({"steps": 0}, "option 'steps' of 'diffusion' must be 1 or more"),
    ({"sampler": "euler"}, "must be one of 'ddim', 'heun', not 'euler'"),
    ({"prediction": "v"}, "must be one of 'velocity', 'noise' or nothing, not 'v'"),
    ({"schedule": {"name": "linear", "beta_max": 1.0}}, "does not end in noise"),
    ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean"),
    ({**FEATURES, "mask": True}, "takes no masks"),
    ({**FEATURES, "taps": ["block1"], "patch": 4}, "lower model.patch"),
    ({**FEATURES, "image_size": 36}, "multiples of"),
    ({"patch": 3}, "model.patch must be"),
    ({"guidance": 2.0, "condition_dropout": 0.0}, "train with model.condition_dropout"),
    ({**FEATURES, "refine_steps": 5}, "model.autoencoder, or leave it out"),
])  # fmt: skip
def test_options_that_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        diffusion(**{**SMALL, **options})


def test_the_loss_of_a_single_validation_image_is_of_several_times(monkeypatch):
    model = diffusion(**SMALL)
    model.compile(keras.optimizers.SGD(0.0), loss=mixture([Spec("l2")]), jit_compile=False)
    seen = []
    loss = Diffusion.denoising_loss

    def spy(self, clean, condition, t, *rest, **options):
        seen.extend(np.asarray(t))
        return loss(self, clean, condition, t, *rest, **options)

    monkeypatch.setattr(Diffusion, "denoising_loss", spy)
    x = photos(1)
    found = model.test_step((x, x))
    np.testing.assert_allclose(seen, 0.999 * np.float32([0.125, 0.375, 0.625, 0.875]), rtol=1e-5)
    assert 0.5 < float(found["loss"]) < 2, "the mean over the times; the answer of a fresh one is 0"


@pytest.fixture(scope="module")
def encoder_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    root = fakes.photo_folder(folder / "photos", 12)
    config = from_tables({
        "model": {"name": "autoencoder", "width": 8, "depth": 1, "discriminator_filters": 4},
        "data": {"recipe": "folder", "root": str(root), "image_size": 32, "damage": "identity"},
        "fit": {"steps": 3, "batch_size": 4, "steps_per_epoch": 3},
    })  # fmt: skip
    return loop.train(config, folder / "encoder")


def test_the_reconstruction_of_an_autoencoder_is_without_its_kl():
    x = photos(4)
    found = []
    for beta in (1e-9, 10.0):
        small = {"width": 8, "depth": 1, "discriminator_filters": 4}
        model = autoencoder(image_size=32, beta=beta, reconstruction_weight=7.0, seed=0, **small)
        model.compile(keras.optimizers.SGD(0.0), loss=mixture([Spec("l1")]), jit_compile=False)
        found.append(model.evaluate(x, x, verbose=0, return_dict=True)["reconstruction"])
        restored = np.asarray(model(x))
    assert found[0] == pytest.approx(np.abs(restored - x).mean(), rel=1e-4)
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_an_autoencoder_comes_back_from_images_far_out_of_range():
    x = photos(4)
    model = autoencoder(image_size=32, width=8, depth=1, discriminator_filters=4, seed=0)
    head = model.decoder.get_layer("head")
    head.bias.assign(tf.fill(head.bias.shape, 50.0))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(model(x, training=True) - x))
    np.testing.assert_allclose(tape.gradient(loss, head.bias.value), np.full(12, 1 / 12), rtol=1e-3)


def test_diffusion_in_the_latents_of_a_run(encoder_run):
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
    refined = awake(diffusion(**SMALL, **FEATURES, autoencoder=folder, refine_steps=20))
    plain = awake(diffusion(**SMALL, **FEATURES, autoencoder=folder))

    def distance(answer):
        pairs = zip(plain.features(answer), plain.features(x), strict=True)
        return sum(float(tf.reduce_sum(tf.square(a - b))) for a, b in pairs)

    assert distance(refined(x)) < 0.9 * distance(plain(x))
    masked = diffusion(**SMALL, mask=True, autoencoder=folder)
    assert np.asarray(masked(np.concatenate([x, x[..., :1] > 0.5], -1))).shape == x.shape


def in_latents(encoder_run, **fit):
    """A configuration of diffusion in the latents of that run, conditioned on features."""
    tables = {
        "model": {"name": "diffusion", "autoencoder": str(encoder_run.path), "width": 8,
                  "steps": 2, **FEATURES, "weights": "none"},
        "data": {"recipe": "folder", "root": encoder_run.config.data.root, "image_size": 32,
                 "damage": "identity"},
        "fit": {"steps": 8, "batch_size": 4, "steps_per_epoch": 3, "monitor": "val_loss",
                "ema_decay": 0.9, "checkpoint_seconds": 0, "precision": "bfloat16", **fit},
    }  # fmt: skip
    return from_tables(tables)


@pytest.mark.slow
def test_a_stopped_run_in_latents_ends_as_if_it_had_never_stopped(
    tmp_path, monkeypatch, encoder_run, eagerly
):
    config = in_latents(encoder_run)
    whole = loop.train(config, tmp_path / "whole")
    interrupted(monkeypatch, config, tmp_path / "stopped", 4)
    resumed = loop.train(config, tmp_path / "stopped", resume=True)
    theirs = checkpoint.load(resumed.path / "state.npz")[0]
    for name, array in checkpoint.load(whole.path / "state.npz")[0].items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_a_run_in_latents_trains_and_exports(tmp_path, encoder_run):
    whole = loop.train(in_latents(encoder_run, steps=2, steps_per_epoch=2), tmp_path / "whole")
    report = evaluate_runs([whole], draws=2, slow=False)
    rows = {method for method, _ in report.summary}
    bound = "diffusion, its autoencoder"
    assert {"diffusion", "diffusion, draw 1", "diffusion, draw 2", bound} <= rows
    own = evaluate_runs([encoder_run], slow=False)
    expected = own.summary["autoencoder", "psnr"].mean
    assert report.summary[bound, "psnr"].mean == pytest.approx(expected, abs=1e-3)
    assert f"{bound}: the truth through it, {expected:.2f} dB" in "\n".join(report.verdicts)
    assert any(line.startswith("diffusion over 2 draws: PSNR (dB) ") for line in report.verdicts)
    export_run(whole, tmp_path / "export")  # refuses one that differs
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
    path.write_text("{")
    with pytest.raises(UserError, match="holds a damaged run"):
        diffusion(**SMALL, autoencoder=str(tmp_path / "copy"))
    with pytest.raises(UserError, match="multiple of 8"):
        autoencoder(image_size=36)
