"""What a notebook shows of a run, a report, a preset and a comparison, and the tables of a run."""

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from fake_runs import fake_run, grey_and_same
from made_up_comparison import made_up
from PIL import Image

import tfrecon
from tfrecon.base import cards, shown
from tfrecon.base.errors import UserError
from tfrecon.reports import side_by_side

CSV = """id,method,psnr,ssim,failed
0001,"'=A1",20.5,0.5,0
<b>2</b>,"'=A1",,,1
0001,damaged input,10,0.25,0
<b>2</b>,damaged input,12,0.75,0
"""
EPOCHS = "epoch,step,learning_rate,val_psnr\n1,3,0.1,20.0\n2,6,0.05,21.5\n"


def pictures(html):
    """The pictures in a piece of HTML, which loads nothing from elsewhere."""
    sources = re.findall(r'src="([^"]*)"', html)
    found = [Image.open(io.BytesIO(base64.b64decode(each.split(",")[1]))) for each in sources]
    assert all(each.startswith("data:image/") for each in sources)
    return found


@pytest.fixture
def run(tmp_path):
    """One that was trained and evaluated, whose name and methods would be markup if they could."""
    made = fake_run(tmp_path, lambda x: x[..., :3], name="<i>run</i>")
    made.facts.update(steps=6, precision="bfloat16", lengthened=["<script>alert(1)</script>"])
    (made.path / "history.csv").write_text(EPOCHS)
    (made.path / "report").mkdir()
    (made.path / "report" / "per_image.csv").write_text(CSV)
    frames = [Image.new("RGB", (60, 20), colour) for colour in ("red", "blue")]
    frames[0].save(made.path / "progress.webp", save_all=True, append_images=frames[1:])
    return made


def test_the_tables_of_a_run(run):
    assert run.history()["val_psnr"].to_list() == [20.0, 21.5]
    assert run.history().columns == ["epoch", "step", "learning_rate", "val_psnr"]
    scores = run.scores()
    assert scores["id"].to_list() == ["0001", "<b>2</b>"] * 2
    assert scores["method"].unique(maintain_order=True).to_list() == ["=A1", "damaged input"]
    assert scores["psnr"].to_list() == [20.5, None, 10.0, 12.0]
    (run.path / "history.csv").write_text("epoch\n1,2,3\n")
    with pytest.raises(UserError, match=r"table '.*history\.csv' is truncated or damaged"):
        run.history()
    (run.path / "report" / "per_image.csv").unlink()
    with pytest.raises(UserError, match=r"does not exist; it is written by .*\.evaluate"):
        run.scores()


def test_both_become_frames_of_pandas(run):
    pytest.importorskip("pandas", reason="the extra pandas is not installed")
    pytest.importorskip("pyarrow", reason="the extra pandas is not installed")
    assert run.history().to_pandas().shape == (2, 4)
    assert list(run.scores().to_pandas()["method"].unique()) == ["=A1", "damaged input"]


def test_a_run_shows_its_tables_and_its_progress(run):
    html = run._repr_html_()
    assert "<i>" not in html and "<script" not in html and "&lt;i&gt;run" in html
    for words in ("bfloat16", "pix2pix", "21.5", "=A1", "damaged input", "11.0"):
        assert words in html
    (progress,) = pictures(html)
    assert progress.n_frames == 2
    for name in ("history.csv", "report/per_image.csv", "progress.webp"):
        (run.path / name).write_bytes(b"\0damaged")
    assert "bfloat16" in run._repr_html_(), "what is damaged is left out"


def test_a_real_run_shows_what_it_was_trained_to(plain):
    html = plain._repr_html_()
    assert plain.history().height == 3 and "val_psnr" in html
    assert pictures(html)[0].n_frames == 3


def test_pictures_are_small(tmp_path):
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (100, 3000, 3), np.uint8))
    noise.save(tmp_path / "wide.png")
    (small,) = pictures(shown.picture(tmp_path / "wide.png", 'a "wide" one'))
    assert small.size == (shown.WIDTH, 32) and small.format == "WEBP"
    assert 'alt="a &quot;wide&quot; one"' in shown.picture(tmp_path / "wide.png", 'a "wide" one')
    assert not shown.picture(tmp_path / "none.png", "none")


def test_a_report_and_a_comparison_show_tables_and_pictures(tmp_path, monkeypatch):
    grey, same = grey_and_same(tmp_path)
    evaluated = []

    def evaluate(runs):
        evaluated.append(tfrecon.evaluate_runs(runs, baselines=False))

    monkeypatch.setattr(side_by_side, "evaluate_runs", evaluate)
    comparison = tfrecon.compare([grey, same])
    (first, _) = evaluated
    html = first._repr_html_()
    assert [picture.format for picture in pictures(html)] == ["WEBP", "WEBP"]
    assert "Hole PSNR (dB) ↑" in html and "<h4>report " in html
    html = comparison._repr_html_()
    assert "Comparison of grey, same" in html and html.index(">grey<") < html.index(">same<")
    assert "grey has the best Hole PSNR" in html
    text = str(comparison)  # without a notebook
    assert text.startswith("Comparison of grey, same\n") and "grey has the best Hole PSNR" in text
    assert "Hole PSNR (dB) ↑" in text and "Comparison(" not in text
    with pytest.raises(UserError, match="run folder 'nowhere' does not exist"):
        tfrecon.compare(["nowhere"])


def test_a_comparison_of_many_leaves_out_minor_columns(tmp_path):
    html = made_up(tmp_path)._repr_html_()
    assert "Which features keep the image?" in html and "LPIPS" in html
    assert "Checkers" not in html and "resnet50 conv2, residual" in html
    assert html.count('<tr style="color:grey">') == 2, "what needs no training steps back"


def test_a_preset_shows_its_card_and_what_it_does():
    for preset in tfrecon.presets():
        html = preset._repr_html_()
        assert preset.title in html and "trained on" in html and "<table>" in html
        (picture,) = pictures(html)
        assert picture.width <= 480 and cards.picture(preset.path).stat().st_size < 40_000
    html = dataclasses.replace(preset, results=[{"a<b": 1}, {"c": "<i>"}])._repr_html_()
    assert "<th>a&lt;b</th><th>c</th>" in html and "&lt;i&gt;" in html
