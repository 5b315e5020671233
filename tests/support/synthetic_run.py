"""A run folder with every file and plausible content, made without a net: what the report is tested on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import Json, write_json, write_table
from focusmap.evaluation import Predictions, write_predictions
from focusmap.figures import Overlay, draw_overlay
from focusmap.models import ModelCard
from focusmap.models.card import write_card
from focusmap.study import Recipe, Study, Target, Task, write_study

FINDINGS: list[Json] = [
    {
        "name": "no-patient-column",
        "severity": "blocking",
        "message": "No column says which images belong to one patient; every image is taken as its own patient.",
        "count": 1,
        "examples": [],
    },
    {
        "name": "near-duplicates-across-classes",
        "severity": "warning",
        "message": "4 pairs of nearly equal images have different labels.",
        "count": 4,
        "examples": ["p003_1 ~ p007_2 (correlation 0.991)", "p011_1 ~ p012_4 (correlation 0.985)"],
    },
    {
        "name": "unknown-labels",
        "severity": "note",
        "message": "nodule is unknown in 31 images.",
        "count": 31,
        "examples": [],
    },
]


@dataclass(frozen=True)
class Recorded:
    """The tables that the files of a run are made of."""

    task: Task
    table: pd.DataFrame
    truth: np.ndarray
    logits: np.ndarray


def binary_task(*names: str) -> Task:
    return Task(tuple(Target(name) for name in names))


def write_run(folder: Path, task: Task, n: int = 200, n_maps: int = 24, seed: int = 0) -> Path:
    """Write a run of `n` images and return its folder."""
    recorded = _recorded(task, n, np.random.default_rng(seed))
    _write_declarations(folder, recorded)
    _write_training(folder, task)
    write_json(folder / "audit.json", audit_of(recorded))
    _write_results(folder, recorded)
    _write_focus(folder, recorded, n_maps)
    return folder


def _recorded(task: Task, n: int, generator: np.random.Generator) -> Recorded:
    patients = [f"p{i // 4:05d}" for i in range(n)]
    part = {p: ("train", "train", "train", "tune", "test")[i % 5] for i, p in enumerate(dict.fromkeys(patients))}
    ids = [f"{p}_{i % 4}" for i, p in enumerate(patients)]
    columns, logits = [], []
    for position, target in enumerate(task.targets):
        if target.kind == "binary":
            truth = (generator.random(n) < 0.35 / (1 + 0.3 * position)).astype(float)
            logits.append((2.2 * truth - 1.4 + generator.normal(0, 1.1, n))[:, None])
        elif target.kind == "continuous":
            truth = generator.normal(300, 60, n)
            logits.append((truth + generator.normal(0, 30, n))[:, None])
        else:
            truth = generator.integers(0, len(target.classes), n).astype(float)
            logits.append(
                2.0 * (truth[:, None] == np.arange(len(target.classes))) + generator.normal(0, 1, (n, target.n_logits))
            )
        truth[generator.random(n) < 0.04] = np.nan
        columns.append(truth)
    table = pd.DataFrame({
        "row": np.arange(2, n + 2), "image_id": ids, "path": [f"images/{name}.png" for name in ids],
        "patient_id": patients, "sex": generator.choice(["F", "M"], n), "split": [part[p] for p in patients],
    })  # fmt: skip
    truth = np.stack(columns, axis=1)
    for position, target in enumerate(task.targets):
        table[target.name] = target.decode(truth[:, position])
    return Recorded(task, table, truth, np.concatenate(logits, axis=1))


def _write_declarations(folder: Path, recorded: Recorded) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(
        label_file=Path("study/labels.csv"), images=Path("study"), task=recorded.task, path_column="path",
        patient_column="patient_id", patients="column", covariates=("sex",),
    )  # fmt: skip
    write_study(study, folder / "study.yaml")
    write_table(folder / "cohort.csv", recorded.table.drop(columns="split"))
    write_table(folder / "split.csv", recorded.table[["image_id", "split"]])
    write_json(folder / "split.json", {"fingerprint": "3f" * 32, "notes": ["nodule: 2 % more positives in tune."]})
    Recipe(model="small-residual", size=64, channels=1, epochs=20, weights="none").to_yaml(folder / "recipe.yaml")


def _write_training(folder: Path, task: Task) -> None:
    epochs = np.arange(1, 21)
    auroc = 0.95 - 0.4 / epochs
    history = pd.DataFrame({
        "epoch": epochs, "train_loss": 0.6 / epochs**0.5, "tune_loss": 0.65 / epochs**0.3, "tune_auroc": auroc,
        "learning_rate": 1e-3 * np.cos(epochs / 20), "positive_loss": 0.3 / epochs**0.5,
        "negative_loss": 0.28 / epochs**0.5, "seconds": 2.1, "improved": epochs < 15, "note": "",
    })  # fmt: skip
    write_table(folder / "history.csv", history)
    binary = [target.name for target in task.targets if target.kind == "binary"]
    card = ModelCard(
        task=task,
        architecture={"model": "small-residual", "channels": 1, "n_logits": task.n_logits},
        preparation={"size": 64, "channels": 1, "window": [0.5, 99.5]},
        thresholds=dict.fromkeys(binary, 0.4),
        threshold_for="youden",
        temperatures={target.name: 1.13 for target in task.targets if target.kind != "continuous"},
        scales={},
        known_answer={"seed": 0, "logits": [0.1] * task.n_logits},
        versions={"torch": "2.9.1"},
        training={"n_parameters": 1_203_331, "seed": 0, "epochs": 20, "weights": "none"},
    )
    write_card(card, folder / "model" / "model.json")
    manifest: dict[str, Json] = {
        "focusmap": "0.1.0", "versions": {"torch": "2.9.1", "numpy": "2.3.0"}, "seed": 0,
        "started": "2025-11-03T10:11:12+00:00",
        "seconds": {"prepare": 3.2, "train": 74.8, "evaluate": 4.0, "explain": 9.1},
        "hashes": {"labels": "a1" * 32, "split": "b2" * 32, "weights": "c3" * 32}, "device": "cpu", "threads": 2,
        "accepted": ["no-patient-column"], "parameters": 1_203_331,
    }  # fmt: skip
    write_json(folder / "manifest.json", manifest)


def audit_of(recorded: Recorded) -> dict[str, Json]:
    """Return a plausible `audit.json`."""
    names: list[Json] = [target.name for target in recorded.task.targets]
    generator = np.random.default_rng(1)
    matrix: list[Json] = [[int(generator.integers(0, 60)) for _ in names] for _ in names]
    counts: dict[str, Json] = {
        target.name: {"kind": target.kind, "counts": {"0": 120, "1": 70}, "n_unknown": 10}
        for target in recorded.task.targets
    }
    columns: list[Json] = [
        {"name": "image_id", "type": "text", "n_missing": 0, "n_distinct": len(recorded.table)},
        {"name": "sex", "type": "category", "n_missing": 3, "n_distinct": 2},
    ]
    near: list[Json] = [
        {
            "a": "p00003_1",
            "b": "p00007_2",
            "correlation": 0.991,
            "same_patient": False,
            "same_class": False,
            "same_split": True,
        }
    ]
    return {
        "findings": FINDINGS,
        "accepted": ["no-patient-column"],
        "overview": {
            "n_images": len(recorded.table) + 2, "n_patients": recorded.table["patient_id"].nunique(),
            "images_per_patient": {"min": 4, "median": 4, "max": 4}, "columns": columns, "targets": counts,
            "cooccurrence": {"names": names, "matrix": matrix},
            "association": [{"target": names[0], "column": "sex", "statistic": 0.04, "p": 0.6}],
            "images": {"n_unreadable": 2, "sizes": {"64x64": 180, "128x96": 20}, "modes": {"L": 200}},
            "duplicates": {"exact": [["p00001_0", "p00001_3"]], "near": near},
        },
    }  # fmt: skip


def _write_results(folder: Path, recorded: Recorded) -> None:
    probabilities = recorded.task.probabilities(recorded.logits)
    for part in ("tune", "test"):
        rows = np.flatnonzero(recorded.table["split"] == part)
        ids = recorded.table.loc[rows, ["image_id", "path", "patient_id"]].reset_index(drop=True)
        predictions = Predictions(recorded.task, ids, recorded.logits[rows], probabilities[rows])
        write_predictions(predictions, folder / "predictions" / f"{part}.csv")
    rows = np.flatnonzero(recorded.table["split"] == "test")
    targets: dict[str, Json] = {}
    curves: dict[str, Json] = {}
    for position, target in enumerate(recorded.task.targets):
        targets[target.name] = _evaluated(target, recorded.truth[rows, position])
        if target.kind != "continuous":
            curves |= {label: _curves() for label in target.label_names}
    patients = recorded.table.loc[rows, "patient_id"].nunique()
    mean: Json = {"auroc": {**_metric(0.871), "labels": list(recorded.task.names), "left_out": []}}
    write_json(
        folder / "evaluation" / "metrics.json",
        {
            "split": "test",
            "clustered_by": "patient",
            "n_images": len(rows),
            "n_patients": patients,
            "targets": targets,
            "mean": mean,
        },
    )
    write_json(folder / "evaluation" / "curves.json", curves)


def _metric(value: float | None, reason: str = "") -> Json:
    if value is None:
        return {"value": None, "low": None, "high": None, "reason": reason}
    spread = 0.06
    return {
        "value": value,
        "low": max(value - spread, 0.0),
        "high": min(value + spread, 1.0),
        "method": "patient-clustered bootstrap",
    }


def _evaluated(target: Target, truth: np.ndarray) -> Json:
    n = int((~np.isnan(truth)).sum())
    if target.kind == "continuous":
        values = {"mae": 0.3, "rmse": 0.4, "r2": 0.7, "pearson": 0.8}
        return {"kind": "continuous", "n": n, **{name: _metric(value) for name, value in values.items()}}
    if target.kind == "binary":
        return _binary(truth, n)
    k = len(target.classes)
    confusion: list[Json] = [[7 if i == j else 1 for i in range(k)] for j in range(k)]
    shared = {name: _metric(0.8) for name in ("auroc", "accuracy", "balanced_accuracy", "f1", "log_loss")}
    one: Json = {"n": n, "n_positive": n // k, "auroc": _metric(0.85), "sensitivity": _metric(0.7)}
    facts: dict[str, Json] = {"kind": target.kind, "classes": list(target.classes), "n": n, "confusion": confusion}
    return {**facts, **shared, "per_class": dict.fromkeys(target.classes, one)}


def _binary(truth: np.ndarray, n: int) -> Json:
    positives = int(np.nansum(truth))
    names = ["auroc", "average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv"]
    metrics = {name: _metric(0.88 - 0.03 * i) for i, name in enumerate(names)}
    metrics["npv"] = _metric(None, "nothing was predicted negative")
    calibration = {
        name: _metric(value) for name, value in {"f1": 0.7, "log_loss": 0.41, "brier": 0.12, "ece": 0.05}.items()
    }
    return {
        "kind": "binary",
        "positive": "1",
        "n": n,
        "n_positive": positives,
        "threshold": 0.4,
        **metrics,
        **calibration,
    }


def _curves() -> dict[str, Json]:
    x = np.linspace(0, 1, 30)
    return {
        "roc": {"fpr": list(x), "tpr": list(x**0.25)},
        "pr": {"recall": list(1 - x), "precision": list(0.35 + 0.65 * x)},
        "calibration": {"mean_predicted": list(x[::5]), "observed": list(x[::5] ** 1.2), "n": [7] * 6},
    }


def _write_focus(folder: Path, recorded: Recorded, n_maps: int) -> None:
    probabilities = recorded.task.probabilities(recorded.logits)
    rows = np.flatnonzero(recorded.table["split"] == "test")[:n_maps]
    labels: Sequence[str] = recorded.task.label_names
    index = []
    for position, row in enumerate(rows):
        label = position % len(labels)
        image_id = recorded.table["image_id"].iloc[row]
        overlay = f"overlays/{position:04d}.png"
        _write_overlay(folder / "focus" / overlay, image_id, position)
        index.append({
            "image_id": image_id, "path": recorded.table["path"].iloc[row], "target": labels[label],
            "probability": probabilities[row, label], "method": "cam", "map": f"maps/{position:04d}.npz",
            "overlay": overlay, "has_evidence": position % 5 != 4,
        })  # fmt: skip
    if index:
        write_table(folder / "focus" / "index.csv", pd.DataFrame(index))
    hits = {"cam": 0.91, "mean_mask": 0.6, "centre": 0.2, "edges": 0.1, "random": 0.06}
    methods: dict[str, Json] = {name: _scores(hit) for name, hit in hits.items()}
    gain = {key: {"value": 0.2, "low": 0.1, "high": 0.3} for key in ("auprc", "pointing_hit", "iou")}
    methods["cam"] = {**_scores(0.91), "minus_mean_mask": gain}
    by_size: Json = {
        size: {"from": start, "to": start + 0.01, "methods": methods}
        for size, start in {"small": 0.001, "medium": 0.02, "large": 0.05}.items()
    }
    by_target: Json = dict.fromkeys(recorded.task.names[:2], methods)
    write_json(folder / "focus" / "scores.json", {"methods": methods, "by_target": by_target, "by_size": by_size})


def _scores(hit: float) -> dict[str, Json]:
    of_hit: dict[str, Json] = {key: _metric(hit) for key in ("pointing_hit", "pointing_hit_of_positives")}
    of_half: dict[str, Json] = {key: _metric(hit / 2) for key in ("auprc", "energy_pointing", "iou", "dice")}
    return {**of_hit, **of_half, "chance": _metric(0.06), "n": 60, "n_false_negative": 7}


def _write_overlay(path: Path, image_id: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:64, :64]
    centre = generator.uniform(15, 49, 2)
    distance = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
    body = 90 + 60 * np.cos((columns - 32) / 14) + 45 * np.exp(-distance / 40) + generator.normal(0, 7, (64, 64))
    heat_map = None if seed % 5 == 4 else 4.5 * np.exp(-distance / 90) - 0.3
    image = body.clip(0, 255).astype(np.uint8)
    draw_overlay(path, Overlay(image, heat_map, f"{image_id}: cam", 4.0, outline=distance < 60))


def words_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<style>.*?</style>", "", page)).split())
