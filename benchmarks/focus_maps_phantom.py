"""Focus maps on planted lesions, learnt from image labels alone: hit rate, Dice at the frozen cut, and pixel AUPRC.

    python benchmarks/focus_maps_phantom.py [--model small-residual-fpn] [--size 48] [--epochs 20] [--shuffled]

Wanted: hit rate at least 0.95, Dice at least 0.6, and the mean training mask beaten by 0.2 in pixel AUPRC. Scored are
true positives of the test part; what the net missed is counted. With --shuffled the labels have nothing to do with
the pictures, and the maps must lose what they have learnt.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap import pipeline
from focusmap.cohort.cohort import load_cohort, read_cohort
from focusmap.cohort.split import read_split
from focusmap.localisation import Reference, mean_mask
from focusmap.localisation.baselines import resized
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.pipeline.whole import DEMO_RECIPE
from focusmap.statistics.intervals import bootstrap
from focusmap.statistics.ranking import average_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="repeat for several (default: FPN and PAN)")
    parser.add_argument("--pooling", default="auto")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shuffled", action="store_true")
    parsed = parser.parse_args()
    print("| model | finding | n (missed) | hit rate | Dice at the cut | AUPRC | mean mask | difference (95 %) |")
    print("|---|---|---|---|---|---|---|---|")
    for model in parsed.model or ["small-residual-fpn", "small-residual-pan"]:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            run = trained(parsed, model, Path(folder))
            seconds = time.monotonic() - started
            for row in rows_of(run):
                print(f"| {model} | {row} |")
            cuts = json.loads((run.model / "model.json").read_text())["cuts"]
            print(f"\n{model}: {seconds:.0f} s; cuts: {json.dumps(cuts)}\n", flush=True)


def trained(parsed: argparse.Namespace, model: str, folder: Path) -> pipeline.Run:
    options = PhantomOptions(size=parsed.size, seed=parsed.seed, shuffle_labels=parsed.shuffled)
    labels = write_phantom(make_phantom(options), folder / "study")
    recipe = replace(DEMO_RECIPE, model=model, epochs=parsed.epochs, seed=parsed.seed, pooling=parsed.pooling)
    return pipeline.run(read_cohort(labels), folder / "run", pipeline.RunOptions(recipe=recipe))


def rows_of(run: pipeline.Run) -> Iterator[str]:
    """Yield a row of the table for each finding, and one for all."""
    scores, areas = json.loads((run.focus / "scores.json").read_text()), areas_of(run)
    for name, entry in [*scores["by_target"].items(), ("all", scores["methods"])]:
        focus = entry["focus"]
        part = areas if name == "all" else areas[areas["target"] == name]
        difference = interval(part["focus"] - part["mean_mask"], part["patient_id"])
        means = [shown(focus[key]) for key in ("pointing_hit", "dice_at_cut")]
        means += [f"{part[key].mean():.3f}" for key in ("focus", "mean_mask")]
        yield " | ".join([name, f"{focus['n']} ({focus['n_false_negative']})", *means, difference])


def areas_of(run: pipeline.Run) -> pd.DataFrame:
    """Return the pixel AUPRC of the focus map and of the mean training mask, one row a true positive of test."""
    cohort, index = load_cohort(run.folder), pd.read_csv(run.focus / "index.csv")
    train = Reference(cohort.of(read_split(run.split, cohort).ids("train")))
    reference, rows = Reference(cohort), []
    means = {label: mean_mask(train.masks_of(label)) for label in cohort.task.label_names}
    for row in index[index["predicted"]].to_dict("records"):
        position, label = cohort.positions[row["image_id"]], row["target"]
        heat_map = np.load(run.focus / row["map"])["map"]
        mask = reference.mask(row["image_id"], label, heat_map.shape)
        if cohort.truth[position, cohort.task.label_names.index(label)] == 1 and mask is not None and mask.any():
            baseline = resized(means[label], heat_map.shape)
            pair = (average_precision(mask.ravel().astype(float), values.ravel()) for values in (heat_map, baseline))
            rows.append((label, str(cohort.patient_ids[position]), *pair))
    return pd.DataFrame(rows, columns=["target", "patient_id", "focus", "mean_mask"])


def interval(values: pd.Series, patients: pd.Series) -> str:
    x = values.to_numpy(dtype=np.float64)
    found = bootstrap(lambda w: x @ w / w.sum(axis=0), patients.to_numpy(dtype=str))
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def shown(entry: dict[str, float]) -> str:
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


if __name__ == "__main__":
    main()
