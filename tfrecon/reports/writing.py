"""The folder of a comparison: one page, and its tables as CSV and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrecon.base import images
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.reports import costs, statistics, tables
from tfrecon.reports import scores as evaluation_table
from tfrecon.reports import sentences as plain
from tfrecon.reports.comparison import Comparison
from tfrecon.reports.page import page
from tfrecon.reports.side_by_side import leading_pictures

THREADS = ("intra_op_threads", "inter_op_threads")
FILES = ("report.html", "report.md", "leaderboard.csv", "pairs.csv", "ablations.csv")


def write(
    comparison: Comparison, folder: Path, config: DataConfig, split: str,
    options: Mapping[str, Any] | None = None,
) -> list[str]:  # fmt: skip
    """Writes `FILES` into `folder` and returns the summary's sentences. `config`, `split` and
    `options` are those of the evaluation, for the pictures."""
    tested = {
        column: statistics.pairs(comparison, column)
        for column in comparison.columns
        if evaluation_table.MEASURES[
            column.removeprefix(evaluation_table.HOLE)
        ].higher_is_better is not None
    }  # fmt: skip
    own = tested[comparison.metric]
    ablations = {
        axis: rows for axis in comparison.axes if (rows := statistics.ablations(comparison, axis))
    }
    lines = tables.leaderboard(comparison, own)
    said = plain.sentences(comparison, own, ablations)
    notes = [*costs.notes({result.name: result.cost for result in comparison.results})]
    notes += [f"{name} is left out: not every result has it." for name in comparison.dropped]
    try:
        pictures = leading_pictures(comparison, config, split, options or {})
    except (UserError, OSError) as error:
        pictures = []
        notes.append(f"Pictures are left out: {error}.")
    document = page(
        comparison, lines=lines, pairs=own, ablations=ablations, sentences=said, notes=notes,
        pictures=pictures, environment=environment(comparison),
    )  # fmt: skip
    contents = {
        "report.html": document,
        "report.md": tables.markdown(comparison, lines, own, ablations, said),
        "leaderboard.csv": tables.leaderboard_csv(comparison, lines),
        "pairs.csv": tables.pairs_csv([pair for some in tested.values() for pair in some]),
        "ablations.csv": tables.ablations_csv(ablations),
    }
    for name in FILES:
        with images.replacing(folder / name) as temporary:
            temporary.write_text(contents[name], encoding="utf-8")
    return said


def environment(comparison: Comparison) -> dict[str, str]:
    """What the numbers depend on: data, seeds, code, versions, machine."""
    first = comparison.results[0]
    facts = first.facts
    machines, threads = set[str](), set[str]()
    for result in comparison.results:
        own = dict(result.facts.get("machine") or {})
        threads.add(str([own.pop(name, "?") for name in THREADS]))
        machines.add(str(own))
    revisions = {_code(result.facts.get("code") or {}) for result in comparison.results}
    trained = {
        _code(run.facts.get("code") or {}) for result in comparison.results for run in result.runs
    }
    seeds = sorted({run.config.fit.seed for result in comparison.results for run in result.runs})
    machine = facts.get("machine") or {}
    shown = {
        "data": f"{facts.get('recipe', {}).get('name')}, split {facts.get('split')!r}, "
        f"{facts.get('images')} images, {facts.get('image_size')} pixels a side",
        "data fingerprint": f"{facts.get('data')} (hash over ids and file contents)",
        "seeds": ", ".join(map(str, seeds)),
        "trained by code": "; ".join(sorted(trained)),
        "evaluated by code": "; ".join(sorted(revisions)),
        "date of evaluation": str(facts.get("date")),
    }
    shown |= {
        name: str(machine[name])
        for name in ("tensorflow", "keras", "numpy", "python", "processor")
        if name in machine
    }
    runs = [run for result in comparison.results for run in result.runs]
    used = {str(run.facts.get("machine", {}).get("intra_op_threads", "?")) for run in runs}
    shown["threads of a training"] = ", ".join(sorted(used))
    seen = {str((run.facts.get("data") or {}).get("train", "not recorded")) for run in runs}
    shown["training photos"] = ", ".join(sorted(seen)) + " (hash over ids and file contents)"
    if len(seen) > 1:
        shown["caution: training photos"] = "not all results were trained on the same photos"
    if len(machines) > 1:
        shown["caution: machine"] = (
            "not all results were evaluated on the same machine and versions"
        )
    if len(threads) > 1:
        shown["caution: threads"] = "results had different shares of the cores: images/s of them "
        shown["caution: threads"] += "cannot be compared"
    return shown


def _code(code: Mapping[str, Any]) -> str:
    if not code.get("revision"):
        return "of no known git revision"
    state = {True: "clean", False: "with uncommitted changes"}.get(
        code.get("clean"), "unknown state"
    )
    return f"{str(code['revision'])[:12]}, {state}"
