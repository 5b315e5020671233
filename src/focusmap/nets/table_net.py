"""The net of a table: five linear layers, with a row as an image of one place whose channels are the columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.basics import Json
from focusmap.nets.focus_net import FocusNet
from focusmap.nets.tensors import fill_net
from focusmap.study import Task

# With the head five linear layers, as the table net of the APTOS 2021 challenge's openly shared 29th place has.
WIDTHS = (128, 64, 64, 32)
DROPOUT = 0.2


class TableBackbone(nn.Module):
    """Hidden layers: rows ``(N, K, 1, 1)`` to features ``(N, 32, 1, 1)``."""

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        sizes = (n_inputs, *WIDTHS)
        layers = [
            nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU(), nn.Dropout(DROPOUT))
            for before, after in pairwise(sizes)
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of each row."""
        features: Tensor = self.layers(x.flatten(1))
        return features[:, :, None, None]


def build_table_net(n_inputs: int, n_logits: int, seed: int = 0) -> FocusNet:
    """Return a table net with random weights; it is trained like a net of images.

    >>> build_table_net(3, 2).eval()(torch.ones(4, 3, 1, 1)).shape
    torch.Size([4, 2])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FocusNet(TableBackbone(n_inputs), WIDTHS[-1], n_logits)


@dataclass(frozen=True)
class FittedTableNet:
    """A trained table net as what a model of rows was fitted to.

    Parameters
    ----------
    net
        On whatever device; rows are sent there.
    task
        What it predicts.
    scales
        Mean and standard deviation on train of each continuous target.
    """

    net: FocusNet
    task: Task
    scales: Mapping[str, list[float]]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return logits ``(N, L)`` of rows ``(N, K)``; a continuous target's value in its own unit."""
        rows = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[:, :, None, None]
        with torch.inference_mode():
            logits = self.net.eval()(rows.to(next(self.net.parameters()).device))
        return self.task.in_units(logits.cpu().numpy(), self.scales)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return all weights."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.net.state_dict().items()}

    def describe(self) -> dict[str, Json]:
        """Return the units of continuous targets."""
        return {"scales": {name: list(scale) for name, scale in self.scales.items()}}


def fitted_table_net_from(
    task: Task, architecture: Mapping[str, Json], arrays: Mapping[str, np.ndarray]
) -> FittedTableNet:
    """Read what `FittedTableNet` wrote; `ModelError` if the weights are not those of a table net for this task."""
    net = build_table_net(cast(int, architecture.get("n_inputs")), task.n_logits)
    fill_net(net, arrays)
    return FittedTableNet(net, task, cast(Mapping[str, list[float]], architecture.get("scales", {})))
