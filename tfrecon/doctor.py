"""``python -m tfrecon.doctor``: what is installed and found here, and what mends what is broken."""

import argparse
import functools
import sys

from tfrecon.base.cli import Parser, run
from tfrecon.base.errors import UserError


def parser() -> Parser:
    """The command's options."""
    return Parser(
        "doctor",
        "Prints versions, devices, the precision that auto picks, memory, caches and their sizes,\n"
        "the weights that are here, each checked by its hash, and which extras are installed.\n"
        "What is broken is named with the command that mends it; the exit code is 2 then.\n"
        "Works where TensorFlow does not.",
    )


def _doctor(arguments: argparse.Namespace) -> None:
    from tfrecon.training.diagnosis import diagnose

    broken = diagnose(print)
    if broken:
        raise UserError(f"{len(broken)} broken: {'; and '.join(broken)}")
    print("\nnothing is broken")


main = functools.partial(run, parser, _doctor)

if __name__ == "__main__":
    sys.exit(main())
