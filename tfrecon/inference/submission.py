"""Writes and checks the CSV of a competition, one image at a time, whatever the competition.

A competition is a module (or any object) with the attributes of `Competition`. Those of the
project are the modules of `kaggle_submission`, named like the recipe of their data. A user's own is
a file ``kaggle_submission/NAME.py`` of the working folder, or any module by its dotted path.
"""

import contextlib
import csv
import dataclasses
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import polars as pl

from tfrecon.base import facts, files
from tfrecon.base.errors import UserError
from tfrecon.base.journal import Journal, stoppable, went_on
from tfrecon.data.sample import Sample, check_unique

Batch = tuple[Sequence[Sample], Iterable[np.ndarray[Any, Any]]]
"""Samples and their restored images, each (H,W,3) in [0,1]."""

Restored = Callable[[Sequence[Sample]], Generator[Batch]]
"""The batches of samples, in their order."""

DECIMALS = 6
"""Rounding to six decimals moves a value by at most 5e-7, a four-thousandth of half an 8-bit step:
no score shows it, all values have one width, and none is written with an exponent."""


class Competition(Protocol):
    """The key format of one competition."""

    @property
    def HEADER(self) -> tuple[str, str]:
        """The names of the two columns: key and value."""
        ...

    def ids(self, sample: Sample) -> pl.Series:
        """The keys of one image as strings, in the order of the file."""
        ...

    def values(self, sample: Sample, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The values of one image (H,W,3) in the order of `ids`."""
        ...


def find(name: str) -> Competition:
    """The competition called `name`, which may be written as in Kaggle's addresses, with hyphens.
    Raises UserError for an unknown or an incomplete one."""
    name = name if "." in name else name.replace("-", "_")
    return facts.module(facts.COMPETITIONS, name, ("HEADER", "ids", "values"))


def write_submission(
    path: str | os.PathLike[str], samples: Sequence[Sample], restored: Restored,
    competition: Competition, identity: str,
) -> int:  # fmt: skip
    """Streams the values of restored images to a CSV; returns its lines.

    The file takes its name only after `check_submission` has read it back; memory does not grow
    with the number of images. What a stopped or killed process has written stays beside it, in
    ``.NAME.unfinished``, and is gone on with after its last whole batch.

    Args:
        restored: the batches of the samples that it is given, in their order.
        identity: a line that differs where values, batches or competition do; what was written
            under another is begun anew.

    Raises UserError, and leaves nothing behind, for a value that is not finite or outside [0,1];
    `files.Taken` where another process writes this file; `Stopped` after a signal.
    """
    path = Path(path)
    try:
        with files.making(path) as workplace:
            rows, journal = workplace / "rows.csv", Journal(workplace / "journal")
            try:
                _write_rows(rows, journal, samples, restored, competition, identity)
                lines = _check(rows, samples, competition, None, name=str(path))
                rows.replace(path)
                journal.remove()
                return lines
            except UserError:
                rows.unlink(missing_ok=True)
                journal.remove()
                raise
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which it was
        raise


def _write_rows(
    rows: Path, journal: Journal, samples: Sequence[Sample],
    restored: Restored, competition: Competition,
    identity: str,
) -> None:  # fmt: skip
    """The lines of all samples; those that `journal` knows of are there already."""
    done = _kept(rows, journal, identity)
    if done is None:
        header = f"{','.join(competition.HEADER)}\n".encode()
        rows.write_bytes(header)
        journal.restart([identity, f"0 {len(header)}"])
        done = 0
    went_on(done, len(samples))
    # Closed here, or the sentence of an error would be printed into its progress bar.
    with (
        stoppable(len(samples)) as stop_if_asked,
        rows.open("ab") as file,
        contextlib.closing(restored(samples[done:])) as batches,
    ):
        for batch, images in batches:
            for sample, image in zip(batch, images, strict=True):
                values = _values(sample, image, competition)
                frame = pl.DataFrame({"id": competition.ids(sample), "value": values})
                text = frame.write_csv(include_header=False, float_precision=DECIMALS)
                file.write(text.encode())
            file.flush()
            done += len(batch)
            journal.add(f"{done} {file.tell()}")
            stop_if_asked(done)


def _kept(rows: Path, journal: Journal, identity: str) -> int | None:
    """How many images an earlier process of this `identity` has written, whose lines alone are left
    in the file; None where it cannot be gone on with."""
    if not rows.is_file() or journal.lines[:1] != [identity]:
        return None
    with contextlib.suppress(ValueError):
        images, size = map(int, journal.lines[-1].split())
        if size <= rows.stat().st_size:
            os.truncate(rows, size)
            return images
    return None


def check_submission(
    path: str | os.PathLike[str], samples: Sequence[Sample], competition: Competition,
    sample_submission: str | os.PathLike[str] | None = None,
) -> int:  # fmt: skip
    """Compares a CSV with what `samples` ask for, one image at a time; returns its lines.

    Header, every id once and in order, values finite and in [0,1]; with `sample_submission` (the
    file that the competition publishes) the ids must equal that file's, line by line, as well.
    Raises UserError naming the first offending line, what it holds and what was expected.
    """
    return _check(Path(path), samples, competition, sample_submission, name=str(path))


def _values(sample: Sample, image: np.ndarray[Any, Any], competition: Competition) -> pl.Series:
    if image.ndim != 3 or image.shape[-1] != 3:
        raise UserError(f"the restored image of {sample.id!r} has shape {image.shape}, not (H,W,3)")
    values = np.asarray(competition.values(sample, image), np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        raise UserError(
            f"the restored image of {sample.id!r} holds {(~finite).sum()} values that are not "
            "finite; the model has diverged, take an earlier checkpoint"
        )
    # A value that rounds into [0,1] is float noise; one farther out breaks the image contract.
    slack = 0.5 * 10**-DECIMALS
    if values.min() < -slack or values.max() > 1 + slack:
        raise UserError(
            f"the restored image of {sample.id!r} has values from {values.min():.6g} to "
            f"{values.max():.6g}; a submission takes 0 to 1"
        )
    return pl.Series(np.clip(values, 0, 1) + 0.0)  # the sum turns -0 into 0


def _check(
    path: Path, samples: Sequence[Sample], competition: Competition,
    sample_submission: str | os.PathLike[str] | None, name: str,
) -> int:  # fmt: skip
    if not samples:
        raise UserError(
            f"{name}: there is no image to write or to check; look for them under --root"
        )
    check_unique(samples)
    first = 2
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_opened(path, competition, name))
        published, other = None, str(sample_submission)
        if sample_submission is not None:
            published = stack.enter_context(_opened(Path(other), competition, other))
        for sample in samples:
            ids = competition.ids(sample)
            lines = list(itertools.islice(file, len(ids)))
            _Part(name, first, sample, ids, lines).raise_first_mistake(competition)
            if published is not None:
                lines = list(itertools.islice(published, len(ids)))
                _Part(other, first, sample, ids, lines).raise_difference(path, name, competition)
            first += len(ids)
        for opened, shown in ((file, name), (published, other)):
            extra = opened.readline(4096) if opened else b""
            if extra:
                raise UserError(
                    f"line {first} of {shown} is {_shown(extra)}; the file should end after line "
                    f"{first - 1} ({len(samples)} images)"
                )
    return first - 1


@dataclasses.dataclass(frozen=True)
class _Part:
    """The lines of one image in the file `name`; `first` is the number of the first of them."""

    name: str
    first: int
    sample: Sample
    ids: pl.Series
    lines: list[bytes]

    def plainly_right(self, value: pl.DataType) -> bool:
        """A fast check of the ids and, where `value` is a type of numbers, that each lies in [0,1].
        False for CSV that is right but unusual, too: then each line is read."""
        schema: dict[str, pl.DataType] = {"id": pl.String(), "value": value}
        try:
            frame = pl.read_csv(b"".join(self.lines), has_header=False, schema=schema)
        except pl.exceptions.PolarsError:
            return False
        values = frame["value"]
        # Polars orders NaN above every number, and an absent value gives null.
        in_range = not value.is_numeric() or values.is_between(0, 1).fill_null(False).all()
        return in_range and frame["id"].equals(self.ids)

    def raise_first_mistake(self, competition: Competition) -> None:
        """Raises UserError for the first line that is wrong; returns when none is."""
        if self.plainly_right(pl.Float64()):
            return
        for offset, wanted in enumerate(self.ids.to_list()):
            if offset == len(self.lines):
                raise UserError(
                    f"{self.name} ends after line {self.first + offset - 1}; line "
                    f"{self.first + offset} with id {wanted!r} was expected"
                )
            line, where = self.lines[offset], f"line {self.first + offset} of {self.name}"
            fields = _fields(line)
            if len(fields) != 2:
                raise UserError(
                    f"{where} is {_shown(line)}; expected two fields, id {wanted!r} and a value"
                )
            if fields[0] != wanted:
                raise UserError(
                    f"{where} has id {fields[0]!r}; expected {wanted!r}"
                    f"{self._reason(offset, fields[0], competition)}"
                )
            if not _in_range(fields[1]):
                raise UserError(
                    f"{where} has the value {fields[1]!r} for id {wanted!r}; expected a number "
                    "from 0 to 1"
                )

    def raise_difference(self, checked: Path, mine: str, competition: Competition) -> None:
        """Raises UserError for the first id of this file that differs from that in `mine`."""
        if self.plainly_right(pl.String()):
            return
        pairs = itertools.zip_longest(self.ids.to_list(), self._slowly_read_ids())
        for offset, (wanted, theirs) in enumerate(pairs):
            if wanted == theirs:
                continue
            there = f"{self.name} has {theirs!r} there"
            if theirs is None:
                there = f"{self.name} ends before it"
            elif _sum_of_ids(checked) == _sum_of_ids(Path(self.name)):
                there += "; both hold the same ids in another order"
            else:
                there += self._reason(offset, theirs, competition)
            raise UserError(f"line {self.first + offset} of {mine} has id {wanted!r}, but {there}")

    def _slowly_read_ids(self) -> list[str]:
        return [(_fields(line) or [""])[0] for line in self.lines]

    def _reason(self, offset: int, theirs: str, competition: Competition) -> str:
        """What is known about an id in a wrong place, as the end of a sentence, or nothing."""
        expected, ids = self.ids.to_list(), self._slowly_read_ids()
        boxes = tuple((left, top, w, h) for top, left, h, w in self.sample.boxes)
        swapped = competition.ids(dataclasses.replace(self.sample, boxes=boxes)).to_list()
        if swapped != expected and set(ids) <= set(swapped):
            return f"; x and y are swapped: {self.name} has the ids of the transposed boxes"
        if theirs not in expected:
            return ""
        place = expected.index(theirs)
        if place < offset:
            return f"; this id repeats line {self.first + place}"
        missing = expected[offset] not in ids[offset:]
        problem = "the expected id is missing" if missing else "the lines are out of order"
        return f"; {problem}, this id belongs to line {self.first + place}"


@contextlib.contextmanager
def _opened(path: Path, competition: Competition, name: str) -> Generator[BinaryIO]:
    """The lines after the header. Raises UserError for a missing file or a wrong header."""
    if not path.is_file():
        raise UserError(f"submission {name!r} does not exist; give an existing CSV file")
    with path.open("rb") as file:
        line = file.readline(4096)
        if _fields(line) != list(competition.HEADER):
            raise UserError(
                f"line 1 of {name} is {_shown(line)}; expected the header "
                f"'{','.join(competition.HEADER)}'"
            )
        yield file


def _fields(line: bytes) -> list[str]:
    text = line.decode("utf-8", errors="replace")
    try:
        return next(csv.reader([text]))
    except (csv.Error, StopIteration):
        return [text]


def _in_range(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1  # false for NaN
    except ValueError:
        return False


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
    return repr(text if len(text) <= 120 else f"{text[:117]}...") if text else "empty"


def _sum_of_ids(path: Path) -> tuple[int, ...] | None:
    """A number that is equal for files with the same ids in any order, None for a broken file."""
    hashes = pl.nth(0).hash().reinterpret(signed=False).sum()
    try:
        lines = pl.scan_csv(path, infer_schema=False).select(hashes, pl.len().alias("lines"))
        return lines.collect(engine="streaming").row(0)
    except pl.exceptions.PolarsError:
        return None
