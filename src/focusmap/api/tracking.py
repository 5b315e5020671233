"""A finished run in MLflow: settings, metrics, the course of its training and its small files, as MLflow keeps them.

Where ``MLFLOW_TRACKING_URI`` is not set, that is the folder ``mlruns`` beside the run: files, without a server. Nothing
is logged that holds images, or names patients or images.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from focusmap.basics import Json, branch, number, read_json, read_table, require, table_name, text
from focusmap.study import Run, read_recipe, read_study

if TYPE_CHECKING:
    from mlflow import MlflowClient

FILES = (
    "study.yaml", "recipe.yaml", "manifest.json", "split.json", "ladder.json", "checklists.json",
    "evaluation/metrics.json", "evaluation/curves.json", "evaluation/baselines.json", "evaluation/coverage.json",
    "model/model.json", "model/model_card.md",
)  # fmt: skip
ADDRESS = "MLFLOW_TRACKING_URI"
LONGEST = 500  # letters of a setting


def track(run: Run) -> str:
    """Log a run that is evaluated, under its folder's name in the experiment of its label file; return where.

    Raises
    ------
    MissingPartError
        If MLflow is not installed.
    """
    client, where = _client(run)
    name = table_name(read_study(run.study).label_file)
    experiment = client.get_experiment_by_name(name)
    number_of = client.create_experiment(name) if experiment is None else experiment.experiment_id
    logged = client.create_run(number_of, run_name=run.folder.resolve().name, tags=_tags(run)).info.run_id
    for setting, chosen in _settings(run).items():
        client.log_param(logged, setting, chosen)
    for key, value in _metrics(read_json(run.evaluation / "metrics.json")):
        client.log_metric(logged, key, value)
    for part, step, key, value in _course(run):
        client.log_metric(logged, f"{part}{key}", value, step=step)
    for file in (path for one in FILES if (path := run.folder / one).is_file()):
        client.log_artifact(logged, str(file), str(file.parent.relative_to(run.folder)).removeprefix("."))
    client.set_terminated(logged)
    return f"run {logged} at {where}"


def _client(run: Run) -> "tuple[MlflowClient, str]":
    require("mlflow")
    where = os.environ.get(ADDRESS) or (run.folder.resolve().parent / "mlruns").as_uri()
    if where.startswith("file:"):
        # It asks to be told that a folder is meant, and no database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=where), where


def named(name: str) -> str:
    """Return a name as MLflow takes it.

    >>> named("label=no finding (0)/auroc")
    'label_no finding _0_/auroc'
    """
    return re.sub(r"[^\w\-./: ]", "_", name)


def _tags(run: Run) -> dict[str, str]:
    metrics, manifest = read_json(run.evaluation / "metrics.json"), read_json(run.manifest)
    tags = {
        "verdict": text(metrics.get("verdict")), "verdict_reason": text(metrics.get("verdict_reason")),
        "split": text(metrics.get("split")), "focusmap": text(manifest.get("focusmap")),
        "labels_sha256": text(branch(manifest, "hashes").get("labels")),
    }  # fmt: skip
    return {key: value for key, value in tags.items() if value}


def _settings(run: Run) -> dict[str, str]:
    return {key: str(value)[:LONGEST] for key, value in read_recipe(run.recipe).flat().items()}


def _metrics(metrics: Mapping[str, Json]) -> Iterator[tuple[str, float]]:
    """Yield each metric of each target, and of their mean, with the ends of its interval."""
    entries = {**branch(metrics, "targets"), **({"mean": metrics["mean"]} if metrics.get("mean") else {})}
    for target, entry in entries.items():
        for metric, found in branch(entry).items():
            for key in ("value", "low", "high") if isinstance(found, Mapping) else ():
                if (value := number(branch(found).get(key))) is not None:
                    yield named(f"{target}/{metric}" + (f".{key}" if key != "value" else "")), value


def _course(run: Run) -> Iterator[tuple[str, int, str, float]]:
    """Yield what was noted of each epoch: the part of the run, the epoch, the name, the value."""
    histories = [path for path in sorted(run.folder.rglob("history.csv")) if path.stat().st_size]
    for path in histories:
        part = path.parent.relative_to(run.folder).as_posix()
        table = read_table(path).apply(pd.to_numeric, errors="coerce")
        for step, row in enumerate(table.to_dict("records")):
            for key, value in row.items():
                if np.isfinite(value):
                    yield "" if part == "." else f"{named(part)}/", step, named(str(key)), float(value)
