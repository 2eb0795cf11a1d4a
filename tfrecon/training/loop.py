"""From a configuration to a trained run: data, strategy, model, callbacks, one `model.fit`."""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

from tfrecon import losses
from tfrecon.base import files
from tfrecon.base.config import Config, FitConfig
from tfrecon.base.errors import UserError
from tfrecon.data.store import content_fingerprint
from tfrecon.models import build_model, check_model
from tfrecon.models.base import ReconstructionModel
from tfrecon.training import precision
from tfrecon.training.ema import MovingAverage
from tfrecon.training.optimizers import build_optimizer
from tfrecon.training.preparation import compile_model, probe_text, with_measured_steps
from tfrecon.training.progress import History, Progress, SampleGrid
from tfrecon.training.run import (
    FACTS,
    STATE,
    Run,
    changes,
    check_frozen,
    machine,
    open_run,
    revision,
)
from tfrecon.training.run_data import (
    Data,
    adaptation_batches,
    kept_features,
    load_data,
    training_batches,
    validation_batches,
)
from tfrecon.training.state import Checkpoint

GRID_IMAGES = 4
DEFAULT_EPOCHS = 10
FEW_POSITIONS = 16
"""Below so many positions a side a crop's features differ from those of a whole image: AlexNet's
conv3 lost several dB to crops of 96 pixels."""


def train(
    config: Config, path: Path, *, resume: bool = False, skip_unreadable: bool = False,
    probe: bool = False,
) -> Run:  # fmt: skip
    """Trains the run in `path` to its end and returns it.

    With `resume` a run goes on from its last checkpoint, or from step 0 where it has none, and ends
    as if it had never stopped. `probe` first lets the model overfit one batch and says how far it
    got; its weights are taken back. Raises UserError for a bad configuration or bad data, before
    the first step and before anything is written.
    """
    minutes = config.fit.minutes  # as asked for: the config will hold the steps that they are
    if resume and minutes is None and (path / FACTS).is_file():
        minutes = open_run(path).facts.get("minutes")
    check_model(config.model)  # the names and options, before thousands of files are read
    losses.mixture(config.fit.loss)
    build_optimizer(config.fit, total_steps=1)
    resume = resume and (path / STATE).is_file()
    data = load_data(config, skip_unreadable=skip_unreadable)
    for finding in data.findings:
        print(finding)
    config = dataclasses.replace(config, fit=precision.resolve(config.fit))
    keras.utils.set_random_seed(config.fit.seed)
    keras.config.set_dtype_policy(precision.POLICIES[config.fit.precision])
    strategy = distribution(config.fit)
    with strategy.scope():
        model = build_model(
            config.model, image_size=config.data.image_size, mask=data.mask, seed=config.fit.seed
        )
    _check_crop(config, model)
    data = dataclasses.replace(data, features=kept_features(config, data, model))
    model.refine_steps = 0  # training watches the decoder's own answer: refinement is slow
    if config.fit.hole_weight != 1 and not model.weighs_pixels:
        raise UserError(
            f"model {config.model.name!r} cannot weigh single pixels; set fit.hole_weight=1"
        )
    started = time.monotonic()
    if model.adapts_to and not resume:
        model.adapt(*adaptation_batches(config, data, model.adapts_to))
    adapting = time.monotonic() - started
    steps_per_epoch = config.fit.steps_per_epoch or -(-data.train_images // config.fit.batch_size)
    if not model.trainable_variables:
        print("this model is solved for, not trained: fit.steps, epochs and minutes mean nothing")
        config = dataclasses.replace(
            config, fit=dataclasses.replace(config.fit, minutes=None, epochs=None, steps=None)
        )
    if probe and model.trainable_variables:
        print(probe_text(config, data, model, strategy))
    if config.fit.minutes is not None:
        config = with_measured_steps(config, data, model, strategy, steps_per_epoch)
    total = _total_steps(config.fit, steps_per_epoch) if model.trainable_variables else 0
    facts = {
        "mask": data.mask,
        "minutes": minutes,
        "steps": total,
        "steps_per_epoch": steps_per_epoch,
        "train_images": data.train_images,
        "val_images": len(data.val),
        "findings": data.findings,
        "data": {
            "train": content_fingerprint([*data.train, *itertools.chain(*data.extra)]),
            "val": content_fingerprint(data.val),
        },
        "code": revision(),
        "frozen": model.fingerprint,
        "replicas": strategy.num_replicas_in_sync,
        "machine": machine(),
    }  # fmt: skip
    run = Run(path, config, facts)
    compile_model(model, config.fit, total, strategy)
    files.remove_leftovers(path)
    recorded = open_run(path) if resume else None
    if recorded:
        _check_data(recorded, run)
    _fit(model, run, data, recorded, adapting)
    return run


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


def _check_data(recorded: Run, run: Run) -> None:
    """Raises UserError when the data of a run that goes on is no longer the same."""
    check_frozen(recorded, run.facts["frozen"])
    for name in ("train_images", "val_images", "mask"):
        then, now = recorded.facts[name], run.facts[name]
        if then != now:
            raise UserError(
                f"run {str(run.path)!r} cannot go on: its data had {name} = {then} when it began "
                f"and has {now} now; restore the files (or --skip-unreadable), or start another "
                "--run"
            )
    then, now = recorded.facts.get("data"), run.facts["data"]
    if then not in (None, now):
        raise UserError(
            f"run {str(run.path)!r} cannot go on: its images have changed since it began, in their "
            "contents, names or order; restore them, or start another --run"
        )


def _warn_of_changes(recorded: Run, run: Run) -> None:
    """Says so when the machine of a run that goes on is no longer the same."""
    different = changes(recorded.facts.get("machine", {}), run.facts["machine"])
    if different:
        print(
            "warning: the run goes on but will not end bit-identical to an uninterrupted one, "
            f"because the machine has changed ({'; '.join(different)})",
            file=sys.stderr,
        )


def distribution(fit: FitConfig) -> tf.distribute.Strategy:
    """The strategy that ``fit.strategy`` names.

    ``auto`` mirrors over the GPUs where there are several; ``mirrored`` over all GPUs, or over all
    logical CPUs where there is none. Raises UserError when the batch cannot be shared out evenly.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if fit.strategy == "none" or (fit.strategy == "auto" and len(gpus) < 2):
        return tf.distribute.get_strategy()
    devices = gpus or tf.config.list_logical_devices("CPU")
    if fit.batch_size % len(devices):
        raise UserError(
            f"fit.batch_size = {fit.batch_size} cannot be shared by {len(devices)} replicas; "
            f"make it a multiple of {len(devices)}"
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _fit(
    model: ReconstructionModel, run: Run, data: Data, recorded: Run | None, seconds_before: float
) -> None:
    """Trains to the end, from the checkpoint of the `recorded` run where there is one."""
    config, path = run.config, run.path
    fit = config.fit
    steps_per_epoch, total = run.facts["steps_per_epoch"], run.facts["steps"]
    validation = validation_batches(config, data, run.facts["replicas"])
    first = None if recorded else training_batches(config, data)
    x, target = next(iter(validation.unbatch().batch(GRID_IMAGES)))[:2]
    if not recorded:
        run.save()  # from here on the run exists
    print(f"run {path} (if it is stopped: python -m tfrecon.fit --run {path} --resume)")
    average = MovingAverage(model.inference_variables, fit.ema_decay) if fit.ema_decay else None
    history = History(path, 0)
    counters = _stoppers(fit)
    state = Checkpoint(
        path, steps_per_epoch=steps_per_epoch, monitor=fit.monitor,
        seconds=fit.checkpoint_seconds, history=history, average=average, counters=counters,
        seconds_before=seconds_before,
    )  # fmt: skip
    if recorded:
        state.restore(model)
        _warn_of_changes(recorded, run)
        model.evaluate(validation.take(1), verbose=0)  # builds the metrics that hold running means
    if state.stopped or state.step >= total > 0:
        return
    if not total:
        return _validate_once(model, validation, history, state)
    progress = Progress(total, state.step)
    callbacks = [SampleGrid(x, target, path, history), average, *counters, history, progress, state]
    try:
        for start, epochs, steps in segments(state.step, total, steps_per_epoch):
            if state.stopped:
                break
            batches, first = first, None
            model.fit(
                batches or training_batches(config, data, start),
                initial_epoch=start // steps_per_epoch,
                epochs=start // steps_per_epoch + epochs,
                steps_per_epoch=steps,
                validation_data=validation,
                callbacks=[callback for callback in callbacks if callback],
                shuffle=False,  # the pipeline shuffles
                verbose=0,
            )
    finally:
        progress.close()
    state.set_model(model)
    state.save()


def _validate_once(
    model: keras.Model, validation: tf.data.Dataset, history: History, state: Checkpoint
) -> None:
    """A model that was solved for takes no steps; it is validated and kept."""
    for callback in (history, state):
        callback.set_model(model)
    found = model.evaluate(validation, verbose=0, return_dict=True)
    logs = {f"val_{name}": value for name, value in found.items()}
    history.on_epoch_end(0, logs)
    state.on_epoch_end(0, logs)
    state.save()


def segments(step: int, total: int, per_epoch: int) -> Iterator[tuple[int, int, int]]:
    """(first step, epochs, steps an epoch) of the `fit` calls that go from `step` to `total`.

    One call where all epochs are whole; the rest of an interrupted epoch and a short last epoch
    need a call of their own.
    """
    while step < total:
        inside = step % per_epoch
        whole = (total - step) // per_epoch
        if inside or not whole:
            epochs, steps = 1, min(per_epoch - inside, total - step)
        else:
            epochs, steps = whole, per_epoch
        yield step, epochs, steps
        step += epochs * steps


def _stoppers(fit: FitConfig) -> list[keras.callbacks.Callback]:
    mode = "max" if any(name in fit.monitor for name in ("psnr", "ssim")) else "min"
    stoppers: list[keras.callbacks.Callback] = []
    if fit.early_stopping_patience:
        stoppers.append(
            keras.callbacks.EarlyStopping(
                fit.monitor, patience=fit.early_stopping_patience, mode=mode
            )
        )
    if fit.reduce_on_plateau_patience:
        stoppers.append(
            keras.callbacks.ReduceLROnPlateau(
                fit.monitor, fit.reduce_on_plateau_factor, fit.reduce_on_plateau_patience, mode=mode
            )
        )
    return stoppers


def _total_steps(fit: FitConfig, steps_per_epoch: int) -> int:
    if fit.steps is not None:
        return fit.steps
    return (fit.epochs or DEFAULT_EPOCHS) * steps_per_epoch
