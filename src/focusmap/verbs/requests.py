"""What each verb accepts besides a run's folder and its options: the same for Python and the command line.

What starts must start fast: nothing here imports numpy or pandas.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from focusmap.basics import InputError, Language, Only, Results, Setting, is_table, normalise, with_parameters
from focusmap.study import ESCAPE, FOLLOW_LINKS, ConsensusOptions, Declaration, ReadingsDeclaration, TrustRequest
from focusmap.study.recipe import numbers

DrawnBy = Literal["auto", "vote", "distilled", "refined"]
Engine = Literal["auto", "torch", "onnx", "openvino"]
ENGINE = Setting("what computes: torch, onnx, openvino (auto: openvino where focusmap export made its graph)")

RESUME = Setting("with --engine ray: leave the parts that are done")
Inputs = Annotated[
    tuple[Path, ...],
    Setting("default: the run's test split", "IMAGE|LABELS.csv", is_positional=True),
    "Images or folders, or one label file; empty means the run's test split.",
]


@with_parameters
@dataclass(frozen=True)
class PredictRequest:
    """What to predict, and what to write."""

    inputs: Annotated[
        tuple[Path, ...],
        Setting("images, folders, or a label file", "IMAGE|LABELS.csv", is_positional=True),
        "Images, folders of images, or one label file (its labels are ignored).",
    ]
    out: Annotated[Path | None, Setting("write the predictions as a table", "FILE.csv")] = None
    overlay: Annotated[Path | None, Setting("write where the evidence lies: images, and a sheet of all", "DIR")] = None
    error: Annotated[
        float,
        Setting("share of errors at which a class is excluded: 0.01, 0.02, 0.05, 0.1, 0.15, 0.2 or 0.3", "SHARE"),
        "The error at which a class is excluded: one of `focusmap.evaluation.answers.ERRORS`.",
    ] = 0.1
    alike: Annotated[
        int,
        Setting("of one image: how many of the training images most like it to name; 0 leaves them out", "N"),
        "Of one image: how many images of train that look most like it are named, with their labels; 0 for none.",
    ] = 3
    declaration: Annotated[
        Declaration,
        Only("images", "targets", "patient", "case", "view", "missing", "means", "follow_links"),
        "What the user declared about the label file: image folder, patient column, columns of cases and views.",
    ] = Declaration()
    template: Annotated[
        Path | None,
        Setting("for a table model: write the columns in this file's header", "FILE.csv"),
        "For a model of tables or cases: a CSV whose header defines the columns of `out`, instead of all columns.",
    ] = None
    engine: Annotated[
        Literal["auto", "torch", "onnx", "openvino", "ray"],
        Setting(f"{ENGINE.help}; ray: a table of any length, share by share on a cluster"),
        "What computes, see `focusmap.models.load_answering`; ``ray`` is for `focusmap.predict_table`.",
    ] = "auto"
    resume: Annotated[bool, RESUME] = False
    escape: Annotated[bool, ESCAPE] = True

    def __post_init__(self) -> None:
        normalise(self)


@with_parameters
@dataclass(frozen=True)
class ExplainRequest:
    """What to explain, and how."""

    inputs: Inputs = ()
    out: Annotated[Path | None, Setting("folder of maps and overlays (default: RUN/focus)", "DIR")] = None
    methods: Annotated[
        tuple[str, ...],
        Setting(
            "heat map method; repeat to compare several (default: focus where the net has focus maps, else cam)",
            "NAME",
            option="method",
        ),
        "Names of heat map methods, scored side by side; empty means `focus` for a net that has focus maps, and `cam` "
        "for others. If there are several, each has its own folder, under one index.",
    ] = ()
    targets: Annotated[
        tuple[str, ...], Setting("a target to map; repeat for several (default: all)", "NAME", option="target")
    ] = ()
    declaration: Annotated[
        Declaration,
        Only("images", "patient", "same_patient", "case", "view", "mask", "boxes", "missing", "means", "follow_links"),
        "What the user declared about the label file's columns, if their names differ from those in the run's study; "
        "its boxes apply to the run's own test split too.",
    ] = Declaration()
    trust: Annotated[TrustRequest | None, "How to measure whether maps are faithful; None: do not."] = None
    resume: Annotated[bool, RESUME] = False
    seconds: Annotated[
        float | None,
        "About how long it may take: images come in random order until then, a few at least. None: all of them.",
    ] = None

    def __post_init__(self) -> None:
        normalise(self)


MASKS_FOLLOW = "masks of lesions follow, beyond --budget: five to ten minutes per model on two cores"
"""What is said before a run that draws masks, too."""


@with_parameters
@dataclass(frozen=True)
class SegmentRequest:
    """What to draw masks of, and how."""

    inputs: Inputs = ()
    out: Annotated[Path | None, Setting("folder of the masks (default: RUN/segmentation)", "DIR")] = None
    targets: Annotated[
        tuple[str, ...],
        Setting(
            "a target, or a class as in label=malignant; repeat for several (default: all)", "NAME", option="target"
        ),
    ] = ()
    negatives: Annotated[
        tuple[str, ...],
        Setting("a class that means no lesion; repeat for several; none: all have one", "CLASS", option="negative"),
        "Classes that mean no lesion; empty means those with such a name, ``none`` that every image has a lesion.",
    ] = ()
    method: Annotated[
        DrawnBy,
        Setting("method whose masks are written (auto: vote, or distilled where image labels prefer it)"),
    ] = "auto"
    tune_on_masks: Annotated[
        bool,
        Setting("choose the thresholds of maps on the masks of the tuning set; how many is reported"),
        "Choose the thresholds of the maps on the masks of the tuning set, and report how many masks were used.",
    ] = False
    declaration: Annotated[
        Declaration,
        Only("images", "patient", "same_patient", "case", "mask", "missing", "means", "follow_links"),
        "What the user declared about the label file's columns.",
    ] = Declaration()
    resume: Annotated[bool, RESUME] = False

    def __post_init__(self) -> None:
        normalise(self)


def results_folder(request: ExplainRequest | SegmentRequest, own: Path, kind: Results, *, force: bool) -> Path:
    """Return the folder to write to: the one asked for, or `own`, the run's, for its own test split.

    The run's own folder may be written again without `force`.

    Raises
    ------
    InputError
        If no folder is named for other images, if a label file is named beside images, or as `Results.refuse_other`.
    """
    if request.inputs and request.out is None:
        raise InputError(f"say where the {kind.what} of these images go with --out DIR.")
    if len(request.inputs) > 1 and any(map(is_table, request.inputs)):
        raise InputError("give images or one label file, not both.")
    if request.out is not None:
        kind.refuse_other(request.out, force=force)
    return request.out or own


@with_parameters
@dataclass(frozen=True)
class ConsensusRequest:
    """What a consensus is made from."""

    declaration: Annotated[ReadingsDeclaration, "What the user declared about the table's columns."] = field(
        default_factory=ReadingsDeclaration
    )
    options: Annotated[ConsensusOptions, "Method, tie rule, soft labels."] = field(default_factory=ConsensusOptions)
    images: Annotated[Path | None, Setting("folder of the images, for the page (default: the table's)", "DIR")] = None
    escape: Annotated[bool, ESCAPE] = True
    seed: Annotated[int, Setting("seed of the intervals", "N")] = 0
    force: Annotated[bool, Setting("replace existing files")] = False
    language: Annotated[Language, Setting("language of the pages: English or Chinese")] = "en"

    def __post_init__(self) -> None:
        normalise(self)


@with_parameters
@dataclass(frozen=True)
class ServeRequest:
    """Where the reading room is served, and what a visitor may ask of it."""

    host: Annotated[str, Setting("address to listen on; any that others can reach asks for --token", "ADDRESS")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Setting("port to listen on", "N")] = 8000
    token: Annotated[
        str, Setting("what a visitor must know; or the variable FOCUSMAP_TOKEN, which others cannot see", "TEXT")
    ] = ""
    language: Annotated[Language, Setting("language where the browser asks for neither English nor Chinese")] = "en"
    keep: Annotated[float, Setting("minutes until what was sent is removed", "MINUTES")] = 60.0
    largest: Annotated[int, Setting("MiB that may be sent at once", "MIB")] = 512
    seconds: Annotated[float, Setting("seconds that one image may take", "SECONDS")] = 60.0
    memory: Annotated[float, Setting("GiB that reading and answering may take besides the model", "GIB")] = 4.0
    alike: Annotated[
        int | None,
        Setting("training images to show beside each answer; 0: none (usual: 3 for this machine alone)", "N"),
        "How many images of train that look most like an image are shown beside its answer, with their labels and "
        "without their names. None: 3 on a loopback address, else none.",
    ] = None
    devices: Annotated[str, Setting("device of the model: auto, cpu, cuda, mps", "DEVICE")] = "cpu"
    engine: Annotated[Engine, ENGINE] = "auto"

    def __post_init__(self) -> None:
        normalise(self)
        for name in ("keep", "largest", "seconds", "memory"):
            if getattr(self, name) <= 0:
                raise InputError(f"--{name} is {getattr(self, name):g}; more than 0 was expected.")


@with_parameters
@dataclass(frozen=True)
class IndexRequest:
    """How a folder of images becomes a label file."""

    pattern: Annotated[
        str | None,
        Setting("pattern of the paths; {n} is a number, {_} is ignored, any other name becomes a column", "TEXT"),
        "What the path of an image says, such as ``{label}/{patient}_{n}.png`` (see `focusmap.study.index`).",
    ] = None
    labels: Annotated[
        Path | None,
        Setting("DICOM files: a table of labels by accession or patient_id, as in their headers", "FILE"),
        "A table of labels by ``accession`` or ``patient_id``, as the headers of DICOM files have them; its columns "
        "take the place of what folders say, and images that it does not know are left out.",
    ] = None
    identified: Annotated[bool, Setting("DICOM files: keep patient and accession as they are, no pseudonyms")] = False
    follow_links: Annotated[bool, FOLLOW_LINKS] = False
    escape: Annotated[bool, ESCAPE] = True

    def __post_init__(self) -> None:
        normalise(self)


def names(text: str) -> tuple[str, ...]:
    """Return names that are written with commas between them.

    >>> names("left-half, right-half")
    ('left-half', 'right-half')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parts_or_boxes(text: str) -> tuple[str, ...]:
    """Return names with commas, or boxes with semicolons between them.

    >>> parts_or_boxes("scan=0,0,1,.5;fundus=0,.5,1,1")
    ('scan=0,0,1,.5', 'fundus=0,.5,1,1')
    """
    return names(text) if "=" not in text else tuple(part.strip() for part in text.split(";") if part.strip())


@with_parameters
@dataclass(frozen=True)
class ConvertRequest:
    """What to make of the source, besides unpacking it; at most one of these."""

    parts: Annotated[
        tuple[str, ...],
        Setting(
            "cut each image of a label file: left-half, right-half, top-half, bottom-half, or your own boxes as "
            "NAME=TOP,LEFT,BOTTOM,RIGHT in shares of the image, separated by ';'",
            "NAME,NAME|NAME=BOX;NAME=BOX",
            parse=parts_or_boxes,
        ),
        "Parts, such as `left-half` or `scan=0.1,0.4,0.8,1`: each image of a label file becomes one image per part.",
    ] = ()
    volumes: Annotated[bool, Setting("make one volume from each DICOM series")] = False
    slices: Annotated[bool, Setting("make slices from the volumes of a label file")] = False
    slice_labels: Annotated[
        Path | None,
        Setting("labels of individual slices, for --slices", "CSV"),
        "Table of the labels of individual slices, for `slices`; without one, slices have the label of their volume.",
    ] = None
    neighbours: Annotated[
        bool,
        Setting("store the slices before and after as red and blue"),
        "Store the neighbours of each slice as colours, so that nets of images see some depth.",
    ] = False
    stack: Annotated[
        tuple[str, ...],
        Setting("make volumes from images; columns of volume and position", "COL,COL", parse=names),
        "Columns of a label file that name the volume of each image and its position in it.",
    ] = ()
    spacing: Annotated[
        tuple[float, ...],
        Setting("voxel size of --stack, along columns, rows and slices", "MM,MM,MM", parse=numbers),
        "mm from column to column, row to row and slice to slice of `stack`; empty where unknown.",
    ] = ()

    follow_links: Annotated[bool, FOLLOW_LINKS] = False
    escape: Annotated[bool, ESCAPE] = True

    def __post_init__(self) -> None:
        normalise(self)
        if sum(map(bool, (self.parts, self.volumes, self.slices, self.stack))) > 1:
            raise InputError("choose one of --parts, --volumes, --slices and --stack.")
        if (self.slice_labels or self.neighbours) and not self.slices:
            raise InputError("--slice-labels and --neighbours belong to --slices.")
        if self.stack and len(self.stack) != 2:
            raise InputError("--stack needs the columns of volume and position, such as --stack volume,slice.")
        if self.spacing and (len(self.spacing) != 3 or min(self.spacing) <= 0 or not self.stack):
            raise InputError("--spacing needs three sizes in mm above 0, and --stack.")
