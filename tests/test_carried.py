"""What a restored PNG keeps of its photo: depth, colours, transparency, profile, EXIF, pages."""

import numpy as np
import pytest
from PIL import Image, ImageCms
from restored_folders import HOLE, RED, Fake, photo, profile_of, save

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.inference.folder import restore_files
from tfrecon.inference.restoring import Settings


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
    restore_files(Fake(False), folders.photos, folders.out)
    written = (folders.out / "a.png").read_bytes()
    kind = tf.uint8 if most == 255 else tf.uint16
    np.testing.assert_array_equal(tf.io.decode_png(written, dtype=kind), pixels)
    assert written[24] == (8 if most == 255 else 16), "bits, of the header"
    for depth in ("8", "16"):
        restore_files(Fake(False), folders.photos, folders.out, settings=Settings(depth=depth))
        other = (folders.out / "a.png").read_bytes()
        assert other[24] == int(depth) and other[25] == written[25]
        again = tf.io.decode_png(other, dtype=tf.uint16 if depth == "16" else tf.uint8).numpy()
        assert np.abs(again / int("f" * (int(depth) // 4), 16) - pixels / most).max() <= 1 / 255


def test_a_hole_becomes_opaque(folders):
    pixels = grid(20, 30, 4)
    save(folders.photos / "a.png", pixels)
    save(folders.masks / "a.png", HOLE * np.uint8(255))
    restore_files(Fake(), folders.photos, folders.out, masks=folders.masks)
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
    restore_files(Fake(False), folders.photos, folders.out, settings=Settings(depth=depth))
    with Image.open(folders.out / "a.png") as picture:
        assert picture.size == (20, 30) and picture.info["icc_profile"] == profile
        kept = picture.getexif()
        assert (kept[0x010F], kept.get(0x0112, 1)) == ("Maker", 1) and 0x0111 not in kept
        assert kept.get_ifd(0x8769)[0x829A] == 0.25
        assert name == "a.webp" or picture.info["dpi"] == pytest.approx((300, 200), abs=0.02)


def test_a_profile_of_other_colours_is_left_out_and_named(folders, capsys):
    picture = Image.new("CMYK", (8, 8))
    picture.save(folders.photos / "a.jpg", icc_profile=profile_of(b"CMYK"))
    restore_files(Fake(False), folders.photos, folders.out)
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
    restore_files(Fake(False), folders.photos, folders.out)
    assert "beyond the upper 8 is not kept of deep.tif" in capsys.readouterr().out


def test_colours_of_16_bits_that_pillow_alone_reads_keep_8(folders, capsys):
    folders.photos.mkdir(exist_ok=True)
    pixels = grid(9, 8, 4, most=65535)
    write_16(folders.photos / "a.png", pixels)
    whole = (folders.photos / "a.png").read_bytes()
    (folders.photos / "a.png").write_bytes(whole[:-12])  # without its last chunk
    assert restore_files(Fake(False), folders.photos, folders.out) == 1
    assert "beyond the upper 8 is not kept of a.png" in capsys.readouterr().out
    restored = images.decoded(folders.out / "a.png").to_float()
    expected = pixels[..., :3] / 65535 * pixels[..., 3:] / 65535
    np.testing.assert_allclose(restored, expected, atol=2 / 255)


def test_each_page_of_a_file_is_a_photo(folders, capsys):
    pages = [Image.fromarray(photo(9, 8, seed)) for seed in range(3)]
    pages[0].save(folders.photos / "a.tif", save_all=True, append_images=pages[1:])
    save(folders.photos / "b.png", photo(9, 8))
    assert restore_files(Fake(False), folders.photos, folders.out) == 4
    names = ["a-page1.png", "a-page2.png", "a-page3.png", "b.png"]
    assert sorted(path.name for path in folders.out.iterdir()) == names
    for seed in range(3):
        restored = images.read(folders.out / f"a-page{seed + 1}.png")
        np.testing.assert_array_equal(restored, photo(9, 8, seed))
    save(folders.photos / "a-page2.png", photo(9, 8))
    with pytest.raises(UserError, match=r"'a\.tif page 2' and 'a-page2\.png' would both"):
        restore_files(Fake(False), folders.photos, folders.out)


def test_a_photo_above_the_usual_limit_is_restored_in_tiles(folders, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    pixels = save(folders.photos / "a.png", photo(150, 70))
    mask = np.zeros((150, 70), np.uint8)  # so few bytes for so many pixels that a photo is refused
    mask[20:90, 5:33] = 255
    save(folders.masks / "a.png", mask)
    monkeypatch.setattr(images, "PIXELS_PER_BYTE", 1)
    fake, settings = Fake(), Settings(tile=32, overlap=8)
    restore_files(fake, folders.photos, folders.out, masks=folders.masks, settings=settings)
    assert {x.shape for x in fake.seen} == {(1, 32, 32, 4)}
    read = images.read(folders.out / "a.png", large=True)
    np.testing.assert_array_equal(read, np.where(mask[..., None], RED, pixels))
    save(folders.masks / "a.png", np.zeros((151, 70), np.uint8))
    with pytest.raises(UserError, match="claims 70×151 pixels, more than the limit of 10,500;"):
        restore_files(fake, folders.photos, folders.out, masks=folders.masks)
