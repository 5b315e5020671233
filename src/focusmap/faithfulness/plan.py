"""How trust in heat maps is measured: what is asked for, the plan made of it, and the images it is measured on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from focusmap import heatmaps
from focusmap.basics import InputError, Progress, silent
from focusmap.evaluation import calibrated_probabilities, edges_map
from focusmap.heatmaps import Item, check_method, heat_maps
from focusmap.images import standardised_file
from focusmap.models import Model, load_run_net
from focusmap.nets import on_grid
from focusmap.study import Cohort, RunOptions, TrustRequest

# Some methods keep what they need for gradients.
MOST_AT_ONCE = 16


@dataclass(frozen=True)
class Subject:
    """One map to judge: an image, whose it is, the label that the map explains, and whether that is predicted."""

    item: Item
    patient_id: str
    label: str
    predicted: bool


@dataclass(frozen=True)
class Panel:
    """N subjects as one model sees them: images ``(N, C, *spatial)``, and each one's column among the logits."""

    model: Model
    batch: Tensor
    columns: Tensor

    def logit(self, images: Tensor) -> Tensor:
        """Return the logit ``(N,)`` of each subject's label, for images in the place of its own."""
        return self._logits(images).gather(1, self.columns[:, None])[:, 0]

    def probability(self, images: Tensor) -> Tensor:
        """Return the calibrated probability ``(N,)`` of each subject's label; of a continuous target, its value."""
        units = self.model.to_units(self._logits(images).cpu().double().numpy())
        probabilities = torch.from_numpy(calibrated_probabilities(self.model.task, units, self.model.card.temperatures))
        return probabilities.to(self.columns.device).gather(1, self.columns[:, None])[:, 0]

    def rows_at_once(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return rows of subjects in parts of as many as go through the net together."""
        return torch.split(rows, min(MOST_AT_ONCE, self.model.batch_size(stored=False)))

    def _logits(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.model.net(part) for part in self.rows_at_once(images)])


Draw: TypeAlias = Callable[[Panel], Tensor]
"""From subjects to their maps ``(N, *spatial)``, on the grid of the net's input."""


def panel_of(model: Model, subjects: Sequence[Subject]) -> Panel:
    """Return the subjects as `model` sees them, each image read once; its net is set to eval mode.

    Raises
    ------
    InputError, MissingFileError
        If an image cannot be read, or the model does not know a label.
    """
    items = dict.fromkeys(subject.item for subject in subjects)
    pixels = {item: standardised_file(item.file, model.preparation)[0] for item in items}
    names = model.task.label_names
    for subject in subjects:
        if subject.label not in names:
            raise InputError(f"a model of {', '.join(names)} cannot be asked about {subject.label!r}.")
    device = next(model.net.eval().parameters()).device
    batch = torch.from_numpy(np.stack([pixels[subject.item] for subject in subjects])).to(device)
    return Panel(model, batch, torch.tensor([names.index(subject.label) for subject in subjects], device=device))


def method_maps(method: str) -> Draw:
    """Return how the maps of a heat map method are drawn; `InputError` if there is none of this name."""
    check_method(method)

    def draw(panel: Panel) -> Tensor:
        maps = torch.zeros_like(panel.batch[:, 0])
        for column in sorted(set(panel.columns.tolist())):
            of_column = torch.nonzero(panel.columns == column)[:, 0]
            for rows in panel.rows_at_once(of_column):
                drawn = heat_maps(panel.model.net, panel.batch[rows], method, [column])
                maps[rows] = on_grid(drawn.maps.float(), maps.shape[1:])[:, 0]
        return maps

    return draw


def edge_maps(panel: Panel) -> Tensor:
    """Return the edges of each image, whatever the net and the label: a control."""
    edges = [edges_map(image) for image in panel.batch.cpu().numpy()]
    return torch.from_numpy(np.stack(edges)).to(panel.batch)


def noise_maps(seed: int) -> Draw:
    """Return how maps of pure noise are drawn, new ones with each call: a control."""
    generator = torch.Generator().manual_seed(seed)
    return lambda panel: torch.rand(panel.batch[:, 0].shape, generator=generator).to(panel.batch)


ALL = "all"


@dataclass(frozen=True)
class TrustPlan:
    """How trust is measured: what a request asks for, its names checked and its runs loaded.

    Parameters
    ----------
    methods
        Names of heat map methods; ``focus`` where this model, and all others, have focus maps.
    n_maps
        Images with a label each to choose.
    n_draws
        Random removals of each kind, for infidelity and sensitivity-n.
    seed
        Of all that is drawn.
    others
        Models trained on the same data with another seed or architecture.
    shuffled
        A model trained on shuffled labels, or None.
    n_models
        Models of the run, of which the one that is measured stands for all.
    progress
        Told of what is done.
    """

    methods: tuple[str, ...] = ("cam",)
    n_maps: int = 16
    n_draws: int = 20
    seed: int = 0
    others: "tuple[Model, ...]" = ()
    shuffled: "Model | None" = None
    n_models: int = 1
    progress: Progress = silent


def plan_trust(
    request: TrustRequest, model: "Model", drawn: Sequence[str], options: RunOptions, n_models: int = 1
) -> TrustPlan:
    """Return how trust in the maps of a model is measured, the other runs' models loaded.

    Judged are the methods of the request, or else those that are drawn. The run has `n_models` models.

    Raises
    ------
    InputError, MissingFileError
        If a method is unknown or needs another net, or another run has no model or none to compare with.
    """
    if model.net.reconstructs:
        raise InputError("trust is measured in a classifier's maps; an autoencoder's map is its score, place by place.")
    methods = heatmaps.methods_of(model.net) if ALL in request.methods else request.methods or drawn
    names = tuple(dict.fromkeys(heatmaps.choose_method(name, model.net) for name in methods))

    def other(folder: Path) -> "Model":
        loaded = load_run_net(folder, options.devices)
        _refuse_incomparable(folder, loaded, model, names)
        return loaded

    return TrustPlan(
        methods=names,
        n_maps=request.n_images,
        n_draws=request.n_draws,
        seed=options.recipe.seed,
        others=tuple(other(folder) for folder in request.against),
        shuffled=None if request.shuffled is None else other(request.shuffled),
        n_models=n_models,
        progress=options.progress,
    )


def _refuse_incomparable(folder: Path, other: "Model", model: "Model", methods: Sequence[str]) -> None:
    """Raise `InputError` unless another run's model knows the labels of `model`, and all methods can draw its maps."""
    missing = [name for name in model.task.label_names if name not in other.task.label_names]
    if missing:
        raise InputError(f"{folder}: does not know {', '.join(missing)}; a run on the same data was expected.")
    absent = [name for name in methods if not heatmaps.can_draw(other.net, name)]
    if absent:
        raise InputError(
            f"{folder}: its net has no {absent[0]} maps to compare with. Leave it out, or say --trust-method cam."
        )


def choose_subjects(cohort: Cohort, index: pd.DataFrame, plan: TrustPlan) -> "list[Subject]":
    """Return images with a label each to measure trust on, from the index of a cohort's maps."""
    owners = dict(zip(cohort.image_ids, cohort.patient_ids, strict=True))
    chosen = choose_maps(index.assign(patient_id=index["image_id"].map(owners)), plan.n_maps, plan.seed)
    columns = (chosen[name] for name in ("image_id", "path", "patient_id", "target", "predicted"))
    return [
        Subject(heatmaps.Item(image_id, path, cohort.file(image_id)), patient_id, label, predicted)
        for image_id, path, patient_id, label, predicted in zip(*columns, strict=True)
    ]


def choose_maps(index: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Return `n` rows of maps with evidence, drawn at random: labels in turn, predicted ones and new patients first.

    >>> index = pd.DataFrame({"target": ["a", "a", "b"], "predicted": [0, 1, 1], "has_evidence": 1, "patient_id": "p"})
    >>> sorted(choose_maps(index, 2, seed=0).index)
    [1, 2]
    """
    order = np.random.default_rng(seed).permutation(len(index))
    drawn = index.iloc[order].astype({"predicted": bool, "has_evidence": bool})
    drawn = drawn[drawn["has_evidence"]]
    again = drawn.groupby(["target", "predicted", "patient_id"]).cumcount()
    keyed = drawn.assign(unpredicted=~drawn["predicted"], again=again)
    drawn = keyed.sort_values(["unpredicted", "again"], kind="stable")
    turn = drawn.groupby("target", sort=False).cumcount()
    return drawn.iloc[np.argsort(turn.to_numpy(), kind="stable")[:n]]
