"""Outputs that are not finite: worst everywhere, told everywhere. Evaluations that are stopped:
they go on where they were, to the same scores bit for bit."""

import json
import math
import os
import re
import shutil
import signal

import numpy as np
import pytest
from fake_runs import contest_run, fake_run, read_csv
from fakes import animals_contest
from keras import ops
from made_up_comparison import BASE, comparison_of, shifted
from PIL import Image

from tfrecon import evaluate
from tfrecon.base import files, images
from tfrecon.base.errors import Stopped
from tfrecon.base.journal import Journal
from tfrecon.metrics import kid
from tfrecon.metrics.measures import MEASURES
from tfrecon.reports import baselines, leaderboard, page, pictures, scores, scoring, statistics
from tfrecon.reports.comparison import compare, read_report
from tfrecon.reports.evaluation import JOURNAL, evaluate_runs
from tfrecon.reports.sentences import sentences
from tfrecon.reports.verdicts import verdict


def failing(values, *places):
    values = np.array(values, float)
    values[list(places)] = MEASURES["psnr"].worst
    return values


def same(x):
    return x[..., :3]


def infinite_for_bright(x, limit=0.381):
    """A light grey, but nothing finite for images whose mean is above `limit`."""
    return ops.where(
        ops.mean(x[..., :3], (1, 2, 3), keepdims=True) > limit, np.inf, 0.7 + 0 * same(x)
    )


@pytest.fixture(autouse=True)
def known_measures():
    """Those of a user's metrics are gone behind each test."""
    before = dict(MEASURES)
    yield
    MEASURES.clear()
    MEASURES.update(before)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run that answers all and one, much better on those that it answers, that fails on some;
    and the report on both."""
    folder = tmp_path_factory.mktemp("two")
    root = str(animals_contest(folder / "contest", count=3))
    data = {"recipe": "animals_inpainting", "root": root}
    grey = fake_run(folder, lambda x: 0 * same(x) + 0.5, name="grey", **data)
    fails = fake_run(folder, infinite_for_bright, name="fails", **data)
    return grey, fails, evaluate_runs([grey, fails], split="train", slow=False)


def test_a_method_that_fails_on_its_hardest_images_wins_no_table(two):
    *_, report = two
    count = report.failed("fails")
    assert 0 < count < len(report.ids) == 10
    assert report.mean("fails") > report.mean("grey"), "by its mean alone it would win"
    assert report.ranked(["grey", "fails", "damaged input"])[-1] == "fails"
    assert report.ranked(report.names)[0] == "grey"
    told = f"fails failed on {count} of 10 images"
    assert report.verdicts[0].startswith(told) and "NO better" in " ".join(report.verdicts)
    said = verdict(report, "fails", ["damaged input"])
    assert said.startswith(f"fails FAILED on {count} of 10 images; Hole PSNR ")
    assert f"WORSE than damaged input, as {told}" in said and "better than d" not in said
    assert f"better than fails, as {told}" in verdict(report, "grey", ["fails"])


def test_failures_have_a_column_of_their_own_in_every_table(two):
    grey, fails, report = two
    count = report.failed("fails")
    lines = read_csv(report.path / "per_image.csv")
    assert sum(line["failed"] == "1" for line in lines if line["method"] == "fails") == count
    assert {line["failed"] for line in lines if line["method"] == "grey"} == {"0"}
    assert all(line["hole_psnr"] == line["mse"] == "" for line in lines if line["failed"] == "1")
    assert (
        re.search(r"failed images.*\n(.*\n)*fails .* \d", report.text)
        and "worse than" in report.text
    )
    markdown = (report.path / "summary.md").read_text(encoding="utf-8")
    assert "| failed images |" in markdown
    (row,) = [r for r in read_csv(report.path / "summary.csv") if r["metric"] == "failed"]
    assert (row["method"], float(row["mean"])) == ("fails", count)
    read = read_report(report.path, [grey, fails])
    found = compare("both", dict(zip(report.names, ([one] for one in read), strict=True)))
    assert [result.name for result in found.results] == ["grey", "fails"]
    assert found.failed("fails") == count
    document = page.page(found, sentences=sentences(found), notes=[], pictures={}, environment={})
    assert "Failed images" in document and f"fails failed on {count} of 10" in document
    assert "Failed images" in page.markdown(found, sentences(found))
    csv = leaderboard.leaderboard_csv(found).splitlines()
    failed = [line.split(",")[csv[0].split(",").index("failed")] for line in csv[1:]]
    assert sorted(failed) == ["", "", "", "", str(count)]


def test_a_failure_is_the_largest_difference_of_a_test_and_in_no_mean():
    good, bad = shifted(0), failing(shifted(3), 0, 1)
    found = comparison_of({"good": good, "bad": bad})
    (pair,) = statistics.pairs(found, "psnr")
    assert (pair.first, pair.second, pair.difference) == ("good", "bad", math.inf)
    assert pair.is_real and pair.gain == (math.inf,) * 3
    large = np.where(np.isinf(bad), 1e9, good - bad)
    assert pair.effect == statistics.rank_biserial(large)
    assert pair.p == statistics.wilcoxon(large)
    assert found.mean("bad") == pytest.approx(bad[2:].mean())
    assert statistics.groups(found) == [], "they share no letter"
    said = " ".join(sentences(found))
    assert "good has the best PSNR" in said and "the next, bad, failed on 2 of 40 images." in said
    both = comparison_of({"one": failing(BASE, 3), "other": failing(BASE + 1, 3)})
    (pair,) = statistics.pairs(both, "psnr")
    assert (pair.first, pair.n, pair.difference) == ("other", 39, pytest.approx(1))


def test_an_ablation_has_no_label_that_fails_as_its_best():
    values = {"a-x": failing(BASE + 9, 5), "a-y": BASE + 9, "b-x": BASE, "b-y": BASE + 1}
    labels = {name: dict(zip(("one", "two"), name.split("-"), strict=True)) for name in values}
    axes = {"one": ["a", "b"], "two": ["x", "y"]}
    found = comparison_of(values, axes=axes, labels=labels)
    (row,) = statistics.ablations(found, "one")
    assert (row.first, row.second, row.difference) == ("a", "b", -math.inf)
    assert [result.name for result in found.results][-1] == "a-x"


def test_pictures_of_what_is_not_finite_say_so(two):
    *_, report = two
    assert pictures.chosen({"a": 30.0, "b": -math.inf, "c": math.nan}, MEASURES["psnr"], 1) == {
        "best": ["a"], "median": ["b"], "worst": ["b"],
    }  # fmt: skip
    shown = images.marked(np.full((64, 64, 3), np.nan, np.float32))
    assert 0.1 < shown.mean() < 0.8 and len(np.unique(shown)) > 1
    whole = np.zeros((8, 8, 3), np.float32)
    assert images.marked(whole) is whole
    worst = np.asarray(Image.open(report.path / "worst.png"))
    assert (worst == 0).all(-1).mean() < 0.3


def test_numbers_that_a_users_metric_does_not_give_are_counted(tmp_path, monkeypatch):
    code = "import tensorflow as tf\ndef blur(y, p, masks=None):\n"
    code += "    value = tf.reduce_mean(y, (1, 2, 3))\n"
    code += "    return tf.where(value > 0.69, float('inf'), value)\n"
    (tmp_path / "gap_metrics.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    run = contest_run(tmp_path, same)
    report = evaluate_runs(
        [run], split="train", baselines=False, metrics=["gap_metrics.blur"], limit=6
    )
    gaps = int(np.isnan(report.values("pix2pix", "gap_metrics.blur")).sum())
    assert 0 < gaps < 6 and report.failed("pix2pix") == 0
    text = " ".join(report.text.split())
    assert f"gap_metrics.blur gives no finite number for {gaps} of 6 images of pix2pix" in text


def test_scores_are_read_back_as_they_were_written(tmp_path):
    head = ["id", "method", "mse", "psnr"]
    worst = [MEASURES[column].worst for column in head[2:]]
    lines = [["a", "m", 0.5, 3.0], ["b", "m", *worst], ["c", "m", math.nan, 4.0]]
    path = tmp_path / "per_image.csv"
    path.write_text("".join(scores.per_image_csv(head, [lines[:2], lines[2:]], failed=True)))
    assert scores.read_scores(path).equals(scores.frame(head, lines))


# --- stopped and continued


@pytest.fixture
def five(tmp_path, monkeypatch):
    """A run to evaluate in three batches, the second of which a signal may interrupt; with KID."""
    for name, value in (("LEAST", 2), ("MOST", 4)):
        monkeypatch.setattr(scoring, name, value)
    monkeypatch.setattr(kid, "LEAST", 2)
    monkeypatch.setattr(scoring, "kid_at_hand", lambda size: True)
    monkeypatch.setattr(scoring, "kid_features", lambda: lambda x: ops.mean(x, (1, 2)))
    monkeypatch.setattr(signal, "SIG_IGN", None)
    return contest_run(tmp_path, infinite_for_bright)


def scored(run, **options):
    return evaluate_runs([run], split="train", batch_size=4, slow=False, **options)


def interrupted(monkeypatch, calls, act):
    """Counts how often a baseline is asked, and acts in the second batch."""
    fill = baselines.mean_colour_fill

    due = [act]

    def counting(images, masks):
        calls.append(len(images))
        if len(calls) == 3 and due:  # the first batch of a size is done twice, to trace graphs
            due.pop()()
        return fill(images, masks)

    monkeypatch.setattr(baselines, "mean_colour_fill", counting)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(None, marks=pytest.mark.slow),
    ],
)
def test_an_evaluation_goes_on_where_it_was_stopped(five, monkeypatch, capsys, tmp_path, number):
    whole = scored(five)
    kept = {name: (whole.path / name).read_bytes() for name in ("per_image.csv", "worst.png")}
    shutil.rmtree(whole.path)
    calls: list[int] = []

    def crash():
        raise RuntimeError("crash")

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupted(
        monkeypatch, calls, crash if number is None else lambda: os.kill(os.getpid(), number)
    )
    with pytest.raises(RuntimeError if number is None else Stopped) as caught:
        scored(five)
    signal.signal(signal.SIGINT, before[0])
    done = 4 if number is None else 8
    if number is not None:
        assert caught.value.number == number
        assert str(caught.value) == f"stopped by {signal.Signals(number).name} after 8 of 10 photos"
    assert [path.name for path in whole.path.iterdir()] == [JOURNAL], "nothing half-written"
    capsys.readouterr()
    calls.clear()
    again = scored(five)
    assert f"{done} of 10 photos were scored before; {10 - done} to go" in capsys.readouterr().out
    assert calls == ([2, 2] if number else [4, 4, 2, 2]), "what was scored is not scored again"
    assert not (again.path / JOURNAL).exists()
    assert {name: (again.path / name).read_bytes() for name in kept} == kept
    assert again.scores.equals(whole.scores)
    for report in (whole, again):
        assert report.summary.keys() == again.summary.keys()


def test_what_was_scored_otherwise_is_not_gone_on_with(five, monkeypatch):
    def one_batch(scorer, samples, config, *, journal, key, **options):
        found.append(scoring._kept(journal, key))
        journal.add('{"batch": 1}')
        raise RuntimeError("crash")

    found: list[list] = []
    monkeypatch.setattr(scoring, "score", one_batch)

    def begun(**options):
        with pytest.raises(RuntimeError):
            scored(five, **options)
        return found.pop()

    assert begun() == [] and begun() == [{"batch": 1}]
    kept = (five.path / "report-train" / JOURNAL).read_text()
    metric = "tfrecon.metrics.pixel_errors.mse"
    for change in ({"tile": 32}, {"metrics": [metric]}, {"baselines": False}, {"compare": "data"}):
        (five.path / "report-train" / JOURNAL).write_text(kept)
        if change.pop("compare", None):
            photo = next((five.path.parents[1] / "contest").rglob("Unmasked_Train/*.png"))
            Image.fromarray(np.asarray(Image.open(photo)) // 2).save(photo)
        assert begun(**change) == []
    (five.path / "report-train" / JOURNAL).write_text(kept)
    (five.path / "best.npz").write_bytes(b"other weights")
    assert begun() == []


def test_two_evaluations_do_not_write_one_folder(five):
    with files.claimed(five.path / "report-train"), pytest.raises(files.Taken):
        scored(five)


def test_a_journal_that_a_crash_cut_off_loses_its_last_entry_only(tmp_path):
    path = tmp_path / "journal"
    array = np.array([1e-45, np.nan, -np.inf, 0.1], np.float32)
    whole = ["key", json.dumps({"a": scoring.packed(array)}), json.dumps({"b": 2})]
    text = "".join(f"{line}\n" for line in whole)
    for torn, count in ((text, 2), (text[:-1], 1), (text[:-3] + "\0\0\n", 1), (text + "\0\n", 2)):
        path.write_text(torn)
        entries = scoring._kept(Journal(path), "key")
        assert entries == [json.loads(line) for line in whole[1 : 1 + count]]
        np.testing.assert_array_equal(scoring.unpacked(entries[0]["a"]), array)
        assert path.read_text() == "".join(f"{line}\n" for line in whole[: 1 + count])
    assert scoring._kept(Journal(path), "another key") == []


def test_the_command_that_goes_on_is_the_same_command(five, monkeypatch, capsys):
    monkeypatch.setattr("tfrecon.training.run.open_run", lambda path: five)
    interrupted(monkeypatch, [], lambda: os.kill(os.getpid(), signal.SIGTERM))
    words = [str(five.path), "--split", "train", "--no-slow", "--batch-size", "4"]
    assert evaluate.main(words) == 143
    assert f"go on with python -m tfrecon.evaluate {' '.join(words)}\n" in capsys.readouterr().err
