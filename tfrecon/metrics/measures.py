"""What is known of each metric: label, unit, which way is better, how numbers are written, region.

Nothing here computes a score, and nothing here imports TensorFlow.
"""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

HOLE = "hole_"
"""Prefix of the columns whose metric looks at the holes only."""

EMPTY, FAILED = "–", "failed"
"""Stand for a number that is not there, and for the score of an output that is not finite."""

Region = Literal["image", "holes"]


@dataclass(frozen=True)
class Measure:
    """One metric on one region.

    `metric` is its name, `title` its label without unit. `better` tells which values are better:
    more, less, or those nearer to zero. `form` is a Python format specification.
    """

    metric: str
    title: str
    better: Literal["more", "less", "zero"]
    form: str
    unit: str = ""
    region: Region = "image"

    @property
    def column(self) -> str:
        """Its name in files: ``psnr``, ``hole_psnr``."""
        return (HOLE if self.region == "holes" else "") + self.metric

    @property
    def label(self) -> str:
        """Label with unit, without the region: ``PSNR (dB)``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def region_label(self) -> str:
        """Label with region and unit: ``Hole PSNR (dB)``."""
        return ("Hole " if self.region == "holes" else "") + self.label

    @property
    def name(self) -> str:
        """The measure in running text: ``Hole PSNR``."""
        return ("Hole " if self.region == "holes" else "") + self.title

    @property
    def arrow(self) -> str:
        """Which way is better, as tables show it behind the label."""
        return {"more": "↑", "less": "↓", "zero": "→ 0"}[self.better]

    @property
    def head(self) -> str:
        """Head of a column of tables: ``Hole PSNR (dB) ↑``."""
        return f"{self.region_label} {self.arrow}"

    @property
    def can_rank(self) -> bool:
        """Whether of two values one is better, as it is not where zero is best."""
        return self.better != "zero"

    def gain(self, value: float) -> float:
        """A value or a difference of two, turned so that more is better."""
        return value if self.better == "more" else -value

    @property
    def worst(self) -> float:
        """The score of an output that is not finite: infinitely bad."""
        return -math.inf if self.better == "more" else math.inf

    def badness(self, value: float) -> float:
        """A value turned so that less is better: infinite for NaN, the distance where 0 is best."""
        if math.isnan(value):
            return math.inf
        return abs(value) if self.better == "zero" else -self.gain(value)

    def number(self, value: float, signed: bool = False) -> str:
        """The value as tables show it; `EMPTY` for NaN, `FAILED` for what is infinite."""
        if not math.isfinite(value):
            return EMPTY if math.isnan(value) else FAILED
        sign = "+" if signed and not self.form.startswith("+") else ""
        return format(value, sign + self.form).replace("-", "−")

    def interval(self, low: float, high: float, signed: bool = False) -> str:
        """``[20.1, 20.3]``."""
        return f"[{self.number(low, signed)}, {self.number(high, signed)}]"

    def quantity(self, value: float, signed: bool = False) -> str:
        """The value with its unit, for running text."""
        return f"{self.number(value, signed)} {self.unit}".rstrip()


KNOWN = (
    Measure("mse", "MSE", "less", "#.3g"),
    Measure("mse255", "MSE 0–255", "less", ".1f"),
    Measure("nrmse", "NRMSE", "less", "#.3g"),
    Measure("mae", "MAE", "less", "#.3g"),
    Measure("psnr", "PSNR", "more", ".2f", "dB"),
    Measure("ssim", "SSIM 11×11", "more", ".4f"),
    Measure("ssim_uniform7", "SSIM 7×7", "more", ".4f"),
    Measure("lpips_alex", "LPIPS alex", "less", ".4f"),
    Measure("colour_shift", "Colour shift", "less", ".4f"),
    Measure("checkerboard", "Checkers", "zero", "+.2f", "dB"),
    Measure("seam", "Seam", "zero", "+.4f"),
    Measure("certified", "Certified", "more", ".1%"),
    Measure("exact_pixels", "Pixels exact", "more", ".1%"),
    Measure("exact_images", "Photos exact", "more", ".1%"),
)
NOT_ON: dict[Region, tuple[str, ...]] = {
    "image": ("seam",),
    "holes": ("mse255", "checkerboard", "certified", "exact_pixels", "exact_images"),
}
"""The metrics that a region does not have."""


MEASURES = {
    measure.column: measure
    for region, absent in NOT_ON.items()
    for measure in (dataclasses.replace(known, region=region) for known in KNOWN)
    if measure.metric not in absent
}
"""By column, in the order in which tables show them."""

NOTES = {
    ("mse", "nrmse", "mae"): "MSE, NRMSE, MAE: errors of values in [0,1]; lower is better, 0 is a "
    "perfect image. NRMSE is the error's norm over the target's. MSE 0–255: of values up to 255, "
    "65025 times as much.",
    ("psnr",): "PSNR: decibels for a data range of 1; higher is better, equal images count as 100.",
    ("ssim", "ssim_uniform7"): "SSIM 11×11: Gaussian window, σ = 1.5 (Wang et al. 2004). SSIM 7×7: "
    "uniform window, scikit-image's default. Higher is better, 1 is a perfect image.",
    ("lpips_alex",): "LPIPS alex: learned distance on AlexNet (Zhang et al. 2018, version 0.1); "
    "lower is better.",
    ("colour_shift", "checkerboard"): "Colour shift: mean signed error of R, G and B, root mean "
    "square; 0 is best. Checkers: energy of patterns of periods 2 and 4 over the target's; 0 is "
    "best, positive a grid, negative lost detail.",
    (
        "certified",
    ): "Certified: share of pixels whose 8-bit value is certain from the features alone "
    "(`tfrecon.models.certificates`).",
    ("hole_seam",): "Seam: mean step across the borders of holes less the target's; 0 is best, "
    "positive a visible edge.",
}
"""What a reader needs to know of some columns."""

LEADING = ("psnr", "ssim", "lpips_alex")
"""The metrics that matter most."""


def main_column(columns: Iterable[str]) -> str:
    """The column that ranks unless another is asked for: PSNR, of the holes where there are any."""
    return "hole_psnr" if "hole_psnr" in columns else "psnr"


def leading_columns(columns: Iterable[str], first: str) -> list[str]:
    """`first`, the columns of `LEADING` and those of a user's own metrics, on the region of `first`
    and as far as `columns` has them."""
    prefix, columns = HOLE if first.startswith(HOLE) else "", list(columns)
    asked_for = [name for name in columns if "." in name and name.startswith(HOLE) == bool(prefix)]
    wanted = dict.fromkeys([first, *(prefix + metric for metric in LEADING), *asked_for])
    return [column for column in wanted if column in columns]
