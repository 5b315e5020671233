"""Heat maps against marked lesions, beside baselines that do not look: tables, an image, and yes or no.

Where there are few enough to look at, each marked lesion stands with its map: hit or miss.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from focusmap.basics import branch, items, number, text
from focusmap.figures import ScoreRow, score_figure
from focusmap.report import focus_section, page, performance_section
from focusmap.report.files import RunFiles, Tree
from focusmap.report.words import DASH, Cell, Footnotes, Table, Words, decimal, metric_cell, name_cell, signed, words_in

if TYPE_CHECKING:
    from matplotlib import figure


MOST = 30
MEAN_MASK = "mean_mask"


@dataclass(frozen=True)
class SingleMaps:
    """A row and an image for each marked lesion."""

    table: Table
    cards: Sequence[focus_section.MapCard]


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
    is_found = row["predicted"] == "True"
    return [
        name_cell(str(row["image_id"])),
        name_cell(str(row["target"])),
        Cell(f"{100 * float(str(row['chance'])):.2g} %"),
        Cell(words("page.yes" if is_found else "page.no")),
        Cell(_hit(row, words)),
        Cell(_decimal(row["auprc"]) if is_found else DASH),
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


def _card(files: RunFiles, row: Mapping[Hashable, object], words: Words) -> focus_section.MapCard | None:
    path = page.inside(files.folder, f"focus/{row['overlay']}")
    if path is None:
        return None
    facts = {"hit": _hit(row, words), "probability": float(str(row["probability"]))}
    heading = f"{row['image_id']} · {row['target']}"
    if "case_id" not in row:
        return focus_section.MapCard(page.image_uri(path), heading, words("singles.card", **facts))
    case = words("maps.case", name=row["case_id"])
    return focus_section.MapCard(page.image_uri(path), f"{case} · {heading}", words("singles.case_card", **facts))


BASELINES = ("mean_mask", "centre", "edges", "picture_only", "random")
COUNTS = ("n", "n_false_negative")
POINTS = ("auprc", "pointing_hit", "pointing_hit_of_positives", "chance", "rank_accuracy", "energy_pointing",
          "energy_ratio", *COUNTS)  # fmt: skip
REGIONS = ("iou_at_cut", "dice_at_cut", "iou", "dice", "miou", "iou_best", "dice_best")
IN_SHORT = ("auprc", "pointing_hit", "pointing_hit_of_positives", "chance", "iou_at_cut", "dice_at_cut", "iou", "dice",
            *COUNTS)  # fmt: skip
COMPARED = ("auprc", "pointing_hit", "pointing_hit_of_positives", "energy_pointing", "iou_at_cut", "dice_at_cut", "iou",
            "dice")  # fmt: skip
BY_SIZE = ("auprc", "pointing_hit")
DRAWN = ("auprc", "pointing_hit", "energy_pointing", "dice_at_cut", "dice")
AGAINST_CHANCE = ("auprc", "pointing_hit", "energy_pointing")
# What answers whether a map is above the mean mask, said before any map is seen.
DECIDES = "auprc"


@dataclass(frozen=True)
class LocalisationSection:
    """Heat maps against reference masks or boxes."""

    tables: Sequence[Table]
    figure: performance_section.Figure | None
    verdict: str
    beats_baseline: bool
    unmatched: str
    singles: SingleMaps | None


def localisation_section(files: RunFiles, words: Words) -> LocalisationSection | None:
    """Return the scores of the maps beside the baselines; None without ``scores.json``."""
    methods = branch(files.scores, "methods")
    if not methods:
        return None
    tables = [
        _score_table(words("localisation.points"), methods, POINTS, words),
        _score_table(words("localisation.regions"), methods, REGIONS, words),
        _difference_table(methods, words),
        _size_table(branch(files.scores, "by_size"), words),
    ]
    by_target = branch(files.scores, "by_target")
    if len(by_target) > 1:
        tables += [_score_table(name, branch(entry), IN_SHORT, words) for name, entry in by_target.items()]
    image = None
    if any(
        number(branch(entry, key).get("value")) is not None for entry in map(branch, methods.values()) for key in DRAWN
    ):
        uri = page.figure_uri(draw_scores(methods))
        image = performance_section.Figure(words("localisation.figure"), uri, words("localisation.figure_caption"))
    filled = [table for table in tables if table.rows]
    return LocalisationSection(
        filled, image, *_verdict(methods, words), _unmatched(files.scores, words), single_maps(files, words)
    )


def _unmatched(scores: Tree, words: Words) -> str:
    """Return which boxes are left out for want of a label, and which labels may be meant."""
    names = [text(name) for name in items(scores.get("boxes_unmatched"))]
    if not names:
        return ""
    unmatched = words("localisation.unmatched", names=words.listed(names, 8))
    nearest = list(dict.fromkeys(text(label) for label in branch(scores, "boxes_nearest").values()))
    if not nearest:
        return unmatched
    meant = words("localisation.meant", names=words.listed(nearest, 8))
    return words("page.sentences", first=unmatched, second=meant)


def maps_above_mean_mask(files: RunFiles, words: Words) -> bool | None:
    """Return whether the best map is shown to be above the mean mask; None where nothing was compared."""
    methods = branch(files.scores, "methods")
    compared = any(
        number(branch(entry, "minus_mean_mask", DECIDES).get("value")) is not None for entry in methods.values()
    )
    return _verdict(methods, words)[1] if compared else None


def draw_scores(methods: Tree) -> "figure.Figure":
    """Return the image of the scores of all methods and baselines, in English as all figures."""
    words = words_in("en")
    rows = [
        ScoreRow(words.name("baseline", name), branch(methods, name), name in BASELINES) for name in _ordered(methods)
    ]
    titles = {key: words.name("score", key) for key in DRAWN if any(key in row.scores for row in rows)}
    return score_figure(rows, titles, AGAINST_CHANCE)


def _ordered(methods: Tree) -> list[str]:
    return [name for name in methods if name not in BASELINES] + [name for name in BASELINES if name in methods]


def _score_table(caption: str, methods: Tree, columns: Sequence[str], words: Words) -> Table:
    """Return a row for each method and baseline; columns that none of them has are left out."""
    notes = Footnotes(words)
    keys = [key for key in columns if any(key in branch(entry) for entry in methods.values())]
    rows = []
    for name in _ordered(methods) if keys else []:
        small = words("localisation.baseline" if name in BASELINES else "localisation.map")
        cells = [_score_cell(branch(methods, name), key, notes) for key in keys]
        rows.append([name_cell(words.name("baseline", name), small), *cells])
    return Table(["", *(words.name("score", key) for key in keys)], rows, notes.lines(), caption)


def _score_cell(entry: Tree, key: str, notes: Footnotes) -> Cell:
    plain = number(entry.get(key))
    if plain is not None:
        return Cell(f"{plain:,.0f}" if key in COUNTS else f"{plain:.3f}")
    return metric_cell(entry.get(key), notes, bar=key in BY_SIZE)


def _difference_table(methods: Tree, words: Words) -> Table:
    gains = {name: branch(entry, "minus_mean_mask") for name, entry in methods.items()}
    keys = [key for key in COMPARED if any(key in gain for gain in gains.values())]
    small = words("localisation.minus")
    rows = [
        [name_cell(name, small), *(_difference_cell(branch(gain, key), words) for key in keys)]
        for name, gain in gains.items()
        if gain
    ]
    return Table(["", *(words.name("score", key) for key in keys)], rows, caption=words("localisation.above"))


def _difference_cell(metric: Tree, words: Words) -> Cell:
    value, low = number(metric.get("value")), number(metric.get("low"))
    if value is None:
        return Cell("")
    interval = _signed_interval(metric, words)
    if low is None:
        return Cell(signed(value), interval)
    return Cell(f"{signed(value)} {words('page.yes' if low > 0 else 'page.no')}", interval)


def _signed_interval(metric: Tree, words: Words) -> str:
    low, high = number(metric.get("low")), number(metric.get("high"))
    if low is None or high is None:
        return words("localisation.no_interval")
    return words("page.interval", low=signed(low), high=signed(high))


def _size_table(strata: Tree, words: Words) -> Table:
    notes, names = Footnotes(words), _ordered(branch(next(iter(strata.values()), None), "methods"))
    head = [_size_head(key, size, branch(stratum), words) for key in BY_SIZE for size, stratum in strata.items()]
    rows = []
    for name in names:
        entries = [branch(stratum, "methods", name) for stratum in strata.values()]
        cells = [metric_cell(entry.get(key), notes) for key in BY_SIZE for entry in entries]
        rows.append([name_cell(words.name("baseline", name)), *cells])
    return Table(["", *head], rows, notes.lines(), words("localisation.by_size"))


def _size_head(key: str, size: str, stratum: Tree, words: Words) -> str:
    low, high = (f"{100 * (number(stratum.get(end)) or 0):.2g} %" for end in ("from", "to"))
    shares = words("page.interval", low=low, high=high)
    return words("localisation.of_size", score=words.name("score", key), size=words.name("size", size), shares=shares)


def _verdict(methods: Tree, words: Words) -> tuple[str, bool]:
    """Return in words whether the best map is above the mean mask with an interval that excludes zero."""
    gains = {name: branch(entry, "minus_mean_mask", DECIDES) for name, entry in methods.items()}
    values: Mapping[str, float] = {
        name: value for name, gain in gains.items() if (value := number(gain.get("value"))) is not None
    }
    if not values:
        return words("localisation.no_baseline"), False
    best = max(values, key=lambda name: values[name])
    low, interval = number(gains[best].get("low")), _signed_interval(gains[best], words)
    score, gain = words.name("score", DECIDES), signed(values[best])
    numbers = words("localisation.gain", score=score, method=best, gain=gain, interval=interval)
    if values[best] <= 0:
        return words("localisation.not_better", numbers=numbers), False
    if low is not None and low > 0:
        return words("localisation.better", numbers=numbers), True
    return words("localisation.not_shown", numbers=numbers), False
