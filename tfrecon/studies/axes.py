"""What the file of a study says of its axes: labels and settings, and which combinations to leave
out."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tfrecon.base import facts
from tfrecon.base.config import SECTIONS, Table, check_sections, read_toml, with_settings
from tfrecon.base.errors import UserError, did_you_mean
from tfrecon.base.registry import Spec, check_type

AXIS_KEYS = ("name", "key", "values", "low", "high", "log")
LABEL = re.compile(r"\w[\w.+]*(-[\w.+]+)*")
"""Labels become names of folders."""


@dataclass(frozen=True)
class Value:
    """One value of an axis: its label and the settings that it stands for."""

    label: str
    tables: Table


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, for `key`, of which a search draws: whole ones where both
    are, and evenly in their logarithm with `log`."""

    key: str
    low: float
    high: float
    log: bool

    def value(self, number: float) -> Value:
        """One of them."""
        return Value(f"{number:.4g}", _put(self.key, number))


@dataclass(frozen=True)
class Cell:
    """One run of a study: `labels` by axis, `tables` its whole configuration as far as it is given.

    `group` is its name without the seed.
    """

    name: str
    group: str
    labels: Mapping[str, str]
    tables: Table


def with_base(path: Path, tables: Table) -> Table:
    """Sections on top of those of the configuration that ``base`` names, if it names one: a file,
    from the study's folder on, or a configuration that ships."""
    given = {section: tables[section] for section in SECTIONS if section in tables}
    check_sections(given, str(path))
    if "base" not in tables:
        return given
    if not isinstance(tables["base"], str):
        raise UserError(f"base must be the path of a configuration, not {tables['base']!r}")
    beside = path.parent / tables["base"]
    base = beside if beside.exists() else facts.configuration(tables["base"])
    return with_settings(read_toml(base), given)


def read_axes(path: Path, given: Any) -> dict[str, list[Value] | Range]:
    """The axes of the study in `path`, by name. Raises UserError for what is wrong with any."""
    if not is_list_of(given, dict) or not given:
        raise UserError(
            "a study needs at least one axis: [[axes]] with name, values and perhaps key"
        )
    axes: dict[str, list[Value] | Range] = {}
    for table in given:
        check_known(table, AXIS_KEYS, "unknown key", " of an axis")
        name, key, values = table.get("name"), table.get("key"), table.get("values")
        if not isinstance(name, str) or not name or name in axes:
            raise UserError(f"each axis needs a name of its own, not {name!r}")
        if key is not None and (not isinstance(key, str) or key.partition(".")[0] not in SECTIONS):
            raise UserError(
                f"the key of axis {name!r} must be one of a configuration, such as model.decoder, "
                f"not {key!r}"
            )
        if {"low", "high", "log"} & table.keys():
            axes[name] = _range(name, table)
            continue
        if not isinstance(values, list) or not values:
            raise UserError(f"axis {name!r} needs values, a list of at least one")
        axes[name] = listed = [_value(path, name, key, v) for v in cast(list[Any], values)]
        count, label = repeated(value.label for value in listed)
        if count > 1:
            raise UserError(
                f"axis {name!r} has {count} values called {label!r}; give each a name of its own"
            )
    return axes


def _range(axis: str, table: Table) -> Range:
    low, high, log = (table.get(name) for name in ("low", "high", "log"))
    for name, value in {"low": low, "high": high}.items():
        check_type(f"{name} of axis {axis!r}", value, float)
    check_type(f"log of axis {axis!r}", log, bool | None)
    if "values" in table or "key" not in table:
        raise UserError(
            f"axis {axis!r} is a range, low to high: it needs the key of a number, such as "
            "fit.learning_rate, and no values"
        )
    if not -math.inf < low < high < math.inf or (log and low <= 0):
        above = "above 0 and " if log else ""
        raise UserError(f"low of axis {axis!r} must be {above}below high, not {low!r} to {high!r}")
    return Range(table["key"], low, high, bool(log))


def _put(key: str, value: Any) -> Table:
    """The nested tables that hold a value at a dotted key."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _value(path: Path, axis: str, key: str | None, given: object) -> Value:
    """One value of an axis. With a `key` such as ``model.decoder`` it is a Spec that is put there;
    without, a name and what it sets: sections, and a configuration file as their ``base``."""
    if key is not None and not isinstance(given, str | dict):
        given = {"name": str(given), "value": given}  # a number or a truth value
    spec = Spec.parse(given, f"axes.{axis}.values")
    if not LABEL.fullmatch(spec.name):
        raise UserError(
            f"{spec.name!r} of axis {axis!r} becomes part of a folder's name; use letters, digits, "
            "_, ., + and single -"
        )
    if key is not None:
        put: Any = spec.options["value"] if spec.options.keys() == {"value"} else spec.to_dict()
        return Value(spec.name, _put(key, spec.name if put == {"name": spec.name} else put))
    sets = f"value {spec.name!r} of axis {axis!r} sets"
    check_known(spec.options, (*SECTIONS, "base"), sets)
    return Value(spec.name, with_base(path, dict(spec.options)))


def read_exclusions(given: Any, axes: Mapping[str, Sequence[Value]]) -> list[dict[str, list[str]]]:
    """The rules, axis → labels: what all of a rule's axes match is left out. Raises UserError for
    names that no axis has."""
    if not is_list_of(given, dict):
        raise UserError(f"[[exclude]] must be tables of axis = labels, not {given!r}")
    rules: list[dict[str, list[str]]] = []
    for table in cast(list[Table], given):
        check_known(table, axes, "[[exclude]] names axis")
        rule: dict[str, list[str]] = {}
        for axis, chosen in table.items():
            rule[axis] = cast(list[Any], chosen if isinstance(chosen, list) else [chosen])
            known = [value.label for value in axes[axis]]
            check_known(rule[axis], known, "[[exclude]] names", f" of axis {axis!r}")
        if not rule:
            raise UserError("an empty [[exclude]] would exclude everything; remove it")
        rules.append(rule)
    return rules


def check_known(
    names: Iterable[object], known: Iterable[str], before: str, after: str = ""
) -> None:
    """Raises UserError for the first of `names` that is not `known`: the name between the words
    `before` and `after` it, and the nearest known one."""
    for name in names:
        if name not in known:
            raise UserError(f"{before} {name!r}{after}{did_you_mean(str(name), known)}")


def repeated(names: Iterable[str]) -> tuple[int, str]:
    """How often the most frequent of `names` is among them, and which it is."""
    ((name, count),) = Counter(names).most_common(1)
    return count, name


def is_list_of(value: object, kind: type[Any]) -> bool:
    """Whether `value` is a list of nothing but `kind`."""
    return isinstance(value, list) and all(
        isinstance(item, kind) for item in cast(list[object], value)
    )
