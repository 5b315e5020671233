"""What a caller may say: of a label file, of a table of readings, and of how a run is made.

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
    """What the user said about a label file; None and empty mean: infer, or there is none."""

    TITLE: ClassVar = "the study"

    images: Annotated[Path | None, Setting("folder of the images (default: the label file's)", "DIR")] = None
    targets: Annotated[
        tuple[str, ...],
        Setting(
            "a target column; repeat for several. NAME:delta=COL: learn how much a number has changed since COL",
            "NAME[:KIND]",
            option="target",
        ),
    ] = ()
    patient: Annotated[str | None, Setting("patient column, or 'none' if every image is its own patient", "COL")] = None
    same_patient: Annotated[
        bool, Setting("patients whose ids differ only in how they are written (17, 0017, 17.0) are one")
    ] = False
    case: Annotated[str | None, Setting("column that groups images into cases", "COL")] = None
    view: Annotated[str | None, Setting("column that names an image's view", "COL")] = None
    split: Annotated[str | None, Setting("column of a split made earlier", "COL")] = None
    block: Annotated[str | None, Setting("order of slices: split in contiguous blocks with gaps", "COL")] = None
    mask: Annotated[str | None, Setting("column of mask files", "COL")] = None
    boxes: Annotated[Path | None, Setting("CSV of lesion boxes", "FILE")] = None
    covariates: Annotated[
        tuple[str, ...],
        Setting(
            "column that table models take; repeat. KIND: numeric, category, date, codes (default: by its cells)",
            "COL[:KIND]",
            option="covariate",
        ),
    ] = ()
    before: Annotated[tuple[str, ...], Setting("column of a target's earlier value", "TARGET=COL")] = ()
    missing: Annotated[tuple[str, ...], Setting("cells that mean 'not known'", "COL=VALUE")] = ()
    groups: Annotated[tuple[str, ...], Setting("subgroup column; repeat for several", "COL", option="group")] = ()
    uncertain: Annotated[Uncertain, Setting("meaning of -1")] = "unknown"
    unlabelled: Annotated[bool, "No label is looked at: for a model that learns from images alone."] = False

    def __post_init__(self) -> None:
        settle(self)


@described
@dataclass(frozen=True)
class ReadingsDeclaration:
    """What the user said about a table of readings; None and empty mean: infer, or there is none."""

    readers: Annotated[
        tuple[str, ...],
        Setting("column that names the reader; repeated: one column a reader", "COL", option="reader"),
    ] = ()
    targets: Annotated[
        tuple[str, ...], Setting("a label; repeat for more", "NAME[:KIND][:classes=A,B,C]", option="target")
    ] = ()
    definitive: Annotated[
        tuple[str, ...],
        Setting(
            "column of what biopsy or follow-up showed; where it is filled, it overrides the readers", "[LABEL=]COL"
        ),
    ] = ()
    patient: Annotated[str | None, Setting("patient column, or 'none'", "COL")] = None
    same_patient: Annotated[
        bool,
        Setting("ids that differ in spelling are one patient"),
        "Ids that differ only in how they are written are one patient's; their normal form is written.",
    ] = False
    accept: Annotated[tuple[str, ...], Setting("go on in spite of a finding", "FINDING")] = ()


@described
@dataclass(frozen=True)
class RunOptions:
    """How a run is made."""

    TITLE: ClassVar = "how it runs"

    recipe: Annotated[Recipe, "Settings of the training; what it leaves open is chosen from the images."] = field(
        default_factory=Recipe
    )
    folds: Annotated[
        int | None,
        Setting("cross-validation; predictions are pooled out of fold", "K", title=Recipe.TITLE),
    ] = None
    budget: Annotated[
        float,
        Setting("minutes that a run without --model may take: the best model that they allow", "MINUTES"),
    ] = 10.0
    accept: Annotated[tuple[str, ...], Setting("go on in spite of a blocking finding", "FINDING")] = ()
    skip_unreadable: Annotated[bool, Setting("leave unreadable images out, and count them")] = False
    store: Annotated[Path | None, Setting("share prepared images between runs", "DIR")] = None
    workers: Annotated[int | None, Setting("processes that read images", "N")] = None
    devices: Annotated[
        str,
        Setting("where nets compute: auto, cpu, cuda, mps; several train together: 2, cuda:2", "DEVICES"),
    ] = "auto"
    n_nodes: Annotated[int, Setting("machines that train together (with --resume)", "N", option="nodes")] = 1
    force: Annotated[bool, Setting("replace what is there")] = False
    language: Annotated[Language, Setting("of the pages: English or Chinese")] = "en"
    progress: Annotated[Progress, "Called as the work goes on."] = silent

    def __post_init__(self) -> None:
        settle(self)
