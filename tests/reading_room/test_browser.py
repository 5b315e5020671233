"""The page in a real browser: drop, see, switch, correct, download; on a desk and a phone, in both languages."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from focusmap.cli import main

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
expect = sync_api.expect
SECONDS = 240_000
expect.set_options(timeout=SECONDS)


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    yield from served(run)


def served(run: Path) -> Iterator[str]:
    """Yield the address of the page of a run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "focusmap", "serve", str(run), "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    for _ in range(2400):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            break
        except OSError:
            assert server.poll() is None
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(timeout=120)


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: sync_api.Browser, address: str) -> Iterator[sync_api.Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-US")
    opened, said = context.new_page(), []
    opened.set_default_timeout(SECONDS)
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(address)
    yield opened
    context.close()
    assert said == []


def bright(page: sync_api.Page, canvas: str) -> str:
    """Return the canvas as it is drawn."""
    return str(page.locator(canvas).screenshot())


PAINTED = """canvas => canvas.width > 0 && canvas.getContext("2d")
    .getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0)"""


def settled(page: sync_api.Page, canvas: str) -> str:
    """Return the canvas when something is drawn on it that no longer changes."""
    wait_until(page, lambda: bool(page.locator(canvas).evaluate(PAINTED)))
    seen = ["", bright(page, canvas)]

    def holds() -> bool:
        seen.append(bright(page, canvas))
        return seen[-1] == seen[-2] == seen[-3]

    wait_until(page, holds)
    return seen[-1]


def wait_until(page: sync_api.Page, holds: Callable[[], bool]) -> None:
    for _ in range(300):
        if holds():
            return
        page.wait_for_timeout(300)
    raise AssertionError("waited in vain")


def test_files_are_chosen_answered_and_shown_under_their_maps(page: sync_api.Page, films: list[Path]) -> None:
    page.set_input_files("#files", [str(film) for film in films[:4]])
    expect(page.locator("#items li")).to_have_count(4)
    expect(page.locator("#progress")).to_have_text("4 of 4 answered")
    expect(page.locator(".target")).to_have_count(3)
    expect(page.locator(".target .said").first).not_to_be_empty()
    expect(page.locator("#caption")).to_contain_text("Heat map")
    # No word is left with a gap that nothing filled.
    assert "{" not in page.locator("body").inner_text()
    expect(page.locator(".alike img")).to_have_count(3)
    first = settled(page, "#plain")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#items li").nth(1)).to_have_attribute("aria-selected", "true")
    wait_until(page, lambda: bright(page, "#plain") != first)


def test_a_file_that_is_refused_is_not_counted_as_answered(
    page: sync_api.Page, films: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("no image")
    page.set_input_files("#files", [str(films[0]), str(tmp_path / "note.txt")])
    expect(page.locator("#progress")).to_have_text("1 of 2 answered, 1 not read")
    expect(page.locator("#bar")).to_be_hidden()


def test_label_map_zoom_and_window_change_what_is_drawn(page: sync_api.Page, films: list[Path]) -> None:
    page.set_input_files("#files", str(films[0]))
    expect(page.locator("#caption")).to_contain_text("Heat map")
    first = before = settled(page, "#overlay")
    for act in (
        lambda: page.click("#in"),
        lambda: page.evaluate(
            "() => { const e = document.getElementById('window'); e.value = 300; e.dispatchEvent(new Event('input')); }"
        ),
    ):
        act()
        wait_until(page, lambda before=before: bright(page, "#overlay") != before)
        before = bright(page, "#overlay")
    page.click("#reset")
    wait_until(page, lambda: bright(page, "#overlay") == first)
    page.keyboard.press("2")
    expect(page.locator("#label")).to_have_value("1")
    page.keyboard.press("b")
    expect(page.locator("#plain")).to_be_hidden()


def test_an_answer_is_corrected(page: sync_api.Page, films: list[Path]) -> None:
    page.set_input_files("#files", str(films[5]))
    page.locator(".wrong").first.click(timeout=SECONDS)
    page.locator(".reader button", has_text="yes").click()
    expect(page.locator(".stored")).to_contain_text("Reader: yes")


def test_table_and_sheet_are_downloaded(page: sync_api.Page, films: list[Path], tmp_path: Path) -> None:
    page.set_input_files("#files", str(films[0]))
    expect(page.locator(".target")).to_have_count(3)
    with page.expect_download() as table:
        page.click("#csv")
    table.value.save_as(tmp_path / "answers.csv")
    assert films[0].name in (tmp_path / "answers.csv").read_text()
    if page.locator("#pdf").count():
        with page.expect_download() as sheet:
            page.click("#pdf")
        sheet.value.save_as(tmp_path / "answers.pdf")
        assert (tmp_path / "answers.pdf").read_bytes().startswith(b"%PDF")


def test_a_file_that_is_no_image_is_told(page: sync_api.Page, tmp_path: Path) -> None:
    (tmp_path / "letter.png").write_text("not an image")
    page.set_input_files("#files", str(tmp_path / "letter.png"))
    expect(page.locator("#answer .notice")).to_contain_text("This is a text, not an image.letter.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [360, 800, 1280, 2560])
def test_nothing_is_wider_than_the_screen(
    browser: sync_api.Browser, address: str, films: list[Path], width: int, language: str, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{address}/?lang={language}")
    page.set_input_files("#files", str(films[0]))
    expect(page.locator(".target")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN" if language == "zh" else "en")
    context.close()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_tools_of_two_images_take_one_line_each_on_a_desk(
    browser: sync_api.Browser, address: str, films: list[Path], language: str
) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{address}/?lang={language}")
    page.set_input_files("#files", str(films[0]))
    expect(page.locator("#plain")).to_be_visible()
    lines = "bars => bars.map(bar => bar.clientHeight - Math.max(...[...bar.children].map(tool => tool.clientHeight)))"
    assert all(more < 5 for more in page.locator(".tools").evaluate_all(lines))
    page.close()


@pytest.fixture(scope="module")
def asked_by_form(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("form")
    rows = [f"{k},{k % 9 + 5 * (k % 2)},{'left' if k % 3 else 'right'},{k % 2}" for k in range(60)]
    (place / "ages.csv").write_text("\n".join(["patient_id,age,eye,label", *rows]))
    train = ["train", str(place / "ages.csv"), "--out", str(place / "run"), "--covariate", "age", "--covariate", "eye"]
    assert main([*train, "--workers", "1"]) == 0
    yield from served(place / "run")


def test_a_row_of_a_table_is_asked_for_by_a_form(browser: sync_api.Browser, asked_by_form: str) -> None:
    for width in (390, 1400):
        context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-US")
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(asked_by_form)
        page.fill("[data-field=age]", "7")
        page.select_option("[data-field=eye]", "left")
        page.click("#case button[type=submit]")
        expect(page.locator(".target .said")).not_to_be_empty(timeout=SECONDS)
        expect(page.locator("#view")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        context.close()
