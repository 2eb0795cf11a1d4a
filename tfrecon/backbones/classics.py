"""VGG16, AlexNet and SqueezeNet 1.1, layer for layer those of torchvision."""

from typing import Any

import keras
from keras import layers

from tfrecon.backbones.backbone import Backbone, Tap
from tfrecon.backbones.weight_sets import CAFFE, keras_applications, packed, torchvision_file


def conv(x: Any, filters: int, kernel: int, name: str, stride: int = 1, pad: int = 0) -> Any:
    """A convolution with torch's symmetric padding of `pad` pixels, then ReLU."""
    if pad and stride > 1:
        x = layers.ZeroPadding2D(pad)(x)
    padding = "same" if pad and stride == 1 else "valid"
    x = layers.Conv2D(filters, kernel, stride, padding, name=name)(x)
    return layers.ReLU(name=f"{name}.relu")(x)


# --- VGG16 (Simonyan & Zisserman 2015, configuration D)

VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Filters and number of convolutions of each block."""


VGG16_PLACES: dict[str, str] = {}
"""Torchvision's name of each convolution: it counts convolutions, activations and poolings in one
list."""
VGG16_TAPS: dict[str, Tap] = {}
for _block, (_filters, _depth) in enumerate(VGG16_BLOCKS):
    for _number in range(_depth):
        _name, _stride = f"block{_block + 1}_conv{_number + 1}", 2**_block
        VGG16_PLACES[_name] = f"features.{2 * len(VGG16_PLACES) + _block}"
        VGG16_TAPS[_name] = Tap(_filters, _stride, _stride)
    VGG16_TAPS[f"block{_block + 1}"] = Tap(_filters, 2 * _stride, 2 * _stride)


def vgg16_graph(x: Any) -> dict[str, Any]:
    """Taps ``blockN_convM``, each after its ReLU, and ``blockN`` after the block's pooling."""
    taps: dict[str, Any] = {}
    for block, (filters, depth) in enumerate(VGG16_BLOCKS, 1):
        for number in range(1, depth + 1):
            name = f"block{block}_conv{number}"
            x = taps[name] = conv(x, filters, 3, VGG16_PLACES[name], pad=1)
        x = taps[f"block{block}"] = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
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
    "conv1": Tap(64, 4, 7, 55), "conv2": Tap(192, 8, 15, 27), "conv3": Tap(384, 16, 31, 13),
    "conv4": Tap(256, 16, 31, 13), "conv5": Tap(256, 16, 31, 13),
}  # fmt: skip


# --- SqueezeNet 1.1 (Iandola et al. 2016)

FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192),
         8: (64, 256), 9: (64, 256)}  # fmt: skip
"""Channels of each fire module: squeezed, and of each of the two expanded halves."""

_FIRE_PLACES = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}


def squeezenet1_1_graph(x: Any) -> dict[str, Any]:
    """Taps ``stem`` (the first convolution) and ``fire2`` … ``fire9``, each after its ReLU."""
    taps: dict[str, Any] = {}
    x = taps["stem"] = conv(x, 64, 3, "features.0", stride=2)
    for number, (squeezed, expanded) in FIRES.items():
        if number in (2, 4, 6):
            # Keeps a last, incomplete window (torch's ``ceil_mode``). Zeros below and to the right
            # are an exact padding: no input is negative, and where the last window is complete no
            # window reaches them.
            x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
        name = f"features.{_FIRE_PLACES[number]}"
        x = conv(x, squeezed, 1, f"{name}.squeeze")
        halves = [
            conv(x, expanded, 1, f"{name}.expand1x1"),
            conv(x, expanded, 3, f"{name}.expand3x3", pad=1),
        ]
        x = taps[f"fire{number}"] = layers.Concatenate(name=name)(halves)
    return taps


_FIRE_PLACED = {2: (4, 5, 55), 4: (8, 9, 27), 6: (16, 17, 13)}
"""From the pooling before this fire module on: stride, smallest image and grid at 224 pixels."""

SQUEEZENET_TAPS = {"stem": Tap(64, 2, 3, 111)} | {
    f"fire{number}": Tap(2 * expanded, *_FIRE_PLACED[min(6, number - number % 2)])
    for number, (_, expanded) in FIRES.items()
}


CLASSICS = {
    "vgg16": Backbone(
        "VGG16 without batch normalisation (torchvision, timm, Keras Applications)",
        VGG16_TAPS,
        vgg16_graph,
        {
            "torchvision": packed(
                "vgg16_block1_block2.npz",
                VGG16_PLACES,
                torchvision_file("vgg16"),
                (-0.5537, 0.1427, 0.5290),
            ),
            "imagenet": keras_applications(keras.applications.VGG16, CAFFE, VGG16_PLACES),
        },
    ),
    "alexnet": Backbone(
        "AlexNet, the one-column variant of torchvision",
        ALEXNET_TAPS,
        alexnet_graph,
        {
            "torchvision": packed(
                "alexnet_features.npz",
                {f"conv{number}": f"features.{place}"
                 for number, place in enumerate((0, 3, 6, 8, 10), 1)},
                torchvision_file("alexnet-owt"),
                (0.1186, 0.0941, 0.0954),
            ),
        },
    ),
    "squeezenet1_1": Backbone(
        "SqueezeNet 1.1 (torchvision); its poolings round up",
        SQUEEZENET_TAPS,
        squeezenet1_1_graph,
        {
            "torchvision": packed(
                "squeezenet1_1_features.npz",
                {"conv1": "features.0"}
                | {f"fire{number}/{part}": f"features.{place}.{part}"
                   for number, place in _FIRE_PLACES.items()
                   for part in ("squeeze", "expand1x1", "expand3x3")},
                torchvision_file("squeezenet1_1"),
                (0.1209, 0.1780, -0.0160),
            ),
        },
    ),
}  # fmt: skip
