"""Where a training can start from: the weights of a run, an export, a preset or a repository."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrecon.base import cards, checkpoint, facts, hub
from tfrecon.base.config import Table, names_model, with_settings
from tfrecon.base.errors import UserError, foreign
from tfrecon.base.files import RECORD, RUNS
from tfrecon.base.registry import Positive, Spec, check_type
from tfrecon.base.system import float32_policy
from tfrecon.models import as_built, build_model
from tfrecon.training.run import BEST, CONFIG, STATE, Run, has_state, open_run

if TYPE_CHECKING:
    from tfrecon.models.base import ReconstructionModel

GEOMETRY = (
    "image_size", "crop_size", "load_size", "val_size", "resize", "zoom", "color_jitter", "flip",
    "turn",
)  # fmt: skip
"""The settings of [data] that mean the same for every recipe."""


@dataclass(frozen=True)
class Source:
    """Trained weights that a training can start from, in a folder or a file."""

    path: Path
    name: str
    """What the user calls it."""
    tables: Table
    """What they were trained with: of a run its configuration, else model and image size."""
    has_mask: bool
    weights: Callable[[], tuple[ReconstructionModel, list[Any]]]
    """Builds their model, in float32, and says which of its variables they are."""
    from_state: bool = False
    """Whether they are the raw ones of a run's newest state, not its best ones."""
    option: str = "--from"
    """What names it: this, or the setting ``fit.start``."""

    def under(self, given: Mapping[str, Any]) -> Table:
        """The tables `given`, where they name no model on top of the source's own. Where they name
        another recipe, only the source's `GEOMETRY` of the data is kept."""
        if names_model(given):
            return dict(given)
        trained = as_built(Spec.parse(self.tables["model"], "model"))
        tables, data = {**self.tables, "model": trained.to_dict()}, self.tables["data"]
        if "recipe" in given.get("data", {}) and "recipe" in data:
            recipe = Spec.parse(given["data"]["recipe"], "data.recipe").name
            if recipe != Spec.parse(data["recipe"], "data.recipe").name:
                tables = {**tables, "data": {key: data[key] for key in GEOMETRY}}
        return with_settings(tables, given)


def open_source(path: Path, from_state: bool = False, name: str | None = None) -> Source:
    """The source in the folder of a run, export or repository, in a run's file of weights, or in
    that of a preset; what builds models is not imported yet. It is called by its path unless it has
    a `name`.

    Of a run its best weights, or with `from_state`, and where it has no best ones, the raw weights
    of its newest state. Raises UserError for what is none of them.
    """
    name = name or str(path)
    folder = path.parent if path.name == BEST else path
    is_repository = path.name == hub.WEIGHTS or (path / hub.WEIGHTS).is_file()
    if (folder / CONFIG).is_file() and not is_repository:
        return _of_run(open_run(folder), name, from_state)
    if from_state:
        raise UserError(f"--from-state needs a run, and {name} is none; leave it out")
    if (path / RECORD).is_file():
        return _of_export(path, name)
    if not is_repository and path.suffix != ".npz":
        raise UserError(f"{name!r} is neither a run nor an export nor a preset; name one of them")
    return of_preset(cards.find(str(path), name), name)


def find_source(name: str, from_state: bool = False) -> Source:
    """The source that a user calls `name`: a run in checkpoints/, a path, a preset, or a repository
    of the hub, which is called by the commit that it was fetched at.

    Raises UserError where there is none of that name.
    """
    if hub.is_named(name):
        place = hub.fetched(name)
        return open_source(place, from_state, hub.pinned(name, place))
    for path in (RUNS / name, Path(name)):
        if path.exists():
            return open_source(path, from_state)
    shipped = {preset.name: preset.path for preset in cards.presets()}
    if name not in shipped:
        raise UserError(
            f"there is no run, export, file or preset {name!r}; runs "
            f"lie in {RUNS}/, presets are {', '.join(shipped) or 'none'}, and repositories of the "
            f"hub begin with {hub.PREFIX}"
        )
    return open_source(shipped[name], from_state, name)


def of_preset(preset: cards.Preset, name: str) -> Source:
    """The source of a preset, whose model is one of tfrecon: received files run no code."""
    source = _described(preset.path, name, preset.note, lambda: preset.load()[0])

    def weights() -> tuple[ReconstructionModel, list[Any]]:
        with facts.only_names_in(""):
            model, variables = source.weights()
        if model.fingerprint != preset.note.get(cards.FROZEN):
            raise UserError(
                f"the frozen weights of backbone or autoencoder are not those that {name} was "
                "trained on; restore them"
            )
        return model, variables

    return dataclasses.replace(source, weights=weights)


def _of_run(run: Run, name: str, from_state: bool) -> Source:
    has_best = (run.path / BEST).is_file()
    if not has_best and not has_state(run.path):
        raise UserError(f"run {name!r} has no weights yet; name another")

    def of_best() -> tuple[ReconstructionModel, list[Any]]:
        model = run.load_model()
        return model, model.inference_variables

    def of_state() -> tuple[ReconstructionModel, list[Any]]:
        from tfrecon.training.state import kept_variables, newest_states

        states = newest_states(run.path) or []
        model = run.build_model()
        checkpoint.assign(run.path / STATE, states[0][0], {"model": kept_variables(model)})
        return model, kept_variables(model)

    raw = from_state or not has_best
    weights = of_state if raw else of_best
    return Source(run.path, name, run.placed.to_dict(), run.has_mask, weights, raw)


def _of_export(path: Path, name: str) -> Source:
    with foreign("export", path, "export it again", "cannot be read"):
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        if "weights" not in record or "image_size" not in record:
            raise UserError(
                f"export {name!r} does not say which of its weights is which, as SavedModels "
                "without --precision do; export its run again as one, or start from the run"
            )
        return _described(path, name, record, lambda: _exported(path, record["weights"]))


def _exported(path: Path, places: Sequence[int | None]) -> dict[str, Any]:
    """The arrays of an export by the names that a checkpoint has for them; those of no place, of a
    frozen network, are left out."""
    import tensorflow as tf

    with foreign("export", path, "export it again"):
        reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        return {
            f"model/{place:04d}": reader.get_tensor(f"weights/{n}/.ATTRIBUTES/VARIABLE_VALUE")
            for n, place in enumerate(places)
            if place is not None
        }


def _described(
    path: Path, name: str, about: Mapping[str, Any], arrays: Callable[[], dict[str, Any]]
) -> Source:
    """A source of the inference variables of the model that `about` describes by ``model``,
    ``image_size`` and ``has_mask``."""
    spec, size, mask = Spec.parse(about["model"], "model"), about["image_size"], about["has_mask"]
    check_type("image_size", size, Positive)

    def weights() -> tuple[ReconstructionModel, list[Any]]:
        with float32_policy():
            model = build_model(spec, image_size=size, mask=bool(mask), seed=0)
        checkpoint.assign(path, arrays(), {"model": model.inference_variables})
        return model, model.inference_variables

    tables = {"model": spec.to_dict(), "data": {"image_size": size}}
    return Source(path, name, tables, bool(mask), weights)
