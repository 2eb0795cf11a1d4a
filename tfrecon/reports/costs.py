"""What a method costs: parameters, multiply-adds, time an image, what training took; and its KID
and its failures, which are numbers of the whole set of images as well."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tfrecon.metrics.measures import EMPTY
from tfrecon.reports.tables import Column, Field


@dataclass(frozen=True)
class Cost:
    """What one method costs; None where there is nothing to count.

    `seconds_per_image` is the median over the batches, the lower one of two: a short split must not
    tell of what else the machine did. `train_minutes` is wall time. `kid` is that
    of all restored images to the targets. `multiply_adds` are those of one image,
    `train_memory_gib` is the peak of training, `failed` counts the outputs that are not finite.
    """

    parameters: int | None = None
    seconds_per_image: float | None = None
    train_minutes: float | None = None
    kid: float | None = None
    multiply_adds: int | None = None
    train_memory_gib: float | None = None
    failed: float | None = None


Costs = Mapping[str, Cost]
"""By the method's name."""

NOTHING = Cost()

COUNTED = ("parameters", "multiply_adds")
"""Whole numbers that are counted, not measured."""


@dataclass(frozen=True)
class Quantity:
    """One field of `Cost` by its `name`: head and note in tables, and how a value is shown."""

    name: str
    head: str
    show: Callable[[float], str]
    note: str
    first: Literal["high", "low"] = "low"

    def cell(self, cost: Cost) -> Field:
        """The cell under the head."""
        value = vars(cost)[self.name]
        text = EMPTY if value is None else self.show(value)
        return Field(text, value=None if text == EMPTY else float(text.replace(",", "")))

    def column(self, group: str = "") -> Column:
        """Head of a table's column, capitalised where it stands under a `group`."""
        head = self.head[0].upper() + self.head[1:] if group else self.head
        return Column(head, self.first, group)


def _rate(seconds: float) -> str:
    if not seconds:
        return EMPTY
    return f"{1 / seconds:,.0f}" if 1 / seconds >= 10 else f"{1 / seconds:.2g}"


QUANTITIES = (
    Quantity(
        "parameters", "parameters", lambda count: f"{count:,}",
        "parameters: those that training fits, statistics included; frozen ones are not counted.",
    ),
    Quantity(
        "multiply_adds", "GMAC", lambda count: f"{count / 1e9:.3g}",
        "GMAC: 10⁹ multiply-adds of convolutions and matrix products for one image, frozen "
        "networks included; an ensemble's are those of one of its members.",
    ),
    Quantity(
        "seconds_per_image", "images/s", _rate,
        "images/s: the median over batches, with all cores that the process had.", first="high",
    ),
    Quantity(
        "train_minutes", "train minutes", lambda minutes: f"{minutes:.1f}",
        "train minutes: wall time, validations included.",
    ),
    Quantity(
        "train_memory_gib", "train GiB", lambda gib: f"{gib:.1f}",
        "train GiB: the most memory that training held at once.",
    ),
    Quantity(
        "kid", "KID ×1000", lambda kid: f"{1000 * kid:.1f}",
        "KID: kernel distance of the whole set, of a large one an even sample, to the targets on "
        "SqueezeNet features (Bińkowski et al. 2018); 0 is best.",
    ),
    Quantity(
        "failed", "failed images", lambda count: f"{count:g}",
        "failed images: those for which the output is not finite; means, and KID, are over the "
        "others, and a method ranks below all that failed on fewer.",
    ),
)  # fmt: skip
"""In the order of the tables' columns."""

NAMES = tuple(quantity.name for quantity in QUANTITIES)


def present(costs: Costs) -> list[Quantity]:
    """The quantities that any method has."""
    return [q for q in QUANTITIES if any(q.cell(cost).text != EMPTY for cost in costs.values())]


def notes(costs: Costs) -> list[str]:
    """What a reader needs to know of the columns that are there."""
    return [quantity.note for quantity in present(costs)]


def csv_lines(costs: Costs) -> list[list[object]]:
    """Lines for ``summary.csv``: region ``method``, the number in place of the mean."""
    return [
        [name, "method", quantity, None, value, None, None, None]
        for name, cost in costs.items()
        for quantity in NAMES
        if (value := vars(cost)[quantity]) is not None and not math.isnan(value)
    ]


def from_csv(values: Mapping[str, float]) -> Cost:
    """The cost that `csv_lines` wrote, by the names in the file."""
    known = {name: values[name] for name in NAMES if name in values}
    return Cost(**{n: round(value) if n in COUNTED else value for n, value in known.items()})


def average(costs: Sequence[Cost]) -> Cost:
    """The mean over seeds of what is measured; what is counted is that of the first."""
    means: dict[str, Any] = {name: vars(costs[0])[name] for name in COUNTED}
    for name in set(NAMES) - means.keys():
        known = [vars(cost)[name] for cost in costs if vars(cost)[name] is not None]
        means[name] = sum(known) / len(known) if known else None
    return Cost(**means)
