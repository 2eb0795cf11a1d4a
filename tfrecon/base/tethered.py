"""A module run as ``python -m`` runs it, in a process that ends with the one that started it,
however that ends: it holds the other end of the standard input.

    python -m tfrecon.base.tethered MODULE ARGUMENTS
"""

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


def begun(
    module: str, arguments: Sequence[str], log: Path, threads: int,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """The process, which takes so many threads for an operation unless the environment says more,
    and adds what it says to `log`."""
    given = {
        "TF_NUM_INTRAOP_THREADS": str(threads), **os.environ,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # several may share a GPU
        **(environment or {}),
    }  # fmt: skip
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, module, *arguments], env=given,
            stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _end_with_the_other() -> None:
    # Not by sys.stdin, whose lock this thread would still hold when the interpreter ends.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
