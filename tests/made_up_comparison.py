"""A comparison that was never run: made-up scores of two axes, with all that a page shows."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import polars as pl

from tfrecon.base.config import from_tables
from tfrecon.reports import scores as frames
from tfrecon.reports.comparison import Comparison, Result, Scored, compare
from tfrecon.reports.costs import Cost
from tfrecon.reports.pictures import Picture
from tfrecon.training.run import Run

COLUMNS = ("mse", "psnr", "ssim", "lpips_alex", "colour_shift", "checkerboard")
TAPS = {
    "resnet50 conv2": ("resnet50", "conv2", 256, 4, 0.25),
    "resnet50 conv4": ("resnet50", "conv4", 1024, 16, 0.75),
    "vit_base block3": ("vit_base", "block3", 768, 16, 0.25),
    "vit_base pooled": ("vit_base", "pooled", 768, None, 1.0),
}
DECODERS = ("plain", "residual", "attention")


def frame(method: str, ids: list[str], values: dict) -> pl.DataFrame:
    """The scores of one method: each column's values in the order of `ids`."""
    lines = [
        [id, method, *map(float, line)] for id, *line in zip(ids, *values.values(), strict=True)
    ]
    return frames.frame(["id", "method", *values], lines)


def scores(random: np.random.Generator, quality: float, hardness: np.ndarray) -> dict:
    psnr = 20 + quality - hardness + random.normal(0, 0.25, len(hardness))
    return {
        "mse": 10 ** (-psnr / 10),
        "psnr": psnr,
        "ssim": 1 / (1 + np.exp(-(psnr - 18) / 4)),
        "lpips_alex": 0.6 - psnr / 60,
        "colour_shift": np.abs(random.normal(0.02, 0.01, len(hardness))),
        "checkerboard": random.normal(0, 1.5, len(hardness)),
    }


def made_up(folder: Path, images: int = 40, taps: bool = True, seeds: int = 1) -> Comparison:
    """Twelve results, four taps by three decoders; with `taps` as inversions."""
    random = np.random.default_rng(0)
    hardness = random.normal(0, 2, images)
    results: list[Result] = []
    images_of_all = [f"photo {n}.png" for n in range(images)]
    own_scores: dict[str, dict] = {}
    for t, (tap, (backbone, layer, channels, stride, position)) in enumerate(TAPS.items()):
        for d, decoder in enumerate(DECODERS):
            name = f"{tap}, {decoder}"
            config = from_tables(
                {
                    "model": {"name": "pix2pix", "base_filters": 8 * 2**d},
                    "fit": {"learning_rate": (t + 1) / 10_000, "steps": 4000},
                }
            )
            runs = [
                Run(folder / f"{name}-{seed}", config, {"mask": False}) for seed in range(seeds)
            ]
            runs[0].path.mkdir(parents=True, exist_ok=True)
            own = scores(random, 3 - 1.5 * t + (0, 0.4, 0.45)[d], hardness)
            write_history(runs[0].path, float(own["psnr"].mean()))
            seed_means = [
                {column: float(values.mean()) + 0.01 * seed for column, values in own.items()}
                for seed in range(seeds)
            ]
            facts = {}
            if taps:
                pixels = 256**2 if stride is None else stride**2
                facts = {
                    "taps": [
                        {"backbone": backbone, "tap": layer, "channels": channels,
                         "stride": stride, "position": position}
                    ],
                    "values_per_pixel": channels / pixels,
                }  # fmt: skip
            cost = Cost(
                1_000_000 * (d + 1) ** 2 * (5 - t), 0.004 * (d + 1.5), 12.5 * (d + 1) + 3 * t,
                0.02 + 0.01 * t, int(2.1e9 * (d + 1) * (6 - t)), 1.5 + d,
            )  # fmt: skip
            labels = {"tap": tap, "decoder": decoder}
            own_scores[name] = own
            results.append(Result(name, runs, labels, seed_means, cost, facts))
    results.sort(key=lambda result: -own_scores[result.name]["psnr"].mean())
    own_scores |= {"mean colour": scores(random, -5, hardness), "blur": scores(random, 0, hardness)}
    every = pl.concat(frame(name, images_of_all, own) for name, own in own_scores.items())
    return Comparison(
        every, "psnr", "Which features keep the image?", results, ["mean colour", "blur"],
        {"tap": list(TAPS), "decoder": list(DECODERS)},
        {"vit_base block3, fourier": "training stopped: the loss is not finite at step 812"},
    )  # fmt: skip


DEFENCES = {
    "plain": None,
    "residual": {"kind": "noise", "strength": 0.3},
    "attention": {"kind": "bits", "strength": 4},
}


def defended(comparison: Comparison) -> Comparison:
    """`made_up`, as if its decoders were what is done to features, with a spectrum of each tap."""
    results = []
    for result in comparison.results:
        numbers = [1, 4, 16, result.taps[0]["channels"]]
        spectrum = {
            "effective_rank": numbers[-1] / 8, "numbers": numbers,
            "eigenvalues": [30 / number**1.3 for number in numbers],
        }  # fmt: skip
        more = {"spectrum": spectrum, "defence": DEFENCES[result.labels["decoder"]]}
        results.append(dataclasses.replace(result, facts={**result.facts, **more}))
    return dataclasses.replace(comparison, results=results)


def write_history(folder: Path, last: float) -> None:
    lines = ["epoch,step,learning_rate,loss,val_psnr,val_ssim"]
    for epoch in range(1, 21):
        value = last - 6 * math.exp(-epoch / 5)
        lines.append(f"{epoch},{200 * epoch},0.0002,0.1,{value:.4f},0.5")
    (folder / "history.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def made_up_pictures(comparison: Comparison, leading: int = 2, damaged: bool = False) -> dict:
    rows, columns = np.mgrid[0:48, 0:64]
    original = np.stack([rows / 47, columns / 63, (rows // 8 + columns // 8) % 2], -1)
    blurred = (original + np.roll(original, 3, 0) + np.roll(original, 3, 1)) / 3
    hidden = original * ((rows - 24) ** 2 + (columns - 32) ** 2 > 150)[..., None]
    pictures = [
        Picture(
            which, f"photo {place}.png", f"PSNR {25 - 5 * place:.2f} dB, SSIM 0.8123",
            original, blurred, hidden if damaged else None,
        )
        for place, which in enumerate(("best", "median", "worst"))
    ]  # fmt: skip
    return {result.name: pictures for result in comparison.results[:leading]}


def page_arguments(comparison: Comparison, damaged: bool = False) -> dict:
    """Keyword arguments of `page`."""
    return {
        "sentences": [
            f"{comparison.results[0].name} is best by PSNR.",
            "The decoder matters less than the tap: 0.4 dB against 1.5 dB.",
        ],
        "notes": ["PSNR: decibels for a data range of 1; higher is better."],
        "pictures": made_up_pictures(comparison, damaged=damaged),
        "environment": {"tensorflow": "2.21.0", "processor": "an example processor at 2 GHz"},
    }


BASE = np.random.default_rng(6).normal(25, 3, 40)


def shifted(by, noise=0.05, seed=0):
    return BASE + by + np.random.default_rng(seed).normal(0, noise, len(BASE))


def scored(name, values, column="psnr", facts=None, ids=None, seed=0):
    config = from_tables({"model": "pix2pix", "fit": {"seed": seed}})
    ids = ids or [f"image {i}" for i in range(len(values))]
    own = frame(name, ids, {column: values})
    cost = Cost(5, 0.1, 2.0 + seed, None, 7, 1.0)
    run = Run(Path(name), config, {"mask": False})
    return Scored(run, name, own, cost, facts or {"data": "x"})


def comparison_of(values, column="psnr", **options):
    groups = {name: [scored(name, own, column)] for name, own in values.items()}
    return compare("made up", groups, metric=column, **options)
