"""Before the first step: strategy, precision, the compiled model, a probe, minutes as steps."""

import bisect
import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecon import losses
from tfrecon.base.config import Config, FitConfig
from tfrecon.base.errors import UserError, unknown
from tfrecon.base.platforms import processor
from tfrecon.data import recipes
from tfrecon.data.damage import damage
from tfrecon.data.mixture import extras
from tfrecon.metrics.logged import METRICS, keras_metric
from tfrecon.models import build_model, check_model
from tfrecon.models.base import ReconstructionModel
from tfrecon.training import trackers, workers
from tfrecon.training.datasets import Data, keeps_features, training_batches, validation_batches
from tfrecon.training.optimizers import LossScale, build_optimizer

WARM_UP_SECONDS, CALIBRATION_SECONDS = 5.0, 10.0
MOST_CALIBRATION_STEPS = 100_000
FEW_POSITIONS = 16
"""Below so many positions a side a crop's features differ from those of a whole image: AlexNet's
conv3 lost several dB to crops of 96 pixels."""
PROBE_STEPS = 200
PROBE_GAIN_DB = 3.0
"""A model that cannot gain so much on a single batch will not learn from many."""
VALIDATED = ("psnr", "ssim")
"""Metrics that validation logs every epoch, beside the model's own loss."""

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras's dtype policy for each precision; both halves keep float32 weights, outputs and losses."""


def fast_precision() -> str:
    """What ``precision = "auto"`` becomes here: bfloat16 where the accelerator, or else the
    processor, has such arithmetic of its own, float16 on NVIDIA's GPUs before it (V100, T4),
    float32 elsewhere."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        fast = {"avx512_bf16", "amx_bf16"} & {*processor("flags").split()}
        return "bfloat16" if fast else "float32"
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    oldest = min(detail.get("compute_capability", (0, 0)) for detail in details)
    return "bfloat16" if oldest >= (8, 0) else "float16" if oldest > (0, 0) else "float32"


def gpu_names() -> list[str | None]:
    """What the makers call the GPUs that TensorFlow uses."""
    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus]


def devices_text(strategy: tf.distribute.Strategy, precision: str) -> str:
    """Devices, precision and replicas of a training, in a line."""
    replicas = strategy.num_replicas_in_sync
    devices = (
        ", ".join(f"GPU {name}" for name in gpu_names()) or f"CPU {processor('model name')}".strip()
    )
    scaled = " with a loss scale" if precision == "float16" else ""
    return f"training on {devices}; {precision}{scaled}; {replicas} replica{'s' * (replicas > 1)}"


def strategy_and_model(
    config: Config, mask: bool, precision: str
) -> tuple[tf.distribute.Strategy, ReconstructionModel]:
    """The strategy and, under it, the model. Raises UserError where it cannot take the images or
    be trained as ``[fit]`` says; none has to be decoded to see that."""
    keras.utils.set_random_seed(config.fit.seed)
    keras.config.set_dtype_policy(POLICIES[precision])
    strategy = distribution(config.fit)
    with strategy.scope():
        model = build_model(
            config.model, image_size=config.data.image_size, mask=mask, seed=config.fit.seed
        )
    _check_crop(config, model)
    model.refine = None
    if config.fit.hole_weight != 1 and not model.weighs_pixels:
        raise UserError(
            f"model {config.model.name!r} cannot weigh single pixels; set fit.hole_weight=1"
        )
    _check_fit(config, mask, model)
    return strategy, model


def check_settings(config: Config) -> None:
    """Raises UserError for an unknown name and for every option that its builder does not take, of
    model, losses, optimizer, recipes and damage, before a file is looked at. What depends on the
    images' size or on there being masks is seen by `list_data` and `strategy_and_model`, before an
    image is decoded."""
    if config.fit.strategy == "multiworker" and config.fit.minutes is not None:
        raise UserError(
            "fit.minutes is measured by each machine for itself, and several would not take the "
            "same steps; give --steps instead"
        )
    check_model(config.model)
    trackers.check(config.fit.log)
    losses.weighted(config.fit.loss)
    build_optimizer(config.fit, total_steps=1)
    for recipe in (config.data.recipe, *(recipe for recipe, _, _ in extras(config.data))):
        recipes.check(recipe)
    if config.data.damage:
        damage(config.data.damage)


def _check_fit(config: Config, mask: bool, model: ReconstructionModel) -> None:
    """Raises UserError for a loss or metric that cannot take images of these sizes or weigh their
    pixels, for a ``fit.monitor`` that is not computed, and for features that cannot be kept."""
    loss, size = losses.mixture(config.fit.loss), config.data.image_size
    for side in {size, config.data.crop_size or size}:
        grey, ones = tf.fill([1, side, side, 3], 0.5), tf.ones([1, side, side, 1])
        loss(grey, grey, ones if mask and config.fit.hole_weight != 1 else None)
    for name in VALIDATED:
        METRICS[name](tf.zeros([1, size, size, 3]), tf.zeros([1, size, size, 3]))
    computed = [*VALIDATED, *model.monitored]
    if config.fit.monitor.removeprefix("val_") not in computed:
        raise unknown("fit.monitor", config.fit.monitor, [f"val_{name}" for name in VALIDATED])
    keeps_features(config, model)


def distribution(fit: FitConfig) -> tf.distribute.Strategy:
    """The strategy that ``fit.strategy`` names.

    ``auto`` mirrors over the GPUs where there are several; ``mirrored`` over all GPUs, or over all
    logical CPUs where there is none; ``multiworker`` over those of all workers. Raises UserError
    when the batch cannot be shared out evenly.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if fit.strategy == "none" or (fit.strategy == "auto" and len(gpus) < 2):
        return tf.distribute.get_strategy()
    shared = workers.strategy() if fit.strategy == "multiworker" else None
    devices = gpus or tf.config.list_logical_devices("CPU")
    replicas = shared.num_replicas_in_sync if shared else len(devices)
    if fit.batch_size % replicas:
        raise UserError(
            f"fit.batch_size = {fit.batch_size} cannot be shared by {replicas} replicas; "
            f"make it a multiple of {replicas}"
        )
    return shared or tf.distribute.MirroredStrategy([device.name for device in devices])


def _check_crop(config: Config, model: ReconstructionModel) -> None:
    """Raises UserError for training or validation images that the model cannot take."""
    multiple, smallest, fixed = model.size_multiple, model.smallest_size, model.fixed_size
    least = f" and at least {smallest}" if smallest > multiple else ""
    size = config.data.image_size
    for name in ("image_size", "crop_size"):
        size = getattr(config.data, name) or size
        if fixed and size != fixed:
            raise UserError(f"data.{name} must be {fixed} for this model, not {size}")
        if size % multiple or size < smallest:
            raise UserError(
                f"data.{name} must be a multiple of {multiple}{least} for this model, not {size}"
            )
    positions = size // multiple
    if model.extractor and size < config.data.image_size and positions < FEW_POSITIONS:
        print(
            f"warning: of a training crop of {size} pixels the coarsest tap has {positions}×"
            f"{positions} positions, and a backbone's padding reaches many of them, more than in "
            f"validation; give data.crop_size={config.data.image_size} a try",
            file=sys.stderr,
        )


def compile_model(
    model: ReconstructionModel, fit: FitConfig, total_steps: int, strategy: tf.distribute.Strategy
) -> None:
    """Optimizer, loss and metrics of a run of so many steps."""
    with strategy.scope():
        optimizer = build_optimizer(fit, total_steps)
        if model.dtype_policy.name == POLICIES["float16"]:
            optimizer = LossScale(optimizer)
        # Built now: a checkpoint can only be restored into slots that exist.
        optimizer.build(model.optimized_variables)
        model.compile(
            optimizer=optimizer,
            loss=losses.mixture(fit.loss),
            metrics=[keras_metric(name) for name in VALIDATED],
            jit_compile=False,  # XLA halves the speed of these networks on a CPU
        )


def probe_text(config: Config, data: Data, model: ReconstructionModel, strategy: Any) -> str:
    """How far the model gets on one batch in PROBE_STEPS, in a sentence; it keeps its weights."""
    fit = dataclasses.replace(config.fit, schedule="constant", warmup_steps=0)
    compile_model(model, fit, PROBE_STEPS, strategy)
    batch = tf.data.Dataset.from_tensors(next(iter(training_batches(config, data))))
    with _weights_kept(model):
        before = model.evaluate(batch, verbose=0, return_dict=True)
        model.fit(batch.repeat(), steps_per_epoch=PROBE_STEPS, shuffle=False, verbose=0)
        after = model.evaluate(batch, verbose=0, return_dict=True)
    # Of the losses of an adversarial model this one alone has a value in validation.
    loss = "reconstruction" if "reconstruction" in before else "loss"
    said = (
        f"probe: {PROBE_STEPS} steps on one batch took its {loss} from {before[loss]:.4g} to "
        f"{after[loss]:.4g} and its PSNR from {before['psnr']:.2f} to {after['psnr']:.2f}"
    )
    if after["psnr"] - before["psnr"] >= PROBE_GAIN_DB:
        return f"{said} dB: the model can learn from these pairs"
    return (
        f"{said} dB, less than {PROBE_GAIN_DB:g} dB more: look at the loss, the learning rate and "
        "the pairs before training for long"
    )


@contextlib.contextmanager
def _weights_kept(model: ReconstructionModel) -> Iterator[None]:
    before = [np.asarray(variable) for variable in model.variables]
    yield
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)


class _Clock(keras.callbacks.Callback):
    """Stops a training once it has lasted long enough to tell how long a step takes: the mean over
    CALIBRATION_SECONDS, after a first step that traces and WARM_UP_SECONDS in which the pipeline
    fills its buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []
        self.seconds_per_step = 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.ends.append(time.monotonic())
        start = bisect.bisect_left(self.ends, self.ends[0] + WARM_UP_SECONDS)
        if start < batch:
            seconds = self.ends[-1] - self.ends[start]
            self.seconds_per_step = seconds / (batch - start)
            self.model.stop_training = seconds >= CALIBRATION_SECONDS


def measured_pace(
    config: Config, data: Data, model: ReconstructionModel, strategy: tf.distribute.Strategy
) -> dict[str, float]:
    """``seconds_per_step`` of training and ``seconds_per_validation``.

    The calibration trains the model for some seconds and then takes its weights back.
    """
    compile_model(model, config.fit, 1_000_000, strategy)
    with _weights_kept(model):
        clock = _Clock()
        model.fit(training_batches(config, data), epochs=1, steps_per_epoch=MOST_CALIBRATION_STEPS,
                  shuffle=False, verbose=0, callbacks=[clock])  # fmt: skip
        validation = validation_batches(config, data, strategy.num_replicas_in_sync)
        model.evaluate(validation, verbose=0)
        started = time.monotonic()
        model.evaluate(validation, verbose=0)
        seconds = time.monotonic() - started
    return {"seconds_per_step": clock.seconds_per_step, "seconds_per_validation": seconds}


def steps_in(minutes: float, pace: dict[str, float], steps_per_epoch: int) -> int:
    """How many steps fit into `minutes` at a `measured_pace`, with a validation after each epoch;
    at least one."""
    per_epoch = pace["seconds_per_step"] * steps_per_epoch + pace["seconds_per_validation"]
    return max(1, int(minutes * 60 / per_epoch * steps_per_epoch))
