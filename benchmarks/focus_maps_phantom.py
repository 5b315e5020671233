"""Focus maps on planted lesions, learnt from image labels alone: hit rate, Dice at the frozen threshold, and pixel
AUPRC.

    python benchmarks/focus_maps_phantom.py --out DIR [--model small-residual-fpn] [--seed 1] [--size 48] [--epochs 20]

Wanted: hit rate at least 0.95, Dice at least 0.6, and the mean training mask beaten by 0.2 in pixel AUPRC. Scored are
true positives of the test part; what the net missed is counted.

A twin learns the same images, split alike, from labels that were dealt out anew. All marked lesions of the test part,
found or not, are scored by both nets' maps, and the difference in pixel AUPRC should be above zero. Randomisation: maps
of a net with random weights should be no more like the trained net's than maps of different images are (0.05 more at
most), and maps that are not, edges and guided backpropagation, should be found out.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import focusmap
from focusmap import ExplainRequest, TrustRequest
from focusmap.api.workflow import DEMO_RECIPE
from focusmap.evaluation import MapOnMask, reference_of
from focusmap.evaluation.localisation.measures import pixel_auprc
from focusmap.faithfulness.plan import Subject, method_maps, panel_of
from focusmap.heatmaps import Item
from focusmap.models import load_run_model
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.statistics import bootstrap
from focusmap.study import Cohort, Declaration, Run, load_cohort, read_cohort, read_split

TRUSTED = ("focus", "guided-backprop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", action="append", help="repeat for several (default: FPN and PAN)")
    parser.add_argument("--seed", type=int, action="append", help="repeat for several (default: 0)")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=20)
    parsed = parser.parse_args()
    print(
        "| seed | model | finding | n (missed) | hit rate | Dice at threshold | AUPRC | mean mask | difference (95 %) |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in parsed.seed or [0]:
        for model in parsed.model or ["small-residual-fpn", "small-residual-pan"]:
            show(Trial(parsed.out / f"{model}-{seed}", model, seed, parsed.size, parsed.epochs))


class Trial:
    """One seed and one model: a run, and its twin with shuffled labels."""

    def __init__(self, folder: Path, model: str, seed: int, size: int, epochs: int) -> None:
        self.folder, self.model = folder, model
        self.phantom = PhantomOptions(size=size, seed=seed)
        self.recipe = replace(DEMO_RECIPE, model=model, epochs=epochs, seed=seed)

    def train(self) -> Run:
        labels = write_phantom(make_phantom(self.phantom), self.folder / "study")
        return focusmap.run(read_cohort(labels), self.folder / "run", focusmap.RunOptions(recipe=self.recipe))

    def train_twin(self, run: Run) -> Run:
        labels = write_phantom(make_phantom(replace(self.phantom, shuffle_labels=True)), self.folder / "shuffled")
        parts = read_split(run.split, load_cohort(run.folder)).table["split"]
        pd.read_csv(labels).assign(split=list(parts)).to_csv(labels, index=False)
        cohort = read_cohort(labels, Declaration(split="split"))
        return focusmap.train(cohort, self.folder / "twin", focusmap.RunOptions(recipe=self.recipe))


def show(trial: Trial) -> None:
    started = time.monotonic()
    run = trial.train()
    for row in rows_of(run):
        print(f"| {trial.recipe.seed} | {trial.model} | {row} |")
    thresholds = json.loads((run.model / "model.json").read_text())["cuts"]
    twin = trial.train_twin(run)
    gain = bootstrap_of(run, twin)
    print(f"\n{trial.model}, seed {trial.recipe.seed}: thresholds {json.dumps(thresholds)}")
    print(f"AUPRC over all marked lesions, real minus shuffled labels: {shown(gain)}")
    trust = focusmap.explain(run.folder, ExplainRequest(trust=TrustRequest(TRUSTED, 32, shuffled=twin.folder))).trust
    for name, verdicts in {**trust["methods"], **trust["controls"]}.items():
        forgets = verdicts["randomisation"]
        print(f"{name}: {json.dumps({key: forgets[key] for key in forgets if key != 'steps'})}")
        print(f"   all layers random: {json.dumps(forgets['steps'][-1])}")
        print(f"   labels random: {json.dumps(verdicts['label-randomisation'])}")
    print(f"{time.monotonic() - started:.0f} s\n", flush=True)


def rows_of(run: Run) -> Iterator[str]:
    """Yield a row of the table for each finding, and one for all."""
    scores = json.loads((run.focus / "scores.json").read_text())
    for name, methods in [*scores["by_target"].items(), ("all", scores["methods"])]:
        focus = methods["focus"]
        measured = [focus["pointing_hit"], focus["dice_at_cut"], focus["auprc"], methods["mean_mask"]["auprc"]]
        cells = [shown(entry) for entry in [*measured, focus["minus_mean_mask"]["auprc"]]]
        yield " | ".join([name, f"{focus['n']} ({focus['n_false_negative']})", *cells])


def bootstrap_of(run: Run, twin: Run) -> dict[str, float | None]:
    """Return the mean over marked lesions of the difference in pixel AUPRC, clustered by patient."""
    whole = load_cohort(run.folder)
    cohort = whole.of(read_split(run.split, whole).ids("test"))
    subjects = marked(cohort)
    gains = auprc(run, subjects, cohort) - auprc(twin, subjects, cohort)
    owners = [subject.patient_id for subject in subjects]
    return bootstrap(lambda weights: gains @ weights / weights.sum(axis=0), owners).to_dict()


def marked(cohort: Cohort) -> list[Subject]:
    truth = cohort.task.label_truth(cohort.truth)
    rows = [(i, label) for k, label in enumerate(cohort.task.label_names) for i in np.flatnonzero(truth[:, k] >= 0.5)]
    table = cohort.table
    items = [Item(*row) for row in zip(table["image_id"], table["path"], cohort.files, strict=True)]
    return [Subject(items[i], str(cohort.patient_ids[i]), label, predicted=True) for i, label in rows]


def auprc(run: Run, subjects: list[Subject], cohort: Cohort) -> np.ndarray:
    maps = method_maps("focus")(panel_of(load_run_model(run.folder, "auto"), subjects)).numpy()
    reference = reference_of(cohort)
    masks = [reference.mask(one.item.image_id, one.label, maps.shape[1:]) for one in subjects]
    return np.array([pixel_auprc(MapOnMask.of(m, mask)) for m, mask in zip(maps, masks, strict=True)])


def shown(entry: dict[str, float | None]) -> str:
    if entry["low"] is None:
        return f"{entry['value']:.3f}" if entry["value"] is not None else "-"
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


if __name__ == "__main__":
    main()
