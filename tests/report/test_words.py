"""The catalogues: the same keys and placeholders in each language, none missing, none unused, no English left over."""

import json
import re
from dataclasses import fields
from html import unescape
from pathlib import Path
from string import Formatter
from typing import get_args, get_type_hints

import pytest

from focusmap.audit.findings import SEVERITIES, finding
from focusmap.basics import LANGUAGES, InputError, Json, Reason, note_entries, reason_entries
from focusmap.evaluation import NOTICE
from focusmap.faithfulness.criteria import SOURCES as TRUST_SOURCES
from focusmap.fitting import choice
from focusmap.nets.weights import WeightsOrigin
from focusmap.reading_room.intake import REFUSALS
from focusmap.report import run_page
from focusmap.report.audit_page import finding_views
from focusmap.report.consensus_page import COUNTS as CONSENSUS_COUNTS
from focusmap.report.consensus_page import render_consensus
from focusmap.report.localisation_section import BASELINES, BY_SIZE, COMPARED, DRAWN, IN_SHORT, POINTS, REGIONS
from focusmap.report.performance_section import AGREEMENT, CLASSES, RANKING, VALUES
from focusmap.report.run_page import render_report
from focusmap.report.segmentation_section import MEASURES as MASK_MEASURES
from focusmap.report.segmentation_section import METHODS as MASK_METHODS
from focusmap.report.trust import CRITERIA, render_trust
from focusmap.report.words import words_in
from focusmap.study import Augmentation, Recipe
from focusmap.study.task import TARGET_KINDS
from support.synthetic_run import binary_task, write_run

FOLDER = Path(run_page.__file__).parent
ROOM = FOLDER.parent / "reading_room"
SOURCES = "\n".join(
    path.read_text() for place in (FOLDER, ROOM) for path in (*place.glob("*.py"), *place.glob("templates/*.html"))
)
ENGLISH, CHINESE = words_in("en"), words_in("zh")
# Words that Chinese radiology writes as English does.
SHARED = {"AUROC", "Cramér V", "R²", "n = {n}", "zh-CN"}


def flat(language: str) -> dict[str, str]:
    tables = words_in(language).tables  # type: ignore[arg-type]
    return {f"{table}.{name}": template for table, names in tables.items() for name, template in names.items()}


def placeholders(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_keys_and_placeholders(language: str) -> None:
    english, other = flat("en"), flat(language)
    assert list(other) == list(english)
    for key, template in other.items():
        for form in template.split("|"):
            assert placeholders(form) == placeholders(english[key].split("|")[-1]), key


def test_an_unknown_language_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="'fr' is not one of en, zh"):
        words_in("fr")  # type: ignore[arg-type]


def test_every_key_that_the_pages_ask_for_exists() -> None:
    asked = re.findall(r'(?:words|plural|absent)\(\s*"([a-z_]+\.[^"{]+)"', SOURCES)
    assert len(asked) > 150
    assert set(asked) <= set(flat("en"))


def test_no_key_is_unused() -> None:
    whole_tables = set(re.findall(r'words\.name\("([a-z_]+)"|f"([a-z_]+)\.\{|\.tables\["([a-z_]+)"\]', SOURCES))
    used_tables = {name for names in whole_tables for name in names if name}
    unused = [key for key in flat("en") if key.split(".")[0] not in used_tables and f'"{key}"' not in SOURCES]
    assert unused == []


def test_tables_that_are_looked_up_by_name_hold_what_can_be_asked() -> None:
    tables = ENGLISH.tables
    assert set(tables["finding"]) == set(tables["advice"]) == set(SEVERITIES)
    assert set(tables["accepted"]) == {name for name, severity in SEVERITIES.items() if severity == "blocking"}
    assert set(tables["metric"]) == {*RANKING, *AGREEMENT, *CLASSES, *VALUES, "auroc_delong"}
    assert set(tables["score"]) == {*POINTS, *REGIONS, *IN_SHORT, *COMPARED, *BY_SIZE, *DRAWN}
    assert set(tables["baseline"]) == set(BASELINES)
    assert set(tables["kind"]) == set(TARGET_KINDS)
    assert set(tables["start"]) == set(get_args(get_type_hints(WeightsOrigin)["source"]))
    assert set(tables["rung"]) == {choice.PROBE, choice.SIMPLE, choice.FROM_SCRATCH, choice.FINE_TUNED, choice.MEAN}
    assert set(tables["mask_method"]) == set(MASK_METHODS)
    assert set(tables["mask_score"]) == set(MASK_MEASURES)
    assert set(tables["criterion"]) == set(CRITERIA) == set(TRUST_SOURCES)
    assert set(tables["refusal"]) == {*REFUSALS, "other", "sent"}
    for name in ("trust_passes", "trust_fails", "trust_rule"):
        assert set(tables[name]) == set(CRITERIA)
    assert set(tables["consensus_count"]) == set(CONSENSUS_COUNTS)
    settings = {item.name for kind in (Recipe, Augmentation) for item in fields(kind)} - {
        "augmentation",
        "segmentation",
    }
    assert settings <= set(tables["setting"])


def test_no_english_is_left_in_the_chinese_words() -> None:
    words = {key: re.sub(r"\{[^}]*\}", "", template) for key, template in flat("zh").items() if template not in SHARED}
    english = [
        key for key, said in words.items() if re.search("[a-z]", said) and not re.search(r"[\u4e00-\u9fff]", said)
    ]
    assert english == []


def test_the_notice_says_what_prediction_files_say() -> None:
    assert ENGLISH("page.notice") == NOTICE
    assert "仅供研究使用，非医疗器械" in CHINESE("page.notice")


def test_a_reason_is_said_in_the_language_of_the_page() -> None:
    values = reason_entries(Reason("none-called", name="benign"))
    assert ENGLISH.reason(values) == "no row is predicted to be benign"
    assert CHINESE.reason(values) == "没有任何一例被判为 benign"


def test_what_an_audit_recorded_is_said_in_the_language_of_the_page() -> None:
    where = (Reason("patients-in", n=1, a="train", b="test"), Reason("patients-in", n=2, a="tune", b="test"))
    found = finding("patient-across-splits", Reason("patients-straddle", where=where), ["p1", where[1]])
    audit: dict[str, Json] = json.loads(json.dumps({"findings": [found.to_dict()]}))
    ((english,), (chinese,)) = (finding_views(audit, words) for words in (ENGLISH, CHINESE))
    assert english.message == found.message
    assert chinese.message.startswith("1 名患者同时出现在 train 与 test 中；2 名患者同时出现在 tune 与 test 中。")
    assert chinese.examples == ("p1", "2 名患者同时出现在 tune 与 test 中")


def test_an_audit_without_codes_stays_as_it_was_written() -> None:
    older: Json = {"name": "rare-label", "severity": "note", "message": "1 label is rare.", "examples": ["a"]}
    (view,) = finding_views({"findings": [older]}, CHINESE)
    assert view.message == "审查记录原文（英文）：1 label is rare."
    assert view.examples == ("a",)


def test_why_a_training_began_where_it_did_is_said_in_the_language_of_the_page() -> None:
    training = reason_entries(Reason("start-tensors", n=60, all=62, source="own.pth"), "start_reason")
    assert ENGLISH.reason(training, "start_reason") == "60 of 62 tensors from own.pth"
    assert CHINESE.reason(training, "start_reason") == "62 个张量中的 60 个取自 own.pth"


@pytest.mark.parametrize("code", [{}, {"reason_code": "of a newer program"}, {"reason_code": "none-called"}])
def test_a_reason_without_a_code_that_is_known_stays_as_it_is(code: dict[str, Json]) -> None:
    assert CHINESE.reason({"reason": "something new happened", **code}) == "something new happened"


def test_notes_are_said_in_the_language_of_the_page_and_those_of_older_runs_as_they_are() -> None:
    notes = note_entries("notes", [Reason("declared-folds", n=5), "a sentence"])
    assert CHINESE.notes(notes) == ["各折取自划分列（5 折）", "a sentence"]
    assert CHINESE.notes({"notes": ["a sentence"]}) == ["a sentence"]
    assert CHINESE.notes({}) == []


def test_a_chinese_report_holds_no_english_sentence_of_ours(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", binary_task("nodule", "effusion"), n=80, n_maps=3)
    page = render_report(run, "zh").read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in page
    for words in ("测试集结果", "95% 置信区间", "灵敏度", "特异度", "阳性预测值", "参考标准", "热图"):
        assert words in page
    assert english_of_ours(page) == []


def english_of_ours(page: str) -> list[str]:
    """Return what a page holds of the English catalogue's longer sentences, parted at their placeholders."""
    ours = [template for key, template in flat("en").items() if not key.startswith("reason.")]
    literal = [part for template in ours for part in re.split(r"\{[^}]*\}|\|", template)]
    sentences = {part.strip() for part in literal if part.count(" ") >= 3}
    assert len(sentences) > 90
    return [sentence for sentence in sentences if sentence in page]


def trust_of(verdicts: dict[str, Json]) -> dict[str, Json]:
    """Return the content of a ``trust.json``: 3 maps of 2 images of one patient."""
    counts: dict[str, Json] = {"n_maps": 3, "n_pictures": 2, "n_patients": 1, "n_predicted": 3, "n_models": 5}
    criteria: dict[str, Json] = {name: {"source": TRUST_SOURCES[name]} for name in CRITERIA}
    return {**counts, "criteria": criteria, "methods": {"cam": verdicts}, "controls": {"edges": verdicts}}


def test_trust_is_said_in_both_languages(tmp_path: Path) -> None:
    verdicts: dict[str, Json] = {name: {"passes": True, "value": 0.2, "limit": 0.5} for name in CRITERIA}
    verdicts["deletion"] = {"passes": False, "value": -0.1, "low": -0.3, "high": 0.1, "limit": 0.0}
    verdicts["road"] = {"passes": None, "value": None, "limit": 0.0, **reason_entries(Reason("map-undefined"))}
    english, chinese = (
        render_trust(trust_of(verdicts), tmp_path / f"{language}.html", language).read_text(encoding="utf-8")
        for language in LANGUAGES
    )
    for said in (
        "cam passes 8 of the 9 criteria assessed for this model; it fails deletion.",
        "Measured on 3 maps of 2 images of 1 patient; the label was predicted for 3 of the maps. Only the first of 5",
        "Intervals from so few patients are too narrow.",
        "Not assessed: road: it is undefined for every image.",
        "−0.100 (−0.300 to 0.100)",
        "0.200; limit 0.500",
    ):
        assert said in english
    for said in (
        "cam 通过了针对该模型所判定的 9 项标准中的 8 项；未通过：删除曲线。",
        "基于 1 名患者的 2 张图像的 3 幅热图测得",
        "未判定：去除与插补（ROAD）（对任何图像均无定义）。",
        "−0.100（−0.300 至 0.100）",
    ):
        assert said in chinese
    assert english_of_ours(chinese) == []


def test_trust_that_was_not_measured_says_why_in_chinese(tmp_path: Path) -> None:
    trust = {**trust_of({}), "methods": {}, "controls": {}, **reason_entries(Reason("too-few-maps"))}
    page = render_trust(trust, tmp_path / "trust.html", "zh").read_text(encoding="utf-8")
    assert "未测得任何结果：具有支持证据的热图不足两幅。" in page


def test_a_consensus_is_said_in_both_languages(tmp_path: Path) -> None:
    metric: Json = {"value": None, "low": None, "high": None, **reason_entries(Reason("read-once"))}
    pair: Json = {"a": "ann", "b": "bob", "n": 0, "agreement": metric, "cohen_kappa": metric}
    errors: Json = {"ann": {"errors": [[0.9, 0.1], [None, None]]}}
    label: Json = {
        "classes": ["0", "1"],
        "counts": {"0": 3, "1": 1},
        "n_readings": 8,
        "krippendorff_alpha": {**metric, "metric": "ordinal"},
        "fleiss_kappa": metric,
        "pairs": [pair],
        "dawid_skene": {"converged": False, "n_iterations": 7, "readers": errors},
    }
    case: Json = {"picture": "a.png", "label": "Mass", "votes": {"ann": "1", "bob": "0"}, "decided": None, "by": "tie"}
    facts: dict[str, Json] = {
        "method": "dawid-skene",
        "ties": "reader=ann",
        "soft": False,
        "n_pictures": 4,
        "n_patients": 2,
        "readers": {"ann": {}, "bob": {}},
        "labels": {"Mass": label},
        "disputed": [case],
        **note_entries("notes", [Reason("still-moving", name="Mass", n=7)]),
    }
    english, chinese = (
        unescape(render_consensus(facts, {}, tmp_path / f"{language}.html", language).read_text(encoding="utf-8"))
        for language in LANGUAGES
    )
    for said in (
        "Labels by Dawid and Skene's estimate; ann settles a tie.",
        "Mass: ann 1, bob 0 → unknown (a tie)",
        "as estimated (not converged after 7 steps)",
        "1 to review.",
    ):
        assert said in english
    for said in (
        "标签判定方法：Dawid-Skene 估计；平票由 ann 裁定。",
        "Mass：ann：1、bob：0 → 未知（平票）",
        "没有图像经两名阅片者判读",
        "Mass：Dawid-Skene 估计在 7 步后仍未收敛",
    ):
        assert said in chinese
    assert english_of_ours(chinese) == []
