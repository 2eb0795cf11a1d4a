"""Before a run: the compiled model, a probe on one batch, and minutes turned into steps."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecon import losses
from tfrecon.base.config import Config, FitConfig
from tfrecon.base.errors import unknown
from tfrecon.metrics.logged import keras_metric
from tfrecon.models.base import ReconstructionModel
from tfrecon.training.optimizers import build_optimizer
from tfrecon.training.run_data import Data, training_batches, validation_batches

WARM_UP_SECONDS, CALIBRATION_SECONDS = 5.0, 10.0
MOST_CALIBRATION_STEPS = 100_000
PROBE_STEPS = 200
PROBE_GAIN_DB = 3.0
"""A model that cannot gain so much on a single batch will not learn from many."""
VALIDATED = ("psnr", "ssim")
"""Metrics that validation logs every epoch, beside the model's own loss."""


def compile_model(
    model: ReconstructionModel, fit: FitConfig, total_steps: int, strategy: tf.distribute.Strategy
) -> None:
    """Optimizer, loss and metrics of a run of so many steps.

    Raises UserError for a ``fit.monitor`` that is not computed.
    """
    with strategy.scope():
        optimizer = build_optimizer(fit, total_steps)
        # Built now: a checkpoint can only be restored into slots that exist.
        optimizer.build(model.optimized_variables)
        model.compile(
            optimizer=optimizer,
            loss=losses.mixture(fit.loss),
            metrics=[keras_metric(name) for name in VALIDATED],
            jit_compile=False,  # XLA halves the speed of these networks on a CPU
        )
    computed = [*VALIDATED, *model.monitored]
    if fit.monitor.removeprefix("val_") not in computed:
        raise unknown("fit.monitor", fit.monitor, [f"val_{name}" for name in VALIDATED])


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
def _weights_kept(model: keras.Model) -> Iterator[None]:
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
        self._from: int | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the time."""
        self.ends.append(time.monotonic())
        if self._from is None and self.ends[-1] - self.ends[0] >= WARM_UP_SECONDS:
            self._from = batch
        if self._from is not None and batch > self._from:
            self.model.stop_training = self.ends[-1] - self.ends[self._from] >= CALIBRATION_SECONDS

    @property
    def per_step(self) -> float:
        """Seconds."""
        start = self._from or 0
        return (self.ends[-1] - self.ends[start]) / (len(self.ends) - 1 - start)


def with_measured_steps(
    config: Config, data: Data, model: ReconstructionModel, strategy: Any, steps_per_epoch: int
) -> Config:
    """The config with ``minutes`` turned into ``steps``: what fits, validations included.

    The calibration trains the model for some seconds and then takes its weights back.
    """
    fit = config.fit
    minutes = fit.minutes or 0.0
    compile_model(model, fit, 1_000_000, strategy)
    with _weights_kept(model):
        batches = training_batches(config, data)
        clock = _Clock()
        model.fit(batches, epochs=1, steps_per_epoch=MOST_CALIBRATION_STEPS, shuffle=False,
                  verbose=0, callbacks=[clock])  # fmt: skip
        per_step = clock.per_step
        validation = validation_batches(config, data, strategy.num_replicas_in_sync)
        model.evaluate(validation, verbose=0)
        started = time.monotonic()
        model.evaluate(validation, verbose=0)
        per_epoch = per_step * steps_per_epoch + time.monotonic() - started
    total = max(1, int(minutes * 60 / per_epoch * steps_per_epoch))
    print(f"{per_step:.3f} s a step: {minutes:g} minutes are {total:,} steps")
    return dataclasses.replace(config, fit=dataclasses.replace(fit, minutes=None, steps=total))
