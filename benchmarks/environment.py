"""Where a benchmark runs: the machine, and a separate Python environment for the programs that
tfrecon is compared with.

At its top this file imports the standard library only, as the separate Python may run the benchmark
that imports it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tensorflow", "keras", "numpy", "torch", "onnxruntime", "openvino", "simplejpeg")
"""Those whose versions a record names, where they are installed."""


def machine() -> dict[str, Any]:
    """What a record says of where it was measured, JSON-ready."""
    from tfrecon.base import platforms, system

    versions: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    said = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        said = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    return {
        "processor": platforms.processor_name(), "cores": len(platforms.cores()),
        "memory GiB": round(platforms.memory_bytes() / 2**30),
        "gpus": said.strip().replace("\n", ", "), "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
        **versions,
        "revision": (system.revision()["revision"] or "")[:12],
    }  # fmt: skip


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


class Worker:
    """A process that runs a module of this folder in another Python, says when it is ready, and
    then answers each line with a line of JSON (`answer`)."""

    def __init__(
        self, name: str, python: Path | str, module: str, *arguments: str, threads: int
    ) -> None:
        counts = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [str(python), "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=ROOT, env={**os.environ, **counts, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self.name = name
        self.ready = self._answer()

    def ask(self, order: Any) -> Any:
        """The answer to a line."""
        print(order, file=self.process.stdin, flush=True)
        return self._answer()

    def stop(self) -> None:
        """Ends the process, which stops at the end of its orders."""
        self.process.communicate()

    def _answer(self) -> Any:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"the worker {self.name!r} ended; its error stands above")
        return json.loads(line)


def answer(content: Any) -> None:
    """One line of JSON to the process that asked."""
    print(json.dumps(content), file=sys.__stdout__, flush=True)


def obey(work: Callable[[int], Any], ready: Any) -> None:
    """In a `Worker`: says that it is `ready`, and answers each number by `work`."""
    answer(ready)
    for line in sys.stdin:
        answer(work(int(line)))
