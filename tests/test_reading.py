"""Reports read back from their files, and compared as `evaluate RUN RUN` does it."""

import pytest
from fake_runs import contest_run, grey_and_same, read_csv

from tfrecon.base.errors import UserError
from tfrecon.metrics.measures import MEASURES
from tfrecon.reports import baselines
from tfrecon.reports.comparison import compare, read_report
from tfrecon.reports.costs import from_csv
from tfrecon.reports.evaluation import data_config, evaluate_runs
from tfrecon.reports.page import write
from tfrecon.reports.scores import images_of


def test_what_was_written_is_read_and_compared(tmp_path):
    grey, same = grey_and_same(tmp_path)
    report = evaluate_runs([grey, same], split="train", slow=False)
    scored = read_report(report.path, [grey, same])
    found = compare("two", {one.run.name: [one] for one in scored})
    assert found.metric == "hole_psnr" and [r.name for r in found.results] == ["grey", "same"]
    fills = {"damaged input", *baselines.fills(jpeg=True)} - {baselines.BIHARMONIC}
    assert set(found.baselines) == fills
    costs = {
        line["metric"]: float(line["mean"])
        for line in read_csv(report.path / "summary.csv")
        if line["method"] == "same" and line["region"] == "method"
    }
    cost = found.results[1].cost
    assert cost == from_csv(costs)
    assert (cost.train_minutes, cost.train_memory_gib, cost.parameters) == (1.5, 2.5, 0)

    sentences = write(found, report.path, data_config(grey, None, None), "train")
    assert sentences[0].startswith("Of 2 results on 10 images grey has the best Hole PSNR")
    assert any("Hole PSNR NO better than methods without" in line for line in sentences)
    page = (report.path / "report.html").read_text(encoding="utf-8")
    assert page.count('type="range"') == 6, "best, median and worst of each"


def test_what_a_user_declared_of_a_metric_is_read_with_the_report(tmp_path, monkeypatch):
    """Another process has not seen the function: by default it would take more for better."""
    (tmp_path / "my_metrics.py").write_text(
        "import tensorflow as tf\n"
        "from tfrecon.metrics.measures import Measure\n"
        "def blur(y_true, y_pred, masks=None):\n"
        "    return tf.reduce_mean((y_true - y_pred) ** 2, axis=(1, 2, 3))\n"
        "blur.measure = Measure('blur', 'Blur', 'less', '.3f')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    runs = grey_and_same(tmp_path)
    report = evaluate_runs(runs, split="train", slow=False, metrics=["my_metrics.blur"])
    for column in ("my_metrics.blur", "hole_my_metrics.blur"):
        del MEASURES[column]
    scored = {scores.run.name: [scores] for scores in read_report(report.path, runs)}
    assert MEASURES["hole_my_metrics.blur"].head == "Hole Blur ↓"
    ranked = compare("two", scored, metric="my_metrics.blur").results
    assert [result.name for result in ranked] == ["grey", "same"], "less is better"
    del MEASURES["my_metrics.blur"], MEASURES["hole_my_metrics.blur"]


def test_a_damaged_report_is_named(tmp_path):
    run = contest_run(tmp_path, lambda x: x[..., :3])
    report = evaluate_runs([run], split="train", slow=False)
    (whole,) = read_report(report.path, [run])
    assert len(images_of(whole.run_scores)) == 10 and whole.facts["split"] == "train"
    assert len(whole.facts["data"]) == 32 and whole.facts["code"].keys() == {"revision", "clean"}
    for name in ("evaluation.json", "per_image.csv", "summary.csv"):
        text = (report.path / name).read_text(encoding="utf-8")
        (report.path / name).write_text(text[: len(text) // 2] + "\x00,,,,")
        with pytest.raises(UserError, match=r"cannot be read .*tfrecon\.evaluate"):
            read_report(report.path, [run])
        (report.path / name).write_text(text)
    rows = (report.path / "per_image.csv").read_text(encoding="utf-8").splitlines()
    (report.path / "per_image.csv").write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(UserError, match="of 9 of 10 images"):
        read_report(report.path, [run])
