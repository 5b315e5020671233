"""A small model with random weights, and a way to spoil its card."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from focusmap.basics import HASHES
from focusmap.models import Model, ModelCard
from focusmap.models.folder import CARD
from focusmap.models.predictor import Self
from focusmap.nets import Architecture, build_net
from focusmap.study import Target, Task


def model_of(seed: int = 0) -> Model:
    task = Task((Target("nodule"), Target("size", "continuous")))
    architecture = Architecture("small-residual", 1, task.n_logits)
    card = ModelCard(
        task=task,
        architecture=architecture.to_dict(),
        preparation={"size": 32, "channels": 1, "window": [0.5, 99.5]},
        thresholds={"nodule": 0.4},
        threshold_for="youden",
        temperatures={"nodule": 1.5},
        scales={"size": [10.0, 2.0]},
        known_answer={},
        versions={"torch": "2.9"},
        training={"weights": "none"},
    )
    return Model(build_net(architecture, seed=seed).eval(), card)


def with_calibration(model: Self, temperatures: dict[str, float], thresholds: dict[str, float]) -> Self:
    return model.with_card(replace(model.card, temperatures=temperatures, thresholds=thresholds))


def unseal(folder: Path) -> None:
    """Take the hashes away, as if the folder were of an older version, so that what it holds is judged by itself."""
    for hashes in folder.rglob(HASHES):
        hashes.unlink()


def edit(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    values = json.loads((folder / CARD).read_text())
    change(values)
    (folder / CARD).write_text(json.dumps(values))
    unseal(folder)
