"""Where the net looked: mistakes and examples with their heat maps, and localisation beside simple baselines."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from focusmap.figures.json_tree import branch, number
from focusmap.reporting.files import RunFiles, Tree
from focusmap.reporting.judged import answers
from focusmap.reporting.pictures import inside, picture_uri
from focusmap.reporting.tables import Cell, Footnotes, Table, metric_cell, name_cell

BASELINES = {
    "mean_mask": "mean mask of the other images", "centre": "centre of the image", "edges": "edges of the image",
    "random": "random map",
}  # fmt: skip
SCORES = {
    "pointing_hit": "Pointing game", "pointing_hit_of_positives": "with missed images", "chance": "Chance",
    "iou": "IoU (Otsu)", "dice": "Dice (Otsu)", "iou_at_cut": "IoU at the cut", "dice_at_cut": "Dice at the cut",
    "energy_pointing": "Energy inside", "n": "Images",
}  # fmt: skip
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


@dataclass(frozen=True)
class LocalisationSection:
    """Heat maps against reference masks or boxes."""

    tables: Sequence[Table]
    verdict: str
    beats_baseline: bool


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


def localisation_section(files: RunFiles) -> LocalisationSection | None:
    """Return the scores of the maps beside the baselines; None without ``scores.json``."""
    methods = branch(files.scores, "methods")
    if not methods:
        return None
    tables = [_score_table("All labels", methods)]
    for name, entry in branch(files.scores, "by_target").items():
        per_target = branch(entry, "methods") or branch(entry)
        if any(branch(value) for value in per_target.values()):
            tables.append(_score_table(name, per_target))
    verdict, beats = _verdict(methods)
    return LocalisationSection(tables if len(tables) != 2 else tables[:1], verdict, beats)


def cut_note(files: RunFiles) -> str:
    """Return in words where the focus maps of each label are cut, and with how many masks; empty for other maps."""
    if files.card is None or files.index is None or not (files.index["method"] == "focus").any():
        return ""
    chosen = [
        f"{label} at {cut.cut:.2f} ({CUT_RULES[cut.rule].format(cut=cut)})" for label, cut in files.card.cuts.items()
    ]
    n_masks = sum(cut.n_masks for cut in files.card.cuts.values())
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


def _score_table(caption: str, methods: Tree) -> Table:
    notes = Footnotes()
    keys = [key for key in SCORES if any(key in branch(entry) for entry in methods.values())]
    ordered = [name for name in methods if name not in BASELINES] + [name for name in BASELINES if name in methods]
    rows = []
    for name in ordered:
        entry, small = branch(methods, name), "baseline" if name in BASELINES else "heat map"
        cells = [_score_cell(entry, key, notes) for key in keys]
        rows.append([name_cell(BASELINES.get(name, name), small), *cells])
    return Table(["", *(SCORES[key] for key in keys)], rows, notes.lines(), caption)


def _score_cell(entry: Tree, key: str, notes: Footnotes) -> Cell:
    plain = number(entry.get(key))
    if plain is not None:
        return Cell(f"{plain:,.0f}" if key == "n" else f"{plain:.3f}")
    return metric_cell(entry.get(key), notes, bar=key == "pointing_hit")


def _verdict(methods: Tree) -> tuple[str, bool]:
    """Return in words whether the best map points better than the mean mask does, and whether that is shown."""
    hits = {name: branch(entry, "pointing_hit") for name, entry in methods.items() if name not in BASELINES}
    values = {name: value for name, hit in hits.items() if (value := number(hit.get("value"))) is not None}
    mean = branch(methods, "mean_mask", "pointing_hit")
    mean_value, mean_high = number(mean.get("value")), number(mean.get("high"))
    if not values or mean_value is None:
        return "There is no mean-mask baseline to compare with, so these scores alone show little.", False
    best = max(values, key=lambda name: values[name])
    low = number(hits[best].get("low"))
    numbers = f"{best} hits the lesion in {values[best]:.0%} of images, the mean mask in {mean_value:.0%}"
    if values[best] <= mean_value:
        return (
            f"The heat maps do not beat the mean mask: {numbers}. They say no more than where lesions usually are.",
            False,
        )
    if low is not None and mean_high is not None and low > mean_high:
        return f"The heat maps beat the mean mask: {numbers}, and the intervals do not overlap.", True
    return (
        f"The heat maps are ahead of the mean mask, but the intervals overlap: {numbers}. This is not yet shown.",
        False,
    )
