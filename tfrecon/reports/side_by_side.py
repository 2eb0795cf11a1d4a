"""Runs held against each other in a notebook."""

import os
from collections.abc import Iterable

from tfrecon.reports import comparison
from tfrecon.reports.comparison import REPORT, Comparison, Scored, has_report, read_report
from tfrecon.reports.evaluation import evaluate_runs
from tfrecon.training.run import Run, open_run


def compare(runs: Iterable[Run | str | os.PathLike[str]]) -> Comparison:
    """Runs, or the folders of runs, held against each other by the reports on their own tests; one
    that has none is evaluated first. A notebook shows what won, and a table with intervals.

    Raises UserError for runs that were tested on different images, and for a damaged report.

    Example:
        tfrecon.compare(["checkpoints/residual_unet_demo", "checkpoints/pix2pix_demo"])
    """
    groups: dict[str, list[Scored]] = {}
    for given in runs:
        run = given if isinstance(given, Run) else open_run(given)
        if not has_report(run):
            evaluate_runs([run])
        name = run.name if run.name not in groups else str(run.path)
        groups[name] = read_report(run.path / REPORT, [run])
    return comparison.compare(f"Comparison of {', '.join(groups)}", groups)
