"""A run's report, read back from its files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

from tfrecon.base.errors import UserError
from tfrecon.reports import costs
from tfrecon.reports import run_facts as facts
from tfrecon.reports.comparison import Scored
from tfrecon.training.run import Run

REPORT = "report"


def has_report(run: Run) -> bool:
    """Whether the run was evaluated on its own test split after the end of its training."""
    try:
        about = json.loads((run.path / REPORT / facts.FILE).read_text(encoding="utf-8"))
        return all(one["trained"] for one in about["runs"].values())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # `read_report` says what is wrong with it


def read_report(folder: Path, runs: Sequence[Run]) -> list[Scored]:
    """What `evaluate_runs` wrote of `runs`, given in its order, into a folder.

    Raises UserError for a file that is missing, damaged, or of another version of tfrecon.
    """
    try:
        about = json.loads((folder / facts.FILE).read_text(encoding="utf-8"))
        own_facts = about.pop("runs")
        by_method: dict[str, dict[str, dict[str, float]]] = {}
        with (folder / "per_image.csv").open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                id, method = line.pop("id"), line.pop("method")
                own = by_method.setdefault(method, {})
                for column, text in line.items():
                    own.setdefault(column, {})[id] = float(text) if text else math.nan
        paid: dict[str, dict[str, float]] = {}
        with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["region"] == "method":
                    paid.setdefault(line["method"], {})[line["metric"]] = float(line["mean"])
        for own in by_method.values():
            for column, values in own.items():
                if len(values) != about["images"]:
                    raise ValueError(f"{column} of {len(values)} of {about['images']} images")
        baselines = {name: by_method[name] for name in about["baselines"]}
        return [
            Scored(run, by_method[row], baselines, costs.from_csv(paid[row]), {**about, **own})
            for run, (row, own) in zip(runs, own_facts.items(), strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(
            f"the report in {str(folder)!r} cannot be read ({type(error).__name__}: {error}); make "
            f"it anew with python -m tfrecon.evaluate {' '.join(str(run.path) for run in runs)}"
        ) from None
