"""Seconds until the command line answers: `--help`, a wrong argument, and `import tfrecon`.

    python benchmarks/start_up.py [--repeats 5]

Prints the least, the middle and the most of the repeats. Goals: one second for the first two, a
third of a second for the import.
"""

import argparse
import statistics
import subprocess
import sys
import time

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
    for name, arguments in COMMANDS.items():
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True)
            seconds.append(time.perf_counter() - started)
        least, middle, most = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{name:20}  {least:6.2f} s  {middle:6.2f} s  {most:6.2f} s")


if __name__ == "__main__":
    main()
