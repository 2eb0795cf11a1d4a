"""Where a diffusion takes place: in the pixels, or in the latents of a frozen autoencoder."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecon.backbones.backbone import randomise
from tfrecon.base import checkpoint
from tfrecon.base.config import read_json
from tfrecon.base.errors import UserError
from tfrecon.base.weights import fingerprint
from tfrecon.layers.ridge import Standardise
from tfrecon.models import build_model
from tfrecon.models import stable_diffusion as sd1
from tfrecon.models.autoencoder import REDUCTION


class Space:
    """Points that images are encoded to: `channels` values for each square of `reduction` pixels a
    side. Here they are signed pixels.

    `limit` is the largest absolute value, where there is one; `watch` fits the `statistics`;
    `frozen` are the networks, which no checkpoint holds.
    """

    reduction: int = 1
    channels: int = 3
    limit: float | None = 1.0
    statistics: Standardise | None = None
    frozen: Sequence[keras.Model] = ()

    def encode(self, images: Any) -> Any:
        """Images (B,H,W,3) in [0,1] to points around 0 with a variance near 1."""
        return 2 * images - 1

    def decode(self, points: Any) -> Any:
        """Points back to images around [0,1], not clipped."""
        return 0.5 * (points + 1)

    def watch(self, batches: Iterable[Any]) -> Iterable[Any]:
        """Yields `batches` of images unchanged and fits the statistics, if any, to them."""
        return batches

    @property
    def fingerprint(self) -> str | None:
        """A hash of the frozen weights; None where there are none."""
        variables = [variable for network in self.frozen for variable in network.variables]
        arrays = {f"{place:04d}": variable for place, variable in enumerate(variables)}
        return fingerprint(arrays) if arrays else None


class Latents(Space):
    """Standardised latents (their means) of a trained `autoencoder`, which is not trained further.

    The statistics are 0 and 1 until `watch` has seen the training images.
    """

    limit = None

    def __init__(self, folder: str) -> None:
        model = _trained(Path(folder))
        model.trainable = False
        self.encoder, self.decoder = self.frozen = model.encoder, model.decoder
        self.reduction, self.channels = REDUCTION, int(self.decoder.input_shape[-1])
        self.statistics = Standardise(name="latent_statistics")
        self.statistics.build((None, None, None, self.channels))

    def encode(self, images: Any) -> Any:
        """(B,H,W,3) to (B,H/8,W/8,C)."""
        return self.statistics(self.encoder(images, training=False)[0])

    def decode(self, points: Any) -> Any:
        """(B,h,w,C) to (B,8h,8w,3)."""
        raw = self.statistics(points, inverse=True)
        return tf.cast(self.decoder(raw, training=False), tf.float32)

    def watch(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yields `batches` of images unchanged and assigns the statistics after the last."""
        encode = tf.function(lambda x: self.encoder(x, training=False)[0])
        count, total, squares = 0, np.zeros(self.channels), np.zeros(self.channels)
        for x in batches:
            values = np.asarray(encode(x), np.float64).reshape(-1, self.channels)
            count += len(values)
            total += values.sum(0)
            squares += (values**2).sum(0)
            yield x
        mean = total / count
        self.statistics.mean.assign(mean)
        self.statistics.deviation.assign(np.sqrt(np.maximum(squares / count - mean**2, 1e-12)))


class StableDiffusionLatents(Space):
    """Latents of Stable Diffusion 1.x: its autoencoder's means, scaled as published."""

    limit = None

    def __init__(self, folder: str | None, seed: int) -> None:
        self.reduction, self.channels = sd1.REDUCTION, sd1.LATENT_CHANNELS
        self.encoder, self.decoder = self.frozen = sd1.encoder(), sd1.decoder()
        if folder:
            sd1.load_autoencoder(self.encoder, self.decoder, folder)
        for network in self.frozen:
            network.trainable = False
            if not folder:
                randomise(network, seed)

    def encode(self, images: Any) -> Any:
        """(B,H,W,3) to (B,H/8,W/8,4)."""
        moments = tf.cast(self.encoder(images, training=False), tf.float32)
        return sd1.LATENT_SCALE * moments[..., : self.channels]

    def decode(self, points: Any) -> Any:
        """(B,h,w,4) to (B,8h,8w,3)."""
        return tf.cast(self.decoder(points / sd1.LATENT_SCALE, training=False), tf.float32)


def _trained(folder: Path) -> Any:
    """The autoencoder of a run's folder. Raises UserError where there is none."""
    what, weights = f"model.autoencoder = {str(folder)!r}", folder / "best.npz"
    if not (folder / "config.json").is_file() or not weights.is_file():
        raise UserError(
            f"{what} is no trained run; train one with python -m tfrecon.fit --model autoencoder"
        )
    config = read_json(folder / "config.json")
    if config.model.name != "autoencoder":
        raise UserError(f"{what} is a run of {config.model.name!r}; name a run of 'autoencoder'")
    model = build_model(
        config.model, image_size=config.data.image_size, mask=False, seed=config.fit.seed
    )
    checkpoint.assign(weights, checkpoint.load(weights)[0], {"model": model.inference_variables})
    return model
