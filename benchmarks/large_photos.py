"""Epochs of crops of 256² from PNGs of 2040×1356, the size of DIV2K: the one that makes the disk
cache, the first of a later run, which compares checksums, and the ones after it.

    python -m benchmarks.large_photos [--photos 40] [--passes 3]

The photos are those of scikit-image, enlarged, with noise, so that a PNG takes as many bytes as one
of a camera. A pass of `data.cache=none`, with one and with two crops a decode, is beside them.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pipeline import through
from benchmarks.record import alternated, rates, row

HEIGHT, WIDTH, SIDE, BATCH = 1356, 2040, 256, 8
SOURCES = ("astronaut", "chelsea", "coffee", "rocket")


def photos(folder: Path, count: int) -> list[Path]:
    """Writes the PNGs."""
    import skimage.data
    from PIL import Image

    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        small = Image.fromarray(getattr(skimage.data, SOURCES[number % len(SOURCES)])())
        large = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
        noise = np.random.default_rng(number).normal(0, 2, large.shape)
        Image.fromarray(np.clip(large + noise, 0, 255).astype(np.uint8)).save(path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=40, help="how many, a multiple of 8 (40)")
    parser.add_argument("--passes", type=int, default=3, help="passes of each (3)")
    options = parser.parse_args()
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    from tfrecon.base.config import DataConfig
    from tfrecon.data import pipeline
    from tfrecon.data.sample import Sample

    with tempfile.TemporaryDirectory() as folder:
        paths = photos(Path(folder), options.photos)
        samples = [Sample(path.stem, input=path) for path in paths]
        size = sum(path.stat().st_size for path in paths) / len(paths) / 2**20
        what = f"crops of {SIDE}² from PNGs of {WIDTH}×{HEIGHT}, {size:.1f} MiB each"

        def stream(cache: str, cache_dir: str = "", crops: int = 1) -> Any:
            config = DataConfig(
                image_size=SIDE, load_size=HEIGHT, cache=cache, crops=crops,
                cache_dir=str(Path(folder, cache_dir)),
            )  # fmt: skip
            return pipeline.dataset(samples, config, training=True, batch_size=BATCH)

        def epoch(*of: Any) -> Any:
            return through(stream(*of), len(samples) // BATCH)

        def seconds(*of: Any) -> float:
            started = time.perf_counter()
            epoch(*of)()
            return time.perf_counter() - started

        numbers = range(options.passes)
        taken = {
            "second epoch": alternated({"": epoch("disk", "kept")}, options.passes)[""],
            "first epoch": [seconds("disk", str(number)) for number in numbers],
            "first of a later run": [seconds("disk", str(number)) for number in numbers],
        }
        row(what, "images/s", rates(taken, len(samples)), cache="disk")
        taken = {}
        for crops in (2, 1):  # not in turns: who waits decodes ahead
            endless = iter(stream("none", crops=crops))

            def some(endless: Any = endless) -> None:
                for _ in range(2 * len(samples) // BATCH):
                    next(endless)

            taken |= alternated({f"{crops} a decode": some}, options.passes)
            del endless, some
        row(what, "images/s", rates(taken, 2 * len(samples)), cache="none")


if __name__ == "__main__":
    main()
