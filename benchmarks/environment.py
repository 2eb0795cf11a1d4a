"""A separate Python environment for the programs that tfrecon is compared with.

This file imports the standard library only, as the separate Python may run the benchmark that
imports it.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tempfile
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path


def add_python(parser: argparse.ArgumentParser, packages: str) -> None:
    """The option ``--python``."""
    parser.add_argument(
        "--python", type=Path, metavar="FILE",
        help=f"an interpreter that has {packages}, instead of a temporary environment's",
    )  # fmt: skip


@contextlib.contextmanager
def interpreter(given: Path | None, *installs: Sequence[str]) -> Iterator[Path]:
    """The Python `given`, or that of a temporary virtual environment.

    Each of `installs` holds the arguments of one ``pip install`` there.
    """
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        for arguments in installs:
            print(f"installing {' '.join(arguments)} …", flush=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)
        yield python
