"""What a user's mistake becomes: one sentence that names it, what was expected and the remedy."""

import contextlib
import difflib
import errno
import os
from collections.abc import Generator, Iterable


class UserError(ValueError):
    """A mistake in the user's input, told in one sentence; a command prints it and exits with
    the `code`."""

    code = 2


class WorkerLost(UserError):
    """Another process of those that work together is gone; all of them can begin again."""

    code = 75  # EX_TEMPFAIL of sysexits.h


class Stopped(KeyboardInterrupt):
    """A signal has ended work that can go on later; the sentence says how, or, with `again`, the
    same command goes on. A command prints it and exits with 128 and the signal's `number`."""

    def __init__(self, sentence: str, number: int, again: bool = False) -> None:
        super().__init__(sentence)
        self.number, self.again = number, again


@contextlib.contextmanager
def foreign(
    what: str, path: str | os.PathLike[str], remedy: str, complaint: str = "is truncated or damaged"
) -> Generator[None]:
    """The boundary around each reader of bytes that others wrote: `path`, which holds a `what`.

    A damaged file raises anything there is, so whatever fails in the block becomes a UserError,
    ``{what} {path} {complaint} ({reason}); {remedy}``, and so does a missing file. A path that the
    system refuses (permission, over-long name) stays an OSError: `cli.run` says what to do.
    """
    file = f"{what} {os.fspath(path)!r}"
    try:
        yield
    except UserError:
        raise
    except IsADirectoryError:
        raise UserError(f"{file} is a folder; name a file in it") from None
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            if error.filename == os.fspath(path):
                raise UserError(f"{file} does not exist; correct its name") from None
        elif isinstance(error, OSError) and error.filename is not None:
            raise
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise UserError(f"{file} {complaint} ({reason[:200]}); {remedy}") from error


OUT_OF_MEMORY = "ResourceExhausted", "RESOURCE_EXHAUSTED", "OOM when", "out of memory", "Dst tensor"
"""Signs of TensorFlow's errors where the memory of the machine or of its GPU ends."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the memory is too small."""
    text = f"{type(error).__name__} {error}"
    full = os.strerror(errno.ENOSPC) in text  # TensorFlow has one type for disks and memories
    return not full and (
        isinstance(error, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY)
    )


def no_memory(error: Exception) -> str:
    """The beginning of the sentence for an error that `is_out_of_memory`."""
    reason = f"{type(error).__name__}: {error}".removesuffix(": ").splitlines()[0]
    return f"the memory is too small ({reason[:150]})"


@contextlib.contextmanager
def fitting(remedy: str) -> Generator[None]:
    """The boundary around work whose size is set: where the memory is too small for it, a UserError
    that ends with a `remedy`, the size that would take less."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{no_memory(error)}; {remedy}") from error


def fewer_at_once(images: int) -> str:
    """The remedy where so many images at once are too large for the memory."""
    if images == 1:
        return "a single image is too large for it; take a machine with more, or smaller images"
    return f"give evaluate or submit --batch-size {images // 2}, half of the images at once"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'epochs'?`` for the nearest known name, else the list of known names."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def some(names: Iterable[str], most: int = 5) -> str:
    """The first `most` names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that no table holds."""
    return UserError(f"unknown {kind} {name!r}{did_you_mean(name, known)}")
