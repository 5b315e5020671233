"""Do later patients keep what the learning curve promised? Ten studies, of which half the patients come later.

``python benchmarks/learning_curve.py DATA``: of each study half of the patients are drawn by lot, the curve of
`focusmap challenge` is measured on them and drawn on to twice as many; then the others come, and the AUROC of the same
kind of model, out of fold over all, is held against the limits. Features of grey values, textures and gradients without
a net, so that it costs minutes; at most `MOST` images of a study, and at most six of a patient. The aim is 8 of 10.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from focusmap.fitting.challenge import SHARES, Challenge, auroc_at_share, forecast, numbered, random_folds
from focusmap.images import Preparation, prepare_file
from focusmap.models.features import hog, lbp, moments, pyramid
from focusmap.phantom import PhantomOptions, make_phantom, write_phantom
from focusmap.study import Cohort, Declaration, read_cohort

MOST, MOST_OF_A_PATIENT, SIDE = 700, 6, 128
# Folder, target, patients.
STUDIES = (
    ("brain_lgg_mri", "has_tumor", "patient_id"), ("brain_tumor_figshare", "label", "proxy_group"),
    ("breast_us_busbra", "malignant", "patient_id"), ("breast_us_busi", "label", "near_duplicate_group"),
    ("cxr_covid", "covid19", "patient_id"), ("cxr_kermany_children", "pneumonia", "patient_id"),
    ("cxr_nih1000_64px", "no_finding", "patient_id"), ("cxr_nih621", "no_finding", "patient_id"),
    ("retina_odir5k", "dr_any", "patient_id"),
)  # fmt: skip


def thinned(cohort: Cohort, draw: np.random.Generator) -> Cohort:
    """Return whole patients up to about `MOST` images, with a few images of each."""
    patients, kept = numbered(cohort.patient_ids), np.zeros(len(cohort), dtype=bool)
    for patient in draw.permutation(patients.max() + 1):
        own = draw.permutation(np.flatnonzero(patients == patient))[:MOST_OF_A_PATIENT]
        kept[own] = kept.sum() < MOST
    return cohort.take(np.flatnonzero(kept))


def features_of(cohort: Cohort) -> np.ndarray:
    """Return ``(N, D)`` of the cohort's images."""
    images = (prepare_file(cohort.file(image_id), Preparation(SIDE))[0] for image_id in cohort.image_ids)
    return np.array([np.concatenate([np.sqrt(of(image)) if of is lbp else of(image) for of in
                                     (moments, lbp, hog, pyramid)]) for image in images])  # fmt: skip


def promised_and_kept(cohort: Cohort, seed: int) -> tuple[dict[str, float], float]:
    """Return what the curve of half of the patients promises for all of them, and what all of them reach."""
    draw = np.random.default_rng(seed)
    features, patients = features_of(cohort), numbered(cohort.patient_ids)
    first = np.flatnonzero(np.isin(patients, draw.permutation(patients.max() + 1)[: (patients.max() + 1) // 2]))
    early = Challenge(features[first], cohort.take(first), seed=seed)
    of_early = numbered(patients[first])
    folds = random_folds(of_early, draw)
    promised = forecast([auroc_at_share(early, of_early, folds, share) for share in SHARES])
    every = auroc_at_share(Challenge(features, cohort, seed=seed + 1), patients, random_folds(patients, draw), 1.0)
    return {key: float(str(value)) for key, value in promised.items()}, float(str(every["value"]))


def main() -> None:
    """Print a line per study, and how many keep the promise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        phantom = make_phantom(PhantomOptions(n_patients=120, n_images=480, size=48))
        labels = [(write_phantom(phantom, Path(folder)), "nodule", "patient_id")]
        labels += [(args.data / name / "labels.csv", target, patient) for name, target, patient in STUDIES]
        n_kept = 0
        for file, target, patient in labels:
            cohort = read_cohort(file, Declaration(targets=(target,), patient=patient))
            cohort = thinned(replace(cohort, images=None), np.random.default_rng(args.seed))
            promised, reached = promised_and_kept(cohort, args.seed)
            is_kept = promised["low"] <= reached <= promised["high"]
            n_kept += is_kept
            limits = f"{promised['low']:.3f} to {promised['high']:.3f}"
            print(f"{file.parent.name}: {len(cohort)} images, promised {limits}, reached {reached:.3f}: {is_kept}")
        print(f"kept: {n_kept} of {len(labels)}")


if __name__ == "__main__":
    main()
