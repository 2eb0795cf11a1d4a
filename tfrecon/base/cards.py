"""Presets: small trained models that ship. Each is a file of weights in half precision,
``NAME.npz``, and a card that says what it is for, ``NAME.json``. Read without TensorFlow."""

import functools
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import checkpoint, facts, files, shown
from tfrecon.base.errors import UserError, foreign, unknown
from tfrecon.base.registry import Positive, Spec, check_options, check_type

_NOTE = {"model": dict, "image_size": Positive, "has_mask": bool}
"""What the note beside the weights holds: what `build_model` needs."""


@dataclass(frozen=True)
class Preset:
    """A trained model that ships, and what its card says of it.

    Args:
        name: of its two files.
        path: of its weights.
        sha256: of the weights' file, in hexadecimal digits.
        title: what it is, in a line.
        purpose: the damage that it is for.
        not_for: where it is no better than what needs no training.
        licence: of its weights.
        provenance: what it was trained on.
        config: the name of the configuration that trains it again.
        minutes: of that training, and its `steps`.
        results: rows of a table of what it reaches, each by the heads of the columns.
    """

    name: str
    path: Path
    sha256: str
    title: str = ""
    purpose: str = ""
    not_for: str = ""
    licence: str = ""
    provenance: str = ""
    config: str = ""
    minutes: float | None = None
    steps: int | None = None
    results: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]], hash=False)

    def check(self) -> None:
        """Raises UserError where the weights are missing or not those that the card names."""
        with foreign("preset", self.path, _remedy(self.path)):
            if files.digest(self.path, "sha256").hex() != self.sha256:
                raise UserError(
                    f"preset {str(self.path)!r} is damaged or altered, as its SHA-256 is not the "
                    f"one that its card names; {_remedy(self.path)}"
                )

    @functools.cached_property
    def note(self) -> dict[str, Any]:
        """``model`` (the table of a Spec), ``image_size`` and ``has_mask``. Raises what `check`
        raises."""
        self.check()
        with foreign("preset", self.path, _remedy(self.path)):
            note = checkpoint.load_note(self.path)
            for name, hint in _NOTE.items():
                check_type(f"{str(self.path)!r}: {name}", note[name], hint)
        return note

    @property
    def has_mask(self) -> bool:
        """Whether it must be told what is damaged. Raises what `check` raises."""
        return self.note["has_mask"]

    def load(self) -> checkpoint.Saved:
        """The weights, in float32, and the note. Raises what `check` raises."""
        note = self.note
        arrays, _ = checkpoint.load(self.path, _remedy(self.path))
        floats = {name: array.astype(np.float32) for name, array in arrays.items()
                  if array.dtype == np.float16}  # fmt: skip
        return {**arrays, **floats}, note

    @property
    def _told(self) -> dict[str, str]:
        return {
            "for": self.purpose, "not for": self.not_for,
            "needs a mask": "yes" if self.has_mask else "no", "trained on": self.provenance,
            "again by": self.config and f"fit --config {self.config}", "licence": self.licence,
        }  # fmt: skip

    def __str__(self) -> str:
        """The card, as lines."""
        rows = [", ".join(f"{key} {value}" for key, value in row.items()) for row in self.results]
        lines = [f"{key}: {value}" for key, value in self._told.items() if value]
        return "\n  ".join((f"{self.name}: {self.title}", *lines, *rows))

    def _repr_html_(self) -> str:
        heads = [*dict.fromkeys(head for row in self.results for head in row)]
        rows = [[row.get(head, "") for head in heads] for row in self.results]
        return "".join([
            shown.heading(f"preset {self.name}: {self.title}"), shown.facts(self._told),
            shown.table(heads, rows), shown.picture(picture(self.path), self.title),
        ])  # fmt: skip

    def save_card(self) -> None:
        """Writes the card beside the weights."""
        told = {key: value for key, value in asdict(self).items() if key not in ("name", "path")}
        files.write_json(_card(self.path), told, indent=2)


def default(has_mask: bool) -> str:
    """The name of the preset that is taken for photos with or without masks."""
    return "inpainting" if has_mask else "scratches"


def presets() -> list[Preset]:
    """The presets that ship, sorted by name."""
    return [read(path) for path in _shipped().values()]


def find(name: str) -> Preset:
    """The preset that ships as `name`, or one of your own by the path of its weights,
    ``DIR/NAME.npz``.

    Raises UserError with the nearest name where there is none, and for a damaged card; the weights
    are checked where they are read.
    """
    shipped = _shipped()
    if not name.endswith(".npz") and name not in shipped:
        raise unknown("preset", name, shipped)
    return read(shipped.get(name, Path(name)))


def read(path: Path) -> Preset:
    """The preset whose weights are to lie in `path`, by its card. Raises UserError for a missing
    and a damaged card."""
    with foreign("card of a preset", _card(path), _remedy(path)):
        told = json.loads(_card(path).read_text(encoding="utf-8"))
        told = check_options(Preset, Spec(path.stem, told), "preset", ("name", "path"))
        return Preset(path.stem, path, **told)


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(facts.folder(facts.PRESETS).glob("*.npz"))}


def picture(path: Path) -> Path:
    """The picture beside the weights of a preset: what it is given, makes, and should make."""
    return path.with_suffix(".webp")


def _card(path: Path) -> Path:
    return path.with_suffix(".json")


def _remedy(path: Path) -> str:
    if path.parent == facts.folder(facts.PRESETS):
        return (
            "install tfrecon again with pip install --force-reinstall, or in a checkout restore "
            f"its files with git checkout {facts.PRESETS}"
        )
    return (
        "remove its two files and write it again with python -m tfrecon.export checkpoints/NAME "
        "--preset DIR/NAME"
    )
