"""Ray (extra ``ray``), joined where a cluster runs or started on this machine: here alone.

All machines of a cluster have to see the working folder under one path (a shared disk), and have
the same tfrecon and Ray.
"""

import argparse
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from tfrecon.base import extras, facts, platforms
from tfrecon.base.cli import Parser
from tfrecon.base.errors import UserError

HANDED_ON = ("TFRECON_", "TF_", "KERAS_")
"""Beginnings of the variables that the workers of other machines are given, too."""
ANSWER_SECONDS = 10


def options(command: Parser, what: str) -> None:
    """Adds ``--on ray`` and ``--address`` to a command that does `what`."""
    command.add_argument(
        "--on", choices=("ray",), help=f"{what} by Ray, on this machine or a cluster (extra ray)"
    )
    command.add_argument(
        "--address", metavar="HOST:PORT",
        help="with --on ray: the cluster to join, or auto, the one that runs on this machine "
        "($RAY_ADDRESS, or else a Ray of its own, which ends with the command)",
    )  # fmt: skip


def asked(arguments: argparse.Namespace) -> bool:
    """Whether a command is to run on Ray. Raises UserError for an address alone, and without the
    extra."""
    if arguments.address and not arguments.on:
        raise UserError("--address names a Ray cluster; give --on ray, too")
    if arguments.on:
        extras.check("ray", "--on ray")
    return bool(arguments.on)


@contextlib.contextmanager
def joined(address: str | None = None) -> Iterator[Any]:
    """The module `ray`, connected in the block to the cluster at `address`, to that of
    $RAY_ADDRESS, or else to one on this machine that ends with the block.

    What runs there finds tfrecon and the modules of the working folder, is given this process's
    settings of TensorFlow, and prints into Ray's own logs. A Ray that this process has joined
    before is taken as it is. Raises UserError without the extra and where no cluster answers.
    """
    # Read when it is imported. Nothing is reported to Ray's makers.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    handler = signal.getsignal(signal.SIGTERM)
    ray: Any = extras.imported("ray", "--on ray")
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        own = {"include_dashboard": False, "num_cpus": len(platforms.cores())}
    try:
        _check_answers(address)
        ray.init(
            address, logging_level=logging.ERROR, log_to_driver=False,
            runtime_env={"env_vars": _environment()}, **own,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"Ray cannot be joined at {address!r} ({' '.join(str(error).split())[:300]}); start it "
            "with ray start on each of its machines, "
            "or leave --address out to use this machine alone"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray takes it over, and ends without a word
    try:
        yield ray
    finally:
        ray.shutdown()


def machines(ray: Any) -> tuple[int, int]:
    """How many machines with cores the cluster has, and the cores of the smallest."""
    cores = [int(node.get("CPU", 0)) for node in _nodes(ray)]
    return len(cores), min(cores)


def share(ray: Any, count: int) -> dict[str, float]:
    """``num_cpus`` and ``num_gpus`` of each of `count` equal tasks or actors that have the cluster
    to themselves: all find room at once."""
    each = -(-count // len(nodes := _nodes(ray)))  # on a machine
    shares = {
        name: min(node.get(resource, 0) for node in nodes) / each
        for name, resource in {"num_cpus": "CPU", "num_gpus": "GPU"}.items()
    }
    return {name: value if value < 1 else int(value) for name, value in shares.items()}


def _nodes(ray: Any) -> list[dict[str, float]]:
    """What each machine has that has cores to give. Raises UserError where none has."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if found := [node for node in nodes if node.get("CPU", 0) >= 1]:
        return found
    raise UserError("no machine of the Ray cluster has a core to give; add one with ray start")


def _check_answers(address: str) -> None:
    """Raises OSError where nobody listens at HOST:PORT: Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()


def _environment() -> dict[str, str]:
    """What workers are given of this process's environment, and where their Python looks."""
    given = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
    given.pop("TF_CONFIG", None)  # it says who this process is
    checkout = facts.PACKAGE.parent
    places = [os.getcwd(), *([str(checkout)] if (checkout / "pyproject.toml").is_file() else [])]
    places += [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    return {**given, "PYTHONPATH": os.pathsep.join(dict.fromkeys(places))}
