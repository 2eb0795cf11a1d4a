"""Restores a folder of photos of any size, by an export or a method, into one PNG each."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.data.boxes import read_boxes
from tfrecon.data.check import readable
from tfrecon.data.photos import photos as photos_in
from tfrecon.data.sample import Box, Sample
from tfrecon.data.store import parts_of
from tfrecon.inference.methods import Method
from tfrecon.inference.restorer import Export, restore_tiled, self_ensemble

WHITE = 128
"""A mask image is damaged where a channel has this value or more: JPEG blurs black and white."""

PathLike = str | os.PathLike[str]


def restore_folder(
    restorer: Export | Method,
    input_dir: PathLike,
    output_dir: PathLike,
    *,
    masks: PathLike | None = None,
    tile: int = 512,
    overlap: int = 64,
    ensemble: bool = False,
    skip_unreadable: bool = False,
) -> int:
    """Restores every image of `input_dir` to ``output_dir/<stem>.png``; returns how many.

    Folders inside `input_dir` are left alone.

    Args:
        masks: a table that `read_boxes` reads, or a folder of mask images of the photos' stems and
            sizes, white = damaged. A `restorer` with masks needs it, others refuse it.
        tile: photos with a longer side, in pixels, are restored in tiles that are blended.
        overlap: of the tiles, in pixels.
        ensemble: restores each photo as `self_ensemble` does.
        skip_unreadable: leaves out photos that cannot be read.

    Raises:
        UserError: before the first photo is written, for a missing or empty folder, two photos of
            one stem, a photo without mask or whose mask does not fit, a PNG that would replace an
            input, `ensemble` with an export that is an ensemble, and, listing all, for unreadable
            photos.
    """
    input_dir, output_dir = Path(input_dir), Path(output_dir)
    if not 0 <= overlap < tile:
        raise UserError(f"--overlap must be 0 or more and less than --tile {tile}, not {overlap}")
    if ensemble and restorer.is_ensemble:
        raise UserError(f"{restorer.title} is an ensemble already; leave out --ensemble")
    photos = photos_in(input_dir)
    _check_masks_given(restorer, masks)
    damage = {} if masks is None else _damage(photos, Path(masks), input_dir)
    mask_files = {path: place for path, place in damage.items() if isinstance(place, Path)}
    _check_outputs(photos, mask_files.values(), output_dir)
    boxes = {path: place for path, place in damage.items() if not isinstance(place, Path)}
    samples = [Sample(path.name, path, boxes=boxes.get(path, ())) for path in photos]
    samples = readable(samples, skip_unreadable)
    for sample in samples:
        if path := mask_files.get(sample.files[0]):
            _check_mask(path, sample)
    restore = self_ensemble(restorer.restore) if ensemble else restorer.restore
    for sample in tqdm(samples, "restoring", unit="photo"):
        path = sample.files[0]
        parts = [images.to_float(part) for part in parts_of(sample, sample.parts).values()]
        if path in mask_files:
            parts.append(_read_mask(mask_files[path]))
        restored = restore_tiled(restore, np.concatenate(parts, axis=-1)[None], tile, overlap)[0]
        images.write(output_dir / f"{path.stem}.png", restored)
    return len(samples)


def _check_masks_given(restorer: Export | Method, masks: PathLike | None) -> None:
    if restorer.has_mask and masks is None:
        raise UserError(
            f"{restorer.title} must be told what is damaged; give --masks "
            "masked_info.csv or --masks FOLDER of mask images (white = damaged)"
        )
    if not restorer.has_mask and masks is not None:
        raise UserError(f"{restorer.title} takes no masks; leave out --masks")


def _damage(
    photos: Sequence[Path], masks: Path, input_dir: Path
) -> Mapping[Path, Path | tuple[Box, ...]]:
    """The mask image of each photo, or its boxes in a table."""
    if masks.resolve() == input_dir.resolve():
        raise UserError("--masks is the input folder itself; keep the mask images in their own")
    damage: dict[Path, Path | tuple[Box, ...]]
    if masks.is_dir():
        what = f"mask image of its stem in {str(masks)!r}"
        file_of = {path.stem: path for path in photos_in(masks)}
        damage = {path: file_of[path.stem] for path in photos if path.stem in file_of}
    else:
        what, boxes = f"row in {str(masks)!r}", read_boxes(masks)
        damage = {path: boxes[path.name] for path in photos if path.name in boxes}
    missing = [path for path in photos if path not in damage]
    if missing:
        more = f" (one of {len(missing)} such photos)" if len(missing) > 1 else ""
        raise UserError(f"photo {str(missing[0])!r} has no {what}{more}; add it or move the photo")
    return damage


def _check_outputs(photos: Sequence[Path], mask_files: Iterable[Path], output_dir: Path) -> None:
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"output folder {str(output_dir)!r} is a file; choose another place")
    inputs = {path.resolve() for path in (*photos, *mask_files)}
    for path in photos:
        output = output_dir / f"{path.stem}.png"
        if output.resolve() in inputs:
            raise UserError(
                f"{str(output)!r} is an input and would be replaced; choose another OUTPUT_DIR"
            )


def _check_mask(file: Path, sample: Sample) -> None:
    mask, (height, width) = images.read(file), images.size(sample.files[0])
    if mask.shape[:2] != (height, width):
        raise UserError(
            f"mask {str(file)!r} is {mask.shape[0]}×{mask.shape[1]} and its photo "
            f"{height}×{width} (height × width); they must be equal"
        )
    if 0 < mask.max() < WHITE:
        raise UserError(
            f"mask {str(file)!r} has no value above {mask.max()}; paint damaged pixels white (255)"
        )


def _read_mask(file: Path) -> np.ndarray:
    return (images.read(file).max(axis=-1, keepdims=True) >= WHITE).astype(np.float32)
