"""Your own network, by its dotted path: any function that returns a wrapped Keras model.

It is given `image_size`, `mask` and `seed` by the configuration, as far as it takes them, and the
options that you set. `wrapped` says which images the network takes: here all.
Here from Python; the same on the command line, in `examples`:

    python -m tfrecon.fit --model own_model.small_network --data demo --set model.width=24

Takes about a minute on two CPU cores. Evaluation, export and resume work as for every model, as
long as Python finds `own_model`.
"""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

from tfrecon import Config, DataConfig, FitConfig, Spec
from tfrecon.models.supervised import Restorer, wrapped
from tfrecon.training.loop import train


def small_network(*, mask: bool, width: int = 16) -> Restorer:
    """(B,H,W,4 with a mask, else 3) to (B,H,W,3) in [0,1]: three convolutions, and no more."""
    entered = keras.Input((None, None, 4 if mask else 3))
    x = layers.Conv2D(width, 5, padding="same", activation="relu")(entered)
    x = layers.Conv2D(width, 5, padding="same", activation="relu")(x)
    restored = layers.Conv2D(3, 5, padding="same", activation="sigmoid", dtype="float32")(x)
    return wrapped(keras.Model(entered, restored, name="small_network"))


def main(run: str = "checkpoints/own_model", size: int = 64, steps: int = 300) -> None:
    """Trains it on photos with hidden boxes, into the folder `run`."""
    config = Config(
        model=Spec("own_model.small_network", {"width": 24}),
        data=DataConfig(image_size=size, damage=Spec("boxes", {"size": size // 4})),
        fit=FitConfig(steps=steps, steps_per_epoch=max(steps // 3, 1), batch_size=4),
    )
    train(config, Path(run))
    print(f"python -m tfrecon.evaluate {run} --trust-code")


if __name__ == "__main__":
    main()
