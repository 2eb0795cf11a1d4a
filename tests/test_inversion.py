"""Features in files, from photos and of other programs, and the images that are made of them."""

import json
import re

import fakes
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tfrecon import audit, features, invert
from tfrecon.backbones import feature_taps
from tfrecon.base import checkpoint, images
from tfrecon.base.errors import UserError
from tfrecon.inference import attacks, inversion
from tfrecon.inference.attacks import parse_defences
from tfrecon.inference.feature_files import read_features, write_features
from tfrecon.layers.defences import Defence, Defended
from tfrecon.layers.ridge import Sums
from tfrecon.models.feature_inversion import feature_inversion
from tfrecon.reports import leaks

TAP = {"backbone": "vgg16", "tap": "block1"}
RANDOM = ["--backbone", "vgg16", "--tap", "block1", "--weights", "none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fakes.laid_out(tmp_path_factory.mktemp("photos"), "{}.png", count=2, size=(40, 57))


@pytest.fixture(scope="module")
def network():
    return feature_taps("vgg16", ["block1"], None)


@pytest.fixture(autouse=True)
def small(tmp_path_factory, monkeypatch):
    """One small decoder for all tests, which the first one fits."""
    place = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    monkeypatch.setattr(inversion, "DECODER", {"name": "boosted", "stages": 1, "kernel_size": 3})
    monkeypatch.setattr(inversion, "IMAGES", (16, 16))
    monkeypatch.setattr(inversion, "SIDE", (32, 32))
    monkeypatch.setattr(attacks, "FITTED", 8)
    monkeypatch.setattr(leaks, "SIZE", 48)
    monkeypatch.setattr(attacks, "SIDE", 48)


def values_of(network, folder, name):
    photo = images.to_float(images.read(folder / name))[None, :, :56]
    return np.asarray(network(photo))[0]


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_features_are_those_of_the_network_whatever_holds_them(
    tmp_path, folder, network, ending, dtype
):
    path = tmp_path / f"features.{ending}"
    assert features.main([str(folder), *RANDOM, "-o", str(path), "--dtype", dtype]) == 0
    stored = np.load(path) if ending == "npz" else load_file(path)
    assert stored["0.png"].dtype == dtype and stored["0.png"].shape == (20, 28, 64)
    note = json.loads(stored["note.json"].tobytes())
    assert note["weights"] == "none" and note["sizes"]["1.png"] == [40, 56]
    found, wanted = read_features(path), values_of(network, folder, "1.png")
    step = np.max(stored["scale"]) if dtype == "uint8" else 0
    largest = {"float32": 1e-6, "float16": 1e-3 * wanted.max(), "uint8": step / 2 + 1e-6}[dtype]
    np.testing.assert_allclose(found.values("1.png"), wanted, atol=largest)
    assert (found.backbone, found.tap, found.size("1.png")) == ("vgg16", "block1", (40, 56))


def test_images_come_back_from_a_file_of_ours(tmp_path, folder, capsys):
    path = tmp_path / "features.npz"
    write_features(folder, path, **TAP, weights="none")
    assert invert.main([str(path), "-o", str(tmp_path / "out"), "--floats"]) == 0
    said = capsys.readouterr().out
    assert "0.png: 40×56, feature residual " in said and "2 images written to" in said
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    for row in figures["images"]:
        truth = images.to_float(images.read(folder / row["name"]))[:, :56]
        back = images.to_float(images.read(tmp_path / "out" / row["file"]))
        assert np.mean((back - truth) ** 2) < 5e-3 and 0 < row["residual"] < 0.1
    floats = np.load(tmp_path / "out" / "1.npy")
    assert floats.dtype == np.float32 and np.array_equal(images.to_uint8(floats), images.read(
        tmp_path / "out" / "1.png"))  # fmt: skip


def test_a_large_image_is_put_together_of_tiles(network):
    model = feature_inversion(image_size=48, weights=None, decoder="linear", seed=0)
    drawn = np.stack(inversion.pictures(8, 48))
    model.adapt([drawn], 8)
    raw = np.asarray(network(drawn[:1, :44]))[0]
    solve = inversion.Solver(model, 512)
    whole, _ = solve(solve.prepared(raw, None))
    tiled, residual = inversion.Solver(model, 32)(raw[None])
    assert whole.shape == tiled.shape == (44, 48, 3) and residual < 1
    np.testing.assert_allclose(tiled[:12, :12], whole[:12, :12], atol=1e-5)
    assert np.abs(tiled - whole).mean() < 0.01


def refusal(capsys, path, *more):
    assert invert.main([str(path), "-o", str(path.parent / "out"), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    return line


def test_files_of_other_programs(tmp_path, folder, network, capsys):
    """Channels first, in a batch, in 8 bits, without a word of what they are."""
    wanted = values_of(network, folder, "0.png")
    first = np.ascontiguousarray(np.stack([wanted] * 2).transpose(0, 3, 1, 2))
    save_file({"layer": first}, tmp_path / "torch.safetensors")
    found = read_features(tmp_path / "torch.safetensors", **TAP)
    assert "has the channels first: taken as --layout NCHW" in capsys.readouterr().out
    assert [*found.maps] == ["layer-1", "layer-2"] and found.size("layer-1") is None
    np.testing.assert_array_equal(found.values("layer-2"), wanted)
    scale = wanted.max() / 255
    np.save(tmp_path / "bytes.npy", np.rint(wanted / scale).astype(np.uint8))
    found = read_features(tmp_path / "bytes.npy", **TAP, scale=float(scale))
    np.testing.assert_allclose(found.values("bytes"), wanted, atol=float(scale))
    square = np.zeros((64, 64, 64), np.float16)
    np.savez(tmp_path / "square.npz", square)
    line = refusal(capsys, tmp_path / "square.npz", *RANDOM)
    assert "say which with --layout NHWC or --layout NCHW" in line
    read_features(tmp_path / "square.npz", **TAP, layout="NCHW")


def test_what_no_image_can_be_made_of_is_refused(tmp_path, folder, network, capsys):
    good = values_of(network, folder, "0.png")
    bad = good.copy()
    bad[3, 4, 5] = np.nan
    cases = {
        "dtype": ({"a": good.astype(np.uint8)}, "whole numbers (uint8) without a scale"),
        "nan": ({"a": bad}, "1 values of 'a' in "),
        "shape": ({"a": good[..., :50]}, "and vgg16 block1 has 64 channels; give another --tap"),
        "other": ({"a": np.zeros((9, 9, 128))}, "(those of block2_conv1, block2_conv2, block2 "),
        "flat": ({"a": good[0]}, "no array of three axes"),
    }
    for name, (arrays, sentence) in cases.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        assert sentence in refusal(capsys, tmp_path / f"{name}.npz", *RANDOM), name
        assert not list((tmp_path / "out").glob("*.png"))
    assert "row 3, column 4, channel 5" in refusal(capsys, tmp_path / "nan.npz", *RANDOM)
    assert "does not say its backbone; give it with" in refusal(capsys, tmp_path / "nan.npz")
    objects = np.array([{}], dtype=object)
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    assert "is truncated or damaged" in refusal(capsys, tmp_path / "objects.npy", *RANDOM)
    write_features(folder, tmp_path / "ours.npz", **TAP, weights="none")
    line = refusal(capsys, tmp_path / "ours.npz", "--tap", "block2")
    assert "holds features of vgg16 block1, not of tap 'block2'; leave --tap out" in line


def test_features_that_no_image_reaches_have_a_likely_cause(tmp_path, folder, network, capsys):
    good = values_of(network, folder, "0.png")
    random = np.random.default_rng(0)
    cases = {
        "before": (good - 0.5, "their values are below 0, and those of vgg16 block1 never are"),
        "caffe": (good * 60, "60 times as large as those of vgg16 block1: the images were"),
        "other": (random.permuted(good, axis=-1), "another tap of 64 channels (block1_conv1, "),
    }
    for name, (values, cause) in cases.items():
        np.savez(tmp_path / f"{name}.npz", photo=values)
        line = refusal(capsys, tmp_path / f"{name}.npz", *RANDOM)
        assert "the features of 1 of 1 images are not reached (photo)" in line, name
        assert cause in line, line
        assert (tmp_path / "out" / "photo.png").is_file(), "what was found is there to look at"


def test_a_run_must_be_of_the_tap(tmp_path, folder, plain, capsys):
    path = tmp_path / "features.npz"
    write_features(folder, path, **TAP, weights="none")
    assert "no feature_inversion" in refusal(capsys, path, "--run", str(plain.path))


def test_photos_that_a_tap_cannot_take(tmp_path, folder):
    tiny = fakes.laid_out(tmp_path / "tiny", "{}.png", count=1, size=(24, 32))
    with pytest.raises(UserError, match=r"'0.png' has 24×32 pixels, and alexnet needs 32 a side"):
        write_features(tiny, tmp_path / "a.npz", backbone="alexnet", tap="conv5", weights="none")
    write_features(folder, tmp_path / "a.npz", backbone="alexnet", tap="conv5", weights="none",
                   size=96)  # fmt: skip
    assert read_features(tmp_path / "a.npz").maps["0.png"].shape[-1] == 256
    with pytest.raises(UserError, match=r"must end with \.npz or \.safetensors"):
        write_features(folder, tmp_path / "a.png", **TAP)


def test_an_audit_says_from_which_strength_on_photos_are_hidden(tmp_path, folder, capsys):
    out = tmp_path / "audit"
    options = ["--weights", "none", "--photos", str(folder), "--limit", "1", "-o", str(out)]
    taps = ["--taps", "vgg16/block1"]
    assert audit.main([*taps, *options, "--defences", "noise=0.1,30", "bits=8"]) == 0
    said = capsys.readouterr().out
    assert "vgg16 block1: without a defence " in said and "from noise of 30 σ on" in said
    assert "not by 8 bits (" in said
    flat = float(re.search(r"The mean colour of each photo, alone: ([\d.]+) dB\.", said)[1])
    photo = images.to_float(images.read(sorted(folder.iterdir())[0]))
    assert abs(flat + 10 * np.log10(np.var(photo, axis=(0, 1)).mean())) < 3  # it is cropped
    page = (out / "report.html").read_text()
    assert "vgg16 block1, means over photos" in page and "<svg" in page and "data:image" in page
    rows = (out / "audit.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 and rows[0].startswith("tap,defence,strength,photo,attacker,psnr")
    assert images.read(out / "recovered.png").shape[1] > 5 * 256
    for wrong, sentence in (
        (["--taps", "block1"], "tap 'block1' has no backbone; give --backbone, or write alexnet/"),
        ([*taps, "--defences", "blur=1"], "unknown defence 'blur'"),
        ([*taps, "--defences", "bits=2.5"], "of defence 'bits' must be a whole number, not 2.5"),
        ([*taps, "--defences", "bits=8,17"], "of defence 'bits' must lie in [1, 16], not 17"),
        ([*taps, "--defences", "noise=much"], "of defence 'noise' must be a number, not 'much'"),
    ):
        assert audit.main([*wrong, *options]) == 2
        assert sentence in capsys.readouterr().err


def defended(kind, strength, features):
    layer, sums = Defended(Defence(kind, strength)), Sums(len(features), None)
    sums.add(tf.constant(features), None)
    layer.build(features.shape)
    layer.take(sums)
    return layer(features, tf.range(len(features))).numpy()


def test_defences_do_what_they_say():
    random = np.random.default_rng(0)
    known = random.normal(2, 3, (4, 6, 6, 20)).astype(np.float32)
    noise = defended("noise", 0.5, known) - known
    np.testing.assert_allclose(noise.std((0, 1, 2)), 0.5 * known.std((0, 1, 2)), rtol=0.3)
    assert not np.allclose(noise[0], noise[1]), "each image has noise of its own"
    for bits in (1, 3):
        rough = defended("bits", bits, known)
        assert all(len(np.unique(rough[..., c])) <= 2**bits for c in range(20))
        step = np.ptp(known, (0, 1, 2)) / (2**bits - 1)
        assert (np.abs(rough - known) <= step / 2 + 1e-5).all()
    dropped = defended("dropped", 0.75, known)
    assert (np.abs(dropped).sum((0, 1, 2)) == 0).sum() == 15
    top = defended("top", 0.1, known)
    assert [(image != 0).mean() for image in top] == pytest.approx([0.1] * 4, abs=0.01)
    assert {str(each) for each in parse_defences(["top=0.1"])} == {
        "no defence", "the largest 10% kept",
    }  # fmt: skip
    assert len(parse_defences([])) == 1 + 4 + 4 + 3 + 3


@pytest.mark.slow
def test_refined_images_carry_a_certificate(tmp_path, folder):
    """An exact one, and one that leaves out the place whose features are no image's."""
    path, out = tmp_path / "features.npz", tmp_path / "out"
    names = {"backbone": "vgg16", "tap": "block1_conv1"}
    write_features(folder, path, **names, weights="none")
    arrays, note = checkpoint.load(path)
    arrays["1.png"][10:14, 10:14] = np.random.default_rng(0).random((4, 4, 64), np.float32)
    checkpoint.write(path, arrays, note)
    invert.main([str(path), "-o", str(out), "--refine", "400"])
    rows = json.loads((out / "figures.json").read_text())["images"]
    assert [row["verdict"] for row in rows] == ["exact", "exact in regions"]
    for row in rows:
        truth = images.read(folder / row["name"])
        right = (images.read(out / row["file"]) == truth).all(-1)
        certain = images.read(out / row["file"].replace(".png", "_certificate.png"))[..., 0] == 255
        assert right[certain].all() and certain.mean() == pytest.approx(row["certain"])
    assert not certain[10:14, 10:14].any() and certain[24:].mean() > 0.9


def test_rounding_is_told_by_the_values(tmp_path, folder):
    steps = {}
    for dtype in ("float32", "float16", "uint8"):
        write_features(folder, tmp_path / f"{dtype}.npz", **TAP, weights="none", dtype=dtype)
        steps[dtype] = read_features(tmp_path / f"{dtype}.npz").rounding("0.png").max()
    assert steps["float32"] == 0 < steps["float16"] < steps["uint8"]
