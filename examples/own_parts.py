"""Your own damage, loss, decoder and metric, each by its dotted path.

A name with dots stands wherever the name of a part stands: in a TOML file, behind ``--set``, in
Python. An inversion is trained here whose loss, damage and decoder are the functions of this file.
Takes about two minutes on two CPU cores. Then, in `examples`:

    python -m tfrecon.evaluate checkpoints/own_parts --metric own_parts.sharpness
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from tfrecon import Config, DataConfig, FitConfig, Spec
from tfrecon.backbones import DEFAULT
from tfrecon.losses import ImageLoss
from tfrecon.networks.decoders.decoder import Decoder
from tfrecon.training.loop import train


def fog(*, density: float = 0.3) -> Any:
    """A damage: what it returns is called ``draw(target, seed)`` and gives (input, mask)."""

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        share = density * tf.random.stateless_uniform([], seed)
        return target * (1 - share) + share, None  # None: no pixel is known to be damaged

    return draw


class EdgeLoss(ImageLoss):
    """A loss: the mean error of the differences between neighbouring pixels, one value an image."""

    def per_image(self, y_true: Any, y_pred: Any, weights: Any) -> Any:
        """(B,H,W,3) twice to (B,)."""
        errors = (tf.abs(a - b) for a, b in zip(_steps(y_true), _steps(y_pred), strict=True))
        return tf.add_n([tf.reduce_mean(error, axis=(1, 2, 3)) for error in errors])


def bare(*, channels: int, doublings: int, seed: int | None, width: int = 16) -> Decoder:
    """A decoder: (B,h,w,channels) to (B,h·2ⁿ,w·2ⁿ,3), n = `doublings`."""
    x = entered = keras.Input((None, None, channels))
    x = layers.Conv2D(width, 1, activation="relu")(x)
    for _ in range(doublings):
        x = layers.Conv2DTranspose(width, 4, 2, padding="same", activation="relu")(x)
    restored = layers.Conv2D(3, 1, activation="sigmoid", dtype="float32")(x)
    return Decoder(keras.Model(entered, restored, name="bare"))


def sharpness(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """A metric: contrast between neighbours as a share of the truth's, (B,); 1 is as sharp."""
    true, pred = (
        tf.add_n([tf.reduce_mean(tf.abs(step), axis=(1, 2, 3)) for step in _steps(images)])
        for images in (y_true, y_pred)
    )
    return pred / true


def _steps(images: Any) -> tuple[Any, Any]:
    return images[:, 1:] - images[:, :-1], images[:, :, 1:] - images[:, :, :-1]


def main(
    run: str = "checkpoints/own_parts", size: int = 64, steps: int = 300,
    weights: str | None = DEFAULT,
) -> None:  # fmt: skip
    """Trains the inversion into the folder `run`."""
    model: dict[str, Any] = {"backbone": "squeezenet1_1", "taps": ["fire3"], "weights": weights}
    config = Config(
        model=Spec("feature_inversion", {**model, "decoder": "own_parts.bare"}),
        data=DataConfig(image_size=size, damage=Spec("own_parts.fog", {"density": 0.5})),
        fit=FitConfig(
            loss=[Spec("l1"), Spec("own_parts.EdgeLoss", {"weight": 0.5})],
            steps=steps, steps_per_epoch=max(steps // 3, 1), batch_size=4, learning_rate=1e-3,
        ),
    )  # fmt: skip
    train(config, Path(run))
    print(f"python -m tfrecon.evaluate {run} --metric own_parts.sharpness")


if __name__ == "__main__":
    main()
