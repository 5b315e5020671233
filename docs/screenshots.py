"""Take screenshots of a run, its report and its page: python docs/screenshots.py RUN IMAGE... --out DIR.

They are build output, and lie in the ignored folder site/screenshots unless told otherwise; docs/report.png and
docs/page.png are those of `focusmap demo`, in 256 colours. Needs the extras web and dev, and Chromium.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

SIZES = {"desk": (1440, 900), "phone": (390, 844)}
SECONDS = 120_000


@contextmanager
def served(run: Path) -> Iterator[str]:
    """Yield the address at which a run is served."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "focusmap", "serve", str(run), "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        for _ in range(SECONDS // 100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def take(browser: Browser, address: str, images: list[Path], out: Path) -> None:
    """Write what the page shows, before and after images are sent, on each screen, in each language and scheme."""
    for screen, (width, height) in SIZES.items():
        for language in ("en", "zh"):
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                page, name = context.new_page(), f"{screen}-{language}-{scheme}"
                page.goto(f"{address}/?lang={language}")
                page.screenshot(path=out / f"{name}-empty.png")
                page.set_input_files("#files", [str(image) for image in images])
                expect(page.locator("#answer .target").first).to_be_visible(timeout=SECONDS)
                expect(page.locator("#caption")).not_to_contain_text("\u2026", timeout=SECONDS)
                page.wait_for_timeout(500)
                page.screenshot(path=out / f"{name}.png", full_page=True)
                context.close()


def take_report(browser: Browser, report: Path, out: Path) -> None:
    """Write what a reader sees first of a report: the verdict, the results, a hit and a miss."""
    page = browser.new_page(viewport={"width": 1040, "height": 1200})
    page.goto(report.resolve().as_uri())
    below = page.get_by_role("heading", name="Limitations").bounding_box()
    height = below["y"] - 24 if below else 900
    page.screenshot(path=out / "report.png", clip={"x": 0, "y": 0, "width": 1040, "height": height})
    page.close()


def main() -> None:
    """Serve the run, and take screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("site/screenshots"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with served(options.run) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        take_report(browser, options.run / "report.html", options.out)
        take(browser, address, options.images, options.out)
        browser.close()
    print(f"screenshots: {options.out} ({len(list(options.out.glob('*.png')))})")


if __name__ == "__main__":
    main()
