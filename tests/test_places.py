"""Which photos are restored and into which files: one or a folder, layouts, suffixes, JPEG."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageCms
from preset_runs import ship
from restored_folders import HOLE, RED, Fake, photo, save
from test_reconstruct import Dying, Killed

from tfrecon import reconstruct
from tfrecon.base import files, images
from tfrecon.base.errors import UserError
from tfrecon.inference.folder import restore_files
from tfrecon.inference.restoring import Settings


def below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


@pytest.mark.parametrize("name", ["out.png", "new/out.jpg", "out.JPEG"])
def test_one_photo_is_restored_to_the_file_that_is_named(tmp_path, name):
    profile, exif = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(
        tmp_path / "a.tif", icc_profile=profile, exif=exif.tobytes(), dpi=(300, 300)
    )
    save(tmp_path / "mask.png", HOLE * np.uint8(255))
    out = tmp_path / name
    assert restore_files(Fake(), tmp_path / "a.tif", out, masks=tmp_path / "mask.png") == 1
    assert below(tmp_path) == sorted(["a.tif", "mask.png", name])
    with Image.open(out) as written:
        assert written.format == ("PNG" if name.endswith("png") else "JPEG")
        assert written.info["icc_profile"] == profile and written.getexif()[0x010F] == "Maker"
        assert written.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        pixels = np.asarray(written).astype(int)
    assert np.abs(pixels[16:] - 90).max() <= 2 and np.abs(pixels[6, 8:15] - RED).max() < 20


def test_a_grey_photo_of_16_bits_becomes_a_grey_jpeg_of_8(tmp_path):
    Image.fromarray(np.full((9, 8), 20_000, np.uint16)).save(tmp_path / "a.png")
    restore_files(Fake(False), tmp_path / "a.png", tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as written:
        assert written.mode == "L" and np.abs(np.asarray(written) - 20_000 / 257).max() < 2


def refusal(words, *given, **options):
    with pytest.raises(UserError, match=words):
        restore_files(options.pop("fake", Fake(False)), *given, **options)


def test_what_one_photo_cannot_become_is_refused(tmp_path):
    save(tmp_path / "a.png", np.full((20, 30, 4), 100, np.uint8))
    save(tmp_path / "mask.png", HOLE * np.uint8(255))
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").touch()
    a, here = tmp_path / "a.png", tmp_path
    refusal("a.png' is an input and would be replaced", a, here / "folder" / ".." / "a.png")
    refusal("mask.png' is an input and would", a, here / "mask.png", fake=Fake(), masks=here /
            "mask.png")  # fmt: skip
    refusal("folder' is a folder; name a file, e.g. -o '.*folder/a.png'", a, here / "folder")
    refusal("x.webp' must end with .png or .jpg", a, here / "x.webp")
    refusal("JPEG has no transparency", a, here / "x.jpg")
    refusal("a JPEG has 8 bits", a, here / "x.jpg", settings=Settings(depth="16"))
    refusal("--suffix has no effect where -o names the file", a, here / "x.png", suffix="_r")
    refusal("give -o OUTPUT, .* or --suffix _restored", a)
    refusal("--suffix is a part of a file's name, e.g. _restored, not '../x'", a, suffix="../x")
    refusal("notes.txt' is no image; endings read", here / "notes.txt", here / "x.png")
    refusal("photo or folder '.*none.png' does not exist", here / "none.png", here / "x.png")
    refusal("is a folder and -o '.*x.png' is named like a photo", here, here / "x.png")
    with files.making(here / "x.png"):
        refusal("another process works in", a, here / "x.png")
    assert below(tmp_path) == ["a.png", "mask.png", "notes.txt"]


def test_pages_of_one_photo_are_numbered(tmp_path):
    # Of several sizes, which are not restored together.
    first, *others = (Image.fromarray(photo(9 + seed, 8, seed)) for seed in range(3))
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    with pytest.raises(Killed):
        restore_files(Dying(-2), tmp_path / "a.tif", tmp_path / "b.jpg")
    fake = Fake(False)
    assert restore_files(fake, tmp_path / "a.tif", tmp_path / "b.jpg") == 3
    assert len(fake.seen) == 2, "goes on after a kill"
    assert below(tmp_path) == ["a.tif", "b-page1.jpg", "b-page2.jpg", "b-page3.jpg"]


@pytest.fixture
def tree(tmp_path):
    """Photos of two folders, whose masks lie in such folders."""
    for number, name in enumerate(("a.png", "one/a.png", "one/two/b.bmp")):
        save(tmp_path / "in" / name, photo(20, 30, number))
        save((tmp_path / "in/masks" / name).with_suffix(".png"), HOLE * np.uint8(255))
    return tmp_path / "in"


def test_the_layout_of_folders_is_kept(tree, tmp_path):
    options = {"recursive": True, "masks": tree / "masks"}
    for out in (tmp_path / "out", tree / "out", tree / "out"):
        assert restore_files(Fake(), tree, out, **options) == 3
        assert below(out) == ["a.png", "one/a.png", "one/two/b.png"]
        shutil.rmtree(out) if out.parent == tmp_path else None
    expected = np.where(HOLE[..., None], RED, photo(20, 30, 1))
    np.testing.assert_array_equal(images.read(tree / "out/one/a.png"), expected)
    (tree / "masks/one/a.png").unlink()
    refusal("in/one/a.png' has no mask image", tree, tmp_path / "new", fake=Fake(), **options)
    save(tree / "one/a.bmp", photo(20, 30))
    refusal("share the stem 'a'", tree, tmp_path / "new", recursive=True)
    refusal("is the input folder itself", tree, tree, recursive=True)


def test_folders_in_folders_go_on_after_a_kill(tree, tmp_path):
    shutil.rmtree(tree / "masks")
    for number, path in enumerate(p for p in tree.rglob("*") if p.is_file()):
        save(path, photo(20 + number, 30))  # of several sizes, which are not restored together
    with pytest.raises(Killed):
        restore_files(Dying(-2), tree, tmp_path / "out", recursive=True)
    (tmp_path / "out/one/two").mkdir(parents=True)
    (tmp_path / "out/one/.a.png.12345678.part").touch()
    fake = Fake(False)
    assert restore_files(fake, tree, tmp_path / "out", recursive=True) == 3
    assert len(fake.seen) == 2
    assert below(tmp_path / "out") == ["a.png", "one/a.png", "one/two/b.png"]


def test_beside_the_photos_nothing_is_replaced(tree, capsys):
    shutil.rmtree(tree / "masks")
    options = {"suffix": "_new", "recursive": True}
    assert restore_files(Fake(False), tree, **options) == 3
    written = ["a.png", "a_new.png", "one/a.png", "one/a_new.png", "one/two/b.bmp",
               "one/two/b_new.png"]  # fmt: skip
    assert below(tree) == written
    before = (tree / "a_new.png").read_bytes()
    save(tree / "one/c.png", photo(9, 8))
    capsys.readouterr()
    assert restore_files(Fake(False), tree, tree, **options) == 1, "the new one"
    said = capsys.readouterr().out
    assert "beside them: a.png, one/a.png, one/two/b.bmp; remove it to restore again" in said
    assert below(tree) == sorted([*written, "one/c.png", "one/c_new.png"])
    assert (tree / "a_new.png").read_bytes() == before
    assert restore_files(Fake(False), tree, suffix="_new") == 0
    assert restore_files(Fake(False), tree / "a.png", suffix="_new") == 0
    assert restore_files(Fake(False), tree / "a.png", suffix="_other") == 1
    assert "a_other.png" in below(tree)


def test_a_suffix_is_that_of_another_folder_too(tree, tmp_path):
    for _ in range(2):
        assert restore_files(Fake(False), tree, tmp_path / "new/out", suffix="_new") == 1
        assert below(tmp_path / "new") == ["out/a_new.png"]


def test_the_output_may_be_a_folder_above_and_masks_are_no_photos(tree):
    assert restore_files(Fake(False), tree / "one", tree) == 1
    shutil.rmtree(tree / "one")
    (tree / "a.png").unlink()
    refusal("holds no photo beside masks", tree, tree.parent / "out", fake=Fake(), recursive=True,
            masks=tree / "masks")  # fmt: skip


# The command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with both presets, a photo and its mask."""
    ship(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photo.png", photo(20, 30))
    save(tmp_path / "m.png", HOLE * np.uint8(255))
    save(tmp_path / "other.png", photo(20, 30))
    (tmp_path / "folder").mkdir()
    return tmp_path


def test_the_preset_follows_from_the_mask(here, capsys):
    assert reconstruct.main(["photo.png", "-o", "whole.png"]) == 0
    assert reconstruct.main(["photo.png", "-o", "filled.png", "--mask", "m.png"]) == 0
    assert capsys.readouterr().out.count("1 photo restored to") == 2
    pixels = photo(20, 30).astype(int)
    whole, filled = (np.abs(images.read(f"{name}.png") - pixels) for name in ("whole", "filled"))
    assert whole[~HOLE].max() > 0 == filled[~HOLE].max()
    own = ["photo.png", "--suffix", "_own", "--preset", str(here / "presets/scratches.npz")]
    assert reconstruct.main(own) == 0
    np.testing.assert_array_equal(images.read("whole.png"), images.read("photo_own.png"))
    assert reconstruct.main(own) == 0
    assert "0 photos restored" in capsys.readouterr().out

    before = below(here)
    for arguments, words in (
        (["photo.png", "-o", "x.png", "--preset", "inpaint"], "did you mean 'inpainting'?"),
        (["photo.png", "-o", "x.png", "--preset", "inpainting"], "give --mask IMAGE"),
        (
            ["photo.png", "-o", "x.png", "--preset", "scratches", "--mask", "m.png"],
            "takes no masks",
        ),
        (["photo.png", "-o", "photo.png"], "is an input and would be replaced"),
        (["photo.png", "-o", "folder"], "is a folder; name a file, e.g. -o 'folder/photo.png'"),
        (["gone.png", "-o", "x.png"], "'gone.png' does not exist"),
        (["photo.png", "-o", "x.png", "--preset", "gone.npz"], "'gone.json' does not exist"),
        (["photo.png", "other.png"], "give -o OUTPUT, the file that 'photo.png' is restored to"),
        (["photo.png", "other.png", "-o", "x"], "for several photos their folder"),
        (["a", "b", "c", "d"], "4 places are too many"),
    ):
        assert reconstruct.main(arguments) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1, said
    assert below(here) == before
