"""The recipes of clean photos: splits, ids, what can be wrong with files, and their download."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import fakes
import numpy as np
import pytest

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import recipes
from tfrecon.data.check import readable
from tfrecon.data.photos import drawn
from tfrecon.data.tfds_images import write_split

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
SPLITS = ("train", "val", "test")
LAYOUTS = {
    "bsds500": fakes.bsds500,
    "div2k": fakes.div2k,
    "imagenette": fakes.imagenette,
    "imagenet_val": fakes.imagenet_val,
}
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
EVERY = pytest.mark.parametrize("name", sorted(LAYOUTS))


def ids(name: str, root: Path, split: str, **options) -> list[str]:
    return [sample.id for sample in recipes.samples(Spec(name, options), root, split)]


def fails(name: str, root: Path | None, split: str, *words: object, **options) -> None:
    """The recipe raises one UserError of one line that holds all `words`."""
    with pytest.raises(UserError) as caught:
        recipes.samples(Spec(name, options), root, split)
    message = str(caught.value)
    assert all(str(word) in message for word in words), message
    assert "\n" not in message


def stems(*numbers: int) -> list[str]:
    return [f"ILSVRC2012_val_{number:08}" for number in numbers]


# --- all of them ----------------------------------------------------------------------------------


@EVERY
def test_eight_photos_are_split_without_overlap(name, tmp_path):
    root = LAYOUTS[name](tmp_path)
    splits = {split: recipes.samples(Spec(name), root, split) for split in SPLITS}
    everything = [sample for split in SPLITS for sample in splits[split]]
    assert len({each.id for each in everything}) == len({each.target for each in everything}) == 8
    assert all(splits[split] for split in SPLITS)
    for split in SPLITS:
        assert ids(name, root, split) == sorted(each.id for each in splits[split])
        assert splits[split] == recipes.samples(Spec(name), root, split) == readable(splits[split])
    assert all(each.input is None and each.boxes == () for each in everything)
    assert not hasattr(recipes.find(name), "DAMAGE")


@EVERY
def test_a_root_that_is_missing_or_empty(name, tmp_path):
    fails(name, None, "train", name, "--root")
    fails(name, tmp_path / "nowhere", "train", tmp_path / "nowhere", "does not exist")
    fails(name, tmp_path, "train", tmp_path, "holds no")


@EVERY
def test_two_files_of_one_stem(name, tmp_path):
    root = LAYOUTS[name](tmp_path)
    photo = recipes.samples(Spec(name), root, "train")[0].target
    assert photo is not None
    shutil.copy(photo, photo.with_suffix(".bmp"))
    fails(name, root, "train", photo, photo.with_suffix(".bmp"), "share the stem", "rename")


@EVERY
def test_what_is_no_image(name, tmp_path):
    """Files of other endings and hidden ones are no photos; a broken photo is left to the check."""
    root = LAYOUTS[name](tmp_path)
    before = ids(name, root, "train")
    photo = recipes.samples(Spec(name), root, "train")[0].target
    assert photo is not None
    (photo.parent / "notes.txt").write_text("no image")
    (photo.parent / f"._{photo.name}").write_bytes(b"left by a file manager")
    assert ids(name, root, "train") == before
    photo.write_bytes(b"no image")
    with pytest.raises(UserError, match=photo.name):
        readable(recipes.samples(Spec(name), root, "train"))


def test_drawn_keeps_the_order_and_needs_sensible_numbers():
    # numpy.random.default_rng(42).permutation(10) is 5 6 0 7 3 2 4 9 1 8.
    assert drawn("abcdefghij", 4, seed=42) == ["a", "f", "g", "h"]
    assert drawn("abc", 7, seed=0) == ["a", "b", "c"]
    for count, seed in ((0, 1), (1, -1)):
        with pytest.raises(UserError, match=f"{count} images by seed {seed}"):
            drawn("abc", count, seed)


# --- bsds500 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "images", "data/images", "BSDS500/data/images"])
def test_bsds500_layouts(place, tmp_path):
    fakes.bsds500(tmp_path / place)
    assert ids("bsds500", tmp_path, "train") == ["1000", "1003", "1006"]
    assert ids("bsds500", tmp_path, "val") == ["1001", "1004", "1007"]
    assert ids("bsds500", tmp_path, "test") == ["1002", "1005"]


def test_bsds500_val_serves_as_test_only_without_a_test_folder(tmp_path):
    fakes.bsds500(tmp_path, ("train", "val"))
    assert ids("bsds500", tmp_path, "test") == ids("bsds500", tmp_path, "val")
    (tmp_path / "test").mkdir()
    fails("bsds500", tmp_path, "test", "no image in", tmp_path / "test")
    shutil.rmtree(tmp_path / "val")
    fails("bsds500", tmp_path, "val", tmp_path / "val", "does not exist")


# --- div2k ----------------------------------------------------------------------------------------


def test_div2k_divides_by_the_permutation_of_the_seed(tmp_path):
    fakes.div2k(tmp_path, train=10, test=2)
    # numpy.random.default_rng(42).permutation(10) is 5 6 0 7 3 2 4 9 | 1 8.
    assert ids("div2k", tmp_path, "val") == ["0002", "0009"]
    assert ids("div2k", tmp_path, "test") == ["0011", "0012"]
    order = np.random.default_rng(7).permutation(10) + 1
    assert ids("div2k", tmp_path, "train", seed=7) == [f"{n:04}" for n in sorted(order[:8])]
    assert ids("div2k", tmp_path, "val", seed=7) == [f"{n:04}" for n in sorted(order[8:])]
    fails("div2k", tmp_path, "val", "seed -1", seed=-1)


def test_div2k_of_800_photos_is_640_and_160(tmp_path):
    (tmp_path / "DIV2K_train_HR").mkdir()
    for number in range(1, 801):
        (tmp_path / "DIV2K_train_HR" / f"{number:04}.png").touch()
    training, validation = (ids("div2k", tmp_path, split) for split in ("train", "val"))
    assert (len(training), len(validation)) == (640, 160)
    assert len({*training, *validation}) == 800
    # The last of numpy.random.default_rng(42).permutation(800), counted from 0.
    assert {f"{n + 1:04}" for n in (141, 706, 548, 609, 648)} <= set(validation)


def test_div2k_bad_folders(tmp_path):
    fakes.div2k(tmp_path, train=1, test=0)
    fails("div2k", tmp_path, "train", tmp_path / "DIV2K_train_HR", "1 image", "at least 2", "800")
    fails("div2k", tmp_path, "test", tmp_path, "not 'DIV2K_valid_HR'", "--prepare")
    (tmp_path / "DIV2K_valid_HR").mkdir()
    fails("div2k", tmp_path, "test", tmp_path / "DIV2K_valid_HR", "no image")
    shutil.rmtree(tmp_path / "DIV2K_train_HR")
    fails("div2k", tmp_path, "train", tmp_path, "no folder 'DIV2K_train_HR'", "--prepare")


# --- imagenette -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "imagenette2", "imagenette2-320", "imagenette2-160"])
def test_imagenette_layouts(place, tmp_path):
    fakes.imagenette(tmp_path / place)
    first, second = fakes.CLASSES
    assert ids("imagenette", tmp_path, "train") == [
        f"{first}/{first}_8", f"{first}/{first}_9",
        f"{second}/{second}_10", f"{second}/{second}_8", f"{second}/{second}_9",
    ]  # fmt: skip
    assert ids("imagenette", tmp_path, "val") == [f"{first}/{first}_10"]
    assert ids("imagenette", tmp_path, "test") == [f"{first}/{first}_11", f"{second}/{second}_11"]


def test_imagenette_count_draws_of_each_split(tmp_path):
    fakes.imagenette(tmp_path, train=20)
    whole = {split: ids("imagenette", tmp_path, split) for split in SPLITS}
    for seed in (42, 7):
        part = {split: ids("imagenette", tmp_path, split, count=5, seed=seed) for split in SPLITS}
        assert len(part["train"]) == 5 and part["test"] == whole["test"]
        for split in SPLITS:
            assert part[split] == sorted(part[split]) and set(part[split]) <= set(whole[split])
    assert part["train"] != ids("imagenette", tmp_path, "train", count=5)
    fails("imagenette", tmp_path, "train", "cannot draw 0", count=0)


def test_imagenette_validation_is_a_tenth_and_stays_when_photos_are_added(tmp_path):
    for number in range(1000):
        path = tmp_path / "train" / "n01440764" / f"n01440764_{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    before = ids("imagenette", tmp_path, "val")
    assert 70 <= len(before) <= 130
    shutil.copytree(tmp_path / "train" / "n01440764", tmp_path / "train" / "n02102040")
    assert set(before) < set(ids("imagenette", tmp_path, "val"))


def test_imagenette_bad_folders(tmp_path):
    fakes.imagenette(tmp_path)
    (tmp_path / "train" / "n03028079").mkdir()
    fails("imagenette", tmp_path, "train", "no image in", tmp_path / "train" / "n03028079")
    shutil.rmtree(tmp_path / "val")
    fails("imagenette", tmp_path, "test", tmp_path / "val", "does not exist")
    (tmp_path / "val").mkdir()
    fails("imagenette", tmp_path, "test", tmp_path / "val", "no class folder")


# --- imagenet_val ---------------------------------------------------------------------------------


def class_folders(flat: Path, folder: Path) -> Path:
    for number, path in enumerate(sorted(flat.glob("*.JPEG"))):
        target = folder / ("n02000000" if number % 2 else "n01000000") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def test_imagenet_val_splits_alike_in_both_layouts(tmp_path):
    flat = fakes.imagenet_val(tmp_path / "flat")
    folders = class_folders(flat, tmp_path / "folders")
    assert ids("imagenet_val", flat, "val") == stems(11, 12)
    assert ids("imagenet_val", flat, "test") == stems(13)
    assert ids("imagenet_val", flat, "train") == stems(10, 14, 15, 16, 17)
    assert ids("imagenet_val", folders, "val") == [
        f"n01000000/{stems(12)[0]}", f"n02000000/{stems(11)[0]}",
    ]  # fmt: skip
    for split in SPLITS:
        below = [Path(each).name for each in ids("imagenet_val", folders, split)]
        assert sorted(below) == ids("imagenet_val", flat, split)
    (flat / TRUTH).unlink()
    assert ids("imagenet_val", flat, "val") == stems(11, 12)


def everything(root: Path, **options) -> list[str]:
    return sorted(
        sample.id
        for split in SPLITS
        for sample in recipes.find("imagenet_val").samples(root, split, **options)
    )


@pytest.mark.parametrize("layout", ["numbered by place", "numbered by name", "folders"])
def test_imagenet_val_per_class(layout, tmp_path):
    root = fakes.imagenet_val(tmp_path / "flat", count=12)
    if layout == "numbered by name":
        lines = ["12" if number % 2 == 0 else "7" for number in range(1, 50_001)]
        (root / TRUTH).write_text("\n".join(lines))
    if layout == "folders":
        root = class_folders(root, tmp_path / "folders")
    # numpy.random.default_rng(42).permutation(6) is 3 2 5 | 4 1 0: the third, fourth and sixth.
    names = [name.split("/")[-1] for name in everything(root, per_class=3)]
    assert sorted(names) == stems(14, 15, 16, 17, 20, 21)
    assert set(everything(root, per_class=1)) < set(everything(root, per_class=3))
    assert len(everything(root, per_class=6)) == 12
    fails("imagenet_val", root, "train", "has 6 photos", "per_class is 7", per_class=7)
    fails("imagenet_val", root, "train", "cannot draw 0", per_class=0)


def test_imagenet_val_classes_are_read_by_number_of_the_photo(tmp_path):
    """With all 50,000 lines, photo 11 is line 11, however few photos there are."""
    root = fakes.imagenet_val(tmp_path)
    lines = ["5"] * 50_000
    lines[10] = "9"
    (root / TRUTH).write_text("\n".join(lines))
    assert stems(11)[0] in everything(root, per_class=1)
    fails("imagenet_val", root, "test", "class '9' has 1 photos", per_class=2)
    fakes.save(root / "ILSVRC2012_val_00050001.JPEG", fakes.photo(32, 48, 0))
    fails("imagenet_val", root, "test", "ILSVRC2012_val_00050001", "no line among the 50000")


def test_imagenet_val_bad_ground_truth(tmp_path):
    root = fakes.imagenet_val(tmp_path)
    (root / TRUTH).write_text("1\n2\n3\n")
    fails("imagenet_val", root, "train", root / TRUTH, "3 lines", "8 photos", "50000")
    (root / TRUTH).write_text("1\n2\n3\n4\nfive\n6\n7\n8\n")
    fails("imagenet_val", root, "train", root / TRUTH, "line 5", "'five'")
    (root / TRUTH).unlink()
    fails("imagenet_val", root, "train", root / TRUTH, "development kit", per_class=1)


# --- prepare --------------------------------------------------------------------------------------


class Picture:
    """Its feature of images."""


PICTURE = Picture()


class Builder:
    """TensorFlow Datasets' builder of made-up bytes; asks what the real one must be asked."""

    info = SimpleNamespace(
        features={"label": SimpleNamespace(int2str=fakes.CLASSES.__getitem__), "image": PICTURE},
        splits=("train", "validation", "unlabelled"),
    )

    def __init__(self, dataset: str, calls: list[str]):
        self.dataset, self.calls = dataset, calls

    def download_and_prepare(self) -> None:
        self.calls.append(self.dataset)

    def as_dataset(self, *, split, shuffle_files, decoders, read_config):
        features, (undecoded,) = decoders
        assert undecoded in features and not shuffle_files and read_config == 1
        count = 6 if split == "train" else 2
        for number in range(count):
            yield {undecoded: f"{split} {number}".encode(), "label": np.int64(number % 2)}


@pytest.fixture
def calls(monkeypatch):
    """The data sets that were downloaded, while a made-up tensorflow_datasets is installed."""
    built: list[str] = []
    package = SimpleNamespace(
        builder=lambda dataset: Builder(dataset, built),
        features=SimpleNamespace(Image=Picture),
        decode=SimpleNamespace(
            SkipDecoding=lambda: "raw",
            PartialDecoding=lambda features, decoders: (features, decoders),
        ),
        ReadConfig=lambda interleave_cycle_length: interleave_cycle_length,
        as_numpy=iter,
    )
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", package)  # pyright: ignore
    monkeypatch.setitem(sys.modules, "importlib_resources", package)  # pyright: ignore
    return built


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_prepare_div2k_writes_undecoded_bytes_that_the_recipe_finds(tmp_path, calls):
    root = tmp_path / "new" / "div2k"
    recipes.prepare("div2k", root)
    assert contents(root) == {
        **{f"DIV2K_train_HR/tfds_train_{n + 1:05}.png": b"train %d" % n for n in range(6)},
        **{f"DIV2K_valid_HR/tfds_validation_{n + 1:05}.png": b"validation %d" % n for n in (0, 1)},
    }
    assert set(calls) == {"div2k/bicubic_x2"}
    assert [len(ids("div2k", root, split)) for split in SPLITS] == [4, 2, 2]


def test_prepare_imagenette_writes_class_folders(tmp_path, calls):
    recipes.prepare("imagenette", tmp_path)
    first, second = fakes.CLASSES
    assert contents(tmp_path / "val") == {
        f"{first}/tfds_validation_00001.JPEG": b"validation 0",
        f"{second}/tfds_validation_00002.JPEG": b"validation 1",
    }
    assert set(calls) == {"imagenette/320px-v2"}
    assert len(ids("imagenette", tmp_path, "train")) == 6 - len(
        [each for each in recipes.find("imagenette").samples(tmp_path, "val")]
    )


def test_any_data_set_is_prepared_by_its_name(tmp_path, calls, monkeypatch):
    def spec(**options):
        return Spec("tfds", {"dataset": "group/flowers", **options})

    with pytest.raises(UserError, match=r"download 'group/flowers' once, .*--prepare"):
        recipes.samples(spec(), tmp_path, "train")
    recipes.prepare(spec(), tmp_path)
    assert sorted(contents(tmp_path)) == [
        *(f"group_flowers/train/tfds_train_{n + 1:05}.jpg" for n in range(6)),
        *(f"group_flowers/validation/tfds_validation_{n + 1:05}.jpg" for n in range(2)),
    ]
    assert [len(recipes.samples(spec(), tmp_path, split)) for split in SPLITS] == [5, 2, 1]

    def refused(said, **options):
        with pytest.raises(UserError, match=said):
            recipes.prepare(spec(**options), tmp_path / "none")
        assert not (tmp_path / "none").exists()

    refused(r"has no images in 'nope': those are in image; choose another", image_key="nope")
    refused(r"needs the name of a data set; give it with --set data\.recipe\.dataset", dataset="")
    features = Builder.info.features
    monkeypatch.setattr(Builder.info, "features", features | {"mask": PICTURE})
    refused(r"has images in image, mask; choose one with --set data\.recipe\.image_key=image")
    monkeypatch.setattr(Builder.info, "features", {"label": features["label"]})
    calls.clear()
    refused("data set 'group/flowers' has no images; choose another data set")
    assert not calls, "refused before the download"
    monkeypatch.setattr(Builder.info, "features", features)
    monkeypatch.setattr(Builder.info, "splits", ("all",))
    refused("has the splits all and none to train on")


def test_prepare_keeps_what_is_there(tmp_path, calls, capsys):
    fakes.div2k(tmp_path, train=3, test=0)
    (tmp_path / "DIV2K_valid_HR").mkdir()
    before = contents(tmp_path)
    recipes.prepare("div2k", tmp_path)
    assert contents(tmp_path).items() > before.items() and len(contents(tmp_path)) == 3 + 2
    assert f"{tmp_path / 'DIV2K_train_HR'} is there already" in capsys.readouterr().out
    recipes.prepare("div2k", tmp_path)
    assert len(calls) == 1, "what is there is not downloaded again"


def test_prepare_writes_a_folder_whole_or_not_at_all(tmp_path, calls, monkeypatch):
    whole = Builder.as_dataset

    def broken(self, **options):
        yield from list(whole(self, **options))[:2]
        raise OSError("disk full")

    monkeypatch.setattr(Builder, "as_dataset", broken)
    with pytest.raises(OSError, match="disk full"):
        recipes.prepare("div2k", tmp_path)
    assert not list(tmp_path.iterdir())


def test_prepare_without_the_package_or_a_network(tmp_path, calls, monkeypatch):
    def unreachable(self):
        raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr(Builder, "download_and_prepare", unreachable)
    with pytest.raises(UserError, match=r"'div2k/bicubic_x2' \(no route to host\); .* by hand"):
        recipes.prepare("div2k", tmp_path)
    for module in ("importlib_resources", "tensorflow_datasets"):
        monkeypatch.setitem(sys.modules, module, None)  # pyright: ignore
        with pytest.raises(UserError, match=r'pip install "tfrecon\[tfds\]"'):
            recipes.prepare("div2k", tmp_path)
    assert not list(tmp_path.iterdir())


def test_prepare_is_for_recipes_that_download_and_needs_a_folder():
    with pytest.raises(
        UserError, match=r"'folder' has nothing to download.*div2k, imagenette, tfds\)"
    ):
        recipes.prepare("folder", Path("anywhere"))
    with pytest.raises(UserError, match="did you mean 'div2k'"):
        recipes.prepare("div2", Path("anywhere"))
    with pytest.raises(UserError, match="--root"):
        recipes.prepare("div2k", None)


@pytest.mark.parametrize(
    "dataset, image, ending, label",
    [("div2k/bicubic_x2", "hr", ".png", None), ("imagenette/320px-v2", "image", ".JPEG", "label")],
)
def test_the_real_tensorflow_datasets_gives_the_same_shape_of_things(
    dataset, image, ending, label, tmp_path
):
    tfds = pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")
    with tfds.testing.mock_data(num_examples=3):
        write_split(dataset, "train", tmp_path / "out", image=image, ending=ending, label=label)
    written = contents(tmp_path / "out")
    assert {Path(name).name for name in written} == {
        f"tfds_train_{n:05}{ending}" for n in (1, 2, 3)
    }
    assert all(Path(name).parent.name.startswith("n") for name in written if label)
    assert all(value[:4] == b"\x89PNG" or value[:2] == b"\xff\xd8" for value in written.values())


# --- the shared photos ----------------------------------------------------------------------------


def shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the shared photos of {name} are not beside the checkout")
    return SHARED / name


@pytest.mark.data
def test_shared_bsds500():
    splits = {split: recipes.samples(Spec("bsds500"), shared("bsds500"), split) for split in SPLITS}
    assert [len(splits[split]) for split in SPLITS] == [200, 100, 100]
    assert not {each.id for each in splits["train"]} & {each.id for each in splits["val"]}
    assert splits["val"][0].id == "101085" and readable(splits["val"]) == splits["val"]


@pytest.mark.data
def test_shared_imagenette():
    root = shared("imagenette")
    splits = {split: ids("imagenette", root, split) for split in SPLITS}
    assert len(splits["train"]) + len(splits["val"]) == 200 and len(splits["test"]) == 50
    assert 10 <= len(splits["val"]) <= 30
    assert len({each for split in SPLITS for each in splits[split]}) == 250
    assert len({each.split("/")[0] for each in splits["train"]}) == 10


@pytest.mark.data
def test_shared_div2k_is_one_image():
    fails("div2k", shared("div2k"), "train", "1 image", "at least 2")
    fails("div2k", shared("div2k"), "test", "DIV2K_valid_HR")
