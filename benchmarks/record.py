"""What a benchmark finds: measured in turns, printed as rows, kept as JSON.

A benchmark is a module of this folder that calls `row` for each figure that it finds, by
`alternated` where it compares. Run by itself it prints them; run by ``python -m benchmarks`` they
are kept, too. This file imports the standard library only, as the Python of a program that tfrecon
is compared with may run a benchmark.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

VARIABLE = "TFRECON_BENCHMARK_ROWS"
"""Names the file to which ``python -m benchmarks`` wants the rows, a line of JSON each."""

BETTER_HIGH = ("/s", "share")
"""How the units end of which more is better; of seconds and bytes less is."""


def alternated(
    ways: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each of the `ways`, so many rounds of all in turns, so that other work on the
    machine meets all. Each first runs `warm_up` times for nothing."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm_up + rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if number >= warm_up:
                taken[name].append(time.perf_counter() - started)
    return taken


def rates(seconds: Mapping[str, Sequence[float]], work: float) -> dict[str, list[float]]:
    """The seconds of rounds, each of so much `work`, as work a second."""
    return {name: [work / each for each in taken] for name, taken in seconds.items()}


def figures(unit: str, rounds: Mapping[str, Sequence[float]]) -> tuple[dict, dict]:
    """The medians of all, and the ratios of the first, which is ours, to each other: above 1 where
    ours is better. Of rounds in turns it is the median of the ratios of neighbours."""
    (ours, own), *peers = rounds.items()
    peers = [] if unit == "dB" else peers  # a logarithm has no ratio
    medians = {name: statistics.median(values) for name, values in rounds.items()}
    ratios: dict[str, float] = {}
    for name, values in peers:
        paired = len(values) == len(own)
        pairs = zip(own, values, strict=True) if paired else [(medians[ours], medians[name])]
        each = [a / b if unit.endswith(BETTER_HIGH) else b / a for a, b in pairs if a and b]
        if each:
            ratios[name] = statistics.median(each)
    return medians, ratios


def row(
    what: str, unit: str, rounds: Mapping[str, Sequence[float] | float], **at: float | str
) -> dict[str, Any]:
    """Prints a figure and keeps it where it is wanted.

    `rounds` has the values in `unit` of each program, ours first, then the peers it is compared
    with; one value, or one for each round. `at` says of what: ``batch=8``. Rows of one benchmark
    that differ in a number of `at` alone become a line of its plot.
    """
    lists = {name: [v] if isinstance(v, int | float) else [*v] for name, v in rounds.items()}
    medians, ratios = figures(unit, lists)
    where = "".join(f", {name} {value}" for name, value in at.items())
    told = [f"{name} {spread(values)}" for name, values in lists.items()]
    told += [f"ratio to {name} {ratio:.2f}" for name, ratio in ratios.items()]
    print(f"{what}{where} ({unit}): {'; '.join(told)}", flush=True)
    rounded = {name: [significant(value) for value in values] for name, values in lists.items()}
    kept = {"what": what, "at": at, "unit": unit, "rounds": rounded}
    kept["medians"] = {name: significant(value) for name, value in medians.items()}
    kept["ratios"] = {name: round(ratio, 2) for name, ratio in ratios.items()}
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept, ensure_ascii=False) + "\n")
    return kept


def significant(value: float) -> float:
    """`value` to four digits."""
    return float(f"{value:.4g}")


def spread(values: Sequence[float]) -> str:
    """``min / median / max``, or the one value."""
    shown = (min(values), statistics.median(values), max(values)) if len(values) > 1 else values
    return " / ".join(f"{significant(value):g}" for value in shown)
