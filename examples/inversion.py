"""What a tap of a frozen network still knows of a photo: invert it, and look.

SqueezeNet's third fire module sees the photo on a grid of a quarter of its side. `adapt` fits the
statistics of the features and a linear map in closed form, `fit` trains residual blocks on top.
Takes two minutes on two CPU cores; the 5 MB of weights are downloaded once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tfrecon
from tfrecon.backbones import DEFAULT
from tfrecon.base import images
from tfrecon.data.damage import IDENTITY
from tfrecon.losses import LOSSES
from tfrecon.metrics.logged import METRICS
from tfrecon.training.optimizers import FusedAdam


def photos(split: str, size: int, count: int) -> np.ndarray:
    """Crops of the photos inside scikit-image, (N,size,size,3) in [0,1], N at most `count`."""
    data = tfrecon.DataConfig(image_size=size, damage=IDENTITY)
    samples = tfrecon.samples(tfrecon.Spec("demo"), None, split)[:count]
    batches = tfrecon.dataset(samples, data, batch_size=4)
    return np.concatenate([batch["target"] for batch in batches])


def main(
    tap: str = "fire3", size: int = 96, count: int = 200, epochs: int = 10,
    weights: str | None = DEFAULT, output: str = "inversion.png",
) -> None:  # fmt: skip
    """Writes test photos above their reconstructions to `output`, and prints their PSNR."""
    train, test = photos("train", size, count), photos("test", size, 4)
    model = tfrecon.feature_inversion(
        backbone="squeezenet1_1", taps=[tap], weights=weights, image_size=size
    )
    model.adapt([train], len(train))
    model.compile(FusedAdam(1e-3, clipnorm=1.0), loss=LOSSES["log_mse"]())
    model.fit(train, train, batch_size=4, epochs=epochs)
    restored = model.predict(test, verbose=0)
    psnr = METRICS["psnr"](test, restored).numpy()  # one value an image
    images.write(Path(output), np.concatenate([np.hstack(test), np.hstack(restored)]))
    print(f"{tap}: {psnr.mean():.2f} dB; originals above reconstructions in {output}")


if __name__ == "__main__":
    main()
