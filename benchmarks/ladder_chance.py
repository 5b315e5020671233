"""Does the ladder learn from nothing, or promise more than it keeps? Whole runs, each with a split of its own.

    python benchmarks/ladder_chance.py LABELS.csv OUT --target label --patient patient_id [--shuffled] [--images 200]

*Shuffled labels*: patients exchange their labels before the run; every rung's AUROC on test must be one half.
*Optimism*: the score on the tuning set, by which the ladder chooses, less that on test, of each rung and of the chosen
one. One target of classes. A run's folder is deleted once it is read; a second call goes on with the missing seeds.
"""

import argparse
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from focusmap.fitting.suitability import baseline_of
from focusmap.study import Run, read_recipe

Scores = dict[str, tuple[float, float]]
"""Of each rung, and of the chosen one: its score on the tuning set, and on test."""
CHOSEN, SIMPLE = "chosen", "simple"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--patient", required=True)
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--images", type=int, help="about as many, of whole patients drawn by lot (default: all)")
    parser.add_argument("--budget", type=float, default=4, help="minutes of each run")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    asked = parser.parse_args()
    # The first prepares the images that all share.
    found = [scores_of(asked, 0)]
    with ThreadPoolExecutor(asked.jobs) as pool:
        found += pool.map(lambda seed: scores_of(asked, seed), range(1, asked.repeats))
    for name in sorted({name for scores in found for name in scores}):
        both = np.array([scores[name] for scores in found if name in scores])
        kinds = ("tuning", both[:, 0]), ("test", both[:, 1]), ("tuning less test", both[:, 0] - both[:, 1])
        print(f"{name}, {len(both)} runs: " + ", ".join(f"{kind} {in_words(values)}" for kind, values in kinds))


def in_words(values: np.ndarray) -> str:
    """Return the mean and its standard error over runs."""
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{values.mean():.3f} (s.e. {error:.3f})"


def scores_of(asked: argparse.Namespace, seed: int) -> Scores:
    """Return the AUROC of every rung of one run; it is run unless its scores lie in the folder."""
    kept, run = asked.out / f"{seed}.json", asked.out / str(seed)
    if not kept.is_file():
        shutil.rmtree(run, ignore_errors=True)
        asked.out.mkdir(parents=True, exist_ok=True)
        labels = asked.out / f"{seed}.csv"
        table(asked, seed).to_csv(labels, index=False)
        subprocess.run(
            [
                sys.executable, "-m", "focusmap", "run", str(labels), "--images", str(asked.labels.parent),
                "--target", asked.target, "--patient", asked.patient, "--seed", str(seed),
                "--budget", str(asked.budget), "--out", str(run),
                *([] if asked.images else ["--store", str(asked.out / "store")]),
            ],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        kept.write_text(json.dumps(read_scores(run, asked.target)))
        shutil.rmtree(run)
    scores: Scores = json.loads(kept.read_text())
    print(seed, {name: [round(value, 3) for value in pair] for name, pair in scores.items()}, flush=True)
    return scores


def table(asked: argparse.Namespace, seed: int) -> pd.DataFrame:
    """Return the rows of a run: of all patients or some, with their own labels or another patient's."""
    rows, rng = pd.read_csv(asked.labels), np.random.default_rng(seed)
    patients = rng.permutation(rows[asked.patient].unique())
    if asked.images:
        n_images = rows[asked.patient].value_counts()[patients].cumsum()
        rows = rows[rows[asked.patient].isin(n_images.index[n_images <= asked.images])]
    if asked.shuffled:
        first = rows.groupby(asked.patient)[asked.target].first()
        exchanged = dict(zip(first.index, rng.permutation(first.to_numpy()), strict=True))
        rows = rows.assign(**{asked.target: rows[asked.patient].map(exchanged)})
    # No other column: what else is known of an image might tell its label.
    return rows[["path", asked.patient, asked.target]]


def read_scores(run: Path, target: str) -> Scores:
    """Return what a finished run says of its rungs."""
    ladder, simple = read(run / "ladder.json"), baseline_of(read_recipe(Run(run).recipe))
    inner = {rung["name"]: rung["inner"]["score"] for rung in ladder["rungs"]}
    on_test = {ladder["chosen"]: read(run / "evaluation" / "metrics.json")}
    for one in read(run / "evaluation" / "baselines.json")["baselines"]:
        if one["is_rung"] or one["name"] == simple:
            on_test[one["name"] if one["is_rung"] else SIMPLE] = one["metrics"]
    auroc = {name: metrics["targets"][target]["auroc"]["value"] for name, metrics in on_test.items()}
    scores = {name: (inner[name], auroc[name]) for name in inner if name in auroc}
    return {**scores, CHOSEN: scores[ladder["chosen"]]}


def read(file: Path) -> Any:
    return json.loads(file.read_text())


if __name__ == "__main__":
    main()
