"""Feature inversion: the closed-form part against NumPy, refinement, ensembles, checkpoints without
a backbone, resume, replicas, export, and what is refused."""

import itertools
import json
import shutil
import threading

import fakes
import keras
import numpy as np
import pytest
import tensorflow as tf
from kit import check_model, two_replicas
from scipy import stats

from tfrecon.backbones import feature_taps
from tfrecon.base import checkpoint
from tfrecon.base.config import from_tables, merged
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference.restorer import open_export, restorer
from tfrecon.inference.saved_model import export_run
from tfrecon.layers import ridge as module
from tfrecon.layers.grids import align
from tfrecon.layers.ridge import MAX_UNKNOWNS, Ridge, Sums, effective_rank
from tfrecon.models import build_model, certificates
from tfrecon.models import check_model as check_options
from tfrecon.models.feature_inversion import feature_inversion
from tfrecon.models.refinement import natural
from tfrecon.networks.decoders import DECODERS
from tfrecon.networks.decoders.residual import residual
from tfrecon.networks.fusion import FUSIONS
from tfrecon.reports.evaluation import evaluate_runs
from tfrecon.training import loop, preparation
from tfrecon.training.run import open_run

SMALL = {"image_size": 32, "weights": None, "seed": 0}
REFINED = {"refine": {"name": "gradient_descent", "steps": 5}}
TWO_TAPS = {"backbone": "vgg16", "taps": ["block1", "block2"]}


def photos(count=6, size=32):
    random = np.random.default_rng(1)
    return tf.image.resize(random.random((count, 9, 9, 3), np.float32), (size, size)).numpy()


def adapted(**options):
    model = feature_inversion(**{**SMALL, **options})
    x = photos()
    model.adapt([x[:4], x[4:]], len(x))
    return model


# --- the promises of a model


@pytest.mark.slow
def test_the_default_decoder_keeps_the_promises_of_a_model():
    check_model(lambda: feature_inversion(**SMALL), channels=3, size=32)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS)
def test_ensembles_keep_them_too(fusion):
    given = {**SMALL, **TWO_TAPS, "fusion": {"name": fusion, "width": 8}}
    if fusion == "sum":  # of taps of as many channels
        given |= {"taps": ["block1_conv2", "block1"], "fusion": fusion}
    check_model(lambda: feature_inversion(**given, decoder={"name": "residual", "width": 8}),
                channels=3, size=32)  # fmt: skip


@pytest.mark.parametrize(
    "decoder", [name for name in DECODERS if name not in ("linear", "residual")]
)
def test_every_decoder_gives_images_of_any_size(decoder):
    model = adapted(decoder=decoder)
    restored = restorer(model)(photos(1)[:, :21, :30])
    assert restored.shape == (1, 21, 30, 3) and 0 <= restored.min() <= restored.max() <= 1
    copy = type(model).from_config(model.get_config())
    assert [v.shape for v in copy.weights] == [v.shape for v in model.weights]


@pytest.mark.parametrize(("backbone", "tap", "size"), [
    ("alexnet", "conv1", 96), ("squeezenet1_1", "fire5", 64), ("resnet34", "stem", 32),
])  # fmt: skip
def test_taps_with_a_ragged_grid_reach_the_image(backbone, tap, size):
    model = feature_inversion(
        image_size=size, weights=None, seed=0, backbone=backbone, taps=[tap],
        decoder={"name": "linear", "kernel_size": 1},
    )  # fmt: skip
    x = photos(2, size)
    model.adapt([x], 2)
    assert model(x).shape == x.shape


# --- statistics and linear part


def test_statistics_are_those_of_all_images():
    model = adapted()
    raw = model.raw_features(photos())[0].numpy().astype(np.float64)
    layer = model.standardise[0]
    np.testing.assert_allclose(layer.mean, raw.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    deviation = raw.std((0, 1, 2))
    np.testing.assert_allclose(
        layer.deviation, np.where(deviation > 1e-6, deviation, 1), rtol=0.02, atol=1e-5
    )


def test_linear_decoder_is_the_ridge_solution():
    penalty = 1e-2
    model = adapted(decoder={"name": "linear", "kernel_size": 3, "penalty": penalty})
    z = model.features(photos())[0].numpy().astype(np.float64)
    height, width = z.shape[1:3]
    rows, targets = [], []
    for n, i, j in itertools.product(range(len(z)), range(1, height - 1), range(1, width - 1)):
        rows.append(z[n, i - 1 : i + 2, j - 1 : j + 2].ravel())
        targets.append(photos()[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel())
    rows, targets = np.array(rows), np.array(targets, np.float64)
    centred = rows - rows.mean(0)
    scaled = np.vstack([centred / np.sqrt(len(rows)), np.sqrt(penalty) * np.eye(rows.shape[1])])
    goal = np.vstack([(targets - targets.mean(0)) / np.sqrt(len(rows)),
                      np.zeros((rows.shape[1], 12))])  # fmt: skip
    weights = np.linalg.lstsq(scaled, goal, rcond=None)[0]
    expected = (centred @ weights + targets.mean(0)).reshape(len(z), height - 2, width - 2, 2, 2, 3)
    expected = expected.transpose(0, 1, 3, 2, 4, 5).reshape(len(z), 2 * height - 4, -1, 3)
    decoded = model.decode(model.features(photos()))[:, 2:-2, 2:-2]
    np.testing.assert_allclose(decoded, expected, atol=2e-4)


def test_the_spectrum_and_its_effective_rank_are_those_of_numpy():
    model = feature_inversion(**SMALL, decoder={"name": "linear", "kernel_size": 3})
    told = model.adapt([photos()[:4], photos()[4:]], 6)["spectrum"]
    z = model.features(photos())[0].numpy().astype(np.float64)[:, 1:-1, 1:-1]
    covariance = np.cov(z.reshape(-1, z.shape[-1]), rowvar=False, bias=True)
    expected = np.linalg.eigvalsh(covariance)[::-1]
    assert told["numbers"][0] == 1 and told["numbers"][-1] == 64
    shown = expected[np.array(told["numbers"]) - 1]
    np.testing.assert_allclose(told["eigenvalues"], shown, rtol=2e-3, atol=1e-5)
    entropy = stats.entropy(np.maximum(expected, 0))
    assert told["effective_rank"] == pytest.approx(np.exp(entropy), rel=1e-3)
    assert effective_rank([2.0] * 7) == pytest.approx(7)
    assert effective_rank([3.0, 0.0, 0.0]) == pytest.approx(1)


@pytest.mark.parametrize(
    "defence", [{"name": "noise", "strength": 0.5}, {"name": "bits", "strength": 2}, "dropped",
                {"name": "top", "strength": 0.05}],
)  # fmt: skip
def test_a_decoder_is_fitted_to_defended_features_and_sees_them_again(defence):
    decoder = {"name": "linear", "penalty": 1e-4}
    x, bare, model = photos(), adapted(decoder=decoder), adapted(decoder=decoder, defence=defence)
    answers = model(x).numpy()
    np.testing.assert_allclose(answers[2:3], model(x[2:3]), atol=1e-5)  # noise is of the image
    received = model.received(x)
    assert not np.allclose(received[0], model.raw_features(x)[0])
    deviation = received[0].numpy().std((0, 1, 2))
    np.testing.assert_allclose(
        model.standardise[0].deviation, np.where(deviation > 1e-6, deviation, 1), rtol=0.02
    )
    unprepared = bare((received[0],)).numpy()
    assert np.mean((answers - x) ** 2) < np.mean((unprepared - x) ** 2)
    copy = type(model).from_config(model.get_config())
    assert [v.shape for v in copy.weights] == [v.shape for v in model.weights]


def test_the_penalty_is_the_one_with_the_least_error_on_held_out_images(monkeypatch):
    random = np.random.default_rng(0)
    features = random.normal(size=(24, 6, 6, 30)).astype(np.float32)  # mostly noise: much shrinkage
    targets = 0.5 + 0.02 * features[..., :3] + 0.3 * random.normal(size=(24, 6, 6, 3))
    ridge = Ridge(30, 0, 1)
    sums = Sums(24, ridge)
    for start in range(0, 24, 4):
        sums.add(tf.constant(features[start : start + 4]),
                 tf.constant(targets[start : start + 4], tf.float32))  # fmt: skip
    held = np.arange(24) % 4 == 0
    deviation = sums.statistics()[1]

    def error(penalty):
        z, y = features[~held].reshape(-1, 30) / deviation, targets[~held].reshape(-1, 3)
        matrix = np.cov(z.T, bias=True) + penalty * np.eye(30)
        weights = np.linalg.solve(matrix, (z - z.mean(0)).T @ (y - y.mean(0)) / len(z))
        other = features[held].reshape(-1, 30) / deviation
        rest = targets[held].reshape(-1, 3) - y.mean(0) - (other - z.mean(0)) @ weights
        return np.mean(rest**2)

    best = min(module.PENALTIES, key=error)
    assert best > min(module.PENALTIES), "the case must not be won by no shrinkage at all"
    assert sums._chosen_penalty(deviation) == best


def test_positions_are_left_out_when_the_equations_would_cost_too_much(monkeypatch):
    monkeypatch.setattr(module, "MAX_PRODUCTS", 1e6)
    ridge = Ridge(4, 1, 3)
    ridge.build((None, None, None, 4))
    sums = Sums(2, ridge)
    random = np.random.default_rng(0)
    sums.add(tf.constant(random.random((2, 40, 40, 4), np.float32)), photos(2, 80))
    assert 50 < sums.fitted.count + sums.held_out.count < 2 * 38 * 38
    assert np.isfinite(sums.solve()[0]).all()


def test_residual_decoder_starts_from_the_linear_solution():
    x = photos()
    start, linear = adapted(), adapted(decoder="linear")
    np.testing.assert_allclose(start(x), linear(x), atol=1e-6)


def test_residual_predicts_squares_and_pools():
    deep = residual(channels=5, doublings=3, width=6, depth=1, seed=0).network
    assert deep(np.zeros((1, 3, 4, 5))).shape == (1, 24, 32, 3)
    pooled = residual(channels=5, doublings=1, pooling=2, seed=0).network
    assert pooled(np.zeros((1, 4, 6, 5))).shape == (1, 8, 12, 3)
    flat = residual(channels=5, doublings=0, seed=0).network
    assert flat(np.zeros((1, 4, 6, 5))).shape == (1, 4, 6, 3)


def test_a_missing_row_is_the_last_one_again_and_a_coarse_grid_is_enlarged():
    features = tf.reshape(tf.range(9.0), (1, 3, 3, 1))
    grid = [4, 4]
    same = align(features, grid, grid)[0, ..., 0].numpy()
    np.testing.assert_array_equal(same[3], same[2])
    np.testing.assert_array_equal(same[:3, :3], features[0, ..., 0])
    pooled = align(tf.constant([[[[2.0]]]]), [1, 1], [4, 4])
    np.testing.assert_array_equal(pooled, np.full((1, 4, 4, 1), 2.0))


# --- training


def test_only_the_decoder_learns():
    model = adapted()
    before = [v.numpy() for v in model.frozen_variables]
    assert not {id(v) for v in model.frozen_variables} & {id(v) for v in model.trainable_variables}
    fixed = [model.ridge.kernel.numpy(), model.standardise[0].mean.numpy()]
    model.compile(keras.optimizers.Adam(1e-3), loss="mse", jit_compile=False)
    x = photos()
    model.fit(x, x, batch_size=2, epochs=2, verbose=0)
    for old, new in zip(before, model.frozen_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(fixed[0], model.ridge.kernel)
    np.testing.assert_array_equal(fixed[1], model.standardise[0].mean)


def test_refinement_moves_the_pixels_towards_the_features():
    x = photos(2)
    plain, refined = (
        adapted(decoder="linear"),
        adapted(decoder="linear", refine={"name": "gradient_descent", "steps": 60}),
    )
    wanted = plain.features(x)[0]

    def distance(image):
        return float(tf.reduce_mean(tf.square(plain.features(image)[0] - wanted)))

    first, last = plain(x), refined(x)
    assert distance(last) < 0.3 * distance(first)
    assert np.mean((last - x) ** 2) < np.mean((first - x) ** 2)
    np.testing.assert_array_equal(refined(x, training=True), plain(x, training=True))
    np.testing.assert_allclose(refined(x)[:1], refined(x[:1]), atol=1e-4)


def test_natural_gives_noise_the_spectrum_of_photos_and_is_its_own_transpose():
    random = np.random.default_rng(3)
    u, v = random.normal(size=(2, 4, 40, 49, 3)).astype(np.float32)
    image = natural(u).numpy()
    assert np.sum(image * v) == pytest.approx(np.sum(u * natural(v).numpy()), rel=1e-3)
    spectrum = np.abs(np.fft.fft2(image.sum(-1), axes=(1, 2))) / np.abs(
        np.fft.fft2(u.sum(-1), axes=(1, 2))
    )
    frequency = np.hypot(np.fft.fftfreq(40)[:, None], np.fft.fftfreq(49))
    np.testing.assert_allclose(
        spectrum[:, 1:, 1:] * frequency[1:, 1:],
        np.full((4, 39, 48), spectrum[0, 1, 1] * frequency[1, 1]),
        rtol=1e-2,
    )
    brightness = image.mean(-1) * np.sqrt(3)
    assert np.var(brightness) == pytest.approx(1, rel=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fakes.photo_folder(tmp_path_factory.mktemp("photos"), 12)


def config(root, model=None, **fit):
    tables = {
        "model": {"name": "feature_inversion", "weights": "none", **(model or {})},
        "data": {"recipe": "folder", "root": str(root), "image_size": 32, "crop_size": 16,
                 "load_size": 40, "val_size": 40, "resize": "bicubic", "damage": "identity"},
        "fit": {"steps": 6, "batch_size": 2, "steps_per_epoch": 3, "ema_decay": 0.9,
                "checkpoint_seconds": 0, "seed": 5, "loss": "l2"},
    }  # fmt: skip
    return from_tables(merged(tables, {"fit": fit}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, folder):
    """A run of six steps, trained once for the tests that look at it."""
    return loop.train(config(folder), tmp_path_factory.mktemp("trained") / "run")


def test_replicas_train_to_the_same_weights(tmp_path, monkeypatch):
    folder = fakes.photo_folder(tmp_path / "photos", 30)
    found = []
    for name, strategy in (("one", tf.distribute.get_strategy()), ("two", two_replicas())):
        monkeypatch.setattr(preparation, "distribution", lambda fit, chosen=strategy: chosen)
        optimizer = {"name": "sgd"}
        run = loop.train(
            config(folder, batch_size=4, optimizer=optimizer, learning_rate=0.05), tmp_path / name
        )
        found.append(checkpoint.load(run.path / "state.npz")[0])
    for key, array in found[0].items():
        if key.startswith("model/"):
            np.testing.assert_allclose(found[1][key], array, atol=1e-6, err_msg=key)


def test_a_run_keeps_no_backbone_and_knows_its_own(tmp_path, trained):
    shutil.copytree(trained.path, tmp_path / "run")
    run = open_run(tmp_path / "run")
    model = run.load_model()
    kept = checkpoint.load(run.path / "state.npz")[0]
    own = sum(int(np.prod(v.shape)) for v in model.inference_variables)
    assert sum(a.size for k, a in kept.items() if k.startswith("model/")) < own + 20
    facts = json.loads((run.path / "run.json").read_text())
    assert facts["frozen"] == model.fingerprint
    facts["frozen"] = "0" * 64
    (run.path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="of backbone or autoencoder are not those that run"):
        open_run(run.path).load_model()


def test_a_linear_run_is_solved_and_not_trained(tmp_path, folder):
    run = loop.train(config(folder, {"decoder": "linear"}, minutes=5, steps=None),
                         tmp_path / "run")  # fmt: skip
    assert run.facts["steps"] == 0
    report = evaluate_runs([run], pairs=2)
    assert "thumbnail 1/2" in report.text and "damaged input" not in report.text
    psnr = {
        method: cell.mean for (method, column), cell in report.summary.items() if column == "psnr"
    }
    assert psnr["feature_inversion"] > psnr["mean colour"] + 3
    names = {path.name for path in report.path.iterdir()}
    assert {"features.png", "best.png", "pairs"} <= names
    assert {name.rstrip("/") for name in report.files} == names
    pairs = {path.name.split("_")[0] for path in (report.path / "pairs").iterdir()}
    assert pairs == {"original", "reconstruction"}
    again = loop.train(config(folder, {"decoder": "linear"}), tmp_path / "run", resume=True)
    np.testing.assert_array_equal(again.load_model()(photos()), run.load_model()(photos()))


@pytest.mark.parametrize("options", [{"stages": 2}, {"descent": 3}])
def test_a_boosted_run_is_resumed_and_exported_with_its_stages(tmp_path, folder, options):
    settings = config(folder, {"decoder": {"name": "boosted", **options}})
    run = loop.train(settings, tmp_path / "run")
    again = loop.train(settings, tmp_path / "run", resume=True)
    x = photos(2)
    restored = run.load_model()(x).numpy()
    assert any(float(stage.used) for stage in run.load_model().stages)
    np.testing.assert_array_equal(again.load_model()(x), restored)
    export_run(run, tmp_path / "export")
    np.testing.assert_allclose(
        open_export(tmp_path / "export").restore(x), np.clip(restored, 0, 1), atol=1e-4
    )


def test_evaluate_certifies_what_the_features_keep(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "PRODUCTS", 20)
    seen, threads = certificates._seen, set[threading.Thread]()
    monkeypatch.setattr(
        certificates,
        "_seen",
        lambda *given: threads.add(threading.current_thread()) or seen(*given),
    )
    report = evaluate_runs([trained], certify=True, limit=2, folder=tmp_path)
    # Inside the graph of the metrics it would wait for ever on a machine of one core.
    assert threads == {threading.main_thread()}
    line = "Certified: share of pixels whose 8-bit value is certain"
    assert line in (tmp_path / "summary.txt").read_text(encoding="utf-8")
    shares = report.values(report.names[0], "certified")
    assert shares.tolist() == [0.0, 0.0]  # six steps leave nothing certain
    monkeypatch.setattr("tfrecon.training.run.Run.load_model", lambda *_: keras.Sequential())
    with pytest.raises(UserError, match="--certify takes one run of a model that inverts feat"):
        evaluate_runs([trained], certify=True, baselines=False, limit=1, folder=tmp_path)


def test_an_export_takes_an_image_and_gives_its_reconstruction(tmp_path, trained):
    run = trained
    differences = export_run(run, tmp_path / "export", REFINED)
    assert max(difference.restore for difference in differences) < 1e-5
    x = photos(2)[:, :19, :30]
    restored = open_export(tmp_path / "export").restore(x)
    np.testing.assert_allclose(restored, restorer(run.load_model(REFINED))(x), atol=1e-5)
    assert np.abs(restored - restorer(run.load_model())(x)).max() > 1e-4


# --- what is refused


@pytest.mark.parametrize(("options", "text"), [
    ({"backbone": "vgg61"}, "unknown backbone 'vgg61'; did you mean 'vgg16'?"),
    ({"taps": ["block9"]}, "unknown tap of backbone 'vgg16' 'block9'; did you mean"),
    ({"taps": ["block1", "block1"]}, "'block1' of backbone 'vgg16' is given twice"),
    ({"weights": "torchvison"}, "did you mean 'torchvision'?"),
    ({"decoder": "residul"}, "unknown decoder 'residul'; did you mean 'residual'?"),
    ({"decoder": {"name": "residual", "widht": 3}}, "did you mean 'width'?"),
        ({"decoder": {"widht": 3}}, "of decoder 'residual'; did you mean 'width'?"),
        ({"backbone": "alexnet"}, "backbone 'alexnet' needs at least one tap; it has conv1"),
        ({"taps": []}, "backbone 'vgg16' needs at least one tap"),
        (
            {"refine": {"name": "gradient_descent", "rate": 0.0}},
            "'rate' of refinement 'gradient_descent' must be",
        ),
    ({"fusion": "concatt", **TWO_TAPS}, "unknown fusion 'concatt'; did you mean 'concat'?"),
    (
        {"refine": {"name": "gauss_newton", "products": 9}},
        "'products' of refinement 'gauss_newton' must",
    ),
    ({"refine": "gaus_newton"}, "unknown refinement 'gaus_newton'; did you mean 'gauss_newton'?"),
    ({"sources": []}, "model.sources is empty"),
    ({"sources": [{"backbone": "vgg16"}]}, r"model.sources[0] must be a table with"),
    ({"sources": [{"backbone": "vgg16", "taps": ["block1"], "weight": "x"}]}, "did you mean 'weig"),
    ({"sources": [{"backbone": "vgg16", "taps": ["block1"]}], "backbone": "alexnet"},
     "model.sources replaces model.backbone"),
    ({"sources": [{"backbone": "vgg16", "taps": ["block1"]}] * 2}, "given twice"),
])  # fmt: skip
def test_wrong_options_are_refused_before_anything_is_built(options, text):
    with pytest.raises(UserError) as caught:
        check_options(Spec("feature_inversion", options))
    assert text in str(caught.value)


@pytest.mark.parametrize(("options", "size", "text"), [
    ({"taps": ["block2"]}, 30, "sizes that work are multiples of 4, e.g. 28 or 32"),
    ({"backbone": "vit_s16", "taps": ["block1"]}, 100, "multiples of 16 pixels, not 100×100"),
    ({"backbone": "resnet34", "taps": ["avgpool"]}, 96, "power of two, e.g. 128 or 256"),
    ({"decoder": {"name": "residual", "width": 0}}, 32, "must be 1 or more, not 0"),
        ({"decoder": {"name": "residual", "pooling": 3}}, 32, "must be 1, 2, 4"),
        ({"decoder": {"pooling": 4}}, 36, "multiples of 8, e.g. 32 or 40"),
        ({"decoder": {"penalty": 0.0}}, 32, "of decoder 'residual' must be greater than 0"),
    ({"decoder": {"name": "linear", "kernel_size": 11}}, 32, "kernel_size must be at most 5"),
        ({"decoder": {"name": "linear", "kernel_size": 5}, "taps": ["block3"]}, 32,
         "more than the 4"),
    ({"decoder": {"name": "linear", "kernel_size": 4}}, 32, "must be odd, not 4"),
])  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(options, size, text):
    spec = Spec("feature_inversion", {"weights": "none", **options})
    with pytest.raises(UserError) as caught:
        build_model(spec, image_size=size, mask=False)
    assert text in str(caught.value)


def test_masks_and_crops_that_do_not_fit_are_refused(tmp_path, folder):
    with pytest.raises(UserError, match="takes no masks"):
        feature_inversion(**SMALL, mask=True)
    settings = config(folder, {"taps": ["block3"]})
    tables = settings.to_dict()
    tables["data"]["crop_size"] = 20
    with pytest.raises(UserError, match="crop_size must be a multiple of 8"):
        loop.train(from_tables(tables), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_trained_run_takes_only_options_of_inference(trained):
    with pytest.raises(UserError, match=r"model\.taps cannot be set on a trained run"):
        trained.load_model({"taps": ["block2"]})


def test_two_sources_of_one_backbone_run_it_once():
    sources = [
        {"backbone": "vgg16", "taps": [tap], "weights": "none"} for tap in ("block1", "block2")
    ]
    both = feature_inversion(image_size=32, sources=sources, seed=0)
    one = feature_inversion(image_size=32, weights=None, seed=0, **TWO_TAPS)
    assert len(both.backbones) == 1 and both.fingerprint == one.fingerprint
    for mine, theirs in zip(both.raw_features(photos()), one.raw_features(photos()), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_crops_whose_features_are_mostly_border_are_pointed_out(tmp_path, folder, capsys):
    decoder = {"name": "residual", "width": 4, "depth": 1, "kernel_size": 1}
    tables = config(folder, {"taps": ["block2"], "decoder": decoder}, steps=1).to_dict()
    loop.train(from_tables(tables), tmp_path / "small")
    assert "has 4×4 positions" in capsys.readouterr().err
    tables["data"] |= {"crop_size": 32}
    loop.train(from_tables(tables), tmp_path / "whole")
    assert "positions" not in capsys.readouterr().err


def test_too_many_channels_for_a_linear_part_say_so():
    with pytest.raises(UserError, match=f"at most {MAX_UNKNOWNS}"):
        Ridge(MAX_UNKNOWNS + 1, 1, 1)


def test_the_fingerprint_follows_the_weights():
    one, other = (feature_taps("vgg16", ["block1"], None, seed) for seed in (0, 1))
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == feature_taps("vgg16", ["block1"], None, 0).fingerprint
