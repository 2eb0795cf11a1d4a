"""Seconds until the command line answers: `--help`, a wrong argument, and `import tfrecon`.

    python -m benchmarks.start_up [--repeats 5]

Goals: one second for the first two, a
third of a second for the import.
"""

import argparse
import functools
import subprocess
import sys

from benchmarks.record import alternated, row

COMMANDS = {
    "fit --help": ["-m", "tfrecon.fit", "--help"],
    "fit, wrong argument": ["-m", "tfrecon.fit", "--model", "pix2pix", "--set", "fit.epoch=3"],
    "import tfrecon": ["-c", "import tfrecon"],
    "python alone": ["-c", "pass"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    ways = {
        name: functools.partial(subprocess.run, [sys.executable, *words], capture_output=True)
        for name, words in COMMANDS.items()
    }
    for name, seconds in alternated(ways, repeats).items():
        row(name, "s", {"tfrecon" if "tfrecon" in " ".join(COMMANDS[name]) else "alone": seconds})


if __name__ == "__main__":
    main()
