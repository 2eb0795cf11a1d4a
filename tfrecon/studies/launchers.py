"""Where the cells of a study run: in processes of this machine, or in tasks of a Ray cluster.

A launcher starts a cell, tells whether it has ended, and stops it. On both a cell is a process of
its own, `tfrecon.studies.worker`, which ends with the one that started it.
"""

import contextlib
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tfrecon.base import platforms, ray_cluster, tethered
from tfrecon.base.errors import UserError

WORKER = "tfrecon.studies.worker"


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
            return tethered.begun(WORKER, arguments, log, len(share)), share
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
        machines, cores = ray_cluster.machines(ray)
        self.jobs = machines if jobs is None else jobs
        _check(self.jobs, cores * machines, "the cores of the cluster")
        self._share = ray_cluster.share(ray, self.jobs)

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
            raise error.cause from None
        except self._ray.exceptions.OutOfMemoryError:
            return -9  # Ray's guard of a machine's memory kills as that of Linux does
        except self._ray.exceptions.RayError as error:
            raise Lost(f"its worker is lost ({type(error).__name__})") from None

    def stop(self, job: Any) -> None:
        """Kills the task's worker, and with it the process."""
        self._ray.cancel(job, force=True)


@contextlib.contextmanager
def chosen(on_ray: bool, address: str | None, jobs: int | None) -> Iterator[Launcher]:
    """The launcher that a command line asks for. Raises UserError for more jobs than cores."""
    if on_ray:
        with ray_cluster.joined(address) as ray:
            yield Ray(ray, jobs)
    else:
        yield Local(jobs)


def _check(jobs: int, most: int, what: str) -> None:
    if not 1 <= jobs <= most:
        raise UserError(f"--jobs must lie between 1 and {most}, {what}, not {jobs}")


def _run_here(arguments: Sequence[str], folder: str, log: str, threads: int) -> int:
    """A cell on a machine of a cluster, in the working `folder` of the study."""
    if not Path(folder, log).parent.is_dir():
        raise UserError(
            f"{platform.node()}, a machine of the cluster, has no folder {folder!r}; start the "
            "study where all machines see the same disk"
        )
    os.chdir(folder)
    with tethered.begun(WORKER, arguments, Path(log), threads) as process:
        return process.wait()
