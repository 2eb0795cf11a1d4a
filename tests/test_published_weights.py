"""Facts from outside this project: published kernel values, preprocessing and LPIPS scores.

Programs compared with each other on one file cannot see that the file is wrong; these can.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from tfrecon.backbones import BACKBONES, feature_taps
from tfrecon.backbones.backbone import to_torch, torch_names
from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.base.weights import VARIABLE
from tfrecon.metrics import perceptual
from tfrecon.metrics.perceptual import lpips_metric

SHARED = Path(__file__).parents[2] / "shared"
PACKS = Path(os.environ.get(VARIABLE) or SHARED / "weights")
EXAMPLE = SHARED / "data" / "lpips_example"

FIRST_KERNELS = {
    "vgg16": (
        "vgg16_block1_block2.npz", "block1_conv1",
        [[-0.5537, 0.1427, 0.5290], [-0.5831, 0.3566, 0.7657], [-0.6902, -0.0480, 0.4841]],
    ),
    "alexnet": ("alexnet_features.npz", "conv1", [[0.11864, 0.094069, 0.095435]]),
    "squeezenet1_1": (
        "squeezenet1_1_features.npz", "conv1",
        [[0.1209, 0.1780, -0.0160], [0.2700, 0.3401, 0.0769], [0.1352, 0.1587, -0.0297]],
    ),
}  # fmt: skip
"""The pack, its first layer, and rows of torchvision's ``features.0.weight[0, 0]``."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1.0, "rgb")
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0, "rgb")
CAFFE = ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), 255.0, "bgr")
PREPROCESSING = {
    ("vgg16", "torchvision"): IMAGENET, ("vgg16", "imagenet"): CAFFE,
    ("alexnet", "torchvision"): IMAGENET, ("squeezenet1_1", "torchvision"): IMAGENET,
    ("resnet34", "timm"): IMAGENET, ("resnet34", "torchvision"): IMAGENET,
    ("resnet50", "timm"): IMAGENET, ("resnet50", "torchvision"): IMAGENET,
    ("resnet101", "timm"): IMAGENET, ("resnet101", "torchvision"): IMAGENET,
    ("resnet50_keras", "imagenet"): CAFFE, ("resnet101_keras", "imagenet"): CAFFE,
    ("resnet50v2", "imagenet"): HALF, ("resnet101v2", "imagenet"): HALF,
    ("efficientnetv2_b0", "imagenet"): IMAGENET,
    ("efficientnetv2_b1", "imagenet"): IMAGENET,
    ("efficientnetv2_b2", "imagenet"): IMAGENET,
    ("efficientnetv2_b3", "imagenet"): IMAGENET,
    ("convnext_tiny", "imagenet"): IMAGENET,
    ("convnext_small", "imagenet"): IMAGENET,
    ("efficientnetv2_s", "imagenet"): ((1.0,) * 3, (1.0,) * 3, 255 / 128, "rgb"),
    ("vit_s16", "timm"): HALF, ("pvt_v2_b2", "timm"): IMAGENET,
}  # fmt: skip
"""Mean, deviation, scale and channel order that each publisher states."""


@pytest.fixture(params=FIRST_KERNELS)
def pack(request, monkeypatch):
    """A backbone whose pack is here, the pack's path and first layer, and its published rows."""
    file, layer, rows = FIRST_KERNELS[request.param]
    if not (PACKS / file).is_file():
        pytest.skip(f"no {file} in {PACKS}; set {VARIABLE} to the folder of the weight packs")
    monkeypatch.setenv(VARIABLE, str(PACKS))
    return request.param, PACKS / file, layer, np.array(rows)


def first_tap(name):
    return next(iter(BACKBONES[name].taps))


def is_published(kernel, rows):
    """Whether an OIHW kernel has the published rows at its first place."""
    return np.allclose(kernel[0, 0, : len(rows), :3], rows, atol=6e-5)


def test_first_kernels_are_the_published_ones(pack):
    name, _, _, rows = pack
    variable = torch_names(feature_taps(name, [first_tap(name)], "torchvision"))
    kernel = to_torch(variable["features.0.weight"].numpy())
    assert is_published(kernel, rows)
    assert not is_published(kernel.swapaxes(2, 3), rows), "the test cannot see a transposed pack"


def transposed(path):
    """The pack's arrays with height and width of the kernels swapped, as until 2026-11-28."""
    with np.load(path) as arrays:
        return {k: v.swapaxes(0, 1) if v.ndim == 4 else v for k, v in arrays.items()}


@pytest.mark.parametrize("given", ["in the folder", "by its path", "in torch's names"])
def test_a_transposed_pack_is_refused(pack, given, tmp_path, monkeypatch):
    name, path, layer, _ = pack
    arrays, weights = transposed(path), str(tmp_path / path.name)
    if given == "in torch's names":
        weights = str(tmp_path / "mine.npz")
        arrays = {"features.0.weight": to_torch(arrays[f"{layer}/kernel"]),
                  "features.0.bias": arrays[f"{layer}/bias"]}  # fmt: skip
    np.savez(weights, **arrays)
    if given == "in the folder":
        weights = "torchvision"
        monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=r"height and width are swapped.*fetch the file again"):
        feature_taps(name, [first_tap(name)], weights)


def test_the_first_convolution_by_hand(pack):
    """The published mean and deviation, the pack's kernels as (row, column, in, out), a bias."""
    name, path, layer, _ = pack
    image = np.random.default_rng(0).random((1, 40, 40, 3), np.float32)
    with np.load(path) as arrays:
        kernel, bias = arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"]
    mean, deviation, *_ = IMAGENET
    x = ((image[0] - np.array(mean)) / np.array(deviation)).astype(np.float64)
    pad, stride = {"vgg16": (1, 1), "alexnet": (2, 4), "squeezenet1_1": (0, 2)}[name]
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    for row, column in ((0, 0), (3, 5), (7, 2)):
        window = x[row * stride :, column * stride :][: kernel.shape[0], : kernel.shape[1]]
        expected = np.maximum(np.tensordot(window, kernel, 3) + bias, 0)
        found = np.asarray(feature_taps(name, [first_tap(name)], "torchvision")(image))
        np.testing.assert_allclose(found[0, row, column], expected, atol=2e-5)


def test_preprocessing_of_every_weight_set():
    stated = {}
    for name, backbone in BACKBONES.items():
        for key, weights in backbone.weights.items():
            about = weights.preprocessing
            stated[name, key] = (about.mean, about.std, about.scale, about.order)
    assert stated == PREPROCESSING


@pytest.mark.parametrize(("photo", "published"), [("ex_p0", 0.722), ("ex_p1", 0.138)])
def test_lpips_of_the_authors_example(photo, published, monkeypatch):
    """The values in the README of github.com/richzhang/PerceptualSimilarity (AlexNet, 0.1)."""
    if not (EXAMPLE.is_dir() and (PACKS / "alexnet_features.npz").is_file()):
        pytest.skip(f"needs the photos in {EXAMPLE} and the weight packs in {PACKS}")
    monkeypatch.setenv(VARIABLE, str(PACKS))
    perceptual.lpips_network.cache_clear()
    reference, other = (
        np.float32(images.read(EXAMPLE / f"{name}.png"))[None] / 255 for name in ("ex_ref", photo)
    )
    value = float(lpips_metric("alex")(reference, other)[0])
    perceptual.lpips_network.cache_clear()
    assert value == pytest.approx(published, abs=5e-4)
