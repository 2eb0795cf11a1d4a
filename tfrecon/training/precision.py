"""Arithmetic precision: float32, or bfloat16 inside with float32 weights, outputs and losses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tensorflow as tf

from tfrecon.base.config import FitConfig

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""Keras's dtype policy for each precision."""


def resolve(fit: FitConfig) -> FitConfig:
    """`fit` with ``precision = "auto"`` replaced by what this machine computes fast."""
    if fit.precision != "auto":
        return fit
    return dataclasses.replace(fit, precision="bfloat16" if has_bfloat16() else "float32")


def has_bfloat16() -> bool:
    """Whether the accelerator, or else the processor, has bfloat16 arithmetic of its own."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return all(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
