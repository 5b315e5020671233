"""Does the probe learn from nothing, or promise more than it keeps? Two questions on the frozen features of a run.

``python benchmarks/probe_chance.py RUN --repeats 20``: RUN is a finished run of the ladder on one target of classes,
whose store holds the features of its images. *Shuffled labels*: patients exchange their labels, the probe is fitted to
four fifths of the patients and asked about the rest; the mean AUROC must be one half. *Optimism*: the same without
shuffling; the loss that chose how strongly the regression is held back, on inner folds, stands beside that on the rest.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from focusmap.fitting.probe import fit_head, held_out_losses, inner_folds
from focusmap.study import Cohort, load_cohort

FIFTH = 5


def features_of(run: Path, cohort: Cohort) -> np.ndarray:
    """Return the features ``(N, D)`` in the run's store, the mean of images and mirror images if it has both."""
    from focusmap.images import open_store

    store = open_store(run / "store")
    files = sorted(store.folder.glob("features-*.npy"))
    found = np.mean([np.load(file) for file in files], axis=0)
    return np.asarray(found[store.rows(cohort.image_ids)], dtype=np.float64)


def exchanged(truth: np.ndarray, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return truth ``(N, 1)`` in which each patient's images have the labels of one image of another patient."""
    _, owner = np.unique(patients, return_inverse=True)
    first = np.array([np.flatnonzero(owner == k)[0] for k in range(owner.max() + 1)])
    return np.asarray(truth[rng.permutation(first)][owner])


def log_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean log loss of class logits ``(N, L)``."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    of_class = shifted[np.arange(len(truth)), truth[:, 0].astype(int)]
    return float((np.log(np.exp(shifted).sum(axis=1)) - of_class).mean())


def auroc(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over classes of the AUROC of each against the others."""
    found = [
        roc_auc_score(truth[:, 0] == k, logits[:, k] - np.delete(logits, k, 1).max(1)) for k in range(logits.shape[1])
    ]
    return float(np.mean(found))


def tried(cohort: Cohort, features: np.ndarray, truth: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return AUROC and log loss on a fifth of the patients, and the inner loss, of a probe of the others."""
    _, patient = np.unique(cohort.patient_ids.astype(str), return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(patient.max() + 1) % FIFTH)[patient]
    train, rows = fold != 0, cohort.take(np.flatnonzero(fold != 0))
    head = fit_head(cohort.task, features[train], truth[train], rows, seed)
    inner = held_out_losses(cohort.task, features[train], truth[train], inner_folds(rows, seed))
    said = head(features[~train])
    return auroc(said, truth[~train]), log_loss(said, truth[~train]), float(np.nanmean(inner))


def main() -> None:
    """Print both answers, with the standard error over repeats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    cohort = load_cohort(given.run)
    features, truth = features_of(given.run, cohort), cohort.truth
    shuffled, kept = [], []
    for seed in range(given.repeats):
        mixed = exchanged(truth, cohort.patient_ids, np.random.default_rng(1000 + seed))
        shuffled.append(tried(cohort, features, mixed, seed)[0])
        kept.append(tried(cohort, features, truth, seed))
        print(
            seed,
            f"shuffled {shuffled[-1]:.3f}",
            "AUROC {:.3f}, loss on the rest {:.3f}, inner {:.3f}".format(*kept[-1]),
            flush=True,
        )
    table = np.array(kept)
    for name, values in (
        ("AUROC with shuffled labels", np.array(shuffled)),
        ("AUROC", table[:, 0]),
        ("inner loss less loss on the rest", table[:, 2] - table[:, 1]),
    ):
        print(
            f"{name}: {values.mean():.4f} (standard error over repeats {values.std(ddof=1) / len(values) ** 0.5:.4f})"
        )


if __name__ == "__main__":
    main()
