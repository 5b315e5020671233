"""What the ladder reaches over time, beside two plain trainings of the same backbone on the same split and cores.

    python benchmarks/ladder.py LABELS.csv OUT --target label --patient patient_id [--minutes 10]

`focusmap run` is watched from outside: the seconds at which test predictions, and the first report, are on disk. The
others start from the same pretrained weights, know train alone, and are asked of test after every epoch (not timed).
*One cycle* is what fastai's `fine_tune` does: an epoch of the head, then all of it under one cycle, at rates from a
hundredth at the stem to the full one at the head, batch norms always trained; turned, zoomed, relit. *Plain* is a short
script with timm: AdamW 5e-4, cosine, crops, mirrored. One target with classes; macro AUROC and accuracy on test.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from timm import create_model
from torch import Tensor, nn
from torchvision import transforms as T

from focusmap.evaluation import read_predictions
from focusmap.images import Preparation, prepare_store
from focusmap.nets.weights import package_tensors
from focusmap.study import Cohort, Run, load_cohort, read_split

BACKBONE, SIZE, BATCH = "tf_efficientnet_lite0", 224, 32
POLL_SECONDS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--patient", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--epochs", type=int, nargs="*", default=[6, 12])
    asked = parser.parse_args()
    run = watch(asked)
    cohort = load_cohort(run.folder)
    for n_epochs in asked.epochs:
        for name, train in (("one cycle", one_cycle), ("plain", plain)):
            compare(f"{name}, {n_epochs} epochs", cohort, run, partial(train, n_epochs=n_epochs))


def watch(asked: argparse.Namespace) -> Run:
    """Run the ladder as a user does; print what is on disk when."""
    command = ["run", str(asked.labels), "--target", asked.target, "--patient", asked.patient, "--out", str(asked.out)]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "focusmap", *command, "--budget", str(asked.minutes)],
        stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    run, seen = Run(asked.out), dict[Path, int]()
    while process.poll() is None:
        for file in (run.predictions("test"), run.folder / "report.html"):
            changed = file.stat().st_mtime_ns if file.is_file() else 0
            if changed > seen.get(file, 0):
                seen[file] = changed
                tell("focusmap", time.monotonic() - started, f"{file.name} {scores_of(run)}")
        time.sleep(POLL_SECONDS)
    tell("focusmap", time.monotonic() - started, f"ended with {process.returncode} {scores_of(run)}")
    return run


def tell(name: str, seconds: float, what: str) -> None:
    print(f"{name:22} {seconds:7.1f} s  {what}", flush=True)


def scores_of(run: Run) -> str:
    if not run.predictions("test").is_file():
        return ""
    cohort = load_cohort(run.folder)
    found = read_predictions(run.predictions("test"), cohort.task)
    return scores(found.probabilities, cohort.of(list(found.ids["image_id"])).truth[:, 0].astype(int))


def scores(probabilities: np.ndarray, truth: np.ndarray) -> str:
    """Return macro AUROC, each class against the others, and accuracy, of probabilities ``(N, classes)``."""
    if probabilities.shape[1] == 1:
        probabilities = np.hstack([1 - probabilities, probabilities])
    each = [roc_auc_score(truth == k, probabilities[:, k]) for k in range(probabilities.shape[1])]
    return f"AUROC {np.mean(each):.3f} accuracy {np.mean(probabilities.argmax(axis=1) == truth):.3f}"


Schedule = torch.optim.lr_scheduler.LRScheduler
Recipe = tuple[torch.optim.Optimizer, Schedule, Sequence[bool], Callable[[Tensor], Tensor]]
"""Optimiser and schedule, whether the whole net learns in each epoch, and what is done to each image."""
Trainer = Callable[[nn.Module, int], Recipe]


def compare(name: str, cohort: Cohort, run: Run, train: Trainer) -> None:
    """Train one of the others; print its seconds and scores after every epoch."""
    torch.manual_seed(0)
    started = time.monotonic()
    files = [cohort.study.images / path for path in cohort.table["path"]]
    store = prepare_store(files, cohort.image_ids, Preparation(SIZE, 3, scaling="range"), run.folder / "compared")
    split = read_split(run.split, cohort)
    x = {part: torch.from_numpy(np.asarray(store.pixels[store.rows(split.ids(part))])) for part in ("train", "test")}
    y = {part: torch.from_numpy(cohort.of(split.ids(part)).truth[:, 0]).long() for part in ("train", "test")}
    n_classes = int(max(found.max() for found in y.values())) + 1
    net = create_model(BACKBONE, num_classes=n_classes)
    tensors, _ = package_tensors(BACKBONE)
    assert tensors is not None, "the weights package is not installed"
    own = net.state_dict()
    net.load_state_dict({k: v for k, v in tensors.items() if k in own and v.shape == own[k].shape}, strict=False)
    net = net.to(memory_format=torch.channels_last)
    asking = 0.0
    for epoch, _ in enumerate(epochs(net, x["train"], y["train"], train)):
        now = time.monotonic()
        told = scores(answers(net, x["test"]), y["test"].numpy())
        asking += time.monotonic() - now
        tell(name, time.monotonic() - started - asking, f"epoch {epoch + 1} {told}")


def epochs(net: nn.Module, x: Tensor, y: Tensor, train: Trainer) -> Iterator[None]:
    """Yield after each epoch of a training on images ``(N, 3, size, size)`` with classes ``(N,)``."""
    n_steps = len(x) // BATCH
    optimizer, schedule, is_whole, augment = train(net, n_steps)
    head = set(net.get_classifier().parameters())
    for whole in is_whole:
        net.train()
        for parameter in net.parameters():
            is_norm = parameter.ndim == 1
            parameter.requires_grad_(whole or is_norm or parameter in head)
        for rows in torch.randperm(len(x))[: n_steps * BATCH].split(BATCH):
            images = torch.stack([augment(image) for image in x[rows].float()]) / 127.5 - 1
            loss = nn.functional.cross_entropy(net(images.to(memory_format=torch.channels_last)), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        yield


def one_cycle(net: nn.Module, n_steps: int, n_epochs: int) -> Recipe:
    """As `fastai.Learner.fine_tune(n_epochs - 1)`."""
    layers = [net.conv_stem, net.bn1, *net.blocks, net.conv_head, net.bn2, net.classifier]
    rates = np.geomspace(2e-5, 2e-3, len(layers))
    groups = [{"params": list(layer.parameters())} for layer in layers]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates.tolist(), total_steps=n_steps * n_epochs + 1, pct_start=0.3
    )
    augment = T.Compose([
        T.RandomHorizontalFlip(), T.RandomAffine(10, scale=(1.0, 1.1)), T.ColorJitter(0.2, 0.2),
    ])  # fmt: skip
    return optimizer, schedule, [False] + [True] * (n_epochs - 1), augment


def plain(net: nn.Module, n_steps: int, n_epochs: int) -> Recipe:
    """As a short script with timm."""
    optimizer = torch.optim.AdamW(net.parameters(), 5e-4, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps * n_epochs)
    augment = T.Compose([T.RandomResizedCrop(SIZE, (0.6, 1.0), antialias=True), T.RandomHorizontalFlip()])
    return optimizer, schedule, [True] * n_epochs, augment


def answers(net: nn.Module, x: Tensor) -> np.ndarray:
    """Return probabilities ``(N, classes)``."""
    net.eval()
    with torch.inference_mode():
        parts = [net(images.float() / 127.5 - 1).softmax(dim=1) for images in x.split(BATCH)]
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    main()
