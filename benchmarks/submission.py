"""Writing and checking a submission of 200 images, 6,750,000 lines.

    python -m benchmarks.submission

Lines a second and the peak of the process's memory above its start, for 50 and for 200 images
(equal peaks mean that memory is flat), and the same work by Python's own csv writer. Writing
includes making the images and reading the file back, which csv does not. Each runs in a process of
its own, so that no peak hides in another. Images are random floats, 256×256, made one at a time.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import row
from tfrecon.data.sample import Sample
from tfrecon.inference.submission import check_submission, find, write_submission

SIDE = 256
LINES = 2 * 75 * 75 * 3
ROUNDS = 3


def listed(count: int) -> list[Sample]:
    corners = np.random.default_rng(0).integers(0, SIDE - 75, (count, 2, 2)).tolist()
    return [
        Sample(f"Cat-Test ({number}).jpeg", boxes=((*first, 75, 75), (*second, 75, 75)))
        for number, (first, second) in enumerate(corners)
    ]


def make(samples: Sequence[Sample]) -> Generator[tuple[list[Sample], np.ndarray[Any, Any]]]:
    random = np.random.default_rng(0)
    for sample in samples:
        yield [sample], random.random((1, SIDE, SIDE, 3), np.float32)


def write_with_csv_module(path: Path, count: int) -> None:
    """The peer: Python's csv writer fed with a tuple a line, streaming, without lookups."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("filename_box_pixel", "value"))
        for (sample,), (image,) in make(listed(count)):
            for box, (top, left, _, _) in enumerate(sample.boxes, start=1):
                values = iter(image[top : top + 75, left : left + 75].ravel().tolist())
                writer.writerows(
                    (f"{sample.id}_box{box}_{row}_{column}_{channel}", f"{next(values):.6f}")
                    for row in range(top, top + 75)
                    for column in range(left, left + 75)
                    for channel in range(3)
                )


class PeakMemory:
    """The highest resident set above that at the start, in MB, sampled every millisecond.

    The kernel's own high-water mark (VmHWM) is taken where it was reset at the start, as it misses
    nothing; the samples serve where it cannot be reset.
    """

    def __enter__(self) -> PeakMemory:
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._reset = True
        except OSError:
            self._reset = False
        self._start = self._status("VmRSS")
        self._highest, self._done = self._start, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        highest = self._status("VmHWM") if self._reset else self._highest
        self.megabytes = (highest - self._start) / 1024

    def _watch(self) -> None:
        while not self._done.wait(0.001):
            self._highest = max(self._highest, self._status("VmRSS"))

    @staticmethod
    def _status(key: str) -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
        raise KeyError(key)


def measure(what: str, count: int, path: Path) -> tuple[float, float]:
    """Seconds, and MB of memory above the start."""
    competition = find("animals_inpainting")
    samples = listed(count)
    if what == "check":
        write_submission(path, samples, make, competition, what)
    with PeakMemory() as memory:
        start = time.perf_counter()
        if what == "write":
            write_submission(path, samples, make, competition, what)
        elif what == "check":
            check_submission(path, samples, competition)
        else:
            write_with_csv_module(path, count)
        seconds = time.perf_counter() - start
    return seconds, memory.megabytes


def measure_apart(what: str, count: int) -> tuple[float, float]:
    """Lines a second and MB, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.submission", "--only", what, str(count)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, megabytes = map(float, output.split())
    return count * LINES / seconds, megabytes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "IMAGES"), help="one row, bare numbers")
    only = parser.parse_args().only
    if only:
        with tempfile.TemporaryDirectory() as folder:
            print(*measure(only[0], int(only[1]), Path(folder) / "submission.csv"))
        return
    works = [*itertools.product(("write", "check"), (50, 200)), ("csv", 20)]
    turns = [[measure_apart(*work) for work in works] for _ in range(ROUNDS)]
    found = dict(zip(works, zip(*turns, strict=True), strict=True))
    peer = {"csv": [rate for rate, _ in found.pop(("csv", 20))]}
    for (what, count), pairs in found.items():
        speeds, peaks = zip(*pairs, strict=True)
        against = peer if what == "write" else {}
        row(what, "lines/s", {"tfrecon": speeds, **against}, images=count)
        row(what, "MB above the start", {"tfrecon": peaks}, images=count)


if __name__ == "__main__":
    main()
