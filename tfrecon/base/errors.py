"""What a user's mistake becomes: one sentence that names it, what was expected and the remedy."""

import contextlib
import difflib
import os
from collections.abc import Generator, Iterable


class UserError(ValueError):
    """A mistake in the user's input, told in one sentence; a command prints it and exits with 2."""


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
                raise UserError(f"{file} does not exist") from None
        elif isinstance(error, OSError) and error.filename is not None:
            raise
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise UserError(f"{file} {complaint} ({reason[:200]}); {remedy}") from error


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
