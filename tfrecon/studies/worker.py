"""One cell of a study, trained and evaluated in a process of its own.

    python -m tfrecon.studies.worker checkpoints/STUDY/CELL < CELL.json

Standard input begins with a line of JSON, the cell's tables, and stays open: when the study that
holds its other end is gone, so is the cell.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from pathlib import Path

from tfrecon.base.cli import Parser, run, start_tensorflow


def parser() -> Parser:
    """The command's arguments."""
    command = Parser("studies.worker", "One cell of a study; see python -m tfrecon.study --help.")
    command.add_argument("path")
    return command


def _body(arguments: argparse.Namespace) -> None:
    tables = json.loads(_line())
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    start_tensorflow()
    from tfrecon.base.system import set_threads
    from tfrecon.reports.evaluation import evaluate_runs
    from tfrecon.training import loop
    from tfrecon.training.run import STATE, complete, open_run

    path = Path(arguments.path)
    recorded = open_run(path) if (path / STATE).is_file() else None  # before, it starts anew
    set_threads(recorded.facts if recorded else None)
    # That a run's settings are still the cell's has been seen before it is begun (runner.result).
    config = recorded.config if recorded else complete(tables)
    report = evaluate_runs([loop.train(config, path, resume=bool(recorded))])
    print(report.screen([f"report: {report.path}"]))


def _line() -> bytes:
    """The first line of standard input, byte by byte: nothing after it may be taken."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line


def _end_with_the_study() -> None:
    # Not by sys.stdin, whose lock this thread would still hold when the interpreter ends.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(run(parser, _body))
