"""What an evaluation has shown, in sentences, and the one screen that a verb prints at its end."""

import math
import textwrap
from collections.abc import Callable, Sequence

import numpy as np

from tfrecon.metrics.measures import FAILED, HOLE, MEASURES, leading_columns
from tfrecon.reports import contenders, svg
from tfrecon.reports.costs import Costs
from tfrecon.reports.scores import Board, deviation
from tfrecon.reports.sentences import against_untrained, failures
from tfrecon.reports.statistics import tested
from tfrecon.reports.tables import Column, Field, Table

WIDTH, HEIGHT = 100, 25
"""Columns and lines of the screen."""

SENTENCE_LINES = 5
"""Most lines of one sentence on the screen."""

NAME = 16
"""Characters of a method's name that stay on the screen, however wide the numbers are."""


def verdicts(
    board: Board, paid: Costs, names: Sequence[str], untrained: Sequence[str]
) -> list[str]:
    """Each run against what needs no training, the order of the runs, what ensembles and averages
    gain, and what bounds a diffusion."""
    measure = board.measure
    prefix = HOLE if measure.region == "holes" else ""

    def gain(before: str, after: str) -> str:
        return measure.quantity(board.mean(after) - board.mean(before), signed=True)

    rivals = dict.fromkeys(names, untrained)
    lines = failures(board)
    lines += [
        line
        for metric in ("mse", "psnr")
        for line in against_untrained(board, rivals, prefix + metric)
    ]
    if len(names) > 1:
        shown = (f"{name} {measure.quantity(board.mean(name))}" for name in board.ranked(names))
        lines.append(f"by PSNR: {', '.join(shown)}.")
    for name in names:
        lines += _variants(paid, name, gain)
        draws = [method for method in paid if method.startswith(name + contenders.DRAW)]
        if draws:
            lines.append(_spread(board, name, draws))
        bound = name + contenders.BOUND
        if bound in paid:
            lines.append(
                f"{bound}: the truth through it, {measure.quantity(board.mean(bound))}, as a "
                "sample with its latents would have."
            )
    return lines


def _variants(paid: Costs, name: str, gain: Callable[[str, str], str]) -> list[str]:
    """What the ensemble, the tiles and the average of a run gain, and what they take."""
    lines: list[str] = []
    for variant in (name + contenders.ENSEMBLE, name + contenders.TILES):
        if variant in paid:
            first, second = (paid[method].seconds_per_image for method in (name, variant))
            time = "no measured time"
            if first and second:
                milliseconds = f"{1000 * second:.3g} ms an image"
                time = f"{second / first:.1f} times the time ({milliseconds})"
            lines.append(f"{variant}: {gain(name, variant)} for {time}.")
    raw, last = name + contenders.RAW, name + contenders.LAST
    if raw in paid:
        averaged = last if last in paid else name
        lines.append(f"{averaged}: {gain(raw, averaged)} by EMA weights, which take no more time.")
    return lines


def _spread(board: Board, name: str, draws: Sequence[str]) -> str:
    """Mean and standard deviation of the draws' means."""
    shown: list[str] = []
    for column in (board.metric, "ssim", "lpips_alex"):
        if column in board.columns:
            measure, means = MEASURES[column], [board.mean(draw, column) for draw in draws]
            numbers = measure.number(float(np.mean(means))), measure.number(deviation(means))
            shown.append(f"{measure.label} {' ± '.join(numbers)}")
    return f"{name} over {len(draws)} draws: {', '.join(shown)}."


def rivals(board: Board, untrained: Sequence[str]) -> list[str]:
    """What a model must beat: the method that does nothing, which is the first of `untrained`, and
    the best of them."""
    return list(dict.fromkeys([*untrained[:1], *board.ranked(untrained)[:1]]))


def verdict(board: Board, model: str, untrained: Sequence[str]) -> str:
    """One sentence: the model's mean with its interval, and the differences to its `rivals` with
    theirs, each over the same images."""
    measure, cell = board.measure, board.summary[model, board.metric]
    shown = f"{measure.name} {measure.quantity(cell.mean)} {cell.interval} on {cell.n} images"
    failure = board.failure(model)
    parts = (
        [f"{model} FAILED{failure.removeprefix(FAILED)}; {shown}"]
        if failure
        else [f"{model} has {shown}"]
    )
    sides = {
        (model, name): (board.values(model), board.values(name))
        for name in rivals(board, untrained)
    }
    for test in tested(board.metric, sides):
        gain, low, high = test.gain
        way = "better than" if low > 0 else "WORSE than" if high < 0 else "not told apart from"
        if math.isinf(gain):
            worse = test.second if gain > 0 else model
            parts.append(f"{way} {test.second}, as {worse} {board.failure(worse)}")
            continue
        interval = measure.interval(low, high, signed=True)
        parts.append(f"{way} {test.second}: {measure.quantity(gain, signed=True)} {interval}")
    return "; ".join(parts) + ". In brackets: 95% intervals."


def ending(
    board: Board, names: Sequence[str], untrained: Sequence[str], where: Sequence[str],
    *, before: Sequence[str] = (), after: Sequence[str] = (),
) -> str:  # fmt: skip
    """The screen of an evaluation or a comparison: the verdict on the best of `names`, between the
    sentences `before` and `after` it."""
    best = board.ranked(names)[0]
    sentences = [*before, verdict(board, best, untrained), *after]
    return screen(board, sentences, [best, *rivals(board, untrained)], where)


def screen(
    board: Board, sentences: Sequence[str], wanted: Sequence[str], where: Sequence[str]
) -> str:
    """At most `HEIGHT` lines of `WIDTH` columns: sentences, the metrics that matter of as many
    methods as fit, best first and `wanted` ones in any case, and `where` the full report lies."""
    said = [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, WIDTH, max_lines=SENTENCE_LINES, placeholder=" …")
    ]
    methods = board.ranked(dict.fromkeys(method for method, _ in board.summary))
    room = HEIGHT - len(said) - len(where) - 3  # two empty lines and the table's heads
    hidden = len(methods) - room + 1 if len(methods) > room else 0
    kept = [*wanted, *(name for name in methods if name not in wanted)][: len(methods) - hidden]
    lines = _compact(board, [name for name in methods if name in kept]).text()
    if hidden:
        lines += f"\n… and {hidden} more in the report"
    return "\n".join([*said, "", lines, "", *where])


def metrics_table(board: Board) -> Table:
    """The metrics that matter of all methods, best first."""
    methods = board.ranked(dict.fromkeys(method for method, _ in board.summary))
    heads, cells = _means(board, methods, leading_columns(board.columns, board.metric))
    rows = [[name, *row] for name, row in zip(methods, cells, strict=True)]
    return Table([Column(""), *heads], rows)


def _means(
    board: Board, methods: Sequence[str], columns: Sequence[str]
) -> tuple[list[Column], list[list[Field]]]:
    heads = [Column(MEASURES[column].head) for column in columns]
    return heads, [[board.summary[name, column].field() for column in columns] for name in methods]


def _compact(board: Board, methods: Sequence[str]) -> Table:
    """Means and intervals of the leading metrics, as many as `WIDTH` has room for."""
    columns = leading_columns(board.columns, board.metric)
    while True:
        heads, cells = _means(board, methods, columns)
        width = WIDTH - 2 - max(map(len, Table(heads, cells).text().splitlines()))
        if width >= NAME or len(columns) == 1:
            break
        columns.pop()
    names = [svg.shortened(name, max(NAME, min(svg.LONGEST, width))) for name in methods]
    rows = [[name, *row] for name, row in zip(names, cells, strict=True)]
    return Table([Column(""), *heads], rows)
