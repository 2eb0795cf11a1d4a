"""Trains inversions of many taps by many decoders, each for some minutes, and prints one table.

    TFRECON_WEIGHTS=DIR python -m benchmarks.inversion BSDS500 --minutes 5 [--only PATTERN]

BSDS500 is a folder with train/ and val/. A run that is finished is kept, so that the table can be
made in parts; `--table` trains nothing. images/s are training images a second, measured before each
run. Parameters are the trained ones.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import json
import math
import re
import subprocess
import sys
from pathlib import Path

PAIR = ['model.taps=["block1", "block2"]']
DEEP = [
    "data.crop_size=224", "fit.batch_size=4", "fit.steps_per_epoch=200", "model.decoder.width=32",
]  # fmt: skip
"""For taps of stride 8 and more: of a 96-pixel crop the backbone's padding reaches too much."""
ROWS: dict[str, list[str]] = {
    "linear": ["model.decoder={name = \"linear\", kernel_size = 5}"],
    "transposed_conv": ["model.decoder=transposed_conv", "fit.learning_rate=3e-3"],
    "frequency_aware": ["model.decoder=frequency_aware"],
    "wavelet": ["model.decoder=wavelet"],
    "attention": ["model.decoder=attention"],
    "fusion-weighted": [*PAIR, "model.fusion=weighted"],
    "fusion-concat": [*PAIR, "model.fusion=concat"],
    "fusion-attention": [*PAIR, "model.fusion=attention"],
    **{
        f"alexnet-conv{n}": [
            "model.backbone=alexnet", f"model.taps=[\"conv{n}\"]", *(DEEP if n > 1 else [])
        ]
        for n in range(1, 6)
    },
    **{
        f"squeezenet-fire{n}": [
            "model.backbone=squeezenet1_1", f"model.taps=[\"fire{n}\"]", *(DEEP if n > 3 else [])
        ]
        for n in (3, 5, 9)
    },
}  # fmt: skip
"""Settings of each row; what is not set is the model's default: VGG16 block1 by `residual`."""


def train(name: str, path: Path, root: Path, minutes: float) -> None:
    """One run in a process of its own; its output is kept beside it."""
    settings = [part for setting in ROWS[name] for part in ("--set", setting)]
    command = [
        sys.executable, "-m", "tfrecon.fit", "--model", "feature_inversion", "--data", "bsds500",
        "--root", str(root), "--run", str(path), "--minutes", str(minutes), *settings,
    ]  # fmt: skip
    print(f"{name} …", file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    path.with_suffix(".log").write_text(done.stdout + done.stderr)
    if done.returncode:
        print(f"{name} failed; see {path.with_suffix('.log')}", file=sys.stderr)


def row(name: str, path: Path) -> str:
    """The Markdown row of a finished run."""
    said = re.search(r"([\d.]+) s a step", path.with_suffix(".log").read_text())
    config = json.loads((path / "config.json").read_text())
    with (path / "report" / "summary.csv").open() as file:
        scores = {
            cell["metric"]: cell for cell in csv.DictReader(file)
            if cell["method"] == "feature_inversion"
        }  # fmt: skip
    speed = f"{config['fit']['batch_size'] / float(said[1]):.0f}" if said else "–"
    steps = json.loads((path / "run.json").read_text())["steps"]
    psnr = scores["psnr"]
    lpips = f"{float(scores['lpips_alex']['mean']):.3f}" if "lpips_alex" in scores else "–"
    return (
        f"| {name} | {parameters(path):,} | {steps:,} | {speed} | {float(psnr['mean']):.2f} "
        f"[{float(psnr['low95']):.2f}, {float(psnr['high95']):.2f}] | "
        f"{float(scores['ssim']['mean']):.3f} | {lpips} |"
    )


def parameters(path: Path) -> int:
    """Trained values: those that the optimizer keeps two moments of."""
    from tfrecon.base import checkpoint

    arrays, _ = checkpoint.load(path / "state.npz")
    moments = [array for key, array in arrays.items() if key.startswith("optimizer/")]
    return sum(math.prod(array.shape) for array in moments if array.ndim) // 2


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", default="*", help="rows to train, e.g. 'alexnet-*'")
    parser.add_argument("--runs", type=Path, default=Path("checkpoints/inversion"))
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    options = parser.parse_args()
    for name in ROWS:
        finished = (options.runs / name / "report" / "summary.csv").is_file()
        if fnmatch.fnmatch(name, options.only) and not finished and not options.table:
            train(name, options.runs / name, options.root, options.minutes)
    print("| decoder or tap | parameters | steps | images/s | PSNR (dB) [95%] | SSIM | LPIPS |")
    print("|---|---|---|---|---|---|---|")
    for name in ROWS:
        if (options.runs / name / "report" / "summary.csv").is_file():
            print(row(name, options.runs / name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
