"""A folder of photos through an export: what is written, and what is refused before anything is."""

import csv
import os
import shlex
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from exported_models import tiny
from PIL import Image, ImageCms

from tfrecon import export, reconstruct
from tfrecon.base import carried, files, images
from tfrecon.base.errors import UserError
from tfrecon.inference.folder import Settings, restore_folder
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
    restore_folder(
        fake, folders.photos, folders.out, masks=folders.masks, settings=Settings(64, 16)
    )
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
    restore_folder(Fake(False), folders.photos, folders.out)
    np.testing.assert_array_equal(images.read(folders.out / "a.png"), upright)
    with Image.open(folders.out / "a.png") as written:
        assert written.getexif()[0x0112] == 1


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
    refused(folders, "is the input folder itself", out=folders.photos)  # nor a.png beside a.bmp:
    # started again, it would find two photos of one stem
    refused(folders, "is the input folder itself", out=folders.photos / ".." / "in")
    np.testing.assert_array_equal(images.read(folders.photos / "b.png"), before)
    assert len(list(folders.photos.iterdir())) == 2


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
    refused(folders, "--overlap", settings=Settings(overlap=overlap))


def test_all_unreadable_photos_are_listed_and_may_be_skipped(folders):
    save(folders.photos / "good.png", photo(30, 30))
    data = (folders.photos / "good.png").read_bytes()
    (folders.photos / "torn.png").write_bytes(data[: len(data) // 2])
    (folders.photos / "empty.jpg").touch()
    refused(folders, r"2 image files cannot be read: .*empty\.jpg.*torn\.png.*--skip-unreadable")
    written = restore_folder(Fake(False), folders.photos, folders.out, skip_unreadable=True)
    assert written == 1
    assert [path.name for path in folders.out.iterdir()] == ["good.png"]


# Mask images


RED = np.array([255, 0, 0], np.uint8)
HOLE = np.zeros((20, 30), bool)
HOLE[4:9, 3:20] = True


def restored_with(folders, mask, **options):
    """What is said of one photo (20,30) and its mask, of which HOLE must be what is restored."""
    pixels = save(folders.photos / "a.png", photo(20, 30))
    picture = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    folders.masks.mkdir(exist_ok=True)
    picture.save(folders.masks / "a.png")
    restore_folder(Fake(), folders.photos, folders.out, masks=folders.masks, **options)
    expected = np.where(HOLE[..., None], RED, pixels)
    np.testing.assert_array_equal(images.read(folders.out / "a.png"), expected)


def layer(colour, opaque):
    """(20,30,4): one colour, opaque where said."""
    alpha = np.where(opaque, 255, 0).astype(np.uint8)
    return np.dstack((np.full((20, 30, 3), colour, np.uint8), alpha))


def test_a_mask_with_transparency_is_refused_unless_its_meaning_is_said(folders):
    save(folders.photos / "a.png", photo(20, 30))
    save(folders.masks / "a.png", layer(255, HOLE))
    refused(folders, "transparent in places; say .*--mask-from alpha", export=Fake(),
            masks=folders.masks)  # fmt: skip
    restored_with(folders, layer(255, ~HOLE), mask_from="alpha")  # erased on white
    restored_with(folders, layer(255, HOLE), mask_from="luminance")  # strokes on a layer
    restored_with(folders, np.dstack([HOLE * np.uint8(255)] * 3 + [np.full_like(HOLE, 255, "u1")]))
    with pytest.raises(UserError, match="has no transparency; leave out --mask-from alpha"):
        restored_with(folders, HOLE * np.uint8(255), mask_from="alpha")
    table(folders.table, [])
    refused_again = pytest.raises(UserError, match="--mask-from has no effect on the boxes")
    with refused_again:
        restore_folder(Fake(), folders.photos, folders.out, masks=folders.table, mask_from="alpha")


@pytest.mark.parametrize(
    ("mask", "values"),
    [
        (HOLE * np.uint16(255), "0 and 255"), (HOLE * np.uint16(1), "0 and 1"),
        (HOLE * np.uint8(1), "0 and 1"), (HOLE * np.uint16(65535), None),
        (Image.fromarray(HOLE), None), (np.where(HOLE, 255, 200).astype(np.uint8), "200 and 255"),
    ],
)  # fmt: skip
def test_the_larger_of_two_values_is_the_hole_and_said_where_unusual(folders, mask, values, capsys):
    restored_with(folders, mask)
    said = capsys.readouterr().out
    assert ("masks have the values" in said) == (values is not None)
    assert values is None or f"the values {values}, and" in said
    assert f"masks hide {HOLE.mean():.1%} of a photo in the median" in said


def test_masks_that_hide_nothing_all_or_most_are_refused_or_named(folders, capsys):
    for name in "abc":
        save(folders.photos / f"{name}.png", photo(20, 30))
    black, white = np.zeros((20, 30), np.uint8), np.full((20, 30), 255, np.uint8)
    masks = {"a": black, "b": black, "c": black}

    def given(**changed):
        for name, mask in (masks | changed).items():
            save(folders.masks / f"{name}.png", mask)
        return {"export": Fake(), "masks": folders.masks}

    refused(folders, "no mask in .* hides anything", **given())
    known = "c.png' covers all of .*c.png': nothing known is left to restore from"
    refused(folders, known, **given(c=white))
    given(b=HOLE * np.uint8(255), c=~HOLE * np.uint8(255))
    capsys.readouterr()
    restore_folder(Fake(), folders.photos, folders.out, masks=folders.masks)
    said = capsys.readouterr().out
    assert "masks hide 14.2% of a photo in the median, from 0.0% to 85.8%; inverted?" in said
    assert "more than half is hidden in c.png\nmasks hide nothing: a.png\n" in said


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_mask_is_turned_with_its_photo_or_warned_of(folders, orientation, capsys):
    exif = Image.Exif()
    exif[0x0112] = orientation
    folders.photos.mkdir(exist_ok=True)
    stored = photo(30, 20) if orientation > 4 else photo(20, 30)
    Image.fromarray(stored).save(folders.photos / "a.png", exif=exif)
    mask = np.zeros((*stored.shape[:2], 1), np.uint8)
    mask[2:7, 3:16] = 255
    save(folders.masks / "a.png", mask[..., 0])
    restore_folder(Fake(), folders.photos, folders.out, masks=folders.masks)
    said, restored = capsys.readouterr().out, images.read(folders.out / "a.png")
    expected = np.where(mask, RED, stored) if orientation > 4 else stored
    expected = carried.upright(expected, orientation)
    if orientation > 4:
        assert "before the turn by EXIF, and are turned with them: a.png" in said
    else:
        assert "warning: EXIF turns photos whose masks fit before and after" in said
        expected = np.where(mask, RED, expected)
    np.testing.assert_array_equal(restored, expected)


def test_one_mask_image_is_that_of_all_photos(folders):
    for name in "ab":
        save(folders.photos / f"{name}.png", photo(20, 30))
    save(folders.masks / "logo.png", HOLE * np.uint8(255))
    mask = folders.masks / "logo.png"
    assert restore_folder(Fake(), folders.photos, folders.out, masks=mask) == 2
    save(folders.photos / "c.png", photo(30, 20))
    with pytest.raises(UserError, match=r"logo\.png' is 20×30 and its photo 30×20"):
        restore_folder(Fake(), folders.photos, folders.out, masks=mask)


def test_a_mask_beside_the_photos_is_none_of_them(folders):
    save(folders.photos / "a.png", photo(20, 30))
    save(folders.photos / "mask.png", HOLE * np.uint8(255))
    mask = folders.photos / "mask.png"
    assert restore_folder(Fake(), folders.photos, folders.out, masks=mask) == 1


def test_floats_to_255_are_holes_from_their_middle(folders):
    pixels = save(folders.photos / "a.png", photo(20, 30))
    soft = HOLE * np.float32(255)
    soft[0] = 100  # what antialiasing leaves
    save(folders.masks / "a.tif", soft)
    restore_folder(Fake(), folders.photos, folders.out, masks=folders.masks)
    expected = np.where(HOLE[..., None], RED, pixels)
    np.testing.assert_array_equal(images.read(folders.out / "a.png"), expected)


def test_pages_of_masks_are_those_of_photos(folders, capsys):
    def pages(path, *pictures):
        path.parent.mkdir(exist_ok=True)
        first, *others = map(Image.fromarray, pictures)
        first.save(path, save_all=True, append_images=others)

    pages(folders.photos / "a.tif", *(photo(20, 30, seed) for seed in range(3)))
    masks = [np.roll(HOLE, place, 1) * np.uint8(255) for place in range(3)]
    pages(folders.masks / "a.tif", *masks)
    restore_folder(Fake(), folders.photos, folders.out, masks=folders.masks)
    assert "left out" not in capsys.readouterr().out
    for page, mask in enumerate(masks):
        restored = images.read(folders.out / f"a-page{page + 1}.png")
        np.testing.assert_array_equal(restored, np.where(mask[..., None], RED, photo(20, 30, page)))
    pages(folders.masks / "a.tif", *masks[:2])
    with pytest.raises(UserError, match=r"a\.tif' has no page 3, and its photo has"):
        restore_folder(Fake(), folders.photos, folders.out, masks=folders.masks)


# What a PNG keeps


def grid(*shape, most=255):
    kind = np.uint8 if most == 255 else np.uint16
    return np.random.default_rng(1).integers(0, most, shape, kind, endpoint=True)


def write_16(path, pixels):
    import tensorflow as tf

    path.write_bytes(tf.io.encode_png(pixels).numpy())


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("most", [255, 65535])
def test_colours_transparency_and_depth_are_kept(folders, channels, most):
    import tensorflow as tf

    pixels = grid(13, 17, channels, most=most)
    write_16(folders.photos / "a.png", pixels)
    restore_folder(Fake(False), folders.photos, folders.out)
    written = (folders.out / "a.png").read_bytes()
    kind = tf.uint8 if most == 255 else tf.uint16
    np.testing.assert_array_equal(tf.io.decode_png(written, dtype=kind), pixels)
    assert written[24] == (8 if most == 255 else 16), "bits, of the header"
    for depth in ("8", "16"):
        restore_folder(Fake(False), folders.photos, folders.out, settings=Settings(depth=depth))
        other = (folders.out / "a.png").read_bytes()
        assert other[24] == int(depth) and other[25] == written[25]
        again = tf.io.decode_png(other, dtype=tf.uint16 if depth == "16" else tf.uint8).numpy()
        assert np.abs(again / int("f" * (int(depth) // 4), 16) - pixels / most).max() <= 1 / 255


def test_a_hole_becomes_opaque(folders):
    pixels = grid(20, 30, 4)
    save(folders.photos / "a.png", pixels)
    save(folders.masks / "a.png", HOLE * np.uint8(255))
    restore_folder(Fake(), folders.photos, folders.out, masks=folders.masks)
    with Image.open(folders.out / "a.png") as written:
        restored = np.asarray(written)
    expected = np.where(HOLE[..., None], np.array([255, 0, 0, 255], np.uint8), pixels)
    np.testing.assert_array_equal(restored, expected)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("depth", ["8", "16"])
def test_profile_exif_and_resolution_are_kept(folders, name, depth):
    profile, exif = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), Image.Exif()
    exif[0x010F], exif[0x0112], exif.get_ifd(0x8769)[0x829A] = "Maker", 8, 0.25
    Image.fromarray(photo(20, 30)).save(
        folders.photos / name, icc_profile=profile, exif=exif.tobytes(), dpi=(300, 200)
    )
    restore_folder(Fake(False), folders.photos, folders.out, settings=Settings(depth=depth))
    with Image.open(folders.out / "a.png") as picture:
        assert picture.size == (20, 30) and picture.info["icc_profile"] == profile
        kept = picture.getexif()
        assert (kept[0x010F], kept.get(0x0112, 1)) == ("Maker", 1) and 0x0111 not in kept
        assert kept.get_ifd(0x8769)[0x829A] == 0.25
        assert name == "a.webp" or picture.info["dpi"] == pytest.approx((300, 200), abs=0.02)


def profile_of(colours):
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = colours
    return bytes(profile)


def test_a_profile_of_other_colours_is_left_out_and_named(folders, capsys):
    picture = Image.new("CMYK", (8, 8))
    picture.save(folders.photos / "a.jpg", icc_profile=profile_of(b"CMYK"))
    restore_folder(Fake(False), folders.photos, folders.out)
    assert "colour profile ('CMYK'" in capsys.readouterr().out
    with Image.open(folders.out / "a.png") as written:
        assert "icc_profile" not in written.info


def test_lab_has_no_transparency_and_16_bit_colours_of_a_tiff_are_told_of(
    folders, capsys, monkeypatch
):
    Image.fromarray(photo(8, 8)).convert("LAB").save(folders.photos / "lab.tif")
    assert not images.facts(folders.photos / "lab.tif").has_alpha
    save(folders.photos / "deep.tif", photo(8, 8))
    monkeypatch.setattr(images, "_bits", lambda picture: 16)  # Pillow writes no such file
    restore_folder(Fake(False), folders.photos, folders.out)
    assert "beyond the upper 8 is left out of the PNG of deep.tif" in capsys.readouterr().out


def test_colours_of_16_bits_that_pillow_alone_reads_keep_8(folders, capsys):
    folders.photos.mkdir(exist_ok=True)
    pixels = grid(9, 8, 4, most=65535)
    write_16(folders.photos / "a.png", pixels)
    whole = (folders.photos / "a.png").read_bytes()
    (folders.photos / "a.png").write_bytes(whole[:-12])  # without its last chunk
    assert restore_folder(Fake(False), folders.photos, folders.out) == 1
    assert "beyond the upper 8 is left out of the PNG of a.png" in capsys.readouterr().out
    restored = images.decoded(folders.out / "a.png").to_float()
    expected = pixels[..., :3] / 65535 * pixels[..., 3:] / 65535
    np.testing.assert_allclose(restored, expected, atol=2 / 255)


def test_each_page_of_a_file_is_a_photo(folders, capsys):
    pages = [Image.fromarray(photo(9, 8, seed)) for seed in range(3)]
    pages[0].save(folders.photos / "a.tif", save_all=True, append_images=pages[1:])
    save(folders.photos / "b.png", photo(9, 8))
    assert restore_folder(Fake(False), folders.photos, folders.out) == 4
    names = ["a-page1.png", "a-page2.png", "a-page3.png", "b.png"]
    assert sorted(path.name for path in folders.out.iterdir()) == names
    for seed in range(3):
        restored = images.read(folders.out / f"a-page{seed + 1}.png")
        np.testing.assert_array_equal(restored, photo(9, 8, seed))
    save(folders.photos / "a-page2.png", photo(9, 8))
    with pytest.raises(UserError, match=r"'a\.tif page 2' and 'a-page2\.png' would both"):
        restore_folder(Fake(False), folders.photos, folders.out)


def test_a_photo_above_the_usual_limit_is_restored_in_tiles(folders, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    pixels = save(folders.photos / "a.png", photo(150, 70))
    mask = np.zeros((150, 70), np.uint8)  # so few bytes for so many pixels that a photo is refused
    mask[20:90, 5:33] = 255
    save(folders.masks / "a.png", mask)
    monkeypatch.setattr(images, "PIXELS_PER_BYTE", 1)
    fake, settings = Fake(), Settings(tile=32, overlap=8)
    restore_folder(fake, folders.photos, folders.out, masks=folders.masks, settings=settings)
    assert {x.shape for x in fake.seen} == {(1, 32, 32, 4)}
    read = images.read(folders.out / "a.png", large=True)
    np.testing.assert_array_equal(read, np.where(mask[..., None], RED, pixels))
    save(folders.masks / "a.png", np.zeros((151, 70), np.uint8))
    with pytest.raises(UserError, match="claims 70×151 pixels, more than the limit of 10,500;"):
        restore_folder(fake, folders.photos, folders.out, masks=folders.masks)


# Stops, and photos that fail


class Dying(Fake):
    """Dies as by SIGKILL, without putting anything in order, at its photo number `at`."""

    def __init__(self, at):
        super().__init__(has_mask=False)
        self.module.extend([None] * -at)

    def restore(self, x):
        if self.seen and self.seen.pop() is None and not self.seen:
            raise Killed
        return x


class Killed(BaseException):
    pass


def test_after_a_kill_only_the_unfinished_photos_are_restored(folders, capsys):
    for number, name in enumerate("abcd"):
        save(folders.photos / f"{name}.png", photo(9, 8 + number))

    def restored(fake=None, **options):
        """The widths of the photos that are restored."""
        fake = fake or Fake(False)
        restore_folder(fake, folders.photos, folders.out, **options)
        return [x.shape[2] for x in fake.seen]

    def killed():
        with pytest.raises(Killed):
            restored(Dying(-4))

    killed()
    assert sorted(path.name for path in folders.out.iterdir()) == [
        ".tfrecon.journal", "a.png", "b.png", "c.png",
    ]  # fmt: skip
    (folders.out / ".d.png.12345678.part").touch()
    (folders.out / ".mine.12345678.part").touch()
    with (folders.out / ".tfrecon.journal").open("a") as file:
        file.write("torn")
    capsys.readouterr()
    assert restored() == [11]
    assert "3 of 4 photos were restored before; 1 to go" in capsys.readouterr().out
    left = [".mine.12345678.part", "a.png", "b.png", "c.png", "d.png"]
    assert sorted(path.name for path in folders.out.iterdir()) == left
    assert restored() == [8, 9, 10, 11], "a finished folder is restored again"
    killed()
    assert restored(settings=Settings(depth="16")) == [8, 9, 10, 11], "another option"
    killed()
    (folders.out / "a.png").write_bytes((folders.out / "b.png").read_bytes())
    (folders.out / "b.png").unlink()
    save(folders.photos / "c.png", photo(9, 20))
    assert restored() == [8, 9, 20, 11], "changed outputs and photos are restored again"
    killed()
    other = Fake(False)
    object.__setattr__(other, "path", folders.photos)  # another hash
    assert restored(other) == [8, 9, 20, 11]


def test_names_that_are_no_text_or_have_lines_are_known_after_a_kill(folders, capsys):
    for name in ("a\nb", "caf\udce9", "d"):
        save(folders.photos / f"{name}.png", photo(9, 8))
    with pytest.raises(Killed):
        restore_folder(Dying(-3), folders.photos, folders.out)
    assert restore_folder(Fake(False), folders.photos, folders.out) == 3
    assert "2 of 3 photos were restored before; 1 to go" in capsys.readouterr().out


def test_a_changed_mask_is_restored_again(folders):
    for name in "ab":
        save(folders.photos / f"{name}.png", photo(20, 30))
        save(folders.masks / f"{name}.png", HOLE * np.uint8(255))
    fake = Fake()
    fake.seen.append(None)

    def dies(x):
        if len(fake.seen) == 2:
            raise Killed
        return Fake.restore(fake, x)

    with pytest.raises(Killed):
        object.__setattr__(fake, "restore", dies)
        restore_folder(fake, folders.photos, folders.out, masks=folders.masks)
    save(folders.masks / "a.png", ~HOLE * np.uint8(255))
    fake = Fake()
    restore_folder(fake, folders.photos, folders.out, masks=folders.masks)
    assert len(fake.seen) == 2


def test_one_process_at_a_time_restores_into_a_folder(folders):
    save(folders.photos / "a.png", photo(9, 8))
    with files.claimed(folders.out), pytest.raises(files.Taken, match="another process works in"):
        restore_folder(Fake(False), folders.photos, folders.out)


def test_photos_restored_to_nan_are_listed_and_the_others_written(folders):
    for number, name in enumerate("abc"):
        save(folders.photos / f"{name}.png", photo(9, 8 + number))

    class Diverged(Fake):
        def restore(self, x):
            return x * np.nan if x.shape[2] == 9 else x

    with pytest.raises(UserError, match="1 of 3 photos were restored to values that are not fin"):
        restore_folder(Diverged(False), folders.photos, folders.out)
    assert sorted(path.name for path in folders.out.iterdir()) == ["a.png", "c.png"]


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


def test_a_signal_ends_the_command_after_the_photo_and_it_goes_on(
    folders, capsys, monkeypatch, usual_handlers
):
    for name in ("a.png", "b.png"):
        picture = Image.fromarray(photo(90, 101))
        picture.save(folders.photos / name, icc_profile=profile_of(b"GRAY"))
    table(folders.table, [(0, "a.png", 3, 20, 5, 5), (1, "b.png", 3, 20, 5, 5)])
    given = ["--method", "harmonic_fill", folders.photos, folders.out, "--masks", folders.table]
    arguments = [str(argument) for argument in given]
    write = carried.Carried.write

    def stopped(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        write(*given)

    with monkeypatch.context() as patched:
        patched.setattr(carried.Carried, "write", stopped)
        assert reconstruct.main(arguments) == 143
    out, said = capsys.readouterr()
    assert "stopped by SIGTERM after 1 of 2 photos; go on with python -m tfrecon.recon" in said
    assert shlex.join(arguments) in said
    assert "is left out of the PNG of a.png\n" in out
    assert reconstruct.main(arguments) == 0
    assert "1 of 2 photos were restored before; 1 to go" in capsys.readouterr().out
    assert sorted(path.name for path in folders.out.iterdir()) == ["a.png", "b.png"]


def test_mistakes_are_one_sentence_and_exit_code_2(exported, folders, capsys):
    save(folders.photos / "a.png", photo(8, 8))
    for path in (exported.path, folders.photos, "nowhere"):
        assert reconstruct.main([str(path), str(folders.photos), str(folders.out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    assert export.main(["nowhere"]) == 2
    assert "run folder 'nowhere' does not exist" in capsys.readouterr().err
