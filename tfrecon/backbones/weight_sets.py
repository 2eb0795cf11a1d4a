"""Weight sets by publisher: torchvision, timm, Keras Applications, and packs of a few layers."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import keras

from tfrecon.backbones.backbone import IMAGENET, Preprocessing, WeightSet, to_torch, torch_names
from tfrecon.base.errors import UserError
from tfrecon.base.weights import VARIABLE, Arrays, WeightFile, cache, find, local, read

CAFFE = Preprocessing((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), 255.0, "bgr")
"""That of Keras Applications' VGG and ResNet."""


def published(file: WeightFile, preprocessing: Preprocessing = IMAGENET) -> WeightSet:
    """The weight set of one file whose names are those of the network."""
    return WeightSet(lambda needed: read(find([file])), preprocessing)


def torchvision_file(name: str) -> WeightFile:
    """A file that torchvision publishes; its name ends with the first digits of its SHA-256."""
    digits = name.removesuffix(".pth").rpartition("-")[2]
    return WeightFile(name, f"https://download.pytorch.org/models/{name}", digits)


def timm(name: str, preprocessing: Preprocessing = IMAGENET) -> WeightSet:
    """A timm checkpoint on Hugging Face, whose server states the SHA-256."""
    url = f"https://huggingface.co/timm/{name}/resolve/main/model.safetensors"
    return published(WeightFile(f"{name}.safetensors", url), preprocessing)


def packed(
    pack: str, modules: Mapping[str, str], file: WeightFile, first_row: tuple[float, ...]
) -> WeightSet:
    """The weight set of a small file of HWIO kernels called `pack`, or else of the complete `file`,
    which is read when the pack is not here or lacks an array that is needed.

    `modules` maps the pack's layers to the network's. `first_row` is that of `WeightSet`.
    """

    def load(needed: Collection[str]) -> Arrays:
        arrays = by_torch_names(find([WeightFile(pack), file]))
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

    return WeightSet(load, read=by_torch_names, first_row=first_row)


def keras_applications(
    builder: Callable[..., keras.Model], modules: Mapping[str, str] | None = None
) -> WeightSet:
    """Keras Applications' ImageNet weights, which Keras downloads; `modules` maps its layers to the
    network's."""
    file = f"{builder.__name__.lower()}_weights_tf_dim_ordering_tf_kernels_notop.h5"

    def load(needed: Collection[str]) -> Arrays:
        weights = local(file) or "imagenet"
        try:
            network = builder(include_top=False, weights=str(weights))
        except Exception as error:  # Keras raises it bare when a download fails
            reason = str(error).splitlines()[0]
            raise UserError(
                f"Keras cannot load weight file {file!r} ({reason}); put it into ${VARIABLE} or "
                f"{str(cache())!r}, or connect to the network"
            ) from error
        arrays: Arrays = {}
        for name, variable in torch_names(network).items():
            layer, _, kind = name.rpartition(".")
            renamed = modules[layer] if modules else layer
            arrays[f"{renamed}.{kind}"] = to_torch(variable.numpy())
        return arrays

    return WeightSet(load, CAFFE)
