"""Specs, and what is said of a wrong name, option or type."""

import re
from typing import Annotated, Any, Literal

import pytest

from tfrecon.base.errors import UserError, did_you_mean
from tfrecon.base.registry import (
    Above,
    AtLeast,
    Between,
    Spec,
    build,
    check,
    check_options,
    check_type,
    checked,
    or_absent,
)


def box(
    *, size: int, share: float = 0.5, kind: Literal["hard", "none"] = "hard",
    names: list[str] | None = None, anything: Any = None, seed: int = 0,
) -> tuple:  # fmt: skip
    return size, share, kind, names, anything, seed


TABLE = {"box": box}


def refused(text: str, **options) -> None:
    with pytest.raises(UserError, match=re.escape(text)):
        build(Spec("box", options), TABLE, "damage", seed=7)


def test_a_builder_gets_the_options_and_the_context():
    built = build(Spec("box", {"size": 3, "share": 1}), TABLE, "damage", seed=7)
    assert built == (3, 1, "hard", None, None, 7)


def test_parse_reads_names_and_tables():
    assert Spec.parse("box", "data.damage") == Spec("box")
    spec = Spec.parse({"name": "box", "size": 3}, "data.damage")
    assert spec == Spec("box", {"size": 3})
    assert Spec.parse(spec, "data.damage") is spec
    assert Spec.parse(spec.to_dict(), "data.damage") == spec
    with pytest.raises(
        UserError, match=r"\[data.damage\] has no name; give one, e\.g\. with --set"
    ):
        Spec.parse({"size": 3}, "data.damage")
    for value in (3, None, ["box"], {"name": 3}):
        with pytest.raises(UserError, match=r"\[data.damage\] must be a name or a table with"):
            Spec.parse(value, "data.damage")


def test_unknown_names_and_options_get_the_nearest_known():
    with pytest.raises(UserError, match="unknown damage 'boxx'; did you mean 'box'\\?"):
        build(Spec("boxx"), TABLE, "damage")
    with pytest.raises(UserError, match="unknown damage 'zzz'; known: box"):
        check(Spec("zzz"), TABLE, "damage")
    refused("unknown option 'sise' of damage 'box'; did you mean 'size'?", sise=3)
    refused("takes 'seed' from elsewhere in the configuration; remove it", size=3, seed=1)


def test_a_name_from_elsewhere_is_not_offered():
    with pytest.raises(UserError, match="unknown option 'sed'") as raised:
        build(Spec("box", {"sed": 1}), TABLE, "damage", seed=7)
    assert "seed" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 2.5}, "option 'size' of damage 'box' must be a whole number, not 2.5"),
        ({"size": True}, "must be a whole number, not True"),
        ({"size": "3"}, "must be a whole number, not '3'"),
        ({"size": "none"}, "must be a whole number, not 'none'"),
        ({"share": "half"}, "option 'share' of damage 'box' must be a number, not 'half'"),
        ({"share": False}, "must be a number, not False"),
        ({"kind": "soft"}, "must be one of 'hard', 'none', not 'soft'"),
        ({"names": "Cat"}, "must be a list of a string or nothing, not 'Cat'"),
        ({"names": ["Cat", 3]}, "must be a list of a string or nothing, not ['Cat', 3]"),
    ],
)
def test_options_of_a_wrong_type_are_one_sentence(options, said):
    refused(said, **options)


def test_check_says_what_build_would_say_and_builds_nothing():
    def never(*, size: int) -> None:
        raise RuntimeError("built")

    assert check(Spec("it", {"size": 3}), {"it": never}, "damage") == {"size": 3}
    with pytest.raises(UserError, match="must be a whole number"):
        check(Spec("it", {"size": "x"}), {"it": never}, "damage")


def test_the_word_none_is_an_absent_value_unless_it_has_a_meaning():
    options = check_options(box, Spec("box", {"names": "none", "kind": "none"}), "damage")
    assert options == {"names": None, "kind": "none"}
    assert or_absent("none", int | None) is None
    assert or_absent("none", Literal["none", "all"] | None) == "none"
    for hint in (int, str, Any):
        assert or_absent("none", hint) == "none"


def test_types():
    for value, hint in [
        (3, float), (3, int | None), (None, int | None), ("a", Any), ([], list[str]),
        (("a",), list[str]), ({"a": 1}, dict[str, int]), (True, bool), (Spec("a"), Spec),
    ]:  # fmt: skip
        check_type("it", value, hint)
    with pytest.raises(UserError, match="it must be Spec or nothing, not 3"):
        check_type("it", 3, Spec | None)


@pytest.mark.parametrize(
    ("hint", "inside", "outside", "said"),
    [
        (Annotated[int, AtLeast(1)], [1, 9], [0, -1], "it must be 1 or more, not"),
        (Annotated[float, AtLeast(0.0)], [0, 1e9], [-1e-9, float("inf"), float("nan")],
         "it must be 0 or more and finite, not"),
        (Annotated[float, Above(0)], [1e-9], [0, float("inf"), float("nan")],
         "it must be greater than 0 and finite, not"),
        (Annotated[float, Between(0, 1)], [0, 1], [-0.1, 1.1], "it must lie in [0, 1], not"),
        (Annotated[float, Between(0, 1, "[)")], [0, 0.9], [1], "it must lie in [0, 1), not"),
        (Annotated[float, Between(0, 1, "(]")], [0.1, 1], [0], "it must lie in (0, 1], not"),
        (Annotated[int, AtLeast(1)] | None, [None, 1], [0], "it must be 1 or more, not"),
        (Annotated[list[int], AtLeast(1)], [[], [1, 2]], [[2, 0]], "it must be 1 or more, not"),
        (Annotated[Annotated[int, AtLeast(1)], Between(0, 3)], [3], [0, 4], "it must"),
        (Annotated[int, "read by other programs"], [-1], [], ""),
    ],
)  # fmt: skip
def test_bounds_of_annotations(hint, inside, outside, said):
    for value in inside:
        check_type("it", value, hint)
    for value in outside:
        with pytest.raises(UserError, match=re.escape(said)):
            check_type("it", value, hint)
    with pytest.raises(UserError, match="it must be a"):
        check_type("it", "text", hint)


@checked
def bounded(size: Annotated[int, AtLeast(1)] = 3, *, kind: Literal["a", "b"] = "a") -> tuple:
    """As documented."""
    return size, kind


def test_builders_called_directly_are_checked_too():
    assert bounded() == (3, "a") and bounded(1, kind="b") == (1, "b")
    assert bounded.__doc__ == "As documented."
    with pytest.raises(UserError, match="option 'size' of 'bounded' must be 1 or more, not 0"):
        bounded(0)
    with pytest.raises(UserError, match="option 'kind' of 'bounded' must be one of 'a', 'b'"):
        bounded(kind="c")  # pyright: ignore
    with pytest.raises(TypeError, match="unexpected keyword argument 'sort'"):
        bounded(sort="b")  # pyright: ignore
    table = {"bounded": bounded}
    assert build(Spec("bounded", {"size": 2}), table, "damage") == (2, "a")
    with pytest.raises(UserError, match="option 'size' of damage 'bounded' must be 1 or more"):
        check(Spec("bounded", {"size": 0}), table, "damage")
    with pytest.raises(UserError, match=r"unknown option 'sise' .*; did you mean 'size'"):
        check(Spec("bounded", {"sise": 0}), table, "damage")


def test_a_dotted_path_is_a_builder_like_those_of_the_table(tmp_path, monkeypatch):
    (tmp_path / "my_builders.py").write_text(
        "def box(*, size: int, seed):\n    return size, seed\n"
        "def simple(*, size: int = 3):\n    return size\n"
        "SIDE = 75\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert build(Spec("my_builders.box", {"size": 4}), TABLE, "damage", seed=7) == (4, 7)
    assert build(Spec("my_builders.simple"), TABLE, "damage", seed=7) == 3, "it takes no seed"
    for name, options, said in [
        ("my_builders.box", {"sise": 4}, "unknown option 'sise' of damage 'my_builders.box'; did"),
        ("my_builders.box", {"size": "x"}, "must be a whole number"),
        ("my_builders.SIDE", {}, "damage 'my_builders.SIDE' is no function or class"),
        ("my_builders.boxx", {}, "damage 'my_builders.boxx' cannot be imported"),
    ]:
        with pytest.raises(UserError, match=re.escape(said)):
            build(Spec(name, options), TABLE, "damage", seed=7)


def test_did_you_mean():
    assert did_you_mean("epoch", ["epochs", "steps"]) == "; did you mean 'epochs'?"
    assert did_you_mean("zzz", ["steps", "epochs"]) == "; known: epochs, steps"
    assert did_you_mean("zzz", []) == ""
