"""Draws the README's picture of the atlas, that of the report of a finished study, on white.

TFRECON_WEIGHTS=DIR python -m benchmarks.atlas_picture STUDY.toml OUT.webp --root DIR
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image

from tfrecon.base.files import RUNS
from tfrecon.reports import atlas, svg
from tfrecon.reports.evaluation import data_config
from tfrecon.reports.pictures import tap_strip
from tfrecon.studies.matrix import read_study
from tfrecon.studies.study_report import collect

DPI = 180
"""Of a picture twice as wide as a README shows it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--root", required=True)
    arguments = parser.parse_args()
    study = read_study(arguments.study, {"data": {"root": arguments.root}})
    comparison = collect(study, RUNS / study.name, {})
    results = [*atlas.best_of_taps(comparison).values()]
    config = data_config(results[0].runs[0], None, arguments.root)
    strip = tap_strip(comparison, results, config, "test")
    plan = atlas.planned(comparison, strip, "bicubic")
    print(plan.pop("title"))
    file = io.BytesIO()
    svg.save(file, **plan, format="png", dpi=DPI, facecolor="white")
    Image.open(file).convert("RGB").save(arguments.out, quality=70, method=6)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
