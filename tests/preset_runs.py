"""Runs that were never trained, of a small model, and the presets that ship made of them."""

import numpy as np

from tfrecon.base import cards, checkpoint, facts
from tfrecon.base.config import from_tables
from tfrecon.inference.presets import write_preset
from tfrecon.models import build_model
from tfrecon.training.run import BEST, Run


def untrained(folder, has_mask, largest=0.1):
    """A run of one step in `folder`, with weights drawn between -`largest` and `largest`."""
    tables = {"model": {"name": "residual_unet", "width": 4}, "data": {"image_size": 32}}
    run = Run(folder, from_tables(tables), {"format": 2, "mask": has_mask, "steps": 1})
    run.save()
    model = build_model(run.config.model, image_size=32, mask=has_mask, seed=0)
    random = np.random.default_rng(3)
    drawn = [
        random.uniform(-largest, largest, tuple(each.shape)) for each in model.inference_variables
    ]
    checkpoint.save(folder / BEST, {"model": [each.astype(np.float32) for each in drawn]}, {})
    return run


def ship(folder, monkeypatch):
    """Lets the two presets that are taken where none is named lie in ``folder/presets``."""
    monkeypatch.setattr(facts, "PACKAGE", folder / "tfrecon")
    for has_mask in (False, True):
        name = cards.default(has_mask)
        write_preset(untrained(folder / "runs" / name, has_mask), folder / "presets" / name)
    return folder / "presets"
