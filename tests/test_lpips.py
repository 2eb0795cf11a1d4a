"""LPIPS against the formula in NumPy (random weights) and the authors' program (the real ones)."""

import json
import os
from pathlib import Path
from typing import Any

import keras
import lpips_images
import numpy as np
import pytest
import tensorflow as tf
from kit import two_replicas

from tfrecon.backbones import feature_taps
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.losses import mixture
from tfrecon.metrics import perceptual
from tfrecon.metrics.perceptual import available, lpips_metric

GOLDEN = json.loads((Path(__file__).parent / "golden" / "lpips.json").read_text())
PACKS = Path(os.environ.get("TFRECON_WEIGHTS") or Path(__file__).parents[2] / "shared" / "weights")


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    return folder, lpips_images.write_fake_packs(folder)


@pytest.fixture
def heads(packs, monkeypatch, tmp_path):
    """Random AlexNet and heads are all the weights there are, and nothing is downloaded."""
    folder, heads = packs
    _only(folder, monkeypatch, tmp_path)
    yield heads
    perceptual.lpips_network.cache_clear()


def _only(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TFRECON_WEIGHTS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("tfrecon.base.weights._download", _no_network)
    perceptual.lpips_network.cache_clear()


def _no_network(file):
    raise ConnectionError("no network in tests")


def pairs(count=2, height=40, width=47):
    random = np.random.default_rng(1)
    shape = (count, height, width, 3)
    return random.random(shape, np.float32), random.random(shape, np.float32)


def maps_by_numpy(truth, prediction, heads):
    """Zhang et al. 2018, eq. 1, before the mean, in float64."""
    trunk = feature_taps("alexnet", list(lpips_images.ALEXNET), "torchvision")
    features = [[np.asarray(tap, np.float64) for tap in trunk(x)] for x in (truth, prediction)]
    for f, g, head in zip(*features, heads, strict=True):
        f, g = (x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10) for x in (f, g))
        yield ((f - g) ** 2) @ head.astype(np.float64)


def loss():
    return mixture([Spec("lpips")])


def test_loss_and_metric_equal_the_formula(heads):
    truth, prediction = pairs()
    expected = sum(x.mean(axis=(1, 2)) for x in maps_by_numpy(truth, prediction, heads))
    metric = lpips_metric("alex")
    assert np.min(expected) > 0.01
    for value in (metric(truth, prediction), loss().call(truth, prediction)):
        assert value.dtype == tf.float32
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(metric(truth[1:], prediction[1:]), expected[1:], rtol=1e-5)
    traced = tf.function(metric, [tf.TensorSpec((None, None, None, 3))] * 2)
    np.testing.assert_allclose(traced(truth, prediction), expected, rtol=1e-5)
    np.testing.assert_array_equal(metric(truth, truth), [0, 0])


def test_gradients_are_finite_on_equal_and_black_images_and_right_elsewhere(heads):
    truth, prediction = pairs(1)
    black = np.zeros_like(truth)
    for y, p in ((truth, truth), (black, black), (black, truth), (truth, black)):
        assert np.isfinite(_gradient(y, p)).all()
    gradient = _gradient(truth, prediction)
    step = 1e-2 * np.sign(gradient) * (np.random.default_rng(2).random(gradient.shape) < 0.1)
    slope = (loss().call(truth, prediction + step) - loss().call(truth, prediction - step)) / 2
    assert float(slope[0]) == pytest.approx((gradient * step).sum(), rel=0.05)


def _gradient(y, p) -> Any:
    p = tf.constant(p)
    with tf.GradientTape() as tape:
        tape.watch(p)
        value = loss()(y, p)
    found: Any = tape.gradient(value, p)
    return found.numpy()


def test_unit_features_have_a_gradient_where_all_are_zero():
    zeros = tf.zeros((1, 2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(zeros)
        value = tf.reduce_sum(perceptual._unit(zeros))
    assert np.isfinite(tape.gradient(value, zeros)).all()


def test_holes(heads):
    truth, prediction = pairs(3, 64, 64)
    masks = np.zeros((3, 64, 64, 1), np.float32)
    masks[0], masks[1, 8:32, :40] = 1, 1
    metric = lpips_metric("alex")
    whole, holes = metric(truth, prediction), metric(truth, prediction, masks)
    assert float(holes[0]) == pytest.approx(float(whole[0]), rel=1e-5)
    assert np.isnan(holes[2]), "an image without a hole is NaN"
    expected = 0.0
    for one in maps_by_numpy(truth, prediction, heads):
        weights = _shares(masks[1, ..., 0], *one.shape[1:])
        expected += (one[1] * weights).sum() / weights.sum()
    assert float(holes[1]) == pytest.approx(expected, rel=1e-4)
    assert abs(float(holes[1] - whole[1])) > 1e-4


def _shares(mask, height, width):
    """How much of each cell of a (height,width) grid the hole covers, from a finer grid."""
    fine = np.kron(mask, np.ones((height, width)))
    return fine.reshape(height, len(mask), width, len(mask)).mean(axis=(1, 3))


def test_images_outside_the_range_are_an_error_where_they_are_known(heads):
    truth, prediction = pairs()
    metric = lpips_metric("alex")
    for wrong in (truth * 2 - 1, truth * 255, np.full_like(truth, np.nan)):
        with pytest.raises(ValueError, match=r"the truth of LPIPS must lie in \[0,1\]"):
            metric(wrong, prediction)
        with pytest.raises(ValueError, match=r"the prediction of LPIPS must lie in \[0,1\]"):
            metric(truth, wrong)
        with pytest.raises(ValueError, match=r"the truth of LPIPS must lie in \[0,1\]"):
            loss()(wrong, prediction)
    with pytest.raises(ValueError, match="not between 0 and 3;"):
        metric(truth, np.linspace(0, 3, truth.size, dtype=np.float32).reshape(truth.shape))
    # A prediction that nothing clips may leave the range a little while it is trained.
    assert np.isfinite(float(loss()(truth, prediction * 1.1)))


def test_images_too_small_or_not_rgb_are_errors(heads):
    metric = lpips_metric("alex")
    assert np.isfinite(metric(*pairs(1, 31, 31))).all()
    for call in (metric, loss()):
        with pytest.raises(ValueError, match="31 pixels or more, not 30×40"):
            call(*pairs(1, 30, 40))
        with pytest.raises(ValueError, match="needs RGB images"):
            call(*(images[..., :1] for images in pairs(1)))


def test_pixel_weights_are_refused(heads):
    truth, prediction = pairs()
    with pytest.raises(UserError, match=r"'lpips' compares whole images.*fit.hole_weight=1"):
        loss()(truth, prediction, np.ones((*truth.shape[:3], 1), np.float32))


def small_model() -> Any:
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="ones")(inputs)
    outputs = keras.layers.Activation("sigmoid", dtype="float32")(0.1 * outputs)
    return keras.Model(inputs, outputs)


def trained(x, y, policy="float32"):
    keras.config.set_dtype_policy(policy)
    model = small_model()
    both = mixture([Spec("mse", {"weight": 0.5}), Spec("lpips", {"weight": 0.5})])
    model.compile(keras.optimizers.SGD(0.05), loss=both, jit_compile=False)
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    model.fit(data, steps_per_epoch=2, verbose=0, shuffle=False)
    return model


def test_one_and_two_replicas_train_alike(heads):
    x, y = pairs(4, 32, 32)
    one = trained(x, y)
    perceptual.lpips_network.cache_clear()
    with two_replicas().scope():  # the network is built in the scope, as training does
        two = trained(x, y)
    start = small_model()
    for a, b, c in zip(one.weights, two.weights, start.weights, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6)
        assert np.abs(np.asarray(a) - np.asarray(c)).max() > 1e-5, "nothing was learned"


def test_the_network_adds_nothing_to_the_model_or_its_checkpoints(heads, tmp_path):
    model = trained(*pairs(2, 32, 32))
    assert len(model.variables) - len(model.optimizer.variables) <= 4  # kernel, bias, mean loss
    tf.train.Checkpoint(model=model).write(str(tmp_path / "state"))
    size = sum(file.stat().st_size for file in tmp_path.glob("state*"))
    assert size < 100_000, "the trunk alone has 10 MB"


def test_float32_under_mixed_bfloat16(heads):
    truth, prediction = pairs()
    expected = loss().call(truth, prediction)
    perceptual.lpips_network.cache_clear()
    keras.config.set_dtype_policy("mixed_bfloat16")
    np.testing.assert_allclose(loss().call(truth, prediction), expected, rtol=1e-6)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    model = trained(*pairs(2, 32, 32), policy="mixed_bfloat16")
    assert np.isfinite(np.asarray(model.weights[0])).all()


def test_one_network_is_shared(heads):
    perceptual.lpips_network.cache_clear()
    for _ in range(2):
        loss(), lpips_metric("alex")
    assert perceptual.lpips_network.cache_info().misses == 1


def test_missing_weights_name_the_file_and_the_remedies(heads, packs):
    assert available("alex") and not available("squeeze") and not available("vgg")
    for net, name in (("squeeze", "lpips_linear_squeeze.npz"), ("vgg", "lpips_linear_vgg.npz")):
        with pytest.raises(UserError, match=f"'{name}'.*put it into.*or connect"):
            mixture([Spec("lpips", {"net": net})])
    with pytest.raises(UserError, match="must be one of 'alex', 'vgg', 'squeeze', not 'alexnet'"):
        mixture([Spec("lpips", {"net": "alexnet"})])
    with pytest.raises(UserError, match="did you mean 'squeeze'"):
        lpips_metric("squeezenet")  # pyright: ignore[reportArgumentType]


def test_heads_of_another_net_are_an_error(packs, monkeypatch, tmp_path):
    (tmp_path / "alexnet_features.npz").symlink_to(packs[0] / "alexnet_features.npz")
    _only(tmp_path, monkeypatch, tmp_path)
    heads = {f"lin{i}": np.ones(64, np.float32) for i in range(5)}
    np.savez(tmp_path / "lpips_linear_alex.npz", **heads)
    with pytest.raises(UserError, match=r"'lin1' of net 'alex' must be \(192,\) and is \(64,\)"):
        lpips_metric("alex")
    np.savez(tmp_path / "lpips_linear_alex.npz", lin0=heads["lin0"])
    with pytest.raises(UserError, match="holds no array 'lin1'"):
        lpips_metric("alex")


@pytest.fixture
def real(monkeypatch, tmp_path):
    if not (PACKS / "lpips_linear_alex.npz").is_file():
        pytest.skip(f"no weight packs in {PACKS}; set TFRECON_WEIGHTS to their folder")
    _only(PACKS, monkeypatch, tmp_path)
    yield
    perceptual.lpips_network.cache_clear()


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_values_equal_the_authors(real, net):
    metric = lpips_metric(net)
    for case, expected in GOLDEN["values"][net].items():
        kind, size = case.split()
        truth, prediction = lpips_images.pair(kind, *map(int, size.split("x")))
        found = float(metric(truth[None], prediction[None])[0])
        assert found == pytest.approx(expected, rel=0, abs=GOLDEN["tolerance"]), case


def test_vgg_without_its_deep_blocks_names_the_missing_file(real):
    if available("vgg"):
        pytest.skip("the weights of VGG16 are complete here")
    with pytest.raises(UserError, match=r"'vgg16-397923af\.pth'.*put it into.*or connect"):
        lpips_metric("vgg")
