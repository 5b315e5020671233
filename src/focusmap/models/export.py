"""A model as one graph that other programs run, without torch and without focusmap: ONNX or OpenVINO.

The graph goes from uint8 images of any size to calibrated probabilities and, in the same pass, to the maps that are the
nets' own or a closed form, and to how unlike train the images are. ``export.json`` beside it says what goes in, what
comes out, how that is read and which labels get no answer; ``example.py`` asks it. Graph and torch are compared before
anything is kept.
"""

import logging
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from focusmap.basics import InputError, Json, atomic, branch, read_json, refuse_existing, require, write_json
from focusmap.evaluation import ANSWERS, IN_WORDS, NOTICE, Showing
from focusmap.heatmaps import FOCUS, RECONSTRUCTION, unit_of
from focusmap.images import FOREGROUND, Preparation
from focusmap.models import formats, ood, predictor
from focusmap.models.deployed import Deployed
from focusmap.models.folder import TOLERANCE

if TYPE_CHECKING:
    from onnx_ir import Graph

VERSION = 2
PROBABILITIES, UNLIKE, ACTIVATION, EXAMPLE = "probabilities", "unlike", "class_activation", "example.py"
OUTPUT_OF = {"cam": ACTIVATION, FOCUS: FOCUS, RECONSTRUCTION: RECONSTRUCTION}
N_COMPARED = 2
# Of the images that graph and torch are compared on: neither square nor of the size of any net.
ROWS, COLUMNS = 331, 277
KEPT = ("task", "thresholds", "temperatures", "cuts", "versions")
PIXELS = (
    "red, green and blue of 0 to 255, row by row, of images of one size; grey three times; black is dark, as monitors "
    "show it"
)
STANDARDISED = "grey values of the prepared volume, less the mean of its content, over the deviation of its content"


@dataclass(frozen=True)
class Exported:
    """What was exported: the graph's file, and by how much each of its outputs differs from torch's at most."""

    file: Path
    differences: Mapping[str, float]


def export_model(
    model: predictor.Predictor, format_name: str, out: Path, *, of: Path | None = None, force: bool = False
) -> Exported:
    """Write a model's graph, ``export.json`` and ``example.py`` to the folder `out`, and return them.

    Parameters
    ----------
    model
        A net of single images, or a mean of such nets, on the processor; nets are set to eval mode.
    format_name
        A key of `focusmap.models.formats.FORMATS`.
    out
        Folder, made where it is missing.
    of
        The model's folder: what train looks like and how the model did on test is taken from there. None: not known.
    force
        Replace an export that is there.

    Raises
    ------
    InputError
        If there is no such format, the folder holds an export, the model does not export, or its graph does not give
        what torch gives; the message says why, and nothing is written.
    MissingPartError
        If what exports is not installed.
    """
    files = formats.format_of(format_name).files
    refuse_existing(*(out / name for name in (*files, formats.CARD)), force=force)
    require("export")
    deployed = Deployed(model, None if of is None else ood.read_ood(of / ood.OOD_FILE)).eval()
    names = _outputs(deployed)
    with TemporaryDirectory() as scratch:
        shapes, differences = _write_checked(deployed, names, format_name, Path(scratch))
        for name in files:
            with atomic(out / name, sealed=True) as place:
                shutil.copyfile(Path(scratch, name), place)
    facts = _facts(deployed, model, dict(zip(names, shapes, strict=True)), of)
    parity: dict[str, Json] = {"difference": dict(differences), "n_probes": N_COMPARED}
    _write_beside(out, {"format": VERSION, "graph": format_name, "file": files[0], **facts, "parity": parity})
    return Exported(out / files[0], differences)


def _write_beside(out: Path, facts: Mapping[str, Json]) -> None:
    if branch(facts["input"])["type"] == "uint8":
        example = Path(__file__).with_name("templates") / EXAMPLE
        with atomic(out / EXAMPLE) as place:
            shutil.copyfile(example, place)
    write_json(out / formats.CARD, dict(facts))


def _outputs(deployed: Deployed) -> list[str]:
    """Return the names of what comes out, in the order in which the graph gives it."""
    names = [PROBABILITIES, formats.LOGITS, OUTPUT_OF[deployed.method]]
    unlike = [] if deployed.unlike is None else [UNLIKE]
    return [*names, *unlike, *(formats.prepared_name(position) for position in range(len(deployed.steps)))]


def _write_checked(
    deployed: Deployed, names: Sequence[str], format_name: str, folder: Path
) -> tuple[list[torch.Size], dict[str, float]]:
    """Write the graph to `folder`; return the shapes of its outputs and how far they are from torch's."""
    compared = _compared_on(deployed)
    try:
        _write_onnx(deployed, names, compared, folder / formats.ONNX)
        if format_name in CONVERT:
            CONVERT[format_name](folder)
        ask = formats.FORMATS[format_name].open(folder / formats.FORMATS[format_name].files[0], (), ())
        outputs = [ask({formats.IMAGES: compared[:n]}) for n in (1, N_COMPARED)]
    except Exception as error:  # exporter, converter and runtime each have errors of their own
        what, fact = _name(deployed), (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{what} does not export ({fact}). Use it with focusmap predict.") from error
    with torch.inference_mode():
        expected = [deployed(torch.from_numpy(compared[:n])) for n in (1, N_COMPARED)]
    off = {}
    for position, name in enumerate(names):
        pairs = [(theirs[name], ours[position].numpy()) for theirs, ours in zip(outputs, expected, strict=True)]
        # Of a map and of pixels the mean: which of two equal places counts among the highest is anyone's choice, and so
        # is the grey level of a value halfway between two.
        measure = np.max if name in (PROBABILITIES, formats.LOGITS, UNLIKE) else np.mean
        off[name] = _difference(pairs, measure, f"{name} of {_name(deployed)}")
    return [one.shape for one in expected[0]], off


def _write_onnx(deployed: Deployed, names: Sequence[str], compared: np.ndarray, path: Path) -> None:
    sizes = {0: torch.export.Dim("N")}
    if deployed.steps:
        sizes |= {1: torch.export.Dim("rows"), 2: torch.export.Dim("columns")}
    with warnings.catch_warnings():
        # Of operators that are not used, and of opsets: nothing that a reader could act on.
        warnings.simplefilter("ignore")
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        program = torch.onnx.export(
            deployed,
            (torch.from_numpy(compared),),
            input_names=[formats.IMAGES],
            output_names=list(names),
            dynamic_shapes=(sizes,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    _forget_source(program.model.graph)
    program.save(path)


def _forget_source(graph: "Graph") -> None:
    """Take out of a graph which lines of which files of this machine each node comes from."""
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def _to_openvino(folder: Path) -> None:
    import openvino

    openvino.save_model(
        openvino.convert_model(folder / formats.ONNX), folder / formats.OPENVINO[0], compress_to_fp16=False
    )


CONVERT: dict[str, Callable[[Path], None]] = {"openvino": _to_openvino}
"""From ONNX to other formats."""


def _compared_on(deployed: Deployed) -> np.ndarray:
    """Return what graph and torch are compared on: smooth noise ``(2, H, W, 3) uint8``, or that of volumes."""
    # RandomState's stream is frozen for all time, unlike that of a Generator.
    random = np.random.RandomState(0)
    if not deployed.steps:
        shape = (N_COMPARED, *deployed.preparations[0].input_shape)
        return random.standard_normal(shape).astype(np.float32)
    import cv2

    coarse = random.randint(0, 256, (N_COMPARED, 24, 20, 3)).astype(np.uint8)
    return np.stack([cv2.resize(one, (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR) for one in coarse])


def _difference(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], measure: Callable[[np.ndarray], np.floating], what: str
) -> float:
    """Return how far the graph is from torch; `InputError` if that is more than rounding."""
    off = max(float(measure(np.abs(theirs - ours))) for theirs, ours in pairs)
    if not off <= TOLERANCE * (1 + max(float(np.abs(ours).max()) for _, ours in pairs)):
        raise InputError(f"the exported {what} differ from torch's by {off:.2g}. Use it with focusmap predict.")
    return off


def _facts(
    deployed: Deployed, model: predictor.Predictor, shapes: Mapping[str, torch.Size], of: Path | None
) -> dict[str, Json]:
    labels: list[Json] = list(deployed.task.label_names)
    showing = Showing() if of is None else ood.showing_of(of)
    outputs: dict[str, dict[str, Json]] = {name: {"shape": ["N", *shape[1:]]} for name, shape in shapes.items()}
    for name in (PROBABILITIES, formats.LOGITS):
        outputs[name]["labels"] = labels
    outputs[OUTPUT_OF[deployed.method]]["unit"] = unit_of(deployed.method).words
    written, answers = model.card.to_dict(), None if of is None else of / ANSWERS
    aspects: list[Json] = [] if deployed.unlike is None else list(deployed.unlike.aspects)
    return {
        "input": _input(deployed),
        "outputs": cast(Json, outputs),
        "labels": labels,
        "preparations": [one.to_dict() for one in deployed.preparations],
        "ood": {"aspects": aspects, "limit": 1.0},
        "test": dict(branch(read_json(answers), "targets")) if answers is not None and answers.is_file() else {},
        "not_shown": {label: IN_WORDS[why] for label in deployed.task.label_names if (why := showing.why_not(label))},
        "model": str(model.card.architecture.get("model")),
        "made_from": None if of is None else formats.model_fingerprint(of),
        **{key: written[key] for key in KEPT if key in written},
        "notice": NOTICE,
    }


def _input(deployed: Deployed) -> dict[str, Json]:
    if not deployed.steps:
        shape: list[Json] = ["N", *deployed.preparations[0].input_shape]
        return {"name": formats.IMAGES, "type": "float32", "shape": shape, "values": STANDARDISED}
    cropped = any(isinstance(one, Preparation) and one.crop == FOREGROUND for one in deployed.preparations)
    values = f"{PIXELS}; cut to their foreground" if cropped else PIXELS
    return {"name": formats.IMAGES, "type": "uint8", "shape": ["N", "rows", "columns", 3], "values": values}


def _name(deployed: Deployed) -> str:
    return f"model of {', '.join(deployed.task.names)}"
