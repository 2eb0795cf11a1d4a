"""What Linux, macOS and Windows do differently, told apart here and nowhere else.

A system is known by what its Python has, not by its name: a test takes that away, and a system that
nobody has thought of gets the fallbacks.
"""

import contextlib
import ctypes
import errno
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from tfrecon.base.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # all but Windows
    msvcrt = None

LOCKED_BYTE = 2**31 - 2
"""Windows keeps others from reading the byte that is locked: one where nobody writes."""

AVX_ON_WINDOWS = 39
"""PF_AVX_INSTRUCTIONS_AVAILABLE of IsProcessorFeaturePresent."""

_REFUSED = re.compile(
    r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?$|.*[<>:"|?*\x00-\x1f]|.*[. ]$', re.IGNORECASE
)

LONGEST_PATH = 259
"""Letters of a path that Windows takes as it comes."""

APART: dict[str, Any] = (
    {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    if msvcrt
    else {"start_new_session": True}
)
"""Arguments of Popen for a process that Ctrl-C in the terminal does not reach."""


# --- names


def nfc(name: str) -> str:
    """A name as it is compared: accents composed with their letters, as Linux and Windows write
    them; file systems of macOS, and archives made there, take them apart (NFD)."""
    return unicodedata.normalize("NFC", name)


def alike(name: str) -> str:
    """What is equal of two names that macOS and Windows take for one: those of other case, too."""
    return nfc(nfc(name).casefold())


def ignores_case(folder: Path) -> bool:
    """Whether the file system of `folder`, which need not exist, takes names of other case for the
    same."""
    place = folder.resolve()
    for part in (place, *place.parents):
        other = part.with_name(part.name.swapcase()) if part.name else part
        if other != part and part.exists():
            return other.exists() and other.samefile(part)
    return False


def check_name(path: Path) -> None:
    """Raises UserError for a path that Windows takes for a device, or refuses, on Windows."""
    for part in path.parts if msvcrt else ():
        if part != path.anchor and part != ".." and _REFUSED.match(part):
            raise UserError(
                f"Windows keeps {part!r} for itself ({str(path)!r}); choose another name"
            )


def trouble(path: str) -> str:
    """What may be wrong with a path that the system refuses."""
    if msvcrt and len(os.path.abspath(path)) > LONGEST_PATH:
        return f"shorten it to {LONGEST_PATH} letters, or allow long paths in Windows"
    return "check path and permission"


def way(start: Path, place: Path) -> str:
    """The path from the folder `start` to `place`, which other systems read, too; the whole one
    where there is none, as between two drives."""
    try:
        return Path(os.path.relpath(place, start)).as_posix()
    except ValueError:
        return str(place)


def command_line(words: Iterable[str]) -> str:
    """A command line that the shell of this system reads as these words."""
    return subprocess.list2cmdline(list(words)) if msvcrt else shlex.join(words)


# --- files


def lock(file: IO[Any], wait: bool = False) -> bool:
    """Locks an open file for this process until it is closed; False where another has.

    File systems that know no locks (some of NFS) are told of, and are used without.
    """
    try:
        while not _locked(file.fileno(), wait):
            if not wait:
                return False
    except OSError as error:
        print(
            f"warning: the file system has no locks ({error.strerror}): let only one process at a "
            "time work in a folder",
            file=sys.stderr,
        )
    return True


def _locked(handle: int, wait: bool) -> bool:
    if fcntl:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
    elif msvcrt:
        os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
        try:  # it waits for ten seconds
            msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            return False
    return True


def before_renaming(file: IO[Any]) -> None:
    """Closes, and with that frees, a file that gets another name: Windows renames none that is
    open."""
    if msvcrt:
        file.close()


def remove_locked(file: IO[Any], path: Path) -> None:
    """Removes and closes a file that this process has locked.

    Others, who wait for it, must find it gone before it is free. Windows removes no file that is
    open: there it stays where another process has it by now.
    """
    if msvcrt:
        file.close()
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
    else:
        path.unlink(missing_ok=True)
        file.close()


# --- the machine


_share = threading.local()


def cores() -> list[int]:
    """The cores that this thread may use, by number."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return vars(_share).get("cores") or list(range(os.cpu_count() or 1))


def keep_to(share: Sequence[int]) -> None:
    """Lets this thread, and the processes that it starts, use no other cores. Where the system
    cannot, `cores` says so nevertheless."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share)
    _share.cores = list(share)


def has_display() -> bool:
    """Whether a browser could open a window here."""
    screens = "DISPLAY", "WAYLAND_DISPLAY"
    return not fcntl or sys.platform == "darwin" or any(map(os.environ.get, screens))


def memory_bytes() -> float:
    """The memory that this process may have: the machine's, or that of its container; infinite
    where the system does not tell."""
    limits = [math.inf]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # of Windows; of other names
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of two versions of cgroups
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", name).read_text(encoding="utf-8")))
    if msvcrt:
        status = (ctypes.c_ulonglong * 8)()  # MEMORYSTATUSEX: its size and load, then the total
        ctypes.memmove(status, (ctypes.c_ulong * 1)(ctypes.sizeof(status)), 4)
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            limits.append(status[1])
    return min(limits)


def peak_memory_gib() -> float:
    """The most memory that this process has held at once; 0 where the system does not tell."""
    peaks = _values("/proc/self/status", "VmHWM")
    if peaks:
        return int(peaks[0].split()[0]) / 2**20
    with contextlib.suppress(ImportError):
        import resource  # on Linux its figure would start at that of the parent process

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # bytes on macOS
    return 0.0


def processor(about: str) -> str:
    """What the system says of its first processor (``"model name"``, ``"flags"``), or nothing."""
    return next(iter(_values("/proc/cpuinfo", about)), "")


def processor_name() -> str:
    """The name of the processor, as far as the system tells it."""
    return processor("model name") or platform.processor() or platform.machine()


def lacks_avx() -> bool:
    """Whether the processor is known to have no AVX, without which TensorFlow's packages for x86
    end the process that imports them."""
    if msvcrt:
        return not ctypes.windll.kernel32.IsProcessorFeaturePresent(AVX_ON_WINDOWS)
    flags = processor("flags").split()  # ARM calls them "Features"
    return bool(flags) and "avx" not in flags


def _values(path: str, name: str) -> list[str]:
    """What a file of the system says after ``name:``, line by line; nothing where there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(name)]
