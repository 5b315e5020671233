"""The model: what it is called and why it is this one, what the simplest answers reach, and what it goes by.

The rungs of the ladder stand on the tuning set, the simplest answers on the same images as the model. Of a table each
covariate stands with its values on train and its worth; of a model of cases the image that decided each case.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import pandas as pd

from focusmap.basics import Json, branch, items, number, text
from focusmap.evaluation import COMPARED_BY, LESS_IS_BETTER
from focusmap.report.files import RunFiles, Tree, trained_rung
from focusmap.report.words import (
    DASH,
    Cell,
    Footnotes,
    Table,
    Words,
    decimal,
    metric_cell,
    name_cell,
    signed,
    signed_cell,
)
from focusmap.study import Covariate, Covariates


def called(files: RunFiles, words: Words) -> str:
    """Return what the run's model is, for a reader: of a mean of several kinds, of what; empty without a card."""
    if files.card is None:
        return ""
    of = files.card.architecture.get("of")
    if not isinstance(of, list):
        return text(files.card.architecture.get("model"))
    return words("model.average", names=words.listed([str(name) for name in of], 5))


def why_this_model(files: RunFiles, words: Words) -> list[str]:
    """Return sentences: which rung was chosen why, what it started from, and whose settings are shown."""
    if not files.ladder:
        return []
    chosen = text(files.ladder.get("chosen"))
    sentences = [words("ladder.why", model=words.name("rung", chosen), reason=words.reason(files.ladder))]
    if files.card is not None and (start := words.reason(files.card.training, "start_reason")):
        sentences.append(words("ladder.weights", start=start))
    if (mirror := cast(Mapping[str, Json], files.ladder.get("mirror") or {})).get("reason"):
        why = words.name("mirror", text(mirror["reason"]))
        sentences.append(words("ladder.mirrored" if mirror["mirrored"] else "ladder.not_mirrored", why=why))
    if "told_apart" in mirror:
        shares = {key: f"{100 * cast(float, mirror[key]):.0f} %" for key in ("told_apart", "high")}
        sentences.append(words("ladder.sides", n=mirror["n_images"], **shares))
    return [*sentences, words("ladder.recipe", name=words.name("rung", trained_rung(files.ladder)))]


def ladder_table(files: RunFiles, words: Words) -> Table | None:
    """Return a row per rung, the simplest first; None of a run whose model was named."""
    if not files.ladder:
        return None
    rows = [_row(rung, words) for rung in cast(list[Mapping[str, Json]], files.ladder["rungs"])]
    keys = ("rung", "score", "log_loss", "seconds")
    caption = words("ladder.caption", minutes=f"{cast(float, files.ladder['budget_minutes']):g}")
    return Table([words(f"ladder.{key}") for key in keys], rows, caption=caption)


def _row(rung: Mapping[str, Json], words: Words) -> list[Cell]:
    inner = cast(Mapping[str, float | None], rung["inner"])
    chosen = words("ladder.chosen") if rung["chosen"] else ""
    numbers = [DASH if value is None else decimal(value) for value in (inner["score"], inner["log_loss"])]
    seconds = f"{cast(float, rung['seconds']):.0f}"
    return [name_cell(words.name("rung", str(rung["name"])), chosen), *map(Cell, numbers), Cell(seconds)]


def baseline_tables(files: RunFiles, words: Words, *, of_rungs: bool = False) -> list[Table]:
    """Return a table for each kind of target, a row per target; empty where none was evaluated.

    Beside the model stand the baselines or, `of_rungs`, the rungs of its ladder that were not chosen.
    """
    entries = [entry for entry in _entries(files) if bool(entry.get("is_rung")) is of_rungs]
    kinds: dict[str, list[str]] = {}
    for name, value in branch(files.metrics, "targets").items():
        kinds.setdefault(text(branch(value).get("kind")), []).append(name)
    return [
        _table(kind, names, files, entries, words) for kind, names in kinds.items() if entries and kind in COMPARED_BY
    ]


def bettered_by(files: RunFiles, words: Words) -> list[str]:
    """Return each target with the simpler answer whose paired interval says that it is better than the model's."""
    bettered = []
    for entry in _entries(files):
        if entry.get("is_rung"):
            continue
        for target, value in branch(files.metrics, "targets").items():
            metric = COMPARED_BY.get(text(branch(value).get("kind")), "")
            difference = branch(branch(entry, "difference", "targets", target).get(metric))
            low, high = number(difference.get("low")), number(difference.get("high"))
            if low is not None and high is not None and (low > 0 if metric in LESS_IS_BETTER else high < 0):
                bettered.append(words("simpler.better", target=target, answer=_called(entry, words)))
    return bettered


def _entries(files: RunFiles) -> list[Tree]:
    return baselines_of(files.baselines)


def baselines_of(tree: Tree) -> list[Tree]:
    """Return the entries of a ``baselines.json``."""
    return [branch(entry) for entry in items(tree.get("baselines"))]


def _called(entry: Tree, words: Words) -> str:
    name = text(entry.get("name"))
    known = words.tables["rung"] if entry.get("is_rung") else words.tables["answer"]
    return known.get(name, name)


def _table(kind: str, names: Sequence[str], files: RunFiles, entries: Sequence[Tree], words: Words) -> Table:
    """Return a row per target: the first metric of the model, and of each other with the difference under it."""
    notes, key = Footnotes(words), COMPARED_BY[kind]
    own = called(files, words) or words("simpler.model")
    rows: list[list[Cell]] = []
    for name in names:
        cell = metric_cell(branch(files.metrics, "targets", name).get(key), notes)
        rows.append([name_cell(name), cell, *(_rival_cell(name, key, entry, notes) for entry in entries)])
    metric = words.name("metric", key)
    caption = words("simpler.of_kind", kind=words.name("kind", kind), metric=metric)
    return Table(["", own, *(_called(entry, words) for entry in entries)], rows, notes.lines(), caption)


def _rival_cell(target: str, key: str, entry: Tree, notes: Footnotes) -> Cell:
    """Return the value of a simpler model, and under it by how much this model betters it."""
    words, value = notes.words, number(branch(entry, "metrics", "targets", target, key).get("value"))
    if value is None:
        return Cell(DASH)
    without = number(branch(entry, "without_earlier_value").get(target))
    small = [words.plural("simpler.without", int(without))] if without else []
    difference = branch(entry, "difference", "targets", target, key)
    ends = [number(difference.get(end)) for end in ("value", "low", "high")]
    if all(end is not None for end in ends):
        value_of, low, high = (signed(end) for end in ends if end is not None)
        small.insert(0, words("simpler.difference", value=value_of, low=low, high=high))
    return Cell(decimal(value), " · ".join(small))


SHOWN_LEVELS = 12


def covariate_table(files: RunFiles, words: Words) -> Table | None:
    """Return one row per covariate, of a run with folds those of the first; None where the model takes none."""
    if files.card is None or not files.card.covariates:
        return None
    rows = [
        [
            name_cell(column.name),
            name_cell(words.name("covariate_kind", column.kind)),
            name_cell(_values(column, words)),
            Cell(words("page.yes") if column.has_gaps else DASH),
        ]
        for column in Covariates.from_list(files.card.covariates).columns
    ]
    head = [words(f"model.{key}") for key in ("covariate", "read_as", "train_values", "gaps")]
    return Table(head, rows, caption=words("model.covariates"))


def importance_table(files: RunFiles, words: Words) -> Table | None:
    """Return one row per covariate: what each target's first metric loses when its cells are shuffled; None without."""
    return _worth_table(files, files.importance, words("model.importance"), words)


def sides_table(files: RunFiles, words: Words) -> Table | None:
    """Return one row a side of a model of cases: what is lost without it, as `importance_table`; None without."""
    named = {_side(name, words): losses for name, losses in files.sides.items()}
    return _worth_table(files, named, words("model.sides"), words)


def _side(name: str, words: Words) -> str:
    if name.startswith("view="):
        return words("model.side_view", view=name.removeprefix("view="))
    return words("model.side_images") if name == "pictures" else words("model.side_table")


def _worth_table(files: RunFiles, named: Mapping[str, Json], caption: str, words: Words) -> Table | None:
    if not named:
        return None
    notes, leads = Footnotes(words), {t.name: COMPARED_BY[t.kind] for t in files.task.targets}
    rows = [
        [name_cell(name), *(signed_cell(branch(losses, target).get(key), notes) for target, key in leads.items())]
        for name, losses in ((name, branch(value)) for name, value in named.items())
    ]
    head = ["", *(f"{target}: {words.name('metric', key)}" for target, key in leads.items())]
    return Table(head, rows, notes.lines(), caption)


def _values(column: Covariate, words: Words) -> str:
    if not column.column_names:
        return words("model.constant")
    if column.kind == "date":
        return words("page.interval", low=_day(column.low), high=_day(column.high))
    if column.kind == "numeric":
        return words("page.interval", low=f"{column.low:g}", high=f"{column.high:g}")
    return words.listed(column.levels, SHOWN_LEVELS)


def _day(days: float) -> str:
    from datetime import date, timedelta

    return (date(1970, 1, 1) + timedelta(days=days)).isoformat()


SHOWN = 12
# Below this, weights differ by rounding alone.
LEAST_EXCESS = 0.005


def attention_table(files: RunFiles, words: Words) -> Table | None:
    """Return a row per test case: its heaviest image of a view; None where no image outweighs an even share."""
    if files.attention is None or files.attention.empty:
        return None
    weights = heaviest(files.attention)
    if weights.empty:
        return None
    rows = [
        [
            name_cell(row["case_id"]),
            name_cell(row["view"]),
            name_cell(row["image_id"]),
            Cell(words.share(row["attention"], 1)),
            Cell(words.share(row["even"], 1)),
        ]
        for row in weights.head(SHOWN).to_dict("records")
    ]
    head = [words(f"model.{key}") for key in ("case", "view", "picture", "weight", "even")]
    return Table(head, rows, caption=words("model.attention", file="predictions/attention.csv"))


def heaviest(attention: pd.DataFrame) -> pd.DataFrame:
    """Return the heaviest image of each case and view that outweighs an even share, the strongest excess first.

    >>> table = pd.DataFrame({"case_id": "a", "view": "", "image_id": ["x", "y"], "attention": ["0.9", "0.1"]})
    >>> heaviest(table)[["image_id", "attention", "even"]].to_numpy().tolist()
    [['x', 0.9, 0.5]]
    """
    table = attention.assign(attention=attention["attention"].astype(float))
    groups = table.groupby(["case_id", "view"], sort=False)["attention"]
    table = table.assign(even=1 / groups.transform("size"))
    best = table.loc[groups.idxmax()]
    excess = (best["attention"] - best["even"]).sort_values(ascending=False, kind="stable")
    return best.loc[excess[excess > LEAST_EXCESS].index]
