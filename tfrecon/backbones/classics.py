"""VGG16, AlexNet and SqueezeNet 1.1, layer for layer those of torchvision."""

from __future__ import annotations

from typing import Any

from keras import layers

from tfrecon.backbones.base import Backbone, Tap, WeightSet
from tfrecon.weights import Arrays, WeightFile, find, read


def conv(x: Any, filters: int, kernel: int, name: str, stride: int = 1, pad: int = 0) -> Any:
    """A convolution with torch's explicit symmetric padding, and ReLU."""
    if pad and stride > 1:
        x = layers.ZeroPadding2D(pad)(x)
    padding = "same" if pad and stride == 1 else "valid"
    x = layers.Conv2D(filters, kernel, stride, padding, name=name)(x)
    return layers.ReLU(name=f"{name}.relu")(x)


# --- VGG16 (Simonyan & Zisserman 2015, configuration D)

VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def vgg16_graph(x: Any) -> dict[str, Any]:
    """Taps ``blockN_convM`` after the ReLU, ``blockN`` after the pooling."""
    taps: dict[str, Any] = {}
    index = 0  # torchvision counts convolutions, activations and poolings in one list
    for block, (filters, depth) in enumerate(VGG16_BLOCKS, 1):
        for number in range(1, depth + 1):
            x = taps[f"block{block}_conv{number}"] = conv(x, filters, 3, f"features.{index}", pad=1)
            index += 2
        x = taps[f"block{block}"] = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        index += 1
    return taps


def _vgg16_taps() -> dict[str, Tap]:
    taps: dict[str, Tap] = {}
    for block, (filters, depth) in enumerate(VGG16_BLOCKS, 1):
        for number in range(1, depth + 1):
            taps[f"block{block}_conv{number}"] = Tap(filters, 2 ** (block - 1))
        taps[f"block{block}"] = Tap(filters, 2**block)
    return taps


# --- AlexNet (Krizhevsky 2014, "one weird trick")


def alexnet_graph(x: Any) -> dict[str, Any]:
    """Taps ``conv1`` … ``conv5``, each after its ReLU."""
    taps: dict[str, Any] = {}
    x = taps["conv1"] = conv(x, 64, 11, "features.0", stride=4, pad=2)
    x = layers.MaxPooling2D(3, 2)(x)
    x = taps["conv2"] = conv(x, 192, 5, "features.3", pad=2)
    x = layers.MaxPooling2D(3, 2)(x)
    x = taps["conv3"] = conv(x, 384, 3, "features.6", pad=1)
    x = taps["conv4"] = conv(x, 256, 3, "features.8", pad=1)
    taps["conv5"] = conv(x, 256, 3, "features.10", pad=1)
    return taps


ALEXNET_TAPS = {
    "conv1": Tap(64, 4), "conv2": Tap(192, 8), "conv3": Tap(384, 16), "conv4": Tap(256, 16),
    "conv5": Tap(256, 16),
}  # fmt: skip


# --- SqueezeNet 1.1 (Iandola et al. 2016)

FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192),
         8: (64, 256), 9: (64, 256)}  # fmt: skip
"""Squeezed and expanded channels of each fire module; the second are those of one half."""

_FIRE_PLACES = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}


def squeezenet1_1_graph(x: Any) -> dict[str, Any]:
    """Taps ``stem`` (the first convolution) and ``fire2`` … ``fire9``, each after its ReLU."""
    taps: dict[str, Any] = {}
    x = taps["stem"] = conv(x, 64, 3, "features.0", stride=2)
    for number, (squeezed, expanded) in FIRES.items():
        if number in (2, 4, 6):
            x = _pool_rounding_up(x)
        name = f"features.{_FIRE_PLACES[number]}"
        x = conv(x, squeezed, 1, f"{name}.squeeze")
        halves = [
            conv(x, expanded, 1, f"{name}.expand1x1"),
            conv(x, expanded, 3, f"{name}.expand3x3", pad=1),
        ]
        x = taps[f"fire{number}"] = layers.Concatenate(name=name)(halves)
    return taps


def _pool_rounding_up(x: Any) -> Any:
    """3×3 pooling of stride 2 that takes a last, incomplete window along (``ceil_mode``).

    A row of zeros below and to the right is exact, as no input is negative; where the last window
    is complete, no window reaches the row.
    """
    return layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))


SQUEEZENET_TAPS = {"stem": Tap(64, 2)} | {
    f"fire{number}": Tap(2 * expanded, 4 if number < 4 else 8 if number < 6 else 16)
    for number, (_, expanded) in FIRES.items()
}


# --- weights


def _torchvision(pack: str, modules: dict[str, str], published: WeightFile) -> WeightSet:
    """The pack (HWIO kernels by `modules`' keys) or torchvision's own file, whichever is here."""

    def load() -> Arrays:
        path = find([WeightFile(pack), published])
        arrays = read(path)
        if path.name != pack:
            return arrays
        renamed: Arrays = {}
        for name, array in arrays.items():
            layer, _, kind = name.rpartition("/")
            kernel = kind == "kernel"
            key = f"{modules[layer]}.{'weight' if kernel else 'bias'}"
            renamed[key] = array.transpose(3, 2, 0, 1) if kernel else array
        return renamed

    return WeightSet(load)


_URL = "https://download.pytorch.org/models/"

CLASSICS = {
    "vgg16": Backbone(
        "VGG16 without batch normalisation (torchvision, timm, Keras Applications)",
        _vgg16_taps(),
        vgg16_graph,
        {
            "torchvision": _torchvision(
                "vgg16_block1_block2.npz",
                {"block1_conv1": "features.0", "block1_conv2": "features.2",
                 "block2_conv1": "features.5", "block2_conv2": "features.7"},
                WeightFile("vgg16-397923af.pth", f"{_URL}vgg16-397923af.pth", "397923af"),
            ),
        },
    ),
    "alexnet": Backbone(
        "AlexNet, the one-column variant of torchvision",
        ALEXNET_TAPS,
        alexnet_graph,
        {
            "torchvision": _torchvision(
                "alexnet_features.npz",
                {f"conv{number}": f"features.{place}"
                 for number, place in enumerate((0, 3, 6, 8, 10), 1)},
                WeightFile(
                    "alexnet-owt-7be5be79.pth", f"{_URL}alexnet-owt-7be5be79.pth", "7be5be79"
                ),
            ),
        },
    ),
    "squeezenet1_1": Backbone(
        "SqueezeNet 1.1 (torchvision); its poolings round up",
        SQUEEZENET_TAPS,
        squeezenet1_1_graph,
        {
            "torchvision": _torchvision(
                "squeezenet1_1_features.npz",
                {"conv1": "features.0"}
                | {f"fire{number}/{part}": f"features.{place}.{part}"
                   for number, place in _FIRE_PLACES.items()
                   for part in ("squeeze", "expand1x1", "expand3x3")},
                WeightFile(
                    "squeezenet1_1-b8a52dc0.pth", f"{_URL}squeezenet1_1-b8a52dc0.pth", "b8a52dc0"
                ),
            ),
        },
    ),
}  # fmt: skip
