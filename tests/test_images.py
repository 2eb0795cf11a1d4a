"""The image contract on files as they come: odd modes, broken files, and exact conversions."""

import io
import os
import struct
import zlib
from pathlib import Path
from unittest import mock

import fakes
import numpy as np
import pytest
from PIL import Image, ImageFile

from tfrecon.base import files, images
from tfrecon.base.errors import UserError

RGB = fakes.photo(40, 56, seed=0)


def saved(path: Path, picture: Image.Image, **options) -> Path:
    picture.save(path, **options)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header claims `width` × `height` pixels and whose data holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    start = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    )
    return start + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


# --- files that cannot be read: one sentence that names the file ---------------------------------


def picture_bytes(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_bytes(**options) -> bytes:
    return picture_bytes("JPEG", **options)


EPS = picture_bytes("EPS")
"""What Pillow by itself would hand to Ghostscript."""


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.png", None, "does not exist"),
        ("empty.png", b"", "empty"),
        ("text.png", b"this is no image", "cannot be decoded"),
        ("truncated.jpg", jpeg_bytes()[:700], "cannot be decoded"),
        ("only_magic.png", b"\x89PNG\r\n\x1a\n", "cannot be decoded"),
        ("garbage.jpg", jpeg_bytes()[:40] + bytes(range(256)) * 4, "cannot be decoded"),
        ("bomb.png", png_header(60_000, 60_000), "60000|3600000000"),
        ("large.png", png_header(12_000, 10_000), "12000×10000"),
        ("long.png", png_header(99_999_999, 1), "cannot be decoded"),
        ("document.png", EPS, "formats read: JPEG, PNG, BMP, WEBP, TIFF"),
        ("map.gif", picture_bytes("PCX"), "formats read: JPEG"),
        ("texture.png", picture_bytes("DDS"), "formats read: JPEG"),
    ],
)
def test_bad_file_is_one_error_that_names_it(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        images.read(path)
    assert name in str(caught.value)


def test_truncated_png_and_wrong_data_are_errors(tmp_path):
    whole = saved(tmp_path / "a.png", Image.fromarray(RGB)).read_bytes()
    for number, content in enumerate((whole[: len(whole) // 2], png_header(64, 64))):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        with pytest.raises(UserError, match=path.name):
            images.read(path)


def test_header_refuses_bombs_and_missing_files(tmp_path):
    for width, height in ((60_000, 60_000), (12_000, 10_000)):
        (tmp_path / "bomb.png").write_bytes(png_header(width, height))
        with pytest.raises(UserError, match=r"bomb\.png"):
            images.size(tmp_path / "bomb.png")
    with pytest.raises(UserError, match="does not exist"):
        images.size(tmp_path / "missing.png")


def test_large_images_are_read_on_demand_where_the_file_is_large_too(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(png_header(12_000, 10_000))
    with pytest.raises(UserError, match=r"12000×10000 .* 100,000,000 for a file of its size"):
        images.size(path, large=True)
    path.write_bytes(png_header(12_000, 10_000) + bytes(1_200_000))
    assert images.size(path, large=True) == (10_000, 12_000)
    with pytest.raises(UserError, match="more than the limit of 100,000,000;"):
        images.size(path)
    path.write_bytes(png_header(20_000, 10_000) + bytes(2_000_000))  # beyond Pillow's own limit
    assert images.size(path, large=True) == (10_000, 20_000)
    path.write_bytes(png_header(40_000, 30_000) + bytes(12_000_000))
    with pytest.raises(UserError, match="more than the limit of 1,000,000,000;"):
        images.size(path, large=True)
    assert Image.MAX_IMAGE_PIXELS, "Pillow's own limit stands for others"


def test_whatever_a_decoder_raises_is_one_sentence(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(RGB))
    for error in (struct.error("unpack requires 4 bytes"), MemoryError(), KeyError("tile")):
        monkeypatch.setattr(Image.Image, "load", mock.Mock(side_effect=error))
        monkeypatch.setattr(ImageFile.ImageFile, "load", mock.Mock(side_effect=error))
        with pytest.raises(UserError, match=r"a\.png' cannot be decoded"):
            images.read(path)


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        images.read(tmp_path)


# --- kinds of image: all become (H,W,3) uint8 RGB -------------------------------------------------


def test_rgb_png_is_read_exactly_in_rgb_order(tmp_path):
    pixels = images.read(saved(tmp_path / "a.png", Image.fromarray(RGB)))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, RGB)


def test_grey_is_repeated(tmp_path):
    grey = Image.fromarray(RGB).convert("L")
    pixels = images.read(saved(tmp_path / "grey.png", grey))
    np.testing.assert_array_equal(pixels, np.repeat(np.asarray(grey)[..., None], 3, axis=-1))


@pytest.mark.parametrize("largest", [65535, 200])  # a dark 16-bit image must stay dark
def test_16_bit_grey_is_scaled_by_its_depth_not_its_content(tmp_path, largest):
    values = np.linspace(0, largest, 48 * 32).reshape(48, 32).astype(np.uint16)
    pixels = images.read(saved(tmp_path / "deep.png", Image.fromarray(values)))
    expected = np.rint(values / 65535 * 255).astype(np.uint8)
    np.testing.assert_array_equal(pixels, np.repeat(expected[..., None], 3, axis=-1))


@pytest.mark.parametrize("largest", [1.0, 255.0, 65535.0])
def test_float_tiff_of_a_usual_range(tmp_path, largest):
    values = np.linspace(0, 1, 48 * 32, dtype=np.float32).reshape(48, 32)
    path = saved(tmp_path / "float.tif", Image.fromarray(values * largest))
    pixels = images.read(path, range=largest)
    assert np.abs(pixels[..., 0] - values * 255).max() <= 0.51


def test_transparency_is_put_on_black(tmp_path):
    alpha = np.zeros(RGB.shape[:2], np.uint8)
    alpha[:, :20] = 255
    alpha[:, 20:30] = 128
    rgba = Image.fromarray(np.dstack([RGB, alpha]))
    pixels = images.read(saved(tmp_path / "alpha.png", rgba))
    np.testing.assert_array_equal(pixels[:, :20], RGB[:, :20])
    np.testing.assert_allclose(pixels[:, 20:30], RGB[:, 20:30] * (128 / 255), atol=1)
    assert not pixels[:, 30:].any()


def test_palette_with_transparency(tmp_path):
    picture = Image.new("P", (16, 8), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50, 90, 90, 90])
    picture.paste(1, (8, 0, 16, 8))
    path = saved(tmp_path / "palette.png", picture, transparency=0)
    pixels = images.read(path)
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[0, 15].tolist() == [200, 100, 50]


def test_cmyk_jpeg_looks_like_its_rgb(tmp_path):
    cmyk = Image.fromarray(RGB).convert("CMYK")
    path = saved(tmp_path / "cmyk.jpg", cmyk, quality=95)
    with Image.open(path) as stored:
        assert stored.mode == "CMYK"
    assert np.abs(images.read(path).astype(int) - RGB).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied_to_pixels_and_header(tmp_path, orientation, ending):
    """The eight orientations by their meaning in EXIF 2.3 (tag 0x0112), without Pillow's help."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if ending == "webp" else {}
    path = saved(tmp_path / f"a.{ending}", Image.fromarray(RGB), exif=exif, **lossless)
    stored = np.asarray(Image.open(path)) if ending == "jpg" else RGB
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored.transpose(1, 0, 2)[:, ::-1],  # a quarter turn clockwise
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: stored.transpose(1, 0, 2)[::-1],
    }[orientation]
    np.testing.assert_array_equal(images.read(path), upright)
    facts = images.facts(path)
    assert images.size(path) == (facts.height, facts.width) == upright.shape[:2]
    assert facts.orientation == orientation


@pytest.mark.parametrize("value", [0, 9, 51])
def test_meaningless_orientation_is_ignored(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    path = saved(tmp_path / "a.png", Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(images.read(path), RGB)
    assert images.size(path) == (40, 56)


@pytest.mark.parametrize(
    "exif",
    [
        b"neither II nor MM, but long enough to be parsed",
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", 0x112, 2, 4, b"abc\0"),  # text, no number
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x112, 3, 4, 2_000_000),  # beyond the end
    ],
)
def test_broken_exif_does_not_spoil_the_pixels(tmp_path, exif):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_bytes(exif=b"Exif\0\0" + exif + bytes(40)))
    np.testing.assert_array_equal(
        images.read(path), np.asarray(Image.open(io.BytesIO(jpeg_bytes())))
    )
    assert images.size(path) == (40, 56)


def odd_files(folder: Path):
    picture = Image.fromarray(RGB)
    alpha = Image.fromarray(np.dstack([RGB, RGB[..., 0]]))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    yield saved(folder / "grey.png", picture.convert("L"))
    yield saved(folder / "grey.jpg", picture.convert("L"))
    yield saved(folder / "deep.png", Image.fromarray(RGB[..., 0].astype(np.uint16) * 257))
    yield saved(folder / "alpha.png", alpha)
    yield saved(folder / "palette.png", picture.quantize(16))
    yield saved(folder / "colour_key.png", picture, transparency=tuple(map(int, RGB[0, 0])))
    yield saved(folder / "cmyk.jpg", picture.convert("CMYK"))
    yield saved(folder / "rotated.jpg", picture, exif=rotated)
    yield saved(folder / "image.webp", picture)
    yield saved(folder / "image.bmp", picture)
    yield saved(folder / "image.tif", picture)
    yield saved(folder / "image.gif", picture)
    yield saved(folder / "image.ppm", picture)
    yield saved(folder / "image.avif", picture)
    yield saved(folder / "float.tif", Image.fromarray(np.float32(RGB[..., 0] / 255)))
    yield fakes.deep_colour_png(folder / "colour.png", scale=65535)


def test_headers_of_odd_files_tell_the_size_that_is_read(tmp_path):
    for path in odd_files(tmp_path):
        pixels, facts = images.read(path), images.facts(path)
        assert pixels.shape == (*images.size(path), 3), path.name
        assert facts.pages == 1
        deep = {"deep": 16, "float": 32, "colour": 16}
        assert facts.bits == deep.get(path.stem, 8), path.name
        assert facts.is_grey == (path.stem in ("grey", "deep", "float")), path.name
        assert facts.has_alpha == (path.stem in ("alpha", "colour_key")), path.name
        precise = images.decoded(path).to_float()
        assert np.abs(precise * 255 - pixels).max() <= 0.51, path.name


# --- conversions and writing ----------------------------------------------------------------------


def test_uint8_round_trip_is_exact_for_all_values():
    import tensorflow as tf

    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    floats = images.to_float(values)
    assert floats.dtype == np.float32
    assert floats.min() == 0 and floats.max() == 1
    np.testing.assert_array_equal(images.to_uint8(floats), values)
    tensor = images.to_float_tensor(tf.constant(values))
    np.testing.assert_array_equal(tensor.numpy(), floats)
    np.testing.assert_array_equal(images.to_uint8_tensor(tensor).numpy(), values)


def test_to_uint8_clips_and_rounds_to_the_nearest():
    import tensorflow as tf

    values = np.array([-1.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 3.0], np.float32)
    assert images.to_uint8(values).tolist() == [0, 0, 1, 254, 255, 255]
    assert images.to_uint8_tensor(tf.constant(values)).numpy().tolist() == [0, 0, 1, 254, 255, 255]


def test_write_makes_folders_and_a_png_that_reads_back(tmp_path):
    images.write(tmp_path / "new" / "a.png", RGB)
    np.testing.assert_array_equal(images.read(tmp_path / "new" / "a.png"), RGB)
    images.write(tmp_path / "new" / "a.png", images.to_float(RGB[::-1]))
    np.testing.assert_array_equal(images.read(tmp_path / "new" / "a.png"), RGB[::-1])
    with Image.open(tmp_path / "new" / "a.png") as stored:
        assert stored.format == "PNG"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_replacing_leaves_nothing_on_failure(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(error), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_replacing_shows_the_file_only_when_it_is_whole(tmp_path):
    path = tmp_path / "table.csv"
    with files.replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["table.csv"]
