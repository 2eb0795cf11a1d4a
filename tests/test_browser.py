"""The page in a real browser, opened from a file: controls, width on a phone, no requests."""

import pytest
from browser import as_phone, browser, needed, one, requested
from made_up_comparison import made_up, page_arguments

from tfrecon.reports.page import page

pytest.importorskip("selenium", reason="the browser tests need selenium: pip install -e .[dev]")
pytestmark = needed

HOSTILE = "</script><b>&\"'"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driven = browser(tmp_path_factory.mktemp("browser"))
    yield driven
    driven.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    comparison = made_up(folder)
    arguments = page_arguments(comparison) | {"notes": [HOSTILE]}
    path = folder / "index.html"
    path.write_text(page(comparison, **arguments), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(driver, address):
    driver.get(address)
    return driver


def column(browser, number):
    script = (
        "return [...document.querySelectorAll('#leaderboard tbody tr')]"
        ".map(row => row.cells[arguments[0]].innerText.split('\\n')[0].trim())"
    )
    return browser.execute_script(script, number)


def clip(browser):
    return browser.execute_script(
        "return getComputedStyle(document.querySelector('.compare .over')).clipPath"
    )


def test_slider_moves_with_the_keyboard_and_clips_the_upper_picture(opened):
    from selenium.webdriver.common.keys import Keys

    slider = one(opened, ".compare input")
    clips = [clip(opened)]
    for key in (Keys.ARROW_LEFT, Keys.HOME, Keys.END):
        slider.send_keys(key)
        clips.append(clip(opened))
    assert len(set(clips)) == 4, clips
    assert slider.get_attribute("value") == "100"
    width = one(opened, ".compare .stack").size["width"]
    handle = "return getComputedStyle(document.querySelector('.stack'), '::after').left"
    assert float(opened.execute_script(handle).removesuffix("px")) == pytest.approx(width, abs=1)


def test_zoom_shows_pixels_at_four_times_the_size_and_the_slider_works_in_it(opened):
    button, frame = one(opened, ".compare .zoom"), one(opened, ".compare .frame")
    before = one(opened, ".compare img").size["width"]
    outside = frame.size
    button.send_keys(" ")
    image = one(opened, ".compare img")
    assert image.size["width"] == pytest.approx(4 * before, abs=4)
    assert frame.size["height"] == pytest.approx(outside["height"], abs=1)
    assert image.value_of_css_property("image-rendering") == "pixelated"
    assert button.get_attribute("aria-pressed") == "true"
    left = opened.execute_script("return arguments[0].scrollLeft", frame)
    assert left == pytest.approx(1.5 * before, abs=10), "the middle stays in the middle"
    share = "return parseFloat(document.querySelector('.stack').style.getPropertyValue('--at'))"
    assert opened.execute_script(share) == pytest.approx(50, abs=1)
    button.send_keys(" ")
    assert one(opened, ".compare img").size["width"] == before
    one(opened, ".compare .stack").click()
    assert button.get_attribute("aria-pressed") == "true"


def test_table_sorts_best_first_then_turns_round(opened):
    heads = opened.find_elements("css selector", "#leaderboard thead tr:last-child th")
    names = [head.text.strip() for head in heads]
    place = next(n for n, name in enumerate(names) if name.startswith("LPIPS"))
    button = heads[place].find_element("css selector", "button")
    button.send_keys("\n")
    values = [float(text) for text in column(opened, place)]
    assert values == sorted(values) and heads[place].get_attribute("aria-sort") == "ascending"
    button.click()
    values = [float(text) for text in column(opened, place)]
    assert values == sorted(values, reverse=True)
    heads[0].find_element("css selector", "button").click()
    ranks = column(opened, 0)
    assert ranks == [*map(str, range(1, 13)), "", ""], "baselines have no rank and come last"
    assert heads[place].get_attribute("aria-sort") is None
    heads[1].find_element("css selector", "button").click()
    assert column(opened, 1) == sorted(column(opened, 1))


def test_two_configurations_show_what_they_differ_in(opened):
    from selenium.webdriver.support.select import Select

    first, second = (Select(one(opened, f"#difference #{name}")) for name in ("first", "second"))
    first.select_by_visible_text("resnet50 conv2, plain")
    second.select_by_visible_text("vit_base block3, attention")
    rows = opened.find_elements("css selector", "#difference tbody tr")
    assert [[cell.text for cell in row.find_elements("css selector", "th,td")] for row in rows] == [
        ["fit.learning_rate", "0.0001", "0.0003"],
        ["model.base_filters", "8", "32"],
    ]
    second.select_by_visible_text("resnet50 conv2, plain")
    assert "do not differ" in one(opened, "#difference .scroll").text


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_page_is_as_wide_as_the_window(opened, width):
    as_phone(opened, width)
    inner, scroll = opened.execute_script(
        "return [innerWidth, document.scrollingElement.scrollWidth]"
    )
    wide = opened.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .frame')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert scroll <= inner == width and not wide


def test_text_that_looks_like_markup_is_text(opened):
    assert one(opened, "#notes li").text == HOSTILE


def test_nothing_is_requested_and_nothing_is_reported(driver, address):
    for log in ("performance", "browser"):
        driver.get_log(log)  # reading empties it
    driver.get(address)
    asked = requested(driver)
    assert address in asked
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert driver.get_log("browser") == []


def test_page_says_what_a_script_would_do_where_none_runs(driver, address):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(address)
        assert "config.json" in one(driver, "#configurations").text
        assert not one(driver, "#difference").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
