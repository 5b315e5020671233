"""The PDF: made from the page alone where all is installed; where not, one message that says how to get it."""

import re
import zlib
from pathlib import Path

import pytest
from PIL import ImageFile

from focusmap.basics import Language, MissingPartError, installation, write_json
from focusmap.cli import main
from focusmap.report import page as pages_written
from focusmap.report.run_page import render_report
from focusmap.study import Target, Task
from support.synthetic_run import binary_task, write_run

MIXED = Task(
    (Target("a"), Target("label", "multiclass", ("normal", "benign", "malignant")), Target("CST", "continuous"))
)


TASKS = {"mixed": MIXED, "fourteen": binary_task(*(f"finding number {i}" for i in range(14)))}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("pdf") / "run", binary_task("nodule"), n=40, n_maps=1)


def skip_without_pdf(language: Language = "en") -> None:
    try:
        pages_written.require_pdf(language)
    except MissingPartError as error:
        pytest.skip(str(error))


def made_pdf(run: Path, language: Language) -> bytes:
    skip_without_pdf(language)
    assert main(["report", str(run), "--language", language, "--pdf"]) == 0
    return (run / "report.pdf").read_bytes()


def unpacked(made: bytes) -> bytes:
    parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", made, flags=re.DOTALL)
    return b"".join(zlib.decompressobj().decompress(part) for part in parts if part[:1] == b"x")


@pytest.mark.slow
def test_a_report_becomes_a_pdf(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = made_pdf(run, "en")
    assert capsys.readouterr().out == f"report: {run / 'report.pdf'}\n"
    assert made.startswith(b"%PDF-")
    assert made.rstrip().endswith(b"%%EOF")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "half an image would be read without a word"


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(TASKS))
def test_every_kind_of_task_in_chinese_finds_its_way_over_the_pages(kind: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", TASKS[kind], n=120, n_maps=8)
    of_patients = {"value": 0.8, "low": 0.7, "high": 0.9}
    challenge = {
        "splits": {"patient": of_patients},
        "curve": [{"n_patients": 40, **of_patients}],
        "n_patients_needed": 90,
    }
    write_json(run / "evaluation/challenge.json", challenge)
    made = made_pdf(run, "zh")
    # The letters' table of a typeface names each letter that is drawn by its Unicode number.
    letters = unpacked(made).lower()
    assert [letter for letter in "局限灵敏度热图溯源考验" if f"<{ord(letter):04x}>".encode() not in letters] == []


def test_what_lies_outside_of_the_page_is_not_fetched(tmp_path: Path) -> None:
    skip_without_pdf()
    (tmp_path / "secret.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><text y='9'>secret</text></svg>")
    sizes = []
    for source in ("secret.svg", "not-there.svg"):
        page = tmp_path / "page.html"
        page.write_text(f"<img src='{source}'>")
        sizes.append(len(pages_written.write_pdf(page).read_bytes()))
    assert sizes[0] == sizes[1]


def test_without_weasyprint_one_message_says_how_to_get_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    (run / "report.html").unlink(missing_ok=True)
    assert main(["report", str(run), "--pdf"]) == 2
    said = capsys.readouterr().err
    assert "weasyprint" in said
    assert "pip install 'focusmap[pdf]'" in said
    assert not (run / "report.html").exists()


def test_without_pango_one_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    imported = builtins.__import__

    def broken(name: str, *rest: object) -> object:
        if name == "weasyprint":
            raise OSError("cannot load library 'libpango-1.0-0'")
        return imported(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(installation, "find_spec", lambda _: True)
    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(MissingPartError, match=r"libpango-1\.0-0.*apt-get install libpango"):
        pages_written.require_pdf("en")


def test_a_chinese_pdf_without_a_chinese_typeface_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_written, "require", lambda _: None)
    monkeypatch.setattr(pages_written, "_load_weasyprint", lambda: None)
    monkeypatch.setattr(pages_written, "chinese_typeface", lambda: None)
    pages_written.require_pdf("en")
    with pytest.raises(MissingPartError, match="fonts-noto-cjk"):
        pages_written.require_pdf("zh")


def test_the_page_of_a_language_stands_in_that_language_only(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", binary_task("nodule"), n=40, n_maps=0)
    assert "局限性" in render_report(run, "zh").read_text(encoding="utf-8")
    assert "局限性" not in render_report(run, "en").read_text(encoding="utf-8")
