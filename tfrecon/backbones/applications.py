"""The networks of Keras Applications, by one adapter: its own builder, read between resolutions.

ResNet V1 strides in the first 1×1 convolution of a block, as the paper has it (He et al. 2016);
V2 (He et al. 2016b) in its last block at a resolution, so that a tap is what enters that block,
activated. Then EfficientNetV2 (Tan & Le 2021) and ConvNeXt (Liu et al. 2022).
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from tfrecon.backbones.backbone import IMAGENET, Backbone, Preprocessing, Tap
from tfrecon.backbones.weight_sets import CAFFE, HALVES, keras_applications

ONES = (1.0, 1.0, 1.0)


def adapted(
    builder: Callable[..., keras.Model], about: str, entries: Mapping[str, str],
    channels: tuple[int, ...], preprocessing: Preprocessing, *, last: str, finest: int = 2,
    end: int = -1, patches: bool = False, **options: Any,
) -> Backbone:  # fmt: skip
    """A network of Keras Applications as a backbone.

    Each of `entries` names a tap, and the first layer behind it; the tap called `last` is what
    operation number `end` gives. They have `channels`, and the first a position for `finest` pixels
    a side, each other one for twice as many. With `patches` nothing is padded, so that an image
    needs the whole square of a position. `options` are the builder's.
    """
    names = [*entries, last]
    places = {
        tap: Tap(width, finest << place, finest << place if patches else 1)
        for place, (tap, width) in enumerate(zip(names, channels, strict=True))
    }

    def graph(x: Any) -> dict[str, Any]:
        network = builder(include_top=False, weights=None, input_tensor=x, **options)
        order = [operation.name for operation in network.operations]
        # All of a network meets at the end of a resolution, so that the one before is that end.
        ends = [*(order.index(entry) - 1 for entry in entries.values()), end]
        taps = {tap: network.operations[at].output for tap, at in zip(names, ends, strict=True)}
        pool = keras.layers.GlobalAveragePooling2D(keepdims=True, name="avgpool")
        return {**taps, "avgpool": pool(taps[last])}

    return Backbone(
        f"{about} (Keras Applications)", {**places, "avgpool": Tap(channels[-1], None)}, graph,
        {"imagenet": keras_applications(builder, preprocessing, **options)},
    )  # fmt: skip


def _resnet(
    builder: Callable[..., keras.Model], about: str, entries: str, preprocessing: Preprocessing
) -> Backbone:
    """`entries` are the blocks that begin with what layer1 to layer3 give."""
    blocks = (f"{block}_1_conv" for block in entries.split())
    names = dict(zip(("stem", "layer1", "layer2", "layer3"), ("pool1_pad", *blocks), strict=True))
    widths = (64, 256, 512, 1024, 2048)
    return adapted(builder, about, names, widths, preprocessing, last="layer4")


def _efficientnet(
    builder: Callable[..., keras.Model], variant: str, channels: tuple[int, ...],
    preprocessing: Preprocessing = IMAGENET,
) -> Backbone:  # fmt: skip
    """The stem's tap is behind the blocks at half resolution, which have few channels."""
    blocks = {"stem": 2, "stage1": 3, "stage2": 4, "stage3": 6}
    return adapted(
        builder, f"EfficientNetV2-{variant}",
        {tap: f"block{block}a_expand_conv" for tap, block in blocks.items()}, channels,
        preprocessing, last="stage4", include_preprocessing=False,
    )  # fmt: skip


def _convnext(builder: Callable[..., keras.Model], size: str) -> Backbone:
    """Before the normalisation at the end, which only the classifier has."""
    stages = {f"stage{n + 1}": f"convnext_{size}_downsampling_block_{n}" for n in range(3)}
    return adapted(
        builder, f"ConvNeXt-{size.title()}", stages, (96, 192, 384, 768), IMAGENET, last="stage4",
        finest=4, end=-2, patches=True, include_preprocessing=False,
    )  # fmt: skip


V1 = "conv3_block1 conv4_block1 conv5_block1"
FIRST = "the stride in the first 1×1 convolution"
APPLICATIONS = {
    "resnet50_keras": _resnet(keras.applications.ResNet50, f"ResNet-50, {FIRST}", V1, CAFFE),
    "resnet101_keras": _resnet(keras.applications.ResNet101, f"ResNet-101, {FIRST}", V1, CAFFE),
    "resnet50v2": _resnet(
        keras.applications.ResNet50V2, "ResNet-50 V2, activations first",
        "conv2_block3 conv3_block4 conv4_block6", HALVES,
    ),
    "resnet101v2": _resnet(
        keras.applications.ResNet101V2, "ResNet-101 V2, activations first",
        "conv2_block3 conv3_block4 conv4_block23", HALVES,
    ),
    "efficientnetv2_b0": _efficientnet(
        keras.applications.EfficientNetV2B0, "B0", (16, 32, 48, 112, 1280)
    ),
    "efficientnetv2_b1": _efficientnet(
        keras.applications.EfficientNetV2B1, "B1", (16, 32, 48, 112, 1280)
    ),
    "efficientnetv2_b2": _efficientnet(
        keras.applications.EfficientNetV2B2, "B2", (16, 32, 56, 120, 1408)
    ),
    "efficientnetv2_b3": _efficientnet(
        keras.applications.EfficientNetV2B3, "B3", (16, 40, 56, 136, 1536)
    ),
    "efficientnetv2_s": _efficientnet(
        keras.applications.EfficientNetV2S, "S", (24, 48, 64, 160, 1280),
        Preprocessing(ONES, ONES, 255 / 128),
    ),
    "convnext_tiny": _convnext(keras.applications.ConvNeXtTiny, "tiny"),
    "convnext_small": _convnext(keras.applications.ConvNeXtSmall, "small"),
}  # fmt: skip
