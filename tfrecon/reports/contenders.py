"""The methods that an evaluation scores: runs, their ensembles, tiles, samples and averages, and
what needs no training."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecon.base import checkpoint
from tfrecon.base.errors import UserError
from tfrecon.data import pipeline
from tfrecon.inference.restorer import restore_any_size, restore_tiled, restorer, self_ensemble
from tfrecon.reports import baselines
from tfrecon.reports.costs import NOTHING, Cost
from tfrecon.reports.operations import multiply_adds
from tfrecon.training.run import BEST, STATE, Run
from tfrecon.training.state import kept_variables

ENSEMBLE, TILES, DRAW, BOUND = ", ×8 ensemble", ", in tiles", ", draw ", ", its autoencoder"
RAW, LAST = ", without EMA", ", last step"
"""What the names of a run's further rows end with."""

TILE_OVERLAP = 8
"""Of a tile's side one part is shared with its neighbour, as `reconstruct` has it."""

SLOW = (baselines.BIHARMONIC, baselines.NON_LOCAL_MEANS)
"""Baselines that take longer than the models."""


@dataclass(frozen=True)
class Contender:
    """A method under evaluation: `apply` makes restored images (B,H,W,3) of a batch.

    `cost` is what is known of it before it has run; `is_timed` tells whether its time is worth
    telling.
    """

    apply: Callable[[pipeline.Batch], Any]
    cost: Cost = NOTHING
    is_timed: bool = True


Contenders = dict[str, Contender]


def row_names(runs: Sequence[Run]) -> list[str]:
    """Each run's model, or its folder where runs share a model.

    Raises UserError for two folders of one name."""
    models = [run.config.model.name for run in runs]
    if len(set(models)) == len(runs):
        return models
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{names.count(name)} of the runs are called {name!r}; rename one")
    return names


def of_run(
    run: Run, name: str, model: Any, options: Mapping[str, Any] | None,
    *, ensemble: bool, compare_ema: bool, draws: int, tile: int | None,
) -> Contenders:  # fmt: skip
    """The row of the run's loaded `model`, called `name`, and those of its ensemble, of the
    same in tiles of `tile` pixels, of its averages and of `draws` samples. A diffusion in latents
    has a row of the truth through its autoencoder, which bounds its own.

    With `compare_ema` the last step's raw weights are a row, and the last step's averaged ones too
    where the best weights, which the first row has, are of another step. Raises UserError for a run
    without an average and for draws of a model that makes one answer.
    """
    size, channels = run.config.data.image_size, 4 if run.has_mask else 3
    contender = functools.partial(_contender, run, counted=multiply_adds(model, size, channels))
    rows = {name: contender(model)}
    if ensemble:
        rows[name + ENSEMBLE] = contender(model, around=self_ensemble)
    if tile:
        overlap = tile // TILE_OVERLAP
        rows[name + TILES] = contender(
            model, around=lambda restore: lambda x: restore_tiled(restore, x, tile, overlap)
        )
    for draw in range(1, draws + 1):
        if model.makes_samples:
            row = contender(model, call=functools.partial(model.sample, draw=draw))
        else:
            row = contender(run.load_model({**(options or {}), "draw": draw}))
        rows[f"{name}{DRAW}{draw}"] = row
    if model.is_latent:
        rows[name + BOUND] = _bound(run, model)
    if compare_ema:
        last, raw = _last_weights(run, options)
        rows |= {name + LAST: contender(last)} if last is not None else {}
        rows[name + RAW] = contender(raw)
    return rows


def _last_weights(run: Run, options: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """Two models with weights of the last step: averaged ones, or None where the best ones are of
    that step, and raw ones. Raises UserError for a run without an average."""
    if not run.config.fit.ema_decay:
        raise UserError(
            f"run {run.name!r} kept no moving average of its weights; leave out --compare-ema, "
            "or train with fit.ema_decay=0.999"
        )
    path, last = run.path / STATE, None
    arrays, note = checkpoint.load(path)
    if checkpoint.load(run.path / BEST)[1].get("step") != note["step"]:
        last = run.load_model(options)
        checkpoint.assign(path, arrays, {"average": last.inference_variables})
    raw = run.load_model(options)
    checkpoint.assign(path, arrays, {"model": kept_variables(raw)})
    return last, raw


def _contender(
    run: Run, model: Any, *, counted: int | None, around: Callable[[Any], Any] | None = None,
    call: Callable[[Any], Any] | None = None,
) -> Contender:  # fmt: skip
    """`model`, or its function `call`, wrapped by `around`, whose multiply-adds are `counted`."""
    restore = restorer(model, call)
    cost = Cost(
        sum(int(np.prod(variable.shape)) for variable in model.inference_variables),
        train_minutes=run.train_minutes, multiply_adds=counted,
        train_memory_gib=run.train_memory_gib,
    )  # fmt: skip
    return Contender(on_batches(run, around(restore) if around else restore), cost)


def on_batches(run: Run, restore: Callable[[Any], Any]) -> Callable[[pipeline.Batch], Any]:
    """`restore`, which takes the input of the run's model, as a function of batches."""
    return lambda batch: restore(np.asarray(_input(run, batch)))


def _input(run: Run, batch: pipeline.Batch) -> Any:
    return pipeline.model_input(batch) if run.has_mask else batch["input"]


def _bound(run: Run, model: Any) -> Contender:
    """The truth through the autoencoder of a diffusion."""

    def through(both: Any) -> Any:
        return model.bound(both[..., :-3], both[..., -3:])

    graph = tf.function(lambda both: restore_any_size(model, both, through), reduce_retracing=True)

    def apply(batch: pipeline.Batch) -> Any:
        return graph(tf.concat([_input(run, batch), batch["target"]], axis=-1)).numpy()

    return Contender(apply, is_timed=False)


def _of(restore: Callable[..., Any], *parts: str) -> Contender:
    """A function of some parts of a batch, which are arrays."""
    return Contender(lambda batch: restore(*(batch[part].numpy() for part in parts)))


def of_baselines(*, masked: bool, jpeg: bool, slow: bool) -> Contenders:
    """The damaged input, then fills where there are masks and denoisers where there are none;
    `SLOW` ones on demand."""
    rows = {baselines.DAMAGED: Contender(lambda batch: batch["input"], is_timed=False)}
    if masked:
        fills = baselines.fills(jpeg=jpeg)
        rows |= {name: _of(fill, "input", "mask") for name, fill in fills.items()}
    else:
        rows |= {name: _of(denoise, "input") for name, denoise in baselines.DENOISERS.items()}
    return {name: row for name, row in rows.items() if slow or name not in SLOW}


def of_reductions(factor: int) -> Contenders:
    """What little of the image itself would do, for models that see the whole of it."""
    rows = {"mean colour": _of(baselines.mean_colour, "target")}
    if factor > 1:
        small = functools.partial(baselines.thumbnail, factor=factor)
        rows[f"thumbnail 1/{factor}"] = _of(small, "target")
    return rows
