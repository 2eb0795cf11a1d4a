"""The summary's sentences say what the numbers say, whatever they are."""

import numpy as np
import pytest
from made_up_comparison import BASE, comparison_of, scored, shifted

from tfrecon.reports import statistics
from tfrecon.reports.comparison import compare
from tfrecon.reports.page import environment
from tfrecon.reports.sentences import sentences


def said(comparison):
    return sentences(comparison)


def test_a_real_difference_and_its_interval():
    first = said(comparison_of({"good": BASE + 2, "bad": BASE + 0.5 * (BASE.mean() < BASE)}))[0]
    assert first.startswith(f"Of 2 results on {len(BASE)} images good has the best PSNR, ")
    assert " dB better than the next, bad (95% interval 1." in first
    assert first.endswith("the difference is real by the corrected paired test (p < 0.001).")


def test_an_interval_of_an_error_is_that_of_the_gain():
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.03, len(BASE))
    found = comparison_of({"a": 0.1 + noise, "b": 0.101 + noise[::-1]}, column="mse")
    pair = statistics.pairs(found, "mse")[0]
    first = said(found)[0]
    better, low, high = (f"{-end:#.3g}".replace("-", "−") for end in
                         (pair.difference, pair.high, pair.low))  # fmt: skip
    assert f"{better} better than the next" in first
    assert f"(95% interval {low} to {high})" in first
    assert "does not tell it from chance (p = " in first


def test_a_few_large_gains_do_not_make_a_winner():
    better = np.where(np.arange(100) < 15, 1.0, -0.1) + np.linspace(0, 0.01, 100)
    first = said(comparison_of({"a": 20 + better, "b": np.full(100, 20.0)}))[0]
    assert "but on most images b is the better" in first and "few images decide" in first


def two_axes(cells):
    labels = {"-".join(cell): dict(zip(("x", "y"), cell, strict=True)) for cell in cells}
    axes = {axis: sorted({own[axis] for own in labels.values()}) for axis in ("x", "y")}
    values = {"-".join(cell): own for cell, own in cells.items()}
    return comparison_of(values, labels=labels, axes=axes)


def test_what_shares_no_cell_with_the_best_is_said_to_be_left_out():
    found = two_axes({
        ("one", "p"): shifted(0, seed=1), ("two", "p"): shifted(1, seed=2),
        ("all", "q"): shifted(9, seed=3),
    })  # fmt: skip
    line = next(line for line in said(found) if line.startswith("On x"))
    assert line.startswith("On x, two is best with all else equal; worse: one −")
    assert line.endswith("not compared, as no result agrees with it in all else: all.")


def test_a_label_better_than_the_reference_is_not_called_equal():
    # a beats b, b beats c, c beats a, each where both exist.
    found = two_axes({
        ("a", "p"): shifted(1, seed=1), ("b", "p"): shifted(0, seed=2),
        ("b", "q"): shifted(1, seed=3), ("c", "q"): shifted(0, seed=4),
        ("c", "r"): shifted(1, seed=5), ("a", "r"): shifted(0, seed=6),
    })  # fmt: skip
    line = next(line for line in said(found) if line.startswith("On x"))
    assert line.startswith("On x, with all else equal, against ")
    assert "; worse: " in line and "; better: " in line and "told apart" not in line


def test_too_few_images_for_so_many_pairs():
    many = {str(n): 20 + 3.0 * n + np.linspace(0, 1, 10) for n in range(9)}
    lines = said(comparison_of(many))
    assert any("With 10 images and 36 pairs of results no difference can reach" in x for x in lines)
    few = {name: many[name] for name in "01"}
    assert not any("no difference can reach" in x for x in said(comparison_of(few)))


def test_one_result_and_none_with_a_value():
    assert said(comparison_of({"a": np.array([1.0, 3])}))[0] == (
        "a is the only result: PSNR 2.00 dB."
    )
    nothing = comparison_of({"a": np.full(3, np.nan), "b": np.full(3, np.nan)})
    assert said(nothing)[0] == "No result has a PSNR: no image has a value."


def test_seeds_are_spoken_of():
    once = said(comparison_of({"a": BASE, "b": BASE + 1}))
    assert any(line.startswith("A result of one seed is one training") for line in once)
    twice = {
        name: [scored(name, BASE + more), scored(name, BASE + more + 0.5, seed=1)]
        for name, more in {"a": 0, "b": 3}.items()
    }
    lines = said(compare("seeds", twice))
    assert any("the mean varies by 0.35 dB at most" in line for line in lines)
    assert not any("one seed" in line for line in lines)


@pytest.mark.parametrize(
    ("key", "value", "caution"),
    [
        ("machine", {"keras": "2"}, "caution: machine"),
        ("machine", {"keras": "1", "intra_op_threads": 1}, "caution: threads"),
        (None, None, None),
    ],
)
def test_the_environment_warns_of_what_differs(key, value, caution):
    facts = {"data": "x", "machine": {"keras": "1", "intra_op_threads": 2}, "recipe": {"name": "r"}}
    other = {**facts, key: value} if key else facts
    found = compare("two", {"a": [scored("a", BASE, facts=facts)],
                            "b": [scored("b", BASE, facts=other)]})  # fmt: skip
    cautions = [name for name in environment(found) if name.startswith("caution")]
    assert (caution in cautions) if caution else not cautions
    assert ("caution: machine" in cautions) == (caution == "caution: machine")
