"""Figures, tables and page of a made-up comparison: whole, escaped, and with the same numbers."""

import csv
import dataclasses
import html
import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import markupsafe
import numpy as np
import polars as pl
import pytest
from made_up_comparison import defended, frame, made_up, page_arguments

from tfrecon.base.config import from_tables
from tfrecon.metrics.measures import MEASURES
from tfrecon.reports import atlas, costs, leaderboard, plots, scores, statistics, svg
from tfrecon.reports.costs import Cost
from tfrecon.reports.page import markdown, page
from tfrecon.reports.tables import Column, Table

HOSTILE = """</script><b>&"'|$x$"""
VOID = {"meta", "img", "input", "br"}


class Elements(HTMLParser):
    """All elements of a document with their attributes; fails where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def attributes(self, name):
        return [own[name] for _, own in self.found if name in own]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def document(comparison):
    return page(comparison, **page_arguments(comparison))


def figures(comparison):
    return {
        "rank": plots.rank_diagram(comparison),
        "distributions": plots.distributions(comparison, "lpips_alex"),
        "pareto": plots.pareto(comparison),
        "atlas": atlas.atlas(comparison),
        "curves": plots.curves(comparison),
    }


LABELS = {
    "rank": ["PSNR (dB)"],
    "distributions": ["LPIPS alex", "mean colour"],
    "pareto": ["PSNR (dB)", "Parameters", "Multiply-adds an image", "Training (minutes)",
               "Time an image (ms)"],
    "atlas": ["PSNR (dB)", "Depth of the tap (0 first, 1 last of its backbone)", "vit_base",
              "Values kept per pixel", "attention"],
    "curves": ["Validation PSNR (dB)", "Steps"],
}  # fmt: skip


def texts(drawing):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(drawing).iter()
            if node.tag.endswith("}text")]  # fmt: skip


def test_figures_are_labelled_repeatable_and_their_own(comparison):
    drawn = figures(comparison)
    ids: list[str] = []
    for name, drawing in drawn.items():
        assert set(LABELS[name]) <= set(texts(drawing))
        assert svg.title(drawing).endswith(".") and "nan" not in drawing
        own = re.findall(r'\bid="([^"]+)"', drawing)
        assert set(re.findall(r'(?:url\(|href=")#([^")]+)', drawing)) <= set(own)
        ids += own
        outside = re.sub(r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", drawing)
        assert "http" not in outside and "<style" not in drawing and svg.INK not in drawing
    assert len(ids) == len(set(ids)), "several figures stand in one page"
    assert drawn == figures(comparison)


def test_rank_diagram_and_pareto_say_what_they_show(comparison):
    drawn = figures(comparison)
    best, last = comparison.results[0], comparison.results[-1]
    assert f"best {best.name} with {comparison.mean(best.name):.2f}" in svg.title(drawn["rank"])
    assert f"last {last.name} with {comparison.mean(last.name):.2f}" in svg.title(drawn["rank"])
    assert "of 66 pairs can be told apart" in svg.title(drawn["rank"])
    assert best.name in svg.title(drawn["pareto"]), "the best is always on the front"


def test_front_by_hand():
    points = [(1, 9.0, 24.0), (2, 9.0, 23.0), (3, 2.0, 21.0), (4, 5.0, 20.0), (5, 1.0, 18.0)]
    assert [rank for rank, _, _ in plots._front(points, MEASURES["psnr"])] == [5, 3, 1]
    assert [rank for rank, _, _ in plots._front(points, MEASURES["mse"])] == [5]


def test_bars_of_groups_that_overlap_stand_in_lanes():
    lanes = plots._lanes([(0, 2), (1, 4), (3, 5), (5, 6)])
    assert [lane for lane, _ in lanes] == [0, 1, 0, 1]


def test_letters_of_groups():
    assert leaderboard.group_letters(6, [(0, 2), (1, 3)]) == ["a", "a b", "a b", "b", "c", "d"]
    assert leaderboard.group_letters(28, [])[25:] == ["z", "aa", "bb"]


def test_the_atlas_shows_spectra_defences_and_photos(comparison):
    of_study = defended(comparison)
    photo = np.random.default_rng(0).random((8, 12, 3))
    strip = {"resnet50": [("original", photo), ("conv2\n23.20 dB", photo)]}
    drawing = atlas.atlas(of_study, strip)
    said = texts(drawing)
    for words in ("Number of the eigenvalue", "noise of 0.3 σ", "With noise", "With few bits",
                  "none", "0.3", "4", "resnet50", "original", "23.20 dB"):  # fmt: skip
        assert words in said, words
    assert "$" not in "".join(said), "numbers are plain text"
    assert drawing.count("data:image/png;base64,") == 2 and "http" not in drawing.replace(
        "http://www.w3.org/", ""
    )
    best = of_study.mean("resnet50 conv2, plain")
    assert svg.title(drawing).endswith(f" Best is conv2 of resnet50 with {best:.2f}.")
    assert [*atlas.best_of_taps(of_study)] == [
        ("resnet50", "conv2"), ("resnet50", "conv4"), ("vit_base", "block3"), ("vit_base", "pooled")
    ]  # fmt: skip
    document = page(of_study, **page_arguments(of_study), strip=strip)
    assert Elements(document).open == [] and "With few bits" in document


def test_less_is_better_runs_backwards_and_the_leader_stays_on_top(comparison):
    by_lpips = dataclasses.replace(
        comparison,
        metric="lpips_alex",
        results=sorted(comparison.results, key=lambda r: comparison.mean(r.name, "lpips_alex")),
    )
    lines = leaderboard.standings(by_lpips)
    means = [by_lpips.mean(line.name) for line in lines]
    assert means == sorted(means) and len(lines) == 14
    assert [line.rank for line in lines if line.rank] == list(range(1, 13))
    heads = [column.head for column in leaderboard.leaderboard(by_lpips).columns]
    assert heads[3:6] == ["LPIPS alex ↓", "PSNR (dB) ↑", "SSIM 11×11 ↑"]
    assert MEASURES["hole_seam"].badness(-0.2) == MEASURES["hole_seam"].badness(0.2)
    assert MEASURES["psnr"].badness(math.nan) == math.inf
    assert "LPIPS alex" in texts(figures(by_lpips)["atlas"])


def test_what_is_not_there_is_not_drawn(tmp_path):
    comparison = made_up(tmp_path, taps=False)
    plain = [dataclasses.replace(one, cost=Cost(5, None, None)) for one in comparison.results[:1]]
    plain[0].runs[0].path.joinpath("history.csv").unlink()
    alone = dataclasses.replace(comparison, results=plain, missing={}, axes={}, baselines=[])
    drawn = figures(alone)
    assert [name for name, drawing in drawn.items() if drawing] == ["rank", "distributions"]
    document = page(
        alone,
        sentences=["One."],
        notes=[],
        pictures={},
        environment={},
    )
    sections = [own["id"] for tag, own in Elements(document).found if tag == "section"]
    assert sections == ["summary", "leaderboard", "ranks", "distributions"]
    assert re.findall(r'<a href="#(\w+)"', document) == sections


def test_page_is_whole_and_needs_nothing_else(document):
    elements = Elements(document)
    ids = elements.attributes("id")
    assert len(ids) == len(set(ids))
    targets = [link[1:] for link in elements.attributes("href") if link.startswith("#")]
    assert set(targets) <= set(ids)
    for address in elements.attributes("src") + elements.attributes("href"):
        assert address.startswith(("data:image/png;base64,", "#"))
    assert not elements.attributes("xlink:href") or all(
        link.startswith("#") for link in elements.attributes("xlink:href")
    )
    assert not [use for use in re.findall(r"url\(([^)]*)\)", document) if not use.startswith("#")]
    assert not re.findall(r"https?://(?!www\.w3\.org/(?:2000/svg|1999/xlink))", document)
    (policy,) = [own["content"] for _, own in elements.found if "http-equiv" in own]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not {"link", "iframe", "object"} & {tag for tag, _ in elements.found}
    assert sum(tag == "input" for tag, _ in elements.found) == 6, "one slider a picture"


def test_names_are_escaped_and_data_ends_no_script(comparison, tmp_path):
    first = comparison.results[0]
    config = from_tables({"model": "pix2pix", "data": {"root": HOSTILE}})
    run = dataclasses.replace(first.runs[0], config=config)
    hostile = dataclasses.replace(first, name=HOSTILE + "!", runs=[run], labels={"tap": HOSTILE})
    changed = dataclasses.replace(
        comparison,
        title=HOSTILE,
        results=[hostile, *comparison.results[1:]],
        axes={"tap": [HOSTILE, *comparison.axes["tap"]]},
        missing={HOSTILE: HOSTILE},
        baselines=[HOSTILE],
        scores=renamed(comparison.scores, {first.name: HOSTILE + "!", "blur": HOSTILE}),
    )
    arguments = page_arguments(changed) | {
        "sentences": [HOSTILE], "notes": [HOSTILE], "environment": {HOSTILE: HOSTILE},
    }  # fmt: skip
    document = page(changed, **arguments)
    elements = Elements(document)
    assert HOSTILE not in document and "<b>&" not in document
    assert str(markupsafe.escape(HOSTILE)) in document
    assert sum(tag == "script" for tag, _ in elements.found) == 2
    block = re.search(r'<script type="application/json" id="configs">(.*?)</script>', document)
    assert block
    configs = json.loads(block[1])
    assert configs[0]["name"] == HOSTILE + "!"
    assert "root" not in configs[0]["config"]["data"], "no path of this machine"
    for drawing in figures(changed).values():
        assert drawing and ElementTree.fromstring(drawing) is not None
    text = markdown(changed, arguments["sentences"])
    assert "<b>" not in text and "\\|$x$" in text


def renamed(frame, names):
    return frame.with_columns(pl.col("method").replace(names))


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def cells(document, section):
    """Rows of the first table of a section: texts of its cells."""
    own = document[document.index(f'<section id="{section}"') :]
    body = own[own.index("<tbody>") : own.index("</tbody>")]
    return [
        [html.unescape(re.sub(r"<[^>]+>", " ", cell)) for cell in
         re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", body)
    ]  # fmt: skip


def test_csv_markdown_and_page_agree(comparison, document):
    arguments = page_arguments(comparison)
    pairs = statistics.pairs(comparison, "psnr")
    rows = read(leaderboard.leaderboard_csv(comparison))
    assert len(rows) == 14 and rows[0]["rank"] == "1" and rows[0]["tap"] == "resnet50 conv2"
    assert [row["rank"] for row in rows if row["name"] == "blur"] == [""]
    said = markdown(comparison, arguments["sentences"])
    shown = cells(document, "leaderboard")
    for row, line in zip(rows, shown, strict=True):
        mean, low, high = (float(row[f"psnr_{part}"]) for part in ("mean", "low95", "high95"))
        text = f"{mean:.2f} [{low:.2f}, {high:.2f}]"
        assert " ".join(line[3].split()) == text and f"| {row['name']} |" in said
        assert text in next(one for one in said.splitlines() if f"| {row['name']} |" in one)
        assert line[2] == row["groups"]
        if row["parameters"]:
            assert f"{int(row['parameters']):,}" in line
    best = comparison.results[0]
    assert float(rows[0]["psnr_mean"]) == pytest.approx(comparison.mean(best.name), rel=1e-6)
    values = comparison.values(best.name, "psnr")
    assert float(rows[0]["psnr_std"]) == pytest.approx(np.std(values, ddof=1))
    tested = [row for row in read(leaderboard.pairs_csv(comparison)) if row["metric"] == "psnr"]
    assert len(tested) == 66
    assert float(tested[0]["difference"]) == pytest.approx(pairs[0].difference, abs=1e-6)


def test_ablations_read_label_less_reference(comparison, document):
    rows = read(leaderboard.ablations_csv(comparison))
    assert len(rows) == 3 + 2 and all(float(row["difference"]) < 0 for row in rows)
    shown = cells(document, "ablations")
    assert shown[0][:2] == ["resnet50 conv2", "reference"]
    for row, line in zip(rows, shown[1:], strict=False):
        low, mean, high = (float(row[part]) for part in ("low95", "difference", "high95"))
        assert low <= mean <= high
        text = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "−")
        assert " ".join(line[1].split()) == text
        assert row["reference"] == "resnet50 conv2" and line[4] == row["cells"] == "3"


def test_seeds_and_restorations_are_shown(tmp_path):
    comparison = made_up(tmp_path, taps=False, seeds=3)
    document = page(comparison, **page_arguments(comparison, damaged=True))
    assert "3 (±0.01)" in document
    assert document.count(">damaged</span>") == document.count(">original</span>") == 6
    seed_std = comparison.results[0].seed_spread(comparison.metric)
    assert seed_std == pytest.approx(0.01)


def test_interval_of_the_leaderboard_is_that_of_the_reports(comparison):
    result = comparison.results[3]
    values = comparison.values(result.name, "psnr")
    alone = scores.summarise(frame("m", comparison.ids, {"psnr": values}))["m", "psnr"]
    cell = comparison.summary[result.name, "psnr"]
    assert (cell.mean, cell.std, cell.low, cell.high) == pytest.approx(
        (alone.mean, alone.std, alone.low, alone.high)
    )


NAMES = [
    "=1+1",
    "+x",
    "-x",
    "@x",
    "\tx",
    "'x",
    "a|b",
    "a\nb",
    'a"b',
    "<b>",
    "![a](http://x)",
    "-1.5",
]


def test_names_cannot_be_formulas_rows_or_pictures(tmp_path):
    lines = [[name, f"m{name}", 0.5] for name in NAMES] + [["a", name, 0.5] for name in NAMES]
    text = "".join(scores.per_image_csv(["id", "method", "mse"], [lines], failed=False))
    for row in csv.reader(io.StringIO(text)):
        assert not any(field.startswith(("=", "+", "-", "@", "\t")) for field in row)
    (tmp_path / "per_image.csv").write_text(text, newline="")
    read = scores.read_scores(tmp_path / "per_image.csv")
    assert read["image"].to_list() == [id for id, _, _ in lines]
    assert read["method"].to_list() == [method for _, method, _ in lines]
    assert scores.csv_text([[-0.5, -3, None]]) == "-0.5,-3,\n", "numbers are numbers"
    paid = costs.csv_lines({"=x": Cost(3, kid=-0.0012), "few": Cost(kid=math.nan)})
    summary = scores.summary_csv(scores.summarise(read), paid)
    assert [line[:5] for line in csv.reader(io.StringIO(summary))][-2:] == [
        ["'=x", "method", "parameters", "", "3"], ["'=x", "method", "kid", "", "-0.0012"]
    ]  # fmt: skip
    table = Table([Column(""), Column("a")], [[name, 1] for name in NAMES])
    rows = table.markdown().splitlines()
    assert len(rows) == 2 + len(NAMES)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert "<b>" not in table.markdown() and "](" not in table.markdown()
    assert len(table.text().splitlines()) == 1 + len(NAMES)
