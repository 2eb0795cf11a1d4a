"""Workers of one run on a Ray cluster: TensorFlow's own strategy for several machines (`workers`),
whose TF_CONFIG is made of the places that Ray gives. Ray's Train library, which wants Keras 2, has
no part in it.

Each worker is a process of the training command beside an actor. Worker 0 keeps the run, and what
it says is shown.
"""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfrecon.base import extras, ray_cluster, tethered
from tfrecon.base.errors import UserError, WorkerLost

STARTS = 4
"""How often all workers are started before a run whose workers are lost is left to the user."""
POLL_SECONDS, GRACE_SECONDS = 0.3, 60
"""The latter: how long the others may take to end once one has."""


class Lost(Exception):
    """A worker is gone, and the others have ended."""


class Place:
    """Where a worker trains: an actor."""

    def address(self) -> str:
        """The machine's, with a port that is free."""
        ray: Any = extras.imported("ray", "--on ray")
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def train(
        self, module: str, words: Sequence[str], log: str, folder: str, cores: float, place: str
    ) -> int:
        """Runs a module with these words in the working `folder`, as the worker that the text
        `place` describes; returns its exit code."""
        os.chdir(folder)
        threads = max(1, int(cores))
        with tethered.begun(module, words, Path(log), threads, {"TF_CONFIG": place}) as process:
            return process.wait()


def train(
    words: Callable[[], Sequence[str]], run: Path, count: int | None, address: str | None
) -> None:
    """Trains on `count` workers, by default one on each machine of the cluster at `address`, and
    shows what worker 0 says. `words` are those of the training command that begins `run`, or goes
    on with it once it is there: all workers begin again where one of them is lost.

    Raises UserError for what the workers refuse, and where they are lost too often.
    """
    logs = run.with_name(f".{run.name}.workers")
    with ray_cluster.joined(address) as ray:
        count = ray_cluster.machines(ray)[0] if count is None else count
        for _ in range(STARTS):
            shutil.rmtree(logs, ignore_errors=True)
            logs.mkdir(parents=True)
            try:
                _together(ray, "tfrecon.fit", words(), logs, count)
            except Lost as error:
                print(f"warning: {error}; all workers begin again", file=sys.stderr)
                continue
            shutil.rmtree(logs)
            return
    raise UserError(
        f"a worker of run {str(run)!r} was lost {STARTS} times; see {str(logs)!r} for what they "
        "said, and go on with --resume"
    )


def _together(ray: Any, module: str, words: Sequence[str], logs: Path, count: int) -> None:
    """Runs a module on `count` workers that know of each other. Raises Lost, and UserError with
    what a worker says that ends otherwise than well."""
    share = ray_cluster.share(ray, count)
    places = [ray.remote(Place).options(**share).remote() for _ in range(count)]
    try:
        workers = ray.get([place.address.remote() for place in places])
        jobs = {
            place.train.remote(
                module, list(words), str(logs / f"{index}.txt"), os.getcwd(), share["num_cpus"],
                json.dumps(
                    {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
                ),
            ): index
            for index, place in enumerate(places)
        }  # fmt: skip
        _follow(ray, jobs, logs)
    except ray.exceptions.RayActorError as error:
        raise Lost(f"a worker is lost ({type(error).__name__})") from None
    finally:
        for place in places:
            ray.kill(place)  # and with it the process


def _follow(ray: Any, jobs: dict[Any, int], logs: Path) -> None:
    """Shows what worker 0 says until all have ended. Raises Ray's error for one that is lost."""
    shown, running, codes = 0, list(jobs), dict[int, int]()
    while running:
        patience = POLL_SECONDS if not any(codes.values()) else GRACE_SECONDS
        done, running = ray.wait(running, timeout=patience)
        codes |= {jobs[job]: ray.get(job) for job in done}
        shown += _show(logs / "0.txt", shown)
        if not done and any(codes.values()):
            break
    if any(code < 0 for code in codes.values()):
        raise Lost("a worker was killed")
    for index in sorted(codes, key=lambda index: -codes[index]):
        if codes[index]:
            _fail(index, codes[index], logs / f"{index}.txt")


def _show(log: Path, start: int) -> int:
    """Prints what a log holds from a place on, but for the sentence of an error; returns how many
    bytes that were."""
    if not log.is_file():
        return 0
    with log.open("rb") as file:
        file.seek(start)
        new = file.read()
    new = new[: max(new.rfind(b"\n"), new.rfind(b"\r")) + 1]
    lines = new.decode(errors="replace").splitlines(keepends=True)
    print(*(line for line in lines if not line.startswith("error: ")), sep="", end="", flush=True)
    return len(new)


def _fail(index: int, code: int, log: Path) -> None:
    """Raises what a worker said that ended with a `code`: Lost where it misses another one."""
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    last = errors[-1] if errors else f"ended with code {code}; see {str(log)!r}"
    if code == WorkerLost.code:
        raise Lost(last.partition(";")[0])
    if errors:  # which say it all
        shutil.rmtree(log.parent, ignore_errors=True)
    raise UserError(f"worker {index}: {last}")
