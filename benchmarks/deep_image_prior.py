"""Deep image prior on masked photos, beside the biharmonic and the harmonic fill.

    python benchmarks/deep_image_prior.py --root DIR [--photos 3] [--set method.KEY=VALUE]

DIR holds the animals contest. Prints the hole MSE of each photo and method, and the minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from tfrecon.base import images
from tfrecon.base.registry import Spec, build
from tfrecon.data import recipes
from tfrecon.data.store import parts_of
from tfrecon.inference.deep_image_prior import DeepImagePrior
from tfrecon.reports.baselines import biharmonic_fill, harmonic_fill


def main() -> int:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    options = {}
    for text in arguments.set:
        key, _, value = text.partition("=")
        options[key] = value if value.isalpha() else float(value) if "." in value else int(value)
    prior = build(Spec("deep_image_prior", options), {"deep_image_prior": DeepImagePrior}, "method")
    methods = {
        "harmonic fill": lambda x: harmonic_fill(x[..., :3], x[..., 3:]),
        "biharmonic fill": lambda x: biharmonic_fill(x[..., :3], x[..., 3:], border_px=2),
        "deep_image_prior": prior.restore,
    }
    errors: dict[str, list[float]] = {name: [] for name in methods}
    samples = recipes.samples(Spec("animals_inpainting"), arguments.root, "test")
    for sample in samples[:: max(1, len(samples) // arguments.photos)][: arguments.photos]:
        parts = {
            name: images.to_float(part)
            for name, part in parts_of(sample, ("target", "input", "mask")).items()
        }
        mask = (parts["mask"] > 0.5).astype(np.float32)
        x = np.concatenate([parts["input"] * (1 - mask), mask], -1)[None]
        line = [f"{sample.id:28}"]
        for name, method in methods.items():
            started = time.monotonic()
            restored = np.asarray(method(x))[0]
            minutes = (time.monotonic() - started) / 60
            error = float((np.square(restored - parts["target"]) * mask).sum() / (3 * mask.sum()))
            errors[name].append(error)
            line.append(f"{name} {error:.4f} ({minutes:.2f} min)")
        print("  ".join(line), flush=True)
    print("mean hole MSE: " + ", ".join(f"{n} {statistics.mean(e):.4f}" for n, e in errors.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
