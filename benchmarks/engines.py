"""What answers of one run cost by torch and by OpenVINO, and whether they are equal: python benchmarks/engines.py RUN.

The run's graph must be there (focusmap export RUN --format openvino). Times are taken in turns, so that what else the
machine does falls on all alike; of a start what counts is the processor's time.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import openvino
from PIL import Image
from sklearn.metrics import roc_auc_score

from focusmap.api import load_model
from focusmap.models import Predictor, model_folder
from focusmap.models.formats import CARD, cut, prepared_name
from focusmap.models.graphs import GraphModel
from focusmap.study import Run, Samples, load_cohort, read_split

BATCH, ROUNDS, STARTS = 32, 7, 5


def aurocs(run: Path, target: str) -> None:
    """Print the AUROC on test by torch, by OpenVINO, and by the whole graph from files that Pillow reads."""
    cohort = load_cohort(run)
    rows = cohort.of(read_split(Run(run).split, cohort).ids("test"))
    files, truth = [cohort.file(name) for name in rows.image_ids], rows.truth[:, cohort.task.index(target)]
    found = {
        engine: load_model(run, "cpu", engine).predict(files).probability(target) for engine in ("torch", "openvino")
    }
    folder = model_folder(run) / "openvino"
    graph = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    column = json.loads((folder / CARD).read_text())["labels"].index(target)
    images = [np.asarray(Image.open(file).convert("RGB"))[None] for file in files]
    found["the whole graph"] = np.array([graph(image)["probabilities"][0, column] for image in images])
    for name, probabilities in found.items():
        off = np.abs(probabilities - found["torch"]).max()
        print(f"{name:16} AUROC {roc_auc_score(truth, probabilities):.5f} of {len(files)}, off by at most {off:.1e}")


def throughput(run: Path) -> None:
    """Print the seconds of a batch, the best of some rounds: by torch, at once and in its usual parts, by OpenVINO."""
    place, cohort = model_folder(run), load_cohort(run)
    of_torch, of_openvino = load_model(run).model, load_model(run, "cpu", "openvino").model
    assert isinstance(of_openvino, GraphModel)
    rows = cohort.of(cohort.image_ids[:BATCH])
    few, many = (list(Samples.from_files(rows).batches(of_torch.preparations, n)) for n in (usual(of_torch), BATCH))
    given = {prepared_name(k): many[0].images(one).pixels for k, one in enumerate(of_openvino.shown)}
    asked: dict[str, Callable[[], object]] = {
        "torch": lambda: of_torch.encode(many[0]),
        f"torch, {usual(of_torch)} at once": lambda: [of_torch.encode(batch) for batch in few],
        "openvino f32": lambda: of_openvino.encode(many[0]),
        "openvino bf16": _in_bfloat16(place / "openvino/model.xml", given),
    }
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(ROUNDS):
        for name, ask in asked.items():
            started = time.perf_counter()
            ask()
            seconds[name].append(time.perf_counter() - started)
    for name, found in seconds.items():
        print(f"batch of {BATCH}, {name:18} {min(found):.3f} s, {min(seconds['torch']) / min(found):.1f} times torch")


def usual(model: Predictor) -> int:
    """Return how many images a model is shown at once when it reads files."""
    return model.batch_size(stored=False)


def _in_bfloat16(graph: Path, given: Mapping[str, np.ndarray]) -> Callable[[], object]:
    core = openvino.Core()
    model = cut(core.read_model(graph), list(given), ["logits"])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    return lambda: compiled(dict(given))


def starts(run: Path, image: Path) -> None:
    """Print the processor's seconds of ``focusmap predict`` of one file, the least of some."""
    for engine in ("openvino", "torch"):
        found = []
        for _ in range(STARTS):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", "focusmap", "predict", str(run), str(image), "--engine", engine]
            subprocess.run(command, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        print(f"predict of one file, {engine:9} {min(found):.2f} s of the processor")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    cohort = load_cohort(run)
    binary = [target.name for target in cohort.task.targets if target.kind == "binary"]
    for target in binary[:3]:
        print(target)
        aurocs(run, target)
    throughput(run)
    starts(run, cohort.file(cohort.image_ids[0]))


if __name__ == "__main__":
    main()
