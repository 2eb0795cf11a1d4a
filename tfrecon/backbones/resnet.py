"""ResNets (He et al. 2016) as torchvision and timm have them, the stride of a bottleneck in its 3×3
convolution ("v1.5"); the paper's are in `tfrecon.backbones.applications`."""

from collections.abc import Callable
from typing import Any

from keras import layers

from tfrecon.backbones.backbone import Backbone, Tap
from tfrecon.backbones.weight_sets import published, timm, torchvision_file


def _conv(x: Any, filters: int, kernel: int, conv: str, norm: str, stride: int = 1) -> Any:
    """A convolution with torch's symmetric padding, then batch normalisation."""
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    padding = "same" if stride == 1 else "valid"
    x = layers.Conv2D(filters, kernel, stride, padding, use_bias=False, name=conv)(x)
    return layers.BatchNormalization(epsilon=1e-5, name=norm)(x)


def _basic(x: Any, width: int, stride: int, name: str) -> Any:
    """What a basic block adds to its shortcut: two 3×3 convolutions."""
    x = _conv(x, width, 3, f"{name}.conv1", f"{name}.bn1", stride)
    return _conv(layers.ReLU()(x), width, 3, f"{name}.conv2", f"{name}.bn2")


def _bottleneck(x: Any, width: int, stride: int, name: str) -> Any:
    """What a bottleneck adds to its shortcut: 1×1, 3×3 with the stride, 1×1 to 4·width channels."""
    x = _conv(x, width, 1, f"{name}.conv1", f"{name}.bn1")
    x = _conv(layers.ReLU()(x), width, 3, f"{name}.conv2", f"{name}.bn2", stride)
    return _conv(layers.ReLU()(x), 4 * width, 1, f"{name}.conv3", f"{name}.bn3")


def _graph(
    x: Any, depths: tuple[int, ...], block: Callable[..., Any], expansion: int
) -> dict[str, Any]:
    """Taps ``stem`` (before the pooling), ``layer1`` … ``layer4``, and ``avgpool``."""
    taps: dict[str, Any] = {}
    x = taps["stem"] = layers.ReLU()(_conv(x, 64, 7, "conv1", "bn1", stride=2))
    # Zeros are an exact padding here, as no input of the pooling is negative.
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


def _taps(expansion: int) -> dict[str, Tap]:
    widths = {stage: 32 * 2**stage * expansion for stage in range(1, 5)}
    stages = {f"layer{stage}": Tap(width, 2 ** (stage + 1)) for stage, width in widths.items()}
    return {"stem": Tap(64, 2), **stages, "avgpool": Tap(widths[4], None)}


DEPTHS = {34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks in each stage."""


def _torch(depth: int, timm_set: str) -> Backbone:
    block, expansion, variant = _bottleneck, 4, ", the stride in the 3×3 convolution"
    if depth < 50:
        block, expansion, variant = _basic, 1, ""
    file = torchvision_file(f"resnet{depth}")
    return Backbone(
        f"ResNet-{depth}{variant} (torchvision, timm)",
        _taps(expansion),
        lambda x: _graph(x, DEPTHS[depth], block, expansion),
        {"timm": timm(f"resnet{depth}.{timm_set}"), "torchvision": published(file)},
    )


RESNETS = {
    "resnet34": _torch(34, "a1_in1k"),
    "resnet50": _torch(50, "a1_in1k"),
    "resnet101": _torch(101, "a1h_in1k"),
}
