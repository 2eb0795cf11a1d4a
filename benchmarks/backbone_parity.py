"""Compares the backbones' taps with those of timm's and torchvision's networks, equal weights.

    python benchmarks/backbone_parity.py

Makes a temporary virtual environment with torch and timm (a download of several hundred MB). There
tests/golden/make_backbones.py saves random networks and their features. This program reads the
files and prints the largest difference of each tap relative to the tap's largest value, for ViT
also at image sizes (H×W) to which its trained positions are resampled. It then reads the same
arrays from both of torch's ``.pth`` formats, without torch. Exits with 1 for a difference above
1e-5, or any in the arrays. ``--python FILE`` uses the interpreter of an existing environment.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from environment import add_python, interpreter

from tfrecon.backbones import BACKBONES, feature_taps
from tfrecon.backbones.backbone import assign, torch_names
from tfrecon.base import weights

TOLERANCE = 1e-5
MAKER = Path(__file__).parents[1] / "tests" / "golden" / "make_backbones.py"
INSTALLS = (
    ("torch==2.13.0", "safetensors", "pillow", "numpy", "pyyaml", "huggingface_hub"),
    ("--no-deps", "timm==1.0.31", "torchvision==0.28.0"),
)


def differences(name: str, features: Path) -> dict[str, float]:
    """The largest difference of each tap, relative to the tap's largest value."""
    with np.load(features) as saved:
        theirs = dict(saved)
    images = theirs.pop("images")
    taps = list(BACKBONES[name].taps)
    if set(taps) != set(theirs):
        raise ValueError(f"taps of {name}: {set(taps) ^ set(theirs)} on one side only")
    their_name = importlib.import_module(MAKER.stem).their_name
    model = feature_taps(name, taps, None)
    arrays = weights.read(features.with_name(f"{name}.safetensors"))
    theirs_by_ours = {key: arrays[their_name(key)] for key in torch_names(model)}
    assign(model, theirs_by_ours, name)
    found: dict[str, float] = {}
    for tap, ours in zip(taps, model(images), strict=True):
        expected = theirs[tap]
        if ours.shape != expected.shape:
            raise ValueError(f"{name} {tap}: {ours.shape} here, {expected.shape} there")
        found[tap] = float(np.abs(np.asarray(ours) - expected).max() / np.abs(expected).max())
    return found


def unequal_arrays(name: str, folder: Path) -> int:
    """How many arrays torch's own formats give otherwise than safetensors."""
    reference = weights.read(folder / f"{name}.safetensors")
    count = 0
    for suffix in (".pth", ".legacy.pth"):
        arrays = weights.read(folder / f"{name}{suffix}")
        if arrays.keys() != reference.keys():
            raise ValueError(f"{name}{suffix}: {arrays.keys() ^ reference.keys()} on one side only")
        count += sum(not np.array_equal(arrays[key], reference[key]) for key in reference)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares every tap with timm and torchvision.")
    add_python(parser, "torch and timm")
    arguments = parser.parse_args()
    sys.path.insert(0, str(MAKER.parent))
    failed = False
    with (
        tempfile.TemporaryDirectory() as temporary,
        interpreter(arguments.python, *INSTALLS) as python,
    ):
        folder = Path(temporary)
        subprocess.run([python, MAKER, "--save", folder], check=True)
        print("| network | tap | relative difference |\n|---|---|---|")
        for path in sorted(folder.glob("*.safetensors")):
            name = path.stem
            for features in (path.with_suffix(".npz"), *sorted(folder.glob(f"{name} *.npz"))):
                for tap, difference in differences(name, features).items():
                    print(f"| {features.stem} | {tap} | {difference:.1e} |", flush=True)
                    failed |= not difference <= TOLERANCE
            unequal = unequal_arrays(name, folder)
            print(f"| {name} | arrays of .pth, zip and legacy | {unequal} unequal |", flush=True)
            failed |= unequal > 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
