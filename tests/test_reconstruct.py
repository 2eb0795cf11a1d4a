"""A folder of photos through an export: what is written, and what is refused before anything is."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from exported_models import tiny
from PIL import Image

from tfrecon import export, reconstruct
from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.inference.folder import restore_folder
from tfrecon.inference.restorer import Export, restorer
from tfrecon.inference.saved_model import export_model


class Fake(Export):
    """An export whose model paints holes red, and remembers what it was given."""

    def __init__(self, has_mask: bool = True) -> None:
        super().__init__(Path("exports/fake"), has_mask, record={}, module=[])

    @property
    def seen(self) -> list:
        return self.module

    def restore(self, x):
        self.seen.append(x)
        if not self.has_mask:
            return x
        mask = x[..., 3:]
        return (x[..., :3] * (1 - mask) + np.array([1, 0, 0], np.float32) * mask).astype(np.float32)


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def table(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("", "filename", "y1", "x1", "y2", "x2"), *rows])
    return path


@pytest.fixture
def folders(tmp_path):
    paths = SimpleNamespace(photos=tmp_path / "in", out=tmp_path / "out", masks=tmp_path / "masks")
    paths.photos.mkdir()
    paths.table = tmp_path / "masked_info.csv"
    return paths


def test_every_photo_becomes_a_png_of_its_stem_and_size(folders):
    sizes = {"a.png": (20, 30), "b.c.bmp": (1, 1), "Tiger (3).TIFF": (40, 17)}
    for name, size in sizes.items():
        save(folders.photos / name, photo(*size))
    (folders.photos / "masked_info.csv").write_text("")
    (folders.photos / ".hidden.png").write_text("")
    save(folders.photos / "below" / "d.png", photo(4, 4))
    assert restore_folder(Fake(False), folders.photos, folders.out) == 3
    assert sorted(p.name for p in folders.out.iterdir()) == ["Tiger (3).png", "a.png", "b.c.png"]
    for name, size in sizes.items():
        restored = images.read(folders.out / f"{Path(name).stem}.png")
        np.testing.assert_array_equal(restored, photo(*size))


def test_boxes_of_a_table_are_the_holes(folders):
    pixels = save(folders.photos / "a.png", photo(160, 170))
    table(folders.table, [(0, "other.png", 0, 0, 1, 1), (1, "a.png", 3, 90, 80, 10)])
    restore_folder(Fake(), folders.photos, folders.out, masks=folders.table)
    expected = pixels.copy()
    expected[3:78, 90:165] = expected[80:155, 10:85] = (255, 0, 0)
    np.testing.assert_array_equal(images.read(folders.out / "a.png"), expected)


def test_white_of_a_mask_image_is_the_hole(folders):
    pixels = save(folders.photos / "a.png", photo(40, 50))
    grey = np.full((40, 50), 20, np.uint8)  # what JPEG leaves of black
    grey[5:20, 8:30] = 240
    save(folders.masks / "a.bmp", grey)
    restore_folder(Fake(), folders.photos, folders.out, masks=folders.masks)
    expected = pixels.copy()
    expected[5:20, 8:30] = (255, 0, 0)
    np.testing.assert_array_equal(images.read(folders.out / "a.png"), expected)


def test_large_photos_go_through_tiles_and_a_hole_may_cross_their_borders(folders):
    pixels = save(folders.photos / "large.png", photo(150, 230))
    save(folders.photos / "small.png", photo(64, 64))
    save(folders.masks / "small.png", np.zeros((64, 64), np.uint8))
    mask = np.zeros((150, 230), np.uint8)
    mask[30:120, 20:200] = 255
    save(folders.masks / "large.png", mask)
    fake = Fake()
    restore_folder(fake, folders.photos, folders.out, masks=folders.masks, tile=64, overlap=16)
    assert {x.shape[:3] for x in fake.seen} == {(1, 64, 64)}
    expected = np.where(mask[..., None] == 255, np.array([255, 0, 0], np.uint8), pixels)
    np.testing.assert_array_equal(images.read(folders.out / "large.png"), expected)
    np.testing.assert_array_equal(images.read(folders.out / "small.png"), photo(64, 64))


def test_a_rotated_photo_comes_out_upright(folders):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:5] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    picture = Image.fromarray(np.rot90(upright).copy())
    picture.save(folders.photos / "a.png", exif=exif)
    save(folders.masks / "a.png", np.zeros((20, 30), np.uint8))
    restore_folder(Fake(), folders.photos, folders.out, masks=folders.masks)
    np.testing.assert_array_equal(images.read(folders.out / "a.png"), upright)


def refused(folders, match, **options):
    fake = options.pop("export", None) or Fake(has_mask=False)
    with pytest.raises(UserError, match=match):
        restore_folder(fake, folders.photos, options.pop("out", folders.out), **options)
    assert not fake.seen
    assert not folders.out.exists()


def test_missing_and_empty_folders_are_refused(folders):
    refused(folders, "no image in")
    folders.photos.rmdir()
    refused(folders, "does not exist")


def test_two_photos_of_one_stem_are_refused(folders):
    save(folders.photos / "a.png", photo(8, 8))
    save(folders.photos / "a.bmp", photo(8, 8))
    refused(folders, "share the stem 'a'")


def test_an_output_that_would_replace_an_input_is_refused(folders):
    save(folders.photos / "a.bmp", photo(8, 8))
    before = save(folders.photos / "b.png", photo(8, 8))
    refused(folders, "b.png' is an input and would be replaced", out=folders.photos)
    refused(folders, "would be replaced", out=folders.photos / ".." / "in")
    np.testing.assert_array_equal(images.read(folders.photos / "b.png"), before)
    (folders.photos / "b.png").unlink()
    restore_folder(Fake(False), folders.photos, folders.photos)  # bmp to png beside it
    assert (folders.photos / "a.png").exists()


def test_an_output_that_would_replace_a_mask_is_refused(folders):
    save(folders.photos / "a.bmp", photo(8, 8))
    save(folders.masks / "a.png", photo(8, 8))
    refused(folders, "would be replaced", export=Fake(), masks=folders.masks, out=folders.masks)


def test_an_output_folder_that_is_a_file_is_refused(folders):
    save(folders.photos / "a.png", photo(8, 8))
    folders.table.touch()
    refused(folders, "is a file", out=folders.table)


def test_masks_are_demanded_or_refused_as_the_model_takes_them(folders):
    save(folders.photos / "a.png", photo(8, 8))
    refused(folders, "give --masks masked_info.csv", export=Fake())
    refused(folders, "takes no masks; leave out --masks", masks=folders.table)


def test_photos_without_mask_are_named(folders):
    for name in ("a.png", "b.png", "c.png"):
        save(folders.photos / name, photo(80, 80))
    table(folders.table, [(0, "b.png", 0, 0, 1, 1)])
    refused(folders, "a.png' has no row in .*one of 2 such", export=Fake(), masks=folders.table)
    save(folders.masks / "a.png", np.zeros((80, 80), np.uint8))
    save(folders.masks / "b.png", np.zeros((80, 80), np.uint8))
    refused(folders, "c.png' has no mask image", export=Fake(), masks=folders.masks)
    refused(folders, "input folder itself", export=Fake(), masks=folders.photos)


def test_masks_that_do_not_fit_are_named(folders):
    save(folders.photos / "a.png", photo(80, 90))
    table(folders.table, [(0, "a.png", 0, 16, 0, 0)])
    refused(folders, "75×75 box at row 0, column 16", export=Fake(), masks=folders.table)
    save(folders.masks / "a.png", np.zeros((90, 80), np.uint8))
    refused(folders, "90×80 and its photo 80×90", export=Fake(), masks=folders.masks)
    save(folders.masks / "a.png", np.ones((80, 90), np.uint8))
    refused(folders, "paint damaged pixels white", export=Fake(), masks=folders.masks)


@pytest.mark.parametrize("overlap", [-1, 512, 600])
def test_an_impossible_overlap_is_refused(folders, overlap):
    save(folders.photos / "a.png", photo(8, 8))
    refused(folders, "--overlap", overlap=overlap)


def test_all_unreadable_photos_are_listed_and_may_be_skipped(folders):
    save(folders.photos / "good.png", photo(30, 30))
    data = (folders.photos / "good.png").read_bytes()
    (folders.photos / "torn.png").write_bytes(data[: len(data) // 2])
    (folders.photos / "empty.jpg").touch()
    refused(folders, r"2 image files cannot be read: .*empty\.jpg.*torn\.png.*--skip-unreadable")
    written = restore_folder(Fake(False), folders.photos, folders.out, skip_unreadable=True)
    assert written == 1
    assert [path.name for path in folders.out.iterdir()] == ["good.png"]


# The commands


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = tiny(True)
    path = tmp_path_factory.mktemp("exports") / "tiny"
    export_model(model, path, True)
    return SimpleNamespace(model=model, path=path)


def test_the_command_restores_a_folder(exported, folders, capsys):
    pixels = save(folders.photos / "a.png", photo(90, 101))
    table(folders.table, [(0, "a.png", 3, 20, 5, 5)])
    arguments = [exported.path, folders.photos, folders.out, "--masks", folders.table]
    assert reconstruct.main([str(argument) for argument in arguments]) == 0
    assert "1 photo restored" in capsys.readouterr().out
    mask = np.zeros((90, 101, 1), np.float32)
    mask[3:78, 20:95] = mask[5:80, 5:80] = 1
    x = np.concatenate((images.to_float(pixels), mask), axis=-1)
    expected = images.to_uint8(restorer(exported.model)(x[None])[0])
    restored = images.read(folders.out / "a.png")
    np.testing.assert_allclose(restored.astype(int), expected, atol=1)
    np.testing.assert_array_equal(restored[mask[..., 0] == 0], pixels[mask[..., 0] == 0])


def test_mistakes_are_one_sentence_and_exit_code_2(exported, folders, capsys):
    save(folders.photos / "a.png", photo(8, 8))
    for path in (exported.path, folders.photos, "nowhere"):
        assert reconstruct.main([str(path), str(folders.photos), str(folders.out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    assert export.main(["nowhere"]) == 2
    assert "run folder 'nowhere' does not exist" in capsys.readouterr().err
