"""Images and table together against each alone, on planted eyes, by paired intervals; and with either link cut.

    python benchmarks/eyes_phantom.py --out DIR [--seed 0 --seed 1] [--model residual-cnn] [--fusion joint]

Each export is cut into its halves, so that a case has four views. Wanted: both differences above zero where images
and table tell; joint - table not above zero where what the images show has nothing to do with the targets, and
joint - image where what the table says has nothing to do with them: the same images, the same table, the same code.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

import focusmap
from focusmap.study import Augmentation, Declaration, Recipe, read_cohort

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.phantom_eyes import COVARIATES, EyeOptions, make_eyes, write_eyes

TARGETS = ("CST:continuous", "continue_injection", "relapse", "loss")
SAID = Declaration(targets=TARGETS, covariates=COVARIATES, case="eye_id", view="view", split="split")
# Shares of train, tune and test, by patient: a large test part for narrow intervals.
SHARES = (0.5, 0.15, 0.35)
RECIPE = Recipe(
    model="residual-cnn", size=48, channels=1, weights="none", epochs=30, learning_rate=3e-3, ema_decay=0.97,
    augmentation=Augmentation(mirror=True, rotate_degrees=0, scale=0),
)  # fmt: skip
TOGETHER = "joint"
SHOWN = {"mean": "auroc", "CST": "r2"}

Interval = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, action="append", help="repeat for several (default: 0)")
    parser.add_argument("--model", default=RECIPE.model)
    parser.add_argument("--fusion", default=RECIPE.fusion)
    parser.add_argument("--patients", type=int, default=EyeOptions.n_patients)
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parsed = parser.parse_args()
    recipe = replace(RECIPE, model=parsed.model, epochs=parsed.epochs, fusion=parsed.fusion)
    print("| seed | told by | difference | mean AUROC | R² of CST | seconds |")
    print("|---|---|---|---|---|---|")
    for seed in parsed.seed or [0]:
        options = EyeOptions(n_patients=parsed.patients, seed=seed)
        for told, cut, others in (
            ("both", options, ("image", "table")),
            ("the table alone", replace(options, images_tell=False), ("table",)),
            ("the images alone", replace(options, table_tells=False), ("image",)),
        ):
            started = time.monotonic()
            folder = parsed.out / f"{seed}-{told.replace(' ', '-')}"
            for other, found in differences(folder, cut, replace(recipe, seed=seed), others).items():
                seconds = time.monotonic() - started
                print(f"| {seed} | {told} | joint - {other} | {cells(found)} | {seconds:.0f} |", flush=True)


def differences(
    folder: Path, options: EyeOptions, recipe: Recipe, others: tuple[str, ...]
) -> dict[str, dict[str, Interval]]:
    """Return joint - other for each of `others`: the interval of each metric of `SHOWN`, by target."""
    labels = halves(folder, options)
    models = {TOGETHER: f"{recipe.model}+table", "image": recipe.model, "table": "table-net"}
    for name in (TOGETHER, *others):
        made = replace(recipe, model=models[name], learning_rate=0.0 if name == "table" else recipe.learning_rate)
        run_options = focusmap.RunOptions(recipe=made, store=folder / "store", workers=1, force=True)
        focusmap.train(read_cohort(labels, SAID), folder / name, run_options)
        focusmap.evaluate(folder / name)
    return {other: paired(folder / other, folder / TOGETHER) for other in others}


def paired(first: Path, second: Path) -> dict[str, Interval]:
    """Return second - first."""
    rows = cast(list[dict[str, object]], focusmap.compare([first, second])["differences"])
    found = {(row["target"], row["metric"]): cast(Interval, row["difference"]) for row in rows}
    return {target: found[target, metric] for target, metric in SHOWN.items()}


def halves(folder: Path, options: EyeOptions) -> Path:
    """Write the study, cut into its views and split by patient; return its label file."""
    labels = write_eyes(make_eyes(options), folder / "exports")
    cut = focusmap.convert(labels, folder / "study", focusmap.ConvertRequest(("left-half", "right-half")), force=True)
    table = pd.read_csv(cut.labels, dtype=str, keep_default_na=False)
    order = table["patient_id"].rank(method="dense").to_numpy() / options.n_patients
    part = np.select([order <= SHARES[0], order <= SHARES[0] + SHARES[1]], ["train", "tune"], "test")
    table.assign(split=part).to_csv(cut.labels, index=False)
    return Path(cut.labels)


def cells(found: dict[str, Interval]) -> str:
    return " | ".join(f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})" for one in found.values())


if __name__ == "__main__":
    main()
