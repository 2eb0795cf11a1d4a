"""A run folder of the format of November 2026 is evaluated, exported and resumed by today's code.

tests/golden/old_run was written by revision 1631979 with
``fit --model pix2pix --data demo --steps 6`` (one filter, 32 pixels; see its config.json) and
interrupted after step 5. Its report/per_image.csv was written by ``evaluate --no-slow`` of that
revision, and uninterrupted_history.csv is the history of the same training without interruption.
"""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfrecon import evaluate, export
from tfrecon.inference.restorer import open_export
from tfrecon.training import loop
from tfrecon.training.run import open_run

GOLDEN = Path(__file__).parent / "golden" / "old_run"

OTHER_PROCESSOR = 1e-5
"""Relative and absolute difference allowed in a score: sums are rounded in another order on another
processor. On the machine that wrote the run they are equal to the last digit."""


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old") / "old_run"
    shutil.copytree(GOLDEN, folder)
    return folder


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def close(value, relative):
    return pytest.approx(float(value), rel=relative, abs=relative)


def test_an_old_run_has_its_scores(old_run):
    assert evaluate.main([str(old_run), "--no-slow"]) == 0
    scores = {(row["id"], row["method"]): row for row in rows(old_run / "report" / "per_image.csv")}
    expected = rows(GOLDEN / "report" / "per_image.csv")
    assert {row["method"] for row in expected} >= {"pix2pix", "harmonic fill"}
    for row in expected:
        now = scores[row["id"], row["method"]]
        for column in row.keys() - {"id", "method"}:
            assert float(now[column]) == close(row[column], OTHER_PROCESSOR), (row["id"], column)


def test_an_old_run_is_exported(old_run, tmp_path):
    assert export.main([str(old_run), "--out", str(tmp_path / "export")]) == 0
    x = np.random.default_rng(0).random((1, 32, 32, 4), np.float32).round(2)
    restored = open_export(tmp_path / "export").restore(x)
    np.testing.assert_allclose(restored, open_run(old_run).load_model()(x), atol=OTHER_PROCESSOR)


def test_an_old_run_is_resumed_to_the_end_of_an_uninterrupted_one(tmp_path):
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "resumed"))
    loop.train(open_run(folder).config, folder, resume=True)
    expected = rows(GOLDEN / "uninterrupted_history.csv")
    history = rows(folder / "history.csv")
    assert [row["step"] for row in history] == [row["step"] for row in expected] == ["2", "4", "6"]
    # Adam turns the rounding of another processor into steps of another size.
    for name, value in expected[-1].items():
        assert float(history[-1][name]) == close(value, 1e-3), name
