"""The page of `tfrecon demo` in a real browser: what a user does with mouse, keyboard and phone."""

import base64
import io
import os
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import as_phone, browser, needed, one, requested
from PIL import Image
from preset_runs import untrained
from restored_folders import photo, profile_of, save

from tfrecon import reconstruct
from tfrecon.base import extras

pytest.importorskip("selenium", reason="the browser tests need selenium: pip install -e .[dev]")
pytestmark = [
    needed, pytest.mark.slow,
    pytest.mark.skipif(bool(extras.missing("demo")), reason=f"no gradio: {extras.install('demo')}"),
]  # fmt: skip

SECONDS = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos, masks, a bad file and a run, whose model is small."""
    place = tmp_path_factory.mktemp("page")
    turned = Image.Exif()
    turned[0x0112] = 6
    old = Image.fromarray(photo(90, 120, seed=1))
    old.save(place / "old photo.jpg", icc_profile=profile_of(b"RGB "), exif=turned)
    save(place / "second.png", photo(60, 80, seed=2))
    save(place / "black.png", np.zeros((60, 80), np.uint8))
    save(place / "small.png", np.full((6, 8), 255, np.uint8))
    (place / "broken.jpg").write_bytes(b"no photo")
    untrained(place / "checkpoints" / "tiny", False)
    return place


@pytest.fixture(scope="module")
def address(folder):
    """Where the command serves the page, on the port after one that is taken."""
    environment = {
        **os.environ, "TFRECON_WEIGHTS": str(folder), "XDG_CACHE_HOME": str(folder / "cache"),
        "TMPDIR": str(folder), "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9",
    }  # fmt: skip
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "tfrecon.demo", "tiny", "--port", str(port)]
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        ) as demo:
            line = demo.stdout.readline()
            assert line.startswith("the page is at http://127.0.0.1:"), line
            place = line.split()[4].rstrip(";")
            assert urllib.parse.urlsplit(place).port > port
            yield place
            demo.terminate()  # jobs of a shell in the background ignore Ctrl-C
            assert demo.wait() == 143
    assert not [*folder.glob("tfrecon-*")], "what was uploaded is removed"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    driven = browser(tmp_path_factory.mktemp("browser"))
    yield driven
    driven.quit()


@pytest.fixture
def opened(chromium, address):
    chromium.get(address)
    waited(chromium, lambda: chromium.find_elements("css selector", "#photos input[type=file]"))
    return chromium


def waited(driver, found):
    """What `found` gives as soon as it is something."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    ignored = [StaleElementReferenceException]
    return WebDriverWait(driver, SECONDS, 0.1, ignored).until(lambda _: found())


def said(driver, *words, place="#said"):
    """The text of the status once it has all `words`."""

    def text():
        now = one(driver, place).text
        return now if all(word in now for word in words) else None

    return waited(driver, text)


def upload(driver, *paths, to="#photos"):
    one(driver, f"{to} input[type=file]").send_keys("\n".join(map(str, paths)))
    names = [path.name for path in paths]
    if to == "#photos":
        return said(driver, names[0])
    return waited(driver, lambda: names[0].split(".")[0] in one(driver, to).text)


def choose(driver, name):
    one(driver, "input[aria-label='Restore with']").click()

    def wanted():  # while the list comes into sight its options have no text yet
        options = driver.find_elements("css selector", "ul[role=listbox] li")
        return [each for each in options if name in each.text]

    (option,) = waited(driver, wanted)
    option.click()


def restore(driver):
    one(driver, "#restore").click()


def downloaded(driver, name):
    """The file that the button downloads."""
    place = Path(driver.capabilities["chrome"]["userDataDir"]).parent / "downloads" / name
    waited(driver, lambda: one(driver, "#download").is_displayed())
    one(driver, "#download").click()
    waited(driver, place.is_file)
    return place


def test_a_photo_is_restored_compared_and_downloaded_bit_for_bit(opened, folder, capsys):
    from selenium.webdriver.common.keys import Keys

    choose(opened, "scratches")
    assert "90×120, 0.0 megapixels" in upload(opened, folder / "old photo.jpg")
    restore(opened)
    said(opened, "1 photo restored by scratches in ", " seconds")
    slider = waited(opened, lambda: one(opened, "#pairs .pair input"))
    clip = "return getComputedStyle(document.querySelector('.pair .after')).clipPath"
    clips = [opened.execute_script(clip)]
    for key in (Keys.ARROW_LEFT, Keys.HOME, Keys.END):
        slider.send_keys(key)
        clips.append(opened.execute_script(clip))
    assert len(set(clips)) == 4, clips
    got = downloaded(opened, "old photo_restored.png")
    out = folder / "by_command.png"
    assert reconstruct.main([str(folder / "old photo.jpg"), "-o", str(out)]) == 0
    assert got.read_bytes() == out.read_bytes()
    with Image.open(got) as restored:
        assert restored.size == (90, 120) and restored.info["icc_profile"]
    capsys.readouterr()


def painted(driver):
    data = driver.execute_script("return window.tfreconPainted()")
    return data and np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))))


def test_what_is_painted_is_filled(opened, folder):
    from selenium.webdriver import ActionChains

    choose(opened, "inpainting")
    upload(opened, folder / "second.png")
    canvas = waited(opened, lambda: one(opened, "#painter canvas"))
    assert painted(opened) is None
    restore(opened)
    said(opened, "inpainting fills what a mask hides; paint over what is damaged")
    canvas = waited(opened, lambda: one(opened, "#painter canvas"))
    ActionChains(opened).move_to_element(canvas).click_and_hold().move_by_offset(60, 10).release(
    ).perform()  # fmt: skip
    mask = painted(opened)
    assert mask.shape[:2] == (60, 80) and 0.005 < (mask[..., 0] > 127).mean() < 0.5
    restore(opened)
    share = (
        said(opened, "restored by inpainting", "the mask hides ")
        .split("the mask hides ")[1]
        .split("%")[0]
    )
    assert float(share) == pytest.approx(100 * (mask[..., 0] > 127).mean(), abs=1)
    for button, left in (("undo", None), ("clear", None)):
        opened.execute_script("arguments[0].focus()", one(opened, "#painter canvas"))
        ActionChains(opened).send_keys(" ").perform()
        if button == "undo":  # a stroke of the mouse and one of the keyboard
            one(opened, "#painter button[name=undo]").click()
            assert painted(opened) is not None
        else:
            one(opened, "#painter button[name=clear]").click()
            assert painted(opened) is left


def test_the_keyboard_alone_restores_and_paints(opened, folder):
    from selenium.webdriver import ActionChains, Keys

    choose(opened, "inpainting")
    upload(opened, folder / "second.png")
    waited(opened, lambda: one(opened, "#painter canvas"))
    one(opened, "input[aria-label='Restore with']").click()
    ActionChains(opened).send_keys(Keys.ESCAPE).perform()
    for _ in range(12):
        ActionChains(opened).send_keys(Keys.TAB).perform()
        if opened.switch_to.active_element.tag_name == "canvas":
            break
    assert opened.switch_to.active_element.tag_name == "canvas"
    ActionChains(opened).send_keys(" ", Keys.ARROW_RIGHT, Keys.ARROW_DOWN, " ").perform()
    assert painted(opened) is not None
    for _ in range(8):
        ActionChains(opened).send_keys(Keys.TAB).perform()
        if opened.switch_to.active_element.text == "Restore":
            break
    ActionChains(opened).send_keys(Keys.ENTER).perform()
    said(opened, "restored by inpainting", "the mask hides ")


def test_bad_files_are_told_in_a_sentence(opened, folder):
    assert "image file 'broken.jpg' cannot be decoded" in upload(opened, folder / "broken.jpg")
    alert = one(opened, "#said [role=alert]")
    assert str(folder) not in alert.text and "/tmp" not in alert.text
    restore(opened)
    said(opened, "image file 'broken.jpg' cannot be decoded")
    opened.get(opened.current_url)
    waited(opened, lambda: opened.find_elements("css selector", "#photos input[type=file]"))
    choose(opened, "inpainting")
    upload(opened, folder / "second.png")
    waited(opened, lambda: one(opened, "#masks input[type=file]"))
    upload(opened, folder / "small.png", to="#masks")
    restore(opened)
    said(opened, "mask 'small.png' is 6×8 and its photo 60×80")
    opened.get(opened.current_url)
    waited(opened, lambda: opened.find_elements("css selector", "#photos input[type=file]"))
    choose(opened, "inpainting")
    upload(opened, folder / "second.png")
    upload(opened, folder / "black.png", to="#masks")
    restore(opened)
    said(opened, "no mask hides anything")


def test_several_photos_come_as_a_zip(opened, folder):
    upload(opened, folder / "old photo.jpg", folder / "second.png")
    restore(opened)
    said(opened, "2 photos restored by checkpoints/tiny")
    with zipfile.ZipFile(downloaded(opened, "restored.zip")) as archive:
        assert archive.namelist() == ["old photo_restored.png", "second_restored.png"]
    assert len(opened.find_elements("css selector", "#pairs .pair")) == 2


def test_a_photo_is_pasted(opened, folder):
    data = base64.b64encode((folder / "second.png").read_bytes()).decode()
    opened.execute_script(
        "const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));"
        "const data = new DataTransfer();"
        "data.items.add(new File([bytes], 'pasted.png', {type: 'image/png'}));"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}));",
        data,
    )
    said(opened, "pasted.png: 80×60")


def test_a_photo_of_24_megapixels(opened, folder):
    save(folder / "large.jpg", np.tile(photo(200, 300), (20, 20, 1)))
    assert "6000×4000, 24.0 megapixels" in upload(opened, folder / "large.jpg")
    restore(opened)
    said(opened, "1 photo restored by checkpoints/tiny")
    with Image.open(downloaded(opened, "large_restored.png")) as restored:
        assert restored.size == (6000, 4000)


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_is_as_wide_as_the_window(opened, folder, width):
    as_phone(opened, width)
    try:
        choose(opened, "inpainting")
        upload(opened, folder / "old photo.jpg")
        choose(opened, "scratches")
        restore(opened)
        said(opened, "restored by")
        inner, scroll = opened.execute_script(
            "return [innerWidth, document.scrollingElement.scrollWidth]"
        )
        assert scroll <= inner == width
        if width == 360:
            picture = one(opened, "#pairs img")
            assert picture.size["width"] > 0.7 * width, (
                "nothing is squeezed into a column beside another"
            )
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_names_no_other_machine(address):
    with urllib.request.urlopen(address) as answer:
        text, policy = answer.read().decode(), answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "tfreconPainted" in text
    for elsewhere in ("googleapis", "gstatic", "cdnjs", 'rel="preconnect'):
        assert elsewhere not in text


def test_no_request_leaves_the_machine(chromium, address, folder):
    for log in ("performance", "browser"):
        chromium.get_log(log)  # reading empties it
    chromium.get(address)
    waited(chromium, lambda: chromium.find_elements("css selector", "#photos input[type=file]"))
    upload(chromium, folder / "second.png")
    restore(chromium)
    said(chromium, "restored by")
    urls = [urllib.parse.urlsplit(url) for url in requested(chromium)]
    assert len(urls) > 10
    assert {url.hostname for url in urls if url.scheme not in ("data", "blob")} == {"127.0.0.1"}
    assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_same_page_runs_as_a_hosted_space(tmp_path):
    app = Path(__file__).parents[1] / "examples" / "space" / "app.py"
    environment = {
        **os.environ,
        "SYSTEM": "spaces",
        "SPACE_ID": "user/name",
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, str(app), "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as space:
        lines: Any = space.stdout
        line = next(each for each in lines if "page is at" in each)
        with urllib.request.urlopen(line.split()[-1]) as answer:
            assert "tfreconPainted" in answer.read().decode()
        space.terminate()
    assert not [*tmp_path.glob("tfrecon-*")], "what was uploaded is removed"
