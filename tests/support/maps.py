"""Models asked for maps of image files, or of the rows of a cohort, through the one way that writes them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from focusmap.heatmaps import ExplainOptions, Explanation, Item, NetView, evidence_in, write_maps
from focusmap.heatmaps.view import Evidence
from focusmap.models import Model
from focusmap.models.cases import CaseModel
from focusmap.study import Cohort, Samples, Study


def samples_of(model: Model, items: Sequence[Item]) -> Samples:
    names = [(item.image_id, item.path, item.image_id) for item in items]
    table = pd.DataFrame(names, columns=["image_id", "path", "patient_id"])
    study = Study(Path("labels.csv"), Path(), model.task, "path")
    return Samples.from_files(Cohort(study, table, table), [item.file for item in items])


def explain(model: Model, items: Sequence[Item], out: Path, options: ExplainOptions = ExplainOptions()) -> Explanation:
    return write_maps(model.explainable(), samples_of(model, items), out, options)


def explain_rows(
    model: Model | CaseModel, rows: Cohort, out: Path, options: ExplainOptions = ExplainOptions()
) -> Explanation:
    return write_maps(model.explainable(), Samples.from_files(rows), out, options)


def evidence_of(model: Model, items: Sequence[Item], method: str, labels: Sequence[int]) -> Evidence:
    return evidence_by(model.explainable(), samples_of(model, items), method, labels)


def evidence_in_rows(model: Model | CaseModel, rows: Cohort, method: str, labels: Sequence[int]) -> Evidence:
    return evidence_by(model.explainable(), Samples.from_files(rows), method, labels)


def evidence_by(view: NetView, samples: Samples, method: str, labels: Sequence[int]) -> Evidence:
    """All samples in one batch."""
    (batch,) = samples.batches(view.preparations, 99)
    return evidence_in(view.map_batch(batch, method, labels), view.card, method, labels)
