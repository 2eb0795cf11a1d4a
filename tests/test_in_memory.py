"""`tfrecon.restore`: what is given comes back restored as the same kind, or is refused."""

import numpy as np
import pytest
from PIL import Image
from preset_runs import ship
from restored_folders import HOLE, photo, save

import tfrecon
from tfrecon import reconstruct
from tfrecon.base import facts, images
from tfrecon.base.errors import UserError
from tfrecon.inference.presets import open_preset

PIXELS = photo(20, 30)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return ship(tmp_path_factory.mktemp("shipped"), patch)


@pytest.fixture(autouse=True)
def here(places, tmp_path, monkeypatch):
    """A folder with a photo, its mask, and what the command makes of them."""
    monkeypatch.setattr(facts, "PACKAGE", places.parent / "tfrecon")
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photo.png", PIXELS)
    save(tmp_path / "m.png", HOLE * np.uint8(255))
    return tmp_path


def by_command(*more):
    assert reconstruct.main(["photo.png", "-o", "out.png", *more]) == 0
    with Image.open("out.png") as written:
        return np.asarray(written)


def test_arrays_come_back_as_arrays_of_their_type_and_shape(capsys):
    expected = by_command()
    assert (expected != PIXELS).any()
    np.testing.assert_array_equal(tfrecon.restore(PIXELS), expected)
    batch = tfrecon.restore(np.stack([PIXELS, PIXELS[::-1]]))
    assert batch.shape == (2, 20, 30, 3) and batch.dtype == np.uint8
    np.testing.assert_array_equal(batch[0], expected)
    floats = images.to_float(PIXELS)
    for kind in (np.float32, np.float64):
        restored = tfrecon.restore(floats.astype(kind))
        assert restored.dtype == kind
        np.testing.assert_allclose(restored, expected / 255, atol=0.51 / 255)
    deep = tfrecon.restore(PIXELS.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep / 65535, expected / 255, atol=0.51 / 255)
    hair = floats.copy()
    hair[0, 0] = 1.0000002
    assert np.isfinite(tfrecon.restore(hair)).all()


def test_grey_stays_grey(here):
    save(here / "photo.png", PIXELS[..., 0])
    expected = by_command()
    assert expected.shape == (20, 30)
    for image in (PIXELS[..., 0], PIXELS[..., :1], np.stack([PIXELS[..., :1]])):
        restored = tfrecon.restore(image)
        assert restored.shape == image.shape
        np.testing.assert_array_equal(restored.reshape(20, 30), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK"])
def test_pictures_and_paths_come_back_as_pictures(mode):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    picture = Image.fromarray(photo(20, 30, 4)).convert(mode)
    if mode[-1] == "A":
        picture.putalpha(Image.fromarray(PIXELS[..., 1]))
    name = "photo.tif" if mode == "CMYK" else "photo.png"
    picture.save(name, exif=exif, dpi=(300, 300))
    assert reconstruct.main([name, "-o", "out.png"]) == 0
    with Image.open(name) as opened, Image.open("out.png") as expected:
        for given in (opened, name):
            restored = tfrecon.restore(given)
            assert restored.mode == expected.mode
            np.testing.assert_array_equal(np.asarray(restored), np.asarray(expected))
            assert restored.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_the_values_of_a_file_have_the_range_that_the_command_gives_them(here):
    Image.fromarray(np.full((20, 30), 200, np.float32)).save(here / "photo.tif")
    assert reconstruct.main(["photo.tif", "-o", "out.png", "--depth", "8"]) == 0
    with Image.open("out.png") as expected:
        np.testing.assert_array_equal(tfrecon.restore("photo.tif"), np.asarray(expected))
    Image.fromarray(np.full((20, 30), 4000, np.uint16)).save(here / "photo.png")
    with pytest.raises(UserError, match="4,095 is white"):
        tfrecon.restore("photo.png")


@pytest.mark.parametrize("mask", [
    HOLE, HOLE[..., None], HOLE[None], HOLE * np.uint8(255), HOLE * np.uint8(1), HOLE * 1,
    HOLE * np.float32(1), HOLE * 0.9, np.dstack([HOLE * np.uint8(255)] * 3),
    Image.fromarray(HOLE), Image.fromarray(HOLE * np.uint8(255)), "m.png",
])  # fmt: skip
def test_masks_may_be_arrays_pictures_or_paths(mask, eagerly):
    restored = tfrecon.restore(PIXELS, mask)
    np.testing.assert_array_equal(restored, by_command("--mask", "m.png"))
    np.testing.assert_array_equal(restored[~HOLE], PIXELS[~HOLE])
    np.testing.assert_array_equal(np.asarray(tfrecon.restore("photo.png", mask)), restored)


def test_a_batch_has_one_mask_or_one_each():
    batch, expected = np.stack([PIXELS, PIXELS]), tfrecon.restore(PIXELS, HOLE)
    for mask in (HOLE, np.stack([HOLE, HOLE])[..., None]):
        np.testing.assert_array_equal(tfrecon.restore(batch, mask)[1], expected)
    none = np.stack([HOLE, np.zeros_like(HOLE)])
    np.testing.assert_array_equal(tfrecon.restore(batch, none)[1], PIXELS)


@pytest.mark.parametrize(("image", "mask", "words"), [
    (PIXELS.astype(np.int64), None, "image holds int64 and must hold uint8"),
    (PIXELS.astype(np.float32), None, "floats from 0 to 255 and must hold finite ones in .0,1."),
    (np.full((8, 8, 3), np.nan), None, "floats from nan"),
    (np.zeros((8, 8, 4)), None, r"has the shape \(8, 8, 4\) and must have \(H,W,3\)"),
    (np.zeros((0, 8, 3)), None, r"has the shape \(0, 8, 3\)"),
    (np.zeros(()), None, r"has the shape \(\)"),
    ([[1, 2]], None, "image is a list; give an array"),
    (Image.new("I;16", (8, 8)), None, "mode 'I;16'; give an array"),
    ("gone.png", None, "'gone.png' does not exist"),
    (PIXELS, HOLE[1:], r"mask has the shape \(19, 30\) and its photo \(20, 30\)"),
    (PIXELS, HOLE * np.float32(255), "mask holds floats from 0 to 255"),
    (PIXELS, HOLE & False, "mask hides nothing; damaged pixels are True, 255"),
    (PIXELS, HOLE | True, "mask hides all of the photo"),
    (PIXELS, PIXELS[..., 0] // 4, "mask has no value above 63; paint damaged pixels white"),
    (PIXELS, [[1]], "mask is a list"),
    (PIXELS, Image.new("RGBA", (30, 20)), "mask has transparency"),
    (PIXELS, "gone.png", "'gone.png' does not exist"),
    ("photo.png", "gone.png", "--masks 'gone.png' does not exist; give a mask image"),
])  # fmt: skip
def test_what_cannot_be_restored_is_refused(image, mask, words):
    with pytest.raises(UserError, match=words):
        tfrecon.restore(image, mask)


def test_presets_are_named_and_loaded_once(places, monkeypatch):
    with pytest.raises(UserError, match="'inpainting' must be told what is damaged; give a mask"):
        tfrecon.restore(PIXELS, preset="inpainting")
    with pytest.raises(UserError, match="'scratches' takes no mask; leave it out"):
        tfrecon.restore(PIXELS, HOLE, preset="scratches")
    expected = tfrecon.restore(PIXELS)
    misses = open_preset.cache_info().misses
    np.testing.assert_array_equal(tfrecon.restore(PIXELS, preset="scratches"), expected)
    assert open_preset.cache_info().misses == misses
    own = tfrecon.restore(PIXELS, preset=str(places / "scratches.npz"))
    np.testing.assert_array_equal(own, expected)
