"""The page in a real browser: nothing loaded, nothing complained about, tables and viewer at work."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser

from strokelab.report.overlays import KINDS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")]

READY = "document.querySelector('[data-viewer=says]').textContent.startsWith('At the crosshair')"
SAYS = "document.querySelector('[data-viewer=says]').textContent"
NUMBERS = "[...document.querySelectorAll('.planes output')].map(output => output.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, full_report: Path) -> Browser:
    """The report, freshly loaded, no animation."""
    browser.errors.clear()
    browser.requests.clear()
    browser.size(1280, 900)
    browser.open(full_report)
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    return browser


def until(page: Browser, script: str) -> None:
    deadline = time.monotonic() + 30
    while not page.run(script):
        assert time.monotonic() < deadline, script
        time.sleep(0.05)


def walked(page: Browser) -> Browser:
    """The page with the viewer in sight and its first case unpacked."""
    page.run("document.getElementById('viewer').scrollIntoView()")
    until(page, READY)
    return page


def settle(page: Browser) -> None:
    """Two frames: whatever was asked for is drawn."""
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def column(page: Browser, index: int) -> list[str]:
    rows = "[...document.querySelector('table.sortable').tBodies[0].rows].filter(row => !row.hidden)"
    return page.run(f"{rows}.map(row => row.cells[{index}].textContent)")


def marked(page: Browser) -> dict[str, np.ndarray]:
    """(row, column) of the pixels of the axial canvas that lean towards each colour of the marks."""
    read = "[c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    height, width, *data = page.run(f"(c => {read})(document.querySelector('canvas'))")
    pixels = np.asarray(data).reshape(height, width, 4)[:, :, :3]
    places = np.argwhere(np.ptp(pixels, axis=2) > 40)
    coloured = pixels[tuple(places.T)].astype(float)
    colours = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in KINDS.values()], float)
    hues = colours - colours.mean(axis=1, keepdims=True)  # half a mark over any grey keeps the direction
    own = coloured - coloured.mean(axis=1, keepdims=True)
    own, hues = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (own, hues))
    nearest = np.argmax(own @ hues.T, axis=1)
    return {kind: places[nearest == k] for k, kind in enumerate(KINDS)}


def test_nothing_is_fetched_and_nothing_complains(page, full_report):
    walked(page)
    outside = [url for url in page.requests if not url.startswith(("data:", full_report.as_uri()))]
    assert outside == []
    assert page.errors == []


def test_a_heading_sorts_and_words_and_lists_filter(page):
    names, dice = (
        column(page, 0),
        page.run("[...document.querySelectorAll('.sortable th')].findIndex(h => /^Dice/.test(h.textContent))"),
    )
    assert names == ["a1", "a1", "a2", "a2", "a10", "a10"]
    page.click(f".sortable th:nth-child({dice + 1}) button")
    assert column(page, dice) == ["0.250", "0.500", "0.600", "0.700", "0.750", "–"]  # failed ones last
    page.click(f".sortable th:nth-child({dice + 1}) button")
    assert column(page, dice) == ["0.750", "0.700", "0.600", "0.500", "0.250", "–"]
    assert page.run(f"document.querySelectorAll('.sortable th')[{dice}].getAttribute('aria-sort')") == "descending"
    page.run(
        "(f => { f.value = 'A1  truncated'; f.dispatchEvent(new Event('input')) })(document.getElementById('filter'))"
    )
    assert column(page, 0) == ["a10"]
    assert page.run("document.getElementById('shown').textContent") == "1 of 6 rows."
    page.run("(f => { f.value = ''; f.dispatchEvent(new Event('input')) })(document.getElementById('filter'))")
    page.run(
        "(s => { s.value = 'unet-0'; s.dispatchEvent(new Event('change')) })(document.querySelector('.filter select'))"
    )
    assert column(page, 1) == ["unet-0"] * 3


def test_the_viewer_draws_every_kind_and_hides_what_is_unticked(page):
    walked(page)
    settle(page)
    before = marked(page)
    assert min(len(places) for places in before.values()) > 100
    # False alarms lie to the patient's right and in front of the misses: on the left of the picture and higher up.
    assert (before["false positive"].mean(axis=0) < before["false negative"].mean(axis=0) - 20).all()
    page.click("[data-kind='1']")
    settle(page)
    after = marked(page)
    assert len(after["false positive"]) < len(before["false positive"]) / 10
    assert len(after["false negative"]) == pytest.approx(len(before["false negative"]), rel=0.1)


def test_the_viewer_listens_to_keys_clicks_sliders_and_buttons(page):
    walked(page)
    assert "false negative" in page.run(SAYS)  # it opens on the largest miss
    page.click("[data-go='1']")
    settle(page)
    assert "false positive" in page.run(SAYS)
    axial, _, sagittal = page.run(NUMBERS)
    page.run("document.querySelector('canvas').focus()")
    for key, code in (("PageUp", 33), ("ArrowLeft", 37)):
        page.press(key, code)
    settle(page)
    up, _, left = page.run(NUMBERS)
    assert int(up.split()[0]) == int(axial.split()[0]) + 1
    assert int(left.split()[0]) == int(sagittal.split()[0]) + 1  # the patient's right is on the left, and x runs right
    page.click("canvas", 0.98, 0.98)
    settle(page)
    assert "nothing drawn" in page.run(SAYS)
    assert all(number.startswith("1 of") for number in page.run(NUMBERS)[1:])  # left and behind, at the far end
    page.run("(s => { s.value = s.max; s.dispatchEvent(new Event('input')) })(document.querySelector('.planes input'))")
    settle(page)
    assert page.run(NUMBERS)[0] == "16 of 16"
    page.run(
        "(s => { s.value = '2'; s.dispatchEvent(new Event('change')) })(document.querySelector('[data-viewer=case]'))"
    )
    until(page, READY)
    assert page.errors == []


def test_pixels_that_the_browser_altered_are_not_shown(page, full_report, tmp_path):
    source = full_report.read_text(encoding="utf-8")
    copy = tmp_path / "altered.html"
    copy.write_text(re.sub(r'"counts": \[\d+', '"counts": [0', source), encoding="utf-8")
    page.open(copy)
    page.run("document.getElementById('viewer').scrollIntoView()")
    until(page, f"{SAYS}.includes('altered')")
    assert "see the pictures above" in page.run(SAYS)


def test_a_phone_scrolls_down_only(page):
    page.size(390, 844, phone=True)
    page.run("new Promise(done => setTimeout(done, 300))")
    assert page.run("document.documentElement.scrollWidth") == 390
    walked(page)
    boxes = page.run(
        "[...document.querySelectorAll('canvas')].map(c => [c.clientWidth, c.getBoundingClientRect().top])"
    )
    assert boxes[0][0] > 300  # the axial slice has a row of its own
    assert boxes[1][1] == boxes[2][1] > boxes[0][1]
    assert page.run("document.documentElement.scrollWidth") == 390


def test_without_scripts_the_page_says_so_and_shows_the_pictures(page, full_report):
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(full_report)
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert page.run("document.getElementById('viewer').hidden")
    assert page.run("document.querySelector('p.filter').hidden")
    assert page.run("document.querySelectorAll('#overlays ~ .figures img').length") == 2


def test_paper_gets_every_table_and_no_controls(page):
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        page.run("dispatchEvent(new Event('beforeprint'))")
        assert page.run("[...document.querySelectorAll('details')].every(part => part.open)")
        hidden = "['nav', 'p.filter', '.interactive'].map(s => getComputedStyle(document.querySelector(s)).display)"
        assert page.run(hidden) == ["none"] * 3
    finally:
        page.call("Emulation.setEmulatedMedia", media="")
