"""What every verb shares: errors become one sentence and an exit code, never a traceback."""

import argparse
import contextlib
import errno
import io
import math
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Literal, NoReturn

from tfrecon.base import extras, facts, platforms
from tfrecon.base.errors import Stopped, UserError, did_you_mean, is_out_of_memory, no_memory
from tfrecon.base.files import RUNS

LONGEST = 1000
"""Letters of either end of an error message that are shown."""


_verbose = False
"""Whether the command that runs was given ``--verbose``."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that keeps the layout of the help text and raises `UserError`."""

    def __init__(self, verb: str, description: str) -> None:
        super().__init__(
            prog=f"python -m tfrecon.{verb}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.flag(
            "--trust-code",
            "use code that a run or an export brings and this command line does not name",
        )
        loud = self.add_mutually_exclusive_group()
        loud.add_argument(
            "-q", "--quiet", action="store_true", help="print warnings and errors alone"
        )
        loud.add_argument(
            "-v", "--verbose", action="store_true",
            help="show what TensorFlow says, too, and where in the code an error was found",
        )  # fmt: skip

    def flag(self, name: str, help: str) -> None:
        """Adds an option without a value."""
        self.add_argument(name, action="store_true", help=help)

    def words(self, arguments: argparse.Namespace, but: Collection[str]) -> list[str]:
        """The options that give `arguments`, those `but` of some names."""
        found: list[str] = []
        for action in self._actions:
            value = vars(arguments).get(action.dest)
            if action.dest in but or value is None or value == action.default:
                continue
            option = action.option_strings[-1]
            values: list[Any] = value if isinstance(value, list) else [value]
            found += [option] if value is True else [f"{option}={each}" for each in values]
        return found

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The arguments. Raises UserError for an unknown one, with the nearest known."""
        arguments, rest = self.parse_known_args(args, namespace)
        if rest and rest[0].startswith("-"):
            near = did_you_mean(rest[0].partition("=")[0], self._option_string_actions)
            raise UserError(f"unknown argument {rest[0]!r}{near}")
        if rest:
            raise UserError(f"unexpected argument {rest[0]!r}; see {self.prog} --help")
        return arguments

    def error(self, message: str) -> NoReturn:
        """Raises UserError instead of printing the usage, which would hide the sentence."""
        raise UserError(f"{message}; see {self.prog} --help")


def run(
    parser: Callable[[], Parser], body: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None = None,
) -> int:  # fmt: skip
    """Parses `argv` (None: those of the process) by the Parser that `parser` makes and calls
    `body`; returns the exit code.

    0 when done, 2 with one sentence on stderr for a user's mistake (a full disk and a file
    without permission included), 75 where another worker is lost, 130 for Ctrl-C and 143 for
    SIGTERM.
    """
    global _verbose
    _verbose = False
    for stream in (sys.stdout, sys.stderr):  # a sign that it cannot write stops nothing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options, typed = parser(), sys.argv[1:] if argv is None else argv
    try:
        arguments = options.parse_args(argv)
        _verbose = arguments.verbose
        trusted = None if arguments.trust_code else _own_words(typed)
        with facts.only_names_in(trusted), _terminable(), _printing(not arguments.quiet):
            body(arguments)
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    except Stopped as stop:
        again = f"; go on with {options.prog} {platforms.command_line(typed)}" if stop.again else ""
        print(f"\n{stop}{again}", file=sys.stderr)
        return 128 + stop.number
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C", file=sys.stderr)
        return 130
    except Exception as error:
        if said := sentence(error):
            return fail(said, error.code if isinstance(error, UserError) else UserError.code)
        raise
    return 0


def sentence(error: Exception) -> str:
    """What a user is told of an error; nothing where that is none of the user's, but ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):  # names of files and texts of JSON may be no text
        return f"the name {error.object[:200]!r} is no valid text; rename what has it"
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"no space left on the disk while writing {error.filename or 'a file'}; free some"
            )
        if error.filename is None:
            return ""
        return (
            f"cannot use {error.filename!r}: {error.strerror}; {platforms.trouble(error.filename)}"
        )
    # TensorFlow's writers raise errors of another type.
    if os.strerror(errno.ENOSPC) in str(error):
        return "no space left on the disk; free some"
    if is_out_of_memory(error):
        return f"{no_memory(error)}; close other programs, or take fewer, smaller images"
    if "embedded null" in str(error):
        return "a path holds the character 0; correct it where it is set"
    return ""


@contextlib.contextmanager
def _printing(on: bool) -> Iterator[None]:
    """With `on` False the block prints nothing but what goes to the stream of errors, and shows no
    progress bars, nor do the processes that it starts."""
    if on:
        yield
        return
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            yield
    finally:
        del os.environ["TQDM_DISABLE"]


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """In the block a SIGTERM that would end the process without a word raises Stopped: the same
    command begins or goes on. A second one ends it at once."""

    def stop(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Stopped("stopped by SIGTERM", number, True)

    in_main = threading.current_thread() is threading.main_thread()
    silent = in_main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if silent:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if silent:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def positive(text: str) -> int:
    """The whole number that an option holds, 1 or more; argparse turns the error into ours."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


def _own_words(typed: Sequence[str]) -> str:
    """A command line without the files and runs in it: who made them named them."""
    ends = {word: word.rpartition("=")[2] for word in typed}
    return " ".join(
        word
        for word, end in ends.items()
        if not os.path.exists(end) and not os.path.exists(RUNS / end)
    )


def white_value(text: str) -> float | Literal["auto"]:
    """What an option ``--range`` holds: a finite value above 0, or the word auto."""
    if text == "auto":
        return "auto"
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0 and finite, not {text}")
    return value


def section_options(
    assignments: Sequence[str], section: str = "model",
    what: str = "a trained run, except for options that matter at inference",
) -> dict[str, Any]:  # fmt: skip
    """The options of ``--set SECTION.KEY=VALUE`` texts. Raises UserError for any other section,
    saying that it has no effect on `what`."""
    from tfrecon.base.config import parse_set

    tables = parse_set(assignments)
    for name in tables:
        if name != section:
            raise UserError(
                f"--set {name}.… has no effect on {what}; write --set {section}.KEY=VALUE"
            )
    return tables.get(section, {})


def start_tensorflow() -> None:
    """Imports TensorFlow, which takes of a GPU's memory what it needs, without the lines that it
    prints at its start and that would hide ours; with ``--verbose`` they are shown, and so they are
    where it does not start.

    Raises UserError where it cannot be imported, and as `extras.check_tensorflow`.
    """
    extras.check_tensorflow()
    if "tensorflow" in sys.modules:
        return
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever Keras is set to elsewhere
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if _verbose else "2")  # from then on
    try:
        with held_back():
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for a GPU, and says so when there is none
    except Exception as error:
        raise UserError(
            f"TensorFlow does not start ({type(error).__name__}: {error}); python -m "
            "tfrecon.doctor names the command that mends it"
        ) from error


KEEPER = "import sys; said = sys.stdin.buffer.read(); sys.stderr.buffer.write(said)"


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """In the block nobody writes to the stream of errors, libraries included. What they say is
    shown where the block fails without a sentence, or this process dies in it, and dropped else;
    with ``--verbose`` it is shown at once.

    TensorFlow's C++ code writes past Python, whatever its log level. Another process keeps what is
    said, as this one may be aborted.
    """
    if _verbose:
        yield
        return
    with subprocess.Popen(
        [sys.executable, "-ISc", KEEPER], stdin=subprocess.PIPE, **platforms.APART
    ) as keeper:  # fmt: skip
        assert keeper.stdin  # noqa: S101  (for the type checker)
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(keeper.stdin.fileno(), 2)
        failed = False
        try:
            yield
        except Exception as error:
            failed = not isinstance(error, UserError)
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if not failed:
                keeper.kill()


def fail(sentence: str, code: int = UserError.code) -> int:
    """Prints an error; returns the exit code, by default that of a user's mistake."""
    if _verbose:
        traceback.print_exc()
    line = " ".join(sentence.split())
    if len(line) > 2 * LONGEST:  # what a stranger wrote may be quoted in it
        line = f"{line[:LONGEST]} … {line[-LONGEST:]}"
    print(f"error: {line}", file=sys.stderr)
    return code
