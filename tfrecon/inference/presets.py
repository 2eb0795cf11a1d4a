"""Presets and repositories opened, and written from runs."""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from PIL import Image

from tfrecon.base import checkpoint, files, hub, images
from tfrecon.base.cards import FROZEN, Preset, picture, read, with_words
from tfrecon.base.errors import UserError
from tfrecon.inference.restorer import Loaded, PhotoRestorer, restorer
from tfrecon.inference.saved_model import Difference, answers, export_run
from tfrecon.models import MODELS
from tfrecon.models.base import ReconstructionModel
from tfrecon.training.run import SAMPLES, Run
from tfrecon.training.start import of_preset

PICTURE = 480
"""Longest side in pixels of what a card shows of the validation photos."""
SAVED_MODEL = "saved_model"
"""The folder in a repository of what TensorFlow alone can load."""


@functools.cache
def open_preset(preset: Preset) -> PhotoRestorer:
    """The model of a preset in float32, built once in a process.

    Raises UserError for a damaged one, and for a model that is not one of tfrecon: received files
    run no code.
    """
    model, _ = of_preset(preset, preset.name).weights()
    return Loaded(f"preset {preset.name!r}", preset.sha256, preset.has_mask, restorer(model))


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
    model = run.load_model(options)
    note = _note(run, options)
    if model.fingerprint is not None:
        raise _not_whole(run)
    known = read(weights) if weights.with_suffix(".json").exists() else None
    with files.replacing(weights) as temporary:
        halves = [_half(variable) for variable in model.inference_variables]
        checkpoint.save(temporary, {"model": halves}, note)
        made = Preset(
            weights.stem, temporary, files.digest(temporary, "sha256").hex(), provenance=_data(run)
        )
        differences = _differences(model, open_preset(made), run.has_mask)
    if (samples := run.path / SAMPLES).is_file():
        small(samples, picture(weights), PICTURE)
    made = dataclasses.replace(known or made, path=weights, sha256=made.sha256, **_learned(run))
    made.save_card()
    return differences


def write_repository(
    run: Run, folder: Path, words: Mapping[str, Any], known: Preset | None = None
) -> Preset:
    """Writes the best weights of `run` in float32 to `folder`, as a repository of the hub has them,
    with a card and with a SavedModel that needs TensorFlow alone; returns it as a preset.

    `words` go into the card, over those that are `known`. Raises UserError for others than a card
    has, for a model that is not one of tfrecon or needs files of this machine, and as `export_run`.
    """
    note, weights = _note(run), folder / hub.WEIGHTS
    made = with_words(known or Preset(run.name, weights, "", provenance=_data(run)), words)
    export_run(run, folder / SAVED_MODEL)
    variables = checkpoint.named({"model": run.load_model().inference_variables})
    arrays = {name: np.asarray(variable) for name, variable in variables.items()}
    with files.replacing(weights) as temporary:
        temporary.write_bytes(safetensors.numpy.save(arrays))
    sha256 = files.digest(weights, "sha256").hex()
    made = dataclasses.replace(made, path=weights, sha256=sha256, told=note, **_learned(run))
    made.save_card()
    return made


def small(source: Path, target: Path, side: int) -> None:
    """Writes the picture `source` as WebP to `target`, its longer side of `side` pixels at most."""
    with files.replacing(target) as temporary:
        picture = Image.fromarray(images.read(source))
        picture.thumbnail((side, side))
        picture.save(temporary, format="WEBP", quality=75)


def _note(run: Run, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What builds the model of `run` anywhere. Raises UserError for one with code or files of its
    own."""
    spec = run.model_with(options or {})
    texts = re.findall(r'"([^"]+)"', json.dumps(spec.options))
    if spec.name not in MODELS or any(map(os.path.exists, texts)):
        raise _not_whole(run)
    note = {
        "model": spec.to_dict(), "image_size": run.config.data.image_size, "has_mask": run.has_mask,
    }  # fmt: skip
    frozen = run.facts.get("frozen")
    return note if frozen is None else {**note, FROZEN: frozen}


def _not_whole(run: Run) -> UserError:
    return UserError(
        f"what is given away brings all that it needs, and {run.config.model.name!r} of run "
        f"{run.name!r} needs code, files or weights from elsewhere; an export has them inside: "
        f"python -m tfrecon.export {run.path}"
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
