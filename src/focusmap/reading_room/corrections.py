"""What readers said was right, stored beside the predictions in a run, and made a label file of for the next training.

One line per correction, ``RUN/corrections/corrections.jsonl``; the last one of an image and a target counts. Images are
kept without their headers, patients as pseudonyms whose key never leaves the folder.
"""

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from focusmap.basics import InputError, Json, MissingFileError, command_line, disk_errors, refuse_existing, write_table
from focusmap.reading_room.layers import Kept
from focusmap.reading_room.shelf import Item
from focusmap.study import names_nobody, normal_id, open_run

FOLDER, JOURNAL, KEY, IMAGES = "corrections", "corrections.jsonl", "key", "images"
CASE = "case_id"


@dataclass(frozen=True)
class Corrections:
    """The label file that was made: where, where its images are, its rows, and how many have no known patient."""

    labels: Path
    images: Path
    table: pd.DataFrame
    n_unknown_patients: int


def pseudonym(folder: Path, patient: str) -> str:
    """Return what a patient is called in a folder of corrections: always the same there, and nowhere else."""
    file = folder / KEY
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not file.is_file():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(32))
    names = ["P" + hmac.new(file.read_text().encode(), text.encode(), hashlib.sha256).hexdigest()[:12]
             for text in (patient, normal_id(patient))]  # fmt: skip
    # Journals from before ids had a normal form know the patient as sent.
    known = (folder / JOURNAL).read_text() if (folder / JOURNAL).is_file() else ""
    return names[0] if names[0] in known else names[1]


def store(run: Path, item: Item, said: tuple[str, str], kept: Kept) -> None:
    """Add a correction to a run.

    Parameters
    ----------
    said
        The target, and the class that a reader says is right.
    kept
        What was sent, its images among those of the corrections.
    """
    folder, (target, label) = run / FOLDER, said
    told = next(one for one in _targets(item) if one["name"] == target)
    line: Json = {
        "image": kept.name,
        **({"rows": [dict(row) for row in kept.rows]} if kept.rows else {}),
        "patient": "" if names_nobody(kept.patient) else pseudonym(folder, kept.patient),
        "target": target,
        "label": label,
        "answer": told["answer"],
        "classes": told["classes"],
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
            # One write a line, so that two of them do not mix.
            journal.write(json.dumps(line, ensure_ascii=False) + "\n")


def _targets(item: Item) -> list[dict[str, Json]]:
    found = item.answer.get("targets")
    return [dict(one) for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def corrections(run: Path, out: Path, *, escape: bool = True, force: bool = False) -> Corrections:
    """Write a label file of what readers said, a row per image or of a table; what nobody said is empty: unknown.

    Paths are relative to ``RUN/corrections/images``.

    Raises
    ------
    MissingFileError, InputError
        If there is no such run, nobody corrected anything, or `out` is there already.
    """
    folder = open_run(run).folder / FOLDER
    refuse_existing(out, force=force)
    journal = folder / JOURNAL
    if not journal.is_file():
        serve = command_line("serve", run)
        raise MissingFileError(f"{run}: nobody has corrected an answer of this run. Serve it with: {serve}")
    try:
        said = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines() if line]
        table = _table(said)
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{journal}: is damaged. Every line holds one correction as JSON; take the broken one out."
        ) from None
    unknown = table["patient_id"] == ""
    # Of an image or a case that does not say whose it is nobody can know; it stands for a patient of its own.
    names = table[CASE if CASE in table else "image_id"]
    table["patient_id"] = table["patient_id"].where(~unknown, names)
    write_table(out, table, escape=escape)
    return Corrections(out, folder / IMAGES, table, names[unknown].nunique())


def _table(said: list[dict[str, Any]]) -> pd.DataFrame:
    rows: dict[tuple[str, int], dict[str, str]] = {}
    for one in said:
        name, target = one["image"], one["target"]
        sent = [{CASE: name, **row} for row in one.get("rows", ())]
        sent = sent or [{"path": name, "image_id": Path(name).name.split(".")[0]}]
        for position, row in enumerate(sent):
            told = {"patient_id": one["patient"], target: one["label"], f"{target}.answered": one["answer"]}
            rows.setdefault((name, position), row).update(told)
    table = pd.DataFrame(list(rows.values())).fillna("")
    last = [f"{target}.answered" for target in dict.fromkeys(one["target"] for one in said)]
    return table[[name for name in table if name not in last] + last]
