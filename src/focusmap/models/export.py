"""A model as one graph that other programs run, without torch and without focusmap: ONNX or OpenVINO.

The graph goes from a prepared, standardised image to logits and, in the same pass, to the maps that are the net's own
or a closed form: focus maps of a focus-map net, the errors of an autoencoder, else class activation maps.
``export.json`` beside it says what goes in, what comes out and how that is read. Graph and torch are compared on the
model's probe before anything is kept.
"""

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from focusmap.errors import InputError, suggest
from focusmap.evaluation import NOTICE
from focusmap.files import Json, atomic, refuse_existing, write_json
from focusmap.heatmaps import FOCUS, RECONSTRUCTION, unit_of
from focusmap.installation import require
from focusmap.models.folder import PROBE_TOLERANCE
from focusmap.models.net import Model
from focusmap.nets import Architecture, Ensemble, FocusNet, bring_home, on_finest, show

CARD = "export.json"
VERSION = 1
INPUT, LOGITS, ACTIVATION = "image", "logits", "class_activation"
METHOD_OF = {ACTIVATION: "cam", FOCUS: FOCUS, RECONSTRUCTION: RECONSTRUCTION}
N_PROBES = 2
KEPT = ("task", "preparation", "thresholds", "temperatures", "scales", "cuts", "versions")
STANDARDISED = "grey values of the prepared image, less the mean of its content, over the deviation of its content"
Run = Callable[[np.ndarray], Sequence[np.ndarray]]


class Deployed(nn.Module):
    """What is exported: images ``(N, C, *spatial)`` to logits ``(N, L)`` and maps ``(N, L, *grid)``."""

    def __init__(self, net: FocusNet | Ensemble) -> None:
        super().__init__()
        self.net = net

    @property
    def outputs(self) -> tuple[str, str]:
        """The names of what comes out."""
        own = RECONSTRUCTION if self.net.reconstructs else ACTIVATION
        return LOGITS, FOCUS if self.net.has_focus else own

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and maps; of an ensemble their means over members and views."""
        if isinstance(self.net, FocusNet):
            return _answer(self.net, x)
        answers = []
        for net, view, gain, offset in self.net.passes():
            logits, maps = _answer(net, show(view, x))
            # Focus maps are shares, whatever the unit of the logits.
            scale = 1.0 if net.has_focus else gain.reshape(-1, *[1] * (maps.ndim - 2))
            answers.append((gain * logits + offset, scale * bring_home(view, maps)))
        every_logits, every_map = zip(*answers, strict=True)
        return torch.stack(every_logits).mean(dim=0), torch.stack(on_finest(every_map)).mean(dim=0)


def _answer(net: FocusNet, x: Tensor) -> tuple[Tensor, Tensor]:
    features = net.features(x)
    return net.classify(features), net.focus_maps(features) if net.has_focus else net.evidence(features)


@dataclass(frozen=True)
class Format:
    """A format: its files, how they are made in a folder that holds the ONNX, and how the first of them is run."""

    files: tuple[str, ...]
    convert: Callable[[Path], None]
    open: Callable[[Path], Run]


@dataclass(frozen=True)
class Exported:
    """What was exported: the graph's file, and by how much each of its outputs differs from torch's at most."""

    file: Path
    differences: Mapping[str, float]


def export_model(model: Model, format_name: str, out: Path, *, force: bool = False) -> Exported:
    """Write a model's graph and ``export.json`` to the folder `out`, and return them.

    Parameters
    ----------
    model
        On the processor; its net is set to eval mode.
    format_name
        A key of `FORMATS`.
    out
        Folder, made where it is missing.
    force
        Replace an export that is there.

    Raises
    ------
    InputError
        If there is no such format, the folder holds an export, the net does not export, or its graph does not give what
        torch gives; the message says why, and nothing is written.
    MissingPartError
        If what exports is not installed.
    """
    chosen = _format(format_name)
    refuse_existing(*(out / name for name in (*chosen.files, CARD)), force=force)
    require("export")
    with TemporaryDirectory() as scratch:
        facts, differences = _write_checked(model, chosen, Path(scratch))
        for name in chosen.files:
            with atomic(out / name) as place:
                shutil.copyfile(Path(scratch, name), place)
    facts = {"format": VERSION, "graph": format_name, "file": chosen.files[0], **facts}
    write_json(out / CARD, facts)
    return Exported(out / chosen.files[0], differences)


def _write_checked(model: Model, chosen: Format, folder: Path) -> tuple[dict[str, Json], dict[str, float]]:
    """Write the graph to `folder`; return its facts and how far it is from torch, for one image and for two."""
    deployed, probe = Deployed(model.net).eval(), _probe(model)
    try:
        _write_onnx(deployed, probe, folder / ONNX)
        chosen.convert(folder)
        run = chosen.open(folder / chosen.files[0])
        found = [run(probe[:n]) for n in (1, N_PROBES)]
    except Exception as error:  # exporter, converter and runtime each have errors of their own
        name, fact = _name(model), (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"model {name!r} does not export ({fact}). Use it with focusmap predict.") from error
    with torch.inference_mode():
        expected = [deployed(torch.from_numpy(probe[:n])) for n in (1, N_PROBES)]
    off = {}
    for name, theirs, ours in zip(deployed.outputs, zip(*found, strict=True), zip(*expected, strict=True), strict=True):
        off[name] = _largest_difference(theirs, [one.numpy() for one in ours], f"{name} of model {_name(model)!r}")
    return _facts(model, deployed, expected[0], off), off


def _write_onnx(deployed: Deployed, probe: np.ndarray, path: Path) -> None:
    with warnings.catch_warnings():
        # Of operators that are not used, and of opsets: nothing that a reader could act on.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            (torch.from_numpy(probe),),
            input_names=[INPUT],
            output_names=list(deployed.outputs),
            dynamic_shapes=({0: torch.export.Dim("N")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path)


def _as_it_is(folder: Path) -> None:
    del folder


def _to_openvino(folder: Path) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(folder / ONNX), folder / OPENVINO[0], compress_to_fp16=False)


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: cast(Sequence[np.ndarray], session.run(None, {INPUT: batch}))


def _open_openvino(path: Path) -> Run:
    import openvino

    # Where the processor has bfloat16, OpenVINO would compute with it.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda batch: [np.array(found) for found in compiled(batch).values()]


ONNX, OPENVINO = "model.onnx", ("model.xml", "model.bin")
FORMATS: dict[str, Format] = {
    "onnx": Format((ONNX,), _as_it_is, _open_onnx),
    "openvino": Format(OPENVINO, _to_openvino, _open_openvino),
}


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InputError(f"export format {name!r} is not one of {', '.join(FORMATS)}.{suggest(name, FORMATS)}")
    return FORMATS[name]


def _probe(model: Model) -> np.ndarray:
    """Return the noise of the model's probe at the size of its images, ``(2, C, *spatial) float32``."""
    seed = cast(int, model.card.probe.get("seed", 0))
    return np.random.RandomState(seed).standard_normal((N_PROBES, *model.preparation.input_shape)).astype(np.float32)


def _largest_difference(theirs: Sequence[np.ndarray], ours: Sequence[np.ndarray], what: str) -> float:
    """Return how far the graph is from torch at most; `InputError` if that is more than rounding."""
    off = max(float(np.abs(a - b).max()) for a, b in zip(theirs, ours, strict=True))
    if not off <= PROBE_TOLERANCE * (1 + max(float(np.abs(b).max()) for b in ours)):
        raise InputError(f"the exported {what} differ from torch's by {off:.2g}. Use it with focusmap predict.")
    return off


def _facts(
    model: Model, deployed: Deployed, expected: tuple[Tensor, Tensor], off: Mapping[str, float]
) -> dict[str, Json]:
    (logits, maps), card = deployed.outputs, model.card.to_dict()
    return {
        "input": {"name": INPUT, "shape": ["N", *model.preparation.input_shape], "values": STANDARDISED},
        "outputs": {
            logits: {"shape": ["N", expected[0].shape[1]], "labels": list(model.task.label_names)},
            maps: {"shape": ["N", *expected[1].shape[1:]], "unit": unit_of(METHOD_OF[maps]).words},
        },
        "parity": {"largest_difference": dict(off), "n_probes": N_PROBES, "seed": model.card.probe.get("seed", 0)},
        "model": _name(model),
        **{key: card[key] for key in KEPT if key in card},
        "notice": NOTICE,
    }


def _name(model: Model) -> str:
    return Architecture.from_dict(model.card.architecture).model
