"""What every model promises, the registry, a user's own model, and the details of pix2pix."""

import ast
import functools
import inspect
import subprocess
import sys
from pathlib import Path

import fakes
import keras
import numpy as np
import pytest
import tensorflow as tf
from kit import ROWS, check_model, check_replicas, draw_alike

import tfrecon
from tfrecon.base.config import FitConfig, from_tables, merged
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference.restorer import open_export, restorer
from tfrecon.inference.saved_model import export_run
from tfrecon.losses import mixture
from tfrecon.models import CONTEXT, MODELS, build_model, builder, defaults
from tfrecon.models import check_model as check_options
from tfrecon.models.base import ReconstructionModel
from tfrecon.models.pix2pix import pix2pix
from tfrecon.models.residual_unet import residual_unet
from tfrecon.models.supervised import wrapped
from tfrecon.networks.gan import patch_discriminator
from tfrecon.training import loop
from tfrecon.training.optimizers import OPTIMIZERS, FusedAdam, RunSchedule, build_optimizer

SMALL = {"base_filters": 8, "discriminator_filters": 8, "image_size": 32, "seed": 0, "dropout": 0.0}


# --- all models


def test_no_model_is_missing_from_the_table():
    assert list(ROWS) == list(MODELS)


@pytest.mark.parametrize("name", ROWS)
def test_every_model_keeps_its_promises(name, monkeypatch):
    draw_alike(monkeypatch)
    row = ROWS[name]
    mask = row.masks[-1]
    model = row.build(name, mask=row.masks[0])
    assert sum(int(np.prod(v.shape)) for v in model.inference_variables) == row.parameters
    check_model(lambda: row.build(name, mask=mask), channels=3 + mask, size=32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_every_model_keeps_its_promises_in_graphs_and_without_masks(name, monkeypatch):
    draw_alike(monkeypatch)
    mask, *others = ROWS[name].masks
    build = functools.partial(ROWS[name].build, name, mask=mask)
    check = check_model if others else check_replicas  # else the rest is what the test above holds
    check(build, channels=3 + mask, size=32, traced=True)


@pytest.mark.parametrize("name", MODELS)
def test_the_entry_of_a_model_fits_it(name):
    options = set(inspect.signature(builder(name)).parameters) - set(CONTEXT)
    assert set(MODELS[name].inference_options) <= options
    from_tables(merged(defaults(name), {"model": name}))
    check_options(Spec(name))


def test_the_registry_and_the_defaults_need_no_tensorflow():
    code = (
        "import sys; from tfrecon.models import MODELS, defaults\n"
        "assert all('fit' in defaults(name) for name in MODELS)\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["[]"], done.stderr


def probes(source):
    """Each ``hasattr`` and ``getattr`` of a model, or for what the contract declares."""
    declared = {name for name in vars(ReconstructionModel) if not name.startswith("_")}
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id in ("hasattr", "getattr"):
            whose, what = node.args[:2]
            asked = what.value if isinstance(what, ast.Constant) else None
            if "model" in ast.unparse(whose) or asked in declared:
                yield ast.unparse(node)


def test_nobody_probes_a_model():
    seen = "getattr(models[0], 'a', 1)", "hasattr(m, 'fixed_size')"
    assert (*probes("\n".join([*seen, "getattr(row, name)"])),) == seen
    for path in Path(tfrecon.__file__).parent.rglob("*.py"):
        assert not [*probes(path.read_text(encoding="utf-8"))], path


# --- a user's own model

OWN = """
import keras
from tfrecon.models.supervised import wrapped

def plain(*, mask, width=4):
    x = keras.Input((None, None, 3 + mask))
    y = keras.layers.Conv2D(width, 4, 2, padding="same", activation="relu")(x)
    y = keras.layers.Conv2DTranspose(3, 4, 2, padding="same", activation="sigmoid")(y)
    return keras.Model(x, y)

def model(*, mask, width=4):
    return wrapped(plain(mask=mask, width=width), size_multiple=2)
"""


def test_a_plain_keras_model_is_trained_restores_and_is_exported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_models.py").write_text(OWN)
    root = fakes.photo_folder(tmp_path / "photos", 12)
    config = from_tables({
        "model": {"name": "own_models.model", "width": 8},
        "data": {"recipe": "folder", "root": str(root), "image_size": 32,
                 "damage": {"name": "boxes", "size": 8}},
        "fit": {"steps": 2, "batch_size": 2, "steps_per_epoch": 2},
    })  # fmt: skip
    run = loop.train(config, tmp_path / "run")
    model = run.load_model()
    assert model.network.count_params() == (16 * 4 * 8 + 8) + (16 * 8 * 3 + 3)
    x = _x(1, 31)
    restored = restorer(model)(x)
    assert restored.shape == (1, 31, 31, 3)
    export_run(run, tmp_path / "export")
    np.testing.assert_allclose(open_export(tmp_path / "export").restore(x), restored, atol=1e-5)
    with pytest.raises(UserError, match=r"return tfrecon\.models\.supervised\.wrapped"):
        build_model(Spec("own_models.plain"), image_size=32, mask=True)
    with pytest.raises(UserError, match=r"unknown option 'widht' .*did you mean 'width'"):
        check_options(Spec("own_models.model", {"widht": 3}))
    for missing in ("own_modules.model", "own_models.modell"):
        with pytest.raises(UserError, match=f"model '{missing}'"):
            check_options(Spec(missing))
    with pytest.raises(UserError, match="is not built"):
        wrapped(keras.Sequential([keras.layers.Dense(3)]))


# --- pix2pix


def test_pix2pix_has_the_size_of_the_paper():
    # 8 down, 7 up, head: the published generator has 54.4 M parameters with 3 input channels.
    generator = pix2pix(mask=False).generator
    assert 54.3e6 < generator.count_params() < 54.6e6
    discriminator = patch_discriminator(channels=3)
    assert 2.7e6 < discriminator.count_params() < 2.8e6
    assert discriminator.output_shape == (None, None, None, 1)


def test_patch_discriminator_sees_70_pixels():
    network = patch_discriminator(channels=3, base_filters=4, norm="none", seed=0)
    image = tf.Variable(np.random.default_rng(0).random((1, 256, 256, 3), np.float32))
    with tf.GradientTape() as tape:
        logits = network([image, image])
        assert logits.shape == (1, 30, 30, 1)
        one = logits[0, 15, 15, 0]
    touched = np.abs(tape.gradient(one, image).numpy()[0]).sum(-1) > 0
    rows = np.flatnonzero(touched.any(1))
    assert rows[-1] - rows[0] + 1 == 70


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {"generator": "residual_unet", "fill": "harmonic"},
    {"normalization": "instance"}, {"fill": "harmonic", "residual": True}, {"fill": "mean"},
    {"composite": False}, {"adversarial_weight": 0.0},
])  # fmt: skip
def test_pix2pix_options_keep_the_promises_too(options):
    check_model(lambda: pix2pix(**SMALL, **options), channels=4, size=32)


def _x(count=3, size=32):
    random = np.random.default_rng(3)
    mask = (random.random((count, size, size, 1)) < 0.3).astype(np.float32)
    image = random.random((count, size, size, 3), np.float32) * (1 - mask)
    return np.concatenate([image, mask], -1)


def test_composite_passes_known_pixels_through():
    x = _x()
    known = x[..., 3:] == 0
    restored = pix2pix(**SMALL)(x).numpy()
    np.testing.assert_array_equal(restored[known[..., 0]], x[..., :3][known[..., 0]])
    other = pix2pix(**SMALL, composite=False)(x).numpy()
    assert np.abs(other - x[..., :3])[known[..., 0]].max() > 0.01


def test_residual_starts_at_the_fill():
    from tfrecon.layers.harmonic_fill import harmonic_fill

    x = _x()
    for model in (
        pix2pix(**SMALL, fill="harmonic", residual=True),
        pix2pix(**SMALL, fill="auto", residual=True),
        residual_unet(image_size=32, mask=True, width=4, fill="harmonic"),
    ):
        restored = model(x).numpy()
        np.testing.assert_allclose(restored, harmonic_fill(x[..., :3], x[..., 3:]), atol=1e-6)


def test_an_automatic_fill_is_none_without_masks():
    x = _x()[..., :3]
    for model in (
        pix2pix(**{**SMALL, "mask": False}, fill="auto", residual=True),
        residual_unet(image_size=32, width=4, fill="auto"),
    ):
        np.testing.assert_allclose(model(x).numpy(), x, atol=1e-6)


def _trained(**options):
    keras.utils.set_random_seed(0)
    model = pix2pix(**{**SMALL, **options})
    model.compile(FusedAdam(2e-3), loss=mixture([Spec("l1")]), jit_compile=False)
    x = _x()
    model.fit(tf.data.Dataset.from_tensors((x, x[..., :3])).repeat(), steps_per_epoch=5, verbose=0,
              shuffle=False)  # fmt: skip
    return model


def test_inference_statistics_are_an_option(eagerly):
    x = _x()
    moving, batch = _trained(inference="moving"), _trained(inference="batch")
    assert np.abs(moving(x) - batch(x)).max() > 1e-3
    # Each image by its own statistics: its neighbours in the batch change nothing.
    np.testing.assert_allclose(batch(x)[:1], batch(x[:1]), atol=1e-6)
    before = [np.asarray(v) for v in batch.non_trainable_variables]
    batch(x, training=False)
    for old, new in zip(before, batch.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_dropout_at_inference_is_an_option_and_repeatable(eagerly):
    x = _x()
    off, on = _trained(dropout=0.5), _trained(dropout=0.5, dropout_at_inference=True)
    assert np.abs(on(x) - off(x)).max() > 1e-3
    np.testing.assert_array_equal(on(x), on(x))
    np.testing.assert_allclose(on(x)[:1], on(x[:1]), atol=1e-6)
    assert np.abs(off(x, training=True) - off(x, training=True)).max() > 1e-3


def test_bfloat16_gives_float32_images_and_weights():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = pix2pix(**SMALL, fill="harmonic")
    assert model(_x()).dtype == tf.float32
    assert model.discriminator([_x(), _x()[..., :3]]).dtype == tf.float32
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_bad_options_of_pix2pix():
    for options, text in [
        ({"image_size": 100}, "must be a multiple of 8"),
        ({"dropout": 1.0}, r"must lie in \[0, 1\)"),
        ({"mask": False, "fill": "mean"}, "no masks to fill"),
        ({"base_filters": 0}, "must be 1 or more"),
    ]:
        with pytest.raises(UserError, match=text):
            pix2pix(**options)
    with pytest.raises(UserError, match=r"unknown model 'pix2pixx'; did you mean 'pix2pix'\?"):
        build_model(Spec("pix2pixx"), image_size=32, mask=True)
    with pytest.raises(UserError, match=r"unknown option 'base_filter' .*did you mean 'base_fil"):
        build_model(Spec("pix2pix", {"base_filter": 3}), image_size=32, mask=True)
    with pytest.raises(UserError, match="must be one of 'batch', 'instance', 'none', not 'layer'"):
        build_model(Spec("pix2pix", {"normalization": "layer"}), image_size=32, mask=True)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.01}, {"clipnorm": 0.1}])
def test_fused_adam_is_adam(options):
    start = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    mine, theirs = tf.Variable(start), tf.Variable(start)
    fused = FusedAdam(1e-2, 0.5, 0.99, **options)
    plain = keras.optimizers.Adam(1e-2, 0.5, 0.99, **options)
    for step in range(50):
        gradient = tf.sin(theirs * (step + 1.0))
        fused.apply([gradient], [mine])
        plain.apply([gradient], [theirs])
        mine.assign(tf.where(tf.abs(mine - theirs) < 1e-5, theirs, mine))
    np.testing.assert_allclose(mine, theirs, atol=2e-6)


def test_schedules():
    linear = RunSchedule(1.0, "linear", 0, 100)
    assert [float(linear(step)) for step in (0, 50, 75, 100)] == [1.0, 1.0, 0.5, 0.0]
    cosine = RunSchedule(2.0, "cosine", 10, 110)
    assert float(cosine(0)) == pytest.approx(0.2)
    assert float(cosine(60)) == pytest.approx(1.0)
    assert float(cosine(110)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("name", "options", "text"), [
    ("adam", {"clipnorm": -1.0}, "'clipnorm' of .*'adam' must be greater than 0"),
    ("adamw", {"weight_decay": -0.1}, "'weight_decay' of .*'adamw' must be 0 or more"),
    ("adam", {"beta_1": 1.0}, "'beta_1' of .*'adam' must lie in"),
    ("sgd", {"momentum": float("nan")}, "'momentum' of .*'sgd' must lie"),
    ("muon", {"ratio": 0.0}, "'ratio' of .*'muon' must be greater than 0"),
    ("sgd", {"clipnorm": 0.0}, "'clipnorm' of .*'sgd' must be greater than 0"),
])  # fmt: skip
def test_options_of_optimizers_out_of_range(name, options, text):
    for make in (
        lambda: OPTIMIZERS[name](learning_rate=1e-3, **options),
        lambda: build_optimizer(FitConfig(optimizer=Spec(name, options)), 10),
    ):
        with pytest.raises(UserError, match=text):
            make()
