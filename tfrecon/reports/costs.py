"""What a method costs: parameters, multiply-adds, time an image, what training took; and its KID,
which is a number of the whole set of images as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tfrecon.metrics.measures import EMPTY
from tfrecon.reports.tables import Column, Field, Table


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


Costs = Mapping[str, Cost]
"""By the method's name."""

NOTHING = Cost(None, None, None)


@dataclass(frozen=True)
class Quantity:
    """One field of `Cost`: its name in files, head and note in tables, and how a value is shown."""

    field: str
    csv: str
    head: str
    show: Callable[[float], str]
    note: str
    first: Any = "low"

    def shown(self, cost: Cost) -> str:
        """The cell under the head."""
        value = vars(cost)[self.field]
        return EMPTY if value is None else self.show(value)


def _rate(seconds: float) -> str:
    if not seconds:
        return EMPTY
    return f"{1 / seconds:,.0f}" if 1 / seconds >= 10 else f"{1 / seconds:.2g}"


QUANTITIES = (
    Quantity(
        "parameters", "parameters", "parameters", lambda count: f"{count:,}",
        "parameters: those that training fits, statistics included; frozen ones are not counted.",
    ),
    Quantity(
        "multiply_adds", "multiply_adds", "GMAC", lambda count: f"{count / 1e9:.3g}",
        "GMAC: 10⁹ multiply-adds of convolutions and matrix products for one image, frozen "
        "networks included; an ensemble's are those of one of its members.",
    ),
    Quantity(
        "seconds", "seconds_per_image", "images/s", _rate,
        "images/s: the median over batches, with all cores that the process had.", first="high",
    ),
    Quantity(
        "train_minutes", "train_minutes", "train minutes", lambda minutes: f"{minutes:.1f}",
        "train minutes: wall time, validations included.",
    ),
    Quantity(
        "memory_gib", "train_memory_gib", "train GiB", lambda gib: f"{gib:.1f}",
        "train GiB: the most memory that training held at once.",
    ),
    Quantity(
        "kid", "kid", "KID ×1000", lambda kid: f"{1000 * kid:.1f}",
        "KID: kernel distance of the whole set, of a large one an even sample, to the targets on "
        "SqueezeNet features (Bińkowski et al. 2018); 0 is best.",
    ),
)  # fmt: skip
"""In the order of the tables' columns."""


def present(costs: Costs) -> list[Quantity]:
    """The quantities that any method has."""
    return [q for q in QUANTITIES if any(q.shown(cost) != EMPTY for cost in costs.values())]


def columns(quantities: Sequence[Quantity], group: str = "") -> list[Column]:
    """Heads of a table, capitalised where they stand under a `group`."""
    heads = [q.head[0].upper() + q.head[1:] if group else q.head for q in quantities]
    return [Column(h, q.first, group) for h, q in zip(heads, quantities, strict=True)]


def cells(cost: Cost, quantities: Sequence[Quantity]) -> list[Field]:
    """One method's cells under `columns`."""
    shown = [quantity.shown(cost) for quantity in quantities]
    return [
        Field(text, value=None if text == EMPTY else float(text.replace(",", ""))) for text in shown
    ]


def table(costs: Costs) -> Table:
    """A row for each method."""
    quantities = present(costs)
    rows = [[name, *cells(cost, quantities)] for name, cost in costs.items()]
    return Table([Column(""), *columns(quantities)], rows)


def notes(costs: Costs) -> list[str]:
    """What a reader needs to know of the columns that are there."""
    return [quantity.note for quantity in present(costs)]


def csv_lines(costs: Costs) -> str:
    """Lines for ``summary.csv``: region ``method``, the number in place of the mean."""
    return "".join(
        f'"{name}",method,{quantity.csv},,{value:.10g},,,\n'
        for name, cost in costs.items()
        for quantity in QUANTITIES
        if (value := vars(cost)[quantity.field]) is not None
    )


def from_csv(values: Mapping[str, float]) -> Cost:
    """The cost that `csv_lines` wrote, by the names in the file."""
    read = {quantity.field: values.get(quantity.csv) for quantity in QUANTITIES}
    for name in ("parameters", "multiply_adds"):
        read[name] = None if read[name] is None else round(read[name])
    return Cost(**read)


def average(costs: Sequence[Cost]) -> Cost:
    """The mean over seeds of what is measured; what is counted is that of the first."""
    means: dict[str, Any] = {}
    for name in (field.name for field in fields(Cost)):
        known = [value for cost in costs if (value := vars(cost)[name]) is not None]
        means[name] = sum(known) / len(known) if known else None
    counted = {name: vars(costs[0])[name] for name in ("parameters", "multiply_adds")}
    return Cost(**{**means, **counted})
