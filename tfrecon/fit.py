"""``python -m tfrecon.fit``: trains a model and ends with the table of its test scores."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrecon.cli import Parser, run, start_tensorflow
from tfrecon.errors import UserError

RUNS = Path("checkpoints")
LENGTHS = ("steps", "epochs", "minutes")


def parser() -> Parser:
    """The command's arguments."""
    command = Parser(
        "fit",
        "Trains a model into checkpoints/RUN, evaluates it on the test split, prints the table.\n"
        "A run that was killed at any moment goes on with --run NAME --resume, bit for bit.",
    )
    command.add_argument("--model", help="model to train, e.g. pix2pix")
    command.add_argument(
        "--data", help="recipe of the data: demo, animals_inpainting, folder or your.module"
    )
    command.add_argument("--root", help="folder that holds the data")
    command.add_argument("--config", help="TOML file, e.g. configs/pix2pix/demo.toml")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="one setting on top of all others, e.g. --set model.base_filters=8 (repeatable)",
    )  # fmt: skip
    command.add_argument("--run", help="name of the run's folder under checkpoints/")
    length = command.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="train this many steps")
    length.add_argument("--epochs", type=int, help="train this many epochs")
    length.add_argument("--minutes", type=float, help="train about this long on this machine")
    command.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    command.add_argument(
        "--strategy", choices=("auto", "none", "mirrored"), help="devices to train on (auto)"
    )
    command.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="train without the images that cannot be read",
    )
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run(parser(), _body, argv)


def _body(arguments: argparse.Namespace) -> None:
    given = tables(arguments)
    path, facts = _folder(arguments, given)
    from tfrecon.config import from_tables, merged

    if "model" in given:
        from_tables(given)  # the cheap checks, before TensorFlow is imported
    start_tensorflow()
    from tfrecon import training
    from tfrecon.models import DEFAULTS

    training.set_threads(facts)
    if "model" in given:
        name = from_tables(given).model.name
        config = from_tables(merged(DEFAULTS.get(name, {}), given))
    elif not arguments.resume:
        raise UserError(
            "no model given; name one with --model, e.g. --model pix2pix, or --config FILE"
        )
    if arguments.resume:
        from tfrecon.run import open_run

        recorded = open_run(path).config
        if "model" in given:
            _same(config.to_dict(), recorded.to_dict(), path)
        config = recorded
    print(f"run {path} (if it is stopped: python -m tfrecon.fit --run {path.name} --resume)")
    trained = training.train(
        config, path, resume=arguments.resume, skip_unreadable=arguments.skip_unreadable
    )
    from tfrecon.evaluation.report import evaluate_run

    report = evaluate_run(trained, skip_unreadable=arguments.skip_unreadable)
    print(report.text)
    print(f"weights, history.csv, logs/ (TensorBoard): {path}\nreport and pictures: {report.path}")


def tables(arguments: argparse.Namespace) -> dict[str, Any]:
    """The configuration that the command line spells, later settings over earlier ones."""
    from tfrecon.config import merged, parse_set, read_toml

    given = read_toml(arguments.config) if arguments.config else {}
    flags: dict[str, Any] = {"data": {}, "fit": {}}
    if arguments.model:
        flags["model"] = arguments.model
    if arguments.data:
        flags["data"]["recipe"] = arguments.data
    if arguments.root:
        flags["data"]["root"] = arguments.root
    if arguments.strategy:
        flags["fit"]["strategy"] = arguments.strategy
    over = merged(flags, parse_set(arguments.set))
    for name in LENGTHS:
        value = getattr(arguments, name)
        if value is not None:
            over["fit"] = {**over["fit"], name: value}
    if any(name in over["fit"] for name in LENGTHS):  # a new length replaces the file's
        given["fit"] = {k: v for k, v in given.get("fit", {}).items() if k not in LENGTHS}
    return merged(given, {key: value for key, value in over.items() if value})


def _folder(
    arguments: argparse.Namespace, given: dict[str, Any]
) -> tuple[Path, dict[str, Any] | None]:
    """The run's folder, and the facts of the run that is there already, if it is to go on."""
    from tfrecon.registry import Spec

    name = arguments.run
    if name is None:
        model = Spec.parse(given["model"], "model").name if "model" in given else "run"
        recipe = Spec.parse(given.get("data", {}).get("recipe", "demo"), "data.recipe").name
        name = f"{model}_{recipe.replace('.', '_')}"
    path = RUNS / Path(name).name if Path(name).parent in (Path("."), RUNS) else Path(name)
    if arguments.resume:
        from tfrecon.run import open_run

        return path, open_run(path).facts
    if (path / "config.json").exists():
        if arguments.run:
            raise UserError(
                f"run {str(path)!r} exists; go on with --resume or choose another --run"
            )
        number = 2
        while (path.with_name(f"{path.name}-{number}") / "config.json").exists():
            number += 1
        path = path.with_name(f"{path.name}-{number}")
    return path, None


def _same(given: dict[str, Any], recorded: dict[str, Any], path: Path) -> None:
    """Raises UserError for the first setting on which a resumed run and the command line differ."""
    for section in given:
        for key in sorted(given[section].keys() | recorded[section].keys()):
            if key in (*LENGTHS, "precision"):  # resolved when the run began
                continue
            mine, theirs = given[section].get(key), recorded[section].get(key)
            if mine != theirs:
                raise UserError(
                    f"run {str(path)!r} has {section}.{key} = {theirs!r}, not {mine!r}; "
                    "go on with --run and --resume alone, or start another --run"
                )


if __name__ == "__main__":
    sys.exit(main())
