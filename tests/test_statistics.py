"""Paired tests against SciPy and by hand, rank groups, ablations, and the bootstrap's coverage."""

import numpy as np
import pytest
from made_up_comparison import BASE, comparison_of, scored, shifted
from scipy import stats

from tfrecon.base.errors import UserError
from tfrecon.reports import scores, statistics
from tfrecon.reports.comparison import compare


def test_wilcoxon_is_scipys_of_the_two_samples():
    random = np.random.default_rng(0)
    for count in (8, 30, 200):
        first = random.normal(20, 2, count)
        second = first + random.normal(0.3, 0.5, count)
        expected = stats.wilcoxon(first, second)
        assert statistics.wilcoxon(first - second) == pytest.approx(expected.pvalue, rel=1e-12)


def test_wilcoxon_of_five_positive_values_by_hand():
    # Of 2⁵ signs two are as one-sided as this: p = 2/32.
    assert statistics.wilcoxon(np.array([1.0, 2, 3, 4, 5])) == pytest.approx(0.0625)
    assert statistics.wilcoxon(np.zeros(9)) == 1, "no difference at all"
    known = np.array([1.0, 2, 3, 4, 5, np.nan, 0])
    assert statistics.wilcoxon(known) == pytest.approx(0.0625), "NaN and zeros are left out"


def test_holm_by_hand():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == [1, 1], "never above 1"
    assert statistics.holm([]) == []


def test_holm_keeps_the_family_wise_error_below_alpha():
    random = np.random.default_rng(1)
    false = 0
    for _ in range(300):  # five true null hypotheses each time
        p_values = [stats.wilcoxon(random.normal(size=20)).pvalue for _ in range(5)]
        false += min(statistics.holm(p_values)) < statistics.ALPHA
    assert false / 300 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_effect_size_by_hand_and_from_scipys_statistic():
    assert statistics.rank_biserial(np.array([1.0, 2, 3])) == 1
    assert statistics.rank_biserial(-np.array([1.0, 2, 3])) == -1
    assert statistics.rank_biserial(np.array([1.0, 2, -3])) == 0  # ranks 1 + 2 against 3
    assert statistics.rank_biserial(np.zeros(3)) == 0
    differences = np.random.default_rng(2).normal(0.2, 1, 40)
    ranks = 40 * 41 / 2
    smaller = stats.wilcoxon(differences).statistic  # the smaller of the two sums of ranks
    assert abs(statistics.rank_biserial(differences)) == pytest.approx(1 - 2 * smaller / ranks)


def test_bootstrap_is_scipys():
    values = np.random.default_rng(3).gamma(2, 3, 60)
    (low,), (high,) = scores.bootstrap(values[:, None], resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile",
        rng=np.random.default_rng(4),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert abs(low - theirs.low) < 0.03 * width and abs(high - theirs.high) < 0.03 * width


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    random = np.random.default_rng(5)
    samples = random.normal(3, 2, (100, 400))  # 400 data sets of 100 images
    lows, highs = scores.bootstrap(samples, resamples=1000)
    covered = np.mean((lows <= 3) & (highs >= 3))
    assert 0.91 <= covered <= 0.98, covered


def test_pairs_are_ordered_signed_and_corrected_together():
    found = comparison_of(
        {"low": shifted(0, seed=1), "high": shifted(2, seed=2), "middle": BASE + 1}
    )
    pairs = statistics.pairs(found, "psnr")
    assert [(p.first, p.second) for p in pairs] == [
        ("high", "middle"), ("high", "low"), ("middle", "low"),
    ]  # fmt: skip
    for pair in pairs:
        own = found.values(pair.first, "psnr") - found.values(pair.second, "psnr")
        assert pair.difference == pytest.approx(own.mean())
        assert pair.low < pair.difference < pair.high
        assert pair.p == pytest.approx(stats.wilcoxon(own).pvalue)
        assert pair.effect == 1 and pair.is_real and pair.n == len(BASE)
    assert [p.corrected for p in pairs] == pytest.approx(statistics.holm([p.p for p in pairs]))


def test_of_an_error_less_is_better():
    found = comparison_of({"good": 0.01 * BASE, "bad": 0.02 * BASE}, column="mse")
    assert [result.name for result in found.results] == ["good", "bad"]
    (pair,) = statistics.pairs(found, "mse")
    assert (pair.first, pair.effect) == ("good", 1) and pair.difference < 0


def test_images_without_a_value_are_left_out_of_a_pair():
    holes = shifted(1)
    holes[:4] = np.nan
    (pair,) = statistics.pairs(comparison_of({"a": holes, "b": BASE}), "psnr")
    assert pair.n == len(BASE) - 4 and not np.isnan(pair.difference)
    assert scores.mean(np.array([np.nan, 1, 3])) == 2
    assert np.isnan(scores.mean(np.array([np.nan])))


def test_groups_join_neighbours_of_which_no_two_are_told_apart():
    def pair(one, other, corrected):
        return frozenset((one, other)), corrected < statistics.ALPHA

    real = dict([
        pair("a", "b", 0.9), pair("b", "c", 0.2), pair("c", "d", 0.001),
        pair("a", "c", 0.01), pair("a", "d", 0.001), pair("b", "d", 0.001),
    ])  # fmt: skip
    assert statistics.groups_of("abcd", real) == [(0, 1), (1, 2)]
    assert statistics.groups_of("ad", real) == []
    assert statistics.groups_of("abcd", dict.fromkeys(real, False)) == [(0, 3)]


def test_noise_is_not_taken_for_a_difference():
    random = np.random.default_rng(7)
    found = comparison_of({name: BASE + random.normal(0, 1, len(BASE)) for name in "abcde"})
    pairs = statistics.pairs(found, "psnr")
    assert not any(pair.is_real for pair in pairs)
    assert statistics.groups(found) == [(0, 4)]


def test_ablation_compares_what_differs_in_one_axis_only():
    cells = {
        ("vgg", "linear"): shifted(0, seed=1), ("vgg", "residual"): shifted(2, seed=2),
        ("alex", "linear"): shifted(-5, seed=3), ("alex", "residual"): shifted(-4, seed=4),
        ("squeeze", "linear"): shifted(9, seed=5),
    }  # fmt: skip
    labels = {f"{tap}-{decoder}": {"tap": tap, "decoder": decoder} for tap, decoder in cells}
    found = comparison_of(
        {"-".join(key): values for key, values in cells.items()}, labels=labels,
        axes={"tap": ["vgg", "alex", "squeeze"], "decoder": ["linear", "residual"]},
    )  # fmt: skip
    by_label = {row.first: row for row in statistics.ablations(found, "tap")}
    assert set(by_label) == {"vgg", "alex"} and by_label["vgg"].second == "squeeze"
    assert by_label["vgg"].cells == 1, "squeeze has the linear decoder only"
    assert by_label["vgg"].difference == pytest.approx(-9, abs=0.1)
    (row,) = statistics.ablations(found, "decoder")
    # By all cells linear has the better mean; where both exist residual gains 2 and 1 dB.
    assert (row.second, row.cells) == ("residual", 2)
    assert row.difference == pytest.approx(-1.5, abs=0.1)


def test_runs_on_other_images_are_refused_with_the_missing_ids():
    first, second = scored("a", [1, 2, 3]), scored("b", [1, 2], ids=["image 0", "image 2"])
    for one, other in ((first, second), (second, first)):
        with pytest.raises(UserError, match=r"different images.*'b' lacks 'image 1'"):
            compare("two", {"one": [one], "other": [other]})
    changed = scored("b", [1, 2, 3], facts={"data": "y"})
    with pytest.raises(UserError, match="differ in data"):
        compare("two", {"one": [first], "other": [changed]})
    with pytest.raises(UserError, match="no finished run"):
        compare("none", {})
    with pytest.raises(UserError, match=r"ranked by 'lpips_alex'.*they have psnr"):
        compare("two", {"one": [first]}, metric="lpips_alex")


def test_seeds_of_a_cell_are_averaged_image_by_image():
    both = {"cell": [scored("s0", [1, 2]), scored("s1", [3, 6], seed=1)]}
    found = compare("seeds", both)
    (result,) = found.results
    assert list(found.values("cell", "psnr")) == [2, 4] and result.seed_means == [
        {"psnr": 1.5},
        {"psnr": 4.5},
    ]
    assert (result.cost.train_minutes, result.cost.parameters) == (2.5, 5)
