"""Masks of a folder of photos: which pixels they hide, and what is said of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from restored_folders import HOLE, RED, Fake, photo, refused, save, table

from tfrecon.base import carried, images
from tfrecon.base.errors import UserError
from tfrecon.inference.folder import restore_files


def restored_with(folders, mask, **options):
    """What is said of one photo (20,30) and its mask, of which HOLE must be what is restored."""
    pixels = save(folders.photos / "a.png", photo(20, 30))
    picture = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    folders.masks.mkdir(exist_ok=True)
    picture.save(folders.masks / "a.png")
    restore_files(Fake(), folders.photos, folders.out, masks=folders.masks, **options)
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
        restore_files(Fake(), folders.photos, folders.out, masks=folders.table, mask_from="alpha")


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
    assert f"the mask hides {HOLE.mean():.1%} of the photo" in said


def test_masks_that_hide_nothing_all_or_most_are_refused_or_named(folders, capsys):
    for name in "abc":
        save(folders.photos / f"{name}.png", photo(20, 30))
    black, white = np.zeros((20, 30), np.uint8), np.full((20, 30), 255, np.uint8)
    masks = {"a": black, "b": black, "c": black}

    def given(**changed):
        for name, mask in (masks | changed).items():
            save(folders.masks / f"{name}.png", mask)
        return {"export": Fake(), "masks": folders.masks}

    refused(folders, "no mask hides anything", **given())
    known = "c.png' covers all of .*c.png': nothing known is left to restore from"
    refused(folders, known, **given(c=white))
    given(b=HOLE * np.uint8(255), c=~HOLE * np.uint8(255))
    capsys.readouterr()
    restore_files(Fake(), folders.photos, folders.out, masks=folders.masks)
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
    restore_files(Fake(), folders.photos, folders.out, masks=folders.masks)
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
    assert restore_files(Fake(), folders.photos, folders.out, masks=mask) == 2
    save(folders.photos / "c.png", photo(30, 20))
    with pytest.raises(UserError, match=r"logo\.png' is 20×30 and its photo 30×20"):
        restore_files(Fake(), folders.photos, folders.out, masks=mask)


def test_a_mask_beside_the_photos_is_none_of_them(folders):
    save(folders.photos / "a.png", photo(20, 30))
    save(folders.photos / "mask.png", HOLE * np.uint8(255))
    mask = folders.photos / "mask.png"
    assert restore_files(Fake(), folders.photos, folders.out, masks=mask) == 1


@pytest.mark.parametrize(
    ("masks", "names"),
    [
        ("{stem}_mask", "in/{}_mask.png"), ("{stem}_mask.png", "in/{}_mask.png"),
        ("masks", "masks/{}_mask.png"), ("masks/hole {stem}", "masks/hole {}.png"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("below", [False, True])
def test_masks_are_called_after_their_photos(folders, monkeypatch, masks, names, below):
    monkeypatch.chdir(folders.photos.parent)
    for number, name in enumerate(("a", "below/b" if below else "b")):
        pixels = save(folders.photos / f"{name}.png", photo(20, 30, number))
        place, _, stem = name.rpartition("/")
        folder, _, called = names.rpartition("/")
        save(Path(folder) / place / called.format(stem), HOLE * np.uint8(255))
    assert restore_files(Fake(), folders.photos, folders.out, masks=masks, recursive=below) == 2
    expected = np.where(HOLE[..., None], RED, pixels)
    np.testing.assert_array_equal(images.read(folders.out / f"{name}.png"), expected)
    with pytest.raises(UserError, match=r"write what their names share as \{stem\}, once"):
        restore_files(Fake(), folders.photos, folders.out, masks="{stem}_{}")


def test_floats_to_255_are_holes_from_their_middle(folders):
    pixels = save(folders.photos / "a.png", photo(20, 30))
    soft = HOLE * np.float32(255)
    soft[0] = 100  # what antialiasing leaves
    save(folders.masks / "a.tif", soft)
    restore_files(Fake(), folders.photos, folders.out, masks=folders.masks)
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
    restore_files(Fake(), folders.photos, folders.out, masks=folders.masks)
    assert "left out" not in capsys.readouterr().out
    for page, mask in enumerate(masks):
        restored = images.read(folders.out / f"a-page{page + 1}.png")
        np.testing.assert_array_equal(restored, np.where(mask[..., None], RED, photo(20, 30, page)))
    pages(folders.masks / "a.tif", *masks[:2])
    with pytest.raises(UserError, match=r"a\.tif' has no page 3, and its photo has"):
        restore_files(Fake(), folders.photos, folders.out, masks=folders.masks)
