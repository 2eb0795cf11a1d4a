"""A run's scores on one split of a data set: rows, summary and pictures in the report's folder."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import tensorflow as tf
from tqdm import tqdm

from tfrecon import images
from tfrecon.config import DataConfig
from tfrecon.data import check, pipeline, recipes
from tfrecon.data.damage import IDENTITY
from tfrecon.data.sample import Sample
from tfrecon.errors import UserError
from tfrecon.evaluation import baselines as classical
from tfrecon.evaluation import gallery, table
from tfrecon.inference import restorer
from tfrecon.metrics.lpips import metrics_at_hand
from tfrecon.registry import Spec
from tfrecon.run import Run

FILES = (
    "per_image.csv", "summary.txt", "summary.md", "summary.csv",
    "best.png", "median.png", "worst.png",
)  # fmt: skip
"""What every report holds."""

JPEG = (".jpg", ".jpeg")
BORDER_NOTE = (
    f"The damaged files are JPEG: the {classical.BIHARMONIC} also leaves out the "
    f"{classical.JPEG_BORDER_PX} pixels around each hole, where JPEG rings."
)

Method = Callable[[pipeline.Batch], Any]
"""From a batch to its restored images (B,H,W,3)."""


@dataclass(frozen=True)
class Report:
    """Where the report lies, its text as printed, the numbers behind it, and what was written."""

    path: Path
    text: str
    summary: table.Summary
    verdicts: list[str]
    files: list[str]


def evaluate_run(
    run: Run,
    *,
    split: str = "test",
    data: str | None = None,
    root: str | Path | None = None,
    batch_size: int = 8,
    baselines: bool = True,
    biharmonic: bool = True,
    skip_unreadable: bool = False,
    options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    pairs: int = 0,
) -> Report:
    """Scores the run's model and the baselines on a split and writes the report.

    `data` and `root` name another recipe or folder than the run was trained on. `baselines` adds
    the damaged input and, where there are masks, the classical fills; `biharmonic` is the slow one
    of them, about ten images a second and core. `options` are put on top of the model's, for those
    that matter at inference only; `limit` scores the first images only; so many `pairs` are written
    as files of their own. Images are streamed, none is kept. The folder is ``report`` inside the
    run's, or ``report-…`` named after what differs from the run's own test. Raises UserError for a
    split without truth, data without the masks that the model needs, and unreadable images unless
    `skip_unreadable`.
    """
    config = data_config(run, data, root)
    folder = run.path / report_name(run, split, config, options, limit)
    samples = check.readable(_samples(run, config, split)[:limit], skip_unreadable)
    masked = pipeline.has_mask(samples, config)
    loaded = run.load_model(options)
    restore = _restorer(run, loaded)
    model = run.config.model.name
    jpeg = any(sample.input and sample.input.suffix.lower() in JPEG for sample in samples)
    methods: dict[str, Method] = {model: restore}
    if baselines and config.damage == IDENTITY:
        methods |= _reductions(getattr(loaded, "tap_stride", 1))
    elif baselines:
        methods |= _baselines(masked, biharmonic, jpeg)
    batches = pipeline.dataset(samples, config, batch_size=batch_size)
    metrics = metrics_at_hand(config.image_size)
    columns = [*metrics, *(table.HOLE + name for name in metrics)] if masked else [*metrics]
    score = _scorer(metrics)
    with _writing(folder / "per_image.csv") as file:
        file.write(table.csv_text([], columns, header=True))
        rows: list[table.Row] = []
        with tqdm(total=len(samples), desc="evaluating", unit="image", disable=None) as bar:
            for batch in batches:
                scored = list(_scored(batch, methods, score))
                file.write(table.csv_text(scored, columns))
                rows += scored
                bar.update(len(batch["id"]))
    cells = table.summarise(rows, columns)
    verdicts = table.verdicts(cells, model)
    about = [
        f"run {run.path}: {model} on {config.recipe.name}, split {split!r}, "
        f"{len(samples)} images of {config.image_size}×{config.image_size}"
    ]
    about += run.facts.get("findings", [])
    if classical.BIHARMONIC in methods and jpeg:
        about.append(BORDER_NOTE)
    if options:
        about.append(", ".join(f"{name} = {value}" for name, value in options.items()))
    if "lpips_alex" not in metrics:
        about.append(table.NO_LPIPS)
    text = _write_summaries(folder, cells, about, verdicts)
    what, scores = _ranked(rows, model, columns)
    gallery.write_grids(folder, samples, config, restore, what, scores)
    files = [*FILES]
    if pairs:
        files.append("pairs/")
        gallery.write_pairs(folder / "pairs", samples, config, restore, pairs)
    if hasattr(loaded, "tap_maps"):
        files.append("features.png")
        gallery.write_features(folder / "features.png", samples, config, loaded.tap_maps)
    return Report(folder, text, cells, verdicts, files)


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


def _samples(run: Run, config: DataConfig, split: str) -> list[Sample]:
    """The split's samples, checked for truth and for the masks that the model needs."""
    root = Path(config.root) if config.root else None
    samples = recipes.samples(config.recipe, root, split)
    blind = [sample.id for sample in samples if sample.target is None]
    if blind:
        raise UserError(
            f"split {split!r} of {config.recipe.name!r} has no truth to score against (none for "
            f"{blind[0]!r}); choose a split with truth, e.g. --split test"
        )
    if run.has_mask and not pipeline.has_mask(samples, config):
        raise UserError(
            f"run {run.name!r} was trained with masks and {config.recipe.name!r} gives none; "
            "choose data with masks"
        )
    return samples


def _restorer(run: Run, model: Any) -> Method:
    """The model as a method, the mask going in only if the run has one."""
    restore = restorer(model)

    def apply(batch: pipeline.Batch) -> Any:
        return restore(pipeline.model_input(batch) if run.has_mask else batch["input"])

    return apply


def _baselines(masked: bool, biharmonic: bool, jpeg: bool) -> dict[str, Method]:
    def method(fill: classical.Fill) -> Method:
        return lambda batch: fill(batch["input"].numpy(), batch["mask"].numpy())

    fills = classical.fills(jpeg=jpeg) if masked else {}
    chosen = {
        name: method(fill)
        for name, fill in fills.items()
        if biharmonic or name != classical.BIHARMONIC
    }
    return {classical.DAMAGED: lambda batch: batch["input"], **chosen}


def _reductions(factor: int) -> dict[str, Method]:
    """What little of the image itself would do, for models that see the whole of it."""

    def small(batch: pipeline.Batch) -> Any:
        return classical.thumbnail(batch["target"].numpy(), factor)

    found: dict[str, Method] = {
        "mean colour": lambda batch: classical.mean_colour(batch["target"].numpy())
    }
    return found | ({f"thumbnail 1/{factor}": small} if factor > 1 else {})


def _scorer(metrics: Mapping[str, Any]) -> Callable[..., dict[str, Any]]:
    """All metrics of a batch, (B,) each; in one graph, so that shared parts are computed once."""

    @tf.function(reduce_retracing=True)
    def score(target: Any, output: Any, mask: Any) -> dict[str, Any]:
        scores = {name: metric(target, output) for name, metric in metrics.items()}
        if mask is not None:
            for name, metric in metrics.items():
                scores[table.HOLE + name] = metric(target, output, mask)
        return scores

    return score


def _scored(
    batch: pipeline.Batch, methods: Mapping[str, Method], score: Callable[..., dict[str, Any]]
) -> Iterator[table.Row]:
    ids = [id.decode() for id in batch["id"].numpy()]
    for name, method in methods.items():
        output = tf.convert_to_tensor(method(batch))
        scores = score(batch["target"], output, batch.get("mask"))
        lists = {column: score.numpy().tolist() for column, score in scores.items()}
        for index, id in enumerate(ids):
            yield table.Row(id, name, {column: values[index] for column, values in lists.items()})


def _write_summaries(
    folder: Path, cells: table.Summary, about: Sequence[str], verdicts: Sequence[str]
) -> str:
    """Writes the three summaries and returns the one for the terminal."""

    def wrapped(lines: Sequence[str]) -> str:
        return "\n".join(textwrap.fill(line, 80, subsequent_indent="  ") for line in lines)

    def bullets(lines: Sequence[str]) -> str:
        return "\n".join(f"- {line}" for line in lines)

    parts = (wrapped(about), table.summary_text(cells), wrapped(verdicts), wrapped(table.NOTES))
    text = "\n\n".join(part for part in parts if part)
    parts = (bullets(about), table.summary_markdown(cells), bullets(verdicts), bullets(table.NOTES))
    markdown = "\n\n".join(part for part in parts if part)
    contents = {"txt": f"{text}\n", "md": f"{markdown}\n", "csv": table.summary_csv(cells)}
    for ending, content in contents.items():
        with _writing(folder / f"summary.{ending}") as file:
            file.write(content)
    return text


def _ranked(
    rows: Sequence[table.Row], model: str, columns: Sequence[str]
) -> tuple[str, dict[str, float]]:
    """What the pictures go by, and that score of the model's images by id, best first.

    Images without a score come last.
    """
    column = table.HOLE + "psnr" if table.HOLE + "psnr" in columns else "psnr"
    scores = [(row.id, row.values[column]) for row in rows if row.method == model]
    scores.sort(key=lambda pair: (math.isnan(pair[1]), -pair[1]))
    return "hole PSNR" if column.startswith(table.HOLE) else "PSNR", dict(scores)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[TextIO]:
    """A text file that takes its name when the block ends well."""
    with images.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file
