"""Runs' scores on one split of a data set: rows, summary and pictures in the report's folder."""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfrecon.base import files, shown
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.journal import Journal
from tfrecon.base.registry import Natural, Positive, Spec, checked
from tfrecon.base.spread import Each, Opened, here
from tfrecon.data import check, pipeline, recipes
from tfrecon.data.damage import IDENTITY
from tfrecon.data.sample import Sample
from tfrecon.metrics.logged import users_metrics
from tfrecon.metrics.measures import HOLE, MEASURES
from tfrecon.models.certificates import certified_shares
from tfrecon.models.frozen_features import FrozenFeatures
from tfrecon.reports import baselines as classical
from tfrecon.reports import contenders, pictures, run_facts, scoring, summaries
from tfrecon.reports.scores import Board
from tfrecon.reports.verdicts import ending, metrics_table, verdicts
from tfrecon.training.progress import log_table
from tfrecon.training.run import BEST, STATE, Run

FILES = (
    "per_image.csv", "summary.txt", "summary.md", "summary.csv", run_facts.FILE,
    "best.png", "median.png", "worst.png",
)  # fmt: skip
"""What every report holds."""

JOURNAL = "scored.txt"
"""What is scored so far, in the folder of a report that is not written yet."""

JPEG = (".jpg", ".jpeg")
BORDER_NOTE = (
    f"The damaged files are JPEG: the {classical.BIHARMONIC} also leaves out the "
    f"{classical.JPEG_BORDER_PX} pixels around each hole, where JPEG rings."
)
NO_LPIPS = (
    "LPIPS is left out: its weights are not in $TFRECON_WEIGHTS or the cache, or the images are "
    "too small for it."
)


@dataclass(frozen=True, eq=False)
class Report(Board):
    """Where the report lies, the numbers behind it, and the `files` that were written.

    `names` are the rows of the runs, `untrained` those of the methods without training. `metric`
    is the one that matters most: PSNR, of the holes where there are any.
    """

    path: Path
    verdicts: list[str]
    files: list[str]
    names: list[str]
    untrained: list[str]

    @property
    def text(self) -> str:
        """All of the report as text, of at most 80 columns."""
        return (self.path / "summary.txt").read_text(encoding="utf-8").rstrip("\n")

    def _repr_html_(self) -> str:
        return "".join([
            shown.heading(f"report {self.path}"), shown.paragraphs(self.verdicts),
            metrics_table(self).html(),
            *(shown.picture(self.path / f"{which}.png", which) for which in ("best", "worst")),
        ])  # fmt: skip

    def screen(self, where: Sequence[str], first: Sequence[str] = ()) -> str:
        """What a verb prints: the sentences of `first`, the best run against the methods without
        training, the metrics that matter, and `where` the report lies."""
        return ending(self, self.names, self.untrained, where, before=first)


@checked
def evaluate_runs(
    runs: Sequence[Run], *, split: str = "test", data: str | None = None,
    root: str | Path | None = None, batch_size: Positive = 8, baselines: bool = True,
    slow: bool = True, ensemble: bool = False, compare_ema: bool = False, draws: Natural = 0,
    tile: Positive | None = None, skip_unreadable: bool = False,
    options: Mapping[str, Any] | None = None, limit: Positive | None = None, pairs: Natural = 0,
    metrics: Sequence[str] = (), certify: bool = False,
    range: float | Literal["auto"] | None = None, folder: Path | None = None, each: Each = here,
) -> Report:  # fmt: skip
    """Scores runs and the baselines on a split, in one table, and writes the report; `each` says
    where images are checked and scored.

    `data` and `root` name another recipe or folder than the runs were trained on, `range` another
    value that is white in its files of more than 8 bits. A folder whose images are those that the
    first run has recorded counts as its own; where a run has recorded others the report says so.
    `baselines` adds
    the damaged input with the classical fills where there are masks and the classical denoisers
    where there are none; `slow` ones among them too. Of each run further rows are its ×8
    self-`ensemble`, its weights without their moving average (`compare_ema`), so many of the
    samples that a generative model makes (`draws`), and images put together from blended tiles of
    so many pixels (`tile`). `options` are put on top of the models', for those that matter at
    inference only; `limit` scores the first images only; so many `pairs` of the first run are
    written as files of their own; `metrics` are the dotted paths of a user's own; `certify` adds
    the share of pixels that are certain from the features (`tfrecon.models.certificates`) and a map
    of them. A diffusion in latents has a row of its autoencoder's own. Images are streamed, none is
    kept. The folder is ``report`` inside the run's, or ``report-…`` named after what differs from
    the run's own test; that of several runs is ``compare-NAMES`` beside the first, unless `folder`
    names it.

    What was stopped, by a crash too, goes on with the images that have no scores yet when the same
    is asked for again.

    Raises Stopped at the end of the batch in which a signal came, Taken where another process
    writes the same report, and UserError for runs of different data or image sizes, a split without
    truth, data without the masks that a model needs, and unreadable images unless
    `skip_unreadable`.
    """
    names = contenders.row_names(runs)
    config = _common_config(runs, data, root, range)
    samples = _samples(runs, config, split)[:limit]
    users_metrics(metrics)  # like all that follows before an image is decoded: options are seen
    of_run = functools.partial(
        contenders.of_run, options=options, ensemble=ensemble, compare_ema=compare_ema,
        draws=draws, tile=tile,
    )  # fmt: skip
    loaded = Opened(functools.partial(_loaded, runs, names, options, of_run, certify))
    models, trained = loaded.value.models, loaded.value.trained
    samples = check.readable(samples, skip_unreadable, range=config.range, each=each)
    masked = pipeline.has_mask(samples, config)
    jpeg = any(sample.input and sample.input.suffix.lower() in JPEG for sample in samples)
    others: Callable[[], contenders.Contenders] = dict
    if baselines and config.damage == IDENTITY:
        others = functools.partial(contenders.of_reductions, models[0].tap_stride)
    elif baselines:
        others = functools.partial(contenders.of_baselines, masked=masked, jpeg=jpeg, slow=slow)
    opens = functools.partial(_scorer, loaded, others, config, len(samples), masked, metrics)
    everywhere = Opened(opens)
    scorer = everywhere.value
    untrained = [name for name in scorer.contenders if name not in trained]
    about = run_facts.facts(split, config, samples, options, untrained)
    about["measures"] = [vars(MEASURES[prefix + name]) for name in metrics for prefix in ("", HOLE)]
    of_runs = dict(zip(names, map(run_facts.run_facts, runs, models), strict=True))
    known = limit is None and range is None
    unlike = [run_facts.unlike_recorded(run, about) if known else None for run in runs]
    shown = config
    if unlike[0] == "":  # the run's own, wherever they lie now
        shown = dataclasses.replace(config, root=runs[0].placed.data.root)
    name = report_name(runs[0], split, shown, options, limit)
    if folder is None:
        folder = runs[0].path / name if len(runs) == 1 else _comparison_folder(runs, name)
    undated = {name: fact for name, fact in about.items() if name != "date"}
    key = _key(runs, models, scorer, [undated, of_runs, batch_size, tile, certify])
    with files.claimed(folder):
        files.remove_leftovers(folder)
        journal = Journal(folder / JOURNAL)
        frame, paid = scoring.score(
            everywhere, samples, config, batch_size=batch_size, path=folder / "per_image.csv",
            journal=journal, key=key, each=each,
        )  # fmt: skip
        board = Board(frame, "hole_psnr" if masked else "psnr")
        said = verdicts(board, paid, names, untrained)
        notes = _notes(runs, names, config, about)
        notes += [
            f"{run.name} was trained beside other images of split {split!r} ({how}) than these."
            for run, how in zip(runs, unlike, strict=True)
            if how
        ]
        notes += _gaps(board, metrics)
        if jpeg and classical.BIHARMONIC in untrained:
            notes.append(BORDER_NOTE)
        if options:
            notes.append(", ".join(f"{name} = {value}" for name, value in options.items()))
        if "lpips_alex" not in board.columns:
            notes.append(NO_LPIPS)
        summaries.write(folder, board.summary, paid, notes, said)
        if name == "report" and len(runs) == 1:
            log_table(runs[0], summaries.summary_markdown(board.summary, {}))
        restore = {name: trained[name].apply for name in names}
        certifying = loaded.value.certifying
        written = [
            *FILES,
            *pictures.write(folder, samples, config, board, restore, pairs, certifying),
        ]
        if models[0].extractor and len(runs) == 1:
            written.append("features.png")
            maps = models[0].extractor.maps
            pictures.write_features(folder / written[-1], samples, config, maps)
        # Last: a report that has it is whole.
        run_facts.write(folder, about, of_runs)
        journal.remove()
    return Report(
        frame, board.metric, path=folder, verdicts=said, files=written, names=names,
        untrained=untrained,
    )  # fmt: skip


@dataclass(frozen=True)
class _Loaded:
    """The runs' models, their rows, and the model whose answers are certified."""

    models: list[Any]
    trained: contenders.Contenders
    certifying: Any


def _loaded(
    runs: Sequence[Run], names: Sequence[str], options: Mapping[str, Any] | None,
    of_run: Callable[..., contenders.Contenders], certify: bool,
) -> _Loaded:  # fmt: skip
    models = [run.load_model(options) for run in runs]
    certifying = _certifying(models) if certify else None
    trained: contenders.Contenders = {}
    for run, row, model in zip(runs, names, models, strict=True):
        trained |= of_run(run, row, model)
    return _Loaded(models, trained, certifying)


def _scorer(
    loaded: Opened[_Loaded], untrained: Callable[[], contenders.Contenders], config: DataConfig,
    images: int, masked: bool, metrics: Sequence[str],
) -> scoring.Scorer:  # fmt: skip
    certifying = loaded.value.certifying
    further = {"certified": certified_shares(certifying)} if certifying else {}
    return scoring.scorer(
        {**loaded.value.trained, **untrained()}, config.image_size, images, masked=masked,
        metric_paths=metrics, further=further,
    )  # fmt: skip


def _key(
    runs: Sequence[Run], models: Sequence[Any], scorer: scoring.Scorer, others: Sequence[Any]
) -> str:
    """A hash of all that the scores depend on: the runs' weights, settings and code, what the
    scorer says of itself, and `others`."""
    weights = [
        files.digest(run.path / name).hex()
        for run in runs
        for name in (BEST, STATE)
        if (run.path / name).is_file()
    ]
    settings = [run.config.to_dict() for run in runs]
    code = [scoring.code_digest(type(model)) for model in models]
    parts = [weights, settings, code, scorer.key(), *others]
    return hashlib.blake2b(json.dumps(parts, default=str).encode()).hexdigest()


def _certifying(models: Sequence[Any]) -> Any:
    """The one model whose answers can be certified. Raises UserError for others, for several and
    for defended features."""
    if len(models) > 1 or not isinstance(models[0], FrozenFeatures) or models[0].defence:
        raise UserError(
            "--certify takes one run of a model that inverts features as they are, e.g. "
            "feature_inversion without a defence; name such a run alone, or leave --certify out"
        )
    return models[0]


def _gaps(board: Board, metrics: Sequence[str]) -> list[str]:
    """For how many images a user's metrics gave no finite number where there was one to give."""
    lines: list[str] = []
    for (method, column), cell in board.summary.items():
        if cell.measure.metric in metrics:
            known = board.values(method, column.replace(cell.measure.metric, "mse"))
            missing = int((np.isfinite(known) & np.isnan(board.values(method, column))).sum())
            if missing:
                lines.append(
                    f"{column} gives no finite number for {missing} of {len(board.ids)} images of "
                    f"{method}; its mean is over the others."
                )
    return lines


def _notes(
    runs: Sequence[Run], names: Sequence[str], config: DataConfig, about: Mapping[str, Any]
) -> list[str]:
    """What was evaluated, and what was seen in the runs' data before they were trained."""
    return [
        f"run{'s' * (len(runs) > 1)} {', '.join(str(run.path) for run in runs)}: "
        f"{', '.join(names)} on {config.recipe.name}, split {about['split']!r}, {about['images']} "
        f"images of {config.image_size}×{config.image_size}",
        *dict.fromkeys(line for run in runs for line in run.facts.get("findings", [])),
        *(f"{run.name}: {line}" for run in runs for line in run.incidents),
    ]


def _common_config(
    runs: Sequence[Run], data: str | None, root: str | Path | None,
    range: float | Literal["auto"] | None,
) -> DataConfig:  # fmt: skip
    """The data section that all runs are scored on, the first's.

    Raises UserError where the runs' own differ in what decides the images."""
    configs = [data_config(run, data, root, range) for run in runs]
    settings = [run_facts.image_settings(config) for config in configs]
    # Photos in another folder may be damaged differently.
    free = ["damage"] if data is None and root is not None else []
    contents = [run.facts.get("data") for run in runs]
    free += ["root"] if contents[0] and contents == contents[:1] * len(runs) else []
    run_facts.check_same_images(
        "run", [*zip((run.name for run in runs), settings, strict=True)],
        "evaluate them apart, or name one data set with --data and --root",
        [name for name in run_facts.SETTINGS if name not in free],
    )  # fmt: skip
    return configs[0]


def _comparison_folder(runs: Sequence[Run], report: str) -> Path:
    """Beside the first run: ``compare-NAMES``, with what `report` says after its first word."""
    names = [run.name for run in runs]
    shown = names if len(names) < 6 else [*names[:5], f"and_{len(names) - 5}_more"]
    return runs[0].path.parent / ("compare-" + "-".join(shown) + report.removeprefix("report"))


def data_config(
    run: Run, data: str | None, root: str | Path | None,
    range: float | Literal["auto"] | None = None,
) -> DataConfig:  # fmt: skip
    """The run's data section with another recipe, folder or range, and without a cache."""
    config = dataclasses.replace(run.placed.data, cache="none")
    config = dataclasses.replace(config, range=range or config.range)
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
    if config.recipe.name != run.config.data.recipe.name:
        parts.append(config.recipe.name.replace(".", "_"))
    if config.root is not None and config.root != run.placed.data.root:
        parts.append(Path(config.root).resolve().name)
    if split != "test" or len(parts) > 1:
        parts.insert(1, split)
    if config.range != run.config.data.range:
        parts.append(f"range_{config.range}")
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
