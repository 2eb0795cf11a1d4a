"""Restoration without training: the deep image prior, and methods on the command line."""

import fakes
import numpy as np
import pytest
import tensorflow as tf

from tfrecon import reconstruct
from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.inference.deep_image_prior import DeepImagePrior, skip_network
from tfrecon.layers.harmonic_fill import harmonic_fill

QUICK = {"depth": 3, "channels": 16, "code_channels": 4, "steps": 300, "held_out": 0.05}


def smooth(height=40, width=48, seed=0):
    random = np.random.default_rng(seed)
    return tf.image.resize(random.random((1, 4, 4, 3), np.float32), (height, width)).numpy()


def holed(y, seed=0):
    mask = np.zeros((*y.shape[:3], 1), np.float32)
    mask[:, 10:24, 12:28] = 1
    return np.concatenate([y * (1 - mask), mask], -1), mask


def test_a_hole_is_continued_and_known_pixels_stay():
    y = smooth()
    x, mask = holed(y)
    restored = DeepImagePrior(**QUICK).restore(x)
    assert restored.shape == y.shape and restored.dtype == np.float32
    np.testing.assert_array_equal(restored * (1 - mask), y * (1 - mask))

    def error(image):
        return float((np.square(image - y) * mask).sum() / mask.sum() / 3)

    mean = y[mask[..., 0] == 0].mean(0)
    assert error(restored) < 0.25 * error(np.broadcast_to(mean, y.shape))


def test_noise_is_removed_and_the_held_out_pixels_stop_it():
    y = smooth(32, 32)
    noisy = np.clip(y + np.random.default_rng(1).normal(0, 0.1, y.shape), 0, 1).astype(np.float32)
    quick = {**QUICK, "steps": 5000, "patience": 100, "channels": 32}
    began = tf.timestamp()
    restored = DeepImagePrior(**quick).restore(noisy)
    assert float(tf.timestamp() - began) < 120, "5,000 steps would take minutes"
    assert np.mean((restored - y) ** 2) < 0.3 * np.mean((noisy - y) ** 2)


def test_the_seed_decides():
    x, _ = holed(smooth())
    quick = {**QUICK, "steps": 25}
    first, again = (DeepImagePrior(**quick, seed=3).restore(x) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - DeepImagePrior(**quick, seed=4).restore(x)).max() > 0


@pytest.mark.parametrize("options", [{"code": "noise"}, {"skip_channels": 2}])
def test_other_codes_and_skips(options):
    x, mask = holed(smooth(33, 47))  # no multiple of anything
    restored = DeepImagePrior(**{**QUICK, "steps": 50, **options}).restore(x)
    assert restored.shape == (1, 33, 47, 3) and np.isfinite(restored).all()
    assert restored.min() >= 0 and restored.max() <= 1
    assert (restored * mask).max() > 0


def test_the_network_normalises_each_image_by_itself():
    network = skip_network(inputs=2, depth=2, channels=4, skip_channels=2, seed=0)
    code = np.random.default_rng(0).random((2, 16, 16, 2), np.float32)
    np.testing.assert_allclose(network(code)[:1], network(code[:1]), atol=1e-5)


def test_what_cannot_be_done():
    nothing = np.concatenate([np.zeros((1, 16, 16, 3)), np.ones((1, 16, 16, 1))], -1)
    with pytest.raises(UserError, match="covers the whole photo"):
        DeepImagePrior(**QUICK).restore(nothing.astype(np.float32))
    for options, words in [
        ({"steps": 0}, "option 'steps' of 'deep_image_prior' must be 1 or more"),
        ({"held_out": 0.7}, r"'held_out' of .* must lie in"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"skip_channels": -1}, "'skip_channels'"),
    ]:
        with pytest.raises(UserError, match=words):
            DeepImagePrior(**options)


@pytest.fixture
def folders(tmp_path):
    root = fakes.animals_contest(tmp_path / "contest", count=1, classes=("Cat",), test_count=1)
    return root / "Testing_Data", tmp_path / "out"


def test_reconstruct_by_a_method(folders, capsys):
    photos, out = folders
    table = str(photos / "masked_info.csv")
    command = ["--method", "harmonic_fill", str(photos), str(out), "--masks", table]
    assert reconstruct.main(command) == 0
    (written,) = out.iterdir()
    source = next(path for path in photos.iterdir() if path.stem == written.stem)
    damaged = images.to_float(images.read(source))[None]
    mask = (damaged.max(-1, keepdims=True) < 0.1).astype(np.float32)
    expected = harmonic_fill(damaged, mask).numpy()[0]
    assert np.abs(images.to_float(images.read(written)) - expected).mean() < 0.02
    command[1] = "deep_image_prior"
    settings = ["steps=25", "channels=4", "depth=2"]
    more = [part for setting in settings for part in ("--set", f"method.{setting}")]
    assert reconstruct.main([*command, *more]) == 0
    assert np.abs(images.to_float(images.read(written)) - expected).mean() > 1e-3


@pytest.mark.parametrize(("arguments", "words"), [
    (["--method", "deep_image_priors"], "did you mean 'deep_image_prior'"),
    (["--method", "harmonic_fill"], "must be told what is damaged"),
    (["--method", "deep_image_prior", "--set", "method.step=3"], "did you mean 'steps'"),
    (["--method", "deep_image_prior", "--set", "model.steps=3"], "write --set method.KEY=VALUE"),
    (["exports/x", "--preset", "inpainting"], "give one of EXPORT, --method and --preset"),
    (["exports/x", "--method", "harmonic_fill"], "give one of EXPORT, --method and --preset"),
    (["exports/x", "--set", "method.steps=3"], "has no effect on an export"),
])  # fmt: skip
def test_bad_commands(folders, capsys, arguments, words):
    photos, out = folders
    positional = [part for part in arguments[:1] if not part.startswith("-")]
    rest = arguments[len(positional) :]
    assert reconstruct.main([*positional, str(photos), str(out), *rest]) == 2
    said = capsys.readouterr().err
    assert words in " ".join(said.split()) and "Traceback" not in said
    assert not out.exists()
