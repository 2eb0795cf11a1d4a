"""Which images a report shows, and in which pictures: best, median and worst, pairs, features."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon import images
from tfrecon.config import DataConfig
from tfrecon.data import pipeline
from tfrecon.data.damage import IDENTITY
from tfrecon.data.sample import Sample
from tfrecon.evaluation import pictures
from tfrecon.metrics import METRICS

SHOWN = 4
"""Images in each grid of pictures."""

CHANNELS = 6
"""Channels of each tap in a picture of features."""

Restore = Callable[[pipeline.Batch], Any]


def write_grids(
    folder: Path, samples: Sequence[Sample], config: DataConfig, restore: Restore, what: str,
    scores: dict[str, float],
) -> None:  # fmt: skip
    """best.png, median.png and worst.png by `scores` (id to dB, best first), which `what` names.

    Which images they show is known last, so these few are read again instead of keeping all.
    """
    ids = list(scores)
    middle = max(0, (len(ids) - SHOWN) // 2)
    picked = {
        "best": ids[:SHOWN],
        "median": ids[middle : middle + SHOWN],
        "worst": ids[::-1][:SHOWN],
    }
    inverted = config.damage == IDENTITY
    columns = pictures.INVERTED if inverted else pictures.RESTORED
    for name, chosen in picked.items():
        examples: dict[str, pictures.Example] = {}
        for id, batch, restored in _restored(samples, chosen, config, restore):
            target = batch["target"]
            label = f"{id}   {what} {scores[id]:.2f} dB"
            if inverted:
                label += f", SSIM {float(METRICS['ssim'](target, restored)[0]):.4f}"
                shown = (target[0], restored[0], _error_map(target[0], restored[0]))
            else:
                shown = (batch["input"][0], restored[0], target[0])
            examples[id] = pictures.Example(label, shown)
        title = f"{name} by {what}, of {len(ids)} images"
        grid = pictures.grid(title, columns, [examples[id] for id in chosen])
        images.write(folder / f"{name}.png", grid)


def write_pairs(
    folder: Path, samples: Sequence[Sample], config: DataConfig, restore: Restore, count: int
) -> None:
    """``original_ID.png`` and ``reconstruction_ID.png`` of the first `count` images."""
    chosen = [sample.id for sample in samples[:count]]
    names = file_names(chosen)
    for id, batch, restored in _restored(samples, chosen, config, restore):
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
    samples: Sequence[Sample], ids: Sequence[str], config: DataConfig, restore: Restore
) -> Iterator[tuple[str, pipeline.Batch, Any]]:
    """id, batch of one, restored batch of one."""
    wanted = [sample for sample in samples if sample.id in ids]
    for batch in pipeline.dataset(wanted, config, batch_size=1):
        yield batch["id"].numpy()[0].decode(), batch, restore(batch)


def _error_map(target: Any, restored: Any) -> np.ndarray[Any, Any]:
    error = np.abs(np.asarray(target) - np.asarray(restored)).mean(-1, keepdims=True)
    return np.repeat(np.clip(pictures.ERROR_SCALE * error, 0, 1), 3, -1)
