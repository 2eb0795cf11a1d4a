"""Presets: trained models, each a file of weights and a card that says what it is for. Those that
ship have weights in half precision, ``NAME.npz`` and ``NAME.json``; repositories of the hub, and
folders that are like them, ``model.safetensors`` and ``config.json``. Read without TensorFlow."""

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import checkpoint, facts, files, hub, shown
from tfrecon.base.errors import UserError, foreign, unknown
from tfrecon.base.registry import Positive, Spec, check_options, check_type
from tfrecon.base.weights import read as read_arrays

_KEPT = "name", "path", "told"
_NO_WORDS = *_KEPT, "sha256", "minutes", "steps"
_NOTE = {"model": dict, "image_size": Positive, "has_mask": bool}
"""What the note beside the weights holds: what `build_model` needs."""

FROZEN = "frozen"
"""In the note of a model that reads a frozen network: the hash of its weights."""


@dataclass(frozen=True)
class Preset:
    """A trained model that ships or lies elsewhere, and what its card says of it.

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
        told: the note, where the card holds it.
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
    told: dict[str, Any] = field(default_factory=dict[str, Any], hash=False)

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
            note = self.told or checkpoint.load_note(self.path)
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
        if self.told:
            return read_arrays(self.path, "preset", _remedy(self.path)), note
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
        card = {key: value for key, value in asdict(self).items() if key not in _KEPT}
        files.write_json(_card(self.path), {**self.told, **card}, indent=2)


NO_LICENCE = (
    "its card names no licence, so that all rights are its author's; ask for one before you use it "
    "for more than a look"
)


def with_words(preset: Preset, words: Mapping[str, Any]) -> Preset:
    """A preset with other words in its card. Raises UserError for others than a card has."""
    return replace(preset, **check_options(Preset, Spec("card", words), "table", _NO_WORDS))


def default(has_mask: bool) -> str:
    """The name of the preset that is taken for photos with or without masks."""
    return "inpainting" if has_mask else "scratches"


def presets() -> list[Preset]:
    """The presets that ship, sorted by name."""
    return [read(path) for path in _shipped().values()]


def find(name: str, called: str | None = None) -> Preset:
    """The preset that ships as `name`, or one of your own by the path of its weights,
    ``DIR/NAME.npz``, of the folder of a repository, or by a repository's name on the hub. Of the
    latter two the licence is said; errors call it `called`.

    Raises UserError with the nearest name where there is none, for a damaged card, and what
    `hub.fetched` raises; the weights are checked where they are read.
    """
    shipped = _shipped()
    if name in shipped:
        return read(shipped[name])
    place = hub.fetched(name) if hub.is_named(name) else Path(name)
    called = called or (hub.pinned(name, place) if hub.is_named(name) else name)
    path = place / hub.WEIGHTS if place.is_dir() else place
    if path.suffix == ".npz":
        return read(path)
    if path.name != hub.WEIGHTS:
        raise unknown("preset", name, shipped)
    if not path.is_file():
        raise hub.without_weights(repr(called), (each.name for each in place.iterdir()))
    preset = read(path, called)
    print(f"{called}: {f'licence {preset.licence}' if preset.licence else NO_LICENCE}")
    return preset


def read(path: Path, name: str | None = None) -> Preset:
    """The preset whose weights are to lie in `path`, by its card; it is called like that file
    unless it has a `name`. Raises UserError for a missing and a damaged card."""
    with foreign("card of a preset", _card(path), _remedy(path)):
        card, told = json.loads(_card(path).read_text(encoding="utf-8")), {}
        if path.name == hub.WEIGHTS:
            told = {key: card.pop(key) for key in (*_NOTE, FROZEN) if key in card}
            if not _NOTE.keys() <= told.keys():
                raise UserError(
                    f"{name or str(path)!r} is of another library, as its {hub.CARD} describes no "
                    "model of tfrecon; name a repository that tfrecon.push has written"
                )
        card = check_options(Preset, Spec(path.stem, card), "preset", _KEPT)
        return Preset(name or path.stem, path, told=told, **card)


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(facts.folder(facts.PRESETS).glob("*.npz"))}


def picture(path: Path) -> Path:
    """The picture beside the weights of a preset: what it is given, makes, and should make."""
    return path.with_suffix(".webp")


def _card(path: Path) -> Path:
    return path.with_name(hub.CARD) if path.name == hub.WEIGHTS else path.with_suffix(".json")


def _remedy(path: Path) -> str:
    if path.parent == facts.folder(facts.PRESETS):
        return (
            "install tfrecon again with pip install --force-reinstall, or in a checkout restore "
            f"its files with git checkout {facts.PRESETS}"
        )
    if path.name == hub.WEIGHTS:
        return "write it again with python -m tfrecon.push checkpoints/NAME PLACE, or fetch it anew"
    return (
        "remove its two files and write it again with python -m tfrecon.export checkpoints/NAME "
        "--preset DIR/NAME"
    )
