"""The pictures of a report: which images are shown, grids of them, and pairs for the page."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfrecon.base import images
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.data import check, pipeline, recipes
from tfrecon.data.damage import IDENTITY
from tfrecon.data.sample import Sample
from tfrecon.data.store import content_fingerprint
from tfrecon.inference.places import file_names
from tfrecon.inference.restorer import restorer
from tfrecon.metrics.logged import METRICS
from tfrecon.metrics.measures import Measure
from tfrecon.models.certificates import certificates
from tfrecon.reports.comparison import Comparison, Result
from tfrecon.reports.contenders import on_batches
from tfrecon.reports.scores import Board

SHOWN = 4
"""Images in each grid of pictures."""
CHANNELS = 6
"""Channels of each tap in a picture of features."""
LEADING = 3
"""Results whose pictures a page shows."""
CELL, GAP, LABEL, FONT = 256, 8, 26, 15
"""Pixels: the longest side of a shown image, the space between, the height of a line of text."""

Restore = Callable[[pipeline.Batch], Any]
Pixels = np.ndarray[Any, Any]
Which = Literal["best", "median", "worst"]


Row = tuple[str, Sequence[Any]]
"""A row of a grid: the text above it, and images (H,W,3) in [0,1]."""


Strip = Mapping[str, Sequence[tuple[str, Any]]]
"""By the head of a row: captions and images (H,W,3) in [0,1]."""


@dataclass(frozen=True)
class Picture:
    """One image of a result, and `which` it is: `original`, `reconstruction` and, of restorations,
    `damaged` are (H,W,3) in [0,1]; `caption` tells the score."""

    which: str
    id: str
    caption: str
    original: Any
    reconstruction: Any
    damaged: Any = None


def chosen(scores: Mapping[str, float], measure: Measure, count: int) -> dict[Which, list[str]]:
    """Ids of so many of the best, the middle and the worst of `scores`; the worst begins its list.
    Images without a score are left out, unless none has one."""
    known = [id for id, score in scores.items() if not math.isnan(score)]
    ranking = sorted(known or scores, key=lambda id: measure.badness(scores[id]))
    middle = max(0, len(ranking) // 2 - count // 2)
    return {
        "best": ranking[:count],
        "median": ranking[middle : middle + count],
        "worst": ranking[::-1][:count],
    }


def write(
    folder: Path, samples: Sequence[Sample], config: DataConfig, board: Board,
    methods: Mapping[str, Restore], pairs: int, certifying: Any = None,
) -> list[str]:  # fmt: skip
    """best.png, median.png and worst.png by the scores of the first method, in dB; several methods
    stand side by side. The answers of a model that is `certifying` have a map, white where they
    are certain. Of the first `pairs` images the first method's ``original_ID.png`` and
    ``reconstruction_ID.png`` besides, in a folder; returns its name if there is one.

    Which images they show is known last, so these few are read again instead of keeping all.
    """
    first, *others = methods
    scores, measure = board.by_image(first), board.measure
    what = f"{'hole ' if measure.region == 'holes' else ''}{measure.title}"
    count = sum(not math.isnan(score) for score in scores.values()) or len(scores)
    for which, ids in chosen(scores, measure, SHOWN).items():
        rows: dict[str, Row] = {}
        names: list[str] = []
        for id, batch, restored in _restored(samples, ids, config, [*methods.values()]):
            label = f"{id}   {what} {measure.quantity(scores[id])}"
            if config.damage == IDENTITY:
                label += f", SSIM {float(METRICS['ssim'](batch['target'], restored[0])[0]):.4f}"
            shown = _columns(config, batch, dict(zip(methods, restored, strict=True)))
            if certifying:
                (found,) = certificates(certifying, restored[0], batch["target"])
                shown["certified"] = np.repeat(found.exact[..., None].astype(np.float32), 3, -1)
            names, rows[id] = list(shown), (label, [*shown.values()])
        title = f"{which} by {what}{f' of {first}' if others else ''}, of {count} images"
        images.write(folder / f"{which}.png", grid(title, names, [rows[id] for id in ids]))
    if not pairs:
        return []
    file_of = file_names([sample.id for sample in samples[:pairs]])
    for id, batch, (restored,) in _restored(samples, [*file_of], config, [methods[first]]):
        for name, shown in (("original", batch["target"]), ("reconstruction", restored)):
            images.write(folder / "pairs" / f"{name}_{file_of[id]}.png", images.marked(shown[0]))
    return ["pairs/"]


def _columns(
    config: DataConfig, batch: pipeline.Batch, outputs: Mapping[str, Any]
) -> dict[str, Any]:
    """What a grid shows of a batch of one, by the heads of its columns."""
    target, inverted = batch["target"][0], config.damage == IDENTITY
    shown = {name: output[0] for name, output in outputs.items()}
    if len(shown) == 1:
        (only,) = shown.values()
        shown = {"reconstruction" if inverted else "output": only}
        if inverted:
            shown[f"error x {images.ERROR_SCALE}"] = images.error_map(target, only)
    if inverted:
        return {"original": target, **shown}
    return {"input": batch["input"][0], **shown, "target": target}


def write_features(
    path: Path, samples: Sequence[Sample], config: DataConfig, tap_maps: Callable[[Any], Any]
) -> None:
    """One row a tap of the first image: its CHANNELS most varied channels, each from black (its
    smallest value) to white (its largest). `tap_maps`: x to names and maps (B,h,w,C)."""
    batch = next(iter(pipeline.dataset(samples[:1], config, batch_size=1)))
    rows: list[Row] = []
    for name, maps in tap_maps(batch["input"]).items():
        features = np.asarray(maps[0], np.float32)
        height, width, channels = features.shape
        order = np.argsort(-features.reshape(-1, channels).std(0), kind="stable")[:CHANNELS]
        features = features[..., order]
        low, high = features.min((0, 1)), features.max((0, 1))
        scaled = (features - low) / np.maximum(high - low, 1e-12)
        label = f"{name}   {height}x{width}x{channels}, channels {', '.join(map(str, order))}"
        planes = np.moveaxis(scaled, -1, 0)
        rows.append((label, [np.repeat(plane[..., None], 3, -1) for plane in planes]))
    title = f"features of {samples[0].id}: of each tap the {CHANNELS} channels that vary most"
    images.write(path, grid(title, ("",) * CHANNELS, rows))


def leading_pictures(
    comparison: Comparison, config: DataConfig, split: str, options: Mapping[str, Any]
) -> dict[str, list[Picture]]:
    """Best, median and worst image of each leading result, restored anew by its first run.

    Raises UserError where its weights or the images are not at hand."""
    evaluated, config = _evaluated(comparison, config, split)
    measure = comparison.measure
    pictures: dict[str, list[Picture]] = {}
    for result in comparison.results[:LEADING]:
        of_result = pictures.setdefault(result.name, [])
        scores = comparison.by_image(result.name)
        picked = {which: ids[0] for which, ids in chosen(scores, measure, 1).items()}
        restore = on_batches(result.runs[0], restorer(result.runs[0].load_model(options)))
        triples = _restored(evaluated, [*picked.values()], config, [restore])
        shown = {id: (batch, restored) for id, batch, (restored,) in triples}
        for which, id in picked.items():
            (batch, restored), caption = shown[id], f"{measure.name} {measure.quantity(scores[id])}"
            damaged = None if config.damage == IDENTITY else batch["input"].numpy()[0]
            target, restored = batch["target"].numpy()[0], images.marked(restored[0])
            of_result.append(Picture(which, id, caption, target, restored, damaged))
    return pictures


def tap_strip(
    comparison: Comparison, results: Sequence[Result], config: DataConfig, split: str
) -> Strip:
    """What the first runs of inversions of one tap make of the image that is the median one of the
    first of them: a row for each backbone, which begins with the image itself.

    Raises UserError where weights or images are not at hand."""
    if len(results) < 2:
        return {}
    measure, rows = comparison.measure, dict[str, list[tuple[str, Any]]]()
    (id,) = chosen(comparison.by_image(results[0].name), measure, 1)["median"]
    samples, config = _evaluated(comparison, config, split)
    for result in results:
        restore = on_batches(result.runs[0], restorer(result.runs[0].load_model()))
        ((_, batch, (restored,)),) = _restored(samples, [id], config, [restore])
        row = rows.setdefault(result.taps[0]["backbone"], [("original\n ", batch["target"][0])])
        score = measure.quantity(comparison.by_image(result.name)[id])
        row.append((f"{result.taps[0]['tap']}\n{score}", images.marked(restored[0])))
    return rows


def _evaluated(
    comparison: Comparison, config: DataConfig, split: str
) -> tuple[list[Sample], DataConfig]:
    """The images that results were scored on, and how they are read. Raises UserError where they
    are not at hand."""
    root = Path(config.root) if config.root else None
    samples = {sample.id: sample for sample in recipes.samples(config.recipe, root, split)}
    known = [samples[id] for id in comparison.ids if id in samples]
    evaluated = check.readable(known, range=config.range) if known else []
    if content_fingerprint(evaluated) != comparison.results[0].facts.get("data"):
        raise UserError("the images have changed since they were scored; evaluate the runs again")
    return evaluated, dataclasses.replace(config, cache="none")


def grid(title: str, columns: Sequence[str], rows: Sequence[Row]) -> Pixels:
    """The grid as (H,W,3) uint8: title, names of the columns, then the rows."""
    fitted = [(label, [_fitted(picture) for picture in shown]) for label, shown in rows]
    width = len(columns) * (CELL + GAP) + GAP
    height = 2 * LABEL + sum(LABEL + GAP + max(p.height for p in shown) for _, shown in fitted)
    canvas = Image.new("RGB", (width, height + GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT)
    draw.text((GAP, GAP // 2), _shortened(title, draw, font, width), "black", font)
    for column, name in enumerate(columns):
        draw.text((left_px(column), LABEL), name, "black", font)
    top = 2 * LABEL
    for label, shown in fitted:
        draw.text((GAP, top), _shortened(label, draw, font, width), "black", font)
        top += LABEL
        for column, picture in enumerate(shown):
            canvas.paste(picture, (left_px(column), top))
        top += max(picture.height for picture in shown) + GAP
    return np.asarray(canvas)


def left_px(column: int) -> int:
    """The left edge of a column of a grid."""
    return GAP + column * (CELL + GAP)


def _restored(
    samples: Sequence[Sample], ids: Sequence[str], config: DataConfig,
    methods: Sequence[Restore],
) -> Iterator[tuple[str, pipeline.Batch, list[Any]]]:  # fmt: skip
    """id, batch of one, restored batch of one by each method."""
    wanted = [sample for sample in samples if sample.id in ids]
    for batch in pipeline.dataset(wanted, config, batch_size=1):
        yield batch["id"].numpy()[0].decode(), batch, [restore(batch) for restore in methods]


def _fitted(picture: Any) -> Image.Image:
    """`picture` with its longest side at CELL pixels: small ones enlarged in whole pixels."""
    shown = Image.fromarray(images.to_uint8(images.marked(picture)))
    longest = max(shown.size)
    if longest <= CELL // 2:
        factor = CELL // longest
        return shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST)
    if longest > CELL:
        shown.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return shown


def _shortened(text: str, draw: Any, font: Any, width: int) -> str:
    """`text`, with its middle left out where it would not fit."""
    while draw.textlength(text, font) > width - 2 * GAP:
        middle = len(text) // 2
        text = f"{text[: middle - 2]}…{text[middle + 1 :]}"
    return text
