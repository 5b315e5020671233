"""What a caller may declare: about a label file, about a table of readings, and how a run is made.

What starts must start fast: nothing here imports pandas.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from focusmap.progress import Progress, silent
from focusmap.reasons import Language
from focusmap.settings import Setting, described, settle
from focusmap.study.recipe import Recipe

Uncertain = Literal["unknown", "positive", "negative"]


@described
@dataclass(frozen=True)
class Declaration:
    """What the user declared about a label file; None and empty mean: infer, or there is none."""

    TITLE: ClassVar = "the study"

    images: Annotated[Path | None, Setting("folder of the images (default: the label file's)", "DIR")] = None
    targets: Annotated[
        tuple[str, ...],
        Setting(
            "a target column; repeat for several. NAME:delta=COL: learn how much a number changed since COL",
            "NAME[:KIND]",
            option="target",
        ),
    ] = ()
    patient: Annotated[str | None, Setting("patient column, or 'none': one patient per image", "COL")] = None
    same_patient: Annotated[bool, Setting("ids that differ only in spelling (17, 0017, 17.0) are one patient")] = False
    case: Annotated[str | None, Setting("column that groups images into cases", "COL")] = None
    view: Annotated[str | None, Setting("column that names the view of an image", "COL")] = None
    split: Annotated[str | None, Setting("column of an existing split", "COL")] = None
    block: Annotated[str | None, Setting("order of slices: split into contiguous blocks with gaps", "COL")] = None
    mask: Annotated[str | None, Setting("column of mask files", "COL")] = None
    boxes: Annotated[Path | None, Setting("CSV of lesion boxes", "FILE")] = None
    covariates: Annotated[
        tuple[str, ...],
        Setting(
            "covariate of a table model; repeat for several. KIND: numeric, category, date, codes (default: inferred)",
            "COL[:KIND]",
            option="covariate",
        ),
    ] = ()
    before: Annotated[tuple[str, ...], Setting("column of a target's baseline value", "TARGET=COL")] = ()
    missing: Annotated[tuple[str, ...], Setting("cells that mean 'unknown'", "COL=VALUE")] = ()
    groups: Annotated[tuple[str, ...], Setting("subgroup column; repeat for several", "COL", option="group")] = ()
    uncertain: Annotated[Uncertain, Setting("how to read -1")] = "unknown"
    unlabelled: Annotated[bool, "Labels are not used: for a model that learns from images alone."] = False

    def __post_init__(self) -> None:
        settle(self)


@described
@dataclass(frozen=True)
class ReadingsDeclaration:
    """What the user declared about a table of readings; None and empty mean: infer, or there is none."""

    readers: Annotated[
        tuple[str, ...],
        Setting("column that names the reader; if repeated, one column per reader", "COL", option="reader"),
    ] = ()
    targets: Annotated[
        tuple[str, ...], Setting("a label; repeat for several", "NAME[:KIND][:classes=A,B,C]", option="target")
    ] = ()
    definitive: Annotated[
        tuple[str, ...],
        Setting("column of the biopsy or follow-up result; where filled, it overrides the readers", "[LABEL=]COL"),
    ] = ()
    patient: Annotated[str | None, Setting("patient column, or 'none'", "COL")] = None
    same_patient: Annotated[
        bool,
        Setting("ids that differ only in spelling are one patient"),
        "Ids that differ only in spelling belong to one patient; their normal form is written.",
    ] = False
    accept: Annotated[tuple[str, ...], Setting("continue despite a finding", "FINDING")] = ()


@described
@dataclass(frozen=True)
class RunOptions:
    """How a run is made."""

    TITLE: ClassVar = "how it runs"

    recipe: Annotated[Recipe, "Settings of the training; those it leaves open are chosen from the images."] = field(
        default_factory=Recipe
    )
    folds: Annotated[
        int | None,
        Setting("cross-validate with K folds; predictions are pooled out of fold", "K", title=Recipe.TITLE),
    ] = None
    budget: Annotated[
        float,
        Setting("minutes that a run without --model may take; the best model they allow is chosen", "MINUTES"),
    ] = 10.0
    accept: Annotated[tuple[str, ...], Setting("continue despite a blocking finding", "FINDING")] = ()
    skip_unreadable: Annotated[bool, Setting("exclude unreadable images, and count them")] = False
    store: Annotated[Path | None, Setting("folder of prepared images, shared between runs", "DIR")] = None
    workers: Annotated[int | None, Setting("processes that read images", "N")] = None
    devices: Annotated[
        str,
        Setting("devices for nets: auto, cpu, cuda, mps; several train together: 2, cuda:2", "DEVICES"),
    ] = "auto"
    n_nodes: Annotated[int, Setting("machines that train together (with --resume)", "N", option="nodes")] = 1
    force: Annotated[bool, Setting("replace existing files")] = False
    language: Annotated[Language, Setting("language of the pages: English or Chinese")] = "en"
    progress: Annotated[Progress, "Called to report progress."] = silent

    def __post_init__(self) -> None:
        settle(self)
