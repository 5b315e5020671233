"""Does a map depend on what the net has learnt? Sanity checks by nets that have learnt nothing, or something else.

Passing is necessary, not sufficient: a map of pure noise changes with everything (Binder et al. 2023, arXiv
2211.12486). Beside it stands faithfulness.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from focusmap.faithfulness.similarity import Comparison, compare, pooled

Net = TypeVar("Net", bound=nn.Module)
Source = TypeVar("Source")


@dataclass(frozen=True)
class Step:
    """How alike the trained net's maps are to those of a net that is random down to `layer`."""

    layer: str
    similarity: Comparison


def cascading_randomisation(
    explain: Callable[[Net], np.ndarray], trained: Net, untrained: Net, n_steps: int | None = None
) -> list[Step]:
    """Return how maps change while a net becomes random from the top down (Adebayo et al. 2018, section 3).

    Parameters
    ----------
    explain
        From a net to its maps ``(N, *spatial)`` of the same images.
    trained, untrained
        Two nets of one architecture, in eval mode; both are left as they are.
    n_steps
        Into how many steps the layers are divided; None: one a layer. The last one is the untrained net.
    """
    maps = explain(trained)
    return [Step(layer, compare(maps, explain(net))) for layer, net in cascade(trained, untrained, n_steps)]


def cascade(trained: Net, untrained: Net, n_steps: int | None = None) -> Iterator[tuple[str, Net]]:
    """Yield the trained net with more and more of its layers taken from the untrained one, the last layer first.

    Layers are those with weights of their own, in the order in which the net names them. A layer's running
    statistics go with its weights. The net yielded is one, and changes with the next step.
    """
    net = deepcopy(trained)
    state, random = net.state_dict(), untrained.state_dict()
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in state))[::-1]
    stops = np.linspace(0, len(layers), (n_steps or len(layers)) + 1).round().astype(int)
    for start, stop in pairwise(stops):
        if start < stop:
            with torch.no_grad():
                for name in state:
                    if name.rpartition(".")[0] in layers[start:stop]:
                        state[name].copy_(random[name])
            yield layers[stop - 1], net


def label_randomisation(explain: Callable[[Source], np.ndarray], trained: Source, shuffled: Source) -> Comparison:
    """Return how alike the maps are to those of a net that was trained on shuffled labels (Adebayo et al., section 4).

    What that net looks at has nothing to do with the labels; a good map tells the two apart.
    """
    return compare(explain(trained), explain(shuffled))


def agreement(explain: Callable[[Source], np.ndarray], sources: Sequence[Source]) -> Comparison:
    """Return how alike the maps of several nets trained on the same data are, over all pairs of nets.

    Repeatability where they differ in the seed, reproducibility where they differ in architecture (Arun et al. 2021).
    """
    maps = [explain(source) for source in sources]
    return pooled([compare(first, second) for first, second in combinations(maps, 2)])
