"""Layouts of folders that people have: what is understood of each, said, or refused."""

import json
import re
import shlex
import unicodedata
from pathlib import Path

import fakes
import numpy as np
import pytest

from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import guards, photos, recipes
from tfrecon.data.check import readable
from tfrecon.data.sample import Sample
from tfrecon.data.store import content_fingerprint, fingerprint, parts_of

SPLITS = ("train", "val", "test")


def read(root: Path, **options) -> dict[str, list[Sample]]:
    """The samples of each split, none of them twice, and every photo of a pair with its own."""
    photos.print_once.cache_clear()
    listed = {split: recipes.samples(Spec("folder", options), root, split) for split in SPLITS}
    ids = [sample.id for samples in listed.values() for sample in samples]
    assert len(ids) == len(set(ids))
    return listed


def options_in(sentence: str) -> list[dict[str, str]]:
    """Those of each reading that a sentence names."""
    commands = re.findall(r"\((--set [^()]*)\)", sentence)
    words = (shlex.split(command)[1::2] for command in commands)
    return [dict(w.removeprefix("data.recipe.").split("=", 1) for w in each) for each in words]


BY_HASH = "splits by hash of names"
FROM_TRAIN = "splits from folders, val by hash from train"

LAYOUTS = {
    "clean photos": (["{}.png"], {}, f"8 clean photos; {BY_HASH}"),
    "photos in folders of splits": (
        ["train/{}.png", "validation/{}.png", "test/{}.png"], {},
        "24 clean photos; splits from folders",
    ),
    "roles below splits": (
        ["train/input/{}.png", "train/target/{}.png", "test/input/{}.png", "test/target/{}.png"],
        {}, f"16 pairs: train/input → train/target; {FROM_TRAIN}",
    ),
    "splits below roles": (
        [f"{role}/{split}/{{}}.png" for role in ("input", "target") for split in
         ("train", "valid", "testing")], {}, "24 pairs: input → target; splits from folders",
    ),
    "A and B": (["A/{}.jpg", "B/{}.png"], {}, f"8 pairs: A → B; {BY_HASH}"),
    "trainA and trainB": (
        ["trainA/{}.png", "trainB/{}.png", "testA/{}.png", "testB/{}.png"], {},
        f"16 pairs: trainA → trainB; {FROM_TRAIN}",
    ),
    "lq and gt": (
        ["train/lq/{}.png", "train/GT/{}.png", "val/lq/{}.png", "val/GT/{}.png"], {},
        "16 pairs: train/lq → train/GT; splits from folders, test by hash from train",
    ),
    "names of several words": (
        ["Training Data/noisy_images/{}.png", "Training Data/Ground-Truth/{}.png"], {},
        "8 pairs: Training Data/noisy_images → Training Data/Ground-Truth; splits from folders, "
        "val and test by hash from train",
    ),
    "years and other words for splits": (
        ["train2017/{}.png", "dev_set/{}.png", "Eval/{}.png"], {},
        "24 clean photos; splits from folders",
    ),
    "noisy and clean": (["noisy/{}.png", "clean/{}.png"], {}, f"8 pairs: noisy → clean; {BY_HASH}"),
    "rainy and groundtruth": (
        ["rainy/{}.png", "groundtruth/{}.png"], {}, f"8 pairs: rainy → groundtruth; {BY_HASH}",
    ),
    "blur and sharp below scenes": (
        [f"{scene}/{role}/{{}}.png" for scene in ("train/G01", "train/G02", "test/G03")
         for role in ("blur", "sharp")], {},
        f"24 pairs: train/G01/blur → train/G01/sharp; {FROM_TRAIN}",
    ),
    "roles and splits in one name": (
        ["d/train_noisy/{}.png", "d/train_clean/{}.png"], {},
        "8 pairs: d/train_noisy → d/train_clean; splits from folders, val and test by hash from "
        "train",
    ),
    "photos beside damaged ones": (
        ["images/{}.png", "noisy/{}.png"], {}, f"8 pairs: noisy → images; {BY_HASH}",
    ),
    "folders of other names": (
        ["train/bad/{}.png", "train/good/{}.png", "test/bad/{}.png", "test/good/{}.png"],
        {"inputs": "bad", "targets": "good"}, f"16 pairs: train/bad → train/good; {FROM_TRAIN}",
    ),
    "names with an ending": (
        ["{}_noisy.png", "{}.png"], {"inputs": "{stem}_noisy"},
        f"8 pairs: {{stem}}_noisy → {{stem}}; {BY_HASH}",
    ),
    "names with two endings": (
        ["train/photos/NOISY_{}.png", "train/photos/GT_{}.png"],
        {"inputs": "NOISY_{stem}.png", "targets": "GT_{stem}.png"},
        "8 pairs: NOISY_{stem} → GT_{stem}; splits from folders, val and test by hash from train",
    ),
    "names with a scale": (
        ["LR_bicubic/X4/{}x4.png", "HR/{}.png"],
        {"inputs": "LR_bicubic/X4/{stem}x4", "targets": "HR"},
        f"8 pairs: LR_bicubic/X4/{{stem}}x4 → HR; {BY_HASH}",
    ),
    "side by side": (
        ["train/{}.png", "val/{}.png", "test/{}.png"], {"layout": "side_by_side"},
        "24 photos, each an input beside its target (right half); splits from folders",
    ),
    "all taken for photos": (
        ["noisy/{}.png", "clean/{}.png"], {"layout": "photos"}, f"16 clean photos; {BY_HASH}",
    ),
    "folders that mean nothing": (
        ["train/{}.png", "test/{}.png", "{}.png"], {"splits": "hash"},
        f"24 clean photos; {BY_HASH}",
    ),
    "pairs with masks": (
        ["input/{}.png", "target/{}.png", "mask/{}.png"], {},
        f"8 pairs with masks: input → target; {BY_HASH}",
    ),
    "photos with masks": (
        ["images/{}.png", "masks/{}_mask.png"], {}, f"8 photos with masks from masks; {BY_HASH}",
    ),
    "masks of all splits": (
        ["train/cats/{}.png", "test/cats/{}.png", "holes/{}.png"], {"masks": "holes"},
        f"16 photos with masks from holes; {FROM_TRAIN}",
    ),
    "targets of all splits": (
        ["train/noisy/{}.png", "test/noisy/{}.png", "clean/{}.png"], {},
        f"16 pairs: train/noisy → clean; {FROM_TRAIN}",
    ),
    "masks beside photos": (
        ["train/photos/{}.png", "train/photos/{}_mask.png"], {"masks": "{stem}_mask"},
        "8 photos with masks from {stem}_mask; splits from folders, val and test by hash from "
        "train",
    ),
    "one mask for all": (
        ["noisy/{}.png", "clean/{}.png", "logo.png"], {"masks": "logo.png"},
        f"8 pairs: noisy → clean, masks from logo.png; {BY_HASH}",
    ),
}  # fmt: skip


FOLDERS = {
    "names of several words": {"train": "Training"},
    "years and other words for splits": {"val": "dev", "test": "Eval"},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_understood_and_said(tmp_path, capsys, name):
    places, options, said = LAYOUTS[name]
    root = fakes.laid_out(tmp_path, *places)
    listed = read(root, **options)
    assert capsys.readouterr().out == f"{said}\n"
    assert sum(map(len, listed.values())) == int(said.split()[0]) and all(listed.values())
    _, from_folders, by_hash = said.partition("splits from folders")
    for split, samples in listed.items():
        for sample in samples:
            number = sample.id.rpartition("/")[2].removesuffix("_noisy")
            masks = [sample.mask] if sample.mask and sample.mask.stem != "logo" else []
            assert all(number in path.stem for path in (*sample.files, *masks)), "partners"
            if from_folders and split not in by_hash:
                assert (
                    FOLDERS.get(name, {}).get(split, split)
                    in sample.files[0].relative_to(root).as_posix()
                )
            assert "pairs" not in said or sample.input != sample.target
            assert bool(sample.mask) == ("mask" in said)
    assert read(root, **options) == listed


AMBIGUOUS = {
    "two inputs": (
        ["input/{}.png", "noisy/{}.png", "target/{}.png"],
        "input and noisy both hold '0': inputs from input .--set data.recipe.inputs=input --set "
        "data.recipe.targets=target. or inputs from noisy",
        {"inputs": "noisy", "targets": "target"},
    ),
    "letters of an alphabet": (
        ["A/{}.png", "B/{}.png", "C/{}.png"],
        "it holds more than A and B, .*: clean photos .* or pairs A → B", {"layout": "photos"},
    ),
    "no two names alike": (
        ["trainA/{}.png", "trainB/x{}.png"],
        "no file in 'trainA' has the name of one in 'trainB'", {"layout": "photos"},
    ),
    "no targets": (
        ["input/{}.png"], "'input' is called like damaged photos, and nothing like their targets",
        {"layout": "photos"},
    ),
    "two words": (
        ["low/input/{}.png", "low/target/{}.png", "high/input/{}.png", "high/target/{}.png"],
        "the folders of .* are called low and input",
        {"inputs": "input", "targets": "target"},
    ),
    "some outside the splits": (
        ["train/{}.png", "test/{}.png", "{}.png"],
        "there are train and test by folders, and '0.png' is in none of them: one set, .*hash",
        {"splits": "hash"},
    ),
    "names like partners": (
        ["{}_noisy.png", "{}_clean.png"],
        "names of its files are those of partners: clean photos .* or pairs .*--set "
        r"'data.recipe.inputs=\{stem\}_noisy' --set 'data.recipe.targets=\{stem\}_clean'",
        {"inputs": "{stem}_noisy", "targets": "{stem}_clean"},
    ),
    "names like masks": (
        ["{}.png", "{}_mask.png"], r"or photos with masks \(--set 'data.recipe.masks=\{stem\}_mask",
        {"masks": "{stem}_mask"},
    ),
    "two folders of masks": (
        ["images/{}.png", "mask/{}.png", "masks/{}.png"], "masks from mask .* or masks from masks",
        {"masks": "mask"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_has_two_readings_is_refused_with_what_chooses(tmp_path, name):
    places, said, options = AMBIGUOUS[name]
    root = fakes.laid_out(tmp_path, *places, count=4)
    with pytest.raises(UserError, match=f"can be read in two ways, as .*{said}") as caught:
        read(root)
    readings = options_in(str(caught.value))
    assert "\n" not in str(caught.value) and len(readings) == 2
    for chosen in (options, *readings):
        if not {"FOLDER", "auto", "trainA/{stem}_x4"} & {*chosen.values()}:  # of the user
            assert all(read(root, **chosen).values())


def test_what_is_read_in_part_alone_is_refused(tmp_path):
    root = fakes.laid_out(tmp_path, "train/{}.png", "test/noisy/{}.png", "test/clean/{}.png")
    with pytest.raises(UserError, match=r"train/0\.png' is no pair, and the images of test are"):
        read(root)
    assert all(read(root, layout="photos").values())
    fakes.laid_out(root, "train/clean/{}.png")
    with pytest.raises(UserError, match=r"clean/0\.png' has .* in a folder of inputs of train \(8"):
        read(root)
    fakes.laid_out(tmp_path / "one", "a/x{}.png")
    with pytest.raises(UserError, match=r"no partner of the same stem in a folder of targets \(8"):
        read(tmp_path / "one", inputs="a/x{stem}", targets="a")


def test_masks_of_another_place_are_read(tmp_path):
    root = fakes.laid_out(tmp_path / "photos", "{}.png")
    masks = fakes.laid_out(tmp_path / "masks", "{}.png")
    for given in (str(masks), "../masks"):
        (sample, *_) = read(root, masks=given)["train"]
        assert sample.mask and sample.mask.resolve() == masks / sample.files[0].name


def test_folders_that_hold_the_same_names_are_asked_about(tmp_path, capsys):
    root = fakes.laid_out(tmp_path, "train/source/{}.png", "train/sharp/{}.png")
    read(root)
    said = capsys.readouterr().out
    assert "'source' and 'sharp' hold the same names: are they pairs?" in said
    options = dict(word.split("=") for word in re.findall(r"recipe\.(\S+=\w+)", said))
    assert options == {"inputs": "source", "targets": "sharp"} and read(root, **options)
    capsys.readouterr()
    read(
        fakes.laid_out(tmp_path / "classes", "cat/{}.png", "dog/x{}.png", "train/{}.png"),
        splits="hash",
    )
    assert "same names" not in capsys.readouterr().out


def test_options_that_fit_nothing_are_refused(tmp_path):
    def refused(said: str, **options) -> None:
        with pytest.raises(UserError, match=said):
            read(root, **options)

    root = fakes.laid_out(tmp_path, "input/{}.png", "target/{}.png", count=4)
    refused("has no inputs and targets", layout="photos", inputs="input", targets="target")
    refused("has no masks", layout="side_by_side", masks="mask")
    refused("called as two of inputs, targets and masks", inputs="input", targets="input")
    refused(r"write what their names share as \{stem\}", inputs="{}_x", targets="target")
    refused("'.*nowhere' does not exist or holds no such image", inputs="nowhere", targets="input")
    refused(r"0\.png' has no partner .* in 'target/\{stem\}_x'|holds no such image",
            inputs="input", targets="target/{stem}_x")  # fmt: skip
    (root / "target" / "3.png").rename(root / "target" / "7.png")
    refused(r"3\.png' has no partner of the same stem in 'target' \(1 unmatched\)")
    only_test = fakes.laid_out(tmp_path / "other", "test/{}.png", count=4)
    assert len(recipes.samples(Spec("folder"), only_test, "test")) == 4
    with pytest.raises(UserError, match=r"folders for test and none for train; .*splits=hash"):
        recipes.samples(Spec("folder"), only_test, "train")


def test_accents_pair_however_they_are_written(tmp_path):
    for number in range(3):
        for role, form in (("input", "NFD"), ("target", "NFC"), ("mask", "NFD")):
            name = unicodedata.normalize(form, f"Été {number}")
            fakes.save(tmp_path / role / f"{name}.png", fakes.photo(24, 32, number))
    ids = [sample.id for samples in read(tmp_path).values() for sample in samples]
    assert sorted(ids) == [unicodedata.normalize("NFC", f"Été {number}") for number in range(3)]


# --- masks and halves on their way into training --------------------------------------------------


def test_masks_reach_the_batches_and_the_hashes(tmp_path):
    from tfrecon.data.pipeline import dataset, has_mask

    root = fakes.laid_out(tmp_path, "images/{}.png", "masks/{}.png", size=(32, 32))
    hole = np.zeros((32, 32), np.uint8)
    hole[4:9, 3:20] = 255
    for number in range(8):
        fakes.save(root / "masks" / f"{number}.png", np.roll(hole, number))
    samples = readable(recipes.samples(Spec("folder"), root, "train"))
    config = DataConfig(recipe=Spec("folder"), image_size=32, flip=False)
    assert has_mask(samples, config)
    batch = next(iter(dataset(samples, config, batch_size=2)))
    for mask, image, sample in zip(batch["mask"], batch["input"], samples, strict=False):
        expected = np.roll(hole, int(sample.id.rpartition("/")[2])) > 0
        np.testing.assert_array_equal(mask.numpy()[..., 0] > 0, expected)
        assert not image.numpy()[expected].any() and image.numpy()[~expected].all()
    before = fingerprint("", samples), content_fingerprint(samples)
    fakes.save(samples[0].mask, np.roll(hole, 9))
    assert fingerprint("", samples) != before[0] and content_fingerprint(samples) != before[1]
    fakes.save(samples[0].mask, hole[:30])
    with pytest.raises(UserError, match=r"mask .* is 30×32 and its photo 32×32"):
        readable(samples)


def test_a_table_of_boxes_masks_any_folder(tmp_path):
    root = fakes.laid_out(tmp_path, "{}.png", count=4, size=(90, 180))
    lines = ["n;filename;y1;x1;y2;x2", *(f"0;{n}.png;1;2;5;90" for n in range(4))]
    (root / "boxes.csv").write_text("\n".join(lines))
    listed = read(root, masks="boxes.csv")
    assert all(s.boxes == ((1, 2, 75, 75), (5, 90, 75, 75)) for s in listed["train"])


def side_by_side(root: Path, damaged, count: int = 12) -> Path:
    for number in range(count):
        clean = fakes.photo(32, 32, number)
        fakes.save(root / f"{number}.png", np.hstack((damaged(clean, number), clean)))
    return root


@pytest.mark.parametrize("half", ["right", "left"])
def test_halves_are_input_and_target(tmp_path, half):
    side_by_side(tmp_path, lambda clean, number: clean // 2)
    (sample, *_) = readable(read(tmp_path, layout="side_by_side", target_half=half)["train"])
    clean = fakes.photo(32, 32, int(sample.id))
    parts = parts_of(sample, ["input", "target"])
    given, wanted = (clean // 2, clean) if half == "right" else (clean, clean // 2)
    np.testing.assert_array_equal(parts["input"], given)
    np.testing.assert_array_equal(parts["target"], wanted)
    fakes.save(tmp_path / "odd.png", fakes.photo(32, 33, 0))
    with pytest.raises(UserError, match=r"odd\.png' is 33 pixels wide, which are no two halves"):
        read(tmp_path, layout="side_by_side")


def test_pairs_side_by_side_are_hinted_at_and_others_are_not(tmp_path):
    def hinted(root, damaged, **options):
        found = guards.inspect(read(side_by_side(root, damaged), **options), paired=bool(options))
        return [line for line in found if "halves correlate by" in line]

    (hint,) = hinted(tmp_path / "pairs", lambda clean, number: clean // 2)
    assert "by 1.00: are they pairs side by side?" in hint and "layout=side_by_side" in hint
    assert not hinted(tmp_path / "pairs", lambda clean, _: clean // 2, layout="side_by_side")
    assert not hinted(tmp_path / "wide", lambda _, number: fakes.photo(32, 32, number + 99))


def test_halves_that_do_not_correlate_are_refused_with_what_to_do(tmp_path):
    root = side_by_side(tmp_path, lambda clean, number: fakes.photo(32, 32, number + 99), count=16)
    listed = read(root, layout="side_by_side")
    said = "look mixed up: .*the halves of these photos are no pairs, so leave out .*check_pairs"
    with pytest.raises(UserError, match=said):
        guards.inspect(listed, paired=True)


def test_inputs_of_another_size_are_brought_to_their_targets(tmp_path):
    fakes.laid_out(tmp_path, "hr/{}.png", size=(24, 32))
    fakes.laid_out(tmp_path, "lr/{}x4.png", size=(6, 8))
    names = {"inputs": "lr/{stem}x4", "targets": "hr"}
    with pytest.raises(UserError, match=r"a pair must have equal sizes.*resize_inputs=true"):
        readable(read(tmp_path, **names)["train"])
    (sample, *_) = readable(read(tmp_path, resize_inputs=True, **names)["train"])
    assert parts_of(sample, ["input", "target"])["input"].shape == (24, 32, 3)


# --- tables beside the images ---------------------------------------------------------------------


def metadata(root: Path, rows: list[dict], ending: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"metadata.{ending.strip(';')}"
    if ending == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    else:
        between = ";" if ending == "csv;" else ","
        lines = [between.join(rows[0]), *(between.join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines), "utf-8")


@pytest.mark.parametrize("ending", ["csv", "csv;", "jsonl"])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"file_name": "x/{}.png", "text": "a cat"}, f"8 clean photos; {BY_HASH}"),
        ({"file_name": "x/{}.png", "target_file_name": "y/{}_c.png"},
         f"8 pairs: file_name → target_file_name; {BY_HASH}"),
        ({"file_name": "y/{}_c.png", "noisy": "x/{}.png", "mask_file": "m/{}.png"},
         f"8 pairs with masks: noisy → file_name; {BY_HASH}"),
        ({"file_name": "x/{}.png", "mask_image_file": "m/{}.png"},
         f"8 photos with masks from mask_image_file; {BY_HASH}"),
        ({"file_name": "x/{}.png", "camera_file": "m/{}.png"}, f"8 clean photos; {BY_HASH}"),
        ({"file_name": "x/{}.png", "mask_path": "m/{}.png"},
         f"8 photos with masks from mask_path; {BY_HASH}"),
    ],
)  # fmt: skip
def test_a_table_names_the_images_and_their_partners(tmp_path, capsys, ending, columns, said):
    fakes.laid_out(tmp_path, "x/{}.png", "y/{}_c.png", "m/{}.png")
    rows = [{name: text.format(n) for name, text in columns.items()} for n in range(8)]
    metadata(tmp_path, rows, ending)
    listed = read(tmp_path)
    assert said in capsys.readouterr().out.splitlines()
    for sample in [sample for samples in listed.values() for sample in samples]:
        assert {path.stem[0] for path in (*sample.files, sample.mask) if path} == {
            sample.files[0].stem[0]
        }


def test_a_table_says_splits_by_its_place_or_a_column(tmp_path, capsys):
    for split in ("train", "validation", "test"):
        fakes.laid_out(tmp_path / "a" / split, "x{}.png", "y{}.png", count=3)
        rows = [{"file_name": f"x{n}.png", "clean_file_name": f"y{n}.png"} for n in range(3)]
        metadata(tmp_path / "a" / split, rows, "jsonl")
    assert [len(samples) for samples in read(tmp_path / "a").values()] == [3, 3, 3]
    assert "9 pairs: file_name → clean_file_name; splits from folders" in capsys.readouterr().out
    fakes.laid_out(tmp_path / "b", "{}.png", count=6)
    splits = ("train", "train", "train", "val", "test", "test")
    rows = [{"file_name": f"{n}.png", "split": split} for n, split in enumerate(splits)]
    metadata(tmp_path / "b", rows, "csv")
    assert [len(samples) for samples in read(tmp_path / "b").values()] == [3, 1, 2]
    assert "splits from the column split" in capsys.readouterr().out


def test_bad_tables(tmp_path, capsys):
    def refused(said: str) -> None:
        with pytest.raises(UserError, match=said) as caught:
            read(root)
        assert "\n" not in str(caught.value)

    root = fakes.laid_out(tmp_path, "x/{}.png", "y/{}.png", count=4)
    row = {"file_name": "x/0.png", "gt_file": "y/0.png"}
    metadata(root, [row, row | {"file_name": "x/9.png"}], "csv")
    refused(r"metadata\.csv', line 3, names 'x/9\.png' as file_name, which is not in")
    metadata(root, [row, {"file_name": "../../x/1.png"}], "csv")
    refused(r"names '\.\./\.\./x/1\.png'")
    metadata(root, [row | {"split": ""}, row | {"split": "holdout"}], "csv")
    refused("line 3: split 'holdout' is none of train, val, test")
    metadata(root, [{"input_file": "x/0.png"}], "csv")
    refused("line 2: input_file names an input, and no column its target")
    metadata(root, [row | {"target": "x/1.png"}], "csv")
    refused("line 2: gt_file and target both name the target")
    metadata(root, [row, row | {"gt_file": "y/1.png"}], "csv")
    refused("line 3: .*0.png' is listed before with other partners")
    (root / "metadata.csv").write_bytes(b"\xff\xfe\x00")
    refused("is no UTF-8 CSV table")
    (root / "metadata.csv").unlink()
    (root / "metadata.jsonl").write_text('{"file_name": "x/0.png"\n')
    refused("metadata .*is no UTF-8 JSON, an object a line")
    metadata(root, [{"camera": "k", "iso": 3}], "jsonl")
    assert sum(map(len, read(root).values())) == 8
    assert f"left out in '{root}': 1 file (1 .jsonl): metadata.jsonl" in capsys.readouterr().out
