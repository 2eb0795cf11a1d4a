"""How far inversion goes, image by image, and how often its certificates are wrong.

    python -m benchmarks.certificates RUN [--photos 100] [--side 64] [--products 1200]
        [--at-once 10] [--short-side PIXELS] [--no-certificates]

RUN is a run of `feature_inversion`. Crops of `side` pixels from the middle of the first photos of
its test split are reconstructed, refined by Gauss–Newton and certified. A line each: PSNR, the
share of pixels that are certified and that are right to half an 8-bit level, how many of the
certified ones are wrong, and the largest error in units of its bound. Photos are resized to
`--short-side` first, the run's own unless it is given; that of the files leaves them as they are.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import math
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Prints a line for each photo, then their sums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--products", type=int, default=1200)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--short-side", type=int)
    parser.add_argument("--no-certificates", action="store_true", help="how far it goes alone")
    asked = parser.parse_args()

    import tensorflow as tf

    from tfrecon.data import pipeline, recipes
    from tfrecon.models.certificates import HALF_LEVEL, Certificate, certificates
    from tfrecon.training.run import open_run

    run = open_run(asked.run)
    refine = {"name": "gauss_newton", "products": asked.products}
    model = run.load_model({"refine": refine})
    restore = tf.function(lambda x: model(x, training=False))
    data = run.placed.data
    data = dataclasses.replace(
        data, cache="none", image_size=asked.side, val_size=asked.short_side or data.val_size
    )
    samples = recipes.samples(data.recipe, Path(data.root), "test")[: asked.photos]

    verdicts: collections.Counter[str] = collections.Counter()
    psnr: list[float] = []
    certified = wrong = whole = 0
    for batch in pipeline.dataset(samples, data, batch_size=asked.at_once):
        photos, started = batch["target"].numpy(), time.perf_counter()
        answers = restore(photos).numpy()
        if asked.no_certificates:
            made = [Certificate(np.full(x.shape[:2], np.inf), 0.0, math.nan) for x in photos]
        else:
            made = certificates(model, answers, photos)
        for id, found, photo, answer in zip(
            batch["id"].numpy(), made, photos, answers, strict=True
        ):
            error = np.abs(answer - photo).max(-1)
            false = int(np.sum(found.exact & (error >= HALF_LEVEL)))
            psnr.append(float(-10 * np.log10(max(np.mean((answer - photo) ** 2), 1e-14))))
            verdicts[found.verdict] += 1
            certified, wrong = certified + int(found.exact.sum()), wrong + false
            whole += bool((error < HALF_LEVEL).all())
            told = f"{np.mean(error < HALF_LEVEL):.1%} right"
            if not asked.no_certificates:
                told += (
                    f"; {found.verdict}, {found.share:.1%} certified, {false} wrong, λ ≥ "
                    f"{found.eigenvalue:.2g}, error at most {(error / found.bound).max():.3f} of "
                    "its bound"
                )
            print(f"{id.decode()}  {psnr[-1]:.1f} dB, {told}", flush=True)
        each = (time.perf_counter() - started) / len(photos)
        print(f"-- {len(psnr)} photos, {each:.1f} s each", flush=True)
    share = np.mean(np.array(psnr) >= 80)
    print(
        f"{len(psnr)} crops of {asked.side}², {asked.products} products: mean {np.mean(psnr):.2f} "
        f"dB, {share:.0%} at 80 dB or more, {whole} right in all pixels"
    )
    if not asked.no_certificates:
        part = certified / len(psnr) / asked.side**2
        print(f"{dict(verdicts)}; {certified} pixels certified ({part:.1%}), {wrong} wrong")


if __name__ == "__main__":
    main()
