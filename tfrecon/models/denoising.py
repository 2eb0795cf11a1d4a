"""The model classes of `tfrecon.models.diffusion`."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec, build
from tfrecon.diffusion.samplers import SAMPLERS
from tfrecon.diffusion.schedules import SCHEDULES, T_MAX, wide
from tfrecon.layers.seeds import Seeds
from tfrecon.models import stable_diffusion as sd1
from tfrecon.models.base import FromOptions
from tfrecon.models.frozen_features import Extractor, FrozenFeatures, check_size
from tfrecon.models.refinement import descended
from tfrecon.models.spaces import Latents, Space, StableDiffusionLatents
from tfrecon.models.supervised import Supervised
from tfrecon.networks.denoiser import GRIDS
from tfrecon.networks.denoiser import denoiser as unet_denoiser

VALIDATION_TIMES = 4
"""Times that the loss of a validation image is taken at."""

REFINING_RATE = 0.05
"""The first step of latents, whose variance is 1, towards the features."""


@keras.saving.register_keras_serializable("tfrecon")
class Diffusion(FromOptions, Supervised):
    """See `diffusion`; conditioned on the photo itself. `fit.loss` judges the denoiser's answer."""

    weighs_pixels = False  # the answer is no image
    adapts_to = "target"
    makes_samples = True

    def __init__(self, options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options, self.has_mask, folder = options, options["mask"], options["autoencoder"]
        if folder == "sd1":
            self.space: Space = StableDiffusionLatents(options["sd1_weights"], options["seed"])
        else:
            self.space = Latents(folder) if folder else Space()
        self.latent_statistics = self.space.statistics  # Keras keeps what is an attribute
        self.square = self.space.reduction * options["patch"]
        """Pixels a side for one position of the denoiser."""
        condition, vector = self.condition_channels()
        self.schedule = build(Spec.parse(options["schedule"], "schedule"), SCHEDULES, "schedule")
        if options["denoiser"] == "sd1":
            self.network, multiple = self._sd1(condition, vector), sd1.UNET_MULTIPLE
        else:
            multiple = 1 << (GRIDS - 1)
            self.network = unet_denoiser(
                channels=self.space.channels, condition_channels=condition,
                global_channels=vector, patch=options["patch"], width=options["width"],
                depth=options["depth"], seed=options["seed"],
            )  # fmt: skip
        self.network.autocast = False
        self.random = Seeds(options["seed"])
        self.size_multiple = self.square * multiple

    def condition_channels(self) -> tuple[int, int]:
        """Channels of the condition, as a map on the denoiser's grid and as a vector."""
        return (self.space.channels + self.has_mask) * self.options["patch"] ** 2, 0

    def _sd1(self, condition: int, vector: int) -> keras.Model:
        if self.space.channels != sd1.LATENT_CHANNELS:
            raise UserError(
                f"model.denoiser = 'sd1' takes latents of {sd1.LATENT_CHANNELS} channels and those "
                f"of model.autoencoder have {self.space.channels}; choose another autoencoder"
            )
        network = sd1.sd1_denoiser(condition_channels=condition, global_channels=vector)
        if self.options["sd1_weights"]:
            sd1.load_denoiser(network, self.options["sd1_weights"])
        return network

    def condition(self, x: Any) -> tuple[Any, ...]:
        """The denoiser's knowledge of the input: a map (B,h,w,C) on its grid and, in some models, a
        vector. Zeros mean that nothing is known."""
        seen, patch = self.space.encode(x[..., :3]), self.options["patch"]
        if self.has_mask:
            size = self.space.reduction
            mask = tf.nn.max_pool2d(x[..., 3:], size, size, "VALID")
            seen = tf.concat([mask, seen], axis=-1)  # as weights of SD inpainting have it
        return (tf.nn.space_to_depth(seen, patch) if patch > 1 else seen,)

    def denoising_loss(
        self, clean: Any, condition: Sequence[Any], t: Any, noise: Any, training: bool
    ) -> Any:
        """The compiled loss between the denoiser's answer on x_t and the right answer."""
        noisy = self.schedule.noised(clean, noise, t)
        known, *vector = condition
        answer = self.network([noisy, known, t, *vector], training=training)
        target = self.schedule.target(self.options["prediction"], clean, noise, t)
        return self.compute_loss(y=target, y_pred=answer, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step at random times (Ho et al. 2020, algorithm 1). A share `condition_dropout` of
        the images is denoised without its condition."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        count, clean = tf.shape(y)[0], self.space.encode(y)
        t = T_MAX * keras.random.uniform((count,), seed=self.random)
        noise = keras.random.normal(tf.shape(clean), seed=self.random)
        left_out = self.options["condition_dropout"]
        known = tf.cast(keras.random.uniform((count,), seed=self.random) >= left_out, tf.float32)
        condition = [part * tf.cast(wide(known, part), part.dtype) for part in self.condition(x)]
        with tf.GradientTape() as tape:
            loss = self.denoising_loss(clean, condition, t, noise, training=True)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        self._track(loss, y)
        return self.compute_metrics(x, y, None)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The loss at evenly spread times, `VALIDATION_TIMES` an image, and with fixed noise, and
        the metrics of samples."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        count, clean, condition = tf.shape(y)[0], self.space.encode(y), self.condition(x)
        share = (tf.range(count, dtype=tf.float32) + 0.5) / tf.cast(count, tf.float32)
        loss = 0.0
        for part in range(VALIDATION_TIMES):
            noise = tf.random.stateless_normal(tf.shape(clean), seed=(part, 1))
            t = T_MAX * (part + share) / VALIDATION_TIMES
            loss += self.denoising_loss(clean, condition, t, noise, training=False)
        self._track(loss / VALIDATION_TIMES, y)
        return keras.Model.compute_metrics(self, x, y, self(x, training=False))

    def _track(self, loss: Any, y: Any) -> None:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._loss_tracker.update_state(loss * replicas, sample_weight=tf.shape(y)[0])

    def call(self, x: Any, training: bool = False) -> Any:
        """`sample` of the option `draw`."""
        return self.sample(x, self.options["draw"])

    def sample(self, x: Any, draw: Any) -> Any:
        """A sample for each image, clipped to [0,1]; the same noise begins all of them, fixed by
        the number `draw`."""
        condition = self.condition(x)
        count, height, width = tf.unstack(tf.shape(condition[0])[:3])
        patch, channels = self.options["patch"], self.space.channels
        shape = (patch * height, patch * width, channels)
        noise = tf.random.stateless_normal(shape, seed=tf.stack([draw, 0]))
        noise = tf.broadcast_to(noise, (count, *shape))
        noise = tf.ensure_shape(noise, (None, None, None, channels))
        sampler = SAMPLERS[self.options["sampler"]]

        def denoise(noisy: Any, t: Any) -> tuple[Any, Any]:
            return self.estimates(noisy, condition, t)

        sample = sampler(denoise, self.schedule, noise, self.options["steps"])
        return self._composed(x, self.developed(sample, x))

    def developed(self, points: Any, x: Any) -> Any:
        """The images in [0,1] of the points that sampling ends at."""
        return tf.clip_by_value(self.space.decode(points), 0.0, 1.0)

    @property
    def is_latent(self) -> bool:
        """Whether it takes place in the latents of an autoencoder."""
        return bool(self.space.frozen)

    def bound(self, x: Any, y: Any) -> Any:
        """The true images `y` (B,H,W,3) through the autoencoder: the best that samples could be.
        With a mask only the holes of `x` come from there."""
        image = tf.clip_by_value(self.space.decode(self.space.encode(y)), 0.0, 1.0)
        return self._composed(x, image)

    def _composed(self, x: Any, image: Any) -> Any:
        if not self.has_mask:
            return image
        return x[..., :3] * (1 - x[..., 3:]) + image * x[..., 3:]

    def estimates(self, noisy: Any, condition: Sequence[Any], t: Any) -> tuple[Any, Any]:
        """x_0, clipped to its range, and the ε that goes with it, at one time t for all; guided
        (Ho and Salimans 2022, eq. 6, in the weight of Saharia et al. 2022)."""
        guidance = self.options["guidance"]
        times = tf.fill(tf.shape(noisy)[:1], t)
        known, *vector = condition
        answer = self.network([noisy, known, times, *vector], training=False)
        if guidance != 1:
            nothing, *none = (tf.zeros_like(part) for part in condition)
            unguided = self.network([noisy, nothing, times, *none], training=False)
            answer = unguided + guidance * (answer - unguided)
        clean, _ = self.schedule.estimates(self.options["prediction"], answer, noisy, times)
        if self.space.limit:
            clean = tf.clip_by_value(clean, -self.space.limit, self.space.limit)
        return clean, (noisy - self.schedule.alpha(t) * clean) / self.schedule.sigma(t)

    def adapt(self, batches: Iterable[Any], images: int) -> dict[str, Any]:
        """Fits the statistics of the latents, where there are any, in one pass over `batches`."""
        if self.latent_statistics:
            for _ in self.space.watch(batches):
                pass
        return {}

    @property
    def fingerprint(self) -> str | None:
        """A hash of the autoencoder's weights, which no checkpoint holds."""
        return self.space.fingerprint

    @property
    def inference_variables(self) -> list[Any]:
        """The statistics of the latents and the denoiser's weights."""
        statistics = self.latent_statistics.variables if self.latent_statistics else []
        return [*statistics, *self.network.weights]


@keras.saving.register_keras_serializable("tfrecon")
class FeatureDiffusion(FrozenFeatures, Diffusion):
    """See `diffusion`; conditioned on frozen features."""

    def __init__(self, options: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(options, **kwargs)
        self.size_multiple = math.lcm(
            self.extractor.size_multiple, 1 if all(self.pooled) else self.tap_stride,
            self.size_multiple,
        )  # fmt: skip
        check_size(options["image_size"], self.size_multiple)

    def condition_channels(self) -> tuple[int, int]:
        """Those of the maps and of the pooled taps; the features are first read here."""
        channels = self.read_from(Extractor(self.options))
        if self.tap_stride < self.square:
            raise UserError(
                f"the finest tap has a position for {self.tap_stride} pixels a side and the "
                f"denoiser one for {self.square}: its detail would be lost; lower model.patch or "
                "choose a deeper tap"
            )
        self.pooled = [tap.stride is None for tap in self.extractor.taps]
        vector = sum(n for n, pooled in zip(channels, self.pooled, strict=True) if pooled)
        return max(1, sum(channels) - vector), vector

    def raw_features(self, images: Any) -> list[Any]:
        """The taps of images (B,H,W,3): maps on the finest grid, pooled ones (B,1,1,C)."""
        return [
            part[:, :1, :1] if pooled else part
            for part, pooled in zip(self.extractor(images), self.pooled, strict=True)
        ]

    @property
    def features_key(self) -> str:
        """What `raw_features` depend on."""
        return f"{super().features_key} {self.pooled}"

    def condition(self, x: Any) -> tuple[Any, ...]:
        """The standardised taps of images (B,H,W,3), or of what `raw_features` gave: the maps on
        the denoiser's grid, and the vectors."""
        parts = self.features(x)
        maps = [part for part, pooled in zip(parts, self.pooled, strict=True) if not pooled]
        vectors = [part[:, 0, 0] for part, pooled in zip(parts, self.pooled, strict=True) if pooled]
        # Pooled taps alone are of images of one size, one position of the finest grid.
        size = tf.shape((maps or parts)[0])
        grid = size[1:3] * (self.tap_stride // self.square)
        if maps:
            known = tf.image.resize(tf.concat(maps, axis=-1), grid)
        else:
            known = tf.zeros(tf.concat([size[:1], grid, [1]], 0))
        return (known, tf.concat(vectors, axis=-1)) if vectors else (known,)

    def developed(self, points: Any, x: Any) -> Any:
        """The images of the points, moved towards the features of `x` by `refine_steps`."""
        steps = self.options["refine_steps"]
        if not steps:
            return super().developed(points, x)
        wanted = self.features(x)
        return descended(self.space.decode, points, wanted, self.features, steps, REFINING_RATE)

    def adapt(self, batches: Iterable[Any], images: int) -> dict[str, Any]:
        """Fits the statistics of features and latents in one pass over `batches` of x (B,H,W,3)."""
        self.fit_statistics(self.space.watch(batches), images)
        return {}

    @property
    def fingerprint(self) -> str:
        """A hash of the weights of all that is frozen."""
        return self.extractor.fingerprint + (self.space.fingerprint or "")
