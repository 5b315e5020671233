"""Where the net looked: mistakes and examples with their heat maps."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from focusmap.evaluation import MOST_SHOWN, MapThreshold, Showing, Why, whys_of
from focusmap.report.files import RunFiles, answers
from focusmap.report.page import image_size, image_uri, inside
from focusmap.report.words import Cell, Table, Words, called, decimal, name_cell
from focusmap.study import means_nothing_found

OUTCOMES = ("TP", "FP", "FN")
STEPS = ("slices", "n_slices", "strongest")
N_MISTAKES, N_MISTAKE_MAPS = 12, 6
# Images of a case that are shown side by side.
N_OF_CASE = 4


@dataclass(frozen=True)
class Stepper:
    """The slices of a volume under each other, one of which is shown at a time.

    Parameters
    ----------
    uri
        The image of all.
    name
        Distinct from those of the page's other steppers.
    n_slices, first
        How many, and which is shown before anybody moves: the one with most evidence.
    ratio
        Width of one slice over its height.
    """

    uri: str
    name: str
    n_slices: int
    first: int
    ratio: float


@dataclass(frozen=True)
class MapCard:
    """One overlay with what is known of it; of some volumes, with slices to step through."""

    uri: str
    heading: str
    detail: str
    stepper: Stepper | None = None


@dataclass(frozen=True)
class MapGroup:
    """The overlays of one label, by outcome, and why they may not be shown in colour; empty where they may be."""

    label: str
    outcomes: Mapping[str, Sequence[MapCard]]
    why: Why


@dataclass(frozen=True)
class MistakeSection:
    """The mistakes of which the net was most sure, how many there are, and what is said where there are none."""

    table: Table
    caption: str
    cards: Sequence[MapCard]
    none: str


def mistake_section(files: RunFiles, judged: pd.DataFrame | None, words: Words) -> MistakeSection | None:
    """Return the mistakes, the most confident first; None without test predictions."""
    if judged is None:
        return None
    answered = answers(judged)
    wrong = answered[answered["outcome"].isin(["FP", "FN"])]
    ordered = wrong.assign(confidence=confidence_of_mistakes(wrong)).sort_values(
        "confidence", ascending=False, kind="stable"
    )
    worst = ordered.head(N_MISTAKES)
    rows = [_mistake_row(files, row) for row in worst.to_dict("records")]
    cards = _cards(files, _shown(files, _with_maps(files, worst)), N_MISTAKE_MAPS, words)
    has_points = (answered["label"] == answered["target"]).any()
    key = "mistakes.caption" if has_points else "mistakes.caption_of_classes"
    caption = words(key, wrong=len(wrong), all=int((answered["outcome"] != "").sum()))
    row = words("mistakes.case" if files.counts_cases else "mistakes.image")
    head = [row, words("mistakes.label"), words("mistakes.truth"), words("mistakes.probability")]
    none = words("mistakes.none" if has_points else "mistakes.none_of_classes")
    return MistakeSection(Table(head, rows), caption, cards, none)


def doubtful_section(files: RunFiles, words: Words) -> MistakeSection | None:
    """Return the most doubtful labels with their images, as far as there are any; None where none is doubted."""
    if files.doubtful is None:
        return None
    rows, cards = [], []
    for place, row in enumerate(files.doubtful.head(MOST_SHOWN).to_dict("records")):
        given, suggested = (f"{row['target']}: {row[key]}" for key in ("given", "suggested"))
        share = decimal(float(str(row["probability"])))
        rows.append([name_cell(str(row["image_id"])), name_cell(given), name_cell(suggested), Cell(share)])
        path = inside(files.folder, f"evaluation/label_errors/{place}.png")
        if path is not None:
            cards.append(MapCard(image_uri(path), str(row["image_id"]), f"{given} → {row['suggested']}"))
    head = [words(f"doubtful.{key}") for key in ("image", "given", "suggested", "probability")]
    return MistakeSection(Table(head, rows), words("doubtful.caption", n=len(files.doubtful)), cards, "")


def lot_note(files: RunFiles, words: Words) -> str:
    """Return how many of the tested images were mapped, where time allowed only some by lot; else nothing."""
    if files.index is None or files.predictions is None or files.counts_cases:
        return ""
    tested, mapped = set(files.predictions["image_id"]), set(files.index["image_id"])
    is_some = mapped < tested
    return words("maps.by_lot", n=len(mapped), all=len(tested)) if is_some else ""


def gallery(files: RunFiles, judged: pd.DataFrame | None, words: Words) -> list[MapGroup]:
    """Return overlays of true positives, false alarms and misses for each label; labels without any are left out."""
    if judged is None or files.index is None:
        return []
    mapped = _with_maps(files, judged[judged["outcome"].isin(OUTCOMES)])
    each = 4 if len(files.task.label_names) <= 3 else 2
    groups = []
    for label in files.task.label_names:
        own = mapped[mapped["label"] == label].sort_values("probability", ascending=False, kind="stable")
        cards_by_outcome = {
            words.name("gallery", key): _with_stepper(files, _cards(files, rows, each, words), rows)
            for key in OUTCOMES
            for rows in [own[own["outcome"] == key]]
        }
        if any(cards_by_outcome.values()):
            filled = {title: cards for title, cards in cards_by_outcome.items() if cards}
            groups.append(MapGroup(called(files.task, label), filled, Showing(whys_of(files.metrics)).why_not(label)))
    return groups


def hit_and_miss(files: RunFiles, judged: pd.DataFrame | None, words: Words) -> list[MapCard]:
    """Return the surest hit, then the surest miss, or false alarm where nothing was missed, of what may be shown.

    The map alone, large; none where no map was drawn.
    """
    if judged is None or files.index is None:
        return []
    mapped = _shown(files, _with_maps(files, judged))
    tells = np.array([not means_nothing_found(label.rpartition("=")[2]) for label in mapped["label"]], dtype=bool)
    # Of several classes each mistake is seen by what was answered, whose map there is.
    tells &= (mapped["outcome"] != "FN") | (mapped["label"] == mapped["target"])
    mapped = mapped[tells]
    hits = mapped[mapped["outcome"] == "TP"].sort_values("probability", ascending=False, kind="stable")
    wrong = mapped[mapped["outcome"].isin(["FN", "FP"])]
    wrong = wrong.assign(confidence=confidence_of_mistakes(wrong)).sort_values(
        ["outcome", "confidence"], ascending=[True, False], kind="stable"
    )
    examples = []
    for rows in (hits, wrong):
        for row in rows.head(1).to_dict("records"):
            path = inside(files.folder, f"focus/{row['overlay']}") or inside(files.folder, str(row["overlay"]))
            if path is not None:
                outcome = words.name("outcome", str(row["outcome"]))
                detail = words("maps.shown", known=row["known"], probability=float(str(row["probability"])))
                heading = words("maps.outcome_of", outcome=outcome, label=called(files.task, str(row["label"])))
                examples.append(MapCard(image_uri(path, "map"), heading, detail))
    return examples


def _shown(files: RunFiles, mapped: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of labels that may be shown in colour."""
    showing = Showing(whys_of(files.metrics))
    return mapped[[not showing.why_not(label) for label in mapped["label"]]]


def threshold_note(files: RunFiles, words: Words) -> str:
    """Return in words the thresholds of each label's focus maps, and with how many masks; empty for other maps."""
    if files.card is None or files.index is None or not (files.index["method"] == "focus").any():
        return ""
    cards = files.fold_cards or {"": files.card}
    chosen = [
        _threshold_in_words(label, threshold, fold, words)
        for fold, card in cards.items()
        for label, threshold in card.map_thresholds.items()
    ]
    n_masks = sum(threshold.n_masks for card in cards.values() for threshold in card.map_thresholds.values())
    return words("threshold.all", thresholds="; ".join(chosen), n=n_masks)


def case_note(files: RunFiles, words: Words) -> str:
    """Return in words what the map of an image of a case says, and whose the probability is; empty for others."""
    return "" if files.index is None or "case_id" not in files.index else words("maps.of_cases", n=N_OF_CASE)


def _threshold_in_words(label: str, threshold: MapThreshold, fold: str, words: Words) -> str:
    rule = words.plural(
        f"threshold.{threshold.rule}", threshold.n_masks if threshold.rule == "masks" else threshold.n_images
    )
    sentence = words("threshold.one", label=label, threshold=threshold.value, rule=rule)
    return words("threshold.in_fold", threshold=sentence, fold=fold) if fold else sentence


def confidence_of_mistakes(wrong: pd.DataFrame) -> pd.Series:
    """Return how far the probability lies on the wrong side of the operating point, as a share of the way there.

    The plain error would list misses only: of a rare finding the operating point is low, and a false alarm near it
    is nearly right by that measure.
    """
    beyond = wrong["probability"] - wrong["operating_point"]
    room = np.where(beyond >= 0, 1 - wrong["operating_point"], wrong["operating_point"])
    return beyond.abs() / np.maximum(room, np.finfo(float).eps)


def _mistake_row(files: RunFiles, row: Mapping[Hashable, object]) -> list[Cell]:
    return [
        name_cell(str(row["image_id"])),
        name_cell(called(files.task, str(row["label"]))),
        name_cell(str(row["known"])),
        Cell(f"{float(str(row['probability'])):.3f}"),
    ]


def _with_maps(files: RunFiles, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `judged` for which an overlay exists, with its path; the first method of each image only.

    Of a case, a row each for those of its images that tell most. Images that are unlike those of train have none.
    """
    if files.index is None:
        return judged.iloc[:0].assign(overlay="")
    index = _maps_of_rows(files.index).rename(columns={"target": "label"})
    by_class = judged.merge(index, on=["image_id", "label"], how="inner", sort=False)
    # Some explain a multiclass target as a whole: its map then belongs to the class that was predicted.
    of_target = index.rename(columns={"label": "target"})
    rest = judged[judged["called"].astype(bool) & (judged["label"] != judged["target"])]
    by_target = rest.merge(of_target, on=["image_id", "target"], how="inner", sort=False)
    return pd.concat([by_class, by_target], ignore_index=True)


def _maps_of_rows(index: pd.DataFrame) -> pd.DataFrame:
    """Return the overlays of the first method, under the image_id that predictions have; a case's, by evidence."""
    index = index[index["overlay"] != ""]
    index = index[index["shown"] != "unlike"] if "shown" in index else index
    if "case_id" not in index:
        kept = [name for name in ("image_id", "target", "overlay", "method", *STEPS) if name in index]
        return index[kept].drop_duplicates(["image_id", "target"])
    first = index.drop_duplicates(["image_id", "target"])
    order = pd.to_numeric(first["evidence"]).sort_values(ascending=False, kind="stable").index
    heaviest = first.loc[order].groupby(["case_id", "target"], sort=False).head(N_OF_CASE)
    return heaviest[["case_id", "target", "overlay", "method", "view", "evidence", *STEPS]].rename(
        columns={"case_id": "image_id"}
    )


def _cards(files: RunFiles, rows: pd.DataFrame, limit: int, words: Words) -> list[MapCard]:
    """Return the cards of at most `limit` answers; of a case, one for each of its rows."""
    cards: dict[tuple[str, str], list[MapCard]] = {}
    for row in rows.to_dict("records"):
        overlay, answer = str(row["overlay"]), (str(row["image_id"]), str(row["label"]))
        path = inside(files.folder, f"focus/{overlay}") or inside(files.folder, overlay)
        if path is not None and (answer in cards or len(cards) < limit):
            # One colour bar is enough of maps that share a scale.
            label = called(files.task, str(row["label"]))
            card = _card(row, label, (path, "pair" if cards else "whole"), words)
            cards.setdefault(answer, []).append(card)
    return [card for own in cards.values() for card in own]


def _with_stepper(files: RunFiles, cards: list[MapCard], rows: pd.DataFrame) -> list[MapCard]:
    """Return the cards, the first with the slices of its volume: those of all would make the page too large to send."""
    for row in rows.to_dict("records")[:1]:
        strip = inside(files.folder, f"focus/{row.get('slices') or ''}")
        if cards and strip is not None:
            n_slices = int(row["n_slices"])
            width, height = image_size(strip)
            stepper = Stepper(image_uri(strip), str(row["slices"]), n_slices, int(row["strongest"]),
                              width * n_slices / height)  # fmt: skip
            return [replace(cards[0], stepper=stepper), *cards[1:]]
    return cards


def _card(
    row: Mapping[Hashable, object], label: str, drawn: tuple[Path, Literal["whole", "pair"]], words: Words
) -> MapCard:
    facts = {"known": row["known"], "probability": float(str(row["probability"])), "method": row["method"]}
    if "view" not in row:
        return MapCard(image_uri(*drawn), f"{row['image_id']} · {label}", words("maps.card", **facts))
    detail = words("maps.case_card", evidence=float(str(row["evidence"])), **facts)
    return MapCard(image_uri(*drawn), f"{_name_in_case(row, words)} · {label}", detail)


def _name_in_case(row: Mapping[Hashable, object], words: Words) -> str:
    view = words("maps.view", name=row["view"]) if row["view"] else ""
    return " · ".join(filter(None, (words("maps.case", name=row["image_id"]), view)))
