"""ResNets (He et al. 2016) in two variants, which differ in where a bottleneck strides.

``resnet34``, ``resnet50``, ``resnet101`` are torchvision's and timm's, with the stride in the 3×3
convolution ("v1.5"); ``resnet50_keras`` and ``resnet101_keras`` are those of Keras Applications
and of the paper, with the stride in the first 1×1 convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from tfrecon.backbones.backbone import Backbone, Tap
from tfrecon.backbones.weight_sets import keras_applications, published, timm, torchvision_file


def _conv(x: Any, filters: int, kernel: int, conv: str, norm: str, stride: int = 1) -> Any:
    """A convolution with torch's symmetric padding, and batch normalisation."""
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    padding = "same" if stride == 1 else "valid"
    x = layers.Conv2D(filters, kernel, stride, padding, use_bias=False, name=conv)(x)
    return layers.BatchNormalization(epsilon=1e-5, name=norm)(x)


def _basic(x: Any, width: int, stride: int, name: str) -> Any:
    """Two 3×3 convolutions, and what is added to the shortcut."""
    x = _conv(x, width, 3, f"{name}.conv1", f"{name}.bn1", stride)
    return _conv(layers.ReLU()(x), width, 3, f"{name}.conv2", f"{name}.bn2")


def _bottleneck(x: Any, width: int, stride: int, name: str) -> Any:
    """1×1, 3×3 with the stride, 1×1 to four times the width."""
    x = _conv(x, width, 1, f"{name}.conv1", f"{name}.bn1")
    x = _conv(layers.ReLU()(x), width, 3, f"{name}.conv2", f"{name}.bn2", stride)
    return _conv(layers.ReLU()(x), 4 * width, 1, f"{name}.conv3", f"{name}.bn3")


def _graph(
    depths: tuple[int, ...], block: Callable[..., Any], expansion: int
) -> Callable[[Any], dict[str, Any]]:
    def graph(x: Any) -> dict[str, Any]:
        """Taps ``stem`` (before the pooling), ``layer1`` … ``layer4``, and ``avgpool``."""
        taps: dict[str, Any] = {}
        x = taps["stem"] = layers.ReLU()(_conv(x, 64, 7, "conv1", "bn1", stride=2))
        # Zeros pad exactly here, as no input of the pooling is negative.
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
        for stage, depth in enumerate(depths, 1):
            width = 32 * 2**stage
            for number in range(depth):
                name = f"layer{stage}.{number}"
                stride = 2 if stage > 1 and number == 0 else 1
                shortcut = x
                if x.shape[-1] != expansion * width:
                    places = f"{name}.downsample.0", f"{name}.downsample.1"
                    shortcut = _conv(x, expansion * width, 1, *places, stride)
                x = layers.Add()([block(x, width, stride, name), shortcut])
                x = layers.ReLU(name=name)(x)
            taps[f"layer{stage}"] = x
        taps["avgpool"] = layers.GlobalAveragePooling2D(keepdims=True, name="avgpool")(x)
        return taps

    return graph


def _taps(expansion: int) -> dict[str, Tap]:
    widths = {stage: 32 * 2**stage * expansion for stage in range(1, 5)}
    stages = {f"layer{stage}": Tap(width, 2 ** (stage + 1)) for stage, width in widths.items()}
    return {"stem": Tap(64, 2), **stages, "avgpool": Tap(widths[4], None)}


def _keras_graph(builder: Callable[..., keras.Model], depths: tuple[int, ...]) -> Any:
    def graph(x: Any) -> dict[str, Any]:
        """The same taps of Keras Applications' network."""
        network = builder(include_top=False, weights=None, input_tensor=x)
        ends = {f"layer{stage}": f"conv{stage + 1}_block{depth}_out"
                for stage, depth in enumerate(depths, 1)}  # fmt: skip
        taps = {tap: network.get_layer(end).output for tap, end in ends.items()}
        pool = layers.GlobalAveragePooling2D(keepdims=True, name="avgpool")
        stem = network.get_layer("conv1_relu").output
        return {"stem": stem, **taps, "avgpool": pool(taps["layer4"])}

    return graph


_TORCH = "the stride in the 3×3 convolution (torchvision, timm)"
_KERAS = "the stride in the first 1×1 convolution (Keras Applications)"

RESNETS = {
    "resnet34": Backbone(
        "ResNet-34 (torchvision, timm)",
        _taps(1),
        _graph((3, 4, 6, 3), _basic, 1),
        {
            "timm": timm("resnet34.a1_in1k"),
            "torchvision": published(torchvision_file("resnet34-b627a593.pth")),
        },
    ),
    "resnet50": Backbone(
        f"ResNet-50, {_TORCH}",
        _taps(4),
        _graph((3, 4, 6, 3), _bottleneck, 4),
        {
            "timm": timm("resnet50.a1_in1k"),
            "torchvision": published(torchvision_file("resnet50-0676ba61.pth")),
        },
    ),
    "resnet101": Backbone(
        f"ResNet-101, {_TORCH}",
        _taps(4),
        _graph((3, 4, 23, 3), _bottleneck, 4),
        {
            "timm": timm("resnet101.a1h_in1k"),
            "torchvision": published(torchvision_file("resnet101-63fe2227.pth")),
        },
    ),
    "resnet50_keras": Backbone(
        f"ResNet-50, {_KERAS}",
        _taps(4),
        _keras_graph(keras.applications.ResNet50, (3, 4, 6, 3)),
        {"imagenet": keras_applications(keras.applications.ResNet50)},
    ),
    "resnet101_keras": Backbone(
        f"ResNet-101, {_KERAS}",
        _taps(4),
        _keras_graph(keras.applications.ResNet101, (3, 4, 23, 3)),
        {"imagenet": keras_applications(keras.applications.ResNet101)},
    ),
}
