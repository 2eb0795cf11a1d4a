"""One piece of work on many things: in this process, or by the actors of a Ray cluster."""

import argparse
import contextlib
import functools
import importlib
import logging
import math
import os
import pickle
import platform
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from tfrecon.base import facts, ray_cluster
from tfrecon.base.cli import Parser, positive, sentence, start_tensorflow
from tfrecon.base.errors import UserError

Thing = TypeVar("Thing")
Result = TypeVar("Result")
Value = TypeVar("Value")

Work = Callable[[Iterable[Thing]], Iterator[Result]]
"""Gives the result of each thing, in their order unless a result says of which it is."""

AT_ONCE, MOST_PARTS = 16, 2_000
"""At most so many things are handed to an actor together, but for more than `MOST_PARTS` times as
many, of which each part is larger: Ray takes its time for every part. Twice as many wait with it,
and no more: what is read of them, and made, takes memory only where and while it is worked on."""
TIMES = 4
"""So often things are begun with whose processes die."""


@runtime_checkable
class Each(Protocol):
    """Where work is done: `here`, or `Actors`."""

    def __call__(
        self, begin: Callable[[], Work[Thing, Result]], things: Sequence[Thing], /
    ) -> Generator[Result]:
        """The result of each thing, in order, as they come; what is at hand is ended when it is
        closed. `begin` is called once in each process that works, in none without things; where
        those are others it can be pickled, and things and results, too."""
        ...


def here(begin: Callable[[], Work[Thing, Result]], things: Sequence[Thing], /) -> Generator[Result]:
    """In this process."""
    if things:
        yield from begin()(things)


def options(command: Parser) -> None:
    """Adds ``--on ray``, ``--address`` and ``--actors`` to a command that works on many things."""
    ray_cluster.options(command, "share the images out")
    command.add_argument(
        "--actors", type=positive, metavar="N",
        help="with --on ray: so many processes work (one a GPU, or a machine where there is none)",
    )  # fmt: skip


def asked(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[Each]:
    """Where a command is to work; Ray starts, or is joined, with the block. Raises UserError at
    once for options without effect and without the extra."""
    if arguments.actors and not arguments.on:
        raise UserError("--actors is how many processes of Ray work; give --on ray, too")
    if ray_cluster.asked(arguments):
        return _joined(arguments.address, arguments.actors)
    return contextlib.nullcontext(here)


@contextlib.contextmanager
def _joined(address: str | None, count: int | None) -> Iterator[Each]:
    with ray_cluster.joined(address) as ray:
        yield Actors(ray, count)


class Opened(Generic[Value]):
    """What `open` gives, which is called once in each process that asks for its `value`."""

    def __init__(self, open: Callable[[], Value]) -> None:
        self._open = open

    @functools.cached_property
    def value(self) -> Value:
        """What was opened in this process."""
        return self._open()

    def __reduce__(self) -> Any:
        """What is loaded, e.g. a model, stays in its process."""
        return Opened, (self._open,)


def opened(thing: Value | Opened[Value]) -> Opened[Value]:
    """`thing`, which another process can open, too, where it is Opened already."""
    return thing if isinstance(thing, Opened) else Opened(lambda: thing)


@dataclass(frozen=True)
class Actors:
    """By `count` actors of the cluster that the module `ray` has joined; without a `count` by one
    for each GPU, or for each machine where there is none.

    An actor that dies, or is lost with its machine, is begun anew, and what it was at is done
    again. A mistake of the user's in one of them is raised here as UserError, and so is that the
    same things are worked on for the `TIMES`th time and more.
    """

    ray: Any
    count: int | None = None

    def __call__(
        self, begin: Callable[[], Work[Thing, Result]], things: Sequence[Thing], /
    ) -> Generator[Result]:
        """As of Each."""
        if not things:
            return
        data = importlib.import_module("ray.data")
        context = data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.execution_options.preserve_order = True
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        gpus = int(self.ray.cluster_resources().get("GPU", 0))
        count = self.count or gpus or ray_cluster.machines(self.ray)[0]
        size = max(
            min(AT_ONCE, math.ceil(len(things) / (4 * count))), math.ceil(len(things) / MOST_PARTS)
        )
        parts = [things[start : start + size] for start in range(0, len(things), size)]
        rows = [{"part": n, "things": pickle.dumps(part)} for n, part in enumerate(parts)]
        begun = self.ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Begun).remote()
        given = os.getcwd(), facts.trusted(), pickle.dumps(begin), functools.partial(_times, begun)
        made = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor, fn_constructor_args=given, batch_size=1, batch_format="pyarrow",
            compute=data.ActorPoolStrategy(size=min(count, len(rows))),
            **ray_cluster.share(self.ray, count),
        )  # fmt: skip
        try:
            for row in made.iter_rows():
                if row["said"]:
                    raise UserError(row["said"])
                yield pickle.loads(row["result"])
        except self.ray.exceptions.RayActorError as error:
            raise UserError(
                f"the actors of Ray do not start ({' '.join(str(error).split())[:300]}); install "
                "the same tfrecon and Ray on all machines"
            ) from error


class _Begun:
    """How often each part has been begun with, which outlives the processes that died of it."""

    def __init__(self) -> None:
        self._times: Counter[int] = Counter()

    def times(self, part: int) -> int:
        """Counts once more."""
        self._times[part] += 1
        return self._times[part]


def _times(begun: Any, part: int) -> int:
    return importlib.import_module("ray").get(begun.times.remote(part))


class _Actor:
    """Holds what `begin`, pickled, gives, in the working folder of the command and with the code
    that it trusts. `times` counts how often a part was begun with."""

    def __init__(
        self, folder: str, trusted: str | None, begin: bytes, times: Callable[[int], int]
    ) -> None:
        self._given, self._times = (folder, trusted, begin), times
        self._held = contextlib.ExitStack()

    @functools.cached_property
    def _work(self) -> Work[Any, Any]:
        folder, trusted, begin = self._given
        try:
            os.chdir(folder)
        except OSError as error:
            raise UserError(
                f"machine {platform.node()!r} of the Ray cluster does not have the folder "
                f"{folder!r} ({error.strerror}); start the command in one on a disk that all share"
            ) from error
        self._held.enter_context(facts.only_names_in(trusted))
        start_tensorflow()
        return pickle.loads(begin)()

    def __call__(self, table: Any) -> Iterator[Any]:
        """A row for each of the things in a table of one row; the last says what failed."""
        rows = importlib.import_module("pyarrow").table
        (row,) = table.to_pylist()
        try:
            if self._times(row["part"]) > TIMES:
                raise UserError(
                    f"{TIMES} processes died of the same images, part {row['part'] + 1} of what "
                    "was to do; give fewer --actors, which share a machine's memory, and start the "
                    "same command again"
                )
            for result in self._work(pickle.loads(row["things"])):
                yield rows({"result": [pickle.dumps(result)], "said": [""]})
        except Exception as error:
            if not (said := sentence(error)):
                raise
            yield rows({"result": [b""], "said": [said]})
