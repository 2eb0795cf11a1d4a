"""Split inference: what an attacker makes of the features that leave a device, by tap and defence;
who he is `NOTES` say."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.backbones import check_taps
from tfrecon.base import files, images
from tfrecon.base.bars import tqdm
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import recipes
from tfrecon.data.check import readable
from tfrecon.inference.attacks import SIZE, Array, Attacker, parse_defences
from tfrecon.inference.feature_files import cut
from tfrecon.inference.inversion import crop
from tfrecon.inference.places import photos_of
from tfrecon.layers.defences import ABOUT, Defence
from tfrecon.metrics.measures import LEADING, MEASURES
from tfrecon.metrics.perceptual import metrics_at_hand
from tfrecon.reports import svg
from tfrecon.reports.page import document
from tfrecon.reports.pictures import Picture, grid
from tfrecon.reports.plots import metric_axis
from tfrecon.reports.scores import csv_text
from tfrecon.reports.tables import Column, Field, Table

LEAST_PSNR, LEAST_SSIM = 20.0, 0.5
"""Below both of them a photo counts as hidden: by colours that are off alone it is not."""

NOTES = (
    "The attacker knows network, tap and defence, has pictures of his own (crops of demo photos, "
    "drawn leaves), and takes what does better on others of them: ridge regression solved for on "
    "defended features (linear), or the decoder that was fitted without a defence (boosted).",
    "Another attacker may do better: what is recovered here is the least that is given away.",
    "Exact: all three channels after rounding to 8 bits.",
)
EXACT = "exact_pixels"
HEADS = {EXACT: "Pixels exact", "exact_images": "Photos exact"}
FILES = ("report.html", "audit.csv", "recovered.png")


@dataclass(frozen=True)
class Row:
    """What was recovered of one photo at a tap under a defence: a value for each measure."""

    tap: str
    defence: Defence
    photo: str
    attacker: str
    values: Mapping[str, float]


def audit(
    taps: Sequence[str], output: Path, *, backbone: str | None = None, weights: str = "default",
    photos: Path | None = None, defences: Sequence[str] = (), limit: int = 8,
) -> list[str]:  # fmt: skip
    """Attacks each of the `taps`, of `backbone` or named as ``alexnet/conv1``, under each of the
    `defences` on the first `limit` photos of a folder, or the demo's, and writes `FILES` into the
    folder `output`; returns the sentences.

    Raises UserError for unknown names, weights that are not to be had and unreadable photos.
    """
    tried = parse_defences(defences)
    places = [(tap.rpartition("/")[0] or backbone, tap.rpartition("/")[2]) for tap in taps]
    for name, tap in places:
        if name is None:
            raise UserError(f"tap {tap!r} has no backbone; give --backbone, or write alexnet/{tap}")
        check_taps(name, [tap], None)
    metrics = {name: m for name, m in metrics_at_hand(SIZE).items() if name in LEADING}
    rows: list[Row] = []
    shown: dict[str, dict[Defence, Array]] = {}
    originals: dict[str, Array] = {}
    with files.claimed(output):
        for name, tap in places:
            attacker = Attacker(str(name), tap, weights)
            originals = _photos(photos, attacker, limit)
            features = {id: attacker.seen(photo[None]) for id, photo in originals.items()}
            place = f"{name} {tap}"
            for defence in tqdm(tried, place, unit="defence", leave=False):
                best, decode = attacker.under(defence)
                for number, (photo, truth) in enumerate(originals.items()):
                    defended = attacker.defended(defence, features[photo], seed=1000 + number)
                    image = np.asarray(decode(defended))
                    rows.append(Row(place, defence, photo, best, _values(metrics, truth, image)))
                    if not number:
                        shown.setdefault(place, {})[defence] = image
        sentences = [_sentence(rows, place, tried) for place in shown]
        photo, first = next(iter(originals.items()))
        _write(output, rows, sentences, shown, (photo, first), len(originals))
    return sentences


def _photos(source: Path | None, attacker: Attacker, limit: int) -> dict[str, Array]:
    """Photos (S,S,3) by name, of a side that the tap takes."""
    side = attacker.model.fixed_size or SIZE
    if source is None:
        crops = recipes.samples(Spec("demo"), None, "test")[:limit]
        return {sample.id: crop(sample, side) for sample in crops}
    samples = readable(photos_of(source, (), False)[:limit])
    return {s.id: images.to_float(cut(s, attacker.model.extractor, side)) for s in samples}


def _values(metrics: Mapping[str, Any], truth: Array, image: Array) -> dict[str, float]:
    """By measure, the shares of pixels and of photos that are right after rounding included."""
    scores = {name: float(metric(truth[None], image[None])[0]) for name, metric in metrics.items()}
    exact = float((images.to_uint8(image) == images.to_uint8(truth)).all(-1).mean())
    return {**scores, EXACT: exact, "exact_images": float(exact == 1)}


def means(rows: Sequence[Row], place: str, defence: Defence) -> dict[str, float]:
    """The mean over photos of each measure at a tap under a defence."""
    of = [row.values for row in rows if (row.tap, row.defence) == (place, defence)]
    return {name: float(np.mean([values[name] for values in of])) for name in of[0]}


def hides(values: Mapping[str, float]) -> bool:
    """Whether photos of such a quality count as hidden."""
    return values["psnr"] < LEAST_PSNR and values["ssim"] < LEAST_SSIM


def _sentence(rows: Sequence[Row], place: str, tried: Sequence[Defence]) -> str:
    """From which strength on photos are hidden, for each kind of defence."""
    bare = means(rows, place, tried[0])
    psnr = MEASURES["psnr"]
    exact = f"{bare[EXACT]:.1%} of pixels exact"
    said = f"{place}: without a defence {psnr.quantity(bare['psnr'])}, {exact}"
    if hides(bare):
        return f"{said}; that is below {LEAST_PSNR:g} dB and SSIM {LEAST_SSIM}."
    parts: list[str] = []
    for _, group in itertools.groupby(tried[1:], lambda defence: defence.kind):
        strengths = list(group)
        first = _first(rows, place, strengths)
        last = means(rows, place, strengths[-1])
        parts.append(
            f"from {first} on" if first else
            f"not by {strengths[-1]} ({psnr.quantity(last['psnr'])}, SSIM {last['ssim']:.2f})"
        )  # fmt: skip
    return f"{said}; below {LEAST_PSNR:g} dB and SSIM {LEAST_SSIM} {', '.join(parts)}."


def _first(rows: Sequence[Row], place: str, strengths: Sequence[Defence]) -> Defence | None:
    """The weakest defence from which on, as strengths rise, photos are hidden."""
    bad = [not hides(means(rows, place, defence)) for defence in strengths]
    kept = max((n for n, is_bad in enumerate(bad) if is_bad), default=-1) + 1
    return strengths[kept] if kept < len(strengths) else None


def _table(rows: Sequence[Row], place: str) -> Table:
    of = [row for row in rows if row.tap == place]
    names = [*of[0].values]
    columns = [Column("Defence"), *(
        Column(MEASURES[n].head, "high" if MEASURES[n].better == "more" else "low")
        if n in MEASURES else Column(HEADS[n], "high")
        for n in names
    ), Column("Attacker")]  # fmt: skip
    lines: list[list[object]] = []
    for defence in dict.fromkeys(row.defence for row in of):
        values = means(rows, place, defence)
        texts = [MEASURES[n].number(v) if n in MEASURES else f"{v:.1%}" for n, v in values.items()]
        cells = zip(texts, values.values(), strict=True)
        attacker = next(row.attacker for row in of if row.defence == defence)
        bold = hides(values)
        fields = [Field(text, value=value) for text, value in cells]
        lines.append([Field(str(defence), strong=bold), *fields, attacker])
    caption = f"{place}, means over photos; bold: below {LEAST_PSNR:g} dB and SSIM {LEAST_SSIM}."
    return Table(columns, lines, caption, sortable=True)


def _plot(rows: Sequence[Row], kind: str) -> str:
    """PSNR against the strength of one kind of defence, a line a tap."""
    places = [*dict.fromkeys(row.tap for row in rows)]
    tried = [*dict.fromkeys(row.defence for row in rows if row.defence.kind == kind)]
    title = f"{MEASURES['psnr'].label} of what is recovered, {ABOUT[kind][1].lower()}."

    def paint(figure: Any) -> list[Any]:
        axes, lines = figure.add_subplot(), []
        at = range(len(tried))
        for number, place in enumerate(places):
            colour, line = svg.look(number)
            reached = [means(rows, place, defence)["psnr"] for defence in tried]
            lines += axes.plot(at, reached, line, marker="o", markersize=4, color=colour)
        axes.axhline(LEAST_PSNR, color=svg.GREY, linestyle="--", linewidth=1)
        axes.set_xticks(at, [f"{defence.strength:g}" for defence in tried])
        metric_axis(axes, "y", MEASURES["psnr"], ABOUT[kind][1])
        return lines

    return svg.drawn(f"audit-{kind}", title, 2.6, paint, places)


def _write(
    output: Path, rows: Sequence[Row], sentences: Sequence[str],
    shown: Mapping[str, Mapping[Defence, Array]], first: tuple[str, Array], count: int,
) -> None:  # fmt: skip
    """Writes the page, a line of CSV for each photo, and a picture of all taps and defences."""
    photo, original = first
    defences = [*dict.fromkeys(row.defence for row in rows)]
    kinds = [*dict.fromkeys(d.kind for d in defences if d.kind != "none")]
    told: dict[str, list[Picture]] = {}
    for place, recovered in shown.items():
        for kind in kinds:
            strengths = [d for d in defences if d.kind == kind]
            defence = _first(rows, place, strengths) or strengths[-1]
            row = next(r for r in rows if (r.tap, r.defence, r.photo) == (place, defence, photo))
            caption = MEASURES["psnr"].quantity(row.values["psnr"])
            picture = Picture(str(defence), photo, caption, original, recovered[defence])
            told.setdefault(place, []).append(picture)
    html = document(
        title="What features give away", sentences=sentences, pictures=told,
        subtitle=f"{len(shown)} taps, {len(defences) - 1} defences, {count} photos, {SIZE} pixels",
        recovered=[_table(rows, place) for place in shown],
        strengths=[_plot(rows, kind) for kind in kinds],
        notes=NOTES,
    )  # fmt: skip
    lines = [["tap", "defence", "strength", "photo", "attacker", *rows[0].values]]
    lines += [
        [r.tap, r.defence.kind, r.defence.strength, r.photo, r.attacker, *r.values.values()]
        for r in rows
    ]
    with files.replacing(output / FILES[0]) as temporary:
        temporary.write_text(html, encoding="utf-8")
    with files.replacing(output / FILES[1]) as temporary:
        temporary.write_text(csv_text(lines), encoding="utf-8")
    picture_rows = [(place, [original, *recovered.values()]) for place, recovered in shown.items()]
    heads = ["original", *map(str, defences)]
    images.write(output / FILES[2], grid(f"recovered from {photo}", heads, picture_rows))
