"""A run's folder: the configuration as asked, what it became, the weights and the report."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrecon.base import checkpoint, files, hub, platforms
from tfrecon.base.config import (
    LENGTHS,
    Config,
    Table,
    check_sections,
    from_tables,
    merged,
    names_model,
    read_json,
    with_settings,
)
from tfrecon.base.errors import UserError, foreign
from tfrecon.base.registry import Natural, Positive, Spec, check_type
from tfrecon.base.system import dtype_policy
from tfrecon.models import defaults, entry

if TYPE_CHECKING:
    import polars as pl

CONFIG, FACTS, STATE, BEST = "config.json", "run.json", "state.npz", "best.npz"
BEFORE = "state-before.npz"
"""An earlier state: that to which a step that goes wrong leads back, and the one to go on from
where `STATE` is damaged."""
FORMAT = 2
"""Of the two JSON files. Before format 2 ``config.json`` held what steps and precision became."""
SAMPLES = "samples.png"
"""Input, output and target of a few validation photos."""
ANIMATION = "progress.webp"
"""What the model made of a few validation photos, over the training."""
TIME = "time.json"
"""What training has taken: ``train_seconds`` and ``peak_memory_gib``. Not in the run's state, which
is the same however often it was stopped."""


_FACT_TYPES = {
    "mask": bool, "precision": str, "machine": dict, "intra_op_threads": Natural,
    "inter_op_threads": Natural, "steps": Natural, "steps_per_epoch": Positive,
    "replicas": Positive, "incidents": dict, "made_in": str | None, "started_from": dict,
    "lengthened": list[str], "tracked_as": dict, "revisions": dict,
}  # fmt: skip
"""What others than this program may have written into `FACTS`."""

_DAMAGED = "restore it, or delete the folder and train anew", "holds a damaged run"


@dataclass(frozen=True)
class Run:
    """One training run: `config` as asked, and `facts`, what it became: steps, precision, masks,
    versions, threads."""

    path: Path
    config: Config
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def placed(self) -> Config:
        """`config`, its relative places as they were meant when the run was made, from whatever
        working folder it is looked at.

        ``made_in`` of `facts` is the way from the run's folder to the working folder of its
        training, so that a project that is moved or copied as a whole, to another machine too,
        finds its data. What is not there, as of a run that was moved alone or is older than this
        record, is looked for from the present working folder. That the data is the same its
        recorded hashes tell, wherever it lies.
        """
        return _with_places(self.config, self._found)

    def _found(self, place: str) -> str:
        there = self.path.resolve() / (self.facts.get("made_in") or os.getcwd()) / place
        if not there.exists() or (os.path.exists(place) and there.samefile(place)):
            return place
        return os.path.normpath(there)

    @property
    def settings(self) -> Table:
        """`config` as nested tables, without the folders of a machine."""
        tables = self.config.to_dict()
        return {**tables, "data": without_places(tables["data"])}

    @property
    def has_mask(self) -> bool:
        """Whether the model's input carries a mask as its last channel."""
        return bool(self.facts["mask"])

    @property
    def train_minutes(self) -> float | None:
        """Wall time of its training up to the last checkpoint, validations included, pauses not;
        None where the run has no record of it."""
        seconds = resources_used(self.path)["train_seconds"]
        return seconds / 60 if seconds else None

    @property
    def train_memory_gib(self) -> float | None:
        """The most memory that its training's process held at once; None where not recorded."""
        return resources_used(self.path)["peak_memory_gib"] or None

    @property
    def incidents(self) -> list[str]:
        """What went wrong, or was changed, while it trained, in sentences."""
        return [*self.facts.get("lengthened", []), *self.facts.get("incidents", {}).values()]

    def history(self) -> pl.DataFrame:
        """A row for each epoch: ``epoch``, ``step``, ``learning_rate``, losses, and what validation
        has found, ``val_psnr`` and so on. Raises UserError where there is none yet."""
        from tfrecon.training import notebook

        return notebook.history(self.path)

    def scores(self) -> pl.DataFrame:
        """A row for each image and method of the run's test: ``id``, ``method``, and a value for
        each metric, null where there is none or the method failed. Raises UserError where the run
        was not evaluated."""
        from tfrecon.training import notebook

        return notebook.scores(self.path)

    def _repr_html_(self) -> str:
        from tfrecon.training import notebook

        return notebook.page(self)

    def save(self) -> None:
        """Writes config and facts."""
        # The configuration last: a folder that has it is a run.
        for name, content in ((FACTS, self.facts), (CONFIG, self.config.to_dict())):
            files.write_json(self.path / name, content, indent=2)

    def record(self, **facts: Any) -> None:
        """Adds facts to those that the folder has; the others stay those of the run's start."""
        self.facts.update(facts)
        before = json.loads((self.path / FACTS).read_text(encoding="utf-8"))
        files.write_json(self.path / FACTS, {**before, **facts}, indent=2)

    def load_model(self, options: Mapping[str, Any] | None = None, policy: str = "float32") -> Any:
        """The trained model in float32, or under another `policy` of Keras's, with the best weights
        (their moving average where the run keeps one); `options` are put on top of those that it
        was trained with.

        Raises UserError when the run has no weights yet, for options that change what the weights
        belong to, and when the weights of a frozen part are not those of the training."""
        if not (self.path / BEST).is_file():
            raise UserError(
                f"run {str(self.path)!r} has no weights yet; finish it with "
                f"{resume_command(self.path)}"
            )
        model = self.build_model(options, policy)
        arrays, _ = load_best(self.path)
        checkpoint.assign(self.path / BEST, arrays, {"model": model.inference_variables})
        return model

    def build_model(self, options: Mapping[str, Any] | None = None, policy: str = "float32") -> Any:
        """The model as `load_model` gives it, as it was before its training; raises what that
        raises."""
        from tfrecon.models import build_model

        spec, size = self.model_with(options or {}), self.config.data.image_size
        seed = self.config.fit.seed
        with dtype_policy(policy):
            model = build_model(spec, image_size=size, mask=self.has_mask, seed=seed)
        check_frozen(self, model.fingerprint)
        return model

    def model_with(self, options: Mapping[str, Any]) -> Spec:
        """The model's Spec with `options` on top, and with the revisions of the hub's repositories
        at which it was trained. Raises UserError for options that matter not at inference only."""
        trained = self.config.model
        known = entry(trained.name).inference_options if options else ()
        for key in options:
            if key not in known:
                raise UserError(
                    f"model.{key} cannot be set on a trained run; of {trained.name!r} these can: "
                    + (", ".join(known) or "none")
                )
        revisions = dict(self.facts.get("revisions", {}))
        return Spec(trained.name, hub.pinned_all({**trained.options, **options}, revisions))


def evaluate_command(path: Path) -> str:
    """The command that scores the run in a folder."""
    return f"python -m tfrecon.evaluate {_quoted(path)}"


def resume_command(path: Path) -> str:
    """The command that goes on with the run in a folder."""
    return f"python -m tfrecon.fit --run {_quoted(path)} --resume"


def start_command(path: Path) -> str:
    """The command that begins another run with the weights of the one in a folder."""
    return f"python -m tfrecon.fit --from {_quoted(path)}"


def _quoted(path: Path) -> str:
    place = path if len(path.parts) > 1 else path.absolute()  # a bare name is one in checkpoints/
    return platforms.command_line([str(place)])


def has_state(path: Path) -> bool:
    """Whether the run in a folder has something to go on from."""
    return any((path / name).is_file() for name in (STATE, BEFORE))


def load_best(path: Path) -> checkpoint.Saved:
    """The best weights of the run in a folder. Raises UserError where they are damaged."""
    return checkpoint.load(
        path / BEST,
        "put a copy in its place, or remove it and let the run choose its best weights anew with "
        f"{resume_command(path)}",
    )


def check_frozen(run: Run, fingerprint: str | None) -> None:
    """Raises UserError unless a model's frozen weights are those that `run` was trained on."""
    if fingerprint != run.facts.get("frozen"):
        raise UserError(
            "the frozen weights of backbone or autoencoder are not those that run "
            f"{str(run.path)!r} was trained on; restore them, or train anew"
        )


def open_run(path: str | os.PathLike[str]) -> Run:
    """The run in a folder. Raises UserError for a missing folder or one that holds no run."""
    path = Path(path)
    if not path.is_dir():
        raise UserError(
            f"run folder {str(path)!r} does not exist; train one with python -m tfrecon.fit"
        )
    for name in (CONFIG, FACTS):
        if not (path / name).is_file():
            raise UserError(
                f"folder {str(path)!r} is no run: it has no {name}; name one below checkpoints"
            )
    with foreign("folder", path, *_DAMAGED):
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        known = {**facts, **facts.get("machine", {})}
        for name in {"mask"} | _FACT_TYPES.keys() & known.keys():
            check_type(f"{str(path / FACTS)!r}: {name}", known[name], _FACT_TYPES[name])
        return _as_asked(Run(path, read_json(path / CONFIG), facts))


def _as_asked(run: Run) -> Run:
    """Brings a run of the old format into the present one. There the configuration held the steps
    that minutes became, and the facts held the minutes; nothing told that a precision had been
    automatic."""
    if "format" in run.facts:
        return run
    fit = run.config.fit
    if run.facts.get("minutes") is not None:
        fit = dataclasses.replace(fit, steps=None, minutes=run.facts["minutes"])
    facts = {"precision": fit.precision, **run.facts}
    return Run(run.path, dataclasses.replace(run.config, fit=fit), facts)


def complete(tables: Mapping[str, Any], source: str = "configuration") -> Config:
    """The checked Config of nested tables, on top of the defaults of the model that they name."""
    check_sections(tables, source)
    if "model" in tables:
        tables = with_settings(defaults(Spec.parse(tables["model"], "model").name), tables)
    return from_tables(tables, source)


PLACES = "root", "cache_dir"
"""Settings of [data], and of its extra recipes, that say where something lies, and not what a run
is."""


def _with_places(config: Config, found: Callable[[str], str]) -> Config:
    """`config` with what `found` makes of each of its places."""

    def moved(settings: Mapping[str, Any]) -> Table:
        return {key: found(value) for key, value in settings.items()
                if key in PLACES and isinstance(value, str)}  # fmt: skip

    extra = [Spec(e.name, {**e.options, **moved(e.options)}) for e in config.data.extra]
    data = dataclasses.replace(config.data, **moved(vars(config.data)), extra=extra)
    return dataclasses.replace(config, data=data)


def without_places(data: Mapping[str, Any]) -> Table:
    """The table [data] without the folders of a machine."""

    def stripped(settings: Mapping[str, Any]) -> Table:
        return {key: value for key, value in settings.items() if key not in PLACES}

    return {**stripped(data), "extra": [stripped(extra) for extra in data["extra"]]}


def goes_on(given: Mapping[str, Any], recorded: Run) -> Config:
    """The configuration with which a run goes on: its own, with the places that are given. A
    relative one is meant from here: it is written down whole where the run was made elsewhere. A
    length that is given takes the place of its own.

    Raises UserError where another setting differs, and for fewer steps than it has.
    """
    theirs, mine = recorded.config.to_dict(), given.get("data", {})
    fit, own = given.get("fit", {}), {name: theirs["fit"][name] for name in LENGTHS}
    asked = {**dict.fromkeys(LENGTHS), **{key: fit[key] for key in LENGTHS if fit.get(key)}}
    if any(asked.values()) and asked != own and recorded.facts.get("steps"):
        check_same_settings(
            {**given, "fit": {**fit, **own}}, recorded,
            "a run is lengthened with all else as it is; begin another with "
            f"{start_command(recorded.path)}",
        )  # fmt: skip
        theirs["fit"] |= asked
        steps = asked["steps"] or (asked["epochs"] or 0) * recorded.facts["steps_per_epoch"]
        if steps:
            check_not_shorter(recorded, steps)
    else:
        check_same_settings(given, recorded)
    places = {key: mine[key] for key in (*PLACES, "extra") if key in mine}
    made_in = recorded.path.resolve() / (recorded.facts.get("made_in") or os.getcwd())
    if made_in.resolve() != Path.cwd().resolve():
        asked = from_tables({"model": theirs["model"], "data": places})
        whole = _with_places(asked, os.path.abspath).to_dict()["data"]
        places = {key: whole[key] for key in places}
    return from_tables(merged(theirs, {"data": places}))


def check_not_shorter(recorded: Run, steps: int) -> None:
    """Raises UserError for fewer `steps` than a run has."""
    if steps < recorded.facts["steps"]:
        raise UserError(
            f"run {str(recorded.path)!r} has {recorded.facts['steps']} steps and can be made "
            f"longer, not shorter ({steps}); go on with --run and --resume alone, or begin another "
            f"with {start_command(recorded.path)}"
        )


def check_same_settings(
    given: Mapping[str, Any], recorded: Run,
    remedy: str = "go on with --run and --resume alone, or start another --run",
) -> None:  # fmt: skip
    """Raises UserError for the first setting, other than a place, in which a run that is to go on
    differs from what is given: a whole configuration, or, in tables that name no model, some
    settings of it. `remedy` ends the sentence.
    """
    theirs = recorded.config.to_dict()
    if names_model(given):
        mine = complete(given).to_dict()
    else:
        mine = from_tables(with_settings(theirs, given)).to_dict()
    if "format" not in recorded.facts:
        _forgive(mine["fit"], theirs["fit"], recorded.facts)
    for tables in (mine, theirs):
        tables["data"] = without_places(tables["data"])
    for section, settings in mine.items():
        for key in sorted(settings.keys() | theirs[section].keys()):
            if settings.get(key) != theirs[section].get(key):
                raise UserError(
                    f"run {str(recorded.path)!r} has {section}.{key} = "
                    f"{theirs[section].get(key)!r}, not {settings.get(key)!r}; {remedy}"
                )


def _forgive(mine: Table, theirs: Table, facts: Mapping[str, Any]) -> None:
    """Sets the given settings to the recorded ones where a run of the old format does not tell what
    was asked for: an automatic precision, and any length for a model that is solved for."""
    if mine["precision"] == "auto":
        mine["precision"] = theirs["precision"]
    if facts.get("steps") == 0:
        mine.update({name: theirs[name] for name in LENGTHS})


def resources_used(path: Path) -> dict[str, float]:
    """What the run in a folder has recorded in `TIME`, 0 where there is nothing."""
    try:
        recorded = json.loads((path / TIME).read_text(encoding="utf-8"))
        return {name: float(recorded.get(name, 0)) for name in ("train_seconds", "peak_memory_gib")}
    except Exception:  # whatever stands there
        return {"train_seconds": 0.0, "peak_memory_gib": 0.0}
