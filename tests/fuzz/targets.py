"""Everything that reads bytes of strangers, each as a target: a function that reads a file as
tfrecon does and holds the result to what is promised of it.

For any bytes at all there are two outcomes: such a result, or a UserError of one sentence. Anything
else is a finding: another exception, more time or memory than stated, a file written.
"""

import contextlib
import dataclasses
import io
import os
import signal
import struct
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import numpy as np
import polars as pl
import torch_files

from tfrecon.base import cards, carried, checkpoint, config, images, weights
from tfrecon.base.errors import UserError
from tfrecon.base.platforms import peak_memory_gib
from tfrecon.data import masks, metadata
from tfrecon.data.boxes import read_boxes
from tfrecon.data.sample import Sample
from tfrecon.inference import feature_files
from tfrecon.inference.submission import check_submission

CORPUS = Path(__file__).parent / "corpus"
"""Findings of the past, a folder a target."""

SAMPLE = Sample("a.png", boxes=((0, 0, 2, 2),))
COMPETITION = SimpleNamespace(
    HEADER=("id", "value"), ids=lambda sample: pl.Series([f"{sample.id}_{n}" for n in range(12)])
)


def image(path: Path) -> None:
    """Decoding, the facts of the header alone, and the last page."""
    about, pages = images.facts(path), images.pages(path)
    pixels = images.read(path)
    assert pixels.shape == (about.height, about.width, 3) and pixels.dtype == np.uint8
    assert about.pages == len(pages) and about.bits in (8, 12, 16, 32)
    values = images.decoded(path, pages[-1]).to_float()
    assert values.dtype == np.float32 and values.ndim == 3
    assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1


def photo(path: Path) -> None:
    """A photo with all that its restored PNG keeps, written and read again."""
    kept, out = carried.read(path), path.with_name("out.png")
    assert kept.pixels.ndim == 3 and kept.pixels.shape[-1] == 3
    try:
        kept.write(out, np.zeros(kept.pixels.shape, np.uint8))
        assert images.read(out).shape == kept.pixels.shape
    finally:
        out.unlink(missing_ok=True)


def mask(path: Path) -> None:
    """A mask image, by each of the ways to say what its holes are."""
    sample = Sample("a", input=path)
    for way in (None, "alpha", "luminance"):
        masks._holes.cache_clear()
        with contextlib.suppress(UserError):
            (masked,) = masks.Masks(path, path, way).attached([sample])
            hidden = masks.hidden_in(masked)
            assert hidden.dtype == np.bool_ and hidden.shape == images.size(path)


def boxes(path: Path) -> None:
    """A contest's table of boxes."""
    for name, pair in read_boxes(path).items():
        assert name.isprintable() and "/" not in name and len(pair) == 2
        assert all(isinstance(number, int) and number >= 0 for box in pair for number in box)


def table(path: Path) -> None:
    """A table beside two images."""
    known = {name: path.with_name(name) for name in ("a.png", "b.png")}
    for _, cells in metadata.rows(path):
        row = metadata.understood(cells, PurePosixPath(), known, "line", path.parent)
        assert row is None or {*row.files.values()} <= {*known.values()}


def toml(path: Path) -> None:
    """A configuration file."""
    whole(config.from_tables(config.read_toml(path)))


def settings(path: Path) -> None:
    """The texts of ``--set``, as the system hands them over."""
    texts = path.read_bytes().decode("utf-8", "surrogateescape").split("\0")
    tables = config.parse_set(texts)
    whole(config.from_tables(config.with_settings({"model": "pix2pix"}, tables)))


def run(path: Path) -> None:
    """The configuration of a received run."""
    whole(config.read_json(path))


def card(path: Path) -> None:
    """The card of a received preset."""
    read = cards.read(path.with_suffix(".npz"))
    assert isinstance(read.sha256, str) and all(isinstance(row, dict) for row in read.results)


def whole(read: config.Config) -> None:
    """A configuration is the same after it was written."""
    assert repr(config.from_tables(read.to_dict())) == repr(read)


def submission(path: Path) -> None:
    """A CSV that is checked, and one that it is held against."""
    right = path.with_name("right.csv")
    right.write_bytes(b"id,value\n" + b"".join(b"a.png_%d,0.5\n" % n for n in range(12)))
    try:
        check_submission(right, [SAMPLE], COMPETITION, path)
        assert check_submission(path, [SAMPLE], COMPETITION) == 13
    finally:
        right.unlink()


def npz(path: Path) -> None:
    """A checkpoint, and a file of weights."""
    numbers(path)
    arrays, note = checkpoint.load(path)
    assert isinstance(note, dict) and repr(note) == repr(checkpoint.load_note(path))
    assert all(isinstance(array, np.ndarray) for array in arrays.values())


def numbers(path: Path) -> None:
    """A file of weights."""
    arrays = weights.read(path)
    assert all(array.dtype.kind in "biuf" for array in arrays.values())
    assert all(isinstance(name, str) for name in arrays)


def features(path: Path) -> None:
    """Features that somebody else has computed."""
    found = feature_files.read_features(path, backbone="vgg16", tap="block1_conv1")
    for name in found.maps:
        values, _ = found.values(name), found.size(name)
        assert values.dtype == np.float32 and values.shape[2:] == (64,)
        assert np.isfinite(values).all()


def repaired_png(content: bytes) -> list[bytes]:
    """`content` as it is and, of a PNG, with right checksums."""
    if content[:4] != b"\x89PNG":
        return [content]
    parts, place = [content[:8]], 8
    while place + 8 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        body = content[place + 4 : place + 8 + length]
        parts += [content[place : place + 4], body, struct.pack(">I", zlib.crc32(body))]
        place += 12 + length
    return [content, b"".join(parts)]


def in_zip(content: bytes) -> list[bytes]:
    """`content` as a file, and as the array of a whole one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("note.json.npy", content)
    return [content, buffer.getvalue()]


def pickled(content: bytes) -> list[bytes]:
    """`content` as a file, and as the pickle of a whole one."""
    buffer = torch_files.zipped(io.BytesIO(), content, {"0": bytes(48)})
    return [content, buffer.getvalue()]


def headed(content: bytes) -> list[bytes]:
    """`content` as a file, and as the header of one."""
    return [content, struct.pack("<Q", len(content)) + content + bytes(48)]


@dataclasses.dataclass(frozen=True)
class Target:
    """`read` gets files of this `suffix` and may take so many MiB more than the process has, and so
    many seconds; `forms` are the files that one input stands for."""

    suffix: str
    read: Callable[[Path], None]
    forms: Callable[[bytes], list[bytes]] = lambda content: [content]
    memory_mib: int = 256
    seconds: int = 20


# An image may have 100 million pixels, which lie in memory as bytes and as three floats each.
_LARGE = repaired_png, 3000, 90
TARGETS = {
    "image": Target(".png", image, *_LARGE),
    "photo": Target(".png", photo, *_LARGE),
    "mask": Target(".png", mask, *_LARGE),
    "boxes": Target(".csv", boxes),
    "metadata": Target(".csv", table),
    "metadata_lines": Target(".jsonl", table),
    "toml": Target(".toml", toml),
    "set": Target(".txt", settings),
    "run": Target(".json", run),
    "card": Target(".json", card),
    "submission": Target(".csv", submission),
    "npz": Target(".npz", npz, in_zip),
    "pth": Target(".pth", numbers, pickled),
    "safetensors": Target(".safetensors", numbers, headed),
    "npy": Target(".npy", numbers),
    "features": Target(".npz", features, in_zip),
}


class Hangs(BaseException):
    """An input that takes too long. No reader's ``except Exception`` may end it."""


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises Hangs in the block after so many seconds."""

    def stop(*_: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def finding(name: str, content: bytes, folder: Path) -> str | None:
    """What is wrong with how the target `name` takes `content`, in a line; None for nothing.

    `folder` is empty, and is so again."""
    target = TARGETS[name]
    path = folder / f"input{target.suffix}"
    for form in target.forms(content):
        path.write_bytes(form)
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
        before, wrong = peak_memory_gib(), None
        try:
            with time_limit(target.seconds):
                target.read(path)
        except UserError:
            pass
        except (Exception, Hangs) as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "tfrecon" in frame.filename] or frames
            place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            wrong = f"{type(error).__name__} in {place}: {str(error)[:200]}"
        taken = 1024 * (peak_memory_gib() - before)
        if taken > target.memory_mib:
            wrong = wrong or f"{taken:.0f} MiB of memory"
        path.unlink()
        if left := os.listdir(folder):
            return f"files left behind: {left}"
        if wrong:
            return wrong
    return None
