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

import pandas as pd

from focusmap.basics import InputError, Json, MissingFileError, disk_errors, refuse_existing, write_table
from focusmap.reading_room.shelf import Item
from focusmap.study import names_nobody, normal_id, open_run

FOLDER, JOURNAL, KEY, IMAGES = "corrections", "corrections.jsonl", "key", "images"


@dataclass(frozen=True)
class Corrections:
    """The label file that was made: where, where its images are, how many, and of how many the patient is not known."""

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


def stem_of(file: Path) -> str:
    """Return the name under which an image is kept: the same for the same content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:20]


def store(run: Path, item: Item, said: tuple[str, str], kept: tuple[str, str]) -> None:
    """Add a correction to a run.

    Parameters
    ----------
    said
        The target, and the class that a reader says is right.
    kept
        The file of the image, among those of the corrections, and its patient as sent; empty where not known.
    """
    folder, (target, label), (image, patient) = run / FOLDER, said, kept
    told = next(one for one in _targets(item) if one["name"] == target)
    line: Json = {
        "image": image,
        "patient": "" if names_nobody(patient) else pseudonym(folder, patient),
        "target": target,
        "label": label,
        "answer": told["answer"],
        "classes": told["classes"],
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with disk_errors(folder), (folder / JOURNAL).open("a", encoding="utf-8") as journal:
        # One write a line, so that two of them do not mix.
        journal.write(json.dumps(line, ensure_ascii=False) + "\n")


def _targets(item: Item) -> list[dict[str, Json]]:
    found = item.answer.get("targets")
    return [dict(one) for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def corrections(run: Path, out: Path, *, escape: bool = True, force: bool = False) -> Corrections:
    """Write a label file of what readers said, a row per image; what nobody said of an image is empty: unknown.

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
        raise MissingFileError(
            f"{run}: nobody has corrected an answer of this run. Serve it with: focusmap serve {run}"
        )
    try:
        said = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines() if line]
        table = _table(said)
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{journal}: is damaged. Every line holds one correction as JSON; take the broken one out."
        ) from None
    unknown = table["patient_id"] == ""
    # Of an image that does not say whose it is nobody can know; it stands for a patient of its own.
    table["patient_id"] = table["patient_id"].where(~unknown, table["image_id"])
    write_table(out, table, escape=escape)
    return Corrections(out, folder / IMAGES, table, int(unknown.sum()))


def _table(said: list[dict[str, str]]) -> pd.DataFrame:
    rows: dict[str, dict[str, str]] = {}
    targets = dict.fromkeys(one["target"] for one in said)
    for one in said:
        row = rows.setdefault(one["image"], {"path": one["image"], "image_id": Path(one["image"]).name.split(".")[0]})
        row["patient_id"] = one["patient"]
        row[one["target"]] = one["label"]
        row[f"{one['target']}.answered"] = one["answer"]
    columns = ["path", "image_id", "patient_id", *targets, *(f"{name}.answered" for name in targets)]
    return pd.DataFrame(list(rows.values())).reindex(columns=columns).fillna("")
