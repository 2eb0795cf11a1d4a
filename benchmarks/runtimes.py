"""Exports of every format beside TensorFlow: largest differences, sizes, images a second.

    python -m benchmarks.runtimes inpainting scratches [checkpoints/NAME …]
    python -m benchmarks.runtimes --models --seconds 0

Exports each preset or run in each format, which compares it with its model, and times batch 1 of
256×256 pixels by turns with the SavedModel in one process. ``--models`` takes every model of the
registry with its own options and random weights instead. What cannot be exported says why.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import alternated, rates, row
from tfrecon.base import cards
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference.formats import FORMATS
from tfrecon.inference.restorer import Export, open_export
from tfrecon.inference.saved_model import export_model
from tfrecon.models import MODELS, build_model
from tfrecon.training.run import open_run
from tfrecon.training.start import of_preset

SIDE = 256
INVERSIONS = ("feature_inversion", "feature_gan", "autoencoder")
"""Those that see whole images."""
SMALL = {"feature_inversion": {"weights": None}, "feature_gan": {"weights": None}}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("names", nargs="*", metavar="PRESET|RUN")
    options.add_argument("--models", action="store_true", help="every model of the registry")
    options.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    options.add_argument("--seconds", type=float, default=20, help="for each signature (20)")
    arguments = options.parse_args()
    print("| model | format | signature | MB | difference at 40×40, 256×256, 300×451 |")
    subjects = every_model() if arguments.models else map(named, arguments.names)
    for name, model, has_mask in subjects:
        with tempfile.TemporaryDirectory() as folder:
            rows(name, model, has_mask, Path(folder), arguments)


def named(name: str) -> tuple[str, Any, bool]:
    if Path(name).is_dir():
        run = open_run(name)
        return run.name, run.load_model(), run.has_mask
    preset = cards.find(name)
    return name, of_preset(preset, name).weights()[0], preset.has_mask


def every_model() -> Iterator[tuple[str, Any, bool]]:
    random = np.random.default_rng(0)
    for name in MODELS:
        mask = name not in INVERSIONS
        model = build_model(Spec(name, SMALL.get(name, {})), image_size=64, mask=mask, seed=1)
        for variable in model.trainable_variables:  # heads that start at zero would show nothing
            variable.assign(variable + random.normal(0, 0.01, variable.shape))
        yield name, model, mask


def rows(
    name: str, model: Any, has_mask: bool, folder: Path, arguments: argparse.Namespace
) -> None:
    exports: dict[str, Export] = {}
    for format in dict.fromkeys(["savedmodel", *arguments.formats]):
        try:
            found = export_model(model, folder / format, has_mask, format=format)
        except UserError as error:
            print(f"| `{name}` | {format} | {error} | | |", flush=True)
            continue
        exports[format] = open_export(folder / format, trusted=True)
        for signature in ("restore", "serve"):
            differences = [getattr(each, signature) for each in found]
            files = [file for file in (folder / format).rglob("*") if file.is_file()]
            own = [file for file in files if file.stem == signature] or files
            size = sum(file.stat().st_size for file in own) / 1e6
            told = ", ".join(f"{each:.1e}" if each % 1 else f"{each:.0f}" for each in differences)
            print(f"| `{name}` | {format} | `{signature}` | {size:.1f} | {told} |", flush=True)
            pair = {format: exports[format], "savedmodel": exports.get("savedmodel")}
            if arguments.seconds and pair["savedmodel"]:
                speeds(f"{name}, {signature}", pair, signature, arguments.seconds)


def speeds(what: str, pair: dict[str, Any], signature: str, seconds: float) -> None:
    """Images a second of both, by turns."""
    random = np.random.default_rng(0)
    has_mask = pair["savedmodel"].has_mask
    x = random.random((1, SIDE, SIDE, 3 + has_mask), np.float32)
    pixels = random.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    mask = (x[..., 3:] < 0.1).astype(np.uint8) if has_mask else None

    def way(each: Export) -> Callable[[], Any]:
        if signature == "restore":
            return lambda: each.restore(x)
        return lambda: each.serve(pixels, mask)

    ways = {name: way(each) for name, each in pair.items()}
    once = sum(each for (each,) in alternated(ways, 1).values())
    row(what, "images/s", rates(alternated(ways, max(3, int(seconds / once))), 1))


if __name__ == "__main__":
    main()
