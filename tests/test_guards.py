"""What stops a training before its first step, what is only said, and what is in order."""

import dataclasses
import re
import shutil
from pathlib import Path

import fakes
import numpy as np
import pytest
from PIL import Image

from tfrecon import fit
from tfrecon.base.config import Config, DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import guards, pipeline, recipes
from tfrecon.data.check import readable
from tfrecon.data.sample import Sample
from tfrecon.training import preparation
from tfrecon.training.datasets import load_data

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pairs(root, count=12, first=0, seed=0):
    """Clean and noisy photos in two folders, as samples."""
    random = np.random.default_rng(seed)
    samples = []
    for index in range(first, first + count):
        clean = fakes.photo(64, 64, seed=index)
        noisy = np.clip(clean + random.normal(0, 15, clean.shape), 0, 255).astype(np.uint8)
        paths = [root / side / f"{index:03}.png" for side in ("input", "target")]
        for path, pixels in zip(paths, (noisy, clean), strict=True):
            fakes.save(path, pixels)
        samples.append(Sample(f"{index:03}", *paths))
    return samples


def slipped(samples, places=1):
    return [
        dataclasses.replace(sample, target=samples[(index + places) % len(samples)].target)
        for index, sample in enumerate(samples)
    ]


@pytest.fixture
def splits(tmp_path):
    return {
        "train": pairs(tmp_path), "val": pairs(tmp_path, first=20),
        "test": pairs(tmp_path, first=40),
    }  # fmt: skip


def test_pairs_in_order_give_one_sentence(splits):
    (said,) = guards.inspect(splits, paired=True)
    assert said.startswith("data checks: damaged photos correlate with their own targets by 0.9")
    assert "(12 pairs looked at)" in said and said.endswith("no photo in two splits")


@pytest.mark.parametrize("places", [1, 5])
def test_mixed_up_pairs_stop_with_the_evidence(splits, places):
    bad = {**splits, "train": slipped(splits["train"], places)}
    with pytest.raises(UserError) as caught:
        guards.inspect(bad, paired=True)
    said = str(caught.value)
    assert said.startswith("inputs and targets look mixed up: damaged photos correlate with")
    assert ".png' fits the target of '0" in said and "rename the files" in said
    assert guards.inspect(bad, paired=False)  # damage is drawn: the files do not matter


def test_too_few_or_blank_pairs_are_not_judged(tmp_path, splits):
    assert guards.inspect({"train": slipped(splits["train"])[:4]}, paired=True)
    for name in ("input", "target"):
        fakes.save(tmp_path / name / "blank.png", np.full((64, 64, 3), 200, np.uint8))
    blank = Sample("blank", tmp_path / "input" / "blank.png", tmp_path / "target" / "blank.png")
    assert guards.inspect({"train": [*splits["train"], blank]}, paired=True)


def flat(samples, level=128):
    for sample in samples:
        fakes.save(sample.input, np.full((64, 64, 3), level, np.uint8))
    return samples


def test_flat_photos_are_no_evidence_of_mixed_up_pairs(splits):
    flat(splits["train"][:6])
    (said,) = guards.inspect({"train": splits["train"]}, paired=True)
    assert said.startswith("data checks: values up to")  # 6 of 12 are too few to judge


def test_photos_of_one_colour_each_stop(splits):
    flat(splits["train"])
    with pytest.raises(UserError, match="each of 12 input files of split 'train' shows a single"):
        guards.inspect({"train": splits["train"]}, paired=True)


def test_photos_that_all_resemble_each_other_are_told_apart(tmp_path):
    """One scene with small changes, below noise: the margin is small, but always there."""
    random = np.random.default_rng(0)
    scene = fakes.photo(64, 64, seed=0).astype(np.float32)
    samples = pairs(tmp_path, 24)
    for sample in samples:
        clean = scene + np.kron(random.normal(0, 4, (8, 8, 1)), np.ones((8, 8, 3)))
        noisy = clean + random.normal(0, 60, clean.shape)
        for path, pixels in ((sample.target, clean), (sample.input, noisy)):
            fakes.save(path, np.clip(pixels, 0, 255).astype(np.uint8))
    (said,) = guards.inspect({"train": samples}, paired=True)
    fit_of_pair, others = (float(text[:4]) for text in said.split(" by ")[1:3])
    assert fit_of_pair < guards.SURE and 0 < fit_of_pair - others < guards.MARGIN
    with pytest.raises(UserError, match="mixed up"):
        guards.inspect({"train": slipped(samples)}, paired=True)


def test_a_small_training_split_beside_a_large_one(splits):
    assert guards.inspect({**splits, "train": splits["train"][:3]}, paired=True)


def test_photos_without_holes_among_others_are_named(splits):
    holed = [dataclasses.replace(sample, boxes=((0, 0, 8, 8),)) for sample in splits["train"]]
    mixed = {"train": [*holed[:11], splits["train"][11]]}
    _, warning = guards.inspect(mixed, paired=True)
    assert "the masks of 1 of 12 photos of split 'train' cover nothing, e.g. that of '011'" in (
        warning
    )
    assert len(guards.inspect(mixed, paired=False)) == 1  # the damage is drawn anew


def test_holes_do_not_count(tmp_path):
    """Black boxes over half of each photo: known pixels alone tell whose target it is."""
    samples = []
    for index, sample in enumerate(pairs(tmp_path)):
        top = 0 if index % 2 else 32
        pixels = np.asarray(Image.open(sample.input)).copy()
        pixels[top : top + 32] = 0
        fakes.save(sample.input, pixels)
        samples.append(dataclasses.replace(sample, boxes=((top, 0, 32, 64),)))
    (said,) = guards.inspect({"train": samples}, paired=True)
    assert "own targets by 0.9" in said
    with pytest.raises(UserError, match="mixed up"):
        guards.inspect({"train": slipped(samples)}, paired=True)


def test_correlations_are_pearsons():
    random = np.random.default_rng(0)
    inputs, targets = random.random((2, 5, 40), np.float32)
    masks = (random.random((5, 40)) > 0.7).astype(np.float32)
    table = guards.correlations(inputs, targets, masks)
    for row in range(5):
        known = masks[row] == 0
        for column in range(5):
            expected = np.corrcoef(inputs[row, known], targets[column, known])[0, 1]
            assert table[row, column] == pytest.approx(expected, abs=1e-5)
    assert np.isfinite(guards.correlations(inputs, targets, np.ones_like(masks))).all()


def test_squashed_values_stop(tmp_path, splits):
    for sample in splits["val"]:
        pixels = np.asarray(Image.open(sample.target)) // 128
        fakes.save(sample.target, pixels.astype(np.uint8))
    with pytest.raises(UserError, match=r"brightest value of 12 target files of split 'val' is 1"):
        guards.inspect(splits, paired=True)


def test_a_photo_in_two_splits_is_named(splits):
    shutil.copy(splits["train"][3].target, splits["test"][5].target)
    shutil.copy(splits["train"][3].input, splits["test"][5].input)
    checks, warning = guards.inspect(splits, paired=True)
    assert "no photo in two splits" not in checks
    assert warning == (
        "data warning: identical photos in splits 'train' and 'test': 1 of the 12 of 'test', e.g. "
        "'003' and '045'; scores on 'test' are too good"
    )


def test_a_photo_of_another_recipe_that_trains_is_looked_for_too(tmp_path):
    """The photos of data.extra train as well, so none of them may be in the test split."""
    pairs(tmp_path / "main", 40)
    pairs(tmp_path / "more", 10, first=60)
    config = DataConfig(
        Spec("folder"), root=str(tmp_path / "main" / "target"), image_size=32,
        damage=Spec("boxes", {"count": 1, "size": 8}),
        extra=[Spec("folder", {"root": str(tmp_path / "more" / "target")})],
    )  # fmt: skip
    (said,) = load_data(Config(Spec("pix2pix"), config)).findings
    assert "no photo in two splits" in said
    test = recipes.samples(Spec("folder"), tmp_path / "main" / "target", "test")[0]
    extra = recipes.samples(Spec("folder"), tmp_path / "more" / "target", "train")[0]
    shutil.copy(test.target, extra.target)
    said = load_data(Config(Spec("pix2pix"), config)).findings
    assert any(f"e.g. {extra.id!r} and {test.id!r}" in line for line in said)


def test_noise_level_of_white_noise():
    random = np.random.default_rng(0)
    smooth = np.repeat(np.linspace(60, 190, 256)[None, :, None], 256, 0).repeat(3, 2)
    grey = smooth + random.normal(0, 8, (256, 256, 1))
    pixels = np.clip(np.round(grey), 0, 255).astype(np.uint8)
    y, cb, cr = 255 * guards.noise_levels(pixels)
    assert y == pytest.approx(8, rel=0.1) and max(cb, cr) < 0.5


def test_splits_of_another_noise_kind_size_or_brightness_are_said(tmp_path, splits):
    for sample in splits["test"]:
        pixels = np.asarray(Image.open(sample.input)) // 3
        fakes.save(sample.input, np.asarray(Image.fromarray(pixels).resize((200, 200))))
        fakes.save(sample.target, np.asarray(Image.open(sample.target).resize((200, 200))))
    for index, sample in enumerate(splits["val"]):
        path = sample.input.with_suffix(".jpg")
        fakes.save(path, np.asarray(Image.open(sample.input)))
        splits["val"][index] = dataclasses.replace(sample, input=path)
    _, *warnings = guards.inspect(splits, paired=True, least_side=100)
    said = "\n".join(warnings)
    assert "'train' and 'val' are of different formats (.png against .jpg)" in said
    assert "the noise of the photos of 'train' and 'test' differs in Y" in said
    assert "the brightness of the photos of 'train' and 'test' differs" in said
    assert "short sides of 64 against 200 pixels" in said
    assert "12 of 12 training photos looked at are smaller than the training crops of 100" in said


@pytest.mark.parametrize("name", ["humanface8000", "animals_contest"])
def test_real_pairs(name):
    root = SHARED / name
    if not root.is_dir():
        pytest.skip(f"{name} is not in the shared data")
    spec = Spec({"animals_contest": "animals_inpainting"}.get(name, name))
    splits = {split: recipes.samples(spec, root, split) for split in ("train", "val", "test")}
    assert "no photo in two splits" in guards.inspect(splits, paired=True)[0]
    with pytest.raises(UserError, match="mixed up"):
        guards.inspect({**splits, "train": slipped(splits["train"])}, paired=True)


def test_boxes_and_drawn_damage_that_leave_nothing(tmp_path):
    (sample,) = pairs(tmp_path, 1)
    top, bottom = (0, 0, 40, 64), (32, 0, 32, 64)
    for boxes, region in (((0, 0, 64, 64),), None), ((top, bottom), None), ((top,), (8, 8, 16, 16)):
        whole = dataclasses.replace(sample, boxes=boxes, region=region)
        with pytest.raises(UserError, match=r"boxes of '000' cover all of .*nothing known"):
            readable([whole])
    for boxes, region in ((top, top), None), ((top,), (8, 8, 40, 16)):
        left = dataclasses.replace(sample, boxes=boxes, region=region)
        assert readable([left]) == [left]
    config = DataConfig(image_size=64, damage=Spec("boxes", {"count": 1, "size": 64}))
    clean = [Sample("x", target=sample.target)]
    with pytest.raises(UserError, match="'boxes' hides whole images of 64 pixels"):
        pipeline.has_mask(clean, config)


def _run(tmp_path, monkeypatch, *more, model="residual_unet", narrow="width=4"):
    monkeypatch.chdir(tmp_path)
    settings = [f"model.{narrow}", "data.image_size=32", "data.load_size=32", "data.crop_size=32",
                "fit.batch_size=2", "fit.precision=float32"]  # fmt: skip
    arguments = ["--model", model, "--data", "folder", "--root", "photos", "--steps", "2",
                 "--run", "r", *more]  # fmt: skip
    for setting in settings:
        arguments += ["--set", setting]
    return fit.main(arguments)


def test_fit_stops_at_a_folder_renamed_by_one_place(tmp_path, monkeypatch, capsys):
    pairs(tmp_path / "photos", 40)
    names = sorted((tmp_path / "photos" / "target").iterdir())
    last = names[-1].rename(names[-1].with_name("away.png"))
    for path in reversed(names[:-1]):
        path.rename(path.with_name(f"{int(path.stem) + 1:03}.png"))
    last.rename(last.with_name("000.png"))
    assert _run(tmp_path, monkeypatch) == 2
    said = capsys.readouterr().err
    assert "inputs and targets look mixed up" in said and "Traceback" not in said
    assert not (tmp_path / "checkpoints" / "r").exists()


def probed(said):
    """Loss before and after, PSNR before and after."""
    steps = r"probe: 30 steps on one batch took its \w+ from (\S+) to (\S+) and its PSNR from "
    numbers = re.search(steps + r"(\S+) to (\S+) dB", " ".join(said.split()))
    return [float(value) for value in numbers.groups()]


def test_the_probe_of_an_adversarial_model_tells_its_reconstruction(tmp_path, monkeypatch, capsys):
    """It has several losses, and none that is called so."""
    pairs(tmp_path / "photos", 40)
    monkeypatch.setattr(preparation, "PROBE_STEPS", 30)
    narrow = "base_filters=4"
    assert _run(tmp_path, monkeypatch, "--probe", model="pix2pix", narrow=narrow) == 0
    loss_before, loss_after, psnr_before, psnr_after = probed(capsys.readouterr().out)
    assert 0 < loss_after < loss_before and psnr_after > psnr_before


def test_fit_says_what_it_found_and_probes_on_request(tmp_path, monkeypatch, capsys):
    pairs(tmp_path / "photos", 40)
    assert _run(tmp_path, monkeypatch) == 0
    assert "probe" not in capsys.readouterr().out
    state = tmp_path / "checkpoints" / "r" / "state.npz"
    plain = state.rename(tmp_path / "plain.npz")
    shutil.rmtree(tmp_path / "checkpoints")
    monkeypatch.setattr(preparation, "PROBE_STEPS", 30)
    assert _run(tmp_path, monkeypatch, "--probe") == 0
    with np.load(plain) as before, np.load(state) as after:
        names = [name for name in before.files if before[name].dtype.kind == "f"]
        assert len(names) > 20
        for name in names:  # a probe leaves no trace in the run
            np.testing.assert_array_equal(after[name], before[name], name)
    said = " ".join(capsys.readouterr().out.split())
    assert "data checks: damaged photos correlate with their own targets by 0.9" in said
    loss_before, loss_after, psnr_before, psnr_after = probed(said)
    assert loss_after < loss_before and psnr_after > psnr_before
    report = (tmp_path / "checkpoints" / "r" / "report" / "summary.md").read_text()
    assert "data checks: damaged photos correlate" in report
