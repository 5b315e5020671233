"""One model of several: of other seeds or folds, and of several views of each picture."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from focusmap.files import Json
from focusmap.models.net import Model, ensemble_net
from focusmap.nets.ensemble import Ensemble
from focusmap.nets.views import View


def with_views(model: Model, views: Sequence[View]) -> Model:
    """Return the model that averages its answer over several views of each picture; not calibrated yet."""
    card = replace(model.card, tta=[view.to_dict() for view in views])
    return Model(Ensemble(model.nets, views), card).calibrated({}, {})


def combine(models: Sequence[Model], views: Sequence[View], made_of: str) -> Model:
    """Return the ensemble of models of one task, preparation and architecture; not calibrated yet.

    Of an ensemble among `models` the members are taken. Members keep their own calibration, but not their views.

    Parameters
    ----------
    models
        One or more.
    views
        Of each picture, shown to each member.
    made_of
        For the reader: ``seeds`` or ``folds``.
    """
    members = tuple(member for model in models for member in (model.members or (_plain(model),)))
    card = replace(
        members[0].card,
        scales=_mean_scales(members),
        members=[f"members/{k}" for k in range(len(members))],
        tta=[view.to_dict() for view in views],
        cuts={},
        training=_facts(members, made_of),
    )
    return Model(ensemble_net(card, members), card, members).calibrated({}, {})


def _plain(model: Model) -> Model:
    """Return the model without its views; it keeps its own calibration."""
    return Model(model.nets[0], replace(model.card, tta=[]))


def _mean_scales(members: Sequence[Model]) -> dict[str, list[float]]:
    names = members[0].card.scales
    return {name: np.mean([member.card.scales[name] for member in members], axis=0).tolist() for name in names}


def _facts(members: Sequence[Model], made_of: str) -> dict[str, Json]:
    facts = [member.card.training for member in members]
    return {
        **facts[0],
        "n_parameters": sum(cast(int, fact.get("n_parameters", 0)) for fact in facts),
        "seed": cast(Json, sorted({cast(int, fact.get("seed", 0)) for fact in facts})),
        "ensemble_of": made_of,
    }
