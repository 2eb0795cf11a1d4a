"""The table against known cases, the baselines, and whole reports on made-up runs."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fake_runs import contest_run, fake_run, grey_and_same, read_csv
from fakes import animals_contest
from made_up_comparison import frame, made_up
from PIL import Image

from tfrecon import evaluate
from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.inference import places
from tfrecon.metrics import kid
from tfrecon.metrics.artefacts import ARTEFACTS
from tfrecon.metrics.logged import METRICS
from tfrecon.metrics.measures import MEASURES
from tfrecon.reports import baselines, evaluation, pictures, scoring
from tfrecon.reports.evaluation import JOURNAL, data_config, evaluate_runs, report_name
from tfrecon.reports.scores import Board, bootstrap, summarise, summary_csv
from tfrecon.reports.sentences import against_untrained
from tfrecon.reports.summaries import summary_markdown, summary_text
from tfrecon.reports.verdicts import rivals, screen, verdict
from tfrecon.studies import study_report

ELSEWHERE = ("certified", "exact_pixels", "exact_images")
ALWAYS = {c: m for c, m in MEASURES.items() if c not in ELSEWHERE}
WHOLE = [column for column, measure in ALWAYS.items() if measure.region == "image"]
HOLES = [column for column, measure in ALWAYS.items() if measure.region == "holes"]
AT_HAND = [column for column in ALWAYS if not column.endswith("lpips_alex")]


def rows(method, values):
    psnr = [-10 * math.log10(value) for value in values]
    return frame(method, [f"photo {n}" for n in range(len(values))], {"mse": values, "psnr": psnr})


def methods_of(report):
    return list(dict.fromkeys(method for method, _ in report.summary))


def test_every_metric_is_declared_with_its_regions():
    assert {measure.metric for measure in ALWAYS.values()} == {*METRICS, "lpips_alex", *ARTEFACTS}
    assert {"mse255", "checkerboard"} == {*ARTEFACTS} & {*WHOLE} - {
        c.removeprefix("hole_") for c in HOLES
    }
    assert "hole_seam" in HOLES and "seam" not in WHOLE


def test_bootstrap_agrees_with_the_normal_interval_and_is_repeatable():
    values = np.random.default_rng(0).normal(5, 2, (400, 1))
    low, high = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert low[0] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high[0] == pytest.approx(values.mean() + half, abs=0.1 * half)
    np.testing.assert_array_equal(bootstrap(values), (low, high))
    assert bootstrap(values, seed=1)[0] != low


def test_bootstrap_of_two_values_by_hand():
    # means of two draws from {0, 1}: 0 (1/4), 0.5 (1/2), 1 (1/4)
    low, high = bootstrap(np.array([[0.0], [1.0]]), level=0.4)
    assert (low[0], high[0]) == (0.5, 0.5)
    low, high = bootstrap(np.array([[0.0], [1.0]]))
    assert (low[0], high[0]) == (0, 1)


def test_missing_values_are_left_out():
    values = np.array([[3.0, np.nan, np.nan], [3.0, 2.0, np.nan], [3.0, 2.0, np.nan]])
    low, high = bootstrap(values)
    np.testing.assert_array_equal(low, [3, 2, np.nan])
    np.testing.assert_array_equal(high, [3, 2, np.nan])
    cell = summarise(frame("m", ["a", "b", "c"], {"mse": [1.0, math.nan, 3.0]}))["m", "mse"]
    assert (cell.n, cell.mean, cell.std) == (2, 2.0, pytest.approx(math.sqrt(2)))


def test_summary_of_one_image_has_no_spread():
    summary = summarise(frame("m", ["a"], {"mse": [0.25]}))
    cell = summary["m", "mse"]
    assert (cell.n, cell.mean, cell.low, cell.high) == (1, 0.25, 0.25, 0.25)
    assert math.isnan(cell.std)
    assert "0.250 ± –" in summary_text(summary)
    assert "m,image,mse,1,0.25,,0.25,0.25" in summary_csv(summary)


def test_verdicts_name_what_the_model_does_not_beat():
    scores = [rows("net", [0.02, 0.04]), rows("dark", [0.3, 0.5]), rows("fill", [0.01, 0.02])]
    board = Board(pl.concat(scores), "psnr")

    def said(*others, column="mse"):
        return against_untrained(board, {"net": others}, column)

    assert said("dark", "fill") == [
        "By MSE NO better than methods without training: net 0.0300 (fill 0.0150); 1 of 1 results."
    ]
    assert "(fill 18.49 dB)" in said("dark", "fill", column="psnr")[0]
    assert said("dark") == [
        "By MSE every result is better than each method without training that it is held against."
    ]
    equal = Board(pl.concat([rows("net", [0.1]), rows("dark", [0.1])]), "psnr")
    assert "NO better" in against_untrained(equal, {"net": ["dark"]}, "mse")[0]
    assert said() == []


def test_text_is_aligned_and_fits_a_terminal():
    values = {name: [0.0123] * 2 for name in METRICS}
    values |= {f"hole_{name}": [23.456] * 2 for name in METRICS}
    scores = [frame(method, ["1", "2"], values) for method in ("a", "biharmonic fill")]
    summary = summarise(pl.concat(scores))
    text = summary_text(summary)
    assert text.index("Holes only, n = 2") < text.index("Whole image, n = 2")
    assert max(map(len, text.splitlines())) <= 80
    block = text.split("\n\n")[1].splitlines()
    ends = {line.rindex("]") for line in block if "]" in line}
    assert len(ends) == 1, "the columns end at one place"
    assert "SSIM 11×11" in text and "SSIM 7×7" in text
    markdown = summary_markdown(summary, {})
    assert {line.count("|") for line in markdown.splitlines() if line.startswith("|")} == {8}


def damaged_batch():
    random = np.random.default_rng(0)
    image = random.random((2, 24, 31, 3), np.float32)
    mask = np.zeros((2, 24, 31, 1), np.float32)
    mask[0, 5:12, 6:14] = 1
    mask[1] = 1
    return image * (1 - mask), mask


@pytest.mark.parametrize("name", baselines.fills(jpeg=True))
def test_fills_keep_known_pixels_and_grey_out_what_nothing_is_known_of(name):
    image, mask = damaged_batch()
    before = image.copy()
    filled = baselines.fills(jpeg=True)[name](image, mask)
    assert filled.dtype == np.float32 and filled.shape == image.shape
    known = np.broadcast_to(mask == 0, image.shape)
    np.testing.assert_array_equal(filled[known], image[known])
    assert filled[0][mask[0, ..., 0] > 0].mean() > 0.3, "the hole is filled"
    np.testing.assert_array_equal(filled[1], 0.5)
    np.testing.assert_array_equal(image, before)


def test_mean_colour_is_that_of_the_known_pixels():
    image, mask = damaged_batch()
    colour = image[0][mask[0, ..., 0] == 0].mean(0)
    filled = baselines.mean_colour_fill(image, mask)
    np.testing.assert_allclose(filled[0, 6, 7], colour, atol=1e-5)


def test_biharmonic_recovers_a_ramp():
    ramp = np.tile(np.linspace(0, 1, 30, dtype=np.float32)[None, :, None], (1, 24, 1, 3))[:1]
    ramp = ramp.reshape(1, 24, 30, 3)
    mask = np.zeros((1, 24, 30, 1), np.float32)
    mask[:, 8:16, 10:20] = 1
    filled = baselines.biharmonic_fill(ramp * (1 - mask), mask)
    np.testing.assert_allclose(filled, ramp, atol=1e-3)


def test_biharmonic_with_a_border_does_not_read_the_pixels_beside_the_hole():
    image, mask = damaged_batch()
    image, mask = image[:1], mask[:1]
    ringing = image.copy()
    ringing[:, 3:14, 4:16] = 1 - ringing[:, 3:14, 4:16]  # two pixels around the hole
    hole = mask[0, ..., 0] > 0
    filled = [baselines.biharmonic_fill(x, mask, border_px=2)[0] for x in (image, ringing)]
    np.testing.assert_allclose(filled[0][hole], filled[1][hole], atol=1e-5)
    np.testing.assert_array_equal(filled[1][~hole], ringing[0][~hole])
    plain = [baselines.biharmonic_fill(x, mask)[0] for x in (image, ringing)]
    assert np.abs(plain[0][hole] - plain[1][hole]).max() > 0.1


def test_grid_shows_each_picture_in_its_column():
    flat = [np.full((16, 16, 3), value, np.float32) for value in (0.2, 0.4, 0.6)]
    row = ("a row with a very long name " * 9, flat)
    shown = pictures.grid("best", ("input", "output", "target"), [row, row])
    middle = shown[pictures.LABEL * 3 + 100]
    values = [int(middle[pictures.left_px(column) + 100, 0]) for column in range(3)]
    assert values == [51, 102, 153]
    assert (shown[:, -pictures.GAP :] == 255).all(), "no text runs over the edge"


def test_pictures_of_different_images_have_different_names():
    ids = ["a.v1", "a.v2", "a.png", "a.JPEG", "a/b", "a_b", "b/c.tif", "a-2"]
    names = places.file_names(ids)
    assert list(names.values()) == ["a.v1", "a.v2", "a", "a-2", "a_b", "a_b-2", "b_c", "a-2-2"]


def test_report_of_a_model_that_does_nothing_equals_the_damaged_input(tmp_path):
    run = contest_run(tmp_path, lambda x: x[..., :3])
    report = evaluate_runs([run], split="train", batch_size=3)
    assert report.path == run.path / "report-train"
    assert {path.name for path in report.path.iterdir()} == {
        "per_image.csv", "summary.txt", "summary.md", "summary.csv", "evaluation.json",
        "best.png", "median.png", "worst.png",
    }  # fmt: skip
    assert {path.name for path in report.path.iterdir()} == set(report.files)
    lines = read_csv(report.path / "per_image.csv")
    methods = ["pix2pix", "damaged input", *baselines.fills(jpeg=True)]
    assert list(dict.fromkeys(line["method"] for line in lines)) == methods
    ids = {line["id"] for line in lines}
    assert len(lines) == len(ids) * len(methods)
    by_key = {(line["id"], line["method"]): line for line in lines}
    for id in ids:
        for column in AT_HAND:
            assert by_key[id, "pix2pix"][column] == by_key[id, "damaged input"][column] != ""
    mine = report.summary["pix2pix", "hole_mse"]
    scores = [float(by_key[id, "pix2pix"]["hole_mse"]) for id in ids]
    assert "failed" not in lines[0] and "failed" not in report.text, "as nothing did"
    assert mine.n == len(ids) and mine.mean == pytest.approx(np.mean(scores), rel=1e-5)
    (by_mse,) = [line for line in report.verdicts if line.startswith("By Hole MSE ")]
    assert "NO better than methods without training: pix2pix 0." in by_mse
    assert "harmonic fill 0." in by_mse
    assert (report.path / "summary.txt").read_text(encoding="utf-8").strip() == report.text
    assert "| pix2pix |" in (report.path / "summary.md").read_text(encoding="utf-8")
    for name in ("best", "median", "worst"):
        assert images.size(report.path / f"{name}.png")[1] > 3 * 64
    fits(report.screen(["the report: here"]))


def test_ordered_baselines_and_switches(tmp_path):
    run = contest_run(tmp_path, lambda x: x[..., :3])
    report = evaluate_runs([run], split="train", slow=False)
    ordered = ("harmonic fill", "mean-colour fill", "damaged input")
    means = [report.summary[name, "hole_mse"].mean for name in ordered]
    assert means == sorted(means)
    assert "biharmonic" not in report.text
    alone = evaluate_runs([run], split="train", baselines=False)
    assert methods_of(alone) == ["pix2pix"] and alone.verdicts == []
    fits(alone.screen(["somewhere"]))


def test_unmasked_data_has_no_hole_columns_and_no_fills(tmp_path):
    for kind, value in (("damaged", 40), ("clean", 80)):
        for index in range(3):
            path = tmp_path / "pairs" / kind / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (value, value + index, 9)).save(path)
    recipe = {"name": "folder", "inputs": "damaged", "targets": "clean"}
    run = fake_run(
        tmp_path, lambda x: 2 * x, mask=False, recipe=recipe, root=str(tmp_path / "pairs"),
        image_size=32,
    )  # fmt: skip
    report = evaluate_runs([run], split="train")
    names = ["damaged input", *baselines.DENOISERS]
    assert methods_of(report) == ["pix2pix", *names]
    assert {column for _, column in report.summary} == {*AT_HAND} - {*HOLES}
    assert report.verdicts == [
        f"By {metric} every result is better than each method without training that it is held "
        "against."
        for metric in ("MSE", "PSNR")
    ]
    quick = evaluate_runs([run], split="train", slow=False)
    assert {*methods_of(report)} - {*methods_of(quick)} == {"non-local means"}
    said = report.screen(["the report: here"])
    fits(said)
    assert said.startswith("pix2pix has PSNR ") and "better than damaged input: +" in said


def test_several_runs_stand_in_one_table(tmp_path):
    grey, same = grey_and_same(tmp_path)
    report = evaluate_runs([grey, same], split="train", ensemble=True, tile=48, slow=False)
    assert report.path == grey.path.parent / "compare-grey-same-train"
    rows = [name + way for name in ("grey", "same") for way in ("", ", ×8 ensemble", ", in tiles")]
    assert methods_of(report)[:6] == rows
    mse = [report.summary[row, "mse"].mean for row in rows]
    np.testing.assert_allclose(mse[:3], mse[0], rtol=1e-5)
    # Neither restoration depends on how the image is turned.
    assert mse[0] == mse[1]
    shift = report.summary["same", "hole_colour_shift"].mean
    assert report.summary["damaged input", "hole_colour_shift"].mean == shift
    scores = {name: report.summary[name, "hole_psnr"].mean for name in ("grey", "same")}
    assert any(
        line.startswith("by PSNR: ") and f"grey {scores['grey']:.2f} dB" in line
        for line in report.verdicts
    )
    assert any(line.startswith("grey, ×8 ensemble: +0.00 dB for ") for line in report.verdicts)
    assert not any("damaged input is" in line for line in report.verdicts)
    lines = read_csv(report.path / "summary.csv")
    costs = {(line["method"], line["metric"]): line["mean"] for line in lines}
    assert costs["same", "train_minutes"] == "1.5" and ("grey", "train_minutes") not in costs
    assert costs["grey", "parameters"] == "0"
    times = [float(costs[name, "seconds_per_image"]) for name in rows]
    assert times[1] > times[0] > 0 and ("damaged input", "seconds_per_image") not in costs
    markdown = (report.path / "summary.md").read_text(encoding="utf-8")
    assert "| method | parameters | GMAC | images/s | train minutes | " in markdown
    said = report.screen(["the report: here"])
    fits(said)
    assert said.startswith("grey has Hole PSNR ") and "WORSE than harmonic fill: −" in said
    assert images.size(report.path / "best.png")[1] > 4 * 64


def fits(screen):
    lines = screen.splitlines()
    assert len(lines) <= 25 and max(map(len, lines)) <= 100, screen


def test_what_a_comparison_and_a_study_print_fits_one_screen(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs = {str(run.path): run for run in grey_and_same(Path("."))}
    monkeypatch.setattr("tfrecon.training.run.open_run", lambda path: runs[path])
    assert evaluate.main([*runs, "--split", "train", "--ensemble", "--no-slow"]) == 0
    said = capsys.readouterr().out
    fits(said)
    assert said.startswith("Of 2 results on 10 images grey has the best Hole PSNR, ")
    assert "grey, ×8 ensemble" in said and "checkpoints/compare-grey-same-train\n" in said
    for comparison in (made_up(Path("alone")), made_up(Path("seeds"), taps=False, seeds=3)):
        winner = "The winner is one of many results. " * 9
        said = study_report.told(comparison, winner, Path("checkpoints/own"))
        fits(said)
        assert "Without a result: vit_base block3, fourier (1)." in said
        assert said.splitlines()[-2].endswith("checkpoints/own/report.html")


def test_a_screen_of_many_methods_keeps_the_ones_that_decide():
    names = [f"a_run_with_a_rather_long_name_of_number_{n}" for n in range(40)]
    columns = ("hole_psnr", "hole_ssim", "hole_lpips_alex", "psnr")
    values = np.linspace(100, 99, 40)
    every = [
        frame(name, ["1", "2"], {column: [value, value + 1] for column in columns})
        for name, value in zip([*names, "do nothing", "fill"], [*values, -70.0, -60.0], strict=True)
    ]
    board = Board(pl.concat(every), "hole_psnr")
    sentence = verdict(board, names[0], ["do nothing", "fill"])
    assert "better than do nothing: +170.00 dB [+170.00, +170.00]; better than fill" in sentence
    wanted = [names[0], *rivals(board, ["do nothing", "fill"])]
    long = ["A sentence that is very long, " * 30, sentence]
    for sentences in ([sentence], long):
        said = screen(board, sentences, wanted, ["the report", "and more"])
        fits(said)
        assert "\ndo nothing " in said and "\nfill " in said and "more in the report" in said
        assert "a_run_with" in said and said.endswith("the report\nand more")


def test_kid_looks_at_an_even_sample(tmp_path, monkeypatch):
    looked = []

    def features(images):
        looked.append(len(images))
        return np.asarray(images, np.float64).mean(1).reshape(len(images), -1)

    for name, value in (("LEAST", 2), ("MOST", 4)):
        monkeypatch.setattr(scoring, name, value)
    monkeypatch.setattr(kid, "LEAST", 2)
    monkeypatch.setattr(scoring, "kid_at_hand", lambda size: True)
    monkeypatch.setattr(scoring, "kid_features", lambda: features)
    run = contest_run(tmp_path, lambda x: x[..., :3])
    report = evaluate_runs([run], split="train", batch_size=3, slow=False)
    lines = read_csv(report.path / "per_image.csv")
    images_of_one = sum(line["method"] == "pix2pix" for line in lines)
    methods = len({line["method"] for line in lines})
    expected = -(-images_of_one // -(-images_of_one // 4))  # every second, third, …
    assert sum(looked) == expected * (1 + methods) < images_of_one * (1 + methods)
    costs = {line["method"]: line["mean"] for line in read_csv(report.path / "summary.csv")
             if line["metric"] == "kid"}  # fmt: skip
    assert costs["pix2pix"] == costs["damaged input"] != costs["harmonic fill"]


def test_runs_that_cannot_be_compared_are_errors(tmp_path):
    root = str(animals_contest(tmp_path / "contest", count=3))
    data = {"recipe": "animals_inpainting", "root": root}
    one = fake_run(tmp_path, lambda x: x[..., :3], name="one", **data)
    small = fake_run(tmp_path, lambda x: x[..., :3], name="small", **data, image_size=32)
    with pytest.raises(UserError, match=r"'small' are scored .* in image_size: 64 and 32"):
        evaluate_runs([one, small], split="train")
    other = fake_run(
        tmp_path, lambda x: x[..., :3], name="other", load_size=96, val_size=64, **data
    )
    assert evaluate_runs([one, other], split="train", baselines=False).path.name.startswith("comp")
    twin = fake_run(tmp_path / "b", lambda x: x[..., :3], name="one", **data)
    with pytest.raises(UserError, match="2 of the runs are called 'one'"):
        evaluate_runs([one, twin], split="train")


def test_split_without_truth_and_data_without_masks_are_errors(tmp_path, capsys):
    run = contest_run(tmp_path, lambda x: x[..., :3])
    with pytest.raises(UserError, match="no truth to score against"):
        evaluate_runs([run], split="submit")
    with pytest.raises(UserError, match="no split 'tset'"):
        evaluate_runs([run], split="tset")
    assert not list(run.path.iterdir()), "nothing is written"
    assert evaluate.main([str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_failure_leaves_the_earlier_report_alone(tmp_path, monkeypatch):
    def broken(images, masks):
        raise RuntimeError("stopped half-way")

    run = contest_run(tmp_path, lambda x: x[..., :3])
    report = run.path / "report-train" / "per_image.csv"
    report.parent.mkdir()
    report.write_text("earlier")
    monkeypatch.setattr(baselines, "mean_colour_fill", broken)
    with pytest.raises(RuntimeError, match="half-way"):
        evaluate_runs([run], split="train")
    assert report.read_text() == "earlier"
    assert {path.name for path in report.parent.iterdir()} == {"per_image.csv", JOURNAL}


def test_an_evaluation_that_ended_after_its_last_image_goes_on(tmp_path, monkeypatch, capsys):
    def broken(*given):
        raise RuntimeError("stopped at the end")

    run = contest_run(tmp_path, lambda x: x[..., :3])
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="at the end"):
        patched.setattr(evaluation, "verdicts", broken)
        evaluate_runs([run], split="train")
    capsys.readouterr()
    report = evaluate_runs([run], split="train")
    assert "10 of 10 photos were scored before; 0 to go" in capsys.readouterr().out
    assert len(read_csv(report.path / "per_image.csv")) > 1


def test_report_folder_says_what_was_evaluated(tmp_path):
    run = fake_run(tmp_path, None, recipe="animals_inpainting", root="photos/contest")
    cases: list[tuple[str, str | None, str | None, str]] = [
        ("test", None, None, "report"),
        ("test", "animals_inpainting", "photos/contest", "report"),
        ("val", None, None, "report-val"),
        ("test", "demo", None, "report-test-demo"),
        ("test", None, "other/photos", "report-test-photos"),
        ("val", "my.recipe", "here", "report-val-my_recipe-here"),
    ]
    for split, data, root, expected in cases:
        assert report_name(run, split, data_config(run, data, root)) == expected
    assert data_config(run, "demo", None).root is None
    assert data_config(run, None, None).root == "photos/contest"
    assert data_config(run, None, None).range == "auto"
    wider = data_config(run, None, None, 4095)
    assert wider.range == 4095
    assert report_name(run, "test", wider) == "report-range_4095"


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"limit": -1}, {"draws": -1}, {"pairs": -2}, {"tile": 0}, {"batch_size": 0}],
)
def test_numbers_without_sense_are_refused(tmp_path, options):
    with pytest.raises(UserError, match=rf"option '{next(iter(options))}' .* must be [01] or more"):
        evaluate_runs([fake_run(tmp_path, None)], **options)
