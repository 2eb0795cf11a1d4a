"""Training batches of the input pipeline against bare JPEG decoding of the same files, and against
a PyTorch DataLoader that makes the same batches.

    python -m benchmarks.pipeline [--images 1500] [--passes 5] [--python FILE]

Bare decoding is a parallel tf.data map over `tf.io.read_file` and `tf.io.decode_jpeg`, no more,
and, where it is installed, simplejpeg in as many threads as there are cores. Ours is
`tfrecon.data.pipeline.dataset(training=True)` in batches of 8: decode, resize of the short side to
286, random crop of 256, flip, float32; further rows keep the decoded pixels in memory or on disk,
take two crops of each decode, or make whole training batches (pairs with boxes, or photos with
drawn damage). The DataLoader, with as many workers as cores, uses Pillow, where ``--python`` names
an interpreter with torch.
A pass takes `--images` images; the programs take turns, a pass each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.environment import Worker, add_python, obey
from benchmarks.record import alternated, rates, row

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
BATCH, SIDE, LOAD = 8, 256, 286
Pass = Callable[[], Any]


def through(elements: Any, count: int) -> Pass:
    """Runs through `count` elements, on from the last, without leaving TensorFlow."""
    return lambda: elements.take(count).reduce(0, lambda done, _: done + 1).numpy()


def bare(files: list[Path], images: int) -> dict[str, Pass]:
    """Passes over decoded files, by the decoder's name."""
    import tensorflow as tf

    def decode(path: Any) -> Any:
        return tf.io.decode_jpeg(tf.io.read_file(path), channels=3)

    paths = tf.data.Dataset.from_tensor_slices([str(file) for file in files]).repeat()
    decoded = paths.map(decode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    found = {"decode_jpeg": through(decoded, images)}
    with contextlib.suppress(ImportError):
        from simplejpeg import decode_jpeg  # pyright: ignore[reportMissingImports]

        pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        wanted = (files * -(-images // len(files)))[:images]

        def simplejpeg() -> None:
            for _ in pool.map(lambda file: decode_jpeg(file.read_bytes()), wanted):
                pass

        found["simplejpeg"] = simplejpeg
    return found


def data_loader(folder: Path) -> None:
    """The worker of PyTorch: takes so many images of the files that are listed in `folder`."""
    import numpy as np
    import torch  # pyright: ignore[reportMissingImports]
    from PIL import Image
    from torch.utils import data  # pyright: ignore[reportMissingImports]

    files = (folder / "files").read_text(encoding="utf-8").splitlines()

    class Photos(data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> Any:
            with Image.open(files[index]) as file:
                picture = file.convert("RGB")
            side = round(min(picture.size) * SIDE / LOAD)
            left, top = (random.uniform(0, length - side) for length in picture.size)
            box = (left, top, left + side, top + side)
            picture = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)
            if random.random() < 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255

    photos = Photos()
    endless = data.RandomSampler(photos, replacement=True, num_samples=10**9)
    workers = len(os.sched_getaffinity(0))
    batches = iter(data.DataLoader(photos, BATCH, sampler=endless, num_workers=workers))

    def taken(images: int) -> float:
        started = time.perf_counter()
        for _ in range(images // BATCH):
            next(batches)
        return time.perf_counter() - started

    obey(taken, taken(BATCH * 8))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1500, help="images a pass (1500)")
    parser.add_argument("--passes", type=int, default=5, help="passes of each (5)")
    add_python(parser, "torch and Pillow")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        data_loader(options.worker)
        return
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    for source in ("animals_contest", "bsds500"):
        if (SHARED / source).is_dir():
            with tempfile.TemporaryDirectory() as folder:
                measure(source, Path(folder), options)
        else:
            print(f"skipped: no photos at {SHARED / source}")


def measure(source: str, folder: Path, options: argparse.Namespace) -> None:
    """The rows of one set of photos."""
    from tfrecon.base.config import DataConfig
    from tfrecon.base.registry import Spec
    from tfrecon.data import pipeline, recipes
    from tfrecon.data.sample import Sample

    contest = source == "animals_contest"
    spec = Spec("animals_inpainting" if contest else "folder")
    whole = [s for s in recipes.samples(spec, SHARED / source, "train") if is_jpeg(s.target)]
    plain = [Sample(s.id, input=s.target) for s in whole]
    files = [s.target for s in whole if s.target]
    (folder / "files").write_text("\n".join(map(str, files)), encoding="utf-8")
    photos = f"{len(files)} JPEGs of {'256×256' if contest else '481×321'}"
    images = options.images // BATCH * BATCH
    peers = bare(files, images)

    def compared(
        what: str, samples: list[Sample], cache: str, crops: int = 1, **more: Pass
    ) -> None:
        config = DataConfig(recipe=spec, cache=cache, cache_dir=str(folder), crops=crops)
        batches = pipeline.dataset(samples, config, training=True, batch_size=BATCH)
        ways = {"tfrecon": through(batches, images // BATCH), **peers, **more}
        row(what, "images/s", rates(alternated(ways, options.passes), images), cache=cache)

    with contextlib.ExitStack() as stack:
        more: dict[str, Pass] = {}
        if options.python:
            threads = len(os.sched_getaffinity(0))
            command = ("benchmarks.pipeline", "--worker", str(folder))
            worker = Worker("DataLoader", options.python, *command, threads=threads)
            stack.callback(worker.stop)
            more["DataLoader"] = lambda: worker.ask(images)
        for cache in ("none", "memory", "disk"):
            compared(f"decode, resize, crop, flip of {photos}", plain, cache, **more)
    compared(f"the same, two crops of each decode, of {photos}", plain, "none", crops=2)
    damaged = "pairs with boxes" if contest else "photos with drawn damage"
    for cache in ("none", "memory"):
        compared(f"{damaged} of {photos}", whole, cache)


def is_jpeg(file: Path | None) -> bool:
    return file is not None and file.suffix.lower() in (".jpg", ".jpeg")


if __name__ == "__main__":
    main()
