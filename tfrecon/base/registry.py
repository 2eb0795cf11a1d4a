"""A Spec is a name plus keyword arguments; a registry is a dict literal of builder functions.

Options are checked against the builder's own signature: types, choices (``Literal``) and bounds
(``Annotated[int, AtLeast(1)]``) stand in its annotations, defaults beside them. The sections of a
configuration are checked against their annotations in the same way.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, Union, cast

from tfrecon.base.errors import UserError, did_you_mean, unknown
from tfrecon.base.facts import imported

Builder = TypeVar("Builder", bound=Callable[..., Any])


class Bound:
    """What stands behind the type in an ``Annotated``; its text follows the word "must"."""

    def allows(self, value: Any) -> bool:
        """Whether a value of the annotated type is within the bound."""
        raise NotImplementedError


@dataclass(frozen=True)
class Between(Bound):
    """Numbers from `low` to `high`; of a list, each item. In `ends`, ``[`` and ``]`` leave the end
    in, ``(`` and ``)`` leave it out."""

    low: float
    high: float
    ends: str = "[]"

    def allows(self, value: Any) -> bool:
        """Whether the number, or each of a list, lies between the ends; NaN never does."""
        numbers = cast("list[float]", value if isinstance(value, list | tuple) else [value])
        sides = zip((self.low, self.high), self.ends, strict=True)
        ends = [end for end, bracket in sides if bracket in "[]"]
        return all(self.low < number < self.high or number in ends for number in numbers)

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"lie in {self.ends[0]}{self.low:.12g}, {self.high:.12g}{self.ends[1]}"
        if self.ends[0] == "(":
            return f"be greater than {self.low:.12g} and finite"
        finite = " and finite" if isinstance(self.low, float) and self.ends[1] == ")" else ""
        return f"be {self.low:.12g} or more{finite}"


def AtLeast(low: float) -> Between:
    """Finite numbers from `low` on."""
    return Between(low, math.inf, "[)")


def Above(low: float) -> Between:
    """Finite numbers greater than `low`."""
    return Between(low, math.inf, "()")


Natural = Annotated[int, AtLeast(0)]
Positive = Annotated[int, AtLeast(1)]
Weight = Annotated[float, AtLeast(0.0)]


@dataclass(frozen=True)
class Spec:
    """The name of a recipe, model, loss or metric, and the options given to its builder."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def parse(value: object, where: str) -> Spec:
        """A Spec from ``"name"`` or from a table with a ``name`` key, as config files write it."""
        if isinstance(value, Spec):
            return value
        if isinstance(value, str):
            return Spec(value)
        if isinstance(value, Mapping):
            table = dict(cast(Mapping[str, Any], value))
            name = table.pop("name", None)
            if isinstance(name, str):
                return Spec(name, table)
            if name is None:
                raise UserError(
                    f"[{where}] has no name; give one, e.g. with --set {where}.name=NAME"
                )
        raise UserError(f"[{where}] must be a name or a table with a 'name', not {value!r}")

    def to_dict(self) -> dict[str, Any]:
        """The table that `parse` reads back."""
        return {"name": self.name, **self.options}


def build(spec: Spec, table: Mapping[str, Callable[..., Any]], kind: str, **context: Any) -> Any:
    """Calls the builder that `table` holds for `spec`.

    `context` are arguments that the caller knows (an image size, say); a user who sets one as an
    option is told so. Raises UserError for an unknown name, option or an option of a wrong type.
    """
    options = check(spec, table, kind, context)
    builder = entry(spec.name, table, kind)
    takes = inspect.signature(builder).parameters  # a user's own may need no seed, say
    return builder(**options, **{name: context[name] for name in context if name in takes})


def entry(name: str, table: Mapping[str, Any], kind: str) -> Any:
    """What `table` holds for `name`, or what a dotted path leads to, a user's own builder.

    Raises UserError for an unknown name, and for a path to something that cannot be called.
    """
    if name in table:
        return table[name]
    if "." not in name:
        raise unknown(kind, name, table)
    builder = imported(name, kind)
    if not callable(builder):
        raise UserError(f"{kind} {name!r} is no function or class; name one that builds it")
    return builder


def check(
    spec: Spec, table: Mapping[str, Any], kind: str, reserved: Iterable[str] = ()
) -> dict[str, Any]:
    """The options as `build` gives them to the builder; raises what it raises for them."""
    return check_options(entry(spec.name, table, kind), spec, kind, reserved)


def check_options(
    builder: Callable[..., Any], spec: Spec, kind: str, reserved: Iterable[str] = ()
) -> dict[str, Any]:
    """The options of `spec` as arguments of `builder`, the word ``none`` resolved by `or_absent`.

    Raises UserError unless each is a keyword of `builder` that fits its annotation and is not in
    `reserved`.
    """
    hints = typing.get_type_hints(builder, include_extras=True)
    allowed = [
        name
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name not in reserved
    ]
    options: dict[str, Any] = {}
    for key, value in spec.options.items():
        if key in reserved:
            raise UserError(
                f"{kind} {spec.name!r} takes {key!r} from elsewhere in the configuration; "
                f"remove it from the options of {spec.name!r}"
            )
        if key not in allowed:
            raise UserError(
                f"unknown option {key!r} of {kind} {spec.name!r}{did_you_mean(key, allowed)}"
            )
        hint = hints.get(key, Any)
        options[key] = or_absent(value, hint)
        check_type(f"option {key!r} of {kind} {spec.name!r}", options[key], hint)
    return options


def checked(builder: Builder) -> Builder:
    """`builder`, but its arguments are checked against its annotations when it is called directly,
    too: what `build` would refuse raises the same UserError."""
    signature = inspect.signature(builder)

    @functools.wraps(builder)
    def call(*args: Any, **options: Any) -> Any:
        hints = typing.get_type_hints(builder, include_extras=True)
        for name, value in signature.bind(*args, **options).arguments.items():
            check_type(f"option {name!r} of {builder.__name__!r}", value, hints.get(name, Any))
        return builder(*args, **options)

    return cast(Builder, call)


def or_absent(value: object, hint: Any) -> Any:
    """None for the word ``none`` where `hint` allows None and gives the word no meaning of its own.

    TOML and the command line have no other way to write it.
    """
    if value != "none" or hint is Any or not _fits(None, hint):
        return value
    words = [b for b in (hint, *typing.get_args(hint)) if typing.get_origin(b) is Literal]
    return value if any(_fits(value, branch) for branch in words) else None


def check_type(what: str, value: object, hint: Any) -> None:
    """Raises UserError unless `value` fits the annotation `hint` (an int fits a float) and is
    within its bounds."""
    if not _fits(value, hint):
        raise UserError(f"{what} must be {describe(hint)}, not {value!r}")
    for bound in _bounds(value, hint):
        if not bound.allows(value):
            raise UserError(f"{what} must {bound}, not {value!r}")


def _fits(value: object, hint: Any) -> bool:
    origin: Any = typing.get_origin(hint)
    arguments: tuple[Any, ...] = typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if origin is Annotated:
        return _fits(value, arguments[0])
    if origin is Literal:
        return value in arguments
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (list, tuple):
        items = cast("list[object]", value)
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in items)
    return isinstance(value, origin or hint)


def _bounds(value: object, hint: Any) -> list[Bound]:
    """The bounds that a value which fits `hint` must be within."""
    arguments: tuple[Any, ...] = typing.get_args(hint)
    if typing.get_origin(hint) in (Union, types.UnionType):
        return next(_bounds(value, branch) for branch in arguments if _fits(value, branch))
    if typing.get_origin(hint) is not Annotated:
        return []
    outer = [bound for bound in arguments[1:] if isinstance(bound, Bound)]
    return [*_bounds(value, arguments[0]), *outer]


def describe(hint: Any) -> str:
    """What fits an annotation, in words: ``a list of a number``."""
    origin: Any = typing.get_origin(hint)
    arguments: tuple[Any, ...] = typing.get_args(hint)
    if origin is Annotated:
        return describe(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin in (list, tuple):
        return f"a list of {describe(arguments[0])}"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}.get(
        hint, "nothing" if hint is type(None) else str(getattr(hint, "__name__", hint))
    )
