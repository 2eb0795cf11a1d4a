"""Your own recipe: coloured circles, which `prepare` draws into the folder that it is given.

A file ``data_pipelines/NAME.py`` in the working folder is the recipe NAME. In `examples`:

    python -m tfrecon.fit --data circles --root /tmp/circles --prepare
    python -m tfrecon.fit --data circles --root /tmp/circles --model residual_unet --steps 200

The first takes seconds, the second about two minutes on two CPU cores.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from tfrecon.base.registry import Spec
from tfrecon.data.recipes import required_root
from tfrecon.data.sample import Sample, split_by_hash

SPLITS = ("train", "val", "test")
DAMAGE = Spec("boxes", {"count": 2, "size": 16})
"""Drawn onto the pictures, as there are no damaged files; `data.damage` takes its place."""


def samples(root: Path | None, split: str, *, dark: bool = True) -> list[Sample]:
    """The pictures of one split, by a hash of their names; without `dark`, the bright ones only."""
    folder = required_root(root, "circles")
    pictures = sorted(folder.glob("circle_*.png" if dark else "circle_bright_*.png"))
    return [
        Sample(path.stem, target=path) for path in pictures if split_by_hash(path.stem) == split
    ]


def prepare(root: Path, count: int = 60, size: int = 96) -> None:
    """Draws `count` pictures: every other on a bright ground, none equal to another."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        shade = (255, 240, 220) if number % 2 else (20, 20, 40)
        picture = Image.new("RGB", (size, size), shade)
        draw = ImageDraw.Draw(picture)
        for place in range(3):
            x, y = (number * 37 + place * 29) % size, (number * 53 + place * 41) % size
            colour = (number * 4 % 256, 255 - place * 80, place * 120)
            draw.circle((x, y), 10 + (number + place * 7) % 20, fill=colour)
        picture.save(root / f"circle_{'bright' if number % 2 else 'dark'}_{number:03}.png")
