"""What work through many files has finished, so that the same command goes on after a stop."""

import contextlib
import glob
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tfrecon.base import files, system
from tfrecon.base.errors import Stopped

BYTES = "surrogateescape"
"""How names that are no UTF-8 are written and read."""


class Journal:
    """A file of lines, one for each thing that is finished; `lines` holds those that were there at
    the beginning.

    A process that is killed at any moment leaves whole lines and at most a torn last one, which is
    dropped. It belongs to one process at a time: see `files.claimed`. Pickled for another process
    it is a file of that process's own beside it; `gather` takes their lines home.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        files.remove_leftovers(path.parent, glob.escape(path.name))
        text = path.read_text(encoding="utf-8", errors=BYTES) if path.is_file() else ""
        self.lines = text.split("\n")[:-1]
        if text and not text.endswith("\n"):
            self.restart(self.lines)

    def restart(self, lines: list[str]) -> None:
        """Holds these lines and no others from now on."""
        self.lines = lines
        with files.replacing(self.path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8", BYTES)

    def add(self, line: str) -> None:
        """Writes a line, which is in the file when this returns."""
        with self.path.open("a", encoding="utf-8", errors=BYTES) as file:
            file.write(f"{line}\n")

    def __reduce__(self) -> Any:
        """See the class."""
        return _beside, (self.path,)

    def gather(self) -> None:
        """Adds what stands in the files of other processes, which have ended."""
        if others := self._others():
            added = [line for path in others for line in Journal(path).lines]
            self.restart([*dict.fromkeys([*self.lines, *added])])
            for path in others:
                path.unlink()

    def remove(self) -> None:
        """Removes the file and those of other processes: all is done."""
        for path in (self.path, *self._others()):
            path.unlink(missing_ok=True)

    def _others(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{glob.escape(self.path.name)}.*"))


def _beside(path: Path) -> Journal:
    return Journal(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))


def went_on(done: int, total: int, did: str = "restored") -> None:
    """Says how many of `total` photos an earlier process has done, where it has done some."""
    if done:
        print(f"{done} of {total} photos were {did} before; {total - done} to go")


@contextlib.contextmanager
def stoppable(total: int) -> Iterator[Callable[[int | Callable[[], int]], None]]:
    """Ctrl-C and SIGTERM end the block where it calls what it is given, with how many of `total`
    photos are done, or what ends those at hand and tells it, by raising `Stopped`; a second signal
    ends it at once."""
    with system.signals_noted() as noted:

        def stop_if_asked(done: int | Callable[[], int]) -> None:
            if noted and (done := done if isinstance(done, int) else done()) < total:
                name = signal.Signals(noted[0]).name
                raise Stopped(f"stopped by {name} after {done} of {total} photos", noted[0], True)

        yield stop_if_asked
