"""Hit or miss, one by one: each marked lesion and its map, where there are few enough to look at."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from focusmap.report.files import RunFiles
from focusmap.report.focus_section import MapCard
from focusmap.report.images import image_uri, inside
from focusmap.report.tables import Cell, Table, decimal, name_cell
from focusmap.report.words import DASH, Words

MOST = 30
MEAN_MASK = "mean_mask"


@dataclass(frozen=True)
class SingleMaps:
    """A row and an image for each marked lesion."""

    table: Table
    cards: Sequence[MapCard]


def single_maps(files: RunFiles, words: Words) -> SingleMaps | None:
    """Return each marked lesion with the first method's map of it; None where there are none, or more than `MOST`."""
    if files.single_scores is None or files.index is None or files.single_scores.empty:
        return None
    scores = files.single_scores
    own = scores[scores["method"] == scores["method"].iloc[0]]
    if len(own) > MOST:
        return None
    means = scores[scores["method"] == MEAN_MASK][["image_id", "target", "auprc"]]
    joined = own.merge(means, on=["image_id", "target"], how="left", suffixes=("", "_mean_mask"))
    columns = ["image_id", "target", "method", "probability", "overlay", "case_id"]
    maps = files.index[[name for name in columns if name in files.index]]
    rows = joined.merge(maps, on=["image_id", "target", "method"], how="left").fillna("").to_dict("records")
    keys = ("image", "label", "size", "found", "hit", "auprc", "mean_mask")
    head = [words(f"singles.{key}") for key in keys]
    table = Table(head, [_row(row, words) for row in rows], caption=words("singles.caption"))
    return SingleMaps(table, [card for row in rows if (card := _card(files, row, words))])


def _row(row: Mapping[Hashable, object], words: Words) -> list[Cell]:
    found = row["predicted"] == "True"
    return [
        name_cell(str(row["image_id"])),
        name_cell(str(row["target"])),
        Cell(f"{100 * float(str(row['chance'])):.2g} %"),
        Cell(words("page.yes" if found else "page.no")),
        Cell(_hit(row, words)),
        Cell(_decimal(row["auprc"]) if found else DASH),
        Cell(_decimal(row["auprc_mean_mask"])),
    ]


def _hit(row: Mapping[Hashable, object], words: Words) -> str:
    """Return hit, miss or, where the map has several highest points, the share of them that lies in the lesion.

    Of a lesion that the net did not find nothing is shown, which is a miss.
    """
    share = pd.to_numeric(str(row["pointing_hit"]), errors="coerce") if row["predicted"] == "True" else 0.0
    if 0 < share < 1:
        return words("singles.partly", share=decimal(share))
    return words("singles.yes" if share == 1 else "singles.no")


def _decimal(cell: object) -> str:
    value = pd.to_numeric(str(cell), errors="coerce")
    return DASH if pd.isna(value) else decimal(float(value))


def _card(files: RunFiles, row: Mapping[Hashable, object], words: Words) -> MapCard | None:
    path = inside(files.folder, f"focus/{row['overlay']}")
    if path is None:
        return None
    said = {"hit": _hit(row, words), "probability": float(str(row["probability"]))}
    heading = f"{row['image_id']} · {row['target']}"
    if "case_id" not in row:
        return MapCard(image_uri(path), heading, words("singles.card", **said))
    case = words("maps.case", name=row["case_id"])
    return MapCard(image_uri(path), f"{case} · {heading}", words("singles.case_card", **said))
