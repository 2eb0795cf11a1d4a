"""Weight sets by publisher: torchvision, timm, Keras Applications, and packs of a few layers."""

import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import keras

from tfrecon.backbones.backbone import IMAGENET, Preprocessing, WeightSet, to_torch, torch_names
from tfrecon.base import hub
from tfrecon.base.errors import foreign
from tfrecon.base.weights import Arrays, WeightFile, checked, find, local, read

SHA256 = {
    "torchvision vgg16": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "torchvision alexnet-owt": "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    "torchvision squeezenet1_1": "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
    "torchvision resnet34": "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    "torchvision resnet50": "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    "torchvision resnet101": "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
    "timm resnet34.a1_in1k": "829a220f9529d2b1ffdc8719d3273463001e0daf411eaf1916865d9db62c0ed2",
    "timm resnet50.a1_in1k": "773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb",
    "timm resnet101.a1h_in1k": "1a076c0384295e7d3704f201c5711ff245507db934230bab72ff3014a95f90fe",
    "timm vit_small_patch16_224.augreg_in21k_ft_in1k": (
        "79c03c635cdfd798a364a9d8c4e5c0b7255b975ea2c9616046d4f77ab01435aa"
    ),
    "timm pvt_v2_b2.in1k": "0bff520d64b91bdbb35f2b5bff2b62d35a9d9c6d6a5056e683f1e7ce556d0e5e",
    "keras vgg16": "bfe5187d0a272bed55ba430631598124cff8e880b98d38c9e56c8d66032abdc1",
    "keras convnexttiny": "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    "keras convnextsmall": "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
    "keras resnet50": "66c8b43daff3fcc15bc4f30e3d2a167e21a14d9c9598a5394e5516471f4af504",
}
"""Of every published file but one. torchvision states the first eight digits in its file names;
the rest, and those of Keras, are what at least two unrelated public programs pin. timm's are those
of its pages on Hugging Face; resnet34's, whose page was not at hand, is what one program pins."""

MD5 = {
    "keras resnet101": "88cf7a10940856eca736dc7b7e228a21",
    "keras resnet50v2": "fac2f116257151a9d068a22e544a4917",
    "keras resnet101v2": "c0ed64b8031c3730f411d2eb4eea35b5",
    "keras efficientnetv2b0": "893217f2bb855e2983157299931e43ff",
    "keras efficientnetv2b1": "0e80663031ca32d657f9caa404b6ec37",
    "keras efficientnetv2b2": "1dfe2e7a5d45b6632553a8961ea609eb",
    "keras efficientnetv2b3": "f6abf7b5849ac99a89b50dd3fd532856",
    "keras efficientnetv2s": "af0682fb74e8c54910f2d4393339c070",
}
"""What Keras itself checks, where no SHA-256 was to be found."""

CAFFE = Preprocessing((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), 255.0, "bgr")
"""That of Keras Applications' VGG and ResNet."""

HALVES = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""That of networks that want [-1,1]."""


def published(file: WeightFile, preprocessing: Preprocessing = IMAGENET) -> WeightSet:
    """The weight set of one file whose names are those of the network."""
    return WeightSet(lambda needed: read(find([file])), preprocessing, files=(file,))


def torchvision_file(network: str) -> WeightFile:
    """The file of a network that torchvision publishes."""
    sha256 = SHA256[f"torchvision {network}"]
    name = f"{network}-{sha256[:8]}.pth"  # so they are called
    return WeightFile(name, f"https://download.pytorch.org/models/{name}", sha256)


def timm(name: str, preprocessing: Preprocessing = IMAGENET) -> WeightSet:
    """A timm checkpoint on Hugging Face."""
    url = f"https://huggingface.co/timm/{name}/resolve/main/model.safetensors"
    return published(WeightFile(f"{name}.safetensors", url, SHA256[f"timm {name}"]), preprocessing)


def timm_preprocessing(repository: Path) -> Preprocessing:
    """What the card of a repository of timm, in a folder, says of it. Raises UserError for none."""
    path = repository / hub.CARD
    with foreign("card", path, "name a repository of timm", "says no mean and std of images"):
        told = json.loads(path.read_text(encoding="utf-8"))["pretrained_cfg"]
        mean, std = (tuple(map(float, told[name])) for name in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
            raise ValueError(f"mean {mean}, std {std}")
    return Preprocessing(mean, std)


def packed(
    pack: str, modules: Mapping[str, str], file: WeightFile, first_row: tuple[float, ...]
) -> WeightSet:
    """The weight set of a small file of HWIO kernels called `pack`, or else of the complete `file`,
    which is read when the pack is not here or lacks an array that is needed.

    `modules` maps the pack's layers to the network's. `first_row` is that of `WeightSet`.
    """

    files = (WeightFile(pack), file)

    def load(needed: Collection[str]) -> Arrays:
        arrays = by_torch_names(find(files))
        return arrays if set(needed) <= arrays.keys() else read(find([file]))

    def by_torch_names(path: Path) -> Arrays:
        if path.name != pack:
            return read(path)
        arrays: Arrays = {}
        for name, array in read(path).items():
            layer, _, kind = name.rpartition("/")
            if layer in modules:
                suffix = "weight" if kind == "kernel" else kind
                arrays[f"{modules[layer]}.{suffix}"] = to_torch(array)
        return arrays

    return WeightSet(load, read=by_torch_names, first_row=first_row, files=files)


def keras_applications(
    builder: Callable[..., keras.Model], preprocessing: Preprocessing,
    modules: Mapping[str, str] | None = None, **options: Any,
) -> WeightSet:  # fmt: skip
    """Keras Applications' ImageNet weights, read by `builder` with its `options`; `modules` maps
    its layers to the network's. A file that Keras has fetched is taken from its own cache."""
    network = builder.__name__.lower()
    path = keras_path(network)
    name, url = Path(path).name, f"https://storage.googleapis.com/tensorflow/{path}"
    file = WeightFile(name, url, SHA256.get(f"keras {network}"), MD5.get(f"keras {network}"))

    def load(needed: Collection[str]) -> Arrays:
        known = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / name
        path = known if known.is_file() and not local(name) else find([file])
        arrays: Arrays = {}
        whole = builder(include_top=False, weights=str(checked(path, file)), **options)
        for name_of_variable, variable in torch_names(whole).items():
            layer, _, kind = name_of_variable.rpartition(".")
            renamed = modules[layer] if modules else layer
            arrays[f"{renamed}.{kind}"] = to_torch(variable.numpy())
        return arrays

    return WeightSet(load, preprocessing, files=(file,))


def keras_path(network: str) -> str:
    """Where Keras publishes the weights without a classifier of the builder called `network`."""
    for family, folder, prefix in (
        ("efficientnetv2", "efficientnet_v2", "efficientnetv2-"),
        ("convnext", "convnext", "convnext_"),
    ):
        if network.startswith(family):
            variant = network.removeprefix(family)
            return f"keras-applications/{folder}/{prefix}{variant}_notop.h5"
    folder = network if network.startswith("vgg") else "resnet"
    file = f"{network}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return f"keras-applications/{folder}/{file}"
