"""Recipes: which files, which split, and one sentence for all that can be wrong with them."""

# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
# A sample's files may be None by type; where these tests find None they are to fail.

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import fakes
import numpy as np
import pytest
from PIL import Image

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import recipes
from tfrecon.data.boxes import outside, read_boxes
from tfrecon.data.check import readable, unreadable
from tfrecon.data.photos import photos
from tfrecon.data.sample import Sample
from tfrecon.data.store import decode, fingerprint, parts_of
from tfrecon.inference.places import photos_of

animals_inpainting, demo = recipes.find("animals_inpainting"), recipes.find("demo")
SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "animals_contest"
CONTEST = Spec("animals_inpainting")
FOLDER = Spec("folder")


def ids(spec: Spec, root: Path | None, split: str) -> list[str]:
    return [sample.id for sample in recipes.samples(spec, root, split)]


def all_samples(spec: Spec, root: Path | None = None) -> list[Sample]:
    return [
        sample
        for split in ("train", "val", "test")
        for sample in recipes.samples(spec, root, split)
    ]


# --- demo -----------------------------------------------------------------------------------------


def test_demo_splits_by_scene():
    scenes = {
        split: {
            sample.files[0].stem.split("_")[0]
            for sample in recipes.samples(Spec("demo"), None, split)
        }
        for split in demo.SPLITS
    }
    assert sum(map(len, scenes.values())) == len(set.union(*scenes.values()))
    assert scenes["test"] == {"chelsea", "coffee"}
    photos = {
        split: {s.files[0].name for s in recipes.samples(Spec("demo"), None, split)}
        for split in demo.SPLITS
    }
    assert {"motorcycle_left.png", "motorcycle_right.png"} <= photos["train"]


def test_demo_crops_are_colour_photos_inside_their_files():
    listed = all_samples(Spec("demo"))
    assert all(sample.input is None and sample.region[2:] == (256, 256) for sample in listed)
    assert readable(listed) == listed
    for path in {sample.target for sample in listed}:
        pixels = images.read(path).astype(int)
        assert np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 3, f"{path.name} is grey"


def test_demo_test_crops_cover_their_photos():
    listed = recipes.samples(Spec("demo"), None, "test")
    assert 8 <= len(listed) <= 20
    assert "chelsea_0_0" in [sample.id for sample in listed]
    for path in {sample.target for sample in listed}:
        covered = np.zeros(images.read(path).shape[:2], bool)
        for sample in listed:
            if sample.target == path:
                top, left, height, width = sample.region
                covered[top : top + height, left : left + width] = True
        assert covered.all()


def test_demo_does_not_import_tensorflow_or_skimage():
    import subprocess

    code = (
        "import sys; from tfrecon.data import recipes; recipes.find('demo').samples(None, 'train');"
        "sys.exit(bool({'tensorflow', 'skimage'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# --- the contest ----------------------------------------------------------------------------------


@pytest.fixture
def contest(tmp_path):
    return fakes.animals_contest(tmp_path)


def table(root: Path, name: str = "Cat") -> Path:
    return root / "Training_Data" / name / "Masked_Train" / "masked_info.csv"


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def write_rows(path: Path, rows: list) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def fails(root: Path, *words: str, split: str | None = None) -> None:
    """Reading the contest raises one UserError that holds all `words`."""
    with pytest.raises(UserError) as caught:
        for each in [split] if split else animals_inpainting.SPLITS:
            recipes.samples(CONTEST, root, each)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_contest_pairs_boxes_and_splits(contest):
    listed = all_samples(CONTEST, contest)
    assert len({sample.id for sample in listed}) == len(listed) == 24
    assert {Path(sample.id).suffix for sample in listed} == {".jpeg", ".png"}
    for sample in listed:
        assert sample.input.name == sample.target.name == sample.id
        assert sample.input.parent.name == "Masked_Train"
        assert sample.target.parent.name == "Unmasked_Train"
        pixels = images.read(sample.input)
        for top, left, height, width in sample.boxes:
            assert (height, width) == (75, 75)
            assert np.median(pixels[top : top + height, left : left + width]) == 0
    assert readable(listed) == listed


def test_contest_split_is_stable_when_photos_are_added(tmp_path):
    small = fakes.animals_contest(tmp_path / "small", count=4)
    large = fakes.animals_contest(tmp_path / "large", count=8)
    for split in ("train", "val", "test"):
        assert set(ids(CONTEST, small, split)) <= set(ids(CONTEST, large, split))


def test_contest_submit_is_in_the_order_of_the_table(contest):
    listed = recipes.samples(CONTEST, contest, "submit")
    names = [row[1] for row in rows_of(contest / "Testing_Data" / "masked_info.csv")[1:]]
    assert [sample.id for sample in listed] == names != sorted(names)
    assert all(sample.target is None and len(sample.boxes) == 2 for sample in listed)


def test_contest_classes(contest):
    spec = Spec("animals_inpainting", {"classes": ["Cat", "Tiger"]})
    assert {name.split("-")[0] for name in ids(spec, contest, "train")} == {"Cat", "Tiger"}
    with pytest.raises(UserError, match="did you mean 'Tiger'"):
        ids(Spec("animals_inpainting", {"classes": ["Tigre"]}), contest, "train")
    with pytest.raises(UserError, match="did you mean 'classes'"):
        ids(Spec("animals_inpainting", {"clases": ["Cat"]}), contest, "train")


def test_contest_table_one_level_up(contest):
    before = ids(CONTEST, contest, "train")
    table(contest).rename(table(contest).parents[1] / "masked_info.csv")
    assert ids(CONTEST, contest, "train") == before


def test_contest_needs_a_root(tmp_path):
    with pytest.raises(UserError, match="--root"):
        recipes.samples(CONTEST, None, "train")
    with pytest.raises(UserError, match="does not exist"):
        recipes.samples(CONTEST, tmp_path / "nowhere", "train")
    fails(tmp_path, "Training_Data", "does not exist")
    fails(tmp_path, "Testing_Data", "does not exist", split="submit")


def test_contest_missing_and_empty_tables(contest):
    rows = rows_of(table(contest))
    table(contest).unlink()
    fails(contest, "masked_info.csv", "does not exist")
    table(contest).write_text("")
    fails(contest, "masked_info.csv", "is empty")
    write_rows(table(contest), rows[:1])
    fails(contest, "masked_info.csv", "lists no photo")
    write_rows(table(contest), rows[1:])
    fails(contest, "masked_info.csv", "header")
    table(contest).write_bytes(b"\xff\xfe\x00\x01")
    fails(contest, "masked_info.csv", "UTF-8")


def test_contest_missing_columns(contest):
    rows = rows_of(table(contest))
    write_rows(table(contest), [row[:5] for row in rows])
    fails(contest, str(table(contest)), "5 columns")
    write_rows(table(contest), [*rows[:3], rows[3][:4], *rows[4:]])
    fails(contest, "line 4", "4 columns")


@pytest.mark.parametrize("value", ["", "12.5", "abc", "nan", "inf", "-3"])
def test_contest_coordinates_must_be_whole_numbers(contest, value):
    rows = rows_of(table(contest))
    rows[2][4] = value
    write_rows(table(contest), rows)
    fails(contest, str(table(contest)), "line 3", repr(value))


@pytest.mark.parametrize(
    "name",
    [
        "../Cat-Train (2).jpeg",
        "/etc/photo.png",
        "a/b.png",
        "a\\b.png",
        "C:b.png",
        "..",
        "",
        "a\nb.png",
    ],
)
def test_contest_names_must_be_plain(contest, name):
    rows = rows_of(table(contest))
    rows[2][1] = name
    write_rows(table(contest), rows)
    fails(contest, str(table(contest)), "plain file name", "line")


def test_contest_name_listed_twice(contest):
    rows = rows_of(table(contest))
    write_rows(table(contest), [*rows, rows[2]])
    fails(contest, "line 8", "line 3", repr(rows[2][1]))


def test_contest_name_in_two_classes(contest):
    rows = rows_of(table(contest))
    name, folder = rows[1][1], contest / "Training_Data"
    write_rows(table(contest, "Dog"), [*rows_of(table(contest, "Dog")), rows[1]])
    for part in ("Masked_Train", "Unmasked_Train"):
        (folder / "Dog" / part / name).write_bytes((folder / "Cat" / part / name).read_bytes())
    fails(contest, "Cat", "Dog", name, "unique")


def test_contest_row_without_photo_and_photo_without_row(contest):
    rows = rows_of(table(contest))
    write_rows(table(contest), [*rows, ["9", "Cat-Train (99).png", 0, 55, 84, 80]])
    fails(contest, str(table(contest)), "Cat-Train (99).png")
    write_rows(table(contest), rows[:-1])
    fails(contest, rows[-1][1], "no row", str(table(contest)))


@pytest.mark.parametrize("part", ["Masked_Train", "Unmasked_Train"])
def test_contest_unmatched_photo(contest, part):
    name = rows_of(table(contest, "Dog"))[1][1]
    (contest / "Training_Data" / "Dog" / part / name).unlink()
    fails(contest, name, "Dog")


def test_contest_box_outside_the_photo(contest):
    rows = rows_of(table(contest))
    rows[1][2] = str(fakes.HEIGHT - 74)
    write_rows(table(contest), rows)
    fails(contest, str(table(contest)), rows[1][1], "outside", "168×176")


def test_contest_box_that_is_not_blank(contest):
    rows = rows_of(table(contest))
    rows[1][3] = str(int(rows[1][3]) + 8)
    write_rows(table(contest), rows)
    fails(contest, str(table(contest)), rows[1][1], "not blank")


@pytest.mark.parametrize("split", ["train", "submit"])
def test_contest_swapped_columns_are_named(contest, split):
    path = table(contest) if split == "train" else contest / "Testing_Data" / "masked_info.csv"
    rows = rows_of(path)
    write_rows(path, [rows[0], *([*row[:2], row[3], row[2], row[5], row[4]] for row in rows[1:])])
    fails(contest, str(path), "x and y are swapped", split=split)


def test_contest_leaves_an_unreadable_photo_to_the_check(contest):
    victim = recipes.samples(CONTEST, contest, "train")[0]
    victim.input.write_bytes(b"no image")
    listed = recipes.samples(CONTEST, contest, "train")
    assert victim in listed
    with pytest.raises(UserError, match="--skip-unreadable"):
        readable(listed)
    assert readable(listed, skip_unreadable=True) == [s for s in listed if s != victim]


@pytest.mark.data
@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared contest photos are not beside the checkout"
)
def test_real_contest_data():
    splits = {split: recipes.samples(CONTEST, SHARED, split) for split in animals_inpainting.SPLITS}
    counts = {split: len(photos) for split, photos in splits.items()}
    assert counts["submit"] == 178
    assert counts["train"] + counts["val"] + counts["test"] == 537
    assert min(counts["val"], counts["test"]) >= 35
    assert len({sample.id for split in ("train", "val", "test") for sample in splits[split]}) == 537


# --- boxes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_read_boxes_by_position_in_order(tmp_path, delimiter):
    path = tmp_path / "boxes.csv"
    text = "\ufeffn,Photo,X,Y,Z,W,more\r\n7,b (1).png,1,2,3,4,x\r\n\r\n2,a.jpeg,5.0,6,7,8,\r\n"
    path.write_text(text.replace(",", delimiter), "utf-8")
    assert list(read_boxes(path, 10).items()) == [
        ("b (1).png", ((1, 2, 10, 10), (3, 4, 10, 10))),
        ("a.jpeg", ((5, 6, 10, 10), (7, 8, 10, 10))),
    ]


def test_a_name_listed_twice_is_found_among_others_of_its_hash(tmp_path, monkeypatch):
    monkeypatch.setattr("tfrecon.data.boxes.hash", lambda name: len(name), raising=False)
    path = tmp_path / "boxes.csv"
    lines = ["n,photo,y1,x1,y2,x2", "0,a,1,2,3,4", "0,b,5,6,7,8", "0,cc,9,9,9,9"]
    path.write_text("\n".join(lines))
    table = read_boxes(path, 10)
    assert table["b"] == ((5, 6, 10, 10), (7, 8, 10, 10)) and "c" not in table
    path.write_text("\n".join([*lines, "0,b,1,1,1,1", "0,a,1,1,1,1"]))
    with pytest.raises(UserError, match="line 5: 'b' is also listed in line 3; remove one"):
        read_boxes(path)
    path.write_text("\n".join([*lines, "0,d,1,1,1,1e300"]))
    with pytest.raises(UserError, match="line 5: '1e300' is no pixel position"):
        read_boxes(path)


@pytest.mark.slow
def test_two_million_rows_are_read_in_little_memory(tmp_path):
    path = tmp_path / "boxes.csv"
    with path.open("w") as file:
        file.write("n,photo,y1,x1,y2,x2\n")
        file.writelines(f"{n},Elephant-Train ({n}).jpeg,1,2,3,4\n" for n in range(2_000_000))
    code = (
        "import sys\n"
        "from tfrecon.base.platforms import peak_memory_gib\n"
        "from tfrecon.data.boxes import read_boxes\n"
        "print(len(read_boxes(sys.argv[1])), peak_memory_gib() * 1024 < 300)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2000000 True\n"


def test_outside_names_the_first_box_that_does_not_fit():
    fits, deep, wide = (0, 25, 75, 75), (26, 0, 75, 75), (0, 26, 75, 75)
    assert outside([fits], 75, 100) is None
    assert outside([fits, deep, wide], 75, 100) == deep
    assert outside([wide], 75, 100) == wide
    assert outside([(-1, 0, 5, 5)], 75, 100) == (-1, 0, 5, 5)


# --- folder ---------------------------------------------------------------------------------------


def test_folder_of_photos(tmp_path):
    root = fakes.photo_folder(tmp_path)
    listed = all_samples(FOLDER, root)
    assert sorted(sample.id for sample in listed) == sorted(
        f"below/photo_{n}" if n % 2 else f"photo_{n}" for n in range(8)
    )
    assert all(sample.input is None and sample.target.is_file() for sample in listed)
    assert recipes.find("folder").DAMAGE.name == "boxes"


@pytest.mark.parametrize("names", [("input", "target"), ("damaged", "clean photos")])
def test_two_folders_pair_by_stem(tmp_path, names):
    root = fakes.paired_folder(tmp_path, 8, *names)
    options = {} if names[0] == "input" else {"inputs": names[0], "targets": names[1]}
    listed = all_samples(Spec("folder", options), root)
    assert len(listed) == len({sample.id for sample in listed}) == 8
    for sample in listed:
        assert (sample.input.parent.name, sample.target.parent.name) == names
        assert sample.input.stem == sample.target.stem == sample.id


@pytest.mark.parametrize("count", range(3, 12))
def test_folder_has_no_empty_split_from_three_photos_on(tmp_path, count):
    fakes.photo_folder(tmp_path, count)
    assert len(all_samples(FOLDER, tmp_path)) == count
    assert min(len(ids(FOLDER, tmp_path, split)) for split in ("train", "val", "test")) >= 1


def test_folder_bad_input(tmp_path):
    def fails(words: str, **options) -> None:
        with pytest.raises(UserError, match=words):
            recipes.samples(Spec("folder", options), tmp_path, "train")

    fails("no image under")
    fakes.photo_folder(tmp_path, count=2)
    fails("2 images, too few")
    fails("both inputs and targets", inputs="a")
    fails("does not exist", inputs="a", targets="b")
    fakes.photo_folder(tmp_path, count=4)
    fakes.save(tmp_path / "photo_0.png", fakes.photo(80, 96, 0))
    fails("photo_0.*differ only in their ending")


def test_two_folders_bad_input(tmp_path):
    root = fakes.paired_folder(tmp_path)
    (root / "target" / "photo_3.png").unlink()
    with pytest.raises(UserError, match=r"photo_3\.jpg.*no partner"):
        recipes.samples(FOLDER, root, "train")
    fakes.paired_folder(tmp_path)
    fakes.save(root / "input" / "below" / "photo_3.png", fakes.photo(80, 96, 0))
    with pytest.raises(UserError, match=r"below.photo_3\.png' has no partner"):
        recipes.samples(FOLDER, root, "train")


def test_hidden_files_are_no_photos(tmp_path):
    fakes.photo_folder(tmp_path)
    (tmp_path / "._photo_0.jpg").write_bytes(b"left by a file manager")
    fakes.save(tmp_path / ".thumbnails" / "photo_0.png", fakes.photo(8, 8, 0))
    assert len(all_samples(FOLDER, tmp_path)) == 8


# --- what is read, and what is left out -----------------------------------------------------------


def odd_folder(folder: Path) -> Path:
    """Ten photos, files that are none, a folder, and a TIFF of three pages."""
    folder.mkdir(parents=True)
    pictures = [Image.fromarray(fakes.photo(24, 32, seed)) for seed in range(13)]
    for number, ending in enumerate(("jfif", "jpe", "ppm", "pgm", "gif", "webp", "avif", "bmp")):
        kind = {"jfif": "JPEG", "jpe": "JPEG", "pgm": "PPM"}.get(ending)
        pictures[number].save(folder / f"photo_{number}.{ending}", kind)
    pictures[8].save(folder / "pages.tif", save_all=True, append_images=pictures[9:11])
    pictures[11].save(folder / "moving.gif", save_all=True, append_images=pictures[12:])
    for name in ("a.heic", "b.HEIC", "notes.txt", "README", ".hidden"):
        (folder / name).write_bytes(b"no image")
    (folder / "inner").mkdir()
    return folder


LEFT_OUT = (
    "left out in '{}': 4 files (2 .heic, 1 no ending, 1 .txt): README, a.heic, b.HEIC, notes.txt"
)


def test_what_a_folder_leaves_out_is_said_once(tmp_path, capsys):
    folder = odd_folder(tmp_path / "photos")
    assert len(photos(folder)) == len(photos(folder)) == 10
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"{LEFT_OUT.format(folder)}; 1 folder: inner",
        f"left out in '{folder}': all pages but the first of moving.gif, pages.tif",
    ]
    assert len(photos_of(folder, (), False)) == 10 + 2 + 1
    assert not capsys.readouterr().out, "the same is said once; pages are not left out here"


def test_each_page_is_a_sample_of_the_split_of_its_file(tmp_path, capsys):
    folder = odd_folder(tmp_path / "photos")
    by_split = {split: recipes.samples(FOLDER, folder, split) for split in ("train", "val", "test")}
    said = f"{LEFT_OUT.format(folder)}\n10 clean photos; splits by hash of names\n"
    assert capsys.readouterr().out == said
    listed = [sample for samples in by_split.values() for sample in samples]
    assert {"pages", "pages#2", "pages#3", "moving", "moving#2"} < {s.id for s in listed}
    assert len(listed) == 13
    for samples in by_split.values():
        others = [s for other in by_split.values() if other is not samples for s in other]
        assert not {s.target for s in samples} & {s.target for s in others}
    for sample in readable(listed):
        (seed,) = {"pages": [8], "pages#2": [9], "pages#3": [10]}.get(sample.id, [None])
        if seed:
            for kept in (parts_of(sample, ["target"]), *decode([(sample, ["target"])])):
                np.testing.assert_array_equal(kept["target"], fakes.photo(24, 32, seed))
    prints = {fingerprint("", [sample]) for sample in listed if sample.target.stem == "pages"}
    assert len(prints) == 3, "caches of two pages differ"


def test_pairs_have_equal_pages(tmp_path):
    root = fakes.paired_folder(tmp_path, 3)
    pictures = [Image.fromarray(fakes.photo(24, 32, seed)) for seed in range(3)]
    for side, count in (("input", 2), ("target", 2)):
        path = root / side / "paged.tif"
        pictures[0].save(path, save_all=True, append_images=pictures[1:count])
    paged = [sample for sample in all_samples(FOLDER, root) if sample.input.stem == "paged"]
    assert [(sample.id, sample.page) for sample in paged] == [("paged", 0), ("paged#2", 1)]
    pictures[0].save(root / "input" / "paged.tif", save_all=True, append_images=pictures[1:])
    with pytest.raises(UserError, match="different numbers of pages"):
        all_samples(FOLDER, root)


def test_reduced_copies_in_a_tiff_are_no_pages(tmp_path):
    pictures = [Image.fromarray(fakes.photo(24, 32, seed)) for seed in range(2)]
    pictures[1].encoderinfo = {"tiffinfo": {254: 1}}
    pictures[0].save(tmp_path / "a.tif", save_all=True, append_images=pictures[1:])
    assert images.pages(tmp_path / "a.tif") == [0]


# --- readable -------------------------------------------------------------------------------------


def broken_folder(root: Path, count: int) -> list[Sample]:
    fakes.photo_folder(root, 4)
    for index in range(count):
        (root / f"broken_{index:02}.jpg").write_bytes(b"no image" if index % 2 else b"")
    return all_samples(FOLDER, root)


def test_unreadable_files_are_listed_together(tmp_path):
    listed = broken_folder(tmp_path, 23)
    _, bad = unreadable(listed)
    assert len(bad) == 23
    assert all(sample.files[0].name in reason for sample, reason in bad)
    with pytest.raises(UserError) as caught:
        readable(listed)
    message = str(caught.value)
    assert message.startswith("23 ") and "and 3 more" in message and "--skip-unreadable" in message
    assert "broken_00.jpg" in message and "broken_19.jpg" in message
    assert "broken_20.jpg" not in message


def test_skipping_unreadable_files_keeps_order_and_counts(tmp_path, capsys):
    listed = broken_folder(tmp_path, 3)
    kept = readable(listed, skip_unreadable=True)
    assert kept == [sample for sample in listed if "broken" not in sample.id]
    assert "skipping 3 of 7" in capsys.readouterr().out
    with pytest.raises(UserError, match="none of the 3"):
        readable([sample for sample in listed if "broken" in sample.id], skip_unreadable=True)


def test_pairs_must_have_equal_sizes(tmp_path):
    root = fakes.paired_folder(tmp_path)
    fakes.save(root / "input" / "photo_3.jpg", fakes.photo(96, 80, 0))
    with pytest.raises(UserError, match=r"photo_3\.jpg.*96×80.*photo_3\.png.*80×96"):
        readable(all_samples(FOLDER, root))


def test_boxes_and_regions_must_fit(tmp_path):
    path = tmp_path / "a.png"
    fakes.save(path, fakes.photo(80, 96, 0))
    assert readable([Sample("a", target=path, region=(0, 0, 80, 96))])
    for fields in ({"region": (10, 0, 75, 75)}, {"boxes": ((0, 30, 75, 75),)}):
        with pytest.raises(UserError, match=r"outside.*a\.png.*80×96"):
            readable([Sample("a", input=path, **fields)])


# --- finding recipes ------------------------------------------------------------------------------


def test_unknown_recipe_and_split():
    with pytest.raises(UserError, match="did you mean 'animals_inpainting'"):
        recipes.find("animal_inpainting")
    with pytest.raises(UserError, match="no split 'submit'"):
        recipes.samples(Spec("demo"), None, "submit")
    with pytest.raises(UserError, match="unknown option"):
        recipes.samples(Spec("demo", {"side": 3}), None, "train")


def test_documents_are_paired_and_listed_by_number(tmp_path):
    spec, root = Spec("denoising_dirty_documents"), fakes.dirty_documents(tmp_path, count=30)
    listed = {split: recipes.samples(spec, root, split) for split in recipes.find(spec.name).SPLITS}
    assert [sample.id for sample in listed["submit"]] == ["31", "32", "33"]
    assert all(sample.target is None for sample in listed.pop("submit"))
    paired = [sample for samples in listed.values() for sample in samples]
    assert sorted(int(sample.id) for sample in paired) == [*range(1, 31)]
    assert all(sample.input.name == sample.target.name for sample in paired)
    numbers = [int(sample.id) for sample in listed["train"]]
    assert numbers == sorted(numbers), "10 is not before 2"
    (root / "train_cleaned/7.png").unlink()
    with pytest.raises(UserError, match=r"training pages: '.*7\.png' has no partner"):
        recipes.samples(spec, root, "train")
    shutil.rmtree(root / "test")
    with pytest.raises(UserError, match="test' does not exist"):
        recipes.samples(spec, root, "submit")


def test_own_recipe_by_dotted_path(tmp_path, monkeypatch):
    (tmp_path / "my_recipes").mkdir()
    (tmp_path / "my_recipes" / "cats.py").write_text(
        "from tfrecon.data.sample import Sample\n"
        "SPLITS = ('train', 'val', 'test')\n"
        "def samples(root, split, *, sign: str = 'x'):\n"
        "    return [Sample(f'{split}_{sign}', target=root / 'a.png')]\n"
    )
    (tmp_path / "my_recipes" / "empty.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    listed = recipes.samples(Spec("my_recipes.cats", {"sign": "y"}), tmp_path, "val")
    assert listed == [Sample("val_y", target=tmp_path / "a.png")]
    with pytest.raises(UserError, match="has no 'samples'"):
        recipes.find("my_recipes.empty")
    with pytest.raises(UserError, match="cannot be imported"):
        recipes.find("my_recipes.dogs")


def test_every_recipe_of_the_project_keeps_the_contract():
    assert recipes.names() == [
        "animals_inpainting", "bsds500", "dead_leaves", "demo", "denoising_dirty_documents",
        "div2k", "folder", "humanface8000", "imagenet_val", "imagenette", "tfds",
    ]  # fmt: skip
    for name in recipes.names():
        recipe = recipes.find(name)
        assert recipe.SPLITS[:3] == ("train", "val", "test")
        assert callable(recipe.samples) and recipe.__doc__
