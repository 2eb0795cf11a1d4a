"""What a recipe returns: the files of one image, by name, without a tensor in sight."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfrecon.base.errors import UserError

Box = tuple[int, int, int, int]
"""(top, left, height, width) in pixels of the file, top-left corner at (0, 0)."""


@dataclass(frozen=True)
class Sample:
    """One image: its id, the damaged file (`input`), the clean file (`target`) and what is damaged.

    Either file may be absent: without `input` the damage is drawn onto the target; without
    `target` there is no truth to score against. `boxes` are the damaged rectangles of `input`.
    `region` restricts the sample to one rectangle of its files (a crop of a larger photo).
    With `resize_input` an input of another size than its target is brought to it; else it is an
    error.
    """

    id: str
    input: Path | None = None
    target: Path | None = None
    boxes: tuple[Box, ...] = ()
    region: Box | None = None
    resize_input: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that must be readable: input, then target."""
        return tuple(path for path in (self.input, self.target) if path is not None)


def split_by_hash(name: str, val: float = 0.1, test: float = 0.1) -> str:
    """``"train"``, ``"val"`` or ``"test"`` for a name, always the same for the same name.

    A hash keeps the split when files are added or listed in another order.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return "test" if place < test else "val" if place < test + val else "train"


def pair_by_stem(
    inputs: Iterable[Path], targets: Iterable[Path], what: str
) -> list[tuple[Path, Path]]:
    """Pairs of files with equal stems (names without ending), sorted by stem.

    Raises UserError naming a file that has no partner or shares its stem with another.
    """
    left, right = by_stem(inputs), by_stem(targets)
    for mine, theirs in ((left, right), (right, left)):
        alone = sorted(mine.keys() - theirs.keys())
        if alone:
            others = sorted({str(path.parent) for path in theirs.values()}) or ["the other folder"]
            raise UserError(
                f"{what}: {str(mine[alone[0]])!r} has no partner of the same stem in "
                f"{others[0]!r} ({len(alone)} unmatched); add the missing file or remove this one"
            )
    return [(left[stem], right[stem]) for stem in sorted(left)]


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Files keyed by stem. Raises UserError naming two files that share one."""
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            raise UserError(
                f"{str(found[path.stem])!r} and {str(path)!r} share the stem {path.stem!r}; "
                "rename one of them"
            )
        found[path.stem] = path
    return found


def check_unique(samples: Sequence[Sample]) -> None:
    """Raises UserError when two samples share an id."""
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise UserError(f"two samples share the id {sample.id!r}; ids must be unique")
        seen.add(sample.id)
