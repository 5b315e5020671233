"""An answer as DICOM objects: structured report, segmentation, parametric map and secondary capture (highdicom).

All are derived from the images that they are about, of the same patient and study, each a series of its own. Geometry
is that of the images, plane by plane, so that oblique, flipped and uneven series come back as they are.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from focusmap.basics import Json, branch, items, number, own_version, text
from focusmap.dicom.sources import MAKER, Sources
from focusmap.evaluation import NOTICE

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset

SCHEME = "99FOCUSMAP"
SERIES = {"SR": 9301, "SEG": 9302, "MAP": 9303, "SC": 9304}
# SNOMED CT: what an answer says of a finding.
SAID = {
    "yes": ("52101004", "SCT", "Present"),
    "no": ("2667000", "SCT", "Absent"),
    "unsure": ("82334004", "SCT", "Indeterminate"),
    "none": ("none", SCHEME, "No answer"),
}
Codes = Mapping[str, tuple[str, str, str]]


@dataclass(frozen=True)
class Author:
    """Which model answers, and how its findings are coded: ``(value, scheme, meaning)`` by the name of a label.

    What is not coded gets a private code of its own name.
    """

    model: str
    codes: Codes = field(default_factory=dict)

    def code(self, name: str) -> "CodedConcept":
        """Return the code of a label."""
        return _code(*self.codes.get(name, (_value(name), SCHEME, name[:64])))

    @property
    def equipment(self) -> dict[str, Any]:
        """What every object says of who made it."""
        return {
            "manufacturer": MAKER,
            "manufacturer_model_name": self.model[:64] or MAKER,
            "software_versions": own_version(),
            "device_serial_number": "1",
        }


def _code(value: str, scheme: str, meaning: str) -> "CodedConcept":
    from highdicom.sr import CodedConcept

    return CodedConcept(value, scheme, meaning)


def _value(name: str) -> str:
    """Return a private code value of a name: at most 16 signs.

    >>> _value("label=malignant"), len(_value("a very long name of a finding"))
    ('label=malignant', 16)
    """
    import hashlib

    return name if len(name) <= 16 else name[:9] + "~" + hashlib.sha256(name.encode()).hexdigest()[:6]


def _uid() -> str:
    from highdicom import UID

    return str(UID())


def report(sources: Sources, answer: Mapping[str, Json], author: Author) -> "Dataset":
    """Return the answer as a structured report, TID 1500: a group per target, with the algorithm and the images.

    Parameters
    ----------
    answer
        As `focusmap.api.answer_of` tells it: ``unlike`` and ``targets``.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(uid=_uid(), name=MAKER, model_name=author.model[:64] or MAKER),
    )
    groups = [_group(branch(target), sources, author) for target in items(answer.get("targets"))]
    content = sr.MeasurementReport(
        sr.ObservationContext(observer_device_context=device),
        procedure_reported=_code("363679005", "SCT", "Imaging"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    with _quiet():
        made = sr.ComprehensiveSR(
            list(sources.datasets), content, _uid(), SERIES["SR"], _uid(), 1, MAKER,
            is_complete=True, is_final=False, is_verified=False,
        )  # fmt: skip
    unlike = text(answer.get("unlike"))
    made.SeriesDescription = f"Answer of {author.model}"[:64]
    made.CompletionFlagDescription = (f"Out of distribution: no answer. {NOTICE}" if unlike else NOTICE)[:64]
    return made


def _group(target: Mapping[str, Json], sources: Sources, author: Author) -> Any:
    from highdicom import sr

    name, answer = text(target.get("name")), text(target.get("answer"))
    classes = [branch(entry) for entry in items(target.get("classes"))]
    finding = author.code(name)
    answered = _code(*SAID[answer]) if answer in SAID else author.code(answer)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(_uid(), name[:64]),
        finding_type=finding,
        algorithm_id=sr.AlgorithmIdentification(f"{MAKER} {author.model}"[:64], own_version()),
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(source) for source in sources.datasets],
        measurements=_measurements(target, classes) or None,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(_code("answer", SCHEME, "Answer of the model"), answered),
        ],
    )


def _measurements(target: Mapping[str, Json], classes: Sequence[Mapping[str, Json]]) -> list[Any]:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    is_value = target.get("kind") == "continuous"
    measurements = []
    for each in classes:
        value, label = number(each.get("probability")), text(each.get("name"))
        if value is None:
            continue
        kind = ("value", SCHEME, "Value") if is_value else ("probability", SCHEME, "Calibrated probability")
        several = len(classes) > 1
        coded = _code(_value(f"p={label}"), SCHEME, f"Probability of {label}"[:64]) if several else _code(*kind)
        measurements.append(sr.Measurement(coded, value, codes.UCUM.NoUnits))
    cut = number(target.get("threshold"))
    if cut is not None:
        measurements.append(
            sr.Measurement(_code("operating-point", SCHEME, "Operating point"), cut, codes.UCUM.NoUnits)
        )
    return measurements


def segmentation(sources: Sources, masks: Mapping[str, np.ndarray], author: Author) -> "Dataset":
    """Return masks as a binary segmentation, a segment for each label.

    Parameters
    ----------
    masks
        By label, ``(*spatial) bool`` in the grid of the image.
    """
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(
        f"{MAKER} {author.model}"[:64], codes.cid7162.ArtificialIntelligence, own_version()
    )
    described = [
        SegmentDescription(
            k, label[:64], codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion, "AUTOMATIC", algorithm
        )
        for k, label in enumerate(masks, start=1)
    ]
    planes = np.stack([sources.planes(mask) for mask in masks.values()], axis=-1).astype(np.uint8)
    with _quiet():
        made = Segmentation(
            list(sources.datasets), planes, "BINARY", described, _uid(), SERIES["SEG"], _uid(), 1,
            omit_empty_frames=bool(planes.any()), **author.equipment,
        )  # fmt: skip
    made.SeriesDescription = f"Masks of {author.model}"[:64]
    if not sources.is_placed:
        made.PatientOrientation = ""
    return made


def parametric_map(sources: Sources, values: np.ndarray, label: str, unit: str, author: Author) -> "Dataset":
    """Return a heat map on its absolute scale as 32-bit floats: what speaks for a label is no probability.

    A projection image lies nowhere in the patient; its map gets a frame of reference of its own.

    Parameters
    ----------
    values
        ``(*spatial) float`` in the grid of the image.
    unit
        Of the values, in words.
    """
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes

    planes = sources.planes(values).astype(np.float32)[..., np.newaxis]
    low, high = float(planes.min()), float(planes.max())
    mapping = RealWorldValueMapping(
        label[:16], unit[:64], codes.UCUM.NoUnits, (low, max(high, low + 1e-6)), slope=1, intercept=0,
        quantity_definition=_code(_value(unit.partition(" ")[0]), SCHEME, unit[:64]),
    )  # fmt: skip
    placed = list(sources.datasets) if sources.is_placed else [_placed(dataset) for dataset in sources.datasets]
    with _quiet():
        made = ParametricMap(
            placed, planes, _uid(), SERIES["MAP"], _uid(), 1, contains_recognizable_visual_features=False,
            real_world_value_mappings=[[mapping]], window_center=(low + high) / 2, window_width=max(high - low, 1e-6),
            content_label=_label(label), content_description=f"Evidence for {label}"[:64], **author.equipment,
        )  # fmt: skip
    made.SeriesDescription = f"Heat map of {author.model}: {label}"[:64]
    made.Laterality = getattr(sources.datasets[0], "Laterality", "")
    return made


def _label(name: str) -> str:
    """Return a name as a content label: 16 capitals, digits, spaces and underscores."""
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in name.upper())[:16]


def _placed(dataset: "Dataset") -> "Dataset":
    placed = copy.deepcopy(dataset)
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing") or [1, 1]
    placed.FrameOfReferenceUID, placed.ImagePositionPatient = _uid(), [0, 0, 0]
    placed.ImageOrientationPatient, placed.PixelSpacing, placed.SliceThickness = [1, 0, 0, 0, 1, 0], spacing, 1
    return placed


def secondary_capture(sources: Sources, pixels: np.ndarray, title: str, author: Author) -> "Dataset":
    """Return an overlay ``(rows, columns, 3) uint8`` as an image for viewers that show nothing else."""
    from highdicom.sc import SCImage

    with _quiet():
        made = SCImage.from_ref_dataset(
            sources.datasets[0], np.ascontiguousarray(pixels), "RGB", 8, "PATIENT", _uid(), SERIES["SC"], _uid(), 1,
            MAKER, patient_orientation=("L", "F"), transfer_syntax_uid="1.2.840.10008.1.2.1",
        )  # fmt: skip
    setattr(made, "PatientOrientation", "")  # noqa: B010  (empty: not known, of which no list can be made)
    made.Laterality = ""
    made.BurnedInAnnotation = "YES"
    made.SeriesDescription = f"Overlay of {author.model}: {title}"[:64]
    made.DerivationDescription = f"Heat map of {title}. {NOTICE}"[:1024]
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings from being printed: they quote values of headers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
