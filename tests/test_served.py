"""What the web page does, without a browser: the same as the command, limits, and bad input."""

import gc
import io
import socket
import weakref
import zipfile

import fakes
import numpy as np
import pytest
from PIL import Image
from preset_runs import ship, untrained
from restored_folders import HOLE, Fake, photo, profile_of, save

from tfrecon import demo, reconstruct
from tfrecon.backbones import taps_here
from tfrecon.base import extras, images, platforms
from tfrecon.base.errors import UserError
from tfrecon.inference import feature_files, inversion, served, web_page
from tfrecon.inference.served import Choice, Workshop, choices, plain
from tfrecon.models import certificates


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with two photos, one turned and with a colour profile, a mask, and a bad file."""
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(photo(30, 20, seed=1))
    turned.save("turned.jpg", exif=exif, icc_profile=profile_of(b"RGB "))
    save(tmp_path / "photo.png", photo(20, 30))
    save(tmp_path / "mask.png", HOLE * np.uint8(255))
    (tmp_path / "broken.png").write_bytes(b"no photo")
    return tmp_path


@pytest.fixture
def fakes_only(tmp_path):
    """A workshop with two fakes: one that paints holes, one that changes nothing."""
    found = [Choice("same", False, lambda: Fake(False)), Choice("fills", True, Fake)]
    return Workshop(found, tmp_path / "workshop")


def png(mask):
    file = io.BytesIO()
    Image.fromarray(mask * np.uint8(255)).save(file, format="PNG")
    return file.getvalue()


def refused(workshop, paths, words, name="same", masks=(), painted=None):
    with pytest.raises(UserError) as error:
        workshop.restored(paths, name, masks, painted, lambda share: None)
    assert words in plain(str(error.value), workshop.folder)


def test_the_page_writes_what_the_command_writes(tmp_path, monkeypatch, capsys):
    ship(tmp_path, monkeypatch)
    workshop, told = Workshop(choices(), tmp_path / "workshop"), []
    for name, masks in (("scratches", []), ("inpainting", ["mask.png"])):
        done = workshop.restored(["turned.jpg"], name, masks, None, told.append)
        more = ["--mask", "mask.png"] if masks else []
        assert reconstruct.main(["turned.jpg", "-o", "out.png", *more]) == 0
        assert done.file.read_bytes() == (tmp_path / "out.png").read_bytes()
        assert done.file.name == "turned_restored.png" and told.pop() == 1
    assert done.said[0].startswith("1 photo restored by inpainting in ")
    assert f"the mask hides {HOLE.mean():.1%} of the photo" in done.said[1]
    ((name, before, after),) = done.pairs
    for webp in (before, after):
        with Image.open(io.BytesIO(webp)) as shown:
            assert shown.size == (30, 20) and shown.info["icc_profile"]
    assert name == "turned.jpg" and before != after
    capsys.readouterr()


def test_several_photos_and_pages_come_as_a_zip(tmp_path, fakes_only):
    pages = [Image.fromarray(photo(20, 30, seed)) for seed in (5, 6)]
    pages[0].save("pages.tif", save_all=True, append_images=pages[1:])
    done = fakes_only.restored(
        ["turned.jpg", "pages.tif", "photo.png"], "same", [], None, lambda share: None
    )
    with zipfile.ZipFile(done.file) as archive:
        assert archive.namelist() == [
            "turned_restored.png", "pages_restored-page1.png", "pages_restored-page2.png",
            "photo_restored.png",
        ]  # fmt: skip
        with archive.open("pages_restored-page2.png") as page:
            np.testing.assert_array_equal(np.asarray(Image.open(page)), np.asarray(pages[1]))
    assert [pair[0] for pair in done.pairs][1] == "pages.tif page 1"


def test_a_mask_painted_on_the_smaller_picture_fits_the_photo(tmp_path, fakes_only, monkeypatch):
    monkeypatch.setattr(served, "SHOWN_PX", 40)
    save(tmp_path / "large.png", photo(160, 240))
    assert Image.open(io.BytesIO(served.picture(images.read("large.png")))).size == (40, 27)
    painted = np.zeros((27, 40), bool)
    painted[9:18, 10:20] = True
    done = fakes_only.restored(["large.png"], "fills", [], png(painted), lambda share: None)
    red = (np.asarray(Image.open(done.file)) == [255, 0, 0]).all(-1)
    assert red[60:100, 66:114].all() and not red[:50].any() and not red[:, 126:].any()
    assert red.mean() == pytest.approx(painted.mean(), rel=0.05)


def test_what_is_no_photo_or_no_mask_is_refused_in_a_sentence(tmp_path, fakes_only, monkeypatch):
    (tmp_path / "text.txt").write_text("no photo")
    (tmp_path / "other").mkdir()
    save(tmp_path / "other" / "photo.png", photo(20, 30, seed=2))
    save(tmp_path / "small.png", HOLE[:5, :5] * np.uint8(255))
    save(tmp_path / "black.png", np.zeros((20, 30), np.uint8))
    refused(fakes_only, [], "choose a photo first")
    refused(fakes_only, ["broken.png"], "image file 'broken.png' cannot be decoded")
    refused(fakes_only, ["text.txt"], "'text.txt' is no image; endings read")
    refused(fakes_only, ["photo.png", "other/photo.png"], "two files are called 'photo.png'")
    refused(fakes_only, ["photo.png"] * 25, "choose at most 24 photos at once, not 25")
    refused(fakes_only, ["photo.png"], "paint over what is damaged", "fills")
    refused(fakes_only, ["photo.png"], "not both", "fills", ["mask.png"], png(HOLE))
    refused(
        fakes_only, ["photo.png"], "mask 'small.png' is 5×5 and its photo 20×30", "fills",
        ["small.png"],
    )  # fmt: skip
    refused(fakes_only, ["photo.png"], "no mask hides anything", "fills", ["black.png"])
    refused(fakes_only, ["photo.png"], "no mask hides anything", "fills", [], png(HOLE & False))
    refused(fakes_only, ["photo.png"], "image file 'broken.png'", "fills", ["broken.png"])
    monkeypatch.setattr(served, "PIXELS", 500)
    refused(fakes_only, ["photo.png"], "'photo.png' has 0 megapixels, more than the 0 that")


def test_a_restoration_ends_in_time(fakes_only, monkeypatch):
    monkeypatch.setattr(served, "MINUTES", 0)
    refused(fakes_only, ["photo.png"], "stopped after 0 minutes; choose fewer or smaller photos")


def test_one_model_is_in_memory(tmp_path):
    opened = []

    def fake(has_mask):
        made = Fake(has_mask)
        opened.append(weakref.ref(made))
        return made

    found = [Choice(name, False, lambda: fake(False)) for name in ("a", "b")]
    workshop = Workshop(found, tmp_path / "workshop")
    for name in "aabb":
        workshop.restored(["photo.png"], name, [], None, lambda share: None)
    gc.collect()
    assert [model() is None for model in opened] == [True, False]


def test_what_can_be_chosen(tmp_path, monkeypatch):
    ship(tmp_path, monkeypatch)
    run = untrained(tmp_path / "checkpoints" / "mine", True)
    assert [(each.name, each.has_mask) for each in choices()] == [
        ("scratches", False), ("inpainting", True),
    ]  # fmt: skip
    assert [each.name for each in choices("inpainting")] == ["inpainting", "scratches"]
    mine = choices("mine")[0]
    assert mine.has_mask and mine.open().has_mask and run.name in mine.name
    with pytest.raises(UserError, match="there is no run, export, file or preset 'nothing'"):
        choices("nothing")


@pytest.fixture
def small_inversion(tmp_path, monkeypatch):
    """Random weights, a small decoder, and a soft photo."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(inversion, "DECODER", {"name": "boosted", "stages": 1, "kernel_size": 3})
    monkeypatch.setattr(inversion, "IMAGES", (8, 8))
    monkeypatch.setattr(inversion, "SIDE", (32, 32))
    monkeypatch.setattr(served, "INVERTED_PX", 32)
    write = feature_files.write_features
    monkeypatch.setattr(
        served, "write_features", lambda *a, **options: write(*a, **options, weights="none")
    )
    fakes.save(tmp_path / "soft.png", fakes.photo(40, 48, seed=1))


def test_a_photo_is_inverted_and_the_error_shown(tmp_path, small_inversion):
    workshop = Workshop([], tmp_path / "workshop")
    pictures, line = workshop.inverted(["soft.png"], "vgg16 block1", False)
    assert [name for name, _ in pictures] == ["photo", "from vgg16 block1", "error ×5"]
    assert line.startswith("soft.png: 32×32, feature residual ")
    shown = [np.asarray(Image.open(io.BytesIO(webp)), float) for _, webp in pictures]
    wanted = np.minimum(5 * np.abs(shown[0] - shown[1]).mean(-1), 255)
    assert np.abs(shown[2][..., 0] - wanted).mean() < 12  # WebP loses a little of each
    with pytest.raises(UserError, match="choose a photo first"):
        workshop.inverted([], "vgg16 block1", False)


def test_taps_are_offered_whose_weights_are_here(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFRECON_WEIGHTS", str(tmp_path))
    assert taps_here() == {}
    layers = [f"block1_conv{number}/{kind}" for number in (1, 2) for kind in ("kernel", "bias")]
    arrays = {name: np.zeros((3, 3, 1, 1) if "kernel" in name else 1) for name in layers}
    np.savez(tmp_path / "vgg16_block1_block2.npz", **arrays)
    (tmp_path / "alexnet-owt-7be5be79.pth").write_bytes(b"all of it")
    assert taps_here() == {
        "vgg16": ["block1_conv1", "block1_conv2", "block1"],
        "alexnet": ["conv1", "conv2", "conv3", "conv4", "conv5"],
    }


@pytest.mark.slow
def test_a_refined_inversion_brings_its_certificate(tmp_path, monkeypatch, small_inversion):
    monkeypatch.setattr(served, "PRODUCTS", 45)
    monkeypatch.setattr(certificates, "PRODUCTS", 8)
    workshop = Workshop([], tmp_path / "workshop")
    pictures, line = workshop.inverted(["soft.png"], "vgg16 block1", True)
    assert [name for name, _ in pictures][3:] == ["certain (white)"]
    assert line.endswith("of the pixels are certain")


def test_whatever_goes_wrong_is_a_sentence_without_paths(tmp_path, capsys):
    workshop = Workshop([], tmp_path / "workshop")

    def said(error):
        def fails():
            raise error

        return web_page._told(fails, workshop, lambda wrong: wrong)()

    place = tmp_path / "uploaded" / "4f2a" / "a b.png"
    assert ">image file &#x27;a b.png&#x27; is bad<" in said(
        UserError(f"image file {str(place)!r} is bad")
    )
    assert "cannot use &#x27;a b.png&#x27;: denied" in said(
        PermissionError(13, "denied", str(place))
    )
    assert "the memory is too small" in said(MemoryError())
    assert ">this went wrong: ZeroDivisionError; the terminal says where<" in said(
        ZeroDivisionError()
    )
    assert "in fails\n    raise error\nZeroDivisionError" in capsys.readouterr().err


# --- the server -----------------------------------------------------------------------------------


def test_a_port_in_use_is_passed_by():
    with socket.socket() as other:
        other.bind((web_page.HOST, 0))
        taken = other.getsockname()[1]
        assert taken < web_page.free_port(taken, web_page.HOST) < taken + web_page.PORTS
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(web_page, "PORTS", 1)
            with pytest.raises(UserError, match=f"from {taken} on are in use; give another with"):
                web_page.free_port(taken, web_page.HOST)


def test_no_browser_is_opened_without_a_display(monkeypatch):
    opened = []
    monkeypatch.setattr(web_page.webbrowser, "open", opened.append)
    monkeypatch.setattr(platforms.sys, "platform", "linux")
    for screen, shown in ((None, []), ("DISPLAY", ["x"]), ("WAYLAND_DISPLAY", ["x", "x"])):
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        if screen:
            monkeypatch.setenv(screen, ":0")
        web_page.show("x")
        assert opened == shown


def test_without_the_extra_the_command_names_it(monkeypatch, capsys):
    monkeypatch.setattr(extras, "missing", lambda extra: extras.EXTRAS[extra])
    assert demo.main([]) == 2
    assert 'the page needs the package gradio; add it with pip install "tfrecon[demo]"' in (
        capsys.readouterr().err
    )
