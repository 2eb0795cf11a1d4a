"""Backbones against golden values of timm and torchvision; errors; preprocessing; precision."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from golden import make_backbones
from golden.make_backbones import drawn

from tfrecon.backbones import (
    BACKBONES,
    check_image_size,
    check_taps,
    describe,
    feature_taps,
    weight_sets,
)
from tfrecon.backbones.applications import APPLICATIONS
from tfrecon.backbones.backbone import (
    IMAGENET,
    assign,
    to_keras,
    to_torch,
    torch_names,
    torch_shape,
)
from tfrecon.base import weights
from tfrecon.base.errors import UserError
from tfrecon.base.weights import VARIABLE

PACKS = Path(os.environ.get(VARIABLE) or Path(__file__).parents[2] / "shared" / "weights")
GOLDEN = json.loads(make_backbones.FILE.read_text())["values"]


def images(side=32, count=1):
    return np.random.default_rng(3).random((count, side, side, 3), np.float32)


@pytest.fixture
def no_files(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.OpenerDirector.open", _offline)
    monkeypatch.setattr(weights, "PAUSES_SECONDS", (0, 0, 0))  # they are 26 seconds a file
    return tmp_path


def _offline(*_, **__):
    raise ConnectionError("no network")


@pytest.mark.parametrize(
    ("name", "key", "size"),
    [
        pytest.param(name, key, size, id=key)
        for name in make_backbones.NETWORKS
        for key, size in make_backbones.cases(name).items()
    ],
)
def test_every_tap_equals_timm_or_torchvision(name, key, size):
    taps = GOLDEN[key]
    assert list(taps) == list(BACKBONES[name].taps)
    model = feature_taps(name, list(taps), None)
    arrays = {
        key: drawn(make_backbones.their_name(key), torch_shape(tuple(variable.shape)))
        for key, variable in torch_names(model).items()
    }
    assign(model, arrays, "drawn")
    outputs = model(make_backbones.image(*size))
    for tap, output in zip(taps, outputs, strict=True):
        found, expected = make_backbones.summary(np.asarray(output)), taps[tap]
        for key in ("mean", "std", "largest", "values"):
            np.testing.assert_allclose(
                found[key], expected[key], rtol=0, atol=1e-5 * expected["largest"], err_msg=tap
            )


def test_every_backbone_but_keras_own_has_golden_values():
    assert set(BACKBONES) - set(GOLDEN) == set(APPLICATIONS) - {"convnext_tiny"}


BUILDERS = {
    "vgg16": keras.applications.VGG16,
    "resnet50_keras": keras.applications.ResNet50,
    "resnet101_keras": keras.applications.ResNet101,
    "resnet50v2": keras.applications.ResNet50V2,
    "resnet101v2": keras.applications.ResNet101V2,
    "efficientnetv2_b0": keras.applications.EfficientNetV2B0,
    "efficientnetv2_b1": keras.applications.EfficientNetV2B1,
    "efficientnetv2_b2": keras.applications.EfficientNetV2B2,
    "efficientnetv2_b3": keras.applications.EfficientNetV2B3,
    "efficientnetv2_s": keras.applications.EfficientNetV2S,
    "convnext_tiny": keras.applications.ConvNeXtTiny,
    "convnext_small": keras.applications.ConvNeXtSmall,
}
ENDS = {
    "vgg16": {"block1_conv2": "block1_conv2", "block3": "block3_pool", "block5": "block5_pool"},
    "resnet50_keras": {"stem": "conv1_relu", "layer1": "conv2_block3_out",
                       "layer2": "conv3_block4_out", "layer3": "conv4_block6_out",
                       "layer4": "conv5_block3_out"},
    "resnet50v2": {"stem": "conv1_conv", "layer1": "conv2_block3_preact_relu",
                   "layer2": "conv3_block4_preact_relu", "layer3": "conv4_block6_preact_relu",
                   "layer4": "post_relu"},
    "efficientnetv2": {"stem": "block1", "stage1": "block2", "stage2": "block3",
                       "stage3": "block5", "stage4": "top_activation"},
}  # fmt: skip
"""The layer of Keras Applications' that each tap is, or how its name begins: the last such."""
ENDS["resnet101_keras"] = {**ENDS["resnet50_keras"], "layer3": "conv4_block23_out"}
ENDS["resnet101v2"] = {**ENDS["resnet50v2"], "layer3": "conv4_block23_preact_relu"}


def own_taps(name, network):
    """The taps' tensors in Keras Applications' own network, before they are averaged. Of ConvNeXt,
    whose sums are no layers, those behind one layer more."""
    layers = {layer.name: layer for layer in network.layers}
    if name.startswith("convnext"):
        behind = [layers[f"{name}_stage_{n}_block_0_depthwise_conv"].input for n in (1, 2, 3)]
        return {f"stage{n}": tensor for n, tensor in enumerate([*behind, network.output], 1)}
    ends = ENDS["efficientnetv2" if name.startswith("efficientnet") else name]
    last = {tap: [at for at in layers if at.startswith(end)][-1] for tap, end in ends.items()}
    return {tap: layers[at].output for tap, at in last.items()}


def comparable(name, network, features):
    """What the taps' `features` become up to where `own_taps` are read."""
    if not name.startswith("convnext"):
        return features
    layers = [network.get_layer(f"{name}_downsampling_block_{n}") for n in range(3)]
    return [
        layer(part) for layer, part in zip([*layers, network.layers[-1]], features, strict=True)
    ]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n == "efficientnetv2_b0" else pytest.mark.slow)
     for n in APPLICATIONS],
)  # fmt: skip
def test_taps_are_keras_applications_own_exactly(name):
    """On equal inputs; and the preprocessing is Keras's, but for the rounding."""
    builder, taps = BUILDERS[name], [tap for tap in BACKBONES[name].taps if tap != "avgpool"]
    model = feature_taps(name, [*taps, "avgpool"], None)
    has_own = name.startswith(("efficientnet", "convnext"))
    options = {"include_preprocessing": False} if has_own else {}
    network = builder(include_top=False, weights=None, **options)
    drawn_values = torch_names(model)
    for key, variable in torch_names(network).items():
        if key in drawn_values:  # all but a normalisation at the end
            variable.assign(drawn_values[key])
    own = own_taps(name, network)
    assert list(own) == taps
    x = images(64)
    given = keras.Model(model.inputs[0], model.get_layer("preprocess").output)(x)
    *found, pooled = model(x)
    expected = keras.Model(network.inputs[0], list(own.values()))(given)
    for ours, theirs in zip(comparable(name, network, found), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(pooled[:, 0, 0], np.mean(found[-1], (1, 2)), rtol=1e-4, atol=1e-5)
    shapes = [tuple(shape[1:]) for shape in model.compute_output_shape((1, 224, 224, 3))]
    assert shapes == [tap.shape_at_224() for tap in BACKBONES[name].taps.values()]
    if has_own:
        whole = builder(include_top=False, weights=None)
        behind = whole.get_layer("stem_conv" if "eff" in name else f"{name}_stem")
        before = keras.Model(whole.inputs[0], behind._inbound_nodes[0].input_tensors[0])
        np.testing.assert_allclose(given, before(255 * x), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["resnet50_keras", "vgg16", *(pytest.param(n, marks=pytest.mark.slow)
     for n in ("resnet50v2", "efficientnetv2_b0", "efficientnetv2_s", "convnext_tiny"))],
)  # fmt: skip
def test_keras_weights_give_what_keras_applications_gives(name, no_files, monkeypatch):
    """Through a file of Keras's, and its own preprocessing."""
    builder = BUILDERS[name]
    keras.utils.set_random_seed(0)
    network = builder(include_top=False, weights=None)
    for variable in network.weights:
        if "variance" not in variable.name and len(variable.shape) == 1:
            variable.assign(variable + np.linspace(-0.1, 0.1, variable.shape[0]))
    folder = no_files / "tfrecon"
    folder.mkdir()
    monkeypatch.setattr(weight_sets, "checked", lambda path, file: path)
    monkeypatch.setattr(weights, "checked", lambda path, file: path)
    network.save(folder / Path(weight_sets.keras_path(builder.__name__.lower())).name)
    own = own_taps(name, network)
    x, prepared = images(64), 255 * images(64)
    modules = {"vgg16": "vgg16", "resnet50_keras": "resnet", "resnet50v2": "resnet_v2"}
    if name in modules:
        prepared = vars(keras.applications)[modules[name]].preprocess_input(prepared)
    expected = keras.Model(network.inputs[0], list(own.values()))(prepared)
    found = comparable(name, network, feature_taps(name, list(own), "imagenet")(x))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=0)


@pytest.mark.parametrize("name", ["resnet50", "resnet50_keras"])
def test_the_two_resnets_stride_in_different_convolutions(name):
    model = feature_taps(name, ["layer2"], None)
    names = ("layer2.0.conv1", "layer2.0.conv2") if name == "resnet50" else (
        "conv3_block1_1_conv", "conv3_block1_2_conv")  # fmt: skip
    strides = [model.get_layer(layer).strides[0] for layer in names]
    assert strides == ([1, 2] if name == "resnet50" else [2, 1])


def test_parameters_and_shapes_at_224_pixels():
    counts = {"pvt_v2_b2": 24_849_856, "vit_s16": 21_664_896, "resnet34": 21_301_696 - 17_024}
    for name, count in counts.items():
        model = feature_taps(name, list(BACKBONES[name].taps), None)
        statistics = sum(
            int(np.prod(v.shape)) for k, v in torch_names(model).items() if ".running_" in k
        )
        assert model.count_params() - statistics == count
        shapes = [tuple(output.shape[1:]) for output in model(images(224))]
        assert shapes == [tap.shape_at_224() for tap in BACKBONES[name].taps.values()]


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "squeezenet1_1"])
def test_declared_shapes_and_smallest_images(name):
    """Each tap exists at the declared smallest side and not one pixel below."""
    every = BACKBONES[name].taps
    for tap in ("block1", "block3_conv1", "block5") if name == "vgg16" else every:
        place = every[tap]
        model = feature_taps(name, [tap], None)
        at_224 = model.compute_output_shape((1, 224, 224, 3))
        assert tuple(at_224[0] if isinstance(at_224, list) else at_224)[1:] == place.shape_at_224()
        side = place.smallest
        assert np.asarray(_only(model(images(side)))).size
        if side > 1:
            with pytest.raises(Exception, match=r"encountered when calling|empty"):
                assert np.asarray(_only(model(images(side - 1)))).size, "empty"
        check_image_size(name, [tap], side)
        if side > 1:
            with pytest.raises(UserError, match=f"sides of {side} pixels or more, not {side - 1}×"):
                check_image_size(name, [tap], side - 1)


def _only(output):
    return output[0] if isinstance(output, list) else output


def test_image_sizes_that_a_backbone_cannot_take():
    check_image_size("vit_s16", ["block1"], (64, 224))
    check_image_size("pvt_v2_b2", ["stage1"], (64, 96))
    check_image_size("resnet34", ["layer4"], (7, 9))
    with pytest.raises(UserError, match="sides of multiples of 16 pixels, not 256×250"):
        check_image_size("vit_s16", ["block1"], (256, 250))
    with pytest.raises(UserError, match="sides of multiples of 32 pixels, not 64×100"):
        check_image_size("pvt_v2_b2", ["stage1"], (64, 100))
    with pytest.raises(UserError, match="unknown tap"):
        check_image_size("pvt_v2_b2", ["stage9"], 64)


def test_only_the_layers_that_the_taps_need_are_built():
    names = torch_names(feature_taps("resnet34", ["layer1"], None))
    assert not any(name.startswith("layer2") for name in names) and "layer1.2.bn2.bias" in names


@pytest.mark.parametrize("name", ["resnet34", "pvt_v2_b2", "resnet50_keras", "vit_s16"])
def test_bfloat16_stays_near_float32_and_keeps_the_weights(name):
    tap = list(BACKBONES[name].taps)[1]
    exact = feature_taps(name, [tap], None, seed=4)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = feature_taps(name, [tap], None, seed=4)
    assert half.fingerprint == exact.fingerprint
    x = images(64)
    ours, theirs = np.asarray(_only(half(x)), np.float32), np.asarray(_only(exact(x)))
    assert keras.backend.standardize_dtype(_only(half(x)).dtype) == "bfloat16"
    error = np.abs(ours - theirs).mean() / np.abs(theirs).mean()
    assert 0 < error < 0.05


def test_statistics_of_batch_normalisation_are_frozen():
    model = feature_taps("resnet34", ["layer1"], None)
    before = [variable.numpy() for variable in model.weights]
    x = images(32, 2)
    np.testing.assert_array_equal(_only(model(x, training=True)), _only(model(x, training=False)))
    assert not model.trainable_weights
    for old, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_random_weights_depend_on_the_seed_alone():
    prints = [feature_taps("alexnet", ["conv2"], None, seed=seed).fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_the_fingerprint_knows_weights_and_preprocessing(monkeypatch):
    import dataclasses

    before = feature_taps("alexnet", ["conv1"], None).fingerprint
    backbone = BACKBONES["alexnet"]
    other = dataclasses.replace(IMAGENET, scale=2.0)
    sets = {
        key: dataclasses.replace(value, preprocessing=other)
        for key, value in backbone.weights.items()
    }
    monkeypatch.setitem(BACKBONES, "alexnet", dataclasses.replace(backbone, weights=sets))
    assert feature_taps("alexnet", ["conv1"], None).fingerprint != before


@pytest.mark.parametrize(
    ("name", "taps", "weights", "message"),
    [
        ("resnet43", ["stem"], None, "unknown backbone 'resnet43'; did you mean 'resnet34'"),
        ("resnet34", ["layr1"], None, "unknown tap of backbone 'resnet34' 'layr1'; did you mean"),
        ("vit_s16", ["block13"], None, "unknown tap .*'block13'; did you mean 'block"),
        ("resnet34", ["stem", "stem"], None, "tap 'stem' of backbone 'resnet34' is given twice"),
        ("resnet34", [], None, "needs at least one tap; it has stem, layer1"),
        ("resnet34", ["stem"], "tim", "unknown weights 'tim' .*did you mean 'timm'"),
    ],
)
def test_wrong_names_are_one_sentence(name, taps, weights, message):
    with pytest.raises(UserError, match=message):
        check_taps(name, taps, weights)


def test_a_file_of_another_network_names_the_first_array_and_both_shapes(tmp_path):
    arrays = {
        name: to_torch(variable.numpy())
        for name, variable in torch_names(feature_taps("resnet34", ["layer1"], None)).items()
    }
    path = tmp_path / "resnet34.npz"
    np.savez(path, **arrays)
    same = feature_taps("resnet34", ["layer1"], str(path))
    assert same.fingerprint == feature_taps("resnet34", ["layer1"], None).fingerprint
    expected = (
        r"resnet34.npz' holds another network: array 'layer1.0.conv1.weight' must be "
        r"\(64, 64, 1, 1\) and is \(64, 64, 3, 3\)"
    )
    with pytest.raises(UserError, match=expected):
        feature_taps("resnet50", ["layer1"], str(path))
    with pytest.raises(UserError, match=r"'layer2\.0\.conv1\.weight' must be .* and is absent"):
        feature_taps("resnet34", ["layer2"], str(path))


def test_names_behind_those_of_wrappers(tmp_path):
    model = feature_taps("alexnet", ["conv2"], None)
    arrays = {name: to_torch(variable.numpy()) for name, variable in torch_names(model).items()}
    arrays["classifier.6.bias"] = np.zeros(3, np.float32)

    def saved(*prefixes):
        path = tmp_path / f"{len(prefixes)}.npz"
        np.savez(path, **{f"{p}{name}": a for p in prefixes for name, a in arrays.items()})
        return str(path)

    for prefix in ("module.", "module.backbone.", ""):
        assert feature_taps("alexnet", ["conv2"], saved(prefix)).fingerprint == model.fingerprint
    two = saved("student.", "teacher.")
    with pytest.raises(UserError, match=r"such networks, behind 'student\.', 'teacher\.'; save"):
        feature_taps("alexnet", ["conv2"], two)
    with pytest.raises(UserError, match=r"'features.6.weight' must be .* and is absent"):
        feature_taps("alexnet", ["conv3"], saved("module."))


def test_a_kernel_is_never_transposed_to_fit():
    kernel = np.zeros((64, 128, 3, 3), np.float32)
    assert to_keras(kernel, (3, 3, 64, 128)).shape == (3, 3, 128, 64)
    depthwise = np.arange(18.0).reshape(2, 1, 3, 3)
    found = to_keras(depthwise, (3, 3, 2, 1))
    assert found.shape == (3, 3, 2, 1) and found[0, 1, 1, 0] == depthwise[1, 0, 0, 1] == 10


def complete_file(path, name, *, head=()):
    """A file of zeros in the shapes of a whole network, and of a classifier called `head`."""
    model = feature_taps(name, list(BACKBONES[name].taps), None)
    shapes = {key: torch_shape(tuple(v.shape)) for key, v in torch_names(model).items()}
    shapes |= dict.fromkeys(head, (3,))
    arrays = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    np.savez(path, **arrays)
    return str(path)


def test_a_file_of_a_deeper_or_wider_network_is_refused(tmp_path):
    """Also where all arrays that the taps need are there and of the right shapes."""
    right = complete_file(tmp_path / "resnet34.npz", "resnet34", head=("fc.weight", "fc.bias"))
    feature_taps("resnet34", ["stem"], right)
    deeper, wider = str(tmp_path / "deeper.npz"), str(tmp_path / "wider.npz")
    with np.load(right) as arrays:
        first = {name: array for name, array in arrays.items() if not name.startswith("layer")}
    np.savez(deeper, **first, **{"layer3.6.conv1.weight": np.zeros((256, 256, 3, 3), np.float32)})
    np.savez(wider, **first, **{"layer1.0.conv1.weight": np.zeros((64, 64, 1, 1), np.float32)})
    further = r"has an array 'layer3\.6\.conv1\.weight', which the named backbone lacks; give"
    with pytest.raises(UserError, match=further):
        feature_taps("resnet34", ["stem"], deeper)
    with pytest.raises(UserError, match=r"'layer1.0.conv1.weight' must be \(64, 64, 3, 3\)"):
        feature_taps("resnet34", ["stem"], wider)


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "squeezenet1_1", "pvt_v2_b2", "vit_s16"])
def test_a_complete_file_with_its_classifier_serves_single_taps(name, tmp_path):
    head = ("classifier.0.weight", "classifier.6.bias", "head.weight", "norm.weight", "fc.bias")
    path = complete_file(tmp_path / "complete.npz", name, head=head)
    tap = next(iter(BACKBONES[name].taps))
    variables = torch_names(feature_taps(name, [tap], path)).values()
    assert all(np.all(variable.numpy() == 0) for variable in variables)


def test_without_files_and_network_both_remedies_are_named(no_files):
    with pytest.raises(UserError, match=r"resnet34.a1_in1k.safetensors.*put it into.*or connect"):
        feature_taps("resnet34", ["stem"], "timm")
    message = "'vgg16_block1_block2.npz' or 'vgg16-397923af.pth'"
    with pytest.raises(UserError, match=message):
        feature_taps("vgg16", ["block1"])


@pytest.mark.data
@pytest.mark.skipif(not (PACKS / "vgg16_block1_block2.npz").is_file(), reason=f"no {PACKS}")
def test_a_pack_serves_its_own_taps_and_the_complete_file_the_deeper(no_files, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(PACKS))
    kernel = torch_names(feature_taps("vgg16", ["block2"]))["features.0.weight"].numpy()
    with np.load(PACKS / "vgg16_block1_block2.npz") as pack:
        np.testing.assert_array_equal(kernel, pack["block1_conv1/kernel"])
    with pytest.raises(UserError, match=r"^weight file 'vgg16-397923af\.pth' is not in"):
        feature_taps("vgg16", ["block3"])
    path = str(PACKS / "vgg16_block1_block2.npz")
    assert (feature_taps("vgg16", ["block2"], path).fingerprint
            == feature_taps("vgg16", ["block2"]).fingerprint)  # fmt: skip
    with pytest.raises(UserError, match=r"'features\.10\.weight' must be .* and is absent"):
        feature_taps("vgg16", ["block3"], path)
    for name, tap in (("alexnet", "conv5"), ("squeezenet1_1", "fire9")):
        assert feature_taps(name, [tap]).fingerprint != feature_taps(name, [tap], None).fingerprint


def test_describe_lists_taps_shapes_weights_and_variant():
    text = describe("resnet50")
    assert "3×3" in text and "weights: timm (default), torchvision\n" in text
    assert "layer1 56×56×256" in text and "avgpool 1×1×2048" in text
    assert "conv1 55×55×64" in describe("alexnet")
