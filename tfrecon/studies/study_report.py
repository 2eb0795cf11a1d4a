"""What a study's cells have found: its comparison, written beside them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfrecon.base.errors import UserError, unknown
from tfrecon.reports.comparison import Comparison, Scored, compare
from tfrecon.reports.evaluation import data_config, evaluate_runs
from tfrecon.reports.reading import read_report
from tfrecon.reports.writing import write as write_comparison
from tfrecon.studies.matrix import Study
from tfrecon.studies.runner import result
from tfrecon.training.run import set_threads

TOLERANCE = 1e-5
"""Of a column's mean size: what a repeated evaluation may differ by, and what CSV files round."""

UNFINISHED = "not finished"


def collect(study: Study, folder: Path, failed: Mapping[str, str]) -> Comparison:
    """All finished cells of a study. What is unfinished, failed or damaged is in `missing`.

    Raises UserError where no cell is finished and where cells were evaluated on different images.
    """
    groups: dict[str, list[Scored]] = {}
    missing: dict[str, str] = {}
    for cell in study.cells:
        try:
            scored = result(cell, folder)
        except UserError as error:
            missing[cell.name] = str(error)
            continue
        if scored:
            groups.setdefault(cell.group, []).append(scored)
        else:
            missing[cell.name] = failed.get(cell.name, UNFINISHED)
    if not groups:
        known = [f"{name}: {why}" for name, why in missing.items() if why != UNFINISHED]
        raise UserError(
            f"no cell of study {study.name!r} has a result in {str(folder)!r}, so there is nothing "
            "to report; " + (known[0] if known else "run it without --report-only")
        )
    return compare(
        study.title, groups, metric=study.metric, axes=study.axes, labels=study.labels(),
        missing=missing,
    )  # fmt: skip


def write(study: Study, folder: Path, failed: Mapping[str, str]) -> list[str]:
    """Writes the report on a study into its folder and returns the summary's sentences."""
    comparison = collect(study, folder, failed)
    run = comparison.results[0].runs[0]
    return write_comparison(comparison, folder, data_config(run, None, None), "test")


def verify(study: Study, folder: Path, name: str) -> str:
    """Evaluates a finished cell again and says that all its scores are the same.

    Raises UserError, naming the largest difference, where they are not.
    """
    cells = {cell.name: cell for cell in study.cells}
    if name not in cells:
        raise unknown(f"cell of study {study.name!r}", name, cells)
    before = result(cells[name], folder)
    if before is None:
        raise UserError(f"cell {name!r} has no result in {str(folder)!r} yet; train it first")
    set_threads(before.run.facts)  # sums depend on them
    with tempfile.TemporaryDirectory() as temporary:
        evaluate_runs([before.run], baselines=False, folder=Path(temporary))
        (after,) = read_report(Path(temporary), [before.run])
    if before.facts["data"] != after.facts["data"]:
        raise UserError(
            f"cell {name!r} cannot be verified: its test images have changed since its evaluation "
            f"(fingerprint {before.facts['data']} then, {after.facts['data']} now)"
        )
    worst, where = 0.0, "no score"
    for column, values in before.scores.items():
        if column not in after.scores:
            raise UserError(
                f"cell {name!r} cannot be verified: {column} can no longer be computed here; put "
                "the weights that it needs into $TFRECON_WEIGHTS"
            )
        size = float(np.nanmean(np.abs(list(values.values())))) or 1.0
        for id, then in values.items():
            now = after.scores[column][id]
            if math.isnan(then) and math.isnan(now):
                continue
            difference = abs(now - then) / size
            if not difference <= worst:
                worst, where = difference, f"{column} of {id!r}: {then:.7g} then, {now:.7g} now"
    if not worst <= TOLERANCE:
        raise UserError(
            f"cell {name!r} does not repeat: {where}; code and machine of both evaluations are in "
            f"{str(before.run.path / 'report' / 'evaluation.json')!r}"
        )
    count = sum(len(values) for values in before.scores.values())
    return f"{name}: all {count} scores repeat, within {worst:.1e}"
