"""One cell of a study, trained and evaluated in a process of its own.

    python -m tfrecon.studies.worker checkpoints/STUDY/CELL TABLES

TABLES are those of the cell as JSON.
"""

import argparse
import json
import sys
from pathlib import Path

from tfrecon.base.cli import Parser, run, start_tensorflow


def parser() -> Parser:
    """The command's arguments."""
    command = Parser("studies.worker", "One cell of a study; see python -m tfrecon.study --help.")
    command.add_argument("path", type=Path)
    command.add_argument("tables", type=json.loads)
    return command


def _body(arguments: argparse.Namespace) -> None:
    start_tensorflow()
    from tfrecon.base.system import set_threads
    from tfrecon.reports.evaluation import evaluate_runs
    from tfrecon.training import loop
    from tfrecon.training.run import complete, has_state, open_run

    path = arguments.path
    recorded = open_run(path) if has_state(path) else None  # before, it starts anew
    set_threads(recorded.facts if recorded else None)
    # That a run's settings are still the cell's has been seen before it is begun (runner.result).
    config = recorded.config if recorded else complete(arguments.tables)
    report = evaluate_runs([loop.train(config, path, resume=bool(recorded))])
    print(report.screen([f"report: {report.path}"]))


if __name__ == "__main__":
    sys.exit(run(parser, _body))
