"""What an evaluation's numbers depend on beside the runs: images, code, machine."""

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrecon.backbones import BACKBONES
from tfrecon.base import checkpoint, files
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.system import machine, revision
from tfrecon.data.sample import Sample
from tfrecon.data.store import content_fingerprint
from tfrecon.training.run import STATE, Run

FILE = "evaluation.json"

DECIDING = ("data", "image_size", "val_size", "damage", "resize", "split")
"""The facts of an evaluation on which it depends which pixels are compared."""

SETTINGS = ("recipe", "root", "range", "damage", "image_size", "val_size", "resize")
"""The settings of [data] on which it depends which pixels a run is tested on."""


def image_settings(config: DataConfig) -> dict[str, Any]:
    """`SETTINGS` of a configuration, with defaults that depend on other settings filled in."""
    settings = {name: vars(config)[name] for name in SETTINGS}
    return {**settings, "val_size": config.val_size or config.image_size}


def check_same_images(
    what: str, settings: Sequence[tuple[str, Mapping[str, Any]]], remedy: str,
    names: Sequence[str] = DECIDING,
) -> None:  # fmt: skip
    """Raises UserError where the first of the `settings` differs from another in one of `names`, as
    then the scores are of different images.

    `settings` holds pairs: the name of a run or cell (`what` it is), and its `image_settings` or
    the facts of its evaluation. `remedy` ends the sentence."""
    (first, expected), *others = settings
    for other, values in others:
        for name in names:
            if values.get(name) != expected.get(name):
                raise UserError(
                    f"{what} {first!r} and {what} {other!r} are scored on images that differ in "
                    f"{name}: {expected.get(name)!r} and {values.get(name)!r}; {remedy}"
                )


def facts(
    split: str, config: DataConfig, samples: Sequence[Sample], options: Mapping[str, Any] | None,
    baselines: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """JSON-ready: data with a hash over ids and file contents, git revision, versions, time, and
    the rows of the table that need no training."""
    return {
        "recipe": config.recipe.to_dict(),
        "split": split,
        "images": len(samples),
        "data": content_fingerprint(samples),
        "image_size": config.image_size,
        "val_size": config.val_size or config.image_size,
        "damage": config.damage.to_dict() if config.damage else None,
        "resize": config.resize,
        "options": dict(options or {}),
        "baselines": list(baselines),
        "code": revision(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def unlike_recorded(run: Run, about: Mapping[str, Any]) -> str | None:
    """What sets images, of which `facts` says what it does, apart from those that the run has
    recorded of the split when it was trained; "" where nothing does. None where it has no record of
    such images: of another recipe, of a split with photos of ``data.extra``, or of an older run."""
    split, data = about["split"], run.config.data
    then = (run.facts.get("data") or {}).get(split)
    of_others = split == "train" and data.extra
    if then is None or of_others or about["recipe"] != data.recipe.to_dict():
        return None
    if then == about["data"]:
        return ""
    count, now = run.facts[f"{split}_images"], about["images"]
    if count != now:
        return f"{count} then, {now} now"
    return "as many, of other contents, names or order"


def run_facts(run: Run, model: Any) -> dict[str, Any]:
    """Of one run: whether its training had ended and, for an inversion, its taps, how many feature
    values it keeps of each pixel (three would be as many as the image has), what is done to them,
    and their spectrum where the run has recorded one."""
    about: dict[str, Any] = {"trained": is_trained(run)}
    if model.extractor is None:
        return about
    taps: list[dict[str, Any]] = []
    for source in model.extractor.sources:
        known = BACKBONES[source.backbone].taps
        for name in source.taps:
            depth = list(known).index(name) / max(1, len(known) - 1)
            taps.append({
                "backbone": source.backbone, "tap": name, "channels": known[name].channels,
                "stride": known[name].stride, "position": round(depth, 4),
            })  # fmt: skip
    size = run.config.data.image_size
    kept = sum(tap["channels"] / (tap["stride"] or size) ** 2 for tap in taps)
    about |= {"taps": taps, "values_per_pixel": kept, "spectrum": run.facts.get("spectrum")}
    return {**about, "defence": model.defence and dataclasses.asdict(model.defence.defence)}


def is_trained(run: Run) -> bool:
    """Whether the run's training has come to its end, so that its weights are its last."""
    try:
        note = checkpoint.load_note(run.path / STATE)
    except UserError:  # none, or a damaged one, which scoring does without
        return False
    return bool(note["stopped"]) or note["step"] >= run.facts["steps"]


def write(folder: Path, common: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes ``evaluation.json``: what is common, and under ``runs`` the facts by row."""
    with files.replacing(folder / FILE) as temporary:
        temporary.write_text(
            json.dumps({**common, "runs": runs}, indent=2) + "\n", encoding="utf-8"
        )
