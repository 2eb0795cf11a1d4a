"""Rewrites backbones.json with torchvision and timm, which share no code with the backbones here.

    pip install torch==2.13.0 timm==1.0.31 safetensors pillow
    pip install --no-deps torchvision==0.28.0
    python tests/golden/make_backbones.py               the golden values
    python tests/golden/make_backbones.py --save DIR    weights and features for a comparison of
                                                        whole taps (benchmarks/backbone_parity.py)

Review the difference before committing it. The values are those of weights that `drawn` gives by
name, so that the tests have the same without torch.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("backbones.json")

# By our name: theirs, and the side of the image that golden values are taken at.
NETWORKS = {
    "vgg16": ("vgg16.tv_in1k", 32),
    "alexnet": ("torchvision alexnet", 63),
    "squeezenet1_1": ("torchvision squeezenet1_1", 64),
    "resnet34": ("resnet34.a1_in1k", 64),
    "resnet50": ("resnet50.a1_in1k", 64),
    "resnet101": ("resnet101.a1h_in1k", 64),
    "vit_s16": ("vit_small_patch16_224.augreg_in21k_ft_in1k", 224),
    "pvt_v2_b2": ("pvt_v2_b2.in1k", 64),
    "convnext_tiny": ("convnext_tiny.fb_in1k", 64),
}

# Further (H,W) for networks that resample their trained positions to the grid of an image.
OTHER_SIZES = {"vit_s16": ((64, 64), (96, 160), (256, 320))}

RESNET = {"stem": "act1", **{f"layer{n}": f"layer{n}" for n in range(1, 5)},
          "avgpool": "global_pool"}  # fmt: skip


def modules(name: str) -> dict[str, str]:
    """The module of theirs whose output each tap is."""
    if name.startswith("resnet"):
        return RESNET
    if name == "vgg16":
        places, index = {}, 0
        for block, depth in enumerate((2, 2, 3, 3, 3), 1):
            for number in range(1, depth + 1):
                places[f"block{block}_conv{number}"] = f"features.{index + 1}"
                index += 2
            places[f"block{block}"] = f"features.{index}"
            index += 1
        return places
    return {
        "alexnet": {f"conv{n}": f"features.{at}" for n, at in enumerate((1, 4, 7, 9, 11), 1)},
        "squeezenet1_1": {
            "stem": "features.1",
            **{f"fire{n}": f"features.{at}" for n, at in enumerate((3, 4, 6, 7, 9, 10, 11, 12), 2)},
        },
        "vit_s16": {f"block{n}": f"blocks.{n - 1}" for n in range(1, 13)},
        "pvt_v2_b2": {f"stage{n}": f"stages.{n - 1}" for n in range(1, 5)},
        "convnext_tiny": {
            **{f"stage{n}": f"stages.{n - 1}" for n in range(1, 5)},
            "avgpool": "head.global_pool",
        },
    }[name]


def their_name(name: str) -> str:
    """What timm calls an array of ours: another name where the layers are Keras Applications'."""
    for ours, theirs in (
        (r"^convnext_tiny_stem_conv", "stem.0"),
        (r"^convnext_tiny_stem_layernorm", "stem.1"),
        (r"^convnext_tiny_downsampling_layernorm_(\d)", r"stages.\1+.downsample.0"),
        (r"^convnext_tiny_downsampling_conv_(\d)", r"stages.\1+.downsample.1"),
        (r"^convnext_tiny_stage_(\d)_block_(\d)_", r"stages.\1.blocks.\2."),
        ("depthwise_conv", "conv_dw"),
        ("layernorm", "norm"),
        ("pointwise_conv_", "mlp.fc"),
        ("layer_scale.", ""),
    ):
        name = re.sub(ours, theirs, name)
    return re.sub(r"(\d)\+", lambda found: str(int(found[1]) + 1), name)


def cases(name: str) -> dict[str, tuple[int, int]]:
    """What golden values of a network are taken of: a key, and the image's (H,W)."""
    side = NETWORKS[name][1]
    others = {f"{name} {size[0]}x{size[1]}": size for size in OTHER_SIZES.get(name, ())}
    return {name: (side, side), **others}


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array called `name`: He-like kernels, and nothing one-dimensional at its usual 0 or 1."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    if name.endswith("running_var"):
        return 1 + 0.2 * np.tanh(noise)
    if len(shape) in (2, 4):
        gain = 2 if len(shape) == 4 else 1
        return noise * np.float32(math.sqrt(gain / math.prod(shape[1:])))
    return noise * np.float32(0.1) + np.float32(len(shape) == 1 and name.endswith("weight"))


def image(height: int, width: int) -> np.ndarray:
    """(1,H,W,3) in [0,1]."""
    return np.random.default_rng(height).random((1, height, width, 3), np.float32)


def summary(features: np.ndarray) -> dict[str, Any]:
    """Mean, standard deviation, largest magnitude, and six values, of (B,h,w,C)."""
    flat = features.astype(np.float64).ravel()
    places = np.linspace(0, flat.size - 1, 6).astype(int)
    return {
        "mean": float(flat.mean()), "std": float(flat.std()),
        "largest": float(np.abs(flat).max()), "values": [float(flat[i]) for i in places],
    }  # fmt: skip


@functools.cache
def packages() -> tuple[Any, ...]:
    """torch, torchvision, timm and a library of two empty operators, which must live on.

    Torchvision's compiled operators fit one build of torch only, and none is needed here.
    """
    torch = importlib.import_module("torch")
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    others = (importlib.import_module(name) for name in ("torchvision", "timm"))
    return torch, *others, library


def network(name: str) -> tuple[Any, Any, Any]:
    """Their network, and the mean and standard deviation that its weights were trained with."""
    _, torchvision, timm, _ = packages()
    theirs, _ = NETWORKS[name]
    if theirs.startswith("torchvision"):
        model = torchvision.models.get_model(theirs.split()[1])
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    else:
        options = {"dynamic_img_size": True} if name in OTHER_SIZES else {}
        model = timm.create_model(theirs, **options)
        mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
    return model.eval(), mean, std


def features(name: str, model: Any, mean: Any, std: Any, images: np.ndarray) -> dict[str, Any]:
    """Every tap of `images` (B,H,W,3) as (B,h,w,C)."""
    torch = packages()[0]
    found: dict[str, Any] = {}

    def keep(tap: str) -> Any:
        return lambda module, given, output: found.update({tap: output.detach().clone().numpy()})

    by_name = dict(model.named_modules())
    hooks = [by_name[module].register_forward_hook(keep(tap))
             for tap, module in modules(name).items()]  # fmt: skip
    standard = ((images - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2)
    trunk = getattr(model, "features", model)  # without the head, which wants 224 pixels
    with torch.no_grad():
        trunk(torch.from_numpy(standard.copy()))
    for hook in hooks:
        hook.remove()
    return {tap: _grid(output, images.shape[1] / images.shape[2]) for tap, output in found.items()}


def _grid(output: np.ndarray, aspect: float) -> np.ndarray:
    if output.ndim == 4:
        return output.transpose(0, 2, 3, 1)
    if output.ndim == 3:  # tokens, the class token first
        rows = round(math.sqrt((output.shape[1] - 1) * aspect))
        return output[:, 1:].reshape(len(output), rows, -1, output.shape[2])
    return output[:, None, None]


def golden() -> None:
    """Writes FILE."""
    torch, torchvision, timm, _ = packages()
    values = {}
    for name in NETWORKS:
        model, mean, std = network(name)
        state = {
            key: torch.from_numpy(drawn(key, tuple(value.shape)))
            for key, value in model.state_dict().items()
            if value.is_floating_point()
        }
        model.load_state_dict(state, strict=False)
        for key, size in cases(name).items():
            taps = features(name, model, mean, std, image(*size))
            values[key] = {tap: summary(value) for tap, value in taps.items()}
    content = {
        "tool": f"timm {timm.__version__}, torchvision {torchvision.__version__}, "
        f"torch {torch.__version__}",
        "command": "python tests/golden/make_backbones.py",
        "tolerance": "1e-5 of a tap's largest value",
        "values": values,
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {FILE}")


def save(folder: Path) -> None:
    """Random networks as safetensors, and as ``.pth`` in both formats, with their features."""
    torch = packages()[0]
    from safetensors.torch import save_file

    torch.manual_seed(0)
    for name in NETWORKS:
        model, mean, std = network(name)
        for key, value in model.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.ndim in (1, 3):  # norms, biases, class token and positions
                value.normal_(float(value.ndim == 1 and key.endswith("weight")), 0.1)
        state = model.state_dict()
        save_file(state, folder / f"{name}.safetensors")
        sizes = cases(name) if name in OTHER_SIZES else {name: (128, 128)}
        for key, size in sizes.items():
            images = image(*size)
            taps = features(name, model, mean, std, images)
            np.savez(folder / f"{key}.npz", **taps, images=images)
        torch.save(state, folder / f"{name}.pth")
        torch.save({"epoch": 3, "state_dict": state}, folder / f"{name}.legacy.pth",
                   _use_new_zipfile_serialization=False)  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--save"]:
        save(Path(sys.argv[2]))
    else:
        golden()
