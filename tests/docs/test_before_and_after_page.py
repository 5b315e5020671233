"""The page on visits before and after can be followed from the first line to the last."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from focusmap.cli import main
from support.pages import blocks, commands

PAGE = "docs/before-and-after.md"


@pytest.mark.slow
def test_the_page_can_be_followed(tmp_path, monkeypatch):
    generator, n = np.random.default_rng(0), 90
    monkeypatch.chdir(tmp_path)
    header = blocks(PAGE, "csv")[0].splitlines()[0].split(",")
    before = generator.uniform(200, 700, n).round()
    columns = {
        "eye_id": [f"{i}L" for i in range(n)],
        "patient_id": range(n),
        "age": generator.integers(40, 90, n),
        "diagnosis": generator.choice(["DME", "PCV", "CNVM"], n),
        "drug": generator.choice(["Avastin", "Eylea"], n),
        "preVA": generator.uniform(0.1, 1, n).round(2),
        "preCST": before,
        "continue_injection": generator.integers(0, 2, n),
    }
    table = pd.DataFrame(columns)
    table["VA"] = table["preVA"] + 0.1
    table["CST"] = before - 80 * (table["drug"] == "Eylea")
    table.loc[7, "preCST"] = np.nan
    table[header].to_csv("visits.csv", index=False)
    table[header[:7]].head(9).to_csv("new.csv", index=False)
    Path("form.csv").write_text("patient ID,VA,continue injection,CST\n")
    typed = commands(PAGE)
    assert [command[0] for command in typed] == ["run", "run", "compare", "predict"]
    for command in typed:
        assert main(command) == 0, command
    told = pd.read_csv("submission.csv")
    assert list(told) == ["patient ID", "VA", "continue injection", "CST"]
    assert told.isna().sum().tolist() == [0, 0, 0, 1]
    rows = json.loads(Path("comparison/compare.json").read_text())["differences"]
    (mae,) = [row["difference"] for row in rows if (row["target"], row["metric"]) == ("CST", "mae")]
    assert mae["high"] < 0, "trees that learn the change need not learn the value first"
