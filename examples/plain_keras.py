"""Train pix2pix in plain Keras: `compile`, `fit`, call. No configuration and no run folder.

The data are crops of the photos inside scikit-image, each with two black boxes drawn onto it.
Takes about a minute on two CPU cores.
"""

from __future__ import annotations

import tfrecon
from tfrecon.losses import LOSSES
from tfrecon.metrics.logged import keras_metric
from tfrecon.training.optimizers import FusedAdam


def main(size: int = 64, filters: int = 16, steps: int = 200, epochs: int = 2) -> None:
    """Trains on squares of `size` pixels; prints the PSNR of photos that no step saw."""
    data = tfrecon.DataConfig(image_size=size, damage=tfrecon.Spec("boxes", {"size": size // 4}))
    train, test = (
        tfrecon.keras_dataset(
            tfrecon.dataset(
                tfrecon.samples(tfrecon.Spec("demo"), None, split),
                data,
                training=split == "train",
                batch_size=4,
            )
        )
        for split in ("train", "test")
    )
    model = tfrecon.pix2pix(
        image_size=size, base_filters=filters, discriminator_filters=filters, fill="harmonic",
        residual=True,
    )  # fmt: skip
    model.compile(FusedAdam(2e-4, beta_1=0.5), loss=LOSSES["l1"](), metrics=[keras_metric("psnr")])
    # The pipeline shuffles, and a data set of training has no end.
    model.fit(train, steps_per_epoch=steps, epochs=epochs, shuffle=False)
    scores = model.evaluate(test, return_dict=True, verbose=0)
    damaged, truth = next(iter(test))
    restored = model(damaged)  # (4,size,size,4) with the mask last → (4,size,size,3), all in [0,1]
    print(f"test: {scores['psnr']:.2f} dB; {restored.shape} restored, like {truth.shape}")


if __name__ == "__main__":
    main()
