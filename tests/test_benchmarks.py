"""What `python -m benchmarks` keeps and shows; how fast things are is never tested."""

import json
import re
import shutil

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import plots, record

FAKE = '''"""A made-up benchmark.

More of it.
"""
import sys
from benchmarks.record import row
if "--fail" in sys.argv:
    sys.exit(3)
for batch in (1, 8):
    rounds = {"ours": [2.0 * batch, 3.0 * batch], "peer": [1.0 * batch] * 2}
    row("step", "images/s", rounds, batch=batch)
row("memory", "MiB", {"ours": 123.456})
'''


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with one benchmark of its own, and an empty RESULTS.md."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    shutil.copy(record.__file__, folder / "record.py")
    (folder / "fake.py").write_text(FAKE)
    (folder / "RESULTS.md").write_text(f"# Before\n{benchmarks.BEGIN}old{benchmarks.END}After.\n")
    monkeypatch.setattr(benchmarks, "ROOT", tmp_path)
    monkeypatch.setattr(benchmarks, "RESULTS", folder / "results")
    monkeypatch.setattr(benchmarks, "TEXT", folder / "RESULTS.md")
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"fake": ["--whole"]})
    return folder


def test_the_figures_of_the_results_are_those_of_the_records():
    written = benchmarks.TEXT.read_text(encoding="utf-8")
    made = written.partition(benchmarks.BEGIN)[2].partition(benchmarks.END)[0]
    assert made == benchmarks.text(benchmarks.kept()), "run python -m benchmarks --write"
    for path in benchmarks.kept():
        if plots.panels(json.loads(path.read_text(encoding="utf-8"))["rows"]):
            plot = path.with_suffix(".svg").read_text(encoding="utf-8")
            assert benchmarks.digest(path) in plot, "run python -m benchmarks --write"


def test_no_figure_of_the_results_is_written_by_hand():
    before, _, rest = benchmarks.TEXT.read_text(encoding="utf-8").partition(benchmarks.BEGIN)
    by_hand = before + rest.partition(benchmarks.END)[2]
    assert re.findall(r"\d+", by_hand.replace("above 1 says", "")) == []


def test_records_are_those_of_benchmarks_that_there_are():
    stems = {path.stem for path in benchmarks.RESULTS.rglob("*.json")}
    assert stems <= set(benchmarks.BENCHMARKS)
    for name in benchmarks.BENCHMARKS:
        source = (benchmarks.ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        assert f"python -m benchmarks.{name}" in source and "row(" in source, name


def test_a_run_is_kept_and_shown(home):
    assert benchmarks.main(["fake", "--", "--short"]) == 0
    kept = json.loads((home / "results" / "fake.json").read_text(encoding="utf-8"))
    assert kept["command"] == "python -m benchmarks.fake --short"
    assert {"processor", "cores", "load", "revision"} <= kept["machine"].keys()
    assert kept["rows"][0] == {
        "what": "step", "at": {"batch": 1}, "unit": "images/s",
        "rounds": {"ours": [2.0, 3.0], "peer": [1.0, 1.0]},
        "medians": {"ours": 2.5, "peer": 1.0}, "ratios": {"peer": 2.5},
    }  # fmt: skip
    text = (home / "RESULTS.md").read_text(encoding="utf-8")
    assert text.startswith("# Before\n") and text.endswith("After.\n") and "old" not in text
    assert "A made-up benchmark." in text and "More of it" not in text
    assert "| step, batch 8 | images/s | ours 20 | peer 8 | 2.5 |" in text
    assert "| memory | MiB | ours 123.5 |  |  |" in text
    assert "![fake: images/s against batch](results/fake.svg)" in text
    assert "<svg" in (home / "results" / "fake.svg").read_text(encoding="utf-8")


def test_a_run_that_fails_leaves_what_was_kept(home, capsys):
    benchmarks.main(["fake"])
    before = (home / "results" / "fake.json").read_bytes()
    assert benchmarks.main(["fake", "--", "--fail"]) == 1
    assert (home / "results" / "fake.json").read_bytes() == before
    assert "exit code 3" in capsys.readouterr().out


def test_what_a_gpu_found_is_kept_apart(home, monkeypatch):
    benchmarks.main(["fake"])
    before = (home / "results" / "fake.json").read_bytes()
    facts = {**benchmarks.machine(), "gpus": "H200"}
    monkeypatch.setattr(benchmarks, "machine", lambda: facts)
    benchmarks.main(["fake"])
    assert (home / "results" / "fake.json").read_bytes() == before
    text = (home / "RESULTS.md").read_text(encoding="utf-8")
    assert text.index("## fake\n") < text.index("## fake on a GPU\n") < text.index("gpus H200")


def test_names_and_arguments_that_fit_nothing(home):
    for wrong in (["fak"], ["fake", "fake", "--", "--short"]):
        with pytest.raises(SystemExit) as ended:
            benchmarks.main(wrong)
        assert ended.value.code == 2


@pytest.mark.parametrize(("unit", "ratio"), [("images/s", 2.0), ("s", 0.5), ("MiB", 0.5)])
def test_a_ratio_above_one_says_that_ours_is_better(unit, ratio):
    assert record.figures(unit, {"ours": [2.0], "peer": [1.0]})[1] == {"peer": ratio}


def test_a_ratio_is_the_median_of_those_of_neighbours():
    rounds = {"ours": [1.0, 10.0, 4.0], "peer": [1.0, 5.0, 1.0], "once": [2.0]}
    medians, ratios = record.figures("images/s", rounds)
    assert medians == {"ours": 4.0, "peer": 1.0, "once": 2.0}
    assert ratios == {"peer": 2.0, "once": 2.0}
    assert record.figures("dB", {"ours": [30.0], "peer": [20.0]})[1] == {}


def test_programs_take_turns():
    order = []
    ways = {name: lambda name=name: order.append(name) for name in ("ours", "peer")}
    taken = record.alternated(ways, rounds=2, warm_up=1)
    assert order == ["ours", "peer"] * 3
    assert {name: len(seconds) for name, seconds in taken.items()} == {"ours": 2, "peer": 2}
    assert record.rates({"ours": [0.5, 2.0]}, work=4) == {"ours": [8.0, 2.0]}


def test_a_plot_has_a_line_for_each_program_and_a_panel_for_each_work():
    rows = [
        {"what": what, "at": {"batch": batch, "precision": "float32"}, "unit": "images/s",
         "medians": {"ours": 1.0 * batch}}
        for what in ("a", "b") for batch in (8, 1)
    ]  # fmt: skip
    rows.append({"what": "c", "at": {"images": 5}, "unit": "s", "medians": {"ours": 1.0}})
    lines = {f"{what}, precision float32: ours": [(1, 1.0), (8, 8.0)] for what in "ab"}
    assert plots.panels(rows) == {("batch", "images/s"): lines}
