"""Applies any model, or its export, to photos of any size: padded, or in overlapping tiles."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

from tfrecon.base import files
from tfrecon.base.errors import UserError, foreign, unknown
from tfrecon.base.files import RECORD
from tfrecon.base.images import check_float
from tfrecon.inference.formats import FORMATS, Runtime
from tfrecon.layers.tiling import (
    crop_to,
    map_tiles,
    pad_to_multiple,
    pad_to_size,
    tile_starts,
    tile_weights,
)

if TYPE_CHECKING:
    from tfrecon.models.base import ReconstructionModel

Restore = Callable[[Any], np.ndarray]
"""(B,H,W,3), or (B,H,W,4) with the mask as last channel, to the restored (B,H,W,3) in [0,1]."""


def restorer(model: ReconstructionModel, call: Callable[[Any], Any] | None = None) -> Restore:
    """`model` as a function of NumPy images (or tensors) of any batch, height and width.

    Images are float32 in [0,1]; one graph serves all sizes; `call` is called instead of the model
    where it is given. Raises UserError for what is no model of tfrecon, as it does not say what
    sizes it takes, and ValueError for images of another rank.
    """
    from tfrecon.models.base import ReconstructionModel  # exports are served without Keras

    if not isinstance(model, ReconstructionModel):
        raise UserError(
            f"{model!r} does not say what image sizes it takes; use a Keras model through "
            "tfrecon.models.supervised.wrapped(model, size_multiple=…), a preset through "
            "tfrecon.restore"
        )

    @functools.cache
    def graph(channels: int) -> Any:
        signature = [tf.TensorSpec((None, None, None, channels), tf.float32)]
        return tf.function(
            functools.partial(restore_any_size, model, call=call), input_signature=signature
        )

    def restore(x: Any) -> np.ndarray:
        if len(x.shape) != 4:
            raise ValueError(f"images must be (B,H,W,C), not {tuple(x.shape)}")
        check_float(x=x)
        return graph(int(x.shape[-1]))(tf.convert_to_tensor(x, tf.float32)).numpy()

    return restore


def restore_any_size(
    model: ReconstructionModel, x: tf.Tensor, call: Callable[[Any], Any] | None = None
) -> tf.Tensor:
    """The graph behind `restorer`: (B,H,W,C) of unknown sizes to (B,H,W,3), clipped to [0,1]; what
    is not finite is NaN.

    A model with a `fixed_size` is given tiles of that size, which overlap by a quarter at least;
    others are given the photo padded by reflection to their `smallest_size` and `size_multiple`.
    `call` is called instead of the model where it is given.
    """
    fixed, smallest = model.fixed_size, model.smallest_size
    height, width = tf.shape(x)[1], tf.shape(x)[2]

    def step(images: tf.Tensor) -> tf.Tensor:
        restored = call(images) if call else model(images, training=False)
        return tf.cast(restored, tf.float32)

    if fixed:
        larger = pad_to_size(x, fixed, fixed)
        restored = map_tiles(step, larger, fixed, fixed // 4)
    else:
        restored = step(pad_to_multiple(pad_to_size(x, smallest, smallest), model.size_multiple))
    restored = crop_to(restored, height, width)
    clipped = tf.clip_by_value(restored, 0.0, 1.0)  # which would make white of infinity
    return tf.where(tf.math.is_finite(restored), clipped, float("nan"))


def self_ensemble(restore: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`restore` averaged over the eight flips and quarter turns of the photo, each turned back.

    Lim et al. 2017 (EDSR), section 3.4. The mask turns with its photo; height and width may differ.
    It takes NumPy images and tensors, and eight times as long.
    """

    def mean(x: Any) -> Any:
        total: Any = 0.0
        # Eight ways: each axis mirrored or not, then the axes swapped or not.
        for rows, columns, swap in itertools.product((1, -1), (1, -1), (False, True)):
            turned = x[:, ::rows, ::columns]
            restored = _swapped(restore(_swapped(turned))) if swap else restore(turned)
            total = total + restored[:, ::rows, ::columns]
        return total / 8.0

    return mean


def _swapped(images: Any) -> Any:
    """(B,H,W,C) to (B,W,H,C)."""
    if isinstance(images, np.ndarray):
        return images.swapaxes(1, 2)
    return tf.transpose(images, (0, 2, 1, 3))


def restore_tiled(restore: Restore, x: np.ndarray, tile: int, overlap: int) -> np.ndarray:
    """`restore` in tiles that overlap by `overlap` pixels or more and are blended without seams.

    x: (B,H,W,3|4) in [0,1]. Returns (B,H,W,3). A photo that fits into a tile is restored whole.
    Beside the photos only a row of tiles is in memory; the time grows with the photo's area. Where
    a hole crosses the border of a tile, each tile sees a part of it: make the overlap about as wide
    as the holes. Raises ValueError unless 0 ≤ `overlap` < `tile`.
    """
    bands = restored_bands(restore, lambda place: x[:, *place], x.shape[:3], tile, overlap)
    return np.concatenate(list(bands), axis=1)


def restored_bands(
    restore: Restore, piece: Callable[[tuple[slice, slice]], np.ndarray], shape: tuple[int, ...],
    tile: int, overlap: int, channels: int = 3,
) -> Iterator[np.ndarray]:  # fmt: skip
    """`restore_tiled` of photos of which `piece` gives (B,h,w,C) at rows and columns: each band of
    rows (B,h,W,channels) as soon as it is finished; `shape` is (B,H,W)."""
    if not 0 <= overlap < tile:
        raise ValueError(f"the overlap of tiles must be from 0 to {tile - 1} pixels, not {overlap}")
    batch, height, width = shape
    if max(height, width) <= tile:
        yield restore(piece(np.s_[:height, :width]))
        return
    tall, rows = _axis(height, tile, overlap)
    wide, columns = _axis(width, tile, overlap)
    ends = [*(top for top, _ in rows[1:]), height]
    band = np.zeros((batch, tall, width, channels), np.float32)
    for (top, row_weights), end in zip(rows, ends, strict=True):
        for left, column_weights in columns:
            restored = restore(piece(np.s_[top : top + tall, left : left + wide]))
            weights = row_weights[:, None] * column_weights
            band[:, :, left : left + wide] += weights[..., None] * restored
        yield band[:, : end - top].copy()
        band = np.concatenate((band[:, end - top :], np.zeros_like(band[:, : end - top])), axis=1)


def _axis(size: int, tile: int, overlap: int) -> tuple[int, list[tuple[int, np.ndarray]]]:
    tile = min(tile, size)
    overlap = min(overlap, tile - 1)
    starts = tile_starts(size, tile, overlap)
    weights = tile_weights(starts, size, tile, overlap)
    return tile, list(zip(starts.numpy().tolist(), weights.numpy(), strict=True))


class PhotoRestorer(Protocol):
    """What restores photos of any size: an export, a preset, a method without training."""

    @property
    def title(self) -> str:
        """What error messages call it."""
        ...

    @property
    def identity(self) -> str:
        """A text that differs where its answers may."""
        ...

    @property
    def has_mask(self) -> bool:
        """Whether it must be told what is damaged."""
        ...

    @property
    def is_ensemble(self) -> bool:
        """Whether it is the mean over eight flips and turns already."""
        ...

    def restore(self, x: Any, /) -> np.ndarray:
        """`Restore`."""
        ...


@dataclass(frozen=True)
class Loaded:
    """A `PhotoRestorer` that is a function in this process."""

    title: str
    identity: str
    has_mask: bool
    restore: Restore
    is_ensemble: bool = False


@dataclass(frozen=True)
class Export:
    """A loaded export: its folder, whether it takes masks, its record (`RECORD`), what runs it."""

    path: Path
    has_mask: bool
    record: dict[str, Any]
    runtime: Runtime

    @property
    def title(self) -> str:
        """What error messages call it."""
        return f"the model of {str(self.path)!r}"

    @property
    def identity(self) -> str:
        """A hash of all its files."""
        found = (path for path in sorted(self.path.rglob("*")) if path.is_file())
        contents = [(path.relative_to(self.path).as_posix(), files.digest(path)) for path in found]
        return hashlib.blake2b(repr(contents).encode(), digest_size=16).hexdigest()

    @property
    def is_ensemble(self) -> bool:
        """Whether it is the mean over eight flips and turns already."""
        return "ensemble" in self.record

    def restore(self, x: Any) -> np.ndarray:
        """What `restorer` gives for the model, by the signature ``restore``."""
        return self._call("restore", *self._parts(x))

    def sample(self, x: Any, seed: int) -> np.ndarray:
        """As `restore`, by the signature ``sample`` of a model that makes several answers."""
        return self._call("sample", *self._parts(x), seed=np.int32(seed))

    def serve(self, image: Any, mask: Any = None) -> np.ndarray:
        """The signature ``serve``: all uint8, (B,H,W,3), and mask (B,H,W,1) nonzero = damaged."""
        if tf.as_dtype(image.dtype).is_floating:  # all of it would be black
            raise UserError("serve takes uint8 images; convert floats with tfrecon.images.to_uint8")
        return self._call("serve", image, mask, dtype=np.uint8)

    def _parts(self, x: Any) -> tuple[Any, Any]:
        return x[..., :3], x[..., 3:]

    def _call(
        self, name: str, image: Any, mask: Any, dtype: Any = np.float32, **others: Any
    ) -> np.ndarray:
        if dtype == np.float32:
            check_float(image=image)
        inputs = {"image": image, "mask": mask} if self.has_mask else {"image": image}
        arrays = {key: np.asarray(value, dtype) for key, value in inputs.items()}
        return self.runtime.call(name, arrays | others)


def open_export(path: str | os.PathLike[str], trusted: bool = False) -> Export:
    """Loads an export of any of `FORMATS`; the classes and files of its model are not needed.

    Raises UserError for a folder that is missing, is no export of this project, or is damaged, for
    a format whose package is missing, and unless it is `trusted` for a graph that could do more
    than compute (`graph_scan`).
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(
            f"export {str(path)!r} does not exist; make it with python -m tfrecon.export"
        )
    if not (path / RECORD).is_file():
        raise UserError(
            f"{str(path)!r} is no export (it has no {RECORD}); "
            "make one with python -m tfrecon.export checkpoints/NAME"
        )
    with foreign("export", path, "export it again", "cannot be read"):
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        has_mask = bool(record["has_mask"])
        kind = record.get("format", "savedmodel")
        if kind not in FORMATS:
            raise unknown("format", kind, FORMATS)
        FORMATS[kind].check()
        runtime = FORMATS[kind].load(path, trusted)
    return Export(path, has_mask, record, runtime)
