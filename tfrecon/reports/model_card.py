"""The page of a repository on the hub, README.md, made of a run and its report."""

import json
import re
from pathlib import Path

from tfrecon.base import files, hub
from tfrecon.base.cards import Preset, picture
from tfrecon.base.errors import UserError
from tfrecon.inference.presets import PICTURE, SAVED_MODEL, small
from tfrecon.inference.saved_model import usage
from tfrecon.reports.tables import escaped
from tfrecon.training.run import SAMPLES, Run, evaluate_command

SUMMARY = Path("report", "summary.md")
SIDE = 1600
"""Longest side in pixels of the pictures of a test."""


def check(run: Run) -> None:
    """Raises UserError for a run without a report: a card says what a model reaches beside what
    needs no training."""
    if not (run.path / SUMMARY).is_file():
        raise UserError(
            f"run {str(run.path)!r} was not evaluated, and its card would have no scores; do so "
            f"with {evaluate_command(run.path)}"
        )


def write(folder: Path, preset: Preset, run: Run, place: str, pictures: bool) -> None:
    """Writes ``README.md`` into the `folder` that is to lie at `place`, a repository of the hub or
    a folder, and, where they are wanted, `pictures` of the run's validation and test."""
    import jinja2

    told = (run.path / SUMMARY).read_text(encoding="utf-8").strip()
    path, before = repr(f"{place}/{SAVED_MODEL}"), []
    if hub.is_named(place):
        before = ["from huggingface_hub import snapshot_download"]
        path = f"snapshot_download({place.removeprefix(hub.PREFIX)!r}) + '/{SAVED_MODEL}'"
    loader = jinja2.PackageLoader("tfrecon.reports", "")
    lines = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    templates = jinja2.Environment(loader=loader, **lines)
    templates.filters["escaped"] = escaped
    text = templates.get_template("card.md.j2").render(
        run=run, preset=preset, place=place, data=run.config.data,
        usage=[*before, *usage(path, preset.has_mask)],
        results=re.sub(r"\A- run.*: ", "- ", told),  # the folder of a run is nobody's business
        pictures=_pictures(folder, preset, run) if pictures else [""],
        settings=json.dumps(run.settings, indent=2),
    )  # fmt: skip
    with files.replacing(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _pictures(folder: Path, preset: Preset, run: Run) -> list[str]:
    """Writes the pictures that there are; of each the lines that show it, or nothing."""
    shown: list[str] = []
    for source, target, side, title in (
        (run.path / SAMPLES, picture(preset.path), PICTURE, "Photos of its validation"),
        (run.path / "report/best.png", folder / "best.webp", SIDE, "The best of its test"),
        (run.path / "report/worst.png", folder / "worst.webp", SIDE, "The worst of its test"),
    ):
        if source.is_file():
            small(source, target, side)
        there = f"{title}: input, output, target.\n\n![{title}]({target.name})\n\n"
        shown.append(there if source.is_file() else "")
    return shown
