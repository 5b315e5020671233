"""What the doctor says: everything that pyproject.toml names, what is missing with its remedy, without torch."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from focusmap.basics import MissingPartError, installation
from focusmap.cli import main

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_the_extras_are_those_of_the_project() -> None:
    assert set(installation.EXTRAS) == set(PROJECT["optional-dependencies"]) - {"all"}


def test_doctor_names_versions_devices_and_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for words in (
        "focusmap  ",
        "python    ",
        "cpu: ",
        "torch ",
        "numpy ",
        "optional parts",
        "pdf ",
        "Chinese typeface",
    ):
        assert words in said


def test_doctor_says_how_to_get_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    monkeypatch.setattr(installation, "chinese_typeface", lambda: None)
    known = installation._version
    monkeypatch.setattr(installation, "_version", lambda name: None if name == "timm" else known(name))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for extra in installation.EXTRAS:
        assert f"pip install 'focusmap[{extra}]'" in said
    assert "apt-get install fonts-noto-cjk" in said
    assert "pip install timm" in said


def test_a_gpu_that_torch_cannot_use_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_output", lambda *_: "NVIDIA H100, 81559 MiB\n")
    monkeypatch.setattr(installation.platform, "system", lambda: "Linux")
    for usable in (True, False):
        monkeypatch.setattr(installation, "_torch_sees_cuda", lambda usable=usable: usable)
        (said,) = installation._accelerators()
        assert said.startswith("cuda: NVIDIA H100, 81559 MiB")
        assert ("cannot use it" in said) is not usable


def test_a_program_that_is_not_there_or_fails_is_no_answer() -> None:
    assert installation._output("no-such-program-anywhere") is None
    assert installation._output(sys.executable, "-c", "raise SystemExit(3)") is None


def test_a_missing_extra_is_an_error_of_the_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    with pytest.raises(MissingPartError, match=r"weasyprint, not installed.*focusmap\[pdf\]") as error:
        installation.require("pdf")
    assert isinstance(error.value, ImportError)
    assert error.value.exit_code == 2


def test_doctor_is_fast_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from focusmap.basics import installation; installation._torch_sees_cuda = lambda: True;"
        "from focusmap.cli import main; main(['doctor']);"
        "print(*{'torch', 'numpy', 'pandas', 'weasyprint', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(("languages", "has_letters"), [("ja|zh-tw", True), ("en|zh-cn|zu", True), ("en|za|zu", False)])
def test_a_typeface_with_chinese_letters_is_told_by_its_languages(
    monkeypatch: pytest.MonkeyPatch, languages: str, *, has_letters: bool
) -> None:
    monkeypatch.setattr(installation, "_output", lambda *_: f"/fonts/a.ttf\n0\nA\n{languages}")
    assert (installation.chinese_typeface.__wrapped__() is not None) == has_letters
