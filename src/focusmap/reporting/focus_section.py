"""Where the net looked: mistakes and examples with their heat maps."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from focusmap.reporting.files import RunFiles
from focusmap.reporting.judged import answers
from focusmap.reporting.pictures import inside, picture_uri
from focusmap.reporting.tables import Cell, Table, name_cell

CUT_RULES = {
    "masks": "best IoU with {cut.n_masks} masks",
    "evidence": "smallest region that keeps most of the evidence of {cut.n_images} images, no mask",
    "default": "no true positive on tune",
}
OUTCOMES = {"TP": "True positives", "FP": "False alarms", "FN": "Missed"}
N_MISTAKES, N_MISTAKE_MAPS = 12, 6


@dataclass(frozen=True)
class MapCard:
    """One overlay with what is known of it."""

    uri: str
    heading: str
    detail: str


@dataclass(frozen=True)
class MapGroup:
    """The overlays of one label, by outcome."""

    label: str
    outcomes: Mapping[str, Sequence[MapCard]]


@dataclass(frozen=True)
class MistakeSection:
    """The mistakes of which the net was most sure."""

    table: Table
    cards: Sequence[MapCard]


def mistake_section(files: RunFiles, judged: pd.DataFrame | None) -> MistakeSection | None:
    """Return the mistakes, the most confident first; None without test predictions."""
    if judged is None:
        return None
    given = answers(judged)
    wrong = given[given["outcome"].isin(["FP", "FN"])]
    confidence = (wrong["probability"] - wrong["truth"]).abs()
    worst = (
        wrong.assign(confidence=confidence).sort_values("confidence", ascending=False, kind="stable").head(N_MISTAKES)
    )
    rows = [_mistake_row(row) for row in worst.to_dict("records")]
    cards = _cards(files, _with_maps(files, worst), N_MISTAKE_MAPS)
    caption = (
        f"{len(wrong):,} of {int((given['outcome'] != '').sum()):,} answers on test are wrong at the operating point."
    )
    return MistakeSection(Table(["Image", "Label", "Truth", "Predicted probability"], rows, caption=caption), cards)


def gallery(files: RunFiles, judged: pd.DataFrame | None) -> list[MapGroup]:
    """Return overlays of true positives, false alarms and misses for each label; labels without any are left out."""
    if judged is None or files.index is None:
        return []
    mapped = _with_maps(files, judged[judged["outcome"].isin(list(OUTCOMES))])
    each = 4 if len(files.task.label_names) <= 3 else 2
    groups = []
    for label in files.task.label_names:
        own = mapped[mapped["label"] == label].sort_values("probability", ascending=False, kind="stable")
        found = {title: _cards(files, own[own["outcome"] == key], each) for key, title in OUTCOMES.items()}
        if any(found.values()):
            groups.append(MapGroup(label, {title: cards for title, cards in found.items() if cards}))
    return groups


def cut_note(files: RunFiles) -> str:
    """Return in words where the focus maps of each label are cut, and with how many masks; empty for other maps."""
    if files.card is None or files.index is None or not (files.index["method"] == "focus").any():
        return ""
    cards = files.fold_cards or {"": files.card}
    chosen = [
        f"{label} at {cut.cut:.2f} ({CUT_RULES[cut.rule].format(cut=cut)}){f' in fold {fold}' if fold else ''}"
        for fold, card in cards.items()
        for label, cut in card.cuts.items()
    ]
    n_masks = sum(cut.n_masks for card in cards.values() for cut in card.cuts.values())
    return (
        f"Where maps are cut into the region of a label and the rest was chosen on tune: {'; '.join(chosen)}. "
        f"Masks used for this: {n_masks}."
    )


def _mistake_row(row: Mapping[Hashable, object]) -> list[Cell]:
    return [
        *(name_cell(str(row[key])) for key in ("image_id", "label", "known")),
        Cell(f"{float(str(row['probability'])):.3f}"),
    ]


def _with_maps(files: RunFiles, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `judged` for which an overlay exists, with its path; the first method of each image only."""
    if files.index is None:
        return judged.iloc[:0].assign(overlay="")
    index = files.index[["image_id", "target", "overlay", "method"]].rename(columns={"target": "label"})
    index = index[index["overlay"] != ""].drop_duplicates(["image_id", "label"])
    by_class = judged.merge(index, on=["image_id", "label"], how="inner", sort=False)
    # Some explain a multiclass target as a whole: its map then belongs to the class that was predicted.
    of_target = index.rename(columns={"label": "target"})
    rest = judged[judged["called"].astype(bool) & (judged["label"] != judged["target"])]
    by_target = rest.merge(of_target, on=["image_id", "target"], how="inner", sort=False)
    return pd.concat([by_class, by_target], ignore_index=True)


def _cards(files: RunFiles, rows: pd.DataFrame, limit: int) -> list[MapCard]:
    cards: list[MapCard] = []
    for row in rows.to_dict("records"):
        overlay = str(row["overlay"])
        path = inside(files.folder, f"focus/{overlay}") or inside(files.folder, overlay)
        if path is not None and len(cards) < limit:
            cards.append(_card(row, path))
    return cards


def _card(row: Mapping[Hashable, object], path: Path) -> MapCard:
    words = f"truth: {row['known']}; predicted probability {float(str(row['probability'])):.3f}; map: {row['method']}"
    return MapCard(picture_uri(path), f"{row['image_id']} · {row['label']}", words)
