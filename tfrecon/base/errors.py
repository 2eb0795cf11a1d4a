"""What a user's mistake becomes: one sentence that names it, what was expected and the remedy."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the user's input, told in one sentence; a command prints it and exits with 2."""


class Stopped(KeyboardInterrupt):
    """A signal has ended work that can go on later; the sentence says how. A command prints it and
    exits with 128 and the signal's `number`."""

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.number = number


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'epochs'?`` for the nearest known name, else the list of known names."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that no table holds."""
    return UserError(f"unknown {kind} {name!r}{did_you_mean(name, known)}")
