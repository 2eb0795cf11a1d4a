"""The export: what it holds, that it equals the model, and that a failure leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from exported_models import fixed, tiny

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference import saved_model
from tfrecon.inference.restorer import open_export, restorer
from tfrecon.inference.saved_model import export_model, export_run
from tfrecon.models.supervised import wrapped


@pytest.fixture(scope="module", params=[True, False], ids=["mask", "no_mask"])
def exported(request, tmp_path_factory):
    model = tiny(request.param)
    path = tmp_path_factory.mktemp("exports") / "tiny"
    differences = export_model(model, path, request.param, {"run": "tiny"})
    return SimpleNamespace(model=model, path=path, has_mask=request.param, differences=differences)


def photos(*shape, seed=1):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (*shape, 3), np.uint8)
    mask = (random.random((*shape, 1)) < 0.3).astype(np.uint8)
    return pixels, mask


def model_input(pixels, mask, has_mask):
    x = images.to_float(pixels)
    return np.concatenate((x, mask), axis=-1, dtype=np.float32) if has_mask else x


@pytest.mark.parametrize("shape", [(3, 16, 24), (1, 40, 41), (2, 1, 5)])
def test_both_signatures_equal_the_model(exported, shape):
    pixels, mask = photos(*shape)
    x = model_input(pixels, mask, exported.has_mask)
    expected = restorer(exported.model)(x)
    export = open_export(exported.path)
    assert export.has_mask == exported.has_mask
    np.testing.assert_allclose(export.restore(x), expected, atol=1e-5)
    served = export.serve(pixels, mask * 7)  # any nonzero value is damage
    assert served.dtype == np.uint8
    np.testing.assert_array_equal(served, images.to_uint8(expected))


def test_signatures_names_and_types(exported):
    loaded = tf.saved_model.load(str(exported.path))
    assert set(loaded.signatures) == {"serve", "restore", "serving_default"}
    names = {"image", "mask"} if exported.has_mask else {"image"}
    types = {"serve": tf.uint8, "serving_default": tf.uint8, "restore": tf.float32}
    for name, dtype in types.items():
        inputs = loaded.signatures[name].structured_input_signature[1]
        assert set(inputs) == names
        for key, spec in inputs.items():
            assert spec.dtype == dtype
            assert spec.shape.as_list() == [None, None, None, 3 if key == "image" else 1]
        output = loaded.signatures[name].structured_outputs["restored"]
        assert output.dtype == dtype


def test_methods_of_the_loaded_module_work_as_the_printed_snippet_says(exported):
    pixels, mask = photos(1, 9, 10)
    loaded = tf.saved_model.load(str(exported.path))
    served = loaded.serve(pixels, mask) if exported.has_mask else loaded.serve(pixels)
    expected = open_export(exported.path).serve(pixels, mask)
    np.testing.assert_array_equal(served["restored"], expected)


def test_weights_are_kept_once_and_nothing_else_is(exported):
    loaded = tf.saved_model.load(str(exported.path))
    assert len(loaded.weights) == len(exported.model.variables)
    kept = tf.train.list_variables(str(exported.path / "variables" / "variables"))
    shapes = sorted(tuple(shape) for name, shape in kept if not name.startswith("_CHECKPOINT"))
    assert shapes == sorted(tuple(variable.shape) for variable in exported.model.variables)
    files = {path.name for path in exported.path.rglob("*") if path.is_file()}
    assert files == {
        "saved_model.pb",
        "fingerprint.pb",
        "export.json",
        "variables.index",
        "variables.data-00000-of-00001",
    }


def test_only_the_weights_that_the_graph_reads_are_saved(tmp_path):
    model = tiny(False)
    model.judge = keras.layers.Dense(7)
    model.judge.build((None, 99))
    export_model(model, tmp_path / "tiny", False)
    kept = tf.train.list_variables(str(tmp_path / "tiny" / "variables" / "variables"))
    assert not any(shape == [99, 7] for _, shape in kept)


def test_record(exported):
    record = json.loads((exported.path / "export.json").read_text())
    assert record["run"] == "tiny" and record["has_mask"] == exported.has_mask
    assert record["size_multiple"] == 8
    assert record["versions"]["tensorflow"] == tf.__version__
    sizes = [(row["height"], row["width"]) for row in record["differences"]]
    assert sizes == [(40, 40), (256, 256), (300, 451)]
    for difference in exported.differences:
        assert difference.restore <= 1e-5 and difference.serve <= 1


def test_a_model_of_fixed_size_is_exported_with_its_tiles(tmp_path):
    model = fixed(32)
    export_model(model, tmp_path / "fixed", False)
    pixels, _ = photos(2, 50, 33)
    export = open_export(tmp_path / "fixed")
    expected = restorer(model)(images.to_float(pixels))
    np.testing.assert_allclose(export.restore(images.to_float(pixels)), expected, atol=1e-5)
    assert export.record["fixed_size"] == 32


def fake_run(model, has_mask):
    data = SimpleNamespace(image_size=64)
    config = SimpleNamespace(model=Spec("tiny", {"filters": 8}), data=data)
    return SimpleNamespace(
        name="my_run", config=config, has_mask=has_mask,
        load_model=lambda options=None: model, model_with=lambda options: config.model,
    )  # fmt: skip


def test_a_run_is_exported_under_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_run(fake_run(tiny(True), True))  # type: ignore[arg-type]
    record = open_export("exports/my_run").record
    assert record["run"] == "my_run"
    assert record["model"] == {"name": "tiny", "filters": 8} and record["image_size"] == 64
    assert record["weights"] == [*range(len(tiny(True).inference_variables))], "in their order"


class Drifting(keras.layers.Layer):
    """Gives another result in every trace, as an export gone wrong would."""

    traces = 0

    def call(self, inputs):
        Drifting.traces += 1
        return inputs * (1 - 0.1 * Drifting.traces)


def drifting():
    inputs = keras.layers.Input((None, None, 3))
    return wrapped(keras.Model(inputs, Drifting()(inputs)))


def test_a_difference_is_an_error_with_its_figure_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"differs from the model at 40×40: float by 0\.\d+"):
        export_model(drifting(), tmp_path / "bad", False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_gives_no_numbers_is_not_exported(tmp_path, value):
    inputs = keras.layers.Input((None, None, 3))
    model = wrapped(keras.Model(inputs, keras.layers.Rescaling(value)(inputs)))
    with pytest.raises(UserError, match=r"not finite.*lower .*; nothing was written"):
        export_model(model, tmp_path / "bad", False)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_stays_when_the_new_one_fails_and_goes_when_it_passes(tmp_path):
    path = tmp_path / "tiny"
    export_model(tiny(False), path, False, {"run": "first"})
    with pytest.raises(UserError, match="differs"):
        export_model(drifting(), path, False, {"run": "second"})
    assert open_export(path).record["run"] == "first"
    export_model(tiny(False), path, False, {"run": "third"})
    assert open_export(path).record["run"] == "third"
    assert [item.name for item in tmp_path.iterdir()] == ["tiny"]


def test_a_folder_that_is_no_export_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(UserError, match="is no export; choose another"):
        export_model(tiny(False), tmp_path / "photos", False)
    assert (tmp_path / "photos" / "cat.png").exists()


def test_an_earlier_export_comes_back_when_the_last_step_fails(tmp_path, monkeypatch):
    path = tmp_path / "tiny"
    export_model(tiny(False), path, False, {"run": "first"})
    rename = Path.rename

    def failing(self, target):
        if self.name == "new":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"):
        export_model(tiny(False), path, False, {"run": "second"})
    assert open_export(path).record["run"] == "first"
    assert [item.name for item in tmp_path.iterdir()] == ["tiny"]


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, "compare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_model(tiny(False), tmp_path / "tiny", False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is no export"),
        (lambda path: (path.mkdir(), (path / "export.json").write_text("{")), "cannot be read"),
        (
            lambda path: (path.mkdir(), (path / "export.json").write_text('{"has_mask": 1}')),
            "cannot be read",
        ),
    ],
)
def test_what_is_no_export_is_refused(tmp_path, break_it, message):
    break_it(tmp_path / "some")
    with pytest.raises(UserError, match=message):
        open_export(tmp_path / "some")


ALONE = """
import sys
sys.modules["keras"] = sys.modules["tfrecon"] = None  # importing either fails from here on
import numpy as np
import tensorflow as tf
path, data = sys.argv[1:]
data = np.load(data)
model = tf.saved_model.load(path)
for size in ("40x40", "256x256", "300x451"):
    image, mask = data[f"image {size}"], data[f"mask {size}"]
    floats = {"image": tf.constant(image / np.float32(255))}
    integers = {"image": tf.constant(image)}
    if data["has_mask"]:
        floats["mask"] = tf.constant(mask.astype(np.float32))
        integers["mask"] = tf.constant(mask)
    restored = model.signatures["restore"](**floats)["restored"].numpy()
    served = model.signatures["serve"](**integers)["restored"].numpy()
    expected = data[f"expected {size}"]
    rounded = np.rint(expected * 255).astype(int)
    print(size, np.abs(restored - expected).max(), np.abs(served - rounded).max())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "mask, options",
    [
        (True, {"fill": "harmonic", "residual": True}),
        (True, {"inference": "batch", "dropout_at_inference": True}),
        (False, {"normalization": "instance"}),
    ],
)
def test_pix2pix_is_exported(tmp_path, mask, options):
    from tfrecon.models import build_model

    spec = Spec("pix2pix", {"base_filters": 4, **options})
    model = build_model(spec, image_size=64, mask=mask, seed=1)
    random = np.random.default_rng(0)
    for variable in model.generator.trainable_variables:
        variable.assign(variable + random.normal(0, 0.05, variable.shape))
    export_model(model, tmp_path / "pix2pix", mask)
    pixels, holes = photos(2, 64, 128)
    x = model_input(pixels, holes, mask)
    restored = open_export(tmp_path / "pix2pix").restore(x)
    np.testing.assert_allclose(restored, model(x, training=False), atol=1e-5)


@pytest.mark.slow
def test_the_export_loads_with_tensorflow_alone(exported, tmp_path):
    data = {"has_mask": exported.has_mask}
    for shape in ((2, 40, 40), (1, 256, 256), (1, 300, 451)):
        pixels, mask = photos(*shape)
        size = f"{shape[1]}x{shape[2]}"
        data |= {f"image {size}": pixels, f"mask {size}": mask}
        data[f"expected {size}"] = restorer(exported.model)(
            model_input(pixels, mask, exported.has_mask)
        )
    np.savez(tmp_path / "data.npz", **data)
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(exported.path), str(tmp_path / "data.npz")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["40x40", "256x256", "300x451"]
    for _, float_difference, uint8_difference in rows:
        assert float(float_difference) <= 1e-5 and int(uint8_difference) <= 1
