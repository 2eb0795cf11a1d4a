"""Exports to other runtimes: that they equal the model, and what is said where they cannot."""

import importlib
import json
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from exported_models import tiny
from test_saved_model import Drifting, drifting, model_input, photos

from tfrecon import export, reconstruct
from tfrecon.base import extras, images
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference import saved_model
from tfrecon.inference.formats import FORMATS
from tfrecon.inference.restorer import open_export, restorer
from tfrecon.inference.saved_model import default_path, export_model
from tfrecon.models import build_model
from tfrecon.models.supervised import wrapped
from tfrecon.training.start import find_source

OTHERS = [name for name in FORMATS if name != "savedmodel"]


def needs(name):
    extra = FORMATS[name].extra
    if extra and extras.missing(extra):
        pytest.skip(f"no {extras.missing(extra)[0]}: {extras.install(extra)}")


@pytest.fixture(scope="module", params=OTHERS)
def format(request):
    needs(request.param)
    return request.param


@pytest.fixture(autouse=True, scope="module")
def fewer():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "SIZES", ((2, 40, 40), (1, 30, 45)))
        yield


@pytest.fixture(scope="module")
def exported(format, tmp_path_factory):
    """The folder of the tiny model, with masks, in this format."""
    path = tmp_path_factory.mktemp(format) / "tiny"
    about = {"run": "old photos", "image_size": 64}
    differences = export_model(tiny(True), path, True, about, format=format)
    assert max(each.restore for each in differences) <= 1e-5
    return path


@pytest.mark.parametrize(
    "has_mask", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["mask", "no_mask"]
)
def test_every_signature_equals_the_model_at_any_size(format, exported, has_mask, tmp_path):
    model, path = tiny(has_mask), exported
    if not has_mask:
        path = tmp_path / "tiny"
        export_model(model, path, has_mask, format=format)
    loaded = open_export(path, trusted=True)
    assert loaded.record["format"] == format and loaded.has_mask == has_mask
    for shape in ((3, 16, 24), (1, 40, 41), (2, 1, 5)):
        pixels, mask = photos(*shape)
        x = model_input(pixels, mask, has_mask)
        expected = restorer(model)(x)
        np.testing.assert_allclose(loaded.restore(x), expected, atol=1e-5)
        served = loaded.serve(pixels, mask * 7)  # any nonzero value is damage
        assert served.dtype == np.uint8
        assert np.abs(served.astype(int) - images.to_uint8(expected)).max() <= 1


FILES = {
    "litert": ["model.tflite"], "onnx": ["restore.onnx", "serve.onnx"], "keras": ["model.keras"],
}  # fmt: skip


def record_inside(path):
    if path.suffix == ".tflite":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("export.json"))
    session = importlib.import_module("onnxruntime").InferenceSession(path)
    kind = "uint8" if path.stem == "serve" else "float"
    inputs = {each.name: each.type for each in session.get_inputs()}
    assert inputs == {"image": f"tensor({kind})", "mask": f"tensor({kind})"}
    return json.loads(session.get_modelmeta().custom_metadata_map["tfrecon"])


def test_each_file_is_taken_away_alone_and_says_what_it_is(format, exported):
    files = sorted(path for path in exported.iterdir() if path.name != "export.json")
    assert [path.name for path in files] == FILES[format]
    for path in files if format != "keras" else ():
        record = record_inside(path)
        assert record["run"] == "old photos" and record["has_mask"]
        assert record["range"] == {"serve": [0, 255], "restore": [0, 1]}


class Lacking(keras.layers.Layer):
    """An operation that TensorFlow alone has."""

    def call(self, inputs):
        return tf.image.rgb_to_hsv(inputs)


def of_layer(layer):
    inputs = keras.layers.Input((None, None, 3))
    return wrapped(keras.Model(inputs, layer(inputs)))


def test_an_operation_that_a_format_lacks_is_named(format, tmp_path):
    lacks = "layer Lacking" if format == "keras" else "operation RGBToHSV"
    with pytest.raises(UserError, match=rf"has no {lacks}, .* --format savedmodel"):
        export_model(of_layer(Lacking()), tmp_path / "lacking", False, format=format)
    assert list(tmp_path.iterdir()) == []


def test_a_difference_leaves_nothing(format, tmp_path, monkeypatch):
    monkeypatch.setattr(Drifting, "traces", 0)  # after ten all is black
    with pytest.raises(UserError, match="differs from the model at 40×40"):
        export_model(drifting(), tmp_path / "bad", False, format=format)
    assert list(tmp_path.iterdir()) == []


class Floored(keras.layers.Layer):
    """Whole numbers below zero, divided: the brightness of a photo of H rows is 8 // -H, …"""

    def call(self, inputs):
        height = -tf.shape(inputs)[1]
        parts = -(height // 7), height % 7, (height + 60) // 7
        return inputs * 0 + tf.cast(tf.stack(parts), tf.float32) / 16.0


def test_whole_numbers_are_divided_as_in_python(format, tmp_path):
    if format == "keras":
        pytest.skip("plain Keras has no whole numbers of a shape")
    model = of_layer(Floored())
    export_model(model, tmp_path / "floored", False, format=format)
    x = np.zeros((1, 30, 4, 3), np.float32)
    expected = np.clip(np.array([-(-30 // 7), -30 % 7, 30 // 7]) / 16, 0, 1)
    np.testing.assert_allclose(open_export(tmp_path / "floored").restore(x)[0, 0, 0], expected)


@pytest.mark.parametrize("name", [name for name in OTHERS if FORMATS[name].extra])
def test_a_missing_package_names_its_extra_before_anything_is_done(name, tmp_path, monkeypatch):
    extra = FORMATS[name].extra
    monkeypatch.setattr(extras, "missing", lambda extra: extras.EXTRAS[extra])
    sentence = rf'needs the package .*; add it with pip install "tfrecon\[{extra}\]"'
    with pytest.raises(UserError, match=sentence):
        export_model(tiny(False), tmp_path / "tiny", False, format=name)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "export.json").write_text(json.dumps({"format": name, "has_mask": False}))
    with pytest.raises(UserError, match=sentence):
        open_export(tmp_path)


def test_an_unknown_format_is_named(tmp_path, capsys):
    assert export.main(["checkpoints/any", "--format", "litrt"]) == 2
    assert "'litrt' (choose from" in capsys.readouterr().err
    (tmp_path / "export.json").write_text(json.dumps({"format": "later", "has_mask": False}))
    with pytest.raises(UserError, match="unknown format 'later'"):
        open_export(tmp_path)


def test_reconstruct_takes_it_and_a_training_does_not_start_from_it(exported, tmp_path, capsys):
    pixels, mask = photos(20, 31)
    images.write(tmp_path / "photo.png", pixels)
    images.write(tmp_path / "mask.png", np.repeat(mask * 255, 3, axis=-1))
    command = [str(exported), str(tmp_path / "photo.png"), "-o", str(tmp_path / "out.png")]
    command += ["--mask", str(tmp_path / "mask.png"), "--trust-code"]
    assert reconstruct.main(command) == 0, capsys.readouterr().err
    x = model_input(pixels, mask, True)[None]
    expected = images.to_uint8(restorer(tiny(True))(x)[0])
    apart = np.abs(images.read(tmp_path / "out.png").astype(int) - expected)
    assert apart.max() <= 1
    with pytest.raises(UserError, match="as SavedModels without --precision do; export its"):
        find_source(str(exported))


def test_a_damaged_file_is_one_sentence(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "tiny")
    for file in (tmp_path / "tiny").iterdir():
        if file.name != "export.json":
            file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        loaded = open_export(tmp_path / "tiny", trusted=True)
        loaded.restore(np.zeros((1, 8, 8, 4), np.float32))


def test_an_onnx_file_that_needs_more_than_itself_is_refused(tmp_path):
    needs("onnx")
    onnx = importlib.import_module("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    sides = [helper.make_tensor_value_info(name, floats, None) for name in ("image", "restored")]
    node = helper.make_node("Run", ["image"], ["restored"], domain="of.some.library")
    foreign = helper.make_tensor("weights", floats, [1], [0.0])
    foreign.data_location = onnx.TensorProto.EXTERNAL
    model = helper.make_model(helper.make_graph([node], "a", sides[:1], sides[1:], [foreign]))
    (tmp_path / "restore.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "export.json").write_text(json.dumps({"format": "onnx", "has_mask": False}))
    with pytest.raises(
        UserError, match="holds what ONNX has not, Run, weights in other files; export it"
    ):
        open_export(tmp_path).restore(np.zeros((1, 8, 8, 3), np.float32))


ALONE = """
import sys
import keras, numpy as np
assert not any(name.startswith("tfrecon") for name in sys.modules)
given = dict(np.load("given.npz"))
expected = given.pop("expected")
restored = keras.saving.load_model("model.keras")(given)["restored"]
print(np.abs(keras.ops.convert_to_numpy(restored) - expected).max())
"""


@pytest.mark.slow
@pytest.mark.parametrize("name, mask, options", [
    ("residual_unet", False, {"width": 8, "grids": "fine", "top_hats": [3, 7]}),
    ("residual_unet", True, {"width": 8, "fill": "mean"}),
    ("nafnet", True, {"width": 8}), ("skip_vae", True, {"base_filters": 4}),
    ("restoration_gan", False, {"base_filters": 4}), ("autoencoder", False, {}),
    ("pix2pix", True, {"base_filters": 4}),
    ("pix2pix", False, {"base_filters": 4, "inference": "batch"}),
])  # fmt: skip
def test_models_are_plain_keras(name, mask, options, tmp_path):
    model = build_model(Spec(name, options), image_size=64, mask=mask, seed=1)
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + random.normal(0, 0.01, variable.shape))
    export_model(model, tmp_path / "keras", mask, format="keras")
    x = random.random((2, 45, 70, 3 + mask)).astype(np.float32)
    given = {"image": x[..., :3]} | ({"mask": x[..., 3:]} if mask else {})
    np.savez(tmp_path / "keras" / "given.npz", expected=restorer(model)(x), **given)
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE],
        cwd=tmp_path / "keras", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5


def test_a_keras_file_is_trusted_or_not_read(tmp_path):
    (tmp_path / "export.json").write_text(json.dumps({"format": "keras", "has_mask": False}))
    with pytest.raises(UserError, match="may name code; if you trust who made it"):
        open_export(tmp_path)
    with pytest.raises(UserError, match="--ensemble has no effect on an export to Keras"):
        export_model(tiny(False), tmp_path / "tiny", False, ensemble=True, format="keras")


def test_where_each_format_goes():
    run = SimpleNamespace(name="faces")
    assert default_path(run).as_posix() == "exports/faces"  # type: ignore[arg-type]
    assert default_path(run, "onnx").as_posix() == "exports/faces-onnx"  # type: ignore[arg-type]
