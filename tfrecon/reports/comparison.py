"""What is compared: runs, or cells of a study, with their scores of the same images."""

import csv
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tfrecon.base import platforms, shown
from tfrecon.base.errors import UserError, foreign, some
from tfrecon.metrics.measures import MEASURES, Measure, main_column
from tfrecon.reports import costs, run_facts, scores
from tfrecon.reports.costs import Cost
from tfrecon.reports.scores import Board
from tfrecon.training.run import Run

REPORT = "report"

KEYS = ("region", "metric", "image")


@dataclass(frozen=True)
class Scored:
    """One run as a report has it.

    `scores` are those of all methods of the report, among them `method`, the run's. `facts` are
    those of ``evaluation.json``, where ``baselines`` names the methods without training.
    """

    run: Run
    method: str
    scores: pl.DataFrame
    cost: Cost
    facts: Mapping[str, Any]

    @functools.cached_property
    def run_scores(self) -> pl.DataFrame:
        """The rows of the run's method."""
        return self.scores.filter(method=self.method)

    @functools.cached_property
    def means(self) -> Mapping[str, float]:
        """Of the run's columns the means over the images that have a value."""
        values = scores.arrays(self.run_scores)
        return {column: scores.mean(of_column) for (_, column), of_column in values.items()}


@dataclass(frozen=True)
class Result:
    """One row of a comparison: a run, or the runs of a cell that differ in their seed only.

    `labels`: axis → label, empty outside a study. `seed_means`: of each seed, column → the mean
    over the images. `cost` is the mean over seeds.
    """

    name: str
    runs: Sequence[Run]
    labels: Mapping[str, str]
    seed_means: Sequence[Mapping[str, float]]
    cost: Cost
    facts: Mapping[str, Any]

    def seed_spread(self, column: str) -> float:
        """Standard deviation of the seeds' means; NaN for one seed."""
        return scores.deviation([of_seed[column] for of_seed in self.seed_means])

    @property
    def baselines(self) -> Sequence[str]:
        """The methods without training that this result is held against."""
        return self.facts.get("baselines", [])

    @property
    def taps(self) -> Sequence[Mapping[str, Any]]:
        """The taps that are inverted, as `run_facts.run_facts` describes them."""
        return self.facts.get("taps", [])


@dataclass(frozen=True, eq=False)
class Comparison(Board):
    """Results, best first by the mean of the column `metric`.

    `scores`: those of each result, under its name and averaged over its seeds, and of the
    `baselines` of all results; `Result.baselines` names a result's own, as some depend on the run.
    `axes`: axis → its labels in the study's order. `missing`: names of cells without a result →
    the reason. `dropped`: columns that some results have and others lack.
    """

    title: str
    results: Sequence[Result]
    baselines: Sequence[str]
    axes: Mapping[str, Sequence[str]] = field(default_factory=dict[str, list[str]])
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    dropped: Sequence[str] = ()

    def __str__(self) -> str:
        """The title, what is to be said, and the leaderboard."""
        from tfrecon.reports.leaderboard import leaderboard
        from tfrecon.reports.sentences import sentences

        return "\n".join([self.title, "", *sentences(self), "", leaderboard(self).text()])

    def _repr_html_(self) -> str:
        from tfrecon.reports.leaderboard import leaderboard  # which compares
        from tfrecon.reports.sentences import sentences

        said = shown.heading(self.title) + shown.paragraphs(sentences(self))
        return said + leaderboard(self).html()


def has_report(run: Run) -> bool:
    """Whether the run was evaluated on its own test split after the end of its training."""
    try:
        about = json.loads((run.path / REPORT / run_facts.FILE).read_text(encoding="utf-8"))
        return all(facts["trained"] for facts in about["runs"].values())
    except FileNotFoundError:
        return False
    except Exception:
        return True  # `read_report` says what is wrong with it


def read_report(folder: Path, runs: Sequence[Run]) -> list[Scored]:
    """What `evaluate_runs` wrote of `runs`, given in its order, into a folder.

    Raises UserError for a file that is missing, damaged, or of another version of tfrecon.
    """
    command = platforms.command_line(
        ["python", "-m", "tfrecon.evaluate", *(str(run.path) for run in runs)]
    )
    with foreign("the report in", folder, f"make it anew with {command}", "cannot be read"):
        about = json.loads((folder / run_facts.FILE).read_text(encoding="utf-8"))
        facts_by_method = about.pop("runs")
        for declared in about.get("measures", []):  # of a user's metrics, which are not here
            measure = Measure(**declared)
            MEASURES[measure.column] = measure
        every = scores.read_scores(folder / "per_image.csv")
        for (method, column), values in scores.arrays(every).items():
            if (count := len(values)) != about["images"]:
                raise ValueError(f"{column} of {method} of {count} of {about['images']} images")
            if column not in MEASURES:
                raise ValueError(f"{column} is not described")
        paid: dict[str, dict[str, float]] = {}
        with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["region"] == "method":
                    paid.setdefault(scores.plain(line["method"]), {})[line["metric"]] = float(
                        line["mean"]
                    )
        missing = {*facts_by_method, *about["baselines"]} - set(every["method"])
        if missing:
            raise ValueError(f"no scores of {', '.join(sorted(missing))}")
        return [
            Scored(run, method, every, costs.from_csv(paid[method]), {**about, **facts})
            for run, (method, facts) in zip(runs, facts_by_method.items(), strict=True)
        ]


def compare(
    title: str, groups: Mapping[str, Sequence[Scored]], *, metric: str | None = None,
    axes: Mapping[str, Sequence[str]] | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None, missing: Mapping[str, str] | None = None,
) -> Comparison:  # fmt: skip
    """The comparison of `groups`, name → the runs of its seeds.

    `metric` defaults to PSNR, of the holes where there are any. Raises UserError where runs were
    evaluated on other images or other files than the first, naming the ids, and for an unknown
    metric.
    """
    every = [scored for seeds in groups.values() for scored in seeds]
    if not every:
        raise UserError("there is no finished run to compare; train some first")
    first, *others = every
    places = first.run_scores.select(KEYS)  # images and columns of all, in the first's order
    for scored in others:
        _check_same_images(first, scored)
        places = places.join(scored.run_scores, on=KEYS, how="semi", maintain_order="left")
    columns = [name for name in first.means if all(name in scored.means for scored in every)]
    metric = metric or main_column(columns)
    _check_metric(metric, columns)
    frames = {
        name: _mean(name, places, [scored.run_scores for scored in seeds])
        for name, seeds in groups.items()
    }
    for scored in every:
        for method in scored.facts.get("baselines", []):
            placed = _mean(method, places, [scored.scores.filter(method=method)])
            if not placed["value"].null_count():
                frames[method] = placed
    board = Board(pl.concat(frames.values()), metric)
    labels = labels or {}
    results = [_result(name, groups[name], labels.get(name, {})) for name in board.ranked(groups)]
    return Comparison(
        board.scores, metric, title, results, [name for name in frames if name not in groups],
        axes or {}, missing or {},
        sorted({column for scored in every for column in scored.means} - {*columns}),
    )  # fmt: skip


def _result(name: str, seeds: Sequence[Scored], labels: Mapping[str, str]) -> Result:
    runs, means = [scored.run for scored in seeds], [scored.means for scored in seeds]
    cost = costs.average([scored.cost for scored in seeds])
    return Result(name, runs, labels, means, cost, seeds[0].facts)


def _check_metric(metric: str, columns: Sequence[str]) -> None:
    """Raises UserError for a metric by which results with `columns` cannot be ranked."""
    if metric not in columns:
        raise UserError(
            f"the runs are to be ranked by {metric!r}, which their reports do not have; they have "
            + ", ".join(columns)
        )
    if not MEASURES[metric].can_rank:
        raise UserError(
            f"runs cannot be ranked by {metric!r}: neither less nor more is better; "
            "name another metric"
        )


def _mean(name: str, places: pl.DataFrame, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The mean of the frames at each place, null where they have no value, as scores of `name`."""
    means = pl.concat(frames).group_by(KEYS).agg(pl.col("value").mean())
    placed = places.join(means, on=KEYS, how="left", maintain_order="left")
    return placed.select(pl.lit(name).alias("method"), *KEYS, "value")


def _check_same_images(first: Scored, other: Scored) -> None:
    """Raises UserError where two runs were not scored on the same pixels."""
    mine, theirs = (scores.images_of(scored.run_scores) for scored in (first, other))
    for ids, others, run in ((mine, theirs, other.run), (theirs, mine, first.run)):
        absent = sorted({*ids} - {*others})
        if absent:
            raise UserError(
                f"run {first.run.name!r} and run {other.run.name!r} were evaluated on different "
                f"images, so they cannot be compared image by image: {run.name!r} lacks "
                f"{some(map(repr, absent), 10)}; evaluate both on the same split"
            )
    facts = [(scored.run.name, scored.facts) for scored in (first, other)]
    run_facts.check_same_images("run", facts, "evaluate both on the same data")
