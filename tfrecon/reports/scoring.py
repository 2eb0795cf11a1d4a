"""Every method on every image of a split: scores, and the time that each method took."""

import base64
import contextlib
import dataclasses
import functools
import inspect
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf

from tfrecon.base import files
from tfrecon.base.bars import tqdm
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import fewer_at_once, fitting
from tfrecon.base.journal import Journal, stoppable, went_on
from tfrecon.base.spread import Each, Opened, Work, here, opened
from tfrecon.data import pipeline
from tfrecon.data.sample import Sample
from tfrecon.metrics.artefacts import ARTEFACTS
from tfrecon.metrics.kid import LEAST, MOST, kid, kid_at_hand, kid_features
from tfrecon.metrics.logged import users_metrics
from tfrecon.metrics.measures import MEASURES
from tfrecon.metrics.perceptual import metrics_at_hand
from tfrecon.reports import scores
from tfrecon.reports.contenders import Contender, Contenders
from tfrecon.reports.costs import Cost

Entry = dict[str, Any]
"""What a line of the journal holds; arrays as `packed`."""


@dataclass(frozen=True)
class Scorer:
    """What is computed of each batch: the `columns`, by `graph`, of the methods of `contenders`;
    and `features`, unless None, of every `stride`-th image."""

    contenders: Contenders
    columns: Sequence[str]
    graph: Callable[..., tuple[dict[str, Any], Any]]
    features: Callable[[Any], Any] | None
    stride: int
    code: Sequence[Any]

    def key(self) -> list[Any]:
        """JSON-ready: what the scores depend on beside images and models."""
        kid = [self.stride] if self.features else None
        return [[*self.contenders], [*self.columns], kid, *map(code_digest, self.code)]

    def entry(self, batch: pipeline.Batch, place: int, is_new: bool) -> Entry:
        """The journal's entry of a batch whose first image is the `place`-th: ids, and by method
        the scores (B,K), the seconds an image and, under "" those of the truth, features. `is_new`
        says that no batch of so many images was there before."""
        ids = [id.decode() for id in batch["id"].numpy()]
        # Spread over the split, which is often sorted by class.
        seen = [n for n in range(len(ids)) if self.features and not (place + n) % self.stride]
        scores: dict[str, str] = {}
        seconds: dict[str, float] = {}
        features = {"": packed(self.features(tf.gather(batch["target"], seen)))} if seen else {}
        for name, contender in self.contenders.items():
            output, seconds[name] = _timed(contender, batch, is_new)
            values, finite = self.graph(batch["target"], output, batch.get("mask"))
            scores[name] = packed(_worst_where_failed(values, finite.numpy(), self.columns))
            whole = [n for n in seen if finite[n]]
            if whole:
                features[name] = packed(self.features(tf.gather(output, whole)))
        return {"ids": ids, "scores": scores, "seconds": seconds, "features": features}


def scorer(
    contenders: Contenders, size: int, images: int, *, masked: bool, metric_paths: Sequence[str],
    further: Mapping[str, Any],
) -> Scorer:  # fmt: skip
    """What scores the contenders on so many images of `size` pixels.

    All metrics score the image and, where it is `masked`, the holes; `metric_paths` are the dotted
    paths of a user's own, and `further` are metrics by name that run graphs of their own.
    """
    users = users_metrics(metric_paths)
    columns, graph = _graph({**metrics_at_hand(size), **ARTEFACTS, **users}, further, masked)
    features = kid_features() if images >= LEAST and kid_at_hand(size) else None
    return Scorer(contenders, columns, graph, features, -(-images // MOST), [*users.values()])


Part = tuple[int, Sequence[Sample]]
"""A batch's samples, and which of all the first of them is."""


def score(
    scorer: Scorer | Opened[Scorer], samples: Sequence[Sample], config: DataConfig, *,
    batch_size: int, path: Path, journal: Journal, key: str, each: Each = here,
) -> tuple[pl.DataFrame, dict[str, Cost]]:  # fmt: skip
    """The scores of the contenders on all samples, and what each contender costs; `each` says where
    they are computed.

    Batches that the `journal` holds under this `key` are not scored again. Writes a line an image
    and method to `path` at the end. Raises Stopped at the end of a batch when a signal asks for it.
    """
    everywhere, entries = opened(scorer), _kept(journal, key)
    scorer = everywhere.value
    before, total = sum(len(entry["ids"]) for entry in entries), len(samples)
    went_on(before, total, "scored")
    starts = range(before, total, batch_size)
    parts = [(start, samples[start : start + batch_size]) for start in starts]
    with (
        stoppable(total) as stop_if_asked,
        tqdm(total=total, initial=before, desc="evaluating", unit="image", disable=None) as bar,
    ):
        for entry in each(functools.partial(_scoring, everywhere, config), parts):
            entries.append(entry)
            journal.add(json.dumps(entry))
            bar.update(len(entry["ids"]))
            before += len(entry["ids"])
            stop_if_asked(before)
    head = ["id", "method", *scorer.columns]
    paid = {name: _paid(scorer, entries, name) for name in scorer.contenders}
    in_order = (_lines([entry], name) for entry in entries for name in scorer.contenders)
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        failed = any(cost.failed for cost in paid.values())
        for text in scores.per_image_csv(head, in_order, failed):
            file.write(text)
    return pl.concat(scores.frame(head, _lines(entries, name)) for name in paid), paid


def _scoring(scorer: Opened[Scorer], config: DataConfig) -> Work[Part, Entry]:
    """Gives the journal's entry of each batch."""
    sizes: set[int] = set()

    def entries(parts: Iterable[Part]) -> Iterator[Entry]:
        parts = list(parts)
        samples = [sample for _, batch in parts for sample in batch]
        batches = pipeline.dataset(samples, config, batch_size=len(parts[0][1]))
        for (place, of_part), batch in zip(parts, batches, strict=True):
            size = len(of_part)
            with fitting(fewer_at_once(size)):
                yield scorer.value.entry(batch, place, is_new=size not in sizes)
            sizes.add(size)

    return entries


def code_digest(thing: Any) -> str | None:
    """A hash of the file that a function or class was written in; None where there is none."""
    file = getattr(inspect.getmodule(thing), "__file__", None)
    return files.digest(Path(file)).hex() if file else None


def _kept(journal: Journal, key: str) -> list[Entry]:
    """The entries of the journal, which begins anew where it is of another key, and ends before a
    line that a crash of the machine has spoilt."""
    entries: list[Entry] = []
    with contextlib.suppress(ValueError):
        for line in journal.lines[1:] if journal.lines[:1] == [key] else ():
            entries.append(json.loads(line))
    if len(journal.lines) != 1 + len(entries):
        journal.restart([key, *journal.lines[1 : 1 + len(entries)]])
    return entries


def packed(array: Any) -> str:
    """An array as text, bit for bit."""
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode("ascii")


def unpacked(text: str) -> np.ndarray[Any, Any]:
    """The array that `packed` wrote."""
    return np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)


def _lines(entries: Sequence[Entry], name: str) -> list[list[Any]]:
    return [
        [id, name, *values]
        for entry in entries
        for id, values in zip(entry["ids"], unpacked(entry["scores"][name]).tolist(), strict=True)
    ]


def _paid(scorer: Scorer, entries: Sequence[Entry], name: str) -> Cost:
    """What a method costs, over all batches."""
    contender = scorer.contenders[name]
    failed = sum(int(np.isinf(unpacked(e["scores"][name])).any(1).sum()) for e in entries)
    features = {
        side: [unpacked(e["features"][side]) for e in entries if side in e["features"]]
        for side in ("", name)
    }
    both = [np.concatenate(parts) for parts in features.values() if parts]
    return dataclasses.replace(
        contender.cost,
        seconds_per_image=median_low(entry["seconds"][name] for entry in entries)
        if contender.is_timed
        else None,
        kid=kid(*both) if len(both) == 2 else None,
        failed=failed or None,
    )


def _worst_where_failed(values: Mapping[str, Any], finite: Any, columns: Sequence[str]) -> Any:
    """The values of each image, NaN for those that are not finite, and the worst of all where the
    method's output is not `finite`, (B,)."""
    table = np.stack([np.asarray(values[column], np.float64) for column in columns], axis=-1)
    table[~np.isfinite(table)] = np.nan
    table[~finite] = [MEASURES[column].worst for column in columns]
    return table


def _timed(contender: Contender, batch: pipeline.Batch, is_new: bool) -> tuple[Any, float]:
    """What a contender makes of a batch, and the seconds that it took an image.

    A batch of a new size is made twice, and the second time counts: the first one traces a graph
    for that size, which took the harmonic fill 100 times as long as a fill. The last batch of a
    split is mostly smaller than the others, and of a small split it is half of all."""
    if is_new and contender.is_timed:
        contender.apply(batch)
    started = time.perf_counter()
    output = contender.apply(batch)
    seconds = time.perf_counter() - started
    return tf.convert_to_tensor(output), seconds / len(batch["id"])


def _graph(
    metrics: Mapping[str, Any], further: Mapping[str, Any], masked: bool
) -> tuple[list[str], Callable[..., tuple[dict[str, Any], Any]]]:
    """The columns that `metrics` and `further` have, those of holes only where images are `masked`,
    and the function that computes them for a batch, (B,) each, and tells which outputs are finite.
    The `metrics` are one graph, which computes shared parts once."""
    everything = {**metrics, **further}
    chosen = [
        measure
        for measure in MEASURES.values()
        if measure.metric in everything and (masked or measure.region == "image")
    ]

    def values(names: Mapping[str, Any], target: Any, output: Any, mask: Any) -> dict[str, Any]:
        regions = {"image": (target, output), "holes": (target, output, mask)}
        measures = [measure for measure in chosen if measure.metric in names]
        return {m.column: everything[m.metric](*regions[m.region]) for m in measures}

    @tf.function(reduce_retracing=True)
    def graph(target: Any, output: Any, mask: Any) -> tuple[dict[str, Any], Any]:
        finite = tf.reduce_all(tf.math.is_finite(output), axis=(1, 2, 3))
        return values(metrics, target, output, mask), finite

    def computed(target: Any, output: Any, mask: Any) -> tuple[dict[str, Any], Any]:
        found, finite = graph(target, output, mask)
        # Inside that graph another would wait for ever for a thread of a machine that has one.
        return {**found, **values(further, target, output, mask)}, finite

    return [measure.column for measure in chosen], computed
