"""Heat maps against marked lesions, beside baselines that do not look: tables, a picture, and yes or no."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from focusmap.figures.json_tree import branch, number
from focusmap.figures.score_bars import ScoreRow, score_figure
from focusmap.reporting.files import RunFiles, Tree
from focusmap.reporting.performance_section import Figure
from focusmap.reporting.pictures import figure_uri
from focusmap.reporting.tables import Cell, Footnotes, Table, metric_cell, name_cell

if TYPE_CHECKING:
    from matplotlib import figure

BASELINES = {
    "mean_mask": "mean mask of the other images", "centre": "centre of the image", "edges": "edges of the image",
    "random": "random map",
}  # fmt: skip
SCORES = {
    "auprc": "Pixel AUPRC", "pointing_hit": "Pointing game", "pointing_hit_of_positives": "with missed images",
    "chance": "Chance", "rank_accuracy": "Rank accuracy", "energy_pointing": "Energy inside",
    "energy_ratio": "Energy over chance", "iou_at_cut": "IoU, frozen cut", "dice_at_cut": "Dice, frozen cut",
    "iou": "IoU, Otsu", "dice": "Dice, Otsu", "miou": "Mean IoU (CheXlocalize)", "iou_best": "IoU, best cut (oracle)",
    "dice_best": "Dice, best cut (oracle)", "n": "Images", "n_false_negative": "Missed",
}  # fmt: skip
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
CAPTION = "Bars: mean over true positives with its 95 % interval; grey: baselines. The dashed line is chance."


@dataclass(frozen=True)
class LocalisationSection:
    """Heat maps against reference masks or boxes."""

    tables: Sequence[Table]
    figure: Figure
    verdict: str
    beats_baseline: bool


def localisation_section(files: RunFiles) -> LocalisationSection | None:
    """Return the scores of the maps beside the baselines; None without ``scores.json``."""
    methods = branch(files.scores, "methods")
    if not methods:
        return None
    tables = [
        _score_table("All labels: where the map points", methods, POINTS),
        _score_table("All labels: the region of the map", methods, REGIONS),
        _difference_table(methods),
        _size_table(branch(files.scores, "by_size")),
    ]
    by_target = branch(files.scores, "by_target")
    if len(by_target) > 1:
        tables += [_score_table(name, branch(entry), IN_SHORT) for name, entry in by_target.items()]
    picture = Figure("Maps against marked lesions", figure_uri(draw_scores(methods)), CAPTION)
    return LocalisationSection([table for table in tables if table.rows], picture, *_verdict(methods))


def draw_scores(methods: Tree) -> "figure.Figure":
    """Return the picture of the scores of all methods and baselines."""
    rows = [ScoreRow(BASELINES.get(name, name), branch(methods, name), name in BASELINES) for name in _ordered(methods)]
    titles = {key: SCORES[key] for key in DRAWN if any(key in row.scores for row in rows)}
    return score_figure(rows, titles, AGAINST_CHANCE)


def _ordered(methods: Tree) -> list[str]:
    return [name for name in methods if name not in BASELINES] + [name for name in BASELINES if name in methods]


def _score_table(caption: str, methods: Tree, columns: Sequence[str]) -> Table:
    """Return a row for each method and baseline; columns that none of them has are left out."""
    notes = Footnotes()
    keys = [key for key in columns if any(key in branch(entry) for entry in methods.values())]
    rows = []
    for name in _ordered(methods) if keys else []:
        entry, small = branch(methods, name), "baseline" if name in BASELINES else "heat map"
        cells = [_score_cell(entry, key, notes) for key in keys]
        rows.append([name_cell(BASELINES.get(name, name), small), *cells])
    return Table(["", *(SCORES[key] for key in keys)], rows, notes.lines(), caption)


def _score_cell(entry: Tree, key: str, notes: Footnotes) -> Cell:
    plain = number(entry.get(key))
    if plain is not None:
        return Cell(f"{plain:,.0f}" if key in COUNTS else f"{plain:.3f}")
    return metric_cell(entry.get(key), notes, bar=key in BY_SIZE)


def _difference_table(methods: Tree) -> Table:
    gains = {name: branch(entry, "minus_mean_mask") for name, entry in methods.items()}
    keys = [key for key in COMPARED if any(key in gain for gain in gains.values())]
    rows = [
        [name_cell(name, "minus mean mask"), *(_difference_cell(branch(gain, key)) for key in keys)]
        for name, gain in gains.items()
        if gain
    ]
    return Table(["", *(SCORES[key] for key in keys)], rows, caption="Above the mean mask, image by image?")


def _difference_cell(metric: Tree) -> Cell:
    value, low, high = (number(metric.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return Cell("")
    if low is None or high is None:
        return Cell(_signed(value), "no interval")
    return Cell(f"{_signed(value)} {'yes' if low > 0 else 'no'}", f"{_signed(low)} to {_signed(high)}")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _size_table(strata: Tree) -> Table:
    notes, names = Footnotes(), _ordered(branch(next(iter(strata.values()), None), "methods"))
    head = [
        f"{SCORES[key]}, {size} ({_percent(branch(stratum), 'from')} to {_percent(branch(stratum), 'to')})"
        for key in BY_SIZE
        for size, stratum in strata.items()
    ]
    rows = []
    for name in names:
        entries = [branch(stratum, "methods", name) for stratum in strata.values()]
        cells = [metric_cell(entry.get(key), notes) for key in BY_SIZE for entry in entries]
        rows.append([name_cell(BASELINES.get(name, name)), *cells])
    return Table(["", *head], rows, notes.lines(), "By the size of the lesion, its share of the image")


def _percent(stratum: Tree, key: str) -> str:
    return f"{100 * (number(stratum.get(key)) or 0):.2g} %"


def _verdict(methods: Tree) -> tuple[str, bool]:
    """Return in words whether the best map is above the mean mask with an interval that excludes zero."""
    gains = {name: branch(entry, "minus_mean_mask", DECIDES) for name, entry in methods.items()}
    values: Mapping[str, float] = {
        name: value for name, gain in gains.items() if (value := number(gain.get("value"))) is not None
    }
    if not values:
        return "There is no mean-mask baseline to compare with, so these scores alone show little.", False
    best = max(values, key=lambda name: values[name])
    low, high = (number(gains[best].get(key)) for key in ("low", "high"))
    interval = f"{_signed(low)} to {_signed(high)}" if low is not None and high is not None else "no interval"
    numbers = f"{SCORES[DECIDES]} of {best} minus that of the mean mask: {_signed(values[best])} ({interval})"
    if values[best] <= 0:
        return (
            f"No: the heat maps do not beat the mean mask. {numbers}. They say no more than where lesions usually are.",
            False,
        )
    if low is not None and low > 0:
        return f"Yes: the heat maps beat the mean mask. {numbers}; the interval excludes zero.", True
    return f"No: that the heat maps are above the mean mask is not yet shown. {numbers}.", False
