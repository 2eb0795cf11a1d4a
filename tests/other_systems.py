"""macOS and Windows, as far as this system can be made like them: what they lack is taken away,
what they refuse is refused. `patch` is pytest's; without tests it is never undone."""

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

AFFINITY = ("sched_getaffinity", "sched_setaffinity")
MEMORY = 16 * 2**30


def macos(patch: pytest.MonkeyPatch) -> None:
    """No affinity, no /proc. (Names of other case are one: `platforms.ignores_case`.)"""
    for name in AFFINITY:
        patch.delattr(os, name)
    _hide_proc(patch)


def windows(patch: pytest.MonkeyPatch) -> None:
    """No affinity, /proc, fcntl, sysconf, chmod, fork or SIGKILL; locks that keep others from
    reading; files that are open or mapped are not renamed and not removed."""
    import fcntl

    macos(patch)
    patch.setitem(sys.modules, "msvcrt", _msvcrt(fcntl.flock))
    for name in ("fcntl", "grp", "pwd", "resource", "termios"):
        patch.setitem(sys.modules, name, None)
    kill = os.kill  # which Python's own Popen calls here
    patch.setattr(subprocess.Popen, "kill", lambda process: kill(process.pid, 9))
    for module, names in (
        (os, ("fork", "forkpty", "getloadavg", "getuid", "kill", "sysconf")),
        (signal, ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1")),
    ):
        for name in names:
            patch.delattr(module, name)
    patch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0, raising=False)
    kernel = SimpleNamespace(GlobalMemoryStatusEx=_tell_memory, IsProcessorFeaturePresent=bool)
    patch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    patch.setattr(os, "chmod", _refuses)
    patch.setattr(shutil, "_use_fd_functions", False)
    for name in ("rename", "replace", "unlink", "remove", "open"):
        patch.setattr(os, name, _of_windows(name, getattr(os, name)))
    if platforms := sys.modules.get("tfrecon.base.platforms"):
        patch.setattr(platforms, "fcntl", None)
        patch.setattr(platforms, "msvcrt", sys.modules["msvcrt"])


def _hide_proc(patch: pytest.MonkeyPatch) -> None:
    """Of the functions of Python; what is written in C++ still sees it."""
    read = Path.read_text

    def read_text(self, *arguments, **options):
        if self.parts[:2] in (("/", "proc"), ("/", "sys")):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(self))
        return read(self, *arguments, **options)

    patch.setattr(Path, "read_text", read_text)


def _msvcrt(flock) -> ModuleType:
    module = ModuleType("msvcrt")
    module.LK_LOCK, module.LK_NBLCK = 1, 2

    def locking(handle, mode, count):
        assert os.lseek(handle, 0, os.SEEK_CUR) > 2**30, "others could not read what is locked here"
        try:
            flock(handle, 2 | 4)  # exclusive, without waiting
        except BlockingIOError:
            raise OSError(errno.EACCES, "Permission denied") from None

    module.locking = locking
    return module


def _tell_memory(status) -> int:
    numbers = status._obj
    assert numbers[0] & 0xFFFFFFFF == ctypes.sizeof(numbers) == 64
    numbers[1] = MEMORY
    return 1


def _refuses(path, *_, **__) -> None:
    raise PermissionError(errno.EACCES, "Access is denied", os.fspath(path))


def _in_use() -> set[str]:
    with open("/proc/self/maps") as file:
        mapped = {line.split(maxsplit=5)[-1].strip() for line in file}
    opened = set()
    for handle in os.listdir("/proc/self/fd"):
        try:
            opened.add(os.readlink(f"/proc/self/fd/{handle}"))
        except OSError:  # that of the listing
            continue
    return mapped | opened


def _of_windows(name: str, function):
    def checked(*arguments, **options):
        paths = [os.path.realpath(a) for a in arguments[:2] if isinstance(a, (str, os.PathLike))]
        if name == "open":
            if os.path.isdir(paths[0]):
                _refuses(paths[0])
        else:
            used = _in_use()
            for path in paths:
                if path in used or any(each.startswith(f"{path}/") for each in used):
                    _refuses(path)
            if name == "rename" and os.path.exists(paths[1]):
                raise FileExistsError(errno.EEXIST, "File exists", paths[1])
        return function(*arguments, **options)

    return checked
