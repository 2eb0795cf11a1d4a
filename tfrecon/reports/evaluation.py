"""Runs' scores on one split of a data set: rows, summary and pictures in the report's folder."""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrecon.base import images
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import check, pipeline, recipes
from tfrecon.data.damage import IDENTITY
from tfrecon.data.sample import Sample
from tfrecon.reports import baselines as classical
from tfrecon.reports import contenders, costs, gallery, scoring
from tfrecon.reports import run_facts as facts
from tfrecon.reports import scores as table
from tfrecon.training.run import Run

FILES = (
    "per_image.csv", "summary.txt", "summary.md", "summary.csv", facts.FILE,
    "best.png", "median.png", "worst.png",
)  # fmt: skip
"""What every report holds."""

JPEG = (".jpg", ".jpeg")
BORDER_NOTE = (
    f"The damaged files are JPEG: the {classical.BIHARMONIC} also leaves out the "
    f"{classical.JPEG_BORDER_PX} pixels around each hole, where JPEG rings."
)


@dataclass(frozen=True)
class Report:
    """Where the report lies, its text as printed, the numbers behind it, and what was written."""

    path: Path
    text: str
    summary: table.Summary
    verdicts: list[str]
    files: list[str]


def evaluate_runs(
    runs: Sequence[Run],
    *,
    split: str = "test",
    data: str | None = None,
    root: str | Path | None = None,
    batch_size: int = 8,
    baselines: bool = True,
    slow: bool = True,
    ensemble: bool = False,
    compare_ema: bool = False,
    draws: int = 0,
    tile: int | None = None,
    skip_unreadable: bool = False,
    options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    pairs: int = 0,
    folder: Path | None = None,
) -> Report:
    """Scores runs and the baselines on a split, in one table, and writes the report.

    `data` and `root` name another recipe or folder than the runs were trained on. `baselines` adds
    the damaged input with the classical fills where there are masks and the classical denoisers
    where there are none; `slow` ones among them too. Of each run further rows are its ×8
    self-`ensemble`, its weights without their moving average (`compare_ema`), so many of the
    samples that a generative model makes (`draws`), and images put together from blended tiles of
    so many pixels (`tile`). `options` are put on top of the models', for those that matter at
    inference only; `limit` scores the first images only; so many `pairs` of the first run are
    written as files of their own. A diffusion in latents has a row of its autoencoder's own. Images
    are streamed, none is kept. The folder is ``report`` inside the run's, or ``report-…`` named
    after what differs from the run's own test; that of several runs is ``compare-NAMES`` beside the
    first, unless `folder` names one.

    Raises UserError for runs of different data or image sizes, a split without truth, data without
    the masks that a model needs, and unreadable images unless `skip_unreadable`.
    """
    first, names = runs[0], contenders.row_names(runs)
    config = _common_config(runs, data, root)
    name = report_name(first, split, config, options, limit)
    own_folder = first.path / name if len(runs) == 1 else _comparison_folder(runs, name)
    folder = folder or own_folder
    samples = check.readable(_samples(runs, config, split)[:limit], skip_unreadable)
    masked = pipeline.has_mask(samples, config)
    models = [run.load_model(options) for run in runs]
    trained: contenders.Contenders = {}
    for run, own_name, model in zip(runs, names, models, strict=True):
        trained |= contenders.of_run(
            run, own_name, model, options, ensemble=ensemble, compare_ema=compare_ema, draws=draws,
            tile=tile,
        )  # fmt: skip
    jpeg = any(sample.input and sample.input.suffix.lower() in JPEG for sample in samples)
    untrained: contenders.Contenders = {}
    if baselines and config.damage == IDENTITY:
        untrained = contenders.of_reductions(getattr(models[0], "tap_stride", 1))
    elif baselines:
        untrained = contenders.of_baselines(masked=masked, jpeg=jpeg, slow=slow)
    found = scoring.score(
        samples, config, {**trained, **untrained}, masked=masked, batch_size=batch_size,
        path=folder / "per_image.csv",
    )  # fmt: skip
    cells = table.summarise(found.rows, found.columns)
    about = [
        f"{_run_names(runs)}: {', '.join(names)} on {config.recipe.name}, split {split!r}, "
        f"{len(samples)} images of {config.image_size}×{config.image_size}"
    ]
    about += dict.fromkeys(line for run in runs for line in run.facts.get("findings", []))
    if classical.BIHARMONIC in untrained and jpeg:
        about.append(BORDER_NOTE)
    if options:
        about.append(", ".join(f"{name} = {value}" for name, value in options.items()))
    if "lpips_alex" not in found.columns:
        about.append(table.NO_LPIPS)
    verdicts = _verdicts(cells, found.costs, names, list(untrained))
    text = _write_summaries(folder, cells, found.costs, about, verdicts)
    ranked = _ranked(found.rows, names[0], table.psnr_column(cells))
    shown = {name: trained[name].apply for name in names}
    what = "hole PSNR" if masked else "PSNR"
    gallery.write_grids(folder, samples, config, shown, what, ranked)
    files = [*FILES]
    if pairs:
        files.append("pairs/")
        gallery.write_pairs(folder / "pairs", samples, config, shown[names[0]], pairs)
    if hasattr(models[0], "tap_maps") and len(runs) == 1:
        files.append("features.png")
        gallery.write_features(folder / "features.png", samples, config, models[0].tap_maps)
    # Last: a report that has it is whole.
    of_runs = {n: facts.run_facts(*one) for n, *one in zip(names, runs, models, strict=True)}
    about_all = facts.facts(split, config, samples, options, list(untrained))
    facts.write(folder, about_all, of_runs)
    return Report(folder, text, cells, verdicts, files)


def _common_config(runs: Sequence[Run], data: str | None, root: str | Path | None) -> DataConfig:
    """The data section that all runs are scored on, the first's.

    Raises UserError where the runs' own differ in what decides the images."""
    configs = [data_config(run, data, root) for run in runs]
    for run, config in zip(runs, configs, strict=True):
        for key in ("recipe", "root", "damage", "image_size", "val_size", "resize"):
            own, first = (getattr(c, key) for c in (config, configs[0]))
            if key == "val_size":  # what it is where it is not given
                own, first = own or config.image_size, first or configs[0].image_size
            if own != first and not (key == "damage" and data is None and root is not None):
                raise UserError(
                    f"run {run.name!r} has data.{key} = {own!r} and {runs[0].name!r} has "
                    f"{first!r}: their scores are of different images; evaluate them apart, or "
                    "name one data set with --data and --root"
                )
    return configs[0]


def _comparison_folder(runs: Sequence[Run], report: str) -> Path:
    """Beside the first run: ``compare-NAMES``, with what `report` says after its first word."""
    names = [run.name for run in runs]
    shown = names if len(names) < 6 else [*names[:5], f"and_{len(names) - 5}_more"]
    return runs[0].path.parent / ("compare-" + "-".join(shown) + report.removeprefix("report"))


def _run_names(runs: Sequence[Run]) -> str:
    return ("run " if len(runs) == 1 else "runs ") + ", ".join(str(run.path) for run in runs)


def _verdicts(
    cells: table.Summary, paid: costs.Costs, names: Sequence[str], untrained: Sequence[str]
) -> list[str]:
    """Plain sentences: each run against what needs no training, the order of the runs, what
    ensembles and averages gain, and what bounds a diffusion."""
    found = [line for name in names for line in table.verdicts(cells, name, untrained)]
    if len(names) > 1:
        found.append(costs.ranking(cells, names))
    for name in names:
        for way in (contenders.ENSEMBLE, contenders.TILES):
            if name + way in paid:
                found.append(costs.gain_for_time(cells, paid, name, name + way))
        if name + contenders.RAW in paid:
            last = name + contenders.LAST
            averaged = last if last in paid else name
            found.append(costs.average_gain(cells, name + contenders.RAW, averaged))
        samples = [other for other in paid if other.startswith(name + contenders.DRAW)]
        if samples:
            found.append(costs.spread(cells, name, samples))
        if name + contenders.BOUND in paid:
            found.append(costs.bound(cells, name + contenders.BOUND))
    return found


def data_config(run: Run, data: str | None, root: str | Path | None) -> DataConfig:
    """The run's data section with another recipe or folder, and without a cache."""
    config = dataclasses.replace(run.config.data, cache="none")
    if data is not None and data != config.recipe.name:
        # Another recipe's folder and options mean nothing to this one.
        config = dataclasses.replace(config, recipe=Spec(data), root=None)
    return dataclasses.replace(config, root=str(root)) if root is not None else config


def report_name(
    run: Run, split: str, config: DataConfig, options: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> str:  # fmt: skip
    """``report``, or a name that says in what the evaluation differs from the run's own test."""
    parts = ["report"]
    other_recipe = config.recipe.name != run.config.data.recipe.name
    other_root = config.root is not None and config.root != run.config.data.root
    if split != "test" or other_recipe or other_root:
        parts.append(split)
    if other_recipe:
        parts.append(config.recipe.name.replace(".", "_"))
    if other_root:
        parts.append(Path(str(config.root)).resolve().name)
    parts += [f"{name}_{value}" for name, value in (options or {}).items()]
    if limit is not None:
        parts.append(f"first_{limit}")
    return re.sub(r"[^\w.-]+", "_", "-".join(parts))


def _samples(runs: Sequence[Run], config: DataConfig, split: str) -> list[Sample]:
    """The split's samples, checked for truth and for the masks that the models need."""
    root = Path(config.root) if config.root else None
    samples = recipes.samples(config.recipe, root, split)
    blind = [sample.id for sample in samples if sample.target is None]
    if blind:
        raise UserError(
            f"split {split!r} of {config.recipe.name!r} has no truth to score against (none for "
            f"{blind[0]!r}); choose a split with truth, e.g. --split test"
        )
    for run in runs:
        if run.has_mask and not pipeline.has_mask(samples, config):
            raise UserError(
                f"run {run.name!r} was trained with masks and {config.recipe.name!r} gives none; "
                "choose data with masks"
            )
    return samples


def _write_summaries(
    folder: Path, cells: table.Summary, paid: costs.Costs, about: Sequence[str],
    verdicts: Sequence[str],
) -> str:  # fmt: skip
    """Writes the three summaries and returns the one for the terminal."""

    def wrapped(lines: Sequence[str]) -> str:
        return "\n".join(textwrap.fill(line, 80, subsequent_indent="  ") for line in lines)

    def bullets(lines: Sequence[str]) -> str:
        return "\n".join(f"- {line}" for line in lines)

    notes = [*table.notes(cells), *costs.notes(paid)]
    parts = (
        wrapped(about), table.summary_text(cells), costs.text(paid), wrapped(verdicts),
        wrapped(notes),
    )  # fmt: skip
    text = "\n\n".join(part for part in parts if part)
    markdown = table.summary_markdown(cells, *costs.cells(paid))
    parts = (bullets(about), markdown, bullets(verdicts), bullets(notes))
    markdown = "\n\n".join(part for part in parts if part)
    numbers = table.summary_csv(cells) + costs.csv_lines(paid)
    for ending, content in {"txt": f"{text}\n", "md": f"{markdown}\n", "csv": numbers}.items():
        with images.replacing(folder / f"summary.{ending}") as temporary:
            temporary.write_text(content, encoding="utf-8")
    return text


def _ranked(rows: Sequence[table.Row], name: str, column: str) -> dict[str, float]:
    """A column of a method's images by id, best first, without those that have no score."""
    scores = {row.id: row.values[column] for row in rows if row.method == name}
    known = {id: score for id, score in scores.items() if not math.isnan(score)} or scores
    return dict(sorted(known.items(), key=lambda pair: -pair[1]))
