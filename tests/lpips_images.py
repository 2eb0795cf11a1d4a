"""Image pairs made from a seed, and fake weight packs, for the tests of LPIPS and its parity."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIZES = ((64, 64), (65, 65), (96, 96), (224, 224), (71, 98))
KINDS = ("noise", "shapes", "shifted")


def pair(kind: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction, (H,W,3) float32 in [0,1]; NumPy and arithmetic only."""
    random = np.random.default_rng([KINDS.index(kind), height, width])
    if kind == "noise":
        return random.random((height, width, 3), np.float32), random.random(
            (height, width, 3), np.float32
        )
    y, x = np.mgrid[:height, :width].astype(np.float64)
    truth = np.empty((height, width, 3))
    for channel in range(3):  # waves, an edge and a disc: smooth parts, lines and a flat part
        slope, phase = random.uniform(-0.3, 0.3, 2), random.uniform(0, 6)
        truth[..., channel] = 0.5 + 0.3 * np.sin(slope[0] * y + slope[1] * x + phase)
    truth[y > 0.7 * height + 0.2 * x] *= 0.4
    truth[np.hypot(y - height / 3, x - width / 3) < height / 5] = random.uniform(0, 1, 3)
    if kind == "shapes":
        prediction = truth + random.normal(0, 0.1, truth.shape)
    else:
        prediction = 0.9 * np.roll(truth, (2, 3), (0, 1)) + 0.05
    return truth.astype(np.float32), np.clip(prediction, 0, 1).astype(np.float32)


ALEXNET = {
    "conv1": (11, 11, 3, 64), "conv2": (5, 5, 64, 192), "conv3": (3, 3, 192, 384),
    "conv4": (3, 3, 384, 256), "conv5": (3, 3, 256, 256),
}  # fmt: skip


def write_fake_packs(folder: Path) -> list[np.ndarray]:
    """Random AlexNet and LPIPS heads in the layout of the packs. Returns the heads."""
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for name, shape in ALEXNET.items():
        scale = np.sqrt(2 / np.prod(shape[:3]))
        arrays[f"{name}/kernel"] = scale * random.standard_normal(shape, np.float32)
        arrays[f"{name}/bias"] = 0.1 * random.standard_normal(shape[3], np.float32)
    np.savez(folder / "alexnet_features.npz", **{k: np.float32(v) for k, v in arrays.items()})
    heads = [random.random(shape[3], np.float32) for shape in ALEXNET.values()]
    np.savez(folder / "lpips_linear_alex.npz", **{f"lin{i}": h for i, h in enumerate(heads)})
    return heads
