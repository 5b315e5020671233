"""What a setting is worth on few images: out-of-fold AUROC and accuracy of a prepared run with folds.

    focusmap prepare labels.csv --folds 5 --size 128 --out folds
    python benchmarks/low_data.py folds recipe.yaml [other.yaml ...]

Each net trains on all folds but one, without a tune part, and predicts that one. Images that the run leaves out, such
as an official test part, are never looked at. The mean logits of several recipes are scored too, as an ensemble.
The study has one target, binary or multiclass; recipes name model, size, weights and learning rate.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from focusmap.evaluation import (
    ID_COLUMNS,
    EvaluationOptions,
    Predictions,
    calibrated_probabilities,
    evaluate_predictions,
)
from focusmap.images import Store, open_store
from focusmap.nets import Architecture, build_net
from focusmap.study import Cohort, Recipe, Split, load_cohort, read_recipe, read_split
from focusmap.training import Labelled, TrainingData, fit
from focusmap.training.epoch import forward_store


def main() -> None:
    run, recipes = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    whole = load_cohort(run)
    split = read_split(run / "split.csv", whole)
    cohort = whole.of([image_id for k in range(split.n_folds) for image_id in split.ids(str(k))])
    store = open_store(next(path for path in (run / "store").iterdir() if path.is_dir()))
    found = []
    for path in recipes:
        found.append(out_of_fold(cohort, split, store, replace(read_recipe(path), channels=1)))
        print(path.name, score(cohort, found[-1]), flush=True)
    if len(found) > 1:
        print("mean of all", score(cohort, np.mean(found, axis=0)))


def out_of_fold(cohort: Cohort, split: Split, store: Store, recipe: Recipe) -> np.ndarray:
    """Return logits ``(N, L)``, each by the net that has not seen the image."""
    parts = np.array(split.of(cohort.image_ids))
    logits = np.empty((len(cohort), cohort.task.n_logits))
    for k in range(split.n_folds):
        held_out = cohort.take(np.flatnonzero(parts == str(k)).tolist())
        net = build_net(Architecture(recipe.model, 1, cohort.task.n_logits), recipe.weights, recipe.seed)
        train = labelled(cohort.take(np.flatnonzero(parts != str(k)).tolist()))
        nothing = Labelled((), np.empty((0, len(cohort.task.targets))))
        for _ in fit(net, TrainingData(store, cohort.task, train, nothing), recipe):
            pass
        logits[parts == str(k)] = forward_store(net, store, held_out.image_ids).double().numpy()
    return logits


def labelled(cohort: Cohort) -> Labelled:
    return Labelled(tuple(cohort.image_ids), cohort.truth)


def score(cohort: Cohort, logits: np.ndarray) -> str:
    ids = cohort.table[[name for name in ID_COLUMNS if name in cohort.table]].reset_index(drop=True)
    predictions = Predictions(cohort.task, ids, logits, calibrated_probabilities(cohort.task, logits, {}))
    metrics = evaluate_predictions(predictions, cohort.truth, EvaluationOptions())["targets"][cohort.task.names[0]]
    auroc, accuracy = metrics["auroc"], metrics["accuracy"]
    return f"AUROC {auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f}), accuracy {accuracy['value']:.3f}"


if __name__ == "__main__":
    main()
