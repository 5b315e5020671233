"""The report in a real browser: what is seen without a click, on a desk and a phone."""

import shutil
from pathlib import Path

import pytest

from focusmap.basics import Language
from focusmap.report.run_page import render_report
from support.synthetic_run import binary_task, write_run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    task = binary_task(*(f"finding number {i}" for i in range(14)))
    return write_run(tmp_path_factory.mktemp("seen") / "run", task, n=200, n_maps=28)


@pytest.mark.parametrize(("width", "language"), [(1280, "en"), (1280, "zh"), (390, "en"), (390, "zh")])
def test_fourteen_findings_are_read_in_under_nine_thousand_pixels(run: Path, width: int, language: Language) -> None:
    page_file = render_report(run, language)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(f"file://{page_file}")
        assert page.evaluate("document.documentElement.scrollHeight") < 9000
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out to the right"
        assert page.locator(".banner h2").is_visible()
        assert page.locator(".banner").bounding_box()["y"] < 400
        folded = page.locator("details:not([open])")
        assert folded.count() > 10
        assert not page.locator(".maps figure").first.is_visible()
        page.locator("#results > details > summary").first.click()
        assert page.locator("#results > details table").first.is_visible()
        browser.close()
