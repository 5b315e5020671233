"""A training step of focusmap beside a hand-written PyTorch loop of the same net and settings.

    python benchmarks/train_step.py [--model densenet121] [--sizes 128 224] [--batch-size 16] [--rounds 3] [--cpu-time]

Prints, for each size, milliseconds a step and two ratios: ours to the hand-written loop (below 1.03 is the aim) and,
where the processor multiplies bf16, plain fp32 NCHW eager to ours (above 2.5 is the aim). The contestants take turns,
a few steps each, so that a busy machine slows them alike; the ratio is the median over the rounds. On a machine that
others use too, ``--cpu-time`` with one thread measures the work instead of the waiting.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from focusmap.images import Preparation, Store
from focusmap.nets import Architecture, build_net
from focusmap.study import Recipe, Target, Task
from focusmap.training import FitOptions, Labelled, TrainingData
from focusmap.training.augmentation import augment
from focusmap.training.devices import has_bf16
from focusmap.training.epoch import train_epoch
from focusmap.training.loop import open_session

N_LABELS = 14
STEPS = 2


def study(size: int, batch_size: int) -> TrainingData:
    generator = np.random.default_rng(0)
    n = STEPS * batch_size
    pixels = generator.integers(0, 255, (n, 1, size, size), dtype=np.uint8)
    ids = [str(i) for i in range(n)]
    mean, std = pixels.mean((1, 2, 3), dtype=np.float32), pixels.std((1, 2, 3), dtype=np.float32)
    shapes = np.full((n, 2), size)
    store = Store(Path("memory"), Preparation(size=size), pixels, ids, [""] * n, mean, std, shapes)
    truth = generator.integers(0, 2, (n, N_LABELS)).astype(np.float64)
    labelled = Labelled(tuple(ids), truth)
    return TrainingData(store, Task(tuple(Target(f"label{i}") for i in range(N_LABELS))), labelled, labelled)


def ours(data: TrainingData, recipe: Recipe) -> Callable[[int], object]:
    session = open_session(build_net(_architecture(recipe)), data, recipe, FitOptions(devices="cpu"))
    return lambda epoch: train_epoch(session, epoch)


def by_hand(data: TrainingData, recipe: Recipe, *, plain: bool = False) -> Callable[[int], object]:
    """The loop one would write: no Fabric, no checkpoints; `plain` is fp32 and channels first."""
    layout = torch.contiguous_format if plain else torch.channels_last
    net = build_net(_architecture(recipe)).to(memory_format=layout).train()
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    settings = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": not plain}
    optimizer = torch.optim.AdamW(net.parameters(), **settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    truth = torch.from_numpy(data.train.truth).float()
    share = truth.mean(0)
    bf16 = has_bf16("cpu") and not plain

    def epoch_of_steps(epoch: int) -> None:
        for rows in np.array_split(np.random.default_rng(epoch).permutation(len(truth)), STEPS):
            pixels = data.store.pixels[rows].astype(np.float32)
            pixels -= data.store.mean[rows, None, None, None]
            pixels /= data.store.std[rows, None, None, None]
            x = augment(torch.from_numpy(pixels), recipe.augmentation, 0, epoch, rows).contiguous(memory_format=layout)
            y = truth[rows]
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = net(x)
            weight = torch.where(y > 0.5, 1 - share, share)
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(logits.float(), y, weight).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            average.update_parameters(net)
        schedule.step()

    return epoch_of_steps


def milliseconds(
    contestants: dict[str, Callable[[int], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for epoch in range(rounds + 1):
        for name in list(contestants)[:: 1 if epoch % 2 else -1]:
            started = clock()
            contestants[name](epoch)
            times[name].append((clock() - started) / STEPS * 1000)
    return {name: values[1:] for name, values in times.items()}


def compare(options: argparse.Namespace, size: int) -> None:
    model, batch_size = options.model, options.batch_size
    clock = time.process_time if options.cpu_time else time.perf_counter
    data = study(size, batch_size)
    recipe = Recipe(model=model, size=size, channels=1, batch_size=batch_size, epochs=1000, learning_rate=1e-3)
    contestants = {"focusmap": ours(data, recipe), "by hand": by_hand(data, recipe)}
    if has_bf16("cpu"):
        contestants["plain fp32 NCHW"] = by_hand(data, recipe, plain=True)
    times = milliseconds(contestants, options.rounds, clock)
    print(f"{model} at {size}, batch {batch_size}, {torch.get_num_threads()} threads")
    for name, values in times.items():
        print(f"  {name:16} {statistics.median(values):9.1f} ms a step (fastest {min(values):.1f})")
    print(f"  focusmap / by hand         {_ratio(times, 'focusmap', 'by hand'):.3f}  (aim: at most 1.03)")
    if has_bf16("cpu"):
        print(f"  plain fp32 NCHW / focusmap {_ratio(times, 'plain fp32 NCHW', 'focusmap'):.2f}  (aim: at least 2.5)")
    else:
        print("  plain fp32 NCHW: not compared; this processor has no bf16, so focusmap computes in fp32 too")


def _ratio(times: dict[str, list[float]], a: str, b: str) -> float:
    return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))


def _architecture(recipe: Recipe) -> Architecture:
    return Architecture(recipe.model, recipe.channels, N_LABELS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="densenet121")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    for size in options.sizes:
        compare(options, size)


if __name__ == "__main__":
    main()
