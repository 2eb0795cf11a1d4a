"""``python -m tfrecon.fit``: trains a model and ends with the verdict of its test scores."""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrecon.base import hub, platforms, ray_cluster
from tfrecon.base.cli import Parser, positive, run, start_tensorflow
from tfrecon.base.errors import Stopped, UserError
from tfrecon.base.files import LOCK, RUNS, Taken

if TYPE_CHECKING:
    from tfrecon.training.run import Run
    from tfrecon.training.start import Source


def parser() -> Parser:
    """The command's arguments."""
    command = Parser(
        "fit",
        "Trains a model into checkpoints/RUN, evaluates it on the test split, prints the verdict.\n"
        "A run that was killed at any moment goes on with --run NAME --resume, bit for bit.",
    )
    command.add_argument("--model", help="model to train, e.g. pix2pix")
    command.add_argument(
        "--data", help="recipe of the data, e.g. demo, or your own; see --list recipes"
    )
    command.add_argument("--root", help="folder that holds the data")
    command.add_argument(
        "--config", metavar="FILE|NAME",
        help="a TOML file, or a configuration that ships, e.g. pix2pix/demo; see --list configs",
    )  # fmt: skip
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="one setting on top of all others, e.g. --set model.base_filters=8 (repeatable)",
    )  # fmt: skip
    command.add_argument("--run", help="name of the run's folder under checkpoints/")
    length = command.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="train this many steps")
    length.add_argument("--epochs", type=int, help="train this many epochs")
    length.add_argument("--minutes", type=float, help="train about this long on this machine")
    command.flag("--resume", "go on with a run that was stopped")
    command.add_argument(
        "--from", dest="source", metavar="RUN|EXPORT|PRESET",
        help="begin with the best weights of another run, or those of an export, a preset or a "
        "repository of the hub, hf://user/name[@revision]; without --model its model is taken, and "
        "of a run the other settings too",
    )  # fmt: skip
    command.flag("--from-state", "--from takes the raw weights of the run's newest state")
    command.add_argument(
        "--freeze", action="append", metavar="PATTERN",
        help="layers that keep their weights, e.g. 'down*' (repeatable)",
    )  # fmt: skip
    command.flag(
        "--probe",
        "first see how far the model gets on a single batch, as a check of model and loss",
    )
    command.add_argument(
        "--strategy", choices=("auto", "none", "mirrored", "multiworker"),
        help="devices to train on (auto); multiworker: those of all machines in $TF_CONFIG",
    )  # fmt: skip
    command.add_argument(
        "--list", metavar="KIND",
        help="print what there is and exit: backbones, models, decoders, fusions, defences, "
        "damages, losses, metrics, recipes or configs",
    )  # fmt: skip
    command.flag(
        "--prepare", "download the data of --data into --root and exit, for recipes that can"
    )
    command.add_argument(
        "--competition", metavar="NAME",
        help="with --prepare: the contest that has the data, as in its address on Kaggle",
    )  # fmt: skip
    command.flag("--skip-unreadable", "train without the images that cannot be read")
    ray_cluster.options(command, "train")
    command.add_argument(
        "--workers", type=positive, metavar="N",
        help="with --on ray: how many train the run together (as many as machines)",
    )  # fmt: skip
    return command


def _body(arguments: argparse.Namespace) -> None:
    from tfrecon.base.config import names_model
    from tfrecon.base.system import set_threads
    from tfrecon.models import entry
    from tfrecon.training.run import CONFIG, complete, goes_on, open_run, resume_command

    if arguments.list:
        return _list(arguments.list)
    on_ray = _is_for_ray(arguments)
    given = tables(arguments)
    if arguments.prepare:
        return _prepare(given, arguments.competition)
    if arguments.competition:
        raise UserError("--competition belongs to --prepare; --data names what is trained on")
    source = _source(arguments)
    given = source.under(given) if source else given
    if arguments.resume and not arguments.run and not names_model(given):
        raise UserError("--resume without --run; name the run that is to go on with --run NAME")
    config = complete(given) if names_model(given) or not arguments.resume else None
    path = _folder(arguments, given)
    recorded = open_run(path) if arguments.resume else None
    if recorded:
        config = goes_on(given, recorded)
        _check_begun(arguments, recorded)
    elif config:
        entry(config.model.name)  # TensorFlow takes seconds to start; a wrong name is told before
    if on_ray:
        return _train_on_ray(arguments, path)
    start_tensorflow()
    from tfrecon.training import loop
    from tfrecon.training.workers import this_worker

    set_threads(recorded.facts if recorded else None)
    options = {"resume": arguments.resume, "skip_unreadable": arguments.skip_unreadable}
    options["source"] = source
    while True:
        try:
            trained = loop.train(config, path, probe=arguments.probe and not recorded, **options)
            break
        except Taken:
            if arguments.run is not None or arguments.resume:
                raise
            path = _folder(arguments, given)  # somebody was faster: the next number
        except Stopped as stop:
            if stop.again and (path / CONFIG).exists():  # begun, but at no step
                stop = Stopped(f"{stop}; go on with {resume_command(path)}", stop.number)
            raise stop from None
    if not this_worker(config.fit).keeps_run:
        return
    from tfrecon.reports.evaluation import evaluate_runs

    skip = arguments.skip_unreadable
    try:
        report = evaluate_runs([trained], skip_unreadable=skip)
    except Stopped as stop:
        again = platforms.command_line([str(path), *(["--skip-unreadable"] if skip else [])])
        raise Stopped(
            f"{stop}; go on with python -m tfrecon.evaluate {again}", stop.number
        ) from None
    where = [
        *(f"in training: {sentence}" for sentence in trained.incidents),
        f"weights, history.csv, progress.webp (samples), logs/ (TensorBoard): {path}",
        f"all metrics, notes and pictures: {report.path} (summary.txt, best.png, per_image.csv, …)",
    ]
    print(report.screen(where))


def _is_for_ray(arguments: argparse.Namespace) -> bool:
    """Whether workers on a Ray cluster train the run, and then by the strategy for them."""
    if not ray_cluster.asked(arguments):
        if arguments.workers:
            raise UserError("--workers are those of a Ray cluster; give --on ray, too")
        return False
    if arguments.strategy not in (None, "multiworker"):
        raise UserError(
            f"--strategy {arguments.strategy} and --on ray exclude each other: Ray's workers train "
            "by multiworker; leave one out"
        )
    arguments.strategy = "multiworker"
    return True


def _train_on_ray(arguments: argparse.Namespace, path: Path) -> None:
    from tfrecon.training import ray_workers
    from tfrecon.training.run import CONFIG, resume_command

    same = parser().words(arguments, ("on", "address", "workers", "run", "resume"))

    def words() -> list[str]:
        is_there = arguments.resume or (path / CONFIG).exists()
        return [*same, f"--run={path}", *(["--resume"] if is_there else [])]

    try:
        ray_workers.train(words, path, arguments.workers, arguments.address)
    except Stopped as stop:
        again = f"{resume_command(path)} --on ray"
        raise Stopped(f"stopped by SIGTERM; go on with {again}", stop.number) from None


def _source(arguments: argparse.Namespace) -> Source | None:
    """What --from names."""
    from tfrecon.training.start import find_source

    name = arguments.source
    if name is None and arguments.from_state:
        raise UserError("--from-state without --from; name the run with --from RUN")
    if name is None or arguments.resume:
        return None
    return find_source(name, arguments.from_state)


def _check_begun(arguments: argparse.Namespace, recorded: Run) -> None:
    """Raises UserError where a run that goes on is given another --from than it began with."""
    begun = recorded.facts.get("started_from", {}).get("name")
    named = arguments.source
    if (
        named is not None
        and begun not in (named, str(RUNS / named))
        and not (begun and hub.is_named(named) and begun.startswith(f"{named}@"))
    ):
        raise UserError(
            f"run {str(recorded.path)!r} began "
            + (f"from {begun}, not from {named}" if begun else f"without --from {named}")
            + "; leave it out to go on, or start another --run"
        )


def _list(kind: str) -> None:
    from tfrecon.training.catalogue import KINDS, catalogue

    if kind in KINDS and kind not in ("recipes", "configs"):
        start_tensorflow()
    print(catalogue(kind))


def _prepare(given: dict[str, Any], competition: str | None) -> None:
    from tfrecon.base.registry import Spec
    from tfrecon.data import recipes

    data = given.get("data", {})
    if "recipe" not in data:
        raise UserError("--prepare needs the name of a recipe; give it with --data RECIPE")
    root = Path(data["root"]) if "root" in data else None
    recipes.prepare(Spec.parse(data["recipe"], "data.recipe"), root, competition)
    print(f"prepared {root}")


def tables(arguments: argparse.Namespace) -> dict[str, Any]:
    """The tables that the command line gives: those of --config, over them the other options, and
    over all the settings of --set."""
    from tfrecon.base import facts
    from tfrecon.base.config import LENGTHS, merged, parse_set, read_toml, with_settings

    given = read_toml(facts.configuration(arguments.config)) if arguments.config else {}
    data = {"recipe": arguments.data, "root": arguments.root}
    flags = {
        "model": arguments.model,
        "data": {key: value for key, value in data.items() if value},
        "fit": {"strategy": arguments.strategy} if arguments.strategy else {},
    }
    over = merged(flags, parse_set(arguments.set))
    lengths = {name: getattr(arguments, name) for name in LENGTHS}
    over["fit"] |= {name: value for name, value in lengths.items() if value is not None}
    over["fit"] |= {"freeze": arguments.freeze} if arguments.freeze else {}
    return with_settings(given, {key: value for key, value in over.items() if value})


def _folder(arguments: argparse.Namespace, given: dict[str, Any]) -> Path:
    """The run's folder: that of --run, or a folder named after model and recipe.

    A folder that exists is an error when the user named it; otherwise the name gets a number.
    """
    from tfrecon.base.registry import Spec
    from tfrecon.training.run import FACTS

    name = arguments.run
    if name is None:
        model = Spec.parse(given["model"], "model").name
        recipe = Spec.parse(given.get("data", {}).get("recipe", "demo"), "data.recipe").name
        name = f"{model}_{recipe}".replace(".", "_")
    if not Path(name).name:
        raise UserError(f"--run {name!r} is no name of a folder; choose another")
    path = RUNS / Path(name).name if Path(name).parent in (Path("."), RUNS) else Path(name)
    # What a process leaves that was killed before the folder was a run is in nobody's way.
    begun = () if arguments.run is None else (LOCK, FACTS)
    if arguments.resume:
        return path
    for other in path.parent.glob("*") if arguments.run else ():
        if other.name != path.name and platforms.alike(other.name) == platforms.alike(path.name):
            raise UserError(
                f"--run {name!r} and {str(other)!r} differ in case alone, and macOS and Windows "
                "take them for one; choose another --run"
            )
    if not _taken(path, begun):
        return path
    if arguments.run is None:
        numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
        return next(other for other in numbered if not _taken(other))
    if (path / "config.json").exists():
        raise UserError(f"run {str(path)!r} exists; go on with --resume or choose another --run")
    raise UserError(f"{str(path)!r} exists and is no run; choose another --run")


def _taken(path: Path, but: Sequence[str] = ()) -> bool:
    """Whether a path is in use: more than a folder of nothing `but` these files and leftovers."""
    if not path.is_dir():
        return path.exists()
    return any(not (child.name in but or child.suffix == ".part") for child in path.iterdir())


main = functools.partial(run, parser, _body)

if __name__ == "__main__":
    sys.exit(main())
