"""Best, median and worst image of each leading result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.data import pipeline, recipes
from tfrecon.data.damage import IDENTITY
from tfrecon.data.store import content_fingerprint
from tfrecon.inference.restorer import restorer
from tfrecon.reports.comparison import Comparison, Result, gain
from tfrecon.reports.page import Picture, Which
from tfrecon.reports.sentences import label, quantity

LEADING = 3
"""Results whose pictures are shown."""


def leading_pictures(
    comparison: Comparison, config: DataConfig, split: str, options: Mapping[str, Any]
) -> list[Picture]:
    """Restored anew by the first run of each result, its weights being at hand. Raises UserError
    where they or the images are not."""
    root = Path(config.root) if config.root else None
    samples = {sample.id: sample for sample in recipes.samples(config.recipe, root, split)}
    evaluated = [samples[id] for id in comparison.ids if id in samples]
    if content_fingerprint(evaluated) != comparison.results[0].facts.get("data"):
        raise UserError("the images have changed since they were scored; evaluate the runs again")
    config = dataclasses.replace(config, cache="none")
    found: list[Picture] = []
    for result in comparison.results[:LEADING]:
        chosen = _chosen(comparison.ids, result, comparison.metric)
        run = result.runs[0]
        restore = restorer(run.load_model(options))
        wanted = [samples[id] for id in dict.fromkeys(chosen.values()) if id in samples]
        shown: dict[str, tuple[Any, Any, Any]] = {}
        for batch in pipeline.dataset(wanted, config, batch_size=1):
            x = pipeline.model_input(batch) if run.has_mask else batch["input"]
            restored = np.asarray(restore(np.asarray(x)))[0]
            damaged = None if config.damage == IDENTITY else batch["input"].numpy()[0]
            shown[batch["id"].numpy()[0].decode()] = (
                batch["target"].numpy()[0], restored, damaged,
            )  # fmt: skip
        for which, id in chosen.items():
            if id in shown:
                caption = _caption(comparison, result, id)
                found.append(Picture(result.name, which, id, caption, *shown[id]))
    return found


def _chosen(ids: Sequence[str], result: Result, metric: str) -> dict[Which, str]:
    values = [gain(metric, value) for value in result.scores[metric]]
    order = sorted(
        (place for place in range(len(ids)) if not math.isnan(values[place])),
        key=lambda place: -values[place],
    )
    if not order:
        return {}
    return {
        "best": ids[order[0]],
        "median": ids[order[len(order) // 2]],
        "worst": ids[order[-1]],
    }


def _caption(comparison: Comparison, result: Result, id: str) -> str:
    place, column = list(comparison.ids).index(id), comparison.metric
    return f"{label(column)} {quantity(column, result.scores[column][place])}"
