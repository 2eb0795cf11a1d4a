"""A folder of photos that is restored: how the tests make one, and an export that paints holes."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tfrecon.base.errors import UserError
from tfrecon.inference.folder import restore_files
from tfrecon.inference.restorer import Export

RED = np.array([255, 0, 0], np.uint8)
HOLE = np.zeros((20, 30), bool)
HOLE[4:9, 3:20] = True


class Fake(Export):
    """An export whose model paints holes red, and remembers what it was given."""

    def __init__(self, has_mask: bool = True) -> None:
        given: Any = []
        super().__init__(Path("exports/fake"), has_mask, record={}, runtime=given)

    @property
    def seen(self) -> Any:
        return self.runtime

    def restore(self, x):
        self.seen.append(x)
        if not self.has_mask:
            return x
        mask = x[..., 3:]
        return (x[..., :3] * (1 - mask) + np.array([1, 0, 0], np.float32) * mask).astype(np.float32)


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def table(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("", "filename", "y1", "x1", "y2", "x2"), *rows])
    return path


def profile_of(colours):
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = colours
    return bytes(profile)


def refused(folders, match, **options):
    fake = options.pop("export", None) or Fake(has_mask=False)
    with pytest.raises(UserError, match=match):
        restore_files(fake, folders.photos, options.pop("out", folders.out), **options)
    assert not fake.seen
    assert not folders.out.exists()
