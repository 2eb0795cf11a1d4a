"""Exports whose weights are constants: what they hold, how near they are, what is refused."""

import collections
import json
from types import SimpleNamespace

import keras
import kit
import numpy as np
import pytest
import tensorflow as tf
from exported_models import fixed, randomise, tiny
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from test_saved_model import model_input, photos

from tfrecon import export, reconstruct
from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.base.system import dtype_policy
from tfrecon.inference import saved_model
from tfrecon.inference.constants import Constants, Photos, shipped
from tfrecon.inference.frozen_graph import frozen
from tfrecon.inference.restorer import open_export, restorer
from tfrecon.inference.saved_model import export_model, next_version
from tfrecon.inference.transposed import enlarged
from tfrecon.training.preparation import POLICIES
from tfrecon.training.start import find_source


@pytest.fixture(autouse=True, scope="module")
def fewer():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "SIZES", ((2, 40, 40), (1, 30, 45)))
        yield


def constants(precision, made=tiny, has_mask=True):
    """`made` in this precision, with two small photos and their truth."""
    with dtype_policy(POLICIES[precision]):
        model = made(has_mask)
    pairs = []
    for seed in (1, 2):
        pixels, mask = photos(1, 24, 32, seed=seed)
        pairs.append((model_input(pixels, mask, has_mask), images.to_float(pixels)))
    return Constants(precision, model, Photos("photos", pairs))


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def exported(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "tiny"
    about = {"run": "tiny", "image_size": 64}
    export_model(
        tiny(True), path, True, about, constants=constants(request.param), serving=True
    )  # fmt: skip
    return SimpleNamespace(path=path, precision=request.param)


def operations(path):
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    library = saved.meta_graphs[0].graph_def.library
    return [node for function in library.function for node in function.node_def]


def test_it_equals_the_model_at_any_size(exported):
    for shape in ((3, 16, 24), (1, 40, 41), (2, 1, 5)):
        pixels, mask = photos(*shape)
        x = model_input(pixels, mask, True)
        export, expected = open_export(exported.path), restorer(tiny(True))(x)
        atol = 1e-5 if exported.precision == "float32" else 0.05
        np.testing.assert_allclose(export.restore(x), expected, atol=atol)
        np.testing.assert_allclose(export.serve(pixels, mask) / 255, expected, atol=atol + 0.002)


def test_it_holds_no_variable_and_one_kind_of_convolution(exported):
    assert tf.saved_model.load(str(exported.path)).weights == []
    nodes = operations(exported.path)
    names = {node.op for node in nodes}
    assert "Conv2D" in names
    assert not names & {"VarHandleOp", "ReadVariableOp", "Conv2DBackpropInput"}
    kinds = {node.attr["T"].type for node in nodes if node.op == "Conv2D"}
    assert kinds == {tf.as_dtype(exported.precision).as_datatype_enum}
    kernels = [n for n in nodes if n.op == "Const" and n.attr["value"].tensor.tensor_shape.dim]
    largest = max(kernels, key=lambda node: node.ByteSize())
    assert largest.attr["dtype"].type in kinds, "kernels are kept in the precision, once"


def test_the_record_says_what_it_costs_on_the_photos(exported):
    record = json.loads((exported.path / "export.json").read_text())
    found = record["photos"]
    assert record["precision"] == exported.precision and "weights" not in record
    assert found["of"] == "photos" and found["images"] == 2
    assert abs(found["psnr_model"] - found["psnr_export"]) <= 0.05
    assert found["largest"] < (1e-5 if exported.precision == "float32" else 0.05)
    assert found["psnr_between"] > (90 if exported.precision == "float32" else 40)


def test_reconstruct_takes_it_and_a_training_does_not_start_from_it(exported, tmp_path, capsys):
    pixels, mask = photos(20, 31)
    images.write(tmp_path / "photo.png", pixels)
    images.write(tmp_path / "mask.png", np.repeat(mask * 255, 3, axis=-1))
    command = [str(exported.path), str(tmp_path / "photo.png"), "-o", str(tmp_path / "out.png")]
    assert reconstruct.main([*command, "--mask", str(tmp_path / "mask.png")]) == 0
    expected = open_export(exported.path).serve(pixels[None], mask[None])[0]
    np.testing.assert_allclose(images.read(tmp_path / "out.png"), expected, atol=1)
    with pytest.raises(UserError, match="as SavedModels without --precision do; export its"):
        find_source(str(exported.path))


def test_files_go_in_and_out_as_a_server_has_them(exported, tmp_path):
    given, expected = [], []
    export = open_export(exported.path)
    for shape, ending in (((20, 31), "jpg"), ((9, 40), "png")):
        pixels, mask = photos(*shape)
        for name, array in (("photo", pixels), ("mask", mask[..., 0] * 255)):
            Image.fromarray(array).save(tmp_path / f"{name}.{ending if name == 'photo' else 'png'}")
        read = np.asarray(Image.open(tmp_path / f"photo.{ending}"))
        given.append([(tmp_path / name).read_bytes() for name in (f"photo.{ending}", "mask.png")])
        expected.append(export.serve(read[None], mask[None])[0])
    signature = tf.saved_model.load(str(exported.path)).signatures["serving_default"]
    photo_files, mask_files = zip(*given, strict=True)
    answer = signature(image_bytes=tf.constant(photo_files), mask_bytes=tf.constant(mask_files))
    for file, wanted in zip(answer["restored_bytes"].numpy(), expected, strict=True):
        restored = tf.io.decode_png(file).numpy()
        assert restored.shape == wanted.shape
        # TensorFlow and Pillow may have two decoders of JPEG.
        assert np.abs(restored.astype(int) - wanted).mean() < 1


def test_what_is_too_far_from_the_model_is_refused_with_its_figures(tmp_path):
    other = constants("bfloat16", lambda has_mask: tiny(has_mask))
    for variable in other.model.variables:
        variable.assign(variable * 1.1)
    sentence = r"too far from the model: 2 photos: PSNR \d+\.\d\d dB, the model's .*precision float"
    with pytest.raises(UserError, match=sentence):
        export_model(tiny(True), tmp_path / "tiny", True, constants=other)
    truthless = [(x, None) for x, _ in other.photos.pairs]
    other = Constants("bfloat16", other.model, Photos("photos", truthless))
    with pytest.raises(UserError, match=r"photos: \d+\.\d dB between both.*40 dB from it without"):
        export_model(tiny(True), tmp_path / "tiny", True, constants=other)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_fixed_size_keeps_its_tiles(tmp_path):
    model = fixed(32)
    kind = constants("float32", lambda has_mask: model, False)
    export_model(model, tmp_path / "fixed", False, constants=kind)
    x = images.to_float(photos(1, 50, 33)[0])
    found = open_export(tmp_path / "fixed").restore(x)
    np.testing.assert_allclose(found, restorer(model)(x), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 6, 17])
@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 2), (2, 2), (5, 3), (7, 2), (4, 1)])
def test_ordinary_convolutions_make_a_transposed_one(size, stride, channels):
    random = np.random.default_rng(0)
    kernel = random.normal(size=(size, size, 5, channels)).astype(np.float32)
    x = random.normal(size=(2, 4, 7, 5)).astype(np.float32)
    sides = (2, 4 * stride, 7 * stride, channels)
    expected = tf.nn.conv2d_transpose(x, kernel.swapaxes(2, 3), sides, stride)
    np.testing.assert_allclose(enlarged(tf.constant(x), kernel, stride), expected, atol=1e-4)


def test_a_transposed_convolution_to_few_channels_becomes_one():
    head = keras.layers.Conv2DTranspose(3, 4, 2, "same", bias_initializer="random_normal")
    model = keras.Sequential([keras.Input((None, None, 5)), head, keras.layers.ReLU()])
    function = frozen(lambda x: model(x, training=False), tf.TensorSpec((None, None, None, 5)))
    x = tf.constant(np.random.default_rng(1).normal(size=(2, 6, 8, 5)).astype(np.float32))
    np.testing.assert_allclose(function(x), model(x, training=False), atol=1e-5)
    kinds = collections.Counter(node.op for node in function.graph.as_graph_def().node)
    assert kinds["Conv2D"] == 1 and not kinds["Conv2DBackpropInput"]


def test_what_follows_a_convolution_goes_into_it():
    inputs = keras.Input((None, None, 3))
    down = keras.layers.Conv2D(5, 4, 2, "same")(inputs)
    seen = keras.layers.LeakyReLU(0.2)(keras.layers.BatchNormalization()(down))
    up = keras.layers.Conv2DTranspose(6, 4, 2, "same", use_bias=False)(seen)
    up = keras.layers.BatchNormalization()(up)
    both = keras.layers.ReLU()(keras.layers.Concatenate()([up, inputs]))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(both))
    randomise(model)
    function = frozen(lambda x: model(x, training=False), tf.TensorSpec((None, None, None, 3)))
    x = tf.constant(np.random.default_rng(1).normal(size=(2, 6, 8, 3)).astype(np.float32))
    np.testing.assert_allclose(function(x), model(x, training=False), atol=1e-4)
    kinds = collections.Counter(node.op for node in function.graph.as_graph_def().node)
    assert kinds["Conv2D"] == kinds["BiasAdd"] == 2 + 4 and kinds["LeakyRelu"] == 1
    assert kinds["Relu"] == 4 + 1, "the activation is before the joint"
    assert not kinds.keys() & {"Rsqrt", "AddV2", "Conv2DBackpropInput"}


@pytest.mark.parametrize("lost", [0, 1])
def test_only_those_that_make_whole_multiples_are_replaced(lost):
    kernel = tf.Variable(np.random.default_rng(0).normal(size=(4, 4, 3, 5)).astype(np.float32))

    def step(x):
        shape = tf.shape(x)
        height, width = (shape[axis] * 2 for axis in (1, 2))
        sides = (shape[0], height - 1, width - 1, 3) if lost else (shape[0], height, width, 3)
        return tf.nn.relu(tf.nn.conv2d_transpose(x, kernel, sides, 2) * 2.0 + 1.0)

    x = tf.constant(np.random.default_rng(1).normal(size=(1, 4, 6, 5)).astype(np.float32))
    function = frozen(step, tf.TensorSpec((None, None, None, 5)))
    np.testing.assert_allclose(function(x), step(x), atol=1e-4)
    kinds = {node.op for node in function.graph.as_graph_def().node}
    assert ("Conv2DBackpropInput" in kinds) == bool(lost)


def test_the_run_gives_its_photos_or_those_that_ship_do(plain, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert export.main([str(plain.path), "--precision", "float32", "--serving"]) == 0
    out = capsys.readouterr().out
    assert "validation photos of the run: PSNR" in out
    assert "tensorflow_model_server --rest_api_port=8501 --model_name=run" in out
    assert (tmp_path / "served" / "run" / "1" / "export.json").is_file()
    assert next_version("served/run").name == "2"
    found = shipped(True)
    assert all(x.shape[-1] == 4 and truth.shape == (*x.shape[:3], 3) for x, truth in found.pairs)
    assert all(x.shape[-1] == 3 and truth is None for x, truth in shipped(False).pairs)


def test_what_has_no_effect_is_refused(tmp_path):
    with pytest.raises(UserError, match="of SavedModels; leave out --format keras"):
        export_model(tiny(True), tmp_path / "a", True, format="keras", serving=True)
    assert export.main(["checkpoints/a", "--preset", "presets/a", "--precision", "float32"]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", kit.ROWS)
def test_every_model(name, tmp_path):
    row = kit.ROWS[name]
    mask = row.masks[-1]
    exact = constants("float32", lambda has_mask: row.build(name, has_mask), mask)
    half = constants("bfloat16", lambda has_mask: row.build(name, has_mask), mask)
    own = zip(half.model.inference_variables, exact.model.inference_variables, strict=True)
    for variable, value in own:
        variable.assign(value)
    for kind in (exact, half):
        export_model(exact.model, tmp_path / kind.precision, mask, constants=kind)
