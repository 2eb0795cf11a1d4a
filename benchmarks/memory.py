"""The most memory that each verb holds with few and with many photos; equal figures mean that it
does not grow with their number.

    python -m benchmarks.memory [--images 100 10000] [--verb reconstruct]

Photos of 32×32 pixels, damaged and clean, whose fill is the run's own `tiny` pix2pix. Each command
runs in a process of its own; its peak is what the system counts for it. `fit` takes the same steps
on both, without keeping decoded photos in memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from benchmarks.record import row
from tfrecon.data.sample import Sample

HEADER = ("image", "mean")


def ids(sample: Sample) -> pl.Series:
    """The key of an image: this module is the competition of `submit`."""
    return pl.Series([sample.id])


def values(sample: Sample, image: np.ndarray) -> np.ndarray:
    """Its mean."""
    return image.mean(keepdims=True).ravel()


def make_photos(root: Path, count: int) -> None:
    random = np.random.default_rng(0)
    for folder in ("input", "target", "masks"):
        (root / folder).mkdir(parents=True)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 5:17] = 255
    for number in range(count):
        photo = random.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(photo).save(root / "target" / f"{number:05}.png")
        photo[mask > 0] = 0
        Image.fromarray(photo).save(root / "input" / f"{number:05}.png")
        Image.fromarray(mask).save(root / "masks" / f"{number:05}.png")


def commands(root: Path, run: str) -> dict[str, list[str]]:
    """The command of each verb; `run` is a run's folder."""
    data = ["--data", "folder", "--root", str(root)]
    sets = [
        "data.image_size=32", "data.cache=none", "model.base_filters=4", "fit.batch_size=8",
        "model.discriminator_filters=4", "fit.steps=40", "data.check_pairs=false",
    ]  # fmt: skip
    return {
        "fit": ["--run", run, "--model", "pix2pix", *data, *(f"--set={text}" for text in sets)],
        "evaluate": [run, *data, "--split", "train", "--no-slow"],
        "submit": [run, *data, "--split", "train", "--competition", __spec__.name,
                   "--out", f"{run}.csv"],
        "reconstruct": ["--method", "harmonic_fill", str(root / "input"), f"{run}-out",
                        "--masks", str(root / "masks")],
    }  # fmt: skip


def peak_mib(verb: str, arguments: list[str]) -> float:
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", f"tfrecon.{verb}", *arguments]
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read().decode())
    return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, nargs=2, default=(100, 10_000))
    parser.add_argument("--verb", action="append", help="fit, and these (all)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for count in options.images:
            root = Path(folder) / str(count)
            make_photos(root, count)
            for verb, arguments in commands(root, f"{root}-run").items():
                if verb == "fit" or not options.verb or verb in options.verb:
                    row(verb, "MiB", {"tfrecon": peak_mib(verb, arguments)}, images=count)


if __name__ == "__main__":
    main()
