"""Tumours from the labels of slices, by a net that sees nothing but how a place differs from its mirror image.

    python benchmarks/brain_sides.py DATA/brain_tumor_3d [--starts 4] [--height-unknown]

What a net learns from slices of six patients is at which height of the head tumours are. Here what the height tells is
fitted first and added to the net's answer while it learns, so that only what is left has to be seen; and a place is
shown as how much brighter it is than all that lies about its mirror image, since tumours have a side and anatomy has
not. Four folds by patient; printed are AUROC of slices and, volume by volume, how well the maps find the masks.
The best Dice is that of the one threshold that masks would choose: no result, but a bound for what thresholds can
reach.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

SIDE, N_FOLDS, N_EPOCHS, BATCH = 128, 4, 10, 16
TOP_SHARE = 0.005
# So far may a structure lie from the mirror image of its twin, in pixels.
TOLERANCE = 9
SKULL = 10


@dataclass(frozen=True)
class Slices:
    """Slices of all volumes, centred on the head: ``(N, 1, SIDE, SIDE)``, masks, volume, patient and height of each."""

    shown: Tensor
    masks: np.ndarray
    volumes: np.ndarray
    patients: np.ndarray
    heights: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return self.masks.any(axis=(1, 2)).astype(np.float32)


def read_slices(folder: Path) -> Slices:
    shown, masks, owners = [], [], []
    for number, row in enumerate(pd.read_csv(folder / "labels.csv").itertuples()):
        volume, mask = (_halved(nib.load(folder / path).get_fdata()) for path in (row.path, row.mask))
        head = volume > 0.15 * np.percentile(volume[volume > 0], 90)
        head = np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(plane)) for plane in head])
        brain = np.stack([ndimage.binary_erosion(plane, iterations=SKULL) for plane in head])
        volume = volume / np.median(volume[brain])
        for height in np.flatnonzero(volume.any(axis=(1, 2))):
            shift = _to_centre(head[height])
            plane = ndimage.shift(volume[height], shift, order=1)
            shown.append(side_difference(plane)[None])
            masks.append(ndimage.shift((mask[height] >= 0.5).astype(float), shift, order=0) > 0.5)
            owners.append((number, row.patient_id, height))
    volumes, patients, heights = map(np.array, zip(*owners, strict=True))
    return Slices(torch.tensor(np.stack(shown), dtype=torch.float32), np.stack(masks), volumes, patients, heights)


def side_difference(plane: np.ndarray) -> np.ndarray:
    """Return how much brighter each place is than the brightest about its mirror image."""
    smooth = ndimage.gaussian_filter(plane, 1.0)
    return smooth - ndimage.maximum_filter(smooth[:, ::-1], TOLERANCE)


def _halved(volume: np.ndarray) -> np.ndarray:
    """Return slices ``(n, SIDE, SIDE)`` of a volume of 256 x 256 x n, as they are read."""
    planes = volume.astype(np.float32).transpose(2, 1, 0)
    return planes.reshape(len(planes), SIDE, 2, SIDE, 2).mean(axis=(2, 4))


def _to_centre(head: np.ndarray) -> tuple[float, float]:
    rows, columns = (np.flatnonzero(head.any(axis=axis)) for axis in (1, 0))
    middles = [(found[0] + found[-1]) / 2 if len(found) else (SIDE - 1) / 2 for found in (rows, columns)]
    return (SIDE - 1) / 2 - middles[0], (SIDE - 1) / 2 - middles[1]


def small_net() -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out, stride in ((1, 16, 1), (16, 32, 2), (32, 32, 1)):
        layers += [nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout2d(0.2), nn.Conv2d(32, 1, 1))


def pooled(evidence: Tensor) -> Tensor:
    flat = evidence.flatten(1)
    return flat.topk(max(1, int(TOP_SHARE * flat.shape[1])), dim=1).values.mean(dim=1)


def told_by_height(slices: Slices, train: np.ndarray) -> np.ndarray:
    """Return the logit ``(N,)`` that the height of a slice alone gives."""
    height = slices.heights / 20
    powers = np.stack([height, height**2, height**3], axis=1)
    return LogisticRegression(C=100).fit(powers[train], slices.labels[train]).decision_function(powers)


def train_net(slices: Slices, train: np.ndarray, offset: np.ndarray, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    net, rng = small_net(), np.random.default_rng(seed)
    positions, labels = np.flatnonzero(train), torch.tensor(slices.labels)
    given = torch.tensor(offset, dtype=torch.float32)
    n_steps = N_EPOCHS * len(positions) // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=n_steps)
    for _ in range(n_steps):
        chosen = rng.choice(positions, BATCH, replace=False)
        logits = pooled(net(moved(slices.shown[chosen], rng))) + given[chosen]
        loss = F.binary_cross_entropy_with_logits(logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def moved(batch: Tensor, rng: np.random.Generator) -> Tensor:
    batch = batch.flip(3) if rng.random() < 0.5 else batch
    batch = torch.roll(batch, int(rng.integers(-6, 7)), dims=2)
    angle, scale = rng.uniform(-0.15, 0.15), rng.uniform(0.9, 1.1)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]
    theta = torch.tensor(turn, dtype=torch.float32)[None].repeat(len(batch), 1, 1) * scale
    turned = F.grid_sample(batch, F.affine_grid(theta, list(batch.shape), align_corners=False), align_corners=False)
    return turned * torch.empty(len(batch), 1, 1, 1).uniform_(0.85, 1.15)


@torch.no_grad()
def out_of_fold(slices: Slices, seed: int, height_unknown: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return logits ``(N,)``, without what the height tells, and maps ``(N, SIDE, SIDE)`` of slices held out."""
    logits, maps = np.zeros(len(slices.labels)), np.zeros(slices.masks.shape, np.float32)
    patients = np.unique(slices.patients)
    for fold in range(N_FOLDS):
        train = ~np.isin(slices.patients, patients[fold::N_FOLDS])
        offset = np.zeros(len(train)) if height_unknown else told_by_height(slices, train)
        with torch.enable_grad():
            net = train_net(slices, train, offset, seed)
        for part in np.array_split(np.flatnonzero(~train), 8):
            x = slices.shown[part]
            evidence = (net(x) + net(x.flip(3)).flip(3)) / 2
            logits[part] = pooled(evidence).numpy()
            maps[part] = F.interpolate(evidence, (SIDE, SIDE), mode="bilinear")[:, 0].numpy()
    return logits, maps


def describe(name: str, slices: Slices, logits: np.ndarray, maps: np.ndarray) -> None:
    cases = [slices.volumes == volume for volume in np.unique(slices.volumes)]
    found = [average_precision_score(slices.masks[case].ravel(), maps[case].ravel()) for case in cases]
    best = max(
        np.mean([dice(maps[case] >= threshold, slices.masks[case]) for case in cases])
        for threshold in thresholds_of(maps)
    )
    print(f"| {name} | {roc_auc_score(slices.labels, logits):.3f} | {np.mean(found):.3f} | {best:.3f} |", flush=True)


def thresholds_of(maps: np.ndarray) -> np.ndarray:
    return np.quantile(maps, np.linspace(0.95, 0.9999, 50))


def dice(drawn: np.ndarray, mask: np.ndarray) -> float:
    return 2 * (drawn & mask).sum() / max(drawn.sum() + mask.sum(), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--height-unknown", action="store_true")
    parsed = parser.parse_args()
    slices = read_slices(parsed.folder)
    print("| net | AUROC of slices | pixel AUPRC of a volume | best Dice |\n|---|---|---|---|")
    describe("none: the side difference itself", slices, pooled(slices.shown[:, 0]).numpy(), slices.shown[:, 0].numpy())
    found = [out_of_fold(slices, seed, parsed.height_unknown) for seed in range(parsed.starts)]
    for seed, (logits, maps) in enumerate(found):
        describe(f"start {seed}", slices, logits, maps)
    mean = [np.mean(parts, axis=0) for parts in zip(*found, strict=True)]
    describe(f"mean of {parsed.starts} starts", slices, mean[0], mean[1])


if __name__ == "__main__":
    main()
