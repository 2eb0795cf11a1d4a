"""From a configuration to a trained run: data, strategy, model, callbacks, one `model.fit`."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrecon.base import files, hub, platforms
from tfrecon.base.config import Config, FitConfig
from tfrecon.base.errors import UserError, fitting
from tfrecon.base.files import Taken
from tfrecon.base.registry import Spec
from tfrecon.base.system import changes, machine, revision, signals_noted
from tfrecon.models.base import ReconstructionModel
from tfrecon.training import workers
from tfrecon.training.datasets import (
    Data,
    adaptation_batches,
    batch_ids,
    kept_features,
    list_data,
    load_data,
    on_device,
    training_batches,
    validation_batches,
)
from tfrecon.training.ema import MovingAverage
from tfrecon.training.preparation import (
    check_settings,
    compile_model,
    devices_text,
    fast_precision,
    measured_pace,
    probe_text,
    steps_in,
    strategy_and_model,
)
from tfrecon.training.progress import FRAMES, History, Progress, SampleGrid
from tfrecon.training.run import (
    BEST,
    CONFIG,
    FORMAT,
    STATE,
    Run,
    check_frozen,
    check_not_shorter,
    has_state,
    open_run,
    resume_command,
    start_command,
)
from tfrecon.training.sentinel import Diverged, Sentinel
from tfrecon.training.start import Source, find_source
from tfrecon.training.state import Checkpoint, States, higher_is_better, newest_states
from tfrecon.training.trackers import tracked
from tfrecon.training.transfer import Start, freeze

GRID_IMAGES = 4
DEFAULT_EPOCHS = 10


def train(
    config: Config, path: Path, *, resume: bool = False, skip_unreadable: bool = False,
    probe: bool = False, callbacks: Sequence[keras.callbacks.Callback] = (),
    source: Source | None = None,
) -> Run:  # fmt: skip
    """Trains the run in `path` to its end and returns it. It begins with the weights of `source`,
    or of what ``config.fit.start`` names, where there is one.

    With `resume` a run goes on from its last whole checkpoint, or from step 0 where it has none,
    and ends as if it had never stopped; `config` may name other places for its data and caches. A
    step that leaves a value that is not finite is undone (`tfrecon.training.state.Checkpoint`).
    Ctrl-C and SIGTERM save at the next step and raise `Stopped`; a second one stops at once.
    `probe` first lets the model overfit one batch and says how far it got; its weights are taken
    back. Raises UserError for a bad configuration or bad data, before the first step and before
    anything is written.

    `callbacks` see every epoch before history and checkpoint do, so that what they add to its
    values is recorded. Training may take several `fit` calls, each with its `on_train_begin`. A
    resumed run gives Keras's EarlyStopping and ReduceLROnPlateau their counters back; every other
    callback has to keep its state itself. Raises `tfrecon.base.files.Taken` where another process
    works in `path`.

    Of several machines, all of which call this, worker 0 trains in `path`, and what the others
    return is gone (`tfrecon.training.workers`).
    """
    worker = workers.this_worker(config.fit)
    with workers.at_work(worker, path) as place, fitting(_smaller(config)):
        return _train(config, place, resume, skip_unreadable, probe, callbacks, source)


def _smaller(config: Config) -> str:
    """What takes less memory than the training of `config`."""
    batch, size = config.fit.batch_size, config.data.crop_size or config.data.image_size
    setting = f"fit.batch_size={batch // 2}" if batch > 1 else f"data.crop_size={size // 2}"
    return (
        f"train another run with --set {setting}: {batch} × {size}×{size} pixels a step are too "
        f"many, and that is {'half' if batch > 1 else 'a quarter'} of them"
    )


def _train(
    config: Config, path: Path, resume: bool, skip_unreadable: bool, probe: bool,
    callbacks: Sequence[keras.callbacks.Callback], source: Source | None,
) -> Run:  # fmt: skip
    if not resume and (has_state(path) or (path / BEST).is_file()):
        raise Taken(f"run {str(path)!r} exists; go on with --resume, or choose another --run")
    if config.fit.strategy == "multiworker":
        workers.strategy()  # before anything else of TensorFlow
    check_settings(config)
    is_there = (path / CONFIG).is_file() or has_state(path)
    recorded = open_run(path) if resume and is_there else None
    states = newest_states(path) if recorded else None
    if not states and (path / BEST).is_file():
        raise UserError(
            f"run {str(path)!r} has {BEST} and no {STATE} to go on from; evaluate or export it as "
            "it is, and train with another --run"
        )
    made_in = platforms.way(path.resolve(), Path.cwd())
    made_in = recorded.facts.get("made_in") if recorded else made_in
    asked, config = config, Run(path, config, {"made_in": made_in}).placed
    known = dict(recorded.facts.get("revisions", {})) if recorded else {}
    spec = Spec(config.model.name, hub.pinned_all(dict(config.model.options), known))
    config = dataclasses.replace(config, model=spec)
    listed = list_data(config)
    precision = config.fit.precision
    if precision == "auto":
        precision = recorded.facts["precision"] if recorded else fast_precision()
    if source is None and config.fit.start and not recorded:
        source = dataclasses.replace(find_source(config.fit.start), option="fit.start")
    start = None if states else _start(source, recorded)  # its building draws seeds of its own
    if config.fit.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy, model = strategy_and_model(config, listed.mask, precision)
    print(devices_text(strategy, precision))
    begun = _begin(config, model, listed.mask, start, recorded if states else None)
    data = load_data(config, listed, skip_unreadable=skip_unreadable)
    print(*data.findings, sep="\n")
    data = dataclasses.replace(data, features=kept_features(config, data, model))
    started = time.monotonic()
    if model.adapts_to and not states and (start is None or start.leaves_to_fit(model)):
        begun |= model.adapt(*adaptation_batches(config, data, model.adapts_to))
    adapting = time.monotonic() - started
    if probe and model.trainable_variables:
        print(probe_text(config, data, model, strategy))
    length = _length(config, data, model, strategy, recorded)
    facts = {
        "format": FORMAT, "precision": precision, **length, **data.facts(), "code": revision(),
        "frozen": model.fingerprint, "replicas": strategy.num_replicas_in_sync,
        "machine": machine(), "made_in": made_in, "revisions": known, **begun,
    }  # fmt: skip
    run = Run(path, asked, facts)
    if config.fit.strategy == "multiworker":
        alike = ("steps", "steps_per_epoch", "precision", "frozen", "data")
        begins = [begun.get("started_from", {}).get("hash"), states and states[0][1]["step"]]
        said = asked.to_dict()
        workers.agree([said["model"], said["fit"], *(facts[name] for name in alike), *begins])
    compile_model(model, config.fit, length["steps"], strategy)
    for folder in (path, path / FRAMES):
        files.remove_leftovers(folder)
    if recorded and states:
        _check_data(recorded, run)
        longer = _check_length(recorded, run, states[0][1])
        if longer or asked.data != recorded.config.data:
            files.write_json(path / CONFIG, asked.to_dict(), indent=2)
        if longer:
            run.record(**length, lengthened=[*run.facts.get("lengthened", []), *longer[1:]])
    with tracked(run, recorded) as trackers:
        _fit(model, run, data, recorded, states, adapting, [*callbacks, *trackers])
    return run


def _start(source: Source | None, recorded: Run | None) -> Start | None:
    """The weights of `source`, or of that with which a run began that was killed before its first
    state. Raises UserError where those have changed since."""
    begun = recorded.facts.get("started_from") if recorded else None
    if begun:
        place = begun["name"] if hub.is_named(begun["name"]) else begun["path"]
        source = find_source(place, begun["from_state"])
    if source is None:
        return None
    start = Start(source)
    if begun and start.hash != begun["hash"]:
        raise UserError(
            f"run {str(recorded.path)!r} cannot go on: {source.name} has changed since it began, "
            "and it has no state of its own yet; start another --run"
        )
    return start


def _begin(
    config: Config, model: ReconstructionModel, mask: bool, start: Start | None,
    recorded: Run | None,
) -> dict[str, Any]:  # fmt: skip
    """Gives `model`, which sees masks or not, the weights of another training and freezes layers;
    of a `recorded` run, whose state is put back, the layers alone. Returns what a run records."""
    before = recorded.facts if recorded else {}
    kept = ("started_from", "lengthened", "spectrum")
    facts = {name: before[name] for name in kept if name in before}
    if start:
        facts["started_from"] = start.give(model, mask)
    if config.fit.freeze:
        facts["frozen_layers"] = freeze(model, config.fit.freeze)
    return facts


def _length(
    config: Config, data: Data, model: ReconstructionModel, strategy: tf.distribute.Strategy,
    recorded: Run | None,
) -> dict[str, Any]:  # fmt: skip
    """``steps``, ``steps_per_epoch`` and, for minutes, the ``calibration`` behind them."""
    fit = config.fit
    steps_per_epoch = fit.steps_per_epoch or -(-len(data.all_train) // fit.batch_size)
    calibration = None
    if not model.trainable_variables:
        print("this model is solved for, not trained: fit.steps, epochs and minutes mean nothing")
        steps = 0
    elif fit.minutes is None:
        steps = fit.steps or (fit.epochs or DEFAULT_EPOCHS) * steps_per_epoch
    elif recorded and recorded.config.fit.minutes == fit.minutes:
        steps, calibration = recorded.facts["steps"], recorded.facts.get("calibration")
    else:
        calibration = recorded.facts.get("calibration") if recorded else None
        calibration = calibration or measured_pace(config, data, model, strategy)
        steps = steps_in(fit.minutes, calibration, steps_per_epoch)
        pace = calibration["seconds_per_step"]
        print(f"{pace:.3f} s a step: {fit.minutes:g} minutes are {steps:,} steps")
    return {"steps": steps, "steps_per_epoch": steps_per_epoch, "calibration": calibration}


def _check_data(recorded: Run, run: Run) -> None:
    """Raises UserError unless a run that goes on has the data and frozen weights of its start; data
    that lies elsewhere now is recorded there."""
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
    before, here = recorded.config.data, run.config.data
    if then is None and (before.root, before.extra) != (here.root, here.extra):
        raise UserError(
            f"run {str(run.path)!r} has no record of its images' contents, so they cannot be found "
            f"again elsewhere; give its own --root {before.root}"
        )
    if then and any(then[split] != now[split] for split in ("train", "val")):
        raise UserError(
            f"run {str(run.path)!r} cannot go on: its images have changed since it began, in their "
            "contents, names or order; restore them, or start another --run"
        )


def _check_length(recorded: Run, run: Run, note: Mapping[str, Any]) -> list[str]:
    """Of a run that is lengthened, says what holds of its end, and once more for its record where
    that is less than bit for bit; else nothing. `note` is that of its newest state.

    Raises UserError for one that would be shorter, or would take no step.
    """
    then, now, fit = recorded.facts["steps"], run.facts["steps"], run.config.fit
    if then == now:
        return []
    check_not_shorter(recorded, now)
    if note["stopped"]:
        raise UserError(
            f"run {str(run.path)!r} was stopped early, at step {note['step']} of {then}, and would "
            f"not take more; begin another with {start_command(run.path)} --set "
            "fit.early_stopping_patience=0"
        )
    said = [f"lengthened at step {note['step']} from {then} to {now} steps"]
    if fit.schedule == "constant":
        whole = note["step"] < then or then % run.facts["steps_per_epoch"] == 0
        but = "" if whole else f", but for one more validation, at step {then}"
        said[0] += f": it goes on, bit for bit, as if {now} had been asked for at first{but}"
    else:
        said[0] += (
            f": what came before was trained on the {fit.schedule} schedule of {then} steps, which "
            f"goes on as that of {now}: it does not end as {now} steps asked for at first would"
        )
        said *= 2
    print(said[0])
    return said


def _fit(
    model: ReconstructionModel, run: Run, data: Data, recorded: Run | None, states: States | None,
    seconds_before: float, callbacks: Sequence[keras.callbacks.Callback],
) -> None:  # fmt: skip
    """Trains to the end, from the newest of the `states` of the `recorded` run where there are."""
    path, fit, total = run.path, run.config.fit, run.facts["steps"]
    validation = validation_batches(run.placed, data, run.facts["replicas"])
    first = None if states or not total else training_batches(run.placed, data)
    x, target = next(iter(validation.unbatch().batch(GRID_IMAGES)))[:2]
    if not states:
        run.save()  # from here on the run exists
    print(f"run {path} (if it is stopped: {resume_command(path)})")
    average = MovingAverage(model.inference_variables, fit.ema_decay) if fit.ema_decay else None
    history = History(path)
    callbacks = [*_stoppers(fit), *callbacks]
    state = Checkpoint(run, history, average, callbacks, seconds_before)
    if states and recorded:
        state.restore(model, states)
        _tell_of_machine(recorded, run)
        model.evaluate(validation.take(1), verbose=0)  # builds the metrics that hold running means
    else:
        history.begin(run.settings)
        state.begin(model)
        if "started_from" in run.facts:
            state.save()  # from here on the run does not need what it started from
    grid = SampleGrid(x, target, run, history, state.tell)
    if state.stopped or (state.step >= total if total else state.best is not None):
        _finished(model, validation, average, state)
        grid.animate()  # a kill between the last state and this leaves it undone
    elif not total:
        _validate_once(model, validation, history, state)
    else:
        watched = [Sentinel(lambda: state.step), grid, *([average] if average else [])]
        _train_to_end(model, run, state, data, first, validation, [*watched, *callbacks, history])
    if state.best is None:
        raise UserError(
            f"training diverged: {fit.monitor} was finite after none of the epochs, so no weights "
            f"are best; {state.another_run}"
        )


def _train_to_end(
    model: ReconstructionModel, run: Run, state: Checkpoint, data: Data,
    first: tf.data.Dataset | None, validation: tf.data.Dataset,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:  # fmt: skip
    """Trains on, and back and on again where a step goes wrong; `first` are the batches from step 0
    on, where they are made already."""
    progress = Progress(state.steps, state.step)
    in_order = [*callbacks, progress, state]

    def batches_from(start: int) -> tf.data.Dataset:
        return first if first and not start else training_batches(run.placed, data, start)

    try:
        with signals_noted() as state.signals:
            while state.step < state.steps and not state.stopped:
                try:
                    _train_on(model, run, state, batches_from, validation, in_order)
                except Diverged as bad:
                    state.go_back(bad, batch_ids(run.config, data, bad.step) if bad.at_once else [])
                    progress.set_step(state.step)
    finally:
        progress.close()
    state.stop_if_asked()  # during the last callbacks


def _train_on(
    model: ReconstructionModel, run: Run, state: Checkpoint,
    batches_from: Callable[[int], tf.data.Dataset], validation: tf.data.Dataset,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:  # fmt: skip
    """Trains from where the state is until the run is at its end, and saves. Raises `Diverged`."""
    per_epoch = run.facts["steps_per_epoch"]
    for start, epochs, steps in segments(state.step, run.facts["steps"], per_epoch):
        if state.stopped:
            break
        begun, batches = start // per_epoch, batches_from(start)
        model.fit(
            on_device(batches, model.distribute_strategy), initial_epoch=begun,
            epochs=begun + epochs, steps_per_epoch=steps, validation_data=validation,
            callbacks=[*callbacks], verbose=0, shuffle=False,  # the pipeline shuffles
        )  # fmt: skip
    state.save()


def _tell_of_machine(recorded: Run, run: Run) -> None:
    if different := changes(recorded.facts.get("machine", {}), run.facts["machine"]):
        print(
            "warning: the run goes on but will not end bit-identical to an uninterrupted one, "
            f"because the machine has changed ({'; '.join(different)})",
            file=sys.stderr,
        )


def _finished(
    model: ReconstructionModel, validation: tf.data.Dataset, average: MovingAverage | None,
    state: Checkpoint,
) -> None:  # fmt: skip
    """Nothing is left to train; where the best weights are gone the last ones take their place."""
    early = ", stopped early" if state.step < state.steps else ""
    more = f"; begin another from it with {start_command(state.path)}"
    if state.step and not early:
        more = f"; lengthen it with {resume_command(state.path)} --steps {2 * state.steps}"
    more = more if state.steps else ""
    print(
        f"run {state.path} is finished{early}: {state.step} of {state.steps} steps are done{more}"
    )
    if state.best is None:
        watchers = [average] if average else []
        values = model.evaluate(validation, verbose=0, return_dict=True, callbacks=watchers)
        state.keep_best({f"val_{name}": value for name, value in values.items()})
        state.save()


def _validate_once(
    model: ReconstructionModel, validation: tf.data.Dataset, history: History, state: Checkpoint
) -> None:
    """Validates and keeps a model that was solved for and takes no steps."""
    history.set_model(model)
    values = model.evaluate(validation, verbose=0, return_dict=True)
    logs = {f"val_{name}": value for name, value in values.items()}
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
    mode = "max" if higher_is_better(fit.monitor) else "min"
    early, plateau = fit.early_stopping_patience, fit.reduce_on_plateau_patience
    factor = fit.reduce_on_plateau_factor
    stop = keras.callbacks.EarlyStopping(fit.monitor, patience=early, mode=mode)
    reduce = keras.callbacks.ReduceLROnPlateau(fit.monitor, factor, plateau, mode=mode)
    return [*([stop] if early else []), *([reduce] if plateau else [])]
