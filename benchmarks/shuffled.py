"""Whether a decoder uses its features: scores with an image's features and with the next image's.

    python benchmarks/shuffled.py checkpoints/NAME… [--split test] [--set model.KEY=VALUE]

It also scores the mean training image, which knows nothing of the test image.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base.cli import section_options
from tfrecon.data import pipeline, recipes
from tfrecon.inference.restorer import restorer
from tfrecon.metrics.kid import kid, kid_at_hand, kid_features
from tfrecon.metrics.perceptual import metrics_at_hand
from tfrecon.training.run import open_run

SHOWN = ("psnr", "ssim", "lpips_alex")


def main() -> int:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--split", default="test")
    parser.add_argument("--set", action="append", default=[], metavar="model.KEY=VALUE")
    arguments = parser.parse_args()
    for path in arguments.runs:
        run = open_run(path)
        data = run.config.data
        root = Path(data.root) if data.root else None
        images = {
            split: np.concatenate([
                batch["target"].numpy()
                for batch in pipeline.dataset(
                    recipes.samples(data.recipe, root, split), data, batch_size=8
                )
            ])
            for split in ("train", arguments.split)
        }  # fmt: skip
        truth = images[arguments.split]
        restore = restorer(run.load_model(section_options(arguments.set)))
        metrics = {name: metrics_at_hand(data.image_size)[name] for name in SHOWN}
        answers = {
            "own features": in_batches(restore, truth),
            "the next image's": in_batches(restore, np.roll(truth, 1, axis=0)),
            "mean training image": np.broadcast_to(images["train"].mean(0), truth.shape),
        }
        for name, answer in answers.items():
            shown = ", ".join(
                f"{label} {in_batches(metric, truth, answer).mean():.4f}"
                for label, metric in metrics.items()
            )
            if kid_at_hand(data.image_size):
                look = kid_features()
                distance = kid(in_batches(look, truth), in_batches(look, answer))
                shown += f", KID ×1000 {1000 * distance:.0f}"
            print(f"{run.name}, {name}: {shown}", flush=True)
    return 0


def in_batches(function: Callable[..., Any], *arrays: Any) -> np.ndarray[Any, Any]:
    """`function` of eight images at a time."""
    count = len(arrays[0])
    parts = [function(*(a[i : i + 8] for a in arrays)) for i in range(0, count, 8)]
    return np.concatenate([np.asarray(part) for part in parts])


if __name__ == "__main__":
    sys.exit(main())
