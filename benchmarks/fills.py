"""Speed and error of the classical fills on one core, on the photos of the animals contest.

    python benchmarks/fills.py [--images 179]

Photos are the contest's training pairs, evenly chosen; the mean squared error is over the holes.
Prints images/s (min, median, max over the photos, first one excluded) and the ratio of the two.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "animals_contest"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=179, help="photos to fill (179)")
    wanted = options.parse_args().images
    if not SHARED.is_dir():
        print(f"skipped: no photos at {SHARED}")
        return 0
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    import numpy as np
    import skimage
    import tensorflow as tf
    from tqdm import tqdm

    from tfrecon.base.config import DataConfig
    from tfrecon.base.registry import Spec
    from tfrecon.data import pipeline, recipes
    from tfrecon.reports import baselines

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    spec = Spec("animals_inpainting")
    samples = [
        s for split in ("train", "val", "test") for s in recipes.samples(spec, SHARED, split)
    ]
    chosen = samples[:: max(1, len(samples) // wanted)][:wanted]
    batches = pipeline.dataset(chosen, DataConfig(recipe=spec, cache="none"), batch_size=1)
    photos = [
        tuple(batch[part].numpy() for part in ("input", "target", "mask"))
        for batch in tqdm(batches, desc="reading", total=len(chosen))
    ]
    fills = {
        "mean colour": baselines.mean_colour_fill,
        "harmonic": baselines.harmonic_fill,
        "biharmonic": baselines.biharmonic_fill,
        f"biharmonic, {baselines.JPEG_BORDER_PX} px of border unknown": (
            baselines.fills(jpeg=True)[baselines.BIHARMONIC]
        ),
    }
    print(
        f"{len(photos)} photos of 256×256, one core ({platform.machine()}), "
        f"TensorFlow {tf.__version__}, scikit-image {skimage.__version__}"
    )
    found = {}
    for source in ("damaged files (JPEG)", "targets with the same holes"):
        for name, fill in fills.items():
            errors, seconds = [], []
            for index, (image, target, mask) in enumerate(tqdm(photos, desc=name, leave=False)):
                shown = image if source.startswith("damaged") else target * (1 - mask)
                start = time.perf_counter()
                filled = fill(shown, mask)
                if index:
                    seconds.append(time.perf_counter() - start)
                errors.append((np.square(filled - target) * mask).sum() / (3 * mask.sum()))
            rates = [1 / max(seconds), 1 / statistics.median(seconds), 1 / min(seconds)]
            found[source, name] = statistics.mean(map(float, errors)), rates[1]
            shown_rates = " / ".join(f"{rate:.1f}" for rate in rates)
            print(f"{source:28} {name:34} hole MSE {found[source, name][0]:.4f}   "
                  f"images/s min / median / max {shown_rates}")  # fmt: skip
        (error, rate), (other_error, other_rate) = (
            found[source, "harmonic"],
            found[source, "biharmonic"],
        )
        print(f"{source:28} harmonic : biharmonic = {error / other_error:.2f} in hole MSE, "
              f"{rate / other_rate:.1f} in speed")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
