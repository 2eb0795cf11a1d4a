"""Presets opened, and written from runs."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfrecon.base import checkpoint, facts, files, images
from tfrecon.base.cards import Preset, picture, read
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.base.system import float32_policy
from tfrecon.inference.restorer import Loaded, PhotoRestorer, restorer
from tfrecon.inference.saved_model import Difference, answers
from tfrecon.models import MODELS, build_model
from tfrecon.models.base import ReconstructionModel
from tfrecon.training.run import SAMPLES, Run

PICTURE = 480
"""Longest side in pixels of what a card shows of the validation photos."""


@functools.cache
def open_preset(preset: Preset) -> PhotoRestorer:
    """The model of a preset in float32, built once in a process.

    Raises UserError for a damaged one, and for a model that is not one of tfrecon: received files
    run no code.
    """
    arrays, note = preset.load()
    with float32_policy(), facts.only_names_in(""):
        spec = Spec.parse(note["model"], "model")
        model = build_model(spec, image_size=note["image_size"], mask=note["has_mask"], seed=0)
    checkpoint.assign(preset.path, arrays, {"model": model.inference_variables})
    return Loaded(f"preset {preset.name!r}", preset.sha256, note["has_mask"], restorer(model))


def write_preset(
    run: Run, path: str | os.PathLike[str], options: Mapping[str, Any] | None = None
) -> list[Difference]:
    """Writes the best weights of `run` in half precision to ``path.npz``, and ``path.json``, a card
    with what is known of the run; returns how far its answers are from those in float32.

    Words that somebody has written into the card stay, its results do not: they are of other
    weights. `options` take the place of the model's own. Raises UserError, and leaves what was
    there, for a model that is not all in its checkpoint, and for values that half precision cannot
    hold.
    """
    weights = Path(f"{os.fspath(path).removesuffix('.npz')}.npz")
    spec = Spec(run.config.model.name, {**run.config.model.options, **(options or {})})
    model = run.load_model(options)
    _check_whole(spec, model)
    note = {
        "model": spec.to_dict(), "image_size": run.config.data.image_size, "has_mask": run.has_mask,
    }  # fmt: skip
    known = read(weights) if weights.with_suffix(".json").exists() else None
    with files.replacing(weights) as temporary:
        halves = [_half(variable) for variable in model.inference_variables]
        checkpoint.save(temporary, {"model": halves}, note)
        made = Preset(
            weights.stem, temporary, files.digest(temporary, "sha256").hex(), provenance=_data(run)
        )
        differences = _differences(model, open_preset(made), run.has_mask)
    if (samples := run.path / SAMPLES).is_file():
        with files.replacing(picture(weights)) as temporary:
            small = Image.fromarray(images.read(samples))
            small.thumbnail((PICTURE, PICTURE))
            small.save(temporary, format="WEBP", quality=75)
    made = dataclasses.replace(known or made, path=weights, sha256=made.sha256, **_learned(run))
    made.save_card()
    return differences


def _check_whole(spec: Spec, model: ReconstructionModel) -> None:
    if spec.name not in MODELS or model.fingerprint is not None:
        raise UserError(
            f"a preset brings all that it needs, and {spec.name!r} needs code or weights from "
            "elsewhere; export it without --preset"
        )


def _half(variable: Any) -> np.ndarray:
    """A variable in half precision; whole numbers stay as they are."""
    values = np.asarray(variable)
    if values.dtype.kind != "f":
        return values
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise UserError(
            f"the weights of {variable.path!r} hold values that half precision cannot (the largest "
            f"is {np.abs(values).max():.3g}); train it again with fit.optimizer.weight_decay or a "
            "lower fit.learning_rate; nothing was written"
        )
    return half


def _differences(
    model: ReconstructionModel, preset: PhotoRestorer, has_mask: bool
) -> list[Difference]:
    differences = []
    for _, _, x, expected in answers(restorer(model), has_mask):
        restored = preset.restore(x)
        served = images.to_uint8(restored).astype(int) - images.to_uint8(expected)
        worst = float(np.abs(restored - expected).max()), int(np.abs(served).max())
        differences.append(Difference(*x.shape[1:3], *worst))
    return differences


def _data(run: Run) -> str:
    data = run.config.data
    return f"data of {', '.join(spec.name for spec in (data.recipe, *data.extra))}"


def _learned(run: Run) -> dict[str, Any]:
    """What the card says of the training."""
    minutes = run.train_minutes and round(run.train_minutes, 1)
    return {"minutes": minutes, "steps": run.facts.get("steps"), "results": []}
