"""Which image of a case decided: what a model of cases gave the most weight."""

import pandas as pd

from focusmap.report.files import RunFiles
from focusmap.report.tables import Cell, Table, name_cell
from focusmap.report.words import Words

SHOWN = 12
# Below this, weights differ by rounding alone.
LEAST_EXCESS = 0.005


def attention_table(files: RunFiles, words: Words) -> Table | None:
    """Return a row per test case: its heaviest image of a view; None where no image outweighs an even share."""
    if files.attention is None or files.attention.empty:
        return None
    found = heaviest(files.attention)
    if found.empty:
        return None
    rows = [
        [
            name_cell(row["case_id"]),
            name_cell(row["view"]),
            name_cell(row["image_id"]),
            Cell(words.share(row["attention"], 1)),
            Cell(words.share(row["even"], 1)),
        ]
        for row in found.head(SHOWN).to_dict("records")
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
