"""Where the cells of a study run: in processes of this machine, or in tasks of a Ray cluster.

A launcher starts a cell, tells whether it has ended, and stops it. On both a cell is a process of
its own, `tfrecon.studies.worker`, which ends with the one that started it.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tfrecon.base import platforms
from tfrecon.base.errors import UserError


class Lost(Exception):
    """What a cell ran on is gone; it can go on elsewhere."""


class Launcher(Protocol):
    """Runs `jobs` cells at a time."""

    jobs: int

    def start(self, arguments: Sequence[str], log: Path) -> Any:
        """Starts a cell with the worker's `arguments`, which adds what it says to `log`."""
        ...

    def poll(self, job: Any) -> int | None:
        """The exit code of what `start` returned, None while it runs; negative where a signal ended
        it. Raises Lost, and UserError where the cell cannot run there. Not asked again then."""
        ...

    def stop(self, job: Any) -> None:
        """Ends a cell that runs."""
        ...


class Local:
    """Processes of this machine, its cores divided between them."""

    def __init__(self, jobs: int | None) -> None:
        self._cores = platforms.cores()
        count, jobs = len(self._cores), 1 if jobs is None else jobs
        _check(jobs, count, "the cores here")
        self.jobs = jobs
        self._shares = [
            self._cores[n * count // jobs : (n + 1) * count // jobs] for n in range(jobs)
        ]

    def start(self, arguments: Sequence[str], log: Path) -> Any:
        """Starts it on a share of the cores that is free."""
        share = self._shares.pop()
        platforms.keep_to(share)  # a process takes over the cores of the thread that starts it
        try:
            return _begun(arguments, log, len(share)), share
        finally:
            platforms.keep_to(self._cores)

    def poll(self, job: Any) -> int | None:
        """The process's exit code."""
        process, share = job
        if (code := process.poll()) is not None:
            process.stdin.close()
            self._shares.append(share)
        return code

    def stop(self, job: Any) -> None:
        """Kills the process."""
        job[0].kill()
        job[0].wait()
        self.poll(job)


class Ray:
    """Tasks of the cluster that the module `ray` has joined, each a process there. By default a
    cell has a machine of its own; `jobs` cells at a time divide cores and GPUs between them."""

    def __init__(self, ray: Any, jobs: int | None) -> None:
        self._ray = ray
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        nodes = [node for node in nodes if node.get("CPU", 0) >= 1]
        cores = min((int(node["CPU"]) for node in nodes), default=0)  # of the smallest machine
        self.jobs = len(nodes) if jobs is None else jobs
        _check(self.jobs, cores * len(nodes), "the cores of the cluster")
        gpus = sum(node.get("GPU", 0) for node in nodes) / self.jobs
        self._share = {
            "num_cpus": min(cores, cores * len(nodes) // self.jobs),
            "num_gpus": gpus if gpus < 1 else min(int(node.get("GPU", 0)) for node in nodes),
        }

    def start(self, arguments: Sequence[str], log: Path) -> Any:
        """Starts it where there is room."""
        task = self._ray.remote(_run_here).options(**self._share, max_retries=0)
        return task.remote(list(arguments), os.getcwd(), str(log), self._share["num_cpus"])

    def poll(self, job: Any) -> int | None:
        """The exit code of the task's process."""
        if not self._ray.wait([job], timeout=0)[0]:
            return None
        try:
            return self._ray.get(job)
        except self._ray.exceptions.RayTaskError as error:
            raise UserError(str(error.cause)) from None
        except self._ray.exceptions.RayError as error:
            raise Lost(f"its worker is lost ({type(error).__name__})") from None

    def stop(self, job: Any) -> None:
        """Kills the task's worker, and with it the process."""
        self._ray.cancel(job, force=True)


def _check(jobs: int, most: int, what: str) -> None:
    if not 1 <= jobs <= most:
        raise UserError(f"--jobs must lie between 1 and {most}, {what}, not {jobs}")


def _begun(arguments: Sequence[str], log: Path, threads: int) -> subprocess.Popen[bytes]:
    environment = {
        "TF_NUM_INTRAOP_THREADS": str(threads), **os.environ,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # cells share a GPU
    }  # fmt: skip
    # Its input stays open as long as it runs: a cell ends when what started it is gone.
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "tfrecon.studies.worker", *arguments], env=environment,
            stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _run_here(arguments: Sequence[str], folder: str, log: str, threads: int) -> int:
    """A cell on a machine of a cluster, in the working `folder` of the study."""
    if not Path(folder, log).parent.is_dir():
        raise UserError(
            f"{platform.node()}, a machine of the cluster, has no folder {folder!r}; start the "
            "study where all machines see the same disk"
        )
    os.chdir(folder)
    with _begun(arguments, Path(log), threads) as process:
        return process.wait()
