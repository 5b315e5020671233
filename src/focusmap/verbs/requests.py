"""What each verb may be told beside a run's folder and its options: the same for Python and the command line.

What starts must start fast: nothing here imports numpy or pandas.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from focusmap.consensus.options import ConsensusOptions
from focusmap.faithfulness.request import TrustRequest
from focusmap.reasons import Language
from focusmap.settings import Only, Setting, described, settle
from focusmap.study.options import Declaration, ReadingsDeclaration

DrawnBy = Literal["refined", "distilled"]


@described
@dataclass(frozen=True)
class PredictRequest:
    """What is to be predicted, and what is to be written."""

    inputs: Annotated[
        tuple[Path, ...],
        Setting("images, folders, or a label file", "IMAGE|LABELS.csv", is_positional=True),
        "Images, folders of images, or one label file (its labels are not looked at).",
    ]
    out: Annotated[Path | None, Setting("write the answers as a table", "FILE.csv")] = None
    overlay: Annotated[Path | None, Setting("write images of where the evidence lies", "DIR")] = None
    declaration: Annotated[
        Declaration,
        Only("images", "targets", "patient", "case", "view", "missing"),
        "What the user said of the label file: folder of the images, patient column, columns of cases and views.",
    ] = Declaration()
    template: Annotated[
        Path | None,
        Setting("of a table model: write the columns of this file's header", "FILE.csv"),
        "Of a model of tables or cases: a CSV whose header says which columns `out` has, in place of all.",
    ] = None

    def __post_init__(self) -> None:
        settle(self)


@described
@dataclass(frozen=True)
class ExplainRequest:
    """What is to be explained, and how."""

    inputs: Annotated[
        tuple[Path, ...],
        Setting("default: the run's test split", "IMAGE|LABELS.csv", is_positional=True),
        "Images or folders, or one label file; empty means the run's test split.",
    ] = ()
    out: Annotated[Path | None, Setting("folder of maps and overlays (default: RUN/focus)", "DIR")] = None
    methods: Annotated[
        tuple[str, ...],
        Setting(
            "heat map method; repeat to compare several (default: focus where the net has focus maps, else cam)",
            "NAME",
            option="method",
        ),
        "Names of heat map methods, scored side by side; empty means `focus` for a net that has focus maps, and `cam` "
        "for others. Several have a folder each, under one index.",
    ] = ()
    targets: Annotated[
        tuple[str, ...], Setting("a target to be mapped; repeat for several (default: all)", "NAME", option="target")
    ] = ()
    declaration: Annotated[
        Declaration,
        Only("images", "patient", "same_patient", "case", "view", "mask", "boxes", "missing"),
        "What the user said of the label file's columns, where they are called otherwise than in the run's study; its "
        "boxes count for the run's own test split too.",
    ] = Declaration()
    trust: Annotated[TrustRequest | None, "Measure how far the maps can be trusted, and how; None: do not."] = None

    def __post_init__(self) -> None:
        settle(self)


@described
@dataclass(frozen=True)
class SegmentRequest:
    """What masks are drawn of, and how."""

    inputs: Annotated[
        tuple[Path, ...],
        Setting("default: the run's test split", "IMAGE|LABELS.csv", is_positional=True),
        "Images or folders, or one label file; empty means the run's test split.",
    ] = ()
    out: Annotated[Path | None, Setting("folder of the masks (default: RUN/segmentation)", "DIR")] = None
    targets: Annotated[
        tuple[str, ...],
        Setting(
            "a target, or a class as in label=malignant; repeat for several (default: all)", "NAME", option="target"
        ),
    ] = ()
    negatives: Annotated[
        tuple[str, ...],
        Setting("a class that means no lesion; repeat", "CLASS", option="negative"),
        "Classes that mean no lesion; empty means those that are called so.",
    ] = ()
    method: Annotated[DrawnBy, Setting("whose masks are written")] = "distilled"
    tune_on_masks: Annotated[
        bool,
        Setting("let masks of the tune part choose where maps are cut; counted"),
        "Choose the cuts of the maps on the masks of tune, and say of how many.",
    ] = False
    declaration: Annotated[
        Declaration,
        Only("images", "patient", "same_patient", "case", "mask", "missing"),
        "What the user said of the label file's columns.",
    ] = Declaration()

    def __post_init__(self) -> None:
        settle(self)


@described
@dataclass(frozen=True)
class ConsensusRequest:
    """What a consensus is made of."""

    declaration: Annotated[ReadingsDeclaration, "What the user declares about the table's columns."] = field(
        default_factory=ReadingsDeclaration
    )
    options: Annotated[ConsensusOptions, "Method, tie rule, soft labels."] = field(default_factory=ConsensusOptions)
    images: Annotated[
        Path | None,
        Setting("folder of the images (default: the table's)", "DIR"),
        "Folder to which the table's paths are relative; by default its own. Only the page looks there.",
    ] = None
    seed: Annotated[int, Setting("seed of the intervals", "N")] = 0
    force: Annotated[bool, Setting("replace what is there")] = False
    language: Annotated[Language, Setting("of the pages: English or Chinese")] = "en"

    def __post_init__(self) -> None:
        settle(self)
