"""Every method on every image of a split: scores, and the time that each method took."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf
from tqdm import tqdm

from tfrecon.base import files
from tfrecon.base.config import DataConfig
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


def score(
    samples: Sequence[Sample], config: DataConfig, contenders: Contenders,
    *, masked: bool, batch_size: int, path: Path, metric_paths: Sequence[str] = (),
) -> tuple[pl.DataFrame, dict[str, Cost]]:  # fmt: skip
    """The scores of the contenders on all samples, and what each contender costs.

    All metrics score the image and, where there are masks, the holes; `metric_paths` are the dotted
    paths of a user's own. Writes a line an image and method to `path` as they come; the file takes
    its name at the end.
    """
    columns, graph = _graph(config.image_size, masked, metric_paths)
    head = ["id", "method", *columns]
    features = kid_features() if len(samples) >= LEAST and kid_at_hand(config.image_size) else None
    every, before = -(-len(samples) // MOST), 0
    truth: list[Any] = []
    seen_of: dict[str, list[Any]] = {name: [] for name in contenders}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    lines_of: dict[str, list[list[Any]]] = {name: [] for name in contenders}
    batches = pipeline.dataset(samples, config, batch_size=batch_size)
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(scores.csv_text([head]))
        with tqdm(total=len(samples), desc="evaluating", unit="image", disable=None) as bar:
            for batch in batches:
                ids = [id.decode() for id in batch["id"].numpy()]
                # Spread over the split, which is often sorted by class.
                seen = [n for n in range(len(ids)) if features and not (before + n) % every]
                if features and seen:
                    truth.append(features(tf.gather(batch["target"], seen)))
                for name, contender in contenders.items():
                    output, time_per_image = _timed(contender, batch, is_first=not before)
                    seconds[name].append(time_per_image)
                    if features and seen:
                        seen_of[name].append(features(tf.gather(output, seen)))
                    values = graph(batch["target"], output, batch.get("mask"))
                    lists = [values[column].numpy().tolist() for column in columns]
                    lines = [[id, name, *line] for id, *line in zip(ids, *lists, strict=True)]
                    file.write(scores.csv_text(lines))
                    lines_of[name] += lines
                before += len(ids)
                bar.update(len(ids))
    paid = {
        name: dataclasses.replace(
            contender.cost,
            seconds_per_image=median(seconds[name]) if contender.is_timed else None,
            kid=kid(np.concatenate(truth), np.concatenate(seen_of[name])) if truth else None,
        )
        for name, contender in contenders.items()
    }
    return pl.concat(scores.frame(head, lines) for lines in lines_of.values()), paid


def _timed(contender: Contender, batch: pipeline.Batch, is_first: bool) -> tuple[Any, float]:
    """What a contender makes of a batch, and the seconds that it took an image."""
    if is_first and contender.is_timed:
        contender.apply(batch)  # traces the graph
    started = time.perf_counter()
    output = contender.apply(batch)
    seconds = time.perf_counter() - started
    return tf.convert_to_tensor(output), seconds / len(batch["id"])


def _graph(
    size: int, masked: bool, metric_paths: Sequence[str]
) -> tuple[list[str], Callable[..., dict[str, Any]]]:
    """The columns that are computed of images of `size` pixels, those of holes only where they are
    `masked`, and the function that computes them for a batch, (B,) each. It is one graph, which
    computes shared parts once."""
    metrics = {**metrics_at_hand(size), **ARTEFACTS, **users_metrics(metric_paths)}
    chosen = [
        measure
        for measure in MEASURES.values()
        if measure.metric in metrics and (masked or measure.region == "image")
    ]

    @tf.function(reduce_retracing=True)
    def graph(target: Any, output: Any, mask: Any) -> dict[str, Any]:
        regions = {"image": (target, output), "holes": (target, output, mask)}
        return {m.column: metrics[m.metric](*regions[m.region]) for m in chosen}

    return [measure.column for measure in chosen], graph
