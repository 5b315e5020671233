"""How far each heat map method can be trusted for one model: every criterion, on some of its images.

Two controls are judged beside the methods: the image's edges, which know nothing of the net, and noise, which knows
nothing at all. What a control passes shows nothing by itself.
"""

from collections.abc import Mapping, Sequence

from focusmap.faithfulness.criteria import SOURCES
from focusmap.faithfulness.judges import Bench, Judge, bench_of, judges_for, put_on_trial
from focusmap.faithfulness.plan import TrustPlan
from focusmap.faithfulness.subjects import Draw, Subject, edge_maps, method_maps, noise_maps
from focusmap.files import Json
from focusmap.models.net import Model
from focusmap.reasons import Reason, reason_entries


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
    found = _try_all({**methods, **controls}, judges, bench_of(model, subjects, plan))
    groups = {"methods": methods, "controls": controls}
    return {**facts, **{group: {name: found[name] for name in names} for group, names in groups.items()}}


def _try_all(draws: Mapping[str, Draw], judges: Mapping[str, Judge], bench: Bench) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for i, (name, draw) in enumerate(draws.items()):
        trial, verdicts = put_on_trial(draw, bench), {}
        for k, (criterion, judge) in enumerate(judges.items(), start=1):
            verdict, details = judge(trial)
            verdicts[criterion] = {**verdict.to_dict(), **details}
            bench.plan.progress("measuring trust", i * len(judges) + k, len(draws) * len(judges))
        found[name] = verdicts
    return found
