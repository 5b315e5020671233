"""The exact pair loss with its gradient over 20,000 voxels of 32 features: time and memory, beside a matrix product.

    python benchmarks/pair_loss.py [--voxels 20000] [--features 32] [--plain]

Wanted: under 2 s and under 100 MB on two cores. Processor seconds are printed too, which a busy machine does not
stretch. With --plain autograd goes through the whole matrix of distances; at 20,000 voxels that needs about 12 GB.
"""

import argparse
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from focusmap.segmentation.pairs import LEAST_SQUARE, TERMS, WEIGHTS, pair_loss, squared_distances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--plain", action="store_true", help="the matrix product as well")
    parsed = parser.parse_args()
    torch.manual_seed(0)
    features = F.normalize(torch.randn(parsed.voxels, parsed.features), dim=1).requires_grad_()
    labels = (torch.rand(parsed.voxels) < 0.3).long()
    pair_loss(features[:2000], labels[:2000]).backward()
    print(f"{parsed.voxels:,} voxels x {parsed.features} features, {torch.get_num_threads()} threads")
    report("exact, block by block", pair_loss, features, labels)
    if parsed.plain:
        report("matrix of all pairs", plain_loss, features, labels)


def report(name: str, loss_of: Callable[[Tensor, Tensor], Tensor], features: Tensor, labels: Tensor) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    loss = loss_of(features, labels)
    loss.backward()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{name:<24} loss {loss.item():.6f}  {wall:6.2f} s  {cpu:6.2f} processor s  {memory:8.0f} MB more")


def plain_loss(features: Tensor, labels: Tensor) -> Tensor:
    """The same sum through one matrix of distances."""
    squares = squared_distances(features, features).clamp(min=LEAST_SQUARE)
    above = torch.ones_like(squares, dtype=torch.bool).triu(1)
    lesion = (labels == 1)[:, None]
    kinds = {"lesion": lesion & lesion.T, "background": ~lesion & ~lesion.T, "different": lesion ^ lesion.T}
    small = torch.exp(-squares)
    different, same = (
        torch.log1p(small) - torch.log(-torch.expm1(-squares)),
        squares + torch.log1p(small) - 0.6931471805599453,
    )
    terms = {kind: different if kind == "different" else same for kind in TERMS}
    return sum(weight * terms[kind][kinds[kind] & above].mean() for kind, weight in WEIGHTS.items())


if __name__ == "__main__":
    main()
