"""Chromium for the tests of pages."""

import json
import shutil

import pytest

PROGRAMS = ("chromium", "chromedriver")
ABSENT = [name for name in PROGRAMS if shutil.which(name) is None]
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,900",
)  # fmt: skip

needed = pytest.mark.skipif(
    bool(ABSENT), reason=f"the browser tests need {' and '.join(ABSENT)} on the PATH"
)


def browser(folder):
    """A Chromium that keeps its profile in a folder, and downloads to its ``downloads``."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.add_experimental_option("prefs", {
        "download.default_directory": str(folder / "downloads"),
        "download.prompt_for_download": False,
    })  # fmt: skip
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options, Service(shutil.which("chromedriver")))


def one(driver, selector):
    return driver.find_element("css selector", selector)


def requested(driver):
    """What the page has asked for since the last time; reading empties it."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def as_phone(driver, width, height=800):
    """Lets the window be as wide as that of a phone, or of something larger from 500 pixels on."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 500},
    )
