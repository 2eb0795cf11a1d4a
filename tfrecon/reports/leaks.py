"""Split inference: what an attacker makes of the features that leave a device, by tap and defence;
who he is `NOTES` say."""

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
from tfrecon.reports import scores, svg
from tfrecon.reports.leaderboard import heads
from tfrecon.reports.page import document
from tfrecon.reports.pictures import Picture, grid
from tfrecon.reports.plots import metric_axis
from tfrecon.reports.tables import Column, Field, Table

LEAST_PSNR, LEAST_SSIM = 20.0, 0.5
"""Below both of them a photo counts as hidden: by colours that are off alone it is not."""
LIMIT = f"below {LEAST_PSNR:g} dB and SSIM {LEAST_SSIM}"

NOTES = (
    "The attacker knows network, tap and defence, has pictures of his own (crops of demo photos, "
    "drawn leaves), and takes what does better on others of them: ridge regression solved for on "
    "defended features (linear), or the decoder that was fitted without a defence (boosted).",
    "Another attacker may do better: what is recovered here is the least that is given away.",
    "Exact: all three channels after rounding to 8 bits.",
)
FILES = ("report.html", "audit.csv", "recovered.png")


@dataclass(frozen=True, eq=False)
class Leak:
    """What was recovered at the tap `place`: the scores of each photo, whose methods are the
    defences' `repr`; by defence, who attacked, and the first photo as he recovered it."""

    place: str
    board: scores.Board
    attackers: Mapping[Defence, str]
    recovered: Mapping[Defence, Array]

    def mean(self, defence: Defence, column: str = "psnr") -> float:
        """A measure's mean over photos under a defence."""
        return self.board.mean(repr(defence), column)

    def hides(self, defence: Defence) -> bool:
        """Whether photos count as hidden under a defence."""
        return self.mean(defence) < LEAST_PSNR and self.mean(defence, "ssim") < LEAST_SSIM

    def first(self, strengths: Sequence[Defence]) -> Defence | None:
        """The defence from which on, as strengths rise, photos are hidden."""
        seen = [place for place, each in enumerate(strengths, 1) if not self.hides(each)]
        return next(iter(strengths[max(seen, default=0) :]), None)


def audit(
    taps: Sequence[str], output: Path, *, backbone: str | None = None, weights: str = "default",
    photos: Path | None = None, defences: Sequence[str] = (), limit: int = 8,
) -> list[str]:  # fmt: skip
    """Attacks each of the `taps`, of `backbone` or named as ``alexnet/conv1``, under each of the
    `defences` on the first `limit` photos of a folder, or the demo's, and writes `FILES` into the
    folder `output`; returns the sentences.

    Raises UserError for unknown names, weights that are not to be had and unreadable photos.
    """
    tried = [*dict.fromkeys(parse_defences(defences))]
    places = [(tap.rpartition("/")[0] or backbone, tap.rpartition("/")[2]) for tap in taps]
    for name, tap in places:
        if name is None:
            raise UserError(f"tap {tap!r} has no backbone; give --backbone, or write alexnet/{tap}")
        check_taps(name, [tap], None)
    with files.claimed(output):
        leaks: list[Leak] = []
        originals: dict[str, Array] = {}
        for name, tap in places:
            attacker = Attacker(str(name), tap, weights)
            originals = _photos(photos, attacker, limit)
            leaks.append(_attacked(f"{name} {tap}", attacker, originals, tried))
        groups = {kind: [each for each in tried if each.kind == kind] for kind in ABOUT}
        groups = {kind: group for kind, group in groups.items() if group}
        sentences = [_baseline(originals), *(_sentence(leak, groups) for leak in leaks)]
        _write(output, leaks, groups, sentences, originals)
    return sentences


def _photos(source: Path | None, attacker: Attacker, limit: int) -> dict[str, Array]:
    """Photos (S,S,3) by name, of a side that the tap takes."""
    side = attacker.model.fixed_size or SIZE
    if source is None:
        crops = recipes.samples(Spec("demo"), None, "test")[:limit]
        return {sample.id: crop(sample, side) for sample in crops}
    samples = readable(photos_of(source, (), False)[:limit])
    return {s.id: images.to_float(cut(s, attacker.model.extractor, side)) for s in samples}


def _attacked(
    place: str, attacker: Attacker, originals: Mapping[str, Array], tried: Sequence[Defence]
) -> Leak:
    metrics = {name: m for name, m in metrics_at_hand(SIZE).items() if name in LEADING}
    features = {id: attacker.boosted.seen(photo[None]) for id, photo in originals.items()}
    head = ["id", "method", *metrics, "exact_pixels", "exact_images"]
    lines: list[list[Any]] = []
    attackers: dict[Defence, str] = {}
    recovered: dict[Defence, Array] = {}
    for defence in tqdm(tried, place, unit="defence", leave=False):
        attackers[defence], decode = attacker.under(defence)
        for number, (id, truth) in enumerate(originals.items()):
            image = decode(attacker.defended(defence, features[id], seed=1000 + number))
            values = [float(metric(truth[None], image[None])[0]) for metric in metrics.values()]
            exact = float((images.to_uint8(image) == images.to_uint8(truth)).all(-1).mean())
            lines.append([id, repr(defence), *values, exact, float(exact == 1)])
            recovered.setdefault(defence, image)
    return Leak(place, scores.Board(scores.frame(head, lines), "psnr"), attackers, recovered)


def _baseline(originals: Mapping[str, Array]) -> str:
    """How far one colour goes, the mean of each photo."""
    psnr = metrics_at_hand(SIZE)["psnr"]
    flat = {id: np.broadcast_to(x.mean((0, 1)), x.shape)[None] for id, x in originals.items()}
    reached = np.mean([float(psnr(originals[id][None], flat[id])[0]) for id in flat])
    return f"The mean colour of each photo, alone: {MEASURES['psnr'].quantity(float(reached))}."


def _sentence(leak: Leak, groups: Mapping[str, Sequence[Defence]]) -> str:
    """From which strength on photos are hidden, for each kind of defence."""
    bare, psnr = next(iter(leak.attackers)), MEASURES["psnr"]
    said = f"{leak.place}: without a defence {psnr.quantity(leak.mean(bare))}, "
    said += f"{leak.mean(bare, 'exact_pixels'):.1%} of pixels exact"
    if leak.hides(bare):
        return f"{said}; that is {LIMIT}."
    parts: list[str] = []
    for *_, strongest in groups.values():
        reached = psnr.quantity(leak.mean(strongest))
        ssim = leak.mean(strongest, "ssim")
        first = leak.first(groups[strongest.kind])
        left = f"not by {strongest} ({reached}, SSIM {ssim:.2f})"
        parts.append(f"from {first} on" if first else left)
    return f"{said}; {LIMIT} {', '.join(parts)}."


def _table(leak: Leak) -> Table:
    board = leak.board
    columns = [Column("Defence"), *heads(board.columns), Column("Attacker")]
    rows = [
        [
            Field(str(defence), strong=leak.hides(defence)),
            *(board.summary[repr(defence), column].field() for column in board.columns),
            attacker,
        ]
        for defence, attacker in leak.attackers.items()
    ]
    caption = f"{leak.place}, means over photos and their 95% intervals; bold: {LIMIT}."
    return Table(columns, rows, caption, stacked=True, sortable=True)


def _plot(leaks: Sequence[Leak], strengths: Sequence[Defence]) -> str:
    """PSNR against the strength of one kind of defence, a line a tap."""
    axis = ABOUT[strengths[0].kind][1]
    title = f"{MEASURES['psnr'].label} of what is recovered, {axis.lower()}."

    def paint(figure: Any) -> list[Any]:
        axes, lines = figure.add_subplot(), []
        at = range(len(strengths))
        for number, leak in enumerate(leaks):
            colour, line = svg.look(number)
            reached = [leak.mean(defence) for defence in strengths]
            lines += axes.plot(at, reached, line, marker="o", markersize=4, color=colour)
        axes.axhline(LEAST_PSNR, color=svg.GREY, linestyle="--", linewidth=1)
        axes.set_xticks(at, [f"{defence.strength:g}" for defence in strengths])
        metric_axis(axes, "y", MEASURES["psnr"], axis)
        return lines

    places = [leak.place for leak in leaks]
    return svg.drawn(f"audit-{strengths[0].kind}", title, 2.6, paint, places)


def _write(
    output: Path, leaks: Sequence[Leak], groups: Mapping[str, Sequence[Defence]],
    sentences: Sequence[str], originals: Mapping[str, Array],
) -> None:  # fmt: skip
    """Writes the page, a line of CSV for each photo, and a picture of all taps and defences."""
    photo, original = next(iter(originals.items()))
    pictures: dict[str, list[Picture]] = {}
    for leak in leaks:
        for group in groups.values():
            defence = leak.first(group) or group[-1]
            caption = MEASURES["psnr"].quantity(leak.board.by_image(repr(defence))[photo])
            picture = Picture(str(defence), photo, caption, original, leak.recovered[defence])
            pictures.setdefault(leak.place, []).append(picture)
    defences = [*leaks[0].attackers]
    html = document(
        title="What features give away", sentences=sentences, pictures=pictures, notes=NOTES,
        subtitle=f"{len(leaks)} taps, {len(defences) - 1} defences, {len(originals)} photos, "
        f"{SIZE} pixels",
        recovered=[_table(leak) for leak in leaks],
        strengths=[_plot(leaks, group) for group in groups.values()],
    )  # fmt: skip
    columns = leaks[0].board.columns
    lines: list[list[Any]] = [["tap", "defence", "strength", "photo", "attacker", *columns]]
    for leak in leaks:
        for defence, attacker in leak.attackers.items():
            values = [leak.board.values(repr(defence), column).tolist() for column in columns]
            lines += [
                [leak.place, defence.kind, defence.strength, id, attacker, *row]
                for id, *row in zip(originals, *values, strict=True)
            ]
    for name, content in zip(FILES, (html, scores.csv_text(lines)), strict=False):
        with files.replacing(output / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    rows = [(leak.place, [original, *leak.recovered.values()]) for leak in leaks]
    names = ["original", *map(str, defences)]
    images.write(output / FILES[-1], grid(f"recovered from {photo}", names, rows))
