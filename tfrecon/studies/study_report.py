"""The report on a study: its finished cells compared, and a cell evaluated once more."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from tfrecon.base.errors import UserError, unknown
from tfrecon.base.system import set_threads
from tfrecon.reports import page
from tfrecon.reports.comparison import KEYS, Comparison, Scored, compare, read_report
from tfrecon.reports.evaluation import data_config, evaluate_runs
from tfrecon.reports.sentences import missing
from tfrecon.reports.verdicts import ending
from tfrecon.studies.matrix import Study
from tfrecon.studies.runner import result

TOLERANCE = 1e-5
"""Of a column's mean size: what a repeated evaluation may differ by, and what CSV files round."""

UNFINISHED = "not finished"


def collect(study: Study, folder: Path, failed: Mapping[str, str]) -> Comparison:
    """All finished cells of a study. What is unfinished, failed or damaged is in `missing`.

    Raises UserError where no cell is finished and where cells were evaluated on different images.
    """
    groups: dict[str, list[Scored]] = {}
    without: dict[str, str] = {}
    for cell in study.cells:
        try:
            scored = result(cell, folder)
        except UserError as error:
            without[cell.name] = str(error)
            continue
        if scored:
            groups.setdefault(cell.group, []).append(scored)
        else:
            without[cell.name] = failed.get(cell.name, UNFINISHED)
    if not groups:
        known = [f"{name}: {why}" for name, why in without.items() if why != UNFINISHED]
        raise UserError(
            f"no cell of study {study.name!r} has a result in {str(folder)!r}, so there is nothing "
            "to report; " + (known[0] if known else "run it without --report-only")
        )
    labels = {cell.group: cell.labels for cell in study.cells}
    return compare(
        study.title, groups, metric=study.metric, axes=study.axes, labels=labels, missing=without
    )


def write(study: Study, folder: Path, failed: Mapping[str, str]) -> str:
    """Writes the report on a study into its folder and returns the screen that tells of it."""
    comparison = collect(study, folder, failed)
    config = data_config(comparison.results[0].runs[0], None, None)
    return told(comparison, page.write(comparison, folder, config, "test")[0], folder)


def told(comparison: Comparison, winner: str, folder: Path) -> str:
    """The screen on a comparison whose report lies in `folder`; `winner` is its first sentence."""
    best = comparison.results[0]
    where = [
        f"all tests, costs and pictures: {folder / 'report.html'}",
        "the same tables lie beside it as CSV and Markdown",
    ]
    after = missing(comparison)
    return ending(comparison, [best.name], best.baselines, where, before=[winner], after=after)


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
            f"(fingerprint {before.facts['data']} then, {after.facts['data']} now); "
            "restore them, or train it anew"
        )
    both = _differences(before, after)
    gone = both.filter(pl.col("now").is_null())["metric"].to_list()
    if gone:
        raise UserError(
            f"cell {name!r} cannot be verified: {gone[0]} can no longer be computed here; put the "
            "weights that it needs into $TFRECON_WEIGHTS"
        )
    worst = both.sort("off").row(-1, named=True)
    if worst["off"] > TOLERANCE:
        raise UserError(
            f"cell {name!r} does not repeat: {worst['metric']} of {worst['image']!r} on the "
            f"{worst['region']}: {worst['value']:.7g} then, {worst['now']:.7g} now; code and "
            f"machine of both evaluations are in "
            f"{str(before.run.path / 'report' / 'evaluation.json')!r}"
        )
    return f"{name}: all {len(both)} scores repeat, within {worst['off']:.1e}"


def _differences(before: Scored, after: Scored) -> pl.DataFrame:
    """The scores before, `now` those after, and how far they are `off` in the column's mean size:
    infinite where one of both is missing."""
    then, now = pl.col("value"), pl.col("now")
    both = before.run_scores.join(
        after.run_scores.select(*KEYS, now="value"), on=KEYS, how="left", maintain_order="left"
    )
    size = pl.when(then.is_finite()).then(then.abs()).mean().over("region", "metric").replace(0, 1)
    # Equal: two that are missing, and two failures, too.
    off = pl.when(then == now).then(0).otherwise((now - then).abs() / size)
    return both.with_columns(off=off.fill_nan(math.inf).fill_null(math.inf))
