"""Metrics of a user's own, by dotted path: ``evaluate --metric my_metrics.sharpness``.

Such a metric is a function like those of `METRICS`. How reports show it may be said by an attribute
of the function, ``sharpness.measure = Measure("sharpness", "Sharpness", "less", ".3f")``; unless it
is, its label is its name, and more is better.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from tfrecon.base.registry import entry
from tfrecon.metrics.logged import METRICS
from tfrecon.metrics.measures import HOLE, MEASURES


def users_metrics(names: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """The metrics by their names, entered into `MEASURES` for the whole image and for holes.

    Raises UserError for a path that leads to nothing that can be called.
    """
    metrics = {name: entry(name, METRICS, "metric") for name in names}
    for name, metric in metrics.items():
        for column in () if name in METRICS else (name, HOLE + name):
            shown = getattr(metric, "measure", MEASURES[column])
            region = MEASURES[column].region
            MEASURES[column] = dataclasses.replace(shown, metric=name, region=region)
    return metrics
