"""``python -m tfrecon.study``: trains a matrix of runs and reports on them."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfrecon.base import extras, ray_cluster
from tfrecon.base.cli import Parser, run, start_tensorflow
from tfrecon.base.errors import UserError
from tfrecon.base.files import RUNS

if TYPE_CHECKING:
    from tfrecon.studies.matrix import Cell, Study


def parser() -> Parser:
    """The command's arguments."""
    command = Parser(
        "study",
        "Trains every cell of a study, a matrix of runs, into checkpoints/STUDY/CELL and writes\n"
        "checkpoints/STUDY/report.html: what won, by how much, and whether it is real.\n"
        "Cells that are finished are kept, one that was stopped goes on, one that failed is tried\n"
        "again; so the same command goes on with a study that was killed. Where the file has a\n"
        "table [search] the cells are drawn, each by what those before it have shown.",
    )
    command.add_argument(
        "study", metavar="FILE|NAME", help="the study's TOML file, or one that ships: studies/NAME"
    )
    command.add_argument("--root", help="folder that holds the data")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="one setting of every cell, e.g. --set fit.precision=float32 (repeatable)",
    )  # fmt: skip
    command.add_argument("--only", metavar="PATTERN", help="cells of such names, e.g. 'vgg16*'")
    command.add_argument(
        "--jobs", type=int, metavar="N",
        help="cells at a time, each with its share of the cores (1; on Ray as many as machines)",
    )  # fmt: skip
    ray_cluster.options(command, "train the cells")
    command.add_argument(
        "--minutes-per-run", type=float, metavar="M", help="train each cell about this long"
    )
    what = command.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="print a line for each cell and exit")
    what.add_argument(
        "--report-only", action="store_true", help="train nothing, report on what there is"
    )
    what.add_argument(
        "--verify", metavar="CELL", help="evaluate a finished cell again and compare; exit"
    )
    return command


def _body(arguments: argparse.Namespace) -> None:
    from tfrecon.base import facts
    from tfrecon.base.config import merged, parse_set
    from tfrecon.studies.matrix import read_study

    on_ray = ray_cluster.asked(arguments)
    over = parse_set(arguments.set)
    if arguments.root:
        over = merged(over, {"data": {"root": arguments.root}})
    if arguments.minutes_per_run is not None:
        over = merged(over, {"fit": {"minutes": arguments.minutes_per_run}})
    path = facts.configuration(arguments.study)
    study = read_study(path, over)
    cells = study.only(arguments.only)
    if arguments.list:
        return _list(study, cells)
    if study.search:
        extras.check("search", f"[search] of {path}")
    start_tensorflow()
    import tensorflow as tf

    from tfrecon.studies import launchers, runner, study_report
    from tfrecon.studies.matrix import check_cells
    from tfrecon.studies.trials import Trials

    folder, trains = RUNS / study.name, not (arguments.verify or arguments.report_only)
    if trains:
        tf.config.set_visible_devices([], "GPU")  # they are for the cells
        check_cells(study.search.corners() if study.search else cells, path)
    trials = Trials(study, folder, trains) if study.search else None
    failed: dict[str, str] = {}
    if trains:
        with launchers.chosen(on_ray, arguments.address, arguments.jobs) as launcher:
            failed = runner.train(trials or runner.Matrix(cells), folder, launcher)
    study, why = (trials.drawn(), trials.reasons()) if trials else (study, {})
    if arguments.verify:
        return print(study_report.verify(study, folder, arguments.verify))
    if len(failed) < len(study.only(arguments.only)):
        print("\n" + study_report.write(study, folder, {**why, **failed}))
    if failed:
        tries = "draws others" if trials else "tries them again"
        raise UserError(
            f"{len(failed)} of {len(cells) or len(study.cells)} cells failed, for the reasons "
            f"above: {', '.join(failed)}; the same command {tries}"
        )


def _list(study: Study, cells: Sequence[Cell]) -> None:
    if study.search:
        print(*study.search.described(), sep="\n")
    width = max((len(cell.name) for cell in cells), default=0)
    for cell in cells:
        labels = (f"{axis}={label}" for axis, label in cell.labels.items())
        print(f"{cell.name:{width}}  {' '.join(labels)}")


main = functools.partial(run, parser, _body)

if __name__ == "__main__":
    sys.exit(main())
