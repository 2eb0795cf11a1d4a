"""Files of features: what one tap of a frozen network says of images, whoever computed it.

One format in two containers, ``.npz`` and ``.safetensors``: for each image an array (h,w,C), called
as the photo, and ``note.json``, a text as bytes (uint8), with ``backbone``, ``tap``, ``weights``,
``fingerprint`` (of weights and preprocessing) and ``sizes``, the [height, width] of each image.
Features of 8 bits come with the arrays ``scale`` and ``zero``: value = scale · (q - zero).

Files of other programs may lack the note, hold (C,h,w), batches (N,h,w,C) and one scale for all
channels, or be the ``.npy`` of one array or the ``.pth`` of several.
"""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
import tensorflow as tf

from tfrecon.backbones import BACKBONES, DEFAULT, check_taps
from tfrecon.base import checkpoint, files, images, platforms
from tfrecon.base.bars import tqdm
from tfrecon.base.errors import UserError, fitting, foreign
from tfrecon.base.registry import Positive, check_type
from tfrecon.base.spread import Each, Opened, Work, here
from tfrecon.base.weights import read
from tfrecon.data.check import readable
from tfrecon.data.photos import print_once
from tfrecon.data.sample import Sample
from tfrecon.inference.places import photos_of
from tfrecon.models.frozen_features import Extractor

Array = np.ndarray[Any, Any]
Layout = Literal["NHWC", "NCHW"]
DTypes = Literal["float32", "float16", "uint8"]

WHAT, REMEDY = "features file", "write it again"
SCALE, ZERO = "scale", "zero"
_NOTE = {"backbone": str, "tap": str, "weights": str, "fingerprint": str, "sizes": dict}


def model_options(
    backbone: str, tap: str, weights: str | None, size: int | None = None
) -> dict[str, Any]:
    """The options of a model that sees one tap of images of `size` pixels; the weights ``"none"``
    are random ones. Raises UserError as `check_taps`."""
    weights = None if weights == "none" else weights
    stride = check_taps(backbone, [tap], weights).taps[tap].stride
    return {
        "backbone": backbone, "taps": [tap], "weights": weights,
        "image_size": size or (224 if stride else 256),
    }  # fmt: skip


def write_features(
    source: Path, output: Path, *, backbone: str, tap: str, weights: str = DEFAULT,
    dtype: DTypes = "float32", size: int | None = None, recursive: bool = False,
    each: Each = here,
) -> int:  # fmt: skip
    """Writes the tap's values for the photo `source`, or the photos of the folder, into the file
    `output`; returns how many. `each` says where photos are read and looked at.

    A photo is cut at its right and lower edge to sides that the tap divides; with `size` it is the
    square in its middle, brought to so many pixels a side. Raises UserError for unknown names,
    photos that cannot be read or are too small, and values that `dtype` cannot hold.
    """
    if output.suffix not in (".npz", ".safetensors"):
        raise UserError(f"-o {str(output)!r} must end with .npz or .safetensors")
    options = model_options(backbone, tap, weights, size)
    everywhere = Opened(functools.partial(Extractor, {**options, "sources": None, "seed": 0}))
    network, samples = everywhere.value, photos_of(source, [output], recursive)
    samples = readable(samples, each=each)
    maps: dict[str, Array] = {}
    sizes: dict[str, list[int]] = {}
    with fitting("write fewer photos into a file, or smaller ones by --size"):
        bar = tqdm(samples, "reading photos", len(samples), unit="photo", leave=False)
        seen = each(functools.partial(_looking, everywhere, size, dtype), samples)
        for sample, (features, sides) in zip(bar, seen, strict=True):
            maps[sample.id], sizes[sample.id] = features, sides
        arrays = _quantised(maps) if dtype == "uint8" else maps
    named = network.sources[0].weights or "none"
    note = {
        "backbone": backbone, "tap": tap, "fingerprint": network.fingerprint, "sizes": sizes,
        "weights": named if named in BACKBONES[backbone].weights else Path(named).name,
    }  # fmt: skip
    if output.suffix == ".npz":
        checkpoint.write(output, arrays, note)
    else:
        from safetensors.numpy import save_file

        told = np.frombuffer(json.dumps(note).encode(), np.uint8)
        with files.replacing(output) as temporary:
            whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            save_file({**whole, checkpoint.NOTE: told}, temporary)
    return len(samples)


def _looking(
    network: Opened[Extractor], size: int | None, dtype: DTypes
) -> Work[Sample, tuple[Array, list[int]]]:
    """Gives of a photo the values (h,w,C) of the one tap, and its height and width."""
    look = tf.function(lambda x: tf.nest.flatten(network.value.maps(x))[0], reduce_retracing=True)

    def of(sample: Sample) -> tuple[Array, list[int]]:
        pixels = cut(sample, network.value, size)
        features = look(images.to_float(pixels)[None])[0].numpy().astype(np.float32)
        values = features.astype(np.float16) if dtype == "float16" else features
        if not np.isfinite(values).all():
            raise UserError(
                f"the features of {sample.id!r} reach {np.abs(features).max():.3g}, more than "
                f"{dtype} holds; write them with --dtype float32"
            )
        return values, [*pixels.shape[:2]]

    return functools.partial(map, of)


def cut(sample: Sample, network: Extractor, size: int | None) -> Array:
    """The (H,W,3) uint8 of a photo that the network is shown: see `write_features`."""
    pixels = images.read(sample.files[0], sample.page, sample.range)
    height, width = pixels.shape[:2]
    if size := size or network.fixed_size:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return images.resized(pixels[top : top + side, left : left + side], size, size)
    multiple = network.size_multiple
    least = -(-network.smallest_size // multiple) * multiple
    if min(height, width) < least:
        raise UserError(
            f"photo {sample.id!r} has {height}×{width} pixels, and {network.sources[0].backbone} "
            f"needs {least} a side; enlarge it by --size"
        )
    return pixels[: height // multiple * multiple, : width // multiple * multiple]


def _quantised(maps: dict[str, Array]) -> dict[str, Array]:
    """The maps in 8 bits, with a scale for each channel, by which 0 stays 0."""
    low = np.minimum(np.min([m.min((0, 1)) for m in maps.values()], 0), 0)
    high = np.maximum(np.max([m.max((0, 1)) for m in maps.values()], 0), 0)
    scale = np.where(high > low, (high - low) / 255, 1).astype(np.float32)
    zero = np.rint(-low / scale).astype(np.float32)
    packed = {
        name: np.clip(np.rint(m / scale + zero), 0, 255).astype(np.uint8)
        for name, m in maps.items()
    }
    return {**packed, SCALE: scale, ZERO: zero}


@dataclass(frozen=True)
class FeatureFile:
    """What a file of features holds: arrays (h,w,C) by name as they are stored, of the `tap` of a
    `backbone`, what its `note` says (nothing in those of other programs), and what whole numbers
    stand for."""

    path: Path
    backbone: str
    tap: str
    maps: dict[str, Array]
    note: dict[str, Any]
    scale: Any = None
    zero: Any = 0.0

    def values(self, name: str) -> Array:
        """The features of an image, (h,w,C) float32. Raises UserError for whole numbers without a
        scale, and for values that are not finite."""
        stored = self.maps[name]
        values = stored.astype(np.float32)
        if stored.dtype.kind in "iub":
            if self.scale is None:
                raise UserError(
                    f"{name!r} of {str(self.path)!r} holds whole numbers ({stored.dtype}) without "
                    "a scale; put an array 'scale' (and 'zero') beside it, or give --scale and "
                    "--zero: value = scale · (q - zero)"
                )
            with foreign(WHAT, self.path, REMEDY, "has a scale that does not fit"):
                scale, zero = (np.broadcast_to(p, stored.shape) for p in (self.scale, self.zero))
                values = np.asarray(scale * (values - zero), np.float32)
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            row, column, channel = wrong[0]
            raise UserError(
                f"{len(wrong):,} values of {name!r} in {str(self.path)!r} are not finite, the "
                f"first at row {row}, column {column}, channel {channel}; compute them again, in "
                "float32 where half precision has overflowed"
            )
        return values

    def rounding(self, name: str) -> Array:
        """The most that rounding did to each channel, (C,): of whole numbers, and of floats all of
        which half precision or bfloat16 holds."""
        stored = self.maps[name]
        if stored.dtype.kind in "iub":
            return np.broadcast_to(np.abs(self.scale), stored.shape)[0, 0] / 2
        largest = np.abs(stored).max((0, 1)).astype(np.float32)
        with np.errstate(over="ignore"):
            kinds = [
                k for k in (ml_dtypes.bfloat16, np.float16) if (stored == stored.astype(k)).all()
            ]
        halves = {ml_dtypes.bfloat16: 2.0**-8, np.float16: 2.0**-11}  # of a step at 1
        return largest * np.float32(halves[kinds[0]] if kinds else 0.0)

    def size(self, name: str) -> tuple[int, int] | None:
        """(height, width) of an image, where the note tells."""
        size = self.note.get("sizes", {}).get(name)
        if size is not None:
            check_type(f"{str(self.path)!r}: sizes of {name!r}", size, list[Positive])
        return tuple(size) if size and len(size) == 2 else None


def read_features(
    path: Path, *, backbone: str | None = None, tap: str | None = None,
    layout: Layout | None = None, scale: float | None = None, zero: float | None = None,
) -> FeatureFile:  # fmt: skip
    """The features in a file; `backbone` and `tap` may be left out where its note names them.

    Without a `layout` the axis with as many values as the tap has channels tells it. `scale` and
    `zero` take the place of those in the file. Raises UserError for a file that cannot be read or
    does not fit into memory, another backbone or tap than its note says, arrays of a shape that
    the tap does not have, and values that mean nothing.
    """
    needed, memory = path.stat().st_size if path.is_file() else 0, platforms.memory_bytes()
    if needed > memory / 2:
        raise UserError(
            f"{WHAT} {str(path)!r} needs {needed / 2**30:.1f} GiB, more than half of the "
            f"{memory / 2**30:.1f} GiB of this machine; split it into several"
        )
    arrays = read(path, WHAT, REMEDY)
    note: dict[str, Any] = {}
    if checkpoint.NOTE in arrays:
        with foreign(WHAT, path, REMEDY):
            note = json.loads(arrays.pop(checkpoint.NOTE).tobytes())
            for key, hint in _NOTE.items():
                check_type(f"{str(path)!r}: {key}", note[key], hint)
    for key, given in (("backbone", backbone), ("tap", tap)):
        if given is None and key not in note:
            raise UserError(f"{WHAT} {str(path)!r} does not say its {key}; give it with --{key}")
        if given not in (None, note.get(key, given)):
            raise UserError(
                f"{WHAT} {str(path)!r} holds features of {note['backbone']} {note['tap']}, not of "
                f"{key} {given!r}; leave --{key} out"
            )
    backbone, tap = note.get("backbone", backbone), note.get("tap", tap)
    check_taps(str(backbone), [str(tap)], None)
    found = FeatureFile(
        path, str(backbone), str(tap), {}, note,
        arrays.pop(SCALE, None) if scale is None else scale,
        arrays.pop(ZERO, 0.0) if zero is None else zero,
    )  # fmt: skip
    for name, array in arrays.items():
        if array.ndim in (3, 4):
            found.maps.update(_laid_out(found, name, array, "NHWC" if note else layout))
    if not found.maps:
        raise UserError(
            f"{WHAT} {str(path)!r} holds no array of three axes, (h,w,C), or four, (N,h,w,C)"
        )
    for name in found.maps:  # before anything is fitted
        found.values(name)
    return found


def _laid_out(
    found: FeatureFile, name: str, array: Array, layout: Layout | None
) -> Iterator[tuple[str, Array]]:
    """The images of an array by name, each (h,w,C)."""
    taps = BACKBONES[found.backbone].taps
    channels, shape = taps[found.tap].channels, array.shape[-3:]
    fits = [each for each, axis in (("NHWC", 2), ("NCHW", 0)) if shape[axis] == channels]
    chosen = [each for each in fits if layout in (None, each)]
    what = f"{name!r} of {str(found.path)!r} has the shape {array.shape}"
    if not chosen or 0 in array.shape:
        others = [t for t, place in taps.items() if {shape[0], shape[2]} & {place.channels}]
        of = f" (those of {', '.join(others)} would fit)" if others and not fits else ""
        hint = f"leave out --layout {layout}" if fits else "give another --tap"
        raise UserError(
            f"{what}, and {found.backbone} {found.tap} has {channels} channels{of}; {hint}, or "
            "compute the features again"
        )
    if len(chosen) > 1:
        raise UserError(
            f"{what}, in which both ends may be the {channels} channels; say which with --layout "
            "NHWC or --layout NCHW (as torch has it)"
        )
    if chosen == ["NCHW"]:
        if layout is None:
            print_once(f"{str(found.path)!r} has the channels first: taken as --layout NCHW")
        array = np.moveaxis(array, -3, -1)
    batch = array if array.ndim == 4 else array[None]
    for number, image in enumerate(batch, 1):
        yield name if len(batch) == 1 else f"{name}-{number}", image
