"""Training batches of the input pipeline against bare JPEG decoding of the same files.

    python -m benchmarks.pipeline [--images 1500] [--passes 5]

Bare decoding is a parallel tf.data map over `tf.io.read_file` and `tf.io.decode_jpeg`, no more.
Ours is `tfrecon.data.pipeline.dataset(training=True)` in batches of 8: decode, resize of the short
side to 286, random crop of 256, flip, float32; further rows keep the decoded pixels in memory or on
disk, or make whole training batches (pairs with boxes, or photos with drawn damage). A pass takes
`--images` images; bare decoding runs before each of our passes, so that other work on the machine
meets both. Prints images/s (min, median, max) and the median of the ratios of neighbouring passes.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
BATCH = 8


def bare(files: list[Path]) -> Any:
    """Decoded files, endlessly."""
    import tensorflow as tf

    def decode(path: Any) -> Any:
        return tf.io.decode_jpeg(tf.io.read_file(path), channels=3)

    paths = tf.data.Dataset.from_tensor_slices([str(file) for file in files]).repeat()
    return paths.map(decode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def seconds(elements: Any, count: int) -> float:
    """Time to run through `count` elements without leaving TensorFlow."""
    started = time.perf_counter()
    elements.take(count).reduce(0, lambda done, _: done + 1).numpy()
    return time.perf_counter() - started


def compare(name: str, ours: Any, files: list[Path], images: int, passes: int) -> None:
    """Prints one row."""
    theirs = bare(files)
    times: list[tuple[float, float]] = []
    for number in range(passes + 1):
        count = images if number else BATCH * 8  # the first fills the file cache and the buffers
        times.append((seconds(theirs, count), seconds(ours, count // BATCH)))
    theirs_rates, our_rates = (
        [images / value for value in column] for column in zip(*times[1:], strict=True)
    )
    ratio = statistics.median(a / b for a, b in zip(our_rates, theirs_rates, strict=True))
    print(
        f"{name:46} {shown(our_rates)}   decode_jpeg {shown(theirs_rates)}   {ratio:.2f}",
        flush=True,
    )


def shown(rates: list[float]) -> str:
    return " / ".join(
        f"{value:5.0f}" for value in (min(rates), statistics.median(rates), max(rates))
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1500, help="images a pass (1500)")
    parser.add_argument("--passes", type=int, default=5, help="passes of each (5)")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    import tensorflow as tf

    from tfrecon.base.config import DataConfig
    from tfrecon.base.registry import Spec
    from tfrecon.data import pipeline, recipes
    from tfrecon.data.sample import Sample

    print(
        f"TensorFlow {tf.__version__}, {platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"load {os.getloadavg()[0]:.1f}; {options.passes} passes over {options.images} images; "
        "images/s min / median / max, ours : decode_jpeg"
    )

    def row(name: str, samples: list[Sample], files: list[Path], config: DataConfig) -> None:
        ours = pipeline.dataset(samples, config, training=True, batch_size=BATCH)
        compare(name, ours, files, options.images, options.passes)

    with tempfile.TemporaryDirectory() as folder:
        for source in ("animals_contest", "bsds500"):
            root = SHARED / source
            if not root.is_dir():
                print(f"skipped: no photos at {root}")
                continue
            if source == "animals_contest":
                spec = Spec("animals_inpainting")
                pairs = recipes.samples(spec, root, "train")
                whole, batch = [s for s in pairs if is_jpeg(s.target)], "pairs with boxes"
            else:
                spec = Spec("folder")
                whole, batch = recipes.samples(spec, root, "train"), "photos with drawn damage"
            plain = [Sample(s.id, input=s.target) for s in whole]
            files = [s.target for s in whole if s.target]
            config = DataConfig(recipe=spec, cache="none", cache_dir=folder)
            print(f"{source}: {len(files)} JPEGs")
            for cache in ("none", "memory", "disk"):
                cached = dataclasses.replace(config, cache=cache)
                row(f"decode, resize, crop, flip; cache {cache}", plain, files, cached)
            for cache in ("none", "memory"):
                cached = dataclasses.replace(config, cache=cache)
                row(f"{batch}; cache {cache}", whole, files, cached)
    return 0


def is_jpeg(file: Path | None) -> bool:
    return file is not None and file.suffix.lower() in (".jpg", ".jpeg")


if __name__ == "__main__":
    sys.exit(main())
