"""Files that decoders disagree on: the check, training and evaluation see the pixels of one
decoder, or the check ends with a sentence that names the file."""

import io
import struct
import zlib
from pathlib import Path

import fakes
import numpy as np
import pytest
from PIL import Image

from tfrecon.base import images
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import pipeline
from tfrecon.data.check import readable
from tfrecon.data.sample import Sample
from tfrecon.data.store import decode

SIDE = 48
PHOTO = fakes.photo(SIDE, SIDE, seed=0)


def encoded(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, kind, **options)
    return buffer.getvalue()


PNG = encoded("PNG")
JPEG = encoded("JPEG", quality=90)
RESTARTS = encoded("JPEG", quality=90, restart_marker_blocks=2)
PROGRESSIVE = encoded("JPEG", quality=90, progressive=True)


def broken_crc(kind: bytes) -> bytes:
    """PNG with a wrong check sum of the first chunk of a kind."""
    start = PNG.index(kind) - 4
    end = start + 8 + struct.unpack(">I", PNG[start : start + 4])[0]
    return PNG[:end] + bytes(255 - byte for byte in PNG[end : end + 4]) + PNG[end + 4 :]


def with_chunk(kind: bytes, data: bytes, crc: int) -> bytes:
    """PNG with one more chunk before its pixels."""
    start = PNG.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)
    return PNG[:start] + chunk + PNG[start:]


CORPUS = {
    "no end.png": PNG[:-12],
    "no last check sum.png": PNG[:-4],
    "wrong check sum of the end.png": broken_crc(b"IEND"),
    "wrong check sum of pixels.png": broken_crc(b"IDAT"),
    "wrong check sum of the head.png": broken_crc(b"IHDR"),
    "wrong check sum of a text.png": with_chunk(b"tEXt", b"a\0b", 0),
    "unknown chunk.png": with_chunk(b"abCd", b"12", zlib.crc32(b"abCd12")),
    "more behind the end.png": PNG + bytes(500),
    "half.png": PNG[: len(PNG) // 2],
    "progressive.jpg": PROGRESSIVE,
    "half progressive.jpg": PROGRESSIVE[: len(PROGRESSIVE) // 2],
    "restarts.jpg": RESTARTS,
    "restarts in wrong order.jpg": RESTARTS.replace(b"\xff\xd1", b"\xff\xd5"),
    "a restart too few.jpg": RESTARTS.replace(b"\xff\xd2", b"", 1),
    "bytes before the end.jpg": JPEG[:-2] + bytes(245) + JPEG[-2:],
    "bytes behind the end.jpg": JPEG + bytes(500),
    "twice.jpg": JPEG + JPEG,
    "no end.jpg": JPEG[:-2],
    "12 bytes.jpg": JPEG[:12],
}
READ = {
    "no end.png", "more behind the end.png", "unknown chunk.png", "progressive.jpg", "restarts.jpg",
    "bytes before the end.jpg", "bytes behind the end.jpg", "twice.jpg",
}  # fmt: skip
"""Those that every viewer shows."""


def seen(sample: Sample, folder: Path, cache: str, training: bool) -> np.ndarray:
    """The pixels of a target in a batch, uint8."""
    config = DataConfig(
        recipe=Spec("folder"), image_size=SIDE, load_size=SIDE, flip=False, cache=cache,
        cache_dir=str(folder / "cache"), damage=Spec("boxes", {"count": 1, "size": 8}),
    )  # fmt: skip
    batches = pipeline.dataset([sample], config, training=training, batch_size=1)
    return images.to_uint8(next(batches.as_numpy_iterator())["target"][0])


@pytest.mark.parametrize("name", CORPUS)
def test_what_the_check_passes_is_what_training_and_evaluation_see(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(CORPUS[name])
    sample = Sample("a", target=path)
    try:
        readable([sample])
    except UserError as error:
        assert name not in READ and name in str(error) and "cannot be decoded" in str(error)
        return
    with Image.open(path) as picture:
        expected = np.asarray(picture.convert("RGB"))
    (planes,) = decode([(sample, ["target"])])
    np.testing.assert_array_equal(planes["target"], expected)
    for cache, training in (("none", True), ("disk", False), ("memory", True)):
        np.testing.assert_array_equal(seen(sample, tmp_path, cache, training), expected)
    if not path.name.startswith(("restarts in", "a restart", "half")):
        lossy = 20 if path.suffix == ".jpg" else 0
        assert np.abs(expected.astype(int) - PHOTO).max() <= lossy, "whole"
