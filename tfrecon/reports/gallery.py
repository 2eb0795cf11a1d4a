"""Which images a report shows, and in which pictures: best, median and worst, pairs, features."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import images
from tfrecon.base.config import DataConfig
from tfrecon.data import pipeline
from tfrecon.data.damage import IDENTITY
from tfrecon.data.sample import Sample
from tfrecon.metrics import METRICS
from tfrecon.reports import pictures

SHOWN = 4
"""Images in each grid of pictures."""

CHANNELS = 6
"""Channels of each tap in a picture of features."""

Restore = Callable[[pipeline.Batch], Any]


def write_grids(
    folder: Path, samples: Sequence[Sample], config: DataConfig, methods: Mapping[str, Restore],
    what: str, scores: dict[str, float],
) -> None:  # fmt: skip
    """best.png, median.png and worst.png by the first method's `scores` (id to dB, best first),
    which `what` names. Several methods stand side by side.

    Which images they show is known last, so these few are read again instead of keeping all.
    """
    of_first = f" of {next(iter(methods))}" if len(methods) > 1 else ""
    ids = list(scores)
    middle = max(0, (len(ids) - SHOWN) // 2)
    picked = {
        "best": ids[:SHOWN],
        "median": ids[middle : middle + SHOWN],
        "worst": ids[::-1][:SHOWN],
    }
    inverted = config.damage == IDENTITY
    for name, chosen in picked.items():
        columns: list[str] = []
        examples: dict[str, pictures.Example] = {}
        for id, batch, restored in _restored(samples, chosen, config, [*methods.values()]):
            target = batch["target"]
            label = f"{id}   {what} {scores[id]:.2f} dB"
            if inverted:
                label += f", SSIM {float(METRICS['ssim'](target, restored[0])[0]):.4f}"
            # Columns by their names, in the order in which they are shown.
            shown = {"input": batch["input"][0]} if not inverted else {"original": target[0]}
            if len(methods) > 1:
                shown |= {method: one[0] for method, one in zip(methods, restored, strict=True)}
            else:
                shown["reconstruction" if inverted else "output"] = restored[0][0]
            if not inverted:
                shown["target"] = target[0]
            elif len(methods) == 1:
                shown[pictures.ERROR_MAP] = _error_map(target[0], restored[0][0])
            examples[id] = pictures.Example(label, tuple(shown.values()))
            columns = list(shown)
        title = f"{name} by {what}{of_first}, of {len(ids)} images"
        grid = pictures.grid(title, columns, [examples[id] for id in chosen])
        images.write(folder / f"{name}.png", grid)


def write_pairs(
    folder: Path, samples: Sequence[Sample], config: DataConfig, restore: Restore, count: int
) -> None:
    """``original_ID.png`` and ``reconstruction_ID.png`` of the first `count` images."""
    chosen = [sample.id for sample in samples[:count]]
    names = file_names(chosen)
    for id, batch, (restored,) in _restored(samples, chosen, config, [restore]):
        images.write(folder / f"original_{names[id]}.png", np.asarray(batch["target"][0]))
        images.write(folder / f"reconstruction_{names[id]}.png", np.asarray(restored[0]))


def file_names(ids: Sequence[str]) -> dict[str, str]:
    """A name for files of each of `ids`: without the ending of an image, ``/`` as ``_``, and with a
    number where an earlier one has the same."""
    names: dict[str, str] = {}
    for id in ids:
        suffix = Path(id).suffix
        known = suffix.lower() in images.SUFFIXES
        plain = (id.removesuffix(suffix) if known else id).replace("/", "_")
        candidates = itertools.chain([plain], (f"{plain}-{n}" for n in itertools.count(2)))
        names[id] = next(name for name in candidates if name not in names.values())
    return names


def write_features(
    path: Path, samples: Sequence[Sample], config: DataConfig, tap_maps: Callable[[Any], Any]
) -> None:
    """One row a tap of the first image: its CHANNELS most varied channels, each from black (its
    smallest value) to white (its largest). `tap_maps`: x to names and maps (B,h,w,C)."""
    batch = next(iter(pipeline.dataset(samples[:1], config, batch_size=1)))
    rows: list[pictures.Example] = []
    for name, maps in tap_maps(batch["input"]).items():
        features = np.asarray(maps[0], np.float32)
        order = np.argsort(-features.reshape(-1, features.shape[-1]).std(0), kind="stable")
        shown = order[:CHANNELS]
        low, high = (getattr(features[..., shown], end)((0, 1)) for end in ("min", "max"))
        scaled = (features[..., shown] - low) / np.maximum(high - low, 1e-12)
        height, width, channels = features.shape
        numbers = ", ".join(str(channel) for channel in shown)
        label = f"{name}   {height}x{width}x{channels}, channels {numbers}"
        cells = tuple(np.repeat(scaled[..., n, None], 3, -1) for n in range(len(shown)))
        rows.append(pictures.Example(label, cells))
    title = f"features of {samples[0].id}: of each tap the {CHANNELS} channels that vary most"
    images.write(path, pictures.grid(title, ("",) * CHANNELS, rows))


def _restored(
    samples: Sequence[Sample], ids: Sequence[str], config: DataConfig,
    methods: Sequence[Restore],
) -> Iterator[tuple[str, pipeline.Batch, list[Any]]]:  # fmt: skip
    """id, batch of one, restored batch of one by each method."""
    wanted = [sample for sample in samples if sample.id in ids]
    for batch in pipeline.dataset(wanted, config, batch_size=1):
        yield batch["id"].numpy()[0].decode(), batch, [restore(batch) for restore in methods]


def _error_map(target: Any, restored: Any) -> np.ndarray[Any, Any]:
    error = np.abs(np.asarray(target) - np.asarray(restored)).mean(-1, keepdims=True)
    return np.repeat(np.clip(pictures.ERROR_SCALE * error, 0, 1), 3, -1)
