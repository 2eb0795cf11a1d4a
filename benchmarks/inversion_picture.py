"""Draws the README's picture of inversions: two photos, and what runs reconstruct of them.

    TFRECON_WEIGHTS=DIR python -m benchmarks.inversion_picture OUT.jpg LABEL=RUN [LABEL=RUN …]

The photos are those that come with scikit-image, the largest square reduced to 224×224. The PSNR of
each reconstruction stands above its row, in the order of the runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from tfrecon.inference.restorer import restorer
from tfrecon.reports.pictures import grid
from tfrecon.training.run import open_run

SIDE = 224


def square(name: str) -> np.ndarray:
    """The centre of a photo, (SIDE,SIDE,3) float32 in [0,1]."""
    photo = Image.fromarray(getattr(skimage.data, name)())
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    photo = photo.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
    return np.asarray(photo, np.float32) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", metavar="LABEL=RUN")
    arguments = parser.parse_args()
    runs = dict(text.split("=", 1) for text in arguments.runs)
    restorers = [restorer(open_run(path).load_model()) for path in runs.values()]
    rows = []
    for name in ("chelsea", "coffee"):
        original = square(name)
        restored = [restore(original[None])[0] for restore in restorers]
        psnr = [-10 * np.log10(np.mean((image - original) ** 2)) for image in restored]
        label = f"{name}: {', '.join(f'{value:.1f}' for value in psnr)} dB"
        rows.append((label, [original, *restored]))
        print(label, flush=True)
    picture = grid("reconstructed from frozen features", ["original", *runs], rows)
    Image.fromarray(picture).save(arguments.out, quality=90)


if __name__ == "__main__":
    main()
