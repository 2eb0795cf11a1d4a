"""Made-up photos in the layouts of the recipes, for the tests of every stage after them."""

from __future__ import annotations

import csv
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

BOX = 75
HEIGHT, WIDTH = 168, 176  # two boxes fit, and a swap of height and width shows


def photo(height: int, width: int, seed: int) -> np.ndarray:
    """(H,W,3) uint8: soft colours between 100 and 250, nowhere as dark as a hidden box."""
    coarse = np.random.default_rng(seed).integers(100, 251, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)  # PNG has no quality and ignores it


def animals_contest(
    root: Path,
    count: int = 6,
    classes: tuple[str, ...] = ("Cat", "Dog", "Elephant", "Tiger"),
    test_count: int = 2,
) -> Path:
    """`count` training pairs and `test_count` test photos a class; every third is a PNG."""
    testing: list[tuple] = []
    for number, name in enumerate(classes):
        training: list[tuple] = []
        folder = root / "Training_Data" / name
        for index in range(1, count + 1):
            row = _row(f"{name}-Train ({index})", seed=100 * number + index)
            whole = photo(HEIGHT, WIDTH, seed=100 * number + index)
            save(folder / "Unmasked_Train" / row[0], whole)
            save(folder / "Masked_Train" / row[0], _hide(whole, row))
            training.append(row)
        _table(folder / "Masked_Train", training, header="yxyx" if number % 2 else "xyxy")
        for index in range(test_count):
            seed = 1000 + test_count * number + index
            row = _row(f"{name}-Test ({test_count * number + index})", seed)
            save(root / "Testing_Data" / row[0], _hide(photo(HEIGHT, WIDTH, seed), row))
            testing.append(row)
    _table(root / "Testing_Data", testing[::-1], header="yxyx")  # not the order of the names
    return root


def dirty_documents(root: Path, count: int = 8, test_count: int = 3) -> Path:
    """`count` grey pages, stained and clean, and `test_count` stained ones alone."""
    for number in range(1, count + test_count + 1):
        page = photo(24, 40, seed=number)[..., 0]
        save(root / ("train" if number <= count else "test") / f"{number}.png", page // 2)
        if number <= count:
            save(root / "train_cleaned" / f"{number}.png", page)
    return root


def photo_folder(root: Path, count: int = 8) -> Path:
    """Clean photos of several sizes, half of them in a folder below, with a text file between."""
    for index in range(count):
        folder = root / "below" if index % 2 else root
        name = f"photo_{index}{'.png' if index % 3 else '.jpg'}"
        save(folder / name, photo(80 + 8 * (index % 3), 96, seed=index))
    (root / "notes.txt").write_text("no image")
    return root


def paired_folder(
    root: Path, count: int = 8, damaged: str = "input", clean: str = "target"
) -> Path:
    """Damaged JPEGs and clean PNGs of the same stems in two folders."""
    for index in range(count):
        pixels = photo(80, 96, seed=index)
        save(root / clean / f"photo_{index}.png", pixels)
        save(root / damaged / f"photo_{index}.jpg", pixels // 2)
    return root


def laid_out(root: Path, *places: str, count: int = 8, size: tuple[int, int] = (24, 32)) -> Path:
    """Photos 0 to `count` at each of `places`, ``train/noisy/{}.png``, alike where numbers are."""
    for place in places:
        for index in range(count):
            save(root / place.format(index), photo(*size, seed=index))
    return root


def humanface8000(root: Path, count: int = 40) -> Path:
    """Pairs in the folders of humanface8000; every third damaged face is larger than the clean."""
    for index in range(count):
        pixels = photo(48, 40, seed=index)
        save(root / "landscape Images" / "color" / f"{index:05}.jpg", pixels)
        noise = np.random.default_rng(index).normal(0, 25, pixels.shape)
        damaged = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        if index % 3 == 0:
            damaged = np.asarray(Image.fromarray(damaged).resize((60, 72)))
        save(root / "landscape Images" / "gray" / f"{index:05}.jpg", damaged)
    return root


def bsds500(root: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """Eight small photos over `splits`, and the index file that Windows leaves among them."""
    for index in range(8):
        split = splits[index % len(splits)]
        save(root / split / f"{1000 + index}.jpg", photo(32, 48, seed=index))
        (root / split / "Thumbs.db").write_bytes(b"no image")
    return root


def div2k(root: Path, train: int = 6, test: int = 2) -> Path:
    """`train` and `test` small photos, numbered on from one folder to the other as published."""
    for index in range(1, train + test + 1):
        folder = "DIV2K_train_HR" if index <= train else "DIV2K_valid_HR"
        save(root / folder / f"{index:04}.png", photo(32, 48, seed=index))
    return root


CLASSES = ("n01440764", "n02102040")


def imagenette(root: Path, train: int = 3, val: int = 1) -> Path:
    """`train` and `val` small photos of each of two classes; the hash gives one to validation."""
    for number, name in enumerate(CLASSES):
        for index in range(8, 8 + train + val):
            folder = root / ("train" if index < 8 + train else "val") / name
            save(folder / f"{name}_{index}.JPEG", photo(32, 48, seed=10 * number + index))
    return root


def imagenet_val(root: Path, count: int = 8) -> Path:
    """A flat folder of `count` small photos, of class 12 and 7 in turn by its ground-truth file.

    Numbered from 10: the hash gives photos 11 and 12 to validation and 13 to test.
    """
    for index in range(10, 10 + count):
        save(root / f"ILSVRC2012_val_{index:08}.JPEG", photo(32, 48, seed=index))
    lines = [f"{7 if index % 2 else 12}\n" for index in range(count)]
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(lines))
    return root


def _row(stem: str, seed: int) -> tuple:
    """File name, y1, x1, y2, x2 of boxes that do not meet and whose transposes are not blank."""
    low = np.array([0, 55, 84, 80])
    y1, x1, y2, x2 = (int(value) for value in low + np.random.default_rng(seed).integers(0, 9, 4))
    return f"{stem}{'.jpeg' if seed % 3 else '.png'}", y1, x1, y2, x2


def _hide(pixels: np.ndarray, row: tuple) -> np.ndarray:
    hidden = pixels.copy()
    for top, left in (row[1:3], row[3:5]):
        hidden[top : top + BOX, left : left + BOX] = 0
    return hidden


def _table(folder: Path, rows: list[tuple], header: str) -> None:
    """masked_info.csv; the header's names vary, as in the contest's own tables."""
    names = [f"{axis}{box}" for axis, box in zip(header, "1122", strict=True)]
    with (folder / "masked_info.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "filename", *names])
        writer.writerows([index, *row] for index, row in enumerate(rows))


def deep_colour_png(path: Path, scale: int, seed: int = 0) -> Path:
    """A PNG of 16-bit colours, which Pillow reads and does not write: `photo` from 0 to `scale`."""
    values = np.rint(photo(40, 56, seed) / 255 * scale).astype(">u2")
    values[0, :8] = scale

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 56, 40, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


SMOKE_RECIPE = """
from tfrecon.data.photos import photos
from tfrecon.data.sample import Sample
SPLITS = ("train", "val", "test", "submit")
def samples(root, split):
    *train, val, test = photos(root)
    own = {"train": train, "val": [val], "test": [test], "submit": []}[split]
    told = [Sample(path.name, path, boxes=((1, 2, 8, 8),)) for path in (val, test)]
    return [Sample(path.stem, target=path) for path in own] or told
"""

SMOKE_CONTEST = """
import polars as pl
HEADER = ("id", "value")
def ids(sample):
    return pl.Series([f"{sample.id}_{channel}" for channel in range(3)])
def values(sample, image):
    return image[3, 4]
"""


def smoke_project(folder: Path) -> Path:
    """A user's folder: six photos with masks, a recipe of boxes and the key format of a contest."""
    for kind, text in (("data_pipelines", SMOKE_RECIPE), ("kaggle_submission", SMOKE_CONTEST)):
        (folder / kind).mkdir()
        (folder / kind / "smoke.py").write_text(text)
    for number in range(6):
        save(folder / "photos" / f"{number}.png", photo(40, 32, number))
        save(folder / "masks" / f"{number}.png", photo(40, 32, number) // 200 * 255)
    return folder
