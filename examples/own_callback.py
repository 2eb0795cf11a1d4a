"""Your own Keras callback in a run: here it stops the training once it is good enough.

`train` gives callbacks the values of each epoch, those of validation among them, before it writes
history and checkpoint. Takes about a minute on two CPU cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from tfrecon import Config, DataConfig, FitConfig, Spec
from tfrecon.training.loop import train


class GoodEnough(keras.callbacks.Callback):
    """Stops after the first epoch whose validation PSNR reaches `psnr` dB."""

    def __init__(self, psnr: float) -> None:
        super().__init__()
        self.psnr = psnr
        self.stopped_after: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keras calls it; `epoch` counts from 0."""
        if (logs or {})["val_psnr"] >= self.psnr:
            self.stopped_after = epoch + 1
            self.model.stop_training = True


def main(
    run: str = "checkpoints/own_callback", size: int = 64, filters: int = 16, steps: int = 400,
    psnr: float = 22.0,
) -> None:  # fmt: skip
    """Trains for `steps` at most, in ten epochs, into the folder `run`."""
    config = Config(
        model=Spec("pix2pix", {"base_filters": filters, "discriminator_filters": filters}),
        data=DataConfig(image_size=size, damage=Spec("boxes", {"size": size // 4})),
        fit=FitConfig(steps=steps, steps_per_epoch=max(steps // 10, 1), batch_size=4),
    )
    good_enough = GoodEnough(psnr)
    train(config, Path(run), callbacks=[good_enough])
    print(f"stopped after epoch {good_enough.stopped_after} of 10 (None: not before the end)")


if __name__ == "__main__":
    main()
