"""What a recipe returns for an image: the names of its files. Nothing here needs TensorFlow."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tfrecon.base.errors import UserError
from tfrecon.base.platforms import nfc

Box = tuple[int, int, int, int]
"""(top, left, height, width) in pixels of the file, whose top-left corner is (0, 0)."""

MaskFrom = Literal["alpha", "luminance"]


@dataclass(frozen=True)
class Sample:
    """An image: its id, its damaged file (`input`) and its clean file (`target`).

    Without `input` the damage is drawn onto the target; without `target` there is no truth to score
    against. `boxes` are the damaged rectangles of `input`, or `mask` is an image of what is damaged
    (`tfrecon.data.masks`, which says what `mask_from` is). `region` restricts the sample to a
    rectangle of its files, a crop of a larger photo; `input_region` is that of the input where it
    is another. An input of another size than its target is an error, or with `resize_input` is
    resized to it. `page` is that of its files, counted from 0, and `range` the largest value of
    those of more than 8 bits, where it is not their type's own (`tfrecon.base.depth`);
    `tfrecon.data.check` finds it.
    """

    id: str
    input: Path | None = None
    target: Path | None = None
    boxes: tuple[Box, ...] = ()
    region: Box | None = None
    resize_input: bool = False
    page: int = 0
    range: float | None = field(default=None, compare=False)
    mask: Path | None = None
    mask_from: MaskFrom | None = None
    input_region: Box | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The photos that must be readable: input, then target."""
        return tuple(path for path in (self.input, self.target) if path is not None)

    @property
    def has_mask(self) -> bool:
        """Whether it says what of its input is damaged."""
        return bool(self.boxes or self.mask)

    @property
    def parts(self) -> list[str]:
        """What its files give: ``target``, ``input`` and, where that is known, ``mask``."""
        has = {"target": self.target, "input": self.input, "mask": self.input and self.has_mask}
        return [part for part, there in has.items() if there]


def split_by_hash(name: str, val: float = 0.1, test: float = 0.1) -> str:
    """``"train"``, ``"val"`` or ``"test"``, by a hash of `name`: files that are added or listed in
    another order do not change the split of the others. `val` and `test` are shares of all names.
    """
    digest = hashlib.blake2b(nfc(name).encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return "test" if place < test else "val" if place < test + val else "train"


def pair_by_stem(
    inputs: Iterable[Path], targets: Iterable[Path], what: str
) -> list[tuple[Path, Path]]:
    """Pairs of files with equal stems (names without ending), sorted by stem.

    Raises UserError naming a file that has no partner or shares its stem with another; `what` says
    in it whose files they are.
    """
    input_of, target_of = by_stem(inputs), by_stem(targets)
    for files, partners in ((input_of, target_of), (target_of, input_of)):
        alone = sorted(files.keys() - partners.keys())
        if alone:
            folders = sorted({str(path.parent) for path in partners.values()})
            raise UserError(
                f"{what}: {str(files[alone[0]])!r} has no partner of the same stem in "
                f"{(folders or ['the other folder'])[0]!r} ({len(alone)} unmatched); "
                "add the missing file or remove this one"
            )
    return [(input_of[stem], target_of[stem]) for stem in sorted(input_of)]


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Files by stem, as `nfc` writes it. Raises UserError naming two files with the same one."""
    path_of: dict[str, Path] = {}
    for path in files:
        stem = nfc(path.stem)
        if stem in path_of:
            raise UserError(
                f"{str(path_of[stem])!r} and {str(path)!r} share the stem {stem!r}; "
                "rename one of them"
            )
        path_of[stem] = path
    return path_of


def check_unique(samples: Sequence[Sample]) -> None:
    """Raises UserError when two samples share an id."""
    for name, times in Counter(sample.id for sample in samples).items():
        if times > 1:
            raise UserError(f"two samples share the id {name!r}; ids must be unique")
