"""What is one number a method: parameters, multiply-adds, time an image, what training took, KID;
and what an ensemble or an average buys for its time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecon.reports import scores as table

HEADS = ("parameters", "GMAC", "images/s", "train minutes", "train GiB", "KID ×1000")
EMPTY = "–"

NOTES = {
    "parameters": "parameters: those that training fits, statistics included; frozen ones are not "
    "counted.",
    "GMAC": "GMAC: 10⁹ multiply-adds of convolutions and matrix products for one image, frozen "
    "networks included; an ensemble's are those of one of its members.",
    "images/s": "images/s: the median over batches, with all cores that the process had.",
    "train minutes": "train minutes: wall time, validations included.",
    "train GiB": "train GiB: the most memory that training held at once.",
    "KID ×1000": "KID: kernel distance of the whole set, of a large one an even sample, to the "
    "targets on SqueezeNet features (Bińkowski et al. 2018); 0 is best.",
}


@dataclass(frozen=True)
class Cost:
    """Of one method; None where there is nothing to count.

    `seconds` an image is the median over the batches. `train_minutes` is wall time. `kid` is that
    of all restored images to the targets. `multiply_adds` are those of one image, `memory_gib` is
    the peak of training.
    """

    parameters: int | None
    seconds: float | None
    train_minutes: float | None
    kid: float | None = None
    multiply_adds: int | None = None
    memory_gib: float | None = None

    def shown(self) -> list[str]:
        """The cells under `HEADS`."""
        rate = 1 / self.seconds if self.seconds else None
        return [
            EMPTY if self.parameters is None else f"{self.parameters:,}",
            EMPTY if self.multiply_adds is None else f"{self.multiply_adds / 1e9:.3g}",
            EMPTY if rate is None else f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}",
            EMPTY if self.train_minutes is None else f"{self.train_minutes:.1f}",
            EMPTY if self.memory_gib is None else f"{self.memory_gib:.1f}",
            EMPTY if self.kid is None else f"{1000 * self.kid:.1f}",
        ]


CSV_NAMES = {
    "parameters": "parameters",
    "multiply_adds": "multiply_adds",
    "seconds_per_image": "seconds",
    "train_minutes": "train_minutes",
    "train_memory_gib": "memory_gib",
    "kid": "kid",
}
"""Names in `table.summary_csv`'s file and the fields that they hold."""

Costs = Mapping[str, Cost]
"""By the method's name."""


def cells(costs: Costs) -> tuple[list[str], dict[str, list[str]]]:
    """The heads of the columns in which any method has a number, and each method's cells."""
    shown = {name: cost.shown() for name, cost in costs.items()}
    used = [n for n in range(len(HEADS)) if any(own[n] != EMPTY for own in shown.values())]
    return [HEADS[n] for n in used], {name: [own[n] for n in used] for name, own in shown.items()}


def text(costs: Costs) -> str:
    """An aligned table for a terminal."""
    heads, shown = cells(costs)
    return table.aligned([["", *heads], *([name, *own] for name, own in shown.items())])


def notes(costs: Costs) -> list[str]:
    """What a reader needs to know of the columns that are there."""
    heads, _ = cells(costs)
    return [note for head, note in NOTES.items() if head in heads]


def csv_lines(costs: Costs) -> str:
    """Lines for `table.summary_csv`'s file: region ``method``, the number in place of the mean."""
    numbers = [
        (name, metric, value)
        for name, cost in costs.items()
        for metric, field in CSV_NAMES.items()
        if (value := getattr(cost, field)) is not None
    ]
    return "".join(
        f'"{name}",method,{metric},,{value:.10g},,,\n' for name, metric, value in numbers
    )


def from_csv(values: Mapping[str, float]) -> Cost:
    """The cost that `csv_lines` wrote, by the metrics' names."""
    found: dict[str, Any] = {field: values.get(metric) for metric, field in CSV_NAMES.items()}
    for field in ("parameters", "multiply_adds"):
        found[field] = None if found[field] is None else round(found[field])
    return Cost(**found)


def gain_for_time(summary: table.Summary, costs: Costs, plain: str, other: str) -> str:
    """``nafnet, ×8 ensemble: +0.21 dB for 8.1 times the time (120 ms an image)``."""
    before, after = costs[plain].seconds, costs[other].seconds
    paid = "no measured time"
    if before and after:
        paid = f"{after / before:.1f} times the time ({1000 * after:.3g} ms an image)"
    return f"{other}: {_gain(summary, plain, other)} for {paid}."


def average_gain(summary: table.Summary, raw: str, averaged: str) -> str:
    """What the moving average of the weights gains at the last step; it costs no time."""
    return f"{averaged}: {_gain(summary, raw, averaged)} by EMA weights, which take no more time."


def spread(summary: table.Summary, name: str, draws: Sequence[str]) -> str:
    """``diffusion over 4 draws: PSNR (dB) 17.20 ± 0.05, LPIPS alex 0.1510 ± 0.0012.``: mean and
    standard deviation of the draws' means."""
    shown: list[str] = []
    for column in (table.psnr_column(summary), "ssim", "lpips_alex"):
        means = [
            c.mean for draw in draws for c in summary if (c.method, c.column) == (draw, column)
        ]
        if means:
            measure = table.MEASURES[column.removeprefix(table.HOLE)]
            deviation = float(np.std(means, ddof=1)) if len(means) > 1 else math.nan
            mean = float(np.mean(means))
            shown.append(f"{measure.label} {mean:{measure.form}} ± {deviation:{measure.form}}")
    return f"{name} over {len(draws)} draws: {', '.join(shown)}."


def bound(summary: table.Summary, bounded: str) -> str:
    """What the row of the truth through an autoencoder is."""
    score = table.find(summary, bounded, table.psnr_column(summary)).mean
    return (
        f"{bounded}: the truth through it, {score:.2f} dB, as a sample with its latents would have."
    )


def ranking(summary: table.Summary, names: Sequence[str]) -> str:
    """The methods by PSNR, of the holes where there are any."""
    scores = {name: table.find(summary, name, table.psnr_column(summary)).mean for name in names}
    order = sorted(names, key=lambda name: -scores[name])
    return "by PSNR: " + ", ".join(f"{name} {scores[name]:.2f} dB" for name in order) + "."


def _gain(summary: table.Summary, before: str, after: str) -> str:
    column = table.psnr_column(summary)
    gain = table.find(summary, after, column).mean - table.find(summary, before, column).mean
    return f"{gain:+.2f} dB"
