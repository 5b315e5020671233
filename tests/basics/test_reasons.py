"""Reasons keep their sentence, code and values through copies and files; every code is said by someone."""

import copy
import json
import pickle
from pathlib import Path

import pytest

import focusmap
from focusmap.basics import SENTENCES, Reason, note_entries, read_notes, read_reason, reason_entries

BLOCKS = Reason("blocks", column="time", gap=3, n=12, all=80)
SOURCES = "\n".join(path.read_text() for path in Path(focusmap.__file__).parent.rglob("*.py") if path.stem != "reasons")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda reason: pickle.loads(pickle.dumps(reason))])
def test_a_copy_is_the_reason_itself(again) -> None:
    other = again(BLOCKS)
    assert (other, other.code, other.values) == (BLOCKS, "blocks", BLOCKS.values)


def test_what_is_written_is_read_back_equal() -> None:
    notes = (BLOCKS, Reason("declared-folds", n=5), "a sentence without a code")
    back = read_notes(json.loads(json.dumps(note_entries("notes", notes))), "notes")
    assert back == notes
    assert [getattr(note, "values", None) for note in back] == [BLOCKS.values, {"n": 5}, None]
    single = read_reason(json.loads(json.dumps(reason_entries(BLOCKS))))
    assert isinstance(single, Reason)
    assert (single, single.code, single.values) == (BLOCKS, "blocks", BLOCKS.values)


def test_values_may_be_reasons_and_lists_and_are_read_back_equal() -> None:
    where = (Reason("patients-in", n=1, a="train", b=Reason("in-fold", n=2)), "elsewhere")
    straddle = Reason("patients-straddle", where=where)
    assert straddle.startswith("1 patient in train and fold 2; elsewhere. The test")
    (back,) = read_notes(json.loads(json.dumps(note_entries("sentences", [straddle]))), "sentences")
    assert isinstance(back, Reason)
    assert (back, back.values) == (straddle, straddle.values)
    (first, _) = back.values["where"]  # type: ignore[misc]
    assert (first.code, first.values["b"].code) == ("patients-in", "in-fold")


def test_notes_whose_codes_were_edited_stay_sentences() -> None:
    assert read_notes({"notes": ["a", "b"], "notes_coded": [{"code": "one-class"}]}, "notes") == ("a", "b")
    assert read_notes({"notes": ["a"], "notes_coded": ["one-class"]}, "notes") == ("a",)


@pytest.mark.parametrize("code", SENTENCES)
def test_every_code_is_given_by_someone(code: str) -> None:
    assert f'"{code}"' in SOURCES
