"""How far each heat map method can be trusted for one model: every criterion, on some of its images.

Curves of removal follow the probability that the user reads; sums of a map are compared with the logit, which is what
they add up to.

Two controls are judged beside the methods: the image's edges, which know nothing of the net, and noise, which knows
nothing at all. What a control passes shows nothing by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch

from focusmap.basics import Json, Reason, reason_entries
from focusmap.faithfulness import curves, randomisation
from focusmap.faithfulness.criteria import SOURCES, Verdict, agrees, better_than_nothing, forgets, steady
from focusmap.faithfulness.plan import Draw, Panel, Subject, TrustPlan, edge_maps, method_maps, noise_maps, panel_of
from focusmap.models import Model
from focusmap.nets import Architecture, FocusNet, PoolingOptions, build_net, on_grid

FEATURE_SHARES = (0.1, 0.3, 0.5)
N_UNTRAINED, N_STEPS = 3, 4
# A net's training starts from the weights of its seed, which are therefore not strange to it.
FIRST_STRANGE_SEED = 1000


@dataclass(frozen=True)
class Bench:
    """What all methods are judged on.

    Parameters
    ----------
    squares
        Images without a square.
    features
        Number of features to images without as many.
    """

    panel: Panel
    subjects: Sequence[Subject]
    squares: curves.Removals
    features: Mapping[int, curves.Removals]
    plan: TrustPlan

    @property
    def patients(self) -> list[str]:
        """The patient of each subject."""
        return [subject.patient_id for subject in self.subjects]


@dataclass(frozen=True)
class Trial:
    """A method on trial: its maps, the same maps in the wrong place, and how alike those of different images are."""

    bench: Bench
    draw: Draw
    maps: torch.Tensor
    misplaced: torch.Tensor
    between: randomisation.Comparison

    def of_net(self, net: FocusNet) -> np.ndarray:
        """Return the maps of the same images by a net with other weights."""
        panel = self.bench.panel
        return self.draw(replace(panel, model=replace(panel.model, net=net))).cpu().numpy()

    def of_model(self, model: Model) -> np.ndarray:
        """Return the maps of the same images by another model, prepared as it wants them, on this one's grid."""
        maps = self.draw(panel_of(model, self.bench.subjects))
        return on_grid(maps[:, None], self.maps.shape[1:])[:, 0].cpu().numpy()

    def judge(self, gains: torch.Tensor) -> Verdict:
        """Return whether gains over an uninformative map, ``(N,)``, are shown to be above 0."""
        return better_than_nothing(gains, self.bench.patients, self.bench.plan.seed)


def bench_of(model: Model, subjects: Sequence[Subject], plan: TrustPlan) -> Bench:
    """Return what all methods are judged on: the subjects, and what the model says without parts of them."""
    panel = panel_of(model, subjects)
    batch, n_draws, seed = panel.batch, plan.n_draws, plan.seed
    n_features = int(np.prod([min(curves.GRID, side) for side in batch.shape[2:]]))
    counts = [max(round(share * n_features), 1) for share in FEATURE_SHARES]
    without = {
        n: curves.measure_removals(panel.logit, batch, curves.random_features(batch, n, n_draws, seed)) for n in counts
    }
    return Bench(
        panel,
        subjects,
        curves.measure_removals(panel.logit, batch, curves.squares(batch, n_draws, seed)),
        without,
        plan,
    )


def put_on_trial(draw: Draw, bench: Bench) -> Trial:
    """Return a method on trial, its maps drawn."""
    maps, seed = draw(bench.panel), bench.plan.seed
    between = randomisation.between_images(maps.cpu().numpy(), bench.panel.columns.tolist(), seed)
    return Trial(bench, draw, maps, curves.displaced(maps, seed), between)


Judged: TypeAlias = tuple[Verdict, dict[str, Json]]
Judge: TypeAlias = Callable[[Trial], Judged]


def judges_for(model: Model, plan: TrustPlan) -> dict[str, Judge]:
    """Return how each criterion is judged that can be: some need other models."""
    same = [other for other in plan.others if _design(other) == _design(model)]
    foreign = [other for other in plan.others if _design(other) != _design(model)]
    judges = dict(JUDGES)
    if plan.shuffled is not None:
        judges["label-randomisation"] = _label_randomisation(model, plan.shuffled)
    if same:
        judges["repeatability"] = _agreement([model, *same])
    if foreign:
        judges["reproducibility"] = _agreement([model, *foreign])
    return judges


def _deletion(trial: Trial) -> Judged:
    panel, seed = trial.bench.panel, trial.bench.plan.seed
    curve, control = (
        curves.deletion_curve(panel.probability, panel.batch, maps, seed=seed) for maps in (trial.maps, trial.misplaced)
    )
    return trial.judge(curves.area(control) - curves.area(curve)), {"curve": _mean(curve), "control": _mean(control)}


def _insertion(trial: Trial) -> Judged:
    panel, seed = trial.bench.panel, trial.bench.plan.seed
    curve, control = (
        curves.insertion_curve(panel.probability, panel.batch, maps, seed=seed)
        for maps in (trial.maps, trial.misplaced)
    )
    return trial.judge(curves.area(curve) - curves.area(control)), {"curve": _mean(curve), "control": _mean(control)}


def _road(trial: Trial) -> Judged:
    panel = trial.bench.panel
    road = curves.road(panel.probability, panel.batch, trial.maps, seed=trial.bench.plan.seed)
    details: dict[str, Json] = {
        "percentiles": list(curves.PERCENTILES),
        "least_first": _mean(road.least_first),
        "most_first": _mean(road.most_first),
    }
    return trial.judge(road.score), details


def _infidelity(trial: Trial) -> Judged:
    removals = trial.bench.squares
    unexplained, control = curves.unexplained(removals, trial.maps), curves.unexplained(removals, trial.misplaced)
    scaled = curves.infidelity(removals, trial.maps, scaled=True)
    details: dict[str, Json] = {
        "infidelity": float(scaled.mean()),
        "unexplained": _number(unexplained.nanmean()),
        "control": _number(control.nanmean()),
    }
    return trial.judge(control - unexplained), details


def _sensitivity_n(trial: Trial) -> Judged:
    correlations = {n: curves.sensitivity_n(removals, trial.maps) for n, removals in trial.bench.features.items()}
    by_n: dict[str, Json] = {str(n): _number(values.nanmean()) for n, values in correlations.items()}
    return trial.judge(torch.stack(list(correlations.values())).nanmean(dim=0)), {"by_n": by_n}


def _max_sensitivity(trial: Trial) -> Judged:
    panel = trial.bench.panel
    changes = randomisation.max_sensitivity(
        lambda images: trial.draw(replace(panel, batch=images)), panel.batch, seed=trial.bench.plan.seed
    )
    return steady(changes), {}


def _randomisation(trial: Trial) -> Judged:
    # Of an ensemble the first net is made random: the layers of several have no common order.
    model, first = trial.bench.panel.model, FIRST_STRANGE_SEED + trial.bench.plan.seed
    architecture = Architecture.from_dict(model.card.architecture)
    device = trial.bench.panel.batch.device
    untrained = [build_net(architecture, seed=first + i).eval().to(device) for i in range(N_UNTRAINED)]
    cascades = [randomisation.cascading_randomisation(trial.of_net, model.nets[0], net, N_STEPS) for net in untrained]
    steps = [
        (step[0].layer, randomisation.pooled([one.similarity for one in step])) for step in zip(*cascades, strict=True)
    ]
    details: dict[str, Json] = {
        "between_images": trial.between.to_dict(),
        "steps": [{"layer": layer, **similarity.to_dict()} for layer, similarity in steps],
    }
    return forgets(steps[-1][1], trial.between), details


JUDGES: dict[str, Judge] = {
    "deletion": _deletion,
    "insertion": _insertion,
    "road": _road,
    "infidelity": _infidelity,
    "sensitivity-n": _sensitivity_n,
    "max-sensitivity": _max_sensitivity,
    "randomisation": _randomisation,
}


def _label_randomisation(model: Model, shuffled: Model) -> Judge:
    def judge(trial: Trial) -> Judged:
        comparison = randomisation.label_randomisation(trial.of_model, model, shuffled)
        return forgets(comparison, trial.between), {"similarity": comparison.to_dict()}

    return judge


def _agreement(models: Sequence[Model]) -> Judge:
    def judge(trial: Trial) -> Judged:
        comparison = randomisation.agreement(trial.of_model, models)
        return agrees(comparison, trial.between), {"similarity": comparison.to_dict(), "n_models": len(models)}

    return judge


def _design(model: Model) -> tuple[str, PoolingOptions]:
    """Return what makes two nets of one architecture, whatever images and labels they are for."""
    architecture = Architecture.from_dict(model.card.architecture)
    return architecture.model, architecture.pooling


def _mean(values: torch.Tensor) -> list[Json]:
    """Return the mean over images of ``(N, S)`` curves."""
    return [float(value) for value in values.mean(dim=0)]


def _number(value: torch.Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)


def measure_trust(model: Model, subjects: Sequence[Subject], plan: TrustPlan = TrustPlan()) -> dict[str, Json]:
    """Return which criteria each method passes for this model, and the numbers behind it, as `trust.json` holds them.

    Parameters
    ----------
    model
        Its net is set to eval mode.
    subjects
        No image twice for one label. With fewer than two nothing is judged, and `reason` says so.

    Raises
    ------
    InputError
        If a method or, for another model, a label is unknown, or an image cannot be read.
    """
    methods = {name: method_maps(name) for name in plan.methods}
    controls = {"edges": edge_maps, "random": noise_maps(plan.seed)}
    judges = judges_for(model, plan)
    facts: dict[str, Json] = {
        "n_maps": len(subjects),
        "n_pictures": len({subject.item for subject in subjects}),
        "n_patients": len({subject.patient_id for subject in subjects}),
        "n_predicted": sum(subject.predicted for subject in subjects),
        "n_models": plan.n_models,
        "n_draws": plan.n_draws,
        "seed": plan.seed,
        "criteria": {name: {"source": SOURCES[name]} for name in judges},
    }
    if len(subjects) < 2:
        return {**facts, "methods": {}, "controls": {}, **reason_entries(Reason("too-few-maps"))}
    entries = _try_all({**methods, **controls}, judges, bench_of(model, subjects, plan))
    groups = {"methods": methods, "controls": controls}
    return {**facts, **{group: {name: entries[name] for name in names} for group, names in groups.items()}}


def _try_all(draws: Mapping[str, Draw], judges: Mapping[str, Judge], bench: Bench) -> dict[str, Json]:
    entries: dict[str, Json] = {}
    for i, (name, draw) in enumerate(draws.items()):
        trial, verdicts = put_on_trial(draw, bench), {}
        for k, (criterion, judge) in enumerate(judges.items(), start=1):
            verdict, details = judge(trial)
            verdicts[criterion] = {**verdict.to_dict(), **details}
            bench.plan.progress("measuring trust", i * len(judges) + k, len(draws) * len(judges))
        entries[name] = verdicts
    return entries
