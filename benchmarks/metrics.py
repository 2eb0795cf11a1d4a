"""SSIM and PSNR of image pairs against scikit-image, LPIPS against the authors' package.

    python -m benchmarks.metrics [--images 200] [--rounds 3] [--python FILE]

Both have the same float32 pairs in memory, noisy copies of random smooth images; scikit-image takes
one after the other, as it has no batches, ours batches of 8. The SSIM is the paper's, with its
Gaussian window. LPIPS is that of AlexNet, where the weight packs are at hand and ``--python`` names
an interpreter with torch, torchvision and lpips, whose trunk has random weights: its time does not
depend on them. The programs take turns; the largest difference is printed first.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import Worker, add_python, obey
from benchmarks.record import alternated, rates, row

BATCH, ROOT = 8, Path(__file__).resolve().parents[1]


def pairs(count: int, side: int) -> tuple[Any, Any]:
    """Truths and noisy copies of them, (N,H,W,3) float32 in [0,1]."""
    random = np.random.default_rng(0)
    coarse = random.random((count, side // 8, side // 8, 3), np.float32)
    truth = coarse.repeat(8, axis=1).repeat(8, axis=2)
    noise = random.normal(0, 0.05, truth.shape).astype(np.float32)
    return truth, np.clip(truth + noise, 0, 1)


def batches(images: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(images[0]), BATCH):
        yield images[0][start : start + BATCH], images[1][start : start + BATCH]


def by_batches(score: Any, images: tuple[Any, Any]) -> Any:
    """What `score` says of all pairs."""
    return np.concatenate([np.stack(score(*batch), -1) for batch in batches(images)])


def scikit_image(images: tuple[Any, Any]) -> Any:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    published = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    scores = [
        (structural_similarity(truth, made, channel_axis=-1, data_range=1, **published),
         peak_signal_noise_ratio(truth, made, data_range=1))
        for truth, made in zip(*images, strict=True)
    ]  # fmt: skip
    return np.array(scores)


def authors(count: int) -> None:
    """The worker of the authors' LPIPS: scores the pairs when it is told to."""
    import lpips  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    given = [torch.from_numpy(part).permute(0, 3, 1, 2).contiguous() for part in pairs(count, 256)]

    def score(_: int) -> int:
        with torch.no_grad():
            for truth, made in zip(*(part.split(BATCH) for part in given), strict=True):
                network(truth, made, normalize=True)
        return count

    obey(score, score(0))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    add_python(parser, "torch, torchvision and lpips")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        authors(options.images)
        return
    os.environ.setdefault("TFRECON_WEIGHTS", str(ROOT.parent / "shared" / "weights"))
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    import tensorflow as tf

    from tfrecon.metrics import perceptual
    from tfrecon.metrics.pixel_errors import psnr
    from tfrecon.metrics.structural import ssim

    both = tf.function(lambda truth, made: (ssim(truth, made), psnr(truth, made)))
    for side, count in itertools.chain([(256, options.images)], [(128, 64), (512, 16)]):
        images = pairs(count, side)
        apart = np.abs(by_batches(both, images) - scikit_image(images)).max(axis=0)
        print(f"{side}²: SSIM and PSNR apart by {apart[0]:.0e} and {apart[1]:.0e} at most")
        ways = {
            "tfrecon": functools.partial(by_batches, both, images),
            "scikit-image": functools.partial(scikit_image, images),
        }
        seconds = alternated(ways, options.rounds)
        row("SSIM and PSNR", "images/s", rates(seconds, count), side=side)
    if not options.python or not perceptual.available("alex"):
        print("LPIPS: skipped, it needs --python and the weight packs")
        return
    lpips = tf.function(perceptual.lpips_metric("alex"))
    images = pairs(options.images, 256)
    with contextlib.ExitStack() as stack:
        command = ("benchmarks.metrics", "--worker", "--images", str(options.images))
        threads = len(os.sched_getaffinity(0))
        worker = Worker("authors", options.python, *command, threads=threads)
        stack.callback(worker.stop)
        ways = {
            "tfrecon": lambda: [lpips(*batch).numpy() for batch in batches(images)],
            "the authors' package": functools.partial(worker.ask, 0),
        }
        seconds = alternated(ways, options.rounds)
    row("LPIPS of AlexNet, 256²", "images/s", rates(seconds, options.images))


if __name__ == "__main__":
    main()
