"""How much a trained skip_vae uses its latent: KL, active dimensions, effect of draws.

    python benchmarks/skip_vae.py checkpoints/NAME [--root DIR] [--split test] [--draws 8]

KL is in nats an image, the mean over the images. A latent dimension counts as active where its
share of that is above 0.01, and by Burda et al. 2016 where the variance of its mean over the images
is above 0.01 (a dimension that is equal for all images has KL, too). The effect of draws is the
mean absolute difference between restorations from a draw and from the latent's mean, in 1/255,
printed beside the model's mean absolute error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ACTIVE = 0.01
"""Nats an image, or variance of the mean."""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("run", help="the folder of a trained run")
    options.add_argument("--root", help="another folder of photos than the run's own")
    options.add_argument("--split", default="test", help="split of the recipe (test)")
    options.add_argument("--draws", type=int, default=8, help="draws of the latent (8)")
    arguments = options.parse_args()
    if arguments.draws < 1:
        options.error("--draws must be 1 or more")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    import keras
    import numpy as np
    from tqdm import tqdm

    from tfrecon.data import pipeline, recipes
    from tfrecon.inference.restorer import restorer
    from tfrecon.layers.gaussian_latent import kl_terms
    from tfrecon.training.run import open_run

    run = open_run(arguments.run)
    if run.config.model.name != "skip_vae":
        options.error(f"{arguments.run} is a run of {run.config.model.name}, not of skip_vae")
    root = arguments.root or run.placed.data.root
    samples = recipes.samples(run.config.data.recipe, Path(root) if root else None, arguments.split)
    model = run.load_model()
    network = model.network.get_layer("skip_vae")
    moments = keras.Model(
        network.input, [network.get_layer(name).output for name in ("mean", "log_variance")]
    )
    restore = restorer(model)
    draws = [restorer(run.load_model({"draw": n + 1})) for n in range(arguments.draws)]

    kl: list[np.ndarray] = []  # (B,D) a batch
    means: list[np.ndarray] = []  # (B,h,w,D) a batch
    errors: list[np.ndarray] = []  # (B,) a batch
    changes: list[np.ndarray] = []  # (draws,B) a batch
    spreads: list[np.ndarray] = []  # (B,) a batch
    batches = pipeline.dataset(samples, run.config.data, batch_size=8)
    for batch in tqdm(batches, arguments.split, -(-len(samples) // 8), unit="batch"):
        x = pipeline.model_input(batch)
        mu, log_variance = moments(x, training=False)
        kl.append(np.sum(kl_terms(mu, log_variance), axis=(1, 2)))
        means.append(mu.numpy())
        mean = restore(x)
        drawn = np.stack([one(x) for one in draws])
        errors.append(np.abs(mean - batch["target"]).mean(axis=(1, 2, 3)))
        changes.append(np.abs(drawn - mean).mean(axis=(2, 3, 4)))
        spreads.append(drawn.std(axis=0).mean(axis=(1, 2, 3)))
    dimensions = np.concatenate(kl).mean(axis=0)
    images = np.concatenate(kl).sum(axis=1)
    change = 255 * np.concatenate(changes, axis=1)
    active = int((dimensions > ACTIVE).sum())
    varying = int((np.concatenate(means).var(axis=0).mean(axis=(0, 1)) > ACTIVE).sum())
    print(f"{run.name}, split {arguments.split!r}: {len(samples)} images, "
          f"beta {run.config.model.options.get('beta', 'as by default')}")  # fmt: skip
    print(f"KL: {images.mean():.2f} nats an image (min {images.min():.2f}, max {images.max():.2f})")
    print(f"active: {active} of {len(dimensions)} dimensions above {ACTIVE} nats an image; "
          f"largest {dimensions.max():.2f}; {varying} whose mean varies")  # fmt: skip
    print(f"change of the output over {len(draws)} draws: {change.mean():.3f}/255 "
          f"(images {change.mean(0).min():.3f} to {change.mean(0).max():.3f}); "
          f"standard deviation over the draws {255 * np.concatenate(spreads).mean():.3f}/255; "
          f"mean absolute error {255 * np.concatenate(errors).mean():.3f}/255")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
