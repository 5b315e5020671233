"""Checklists and the model card: a tick is a file that is as it was written; what people must say stays blank."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from focusmap.basics import file_hash, read_json, write_json
from focusmap.cli import main
from focusmap.report import checklists
from focusmap.report.checklists import LISTS, Evidence, checklists_of, write_checklists
from focusmap.report.words import words_in
from support.synthetic_run import words_of

PEOPLE = {
    "CLAIM 2024": {"1", "2", "4", "5", "8", "11", "13", "16", "34", "40", "44"},
    "TRIPOD+AI": {"1", "3a", "5b", "8b", "17", "18a", "19", "25"},
    "STARD-AI": {"1", "6", "8", "17a", "17b", "32", "36", "39"},
}


def ticks(folder: Path) -> dict[str, dict[str, bool]]:
    return {one.name: {item.number: item.is_ticked for item in one.items} for one in checklists_of(Evidence(folder))}


def numbers(name: str) -> list[str]:
    folder = Path(checklists.__file__).parent / "catalogues"
    return [item["n"] for item in tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))["items"]]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a table of features, evaluated and reported by the commands."""
    from support.studies import phantom_study

    folder = tmp_path_factory.mktemp("reported")
    labels = phantom_study(folder / "study", patients=40, images=120)
    simple = ["--model", "histogram+logistic", "--workers", "1"]
    assert main(["run", str(labels), "--out", str(folder / "run"), *simple]) == 0
    return folder / "run"


def test_the_lists_are_numbered_as_they_were_published() -> None:
    assert numbers("claim-2024") == [str(n) for n in range(1, 45)]
    tripod, stard = numbers("tripod-ai"), numbers("stard-ai")
    assert len(tripod) == len(set(tripod)) == 52
    assert list(dict.fromkeys(re.sub("[a-z]", "", n) for n in tripod)) == [str(n) for n in range(1, 28)]
    assert len(stard) == len(set(stard)) == 48
    assert list(dict.fromkeys(re.sub("[a-z]", "", n) for n in stard)) == [str(n) for n in range(1, 41)]
    assert {n for n in stard if not n.isdecimal()} == {
        *("15a", "15b", "15c", "15d", "16a", "16b", "16c", "17a", "17b", "26a", "26b", "40a", "40b")
    }


def test_every_ticked_item_names_files_with_their_hashes_and_people_keep_theirs(reported: Path) -> None:
    found = read_json(reported / "checklists.json")["lists"]
    assert [one["name"] for one in found] == list(PEOPLE)  # type: ignore[index]
    for one in found:  # type: ignore[union-attr]
        assert 5 <= one["n_ticked"] < one["n_items"]  # type: ignore[index,operator]
        for item in one["items"]:  # type: ignore[index,union-attr]
            assert item["ticked"] == bool(item["files"])
            assert not (item["ticked"] and item["number"] in PEOPLE[one["name"]])  # type: ignore[index]
            for proof in item["files"] + item["material"]:
                assert file_hash(reported / proof["file"]) == proof["sha256"]


@pytest.mark.parametrize(
    ("file", "list_name", "number"),
    [
        ("evaluation/metrics.json", "CLAIM 2024", "28"),
        ("recipe.yaml", "TRIPOD+AI", "13"),
        ("predictions/test.csv", "STARD-AI", "40b"),
        ("evaluation/coverage.json", "STARD-AI", "19"),
    ],
)
def test_altering_the_file_removes_the_tick(reported: Path, file: str, list_name: str, number: str) -> None:
    path = reported / file
    content = path.read_bytes()
    assert ticks(reported)[list_name][number]
    try:
        path.write_bytes(content.replace(b"0", b"1", 1) + b"\n")
        assert not ticks(reported)[list_name][number]
        assert Evidence(reported).altered() == [file]
        write_checklists(reported)
        assert file in (reported / "checklists.html").read_text(encoding="utf-8")
        path.unlink()
        assert not ticks(reported)[list_name][number]
    finally:
        path.write_bytes(content)
    assert ticks(reported)[list_name][number]


def test_the_report_says_in_red_that_a_file_was_changed(reported: Path) -> None:
    page = reported / "report.html"
    assert "items documented by files" in words_of(page.read_text(encoding="utf-8"))
    assert "Changed after they were written" not in page.read_text(encoding="utf-8")
    path = reported / "evaluation/metrics.json"
    content = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(content), "n_patients": 1000}))
        assert main(["report", str(reported)]) == 0
        said = words_of(page.read_text(encoding="utf-8"))
        assert (
            "Changed after they were written, so nothing on this page can be relied on: evaluation/metrics.json" in said
        )
    finally:
        path.write_text(content)
        assert main(["report", str(reported)]) == 0


def test_what_was_never_sealed_ticks_nothing(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: resnet18\nclass_weights: true\n")
    assert not any(is_ticked for items in ticks(tmp_path).values() for is_ticked in items.values())
    write_json(tmp_path / "manifest.json", {"versions": {"torch": "2"}}, sealed=True)
    assert ticks(tmp_path)["CLAIM 2024"]["23"]
    write_json(tmp_path / "manifest.json", {"versions": {}})
    assert not ticks(tmp_path)["CLAIM 2024"]["23"], "a file that does not hold what is asked carries nothing"


def test_the_page_is_in_both_languages(reported: Path) -> None:
    for language in ("en", "zh"):
        page = write_checklists(reported, language).read_text(encoding="utf-8")
        assert words_in(language)("checklist.heading") in page
        assert page.count("☑") == sum(checklist.n_ticked for checklist in checklists_of(Evidence(reported)))
        assert page.count("☑") + page.count("☐") == sum(len(numbers(name)) for name in LISTS)


def test_the_model_card_is_made_of_measured_values_and_leaves_intended_use_to_people(reported: Path) -> None:
    card = (reported / "model/model_card.md").read_text(encoding="utf-8")
    headings = re.findall("^## (.+)$", card, re.MULTILINE)
    assert headings == [
        "Model details", "Intended use", "Factors", "Metrics", "Training and evaluation data", "Quantitative analyses",
        "Ethical considerations", "Caveats and recommendations",
    ]  # fmt: skip
    assert "## Intended use\n\n(to be filled in)" in card
    metrics = read_json(reported / "evaluation/metrics.json")
    name, target = next(iter(metrics["targets"].items()))  # type: ignore[union-attr]
    row = next(line for line in card.splitlines() if line.startswith(f"| {name} ("))
    assert f"{target['auroc']['value']:.3f}" in row  # type: ignore[index,call-overload]
    assert main(["report", str(reported), "--language", "zh"]) == 0
    assert "## 预期用途" in (reported / "model/model_card.md").read_text(encoding="utf-8")
    assert main(["report", str(reported)]) == 0
