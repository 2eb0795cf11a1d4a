"""A run in a notebook: its tables, and what is shown of it."""

import contextlib
from pathlib import Path

import polars as pl

from tfrecon.base import shown
from tfrecon.base.errors import UserError, foreign
from tfrecon.metrics.measures import MEASURES, leading_columns, main_column
from tfrecon.training.run import ANIMATION, Run, evaluate_command, resume_command

HISTORY, SCORES = "history.csv", "report/per_image.csv"


TEXTS = {"id": pl.String, "method": pl.String}
"""Columns of scores that are no numbers, whatever stands in them."""


def history(folder: Path) -> pl.DataFrame:
    """A row for each epoch of the run in a folder."""
    return _read(folder / HISTORY, resume_command(folder), pl.all())


def scores(folder: Path) -> pl.DataFrame:
    """A row for each image and method of the test of the run in a folder."""
    # What a spreadsheet would take for a formula stands behind a sign.
    plain, numbers = pl.col(*TEXTS).str.strip_prefix("'"), pl.exclude(*TEXTS).cast(pl.Float64)
    return _read(folder / SCORES, evaluate_command(folder), plain, numbers)


def _read(path: Path, command: str, *columns: pl.Expr) -> pl.DataFrame:
    remedy = f"it is written by {command}"
    if not path.is_file():
        raise UserError(f"{str(path)!r} does not exist; {remedy}")
    with foreign("table", path, remedy):
        return pl.read_csv(path, schema_overrides=TEXTS, infer_schema_length=None).select(*columns)


def page(run: Run) -> str:
    """HTML: what the run is, its last epoch, the means of the scores that matter by method, and its
    progress."""
    told = {
        "model": run.config.model.name, "data": run.config.data.recipe.name,
        "image size": run.config.data.image_size, "steps": run.facts.get("steps"),
        "batch": run.config.fit.batch_size, "precision": run.facts.get("precision"),
        "minutes": run.train_minutes and f"{run.train_minutes:.1f}",
        "incidents": "; ".join(run.incidents),
    }  # fmt: skip
    parts = [shown.heading(f"run {run.path}"), shown.facts(told)]
    with contextlib.suppress(UserError):
        parts.append(history(run.path).tail(1)._repr_html_())
    with contextlib.suppress(UserError):
        means = scores(run.path).drop("id").group_by("method", maintain_order=True).mean()
        known = [name for name in means.columns if name in MEASURES]
        leading = leading_columns(known, main_column(known))
        parts.append(means.select("method", *leading)._repr_html_())
    parts.append(shown.picture(run.path / ANIMATION, "input, output and target of validation"))
    return "".join(parts)
