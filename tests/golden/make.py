"""Rewrites metrics.json with scikit-image, which shares no code with this project's metrics.

    python tests/golden/make.py

Review the difference before committing it: a changed value is a changed metric.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from skimage.metrics import (
    mean_squared_error,
    normalized_root_mse,
    peak_signal_noise_ratio,
    structural_similarity,
)

FILE = Path(__file__).with_name("metrics.json")
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs (truth, prediction) of float32 (H,W,3) in [0,1]: the same 72×90 crop, damaged."""
    photo = skimage.data.astronaut()[60:132, 180:270].astype(np.float32) / 255
    random = np.random.default_rng(7)
    noisy = np.clip(photo + random.normal(0, 0.1, photo.shape), 0, 1).astype(np.float32)
    boxed = np.where(mask() > 0, np.float32(0), photo)
    blurred = skimage.filters.gaussian(photo, 2, channel_axis=-1).astype(np.float32)
    grey = np.full_like(photo, 0.5)
    return {
        "noise": (photo, noisy),
        "box": (photo, boxed),
        "blur": (photo, blurred),
        "flat": (grey, grey + np.float32(0.01)),
    }


def mask() -> np.ndarray:
    """(72,90,1) with a hole of 31×26 that touches the left border."""
    hole = np.zeros((72, 90, 1), np.float32)
    hole[20:51, :26] = 1
    return hole


def values(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Every metric of one pair: over the image by scikit-image, over the hole from its maps."""
    truth, prediction = truth.astype(np.float64), prediction.astype(np.float64)
    hole = mask()[..., 0] > 0
    found = {
        **_errors(truth, prediction),
        **{f"hole_{name}": value for name, value in _errors(truth[hole], prediction[hole]).items()},
    }
    for name, window, options in (("ssim", 11, GAUSSIAN), ("ssim_uniform7", 7, {})):
        scored: tuple = structural_similarity(
            truth, prediction, data_range=1, channel_axis=-1, full=True, **options
        )
        mean, similarity = scored
        edge = window // 2
        valid = np.zeros_like(hole)
        valid[edge:-edge, edge:-edge] = True
        found[name] = float(mean)
        found[f"hole_{name}"] = float(similarity[hole & valid].mean())
    return found


def _errors(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    return {
        "mse": float(mean_squared_error(truth, prediction)),
        "nrmse": float(normalized_root_mse(truth, prediction, normalization="euclidean")),
        "mae": float(np.abs(truth - prediction).mean()),
        "psnr": float(peak_signal_noise_ratio(truth, prediction, data_range=1)),
    }


def main() -> None:
    content: dict[str, Any] = {
        "tool": f"scikit-image {skimage.__version__}",
        "command": "python tests/golden/make.py",
        "tolerance": 1e-5,
        "values": {name: values(*pair) for name, pair in cases().items()},
    }
    FILE.write_text(json.dumps(content, indent=2) + "\n")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
