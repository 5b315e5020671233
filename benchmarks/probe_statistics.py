"""What a linear probe takes of each feature map: the maximum, the mean of the highest tenth, or neither.

    python benchmarks/probe_statistics.py DATA/breast_us_busi [--seed 0 --seed 1]

Frozen features of EfficientNet-Lite0 (ImageNet), grey values scaled as its weights were trained, 320 and 160 pixels
side by side, not mirrored; five folds by group; logistic regression with C = .01. Mean and deviation are always taken.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch

from focusmap.fitting.regularisation_path import basis_of, logistic_path
from focusmap.images import Preparation, standardised_file
from focusmap.nets import Architecture, Levels, build_net
from focusmap.nets.levels import statistics_of
from focusmap.statistics import auroc

CLASSES = ("benign", "malignant", "normal")
STRENGTH, N_FOLDS, SIDE, BATCH = 1e-2, 5, 320, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, action="append", help="of the folds")
    parsed = parser.parse_args()
    table = pd.read_csv(parsed.data / "labels.csv")
    truth = np.array([CLASSES.index(label) for label in table["label"]])
    features = measured([parsed.data / path for path in table["path"]])
    for seed in parsed.seed or (0, 1):
        folds = folds_of(table["near_duplicate_group"].to_numpy(), seed)
        for name, values in features.items():
            logits = out_of_fold(values, truth, folds)
            ranked = [
                auroc(truth == k, logits[:, k] - np.logaddexp.reduce(logits, axis=1)) for k in range(len(CLASSES))
            ]
            accuracy = (logits.argmax(axis=1) == truth).mean()
            print(f"seed {seed}  {name:<16} AUROC {np.mean(ranked):.4f}  accuracy {accuracy:.3f}")


def measured(files: list[Path]) -> Mapping[str, np.ndarray]:
    """Return the features ``(N, D)`` of all images, by what is taken of their maps."""
    net = build_net(Architecture("tf_efficientnet_lite0-probe", 1, len(CLASSES)), "auto").eval()
    backbone, preparation = cast(Levels, net.backbone), Preparation(SIDE, 1, scaling="range")
    found: dict[str, list[np.ndarray]] = {"highest tenth": [], "maximum": [], "neither": []}
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            images = [standardised_file(file, preparation)[0] for file in files[start : start + BATCH]]
            maps = backbone.levels(torch.from_numpy(np.stack(images)))
            mean, tenth, deviation = torch.cat([statistics_of(one) for one in maps], dim=2).unbind(1)
            highest = torch.cat([one.flatten(2).amax(dim=2) for one in maps], dim=1)
            for name, taken in (("highest tenth", [tenth]), ("maximum", [highest]), ("neither", [])):
                found[name].append(torch.cat([mean, deviation, *taken], dim=1).numpy())
    return {name: np.concatenate(parts).astype(np.float64) for name, parts in found.items()}


def folds_of(groups: np.ndarray, seed: int) -> np.ndarray:
    """Return the fold of each row, that of its group."""
    _, group = np.unique(groups, return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(group.max() + 1)[group] % N_FOLDS)


def out_of_fold(values: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return logits ``(N, L)``, of each row by the regression that has not seen its fold."""
    logits = np.empty((len(truth), len(CLASSES)))
    for fold in range(N_FOLDS):
        held = folds == fold
        classes = np.eye(len(CLASSES))[truth[~held]]
        logits[held] = logistic_path(basis_of(values[~held]), classes, [STRENGTH], exclusive=True)[0](values[held])
    return logits


if __name__ == "__main__":
    main()
