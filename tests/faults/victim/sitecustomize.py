"""Lets faults strike a process of tfrecon that Python starts with this folder on its path.

The environment's ``FAULTS`` are `harness.Fault`s as JSON. Every change of a file below the working
folder is an event: ``mkdir``, ``open`` for writing, ``write`` (the first to an opened file),
``append`` (each further one), ``fsync``, ``rename``, ``remove``. Between two of them the disk does
not change, so faults at events stand for every moment. A fault strikes just before its event, and
once: it leaves its file ``struck_at`` behind, outside of the working folder.
"""

import atexit
import builtins
import dataclasses
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time

HERE = os.getcwd() + os.sep
AUDITED = {"os.mkdir": 0, "os.remove": 0, "os.rename": 1}
"""Events of Python's own, and which of their arguments is the path that comes or goes."""
WRITING = os.O_WRONLY | os.O_RDWR

real_open, real_fsync, real_time = open, os.fsync, time.time


@dataclasses.dataclass
class Victim:
    """What is to happen to this process, and what has."""

    faults: list
    events: list = dataclasses.field(default_factory=list)
    disk_is_full: bool = False

    def event(self, kind, path, write_half=lambda: None):
        """Something is about to happen to a path: the faults strike for which it is the time."""
        path = os.path.abspath(os.fsdecode(path))
        if not path.startswith(HERE):
            return
        place = f"{kind} {os.path.relpath(path)}"
        if kind != "append":  # of which there are many in one file
            self.events.append(place)
        for fault in self.faults:
            if fault["event"] in (kind, "any" if kind != "append" else "") and fault["of"] in path:
                fault["nth"] -= 1
                if fault["nth"] == 0 and not os.path.exists(fault["struck_at"]):
                    with real_open(fault["struck_at"], "w") as file:
                        file.write(place)
                    self.strike(fault, write_half)
        if self.disk_is_full and kind in ("mkdir", "open", "write", "append", "fsync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def strike(self, fault, write_half):
        what = fault["what"]
        if what in ("torn write", "full disk"):
            write_half()
        if what == "full disk":
            self.disk_is_full = True
        elif what.startswith("clock"):
            seconds = 3600 * int(what.removeprefix("clock").removesuffix("h"))
            time.time = lambda: real_time() + seconds
        elif what == "another process":
            done = subprocess.run(
                [sys.executable, "-m", *fault["other"]], env={**os.environ, "FAULTS": "[]"},
                capture_output=True,
            )  # fmt: skip
            with real_open(fault["struck_at"], "a") as file:
                file.write(
                    f": exit {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
                )
        else:
            number, _, whose = what.partition(" of ")
            number = getattr(signal, number, signal.SIGKILL)
            os.kill(os.getppid() if whose else os.getpid(), number)
            if whose and number == signal.SIGKILL:
                os.kill(os.getpid(), number)

    def audit(self, name, arguments):
        if name in AUDITED:
            path, folder = os.fsdecode(arguments[AUDITED[name]]), arguments[-1]
            if folder >= 0:  # an open one
                path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
            self.event(name.removeprefix("os."), path)
        elif name == "open" and not isinstance(arguments[0], int) and arguments[2] & WRITING:
            self.event("open", arguments[0])

    def open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
        """As `open`; a file that is written is watched."""
        if more or buffering != -1 or isinstance(file, int) or not set(mode) & set("wxa+"):
            return real_open(file, mode, buffering, encoding, errors, newline, **more)
        raw = Watched(file, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def fsync(self, handle):
        self.event("fsync", os.readlink(f"/proc/self/fd/{handle}"))
        real_fsync(handle)

    def tell(self):
        """Leaves the events behind, among which the random ones are drawn."""
        with real_open(self.faults[0]["struck_at"] + ".events", "w") as file:
            file.write("\n".join(self.events))


class Watched(io.FileIO):
    """A file whose writes are events."""

    kind = "write"

    def write(self, data):
        write = super().write
        victim.event(self.kind, self.name, lambda: write(data[: len(data) // 2]))
        self.kind = "append"
        return write(data)


victim = Victim(json.loads(os.environ["FAULTS"]))
# As in the foreground, however the tests were started.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
if victim.faults and victim.faults[0]["program"] in sys.orig_argv:
    builtins.open = io.open = victim.open
    os.fsync = victim.fsync
    sys.addaudithook(victim.audit)
    atexit.register(victim.tell)
