"""What packages below the verbs are asked for: what columns mean, and how runs, trust and a consensus are made.

What one verb alone is asked for stands in `focusmap.verbs.requests`. What starts must start fast: nothing here imports
pandas.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from focusmap import scale
from focusmap.basics import InputError, Language, Progress, Say, Setting, normalise, silent, unheard, with_parameters
from focusmap.study.recipe import Recipe

ESCAPE = Setting(
    "put an apostrophe before texts that a spreadsheet would run, such as =1+1",
    option="escape-cells",
    title="the table",
)
FOLLOW_LINKS = Setting("read what symbolic links out of the folder of the images lead to")
Uncertain = Literal["unknown", "positive", "negative"]


@with_parameters
@dataclass(frozen=True)
class Declaration:
    """What the user declared about a label file; None and empty mean: infer, or there is none."""

    TITLE: ClassVar = "the study"

    images: Annotated[
        Path | None,
        Setting("folder of the images (default: the label file's)", "DIR"),
        "Folder of the images, by default the label file's; of a table on a cluster also an address of fsspec's.",
    ] = None
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
    means: Annotated[
        tuple[str, ...],
        Setting("how cells are meant: 'effusion:blank=no', 'CRP:<N=N', 'grade:lo=low'; repeat", "COL:CELL=VALUE"),
    ] = ()
    groups: Annotated[tuple[str, ...], Setting("subgroup column; repeat for several", "COL", option="group")] = ()
    uncertain: Annotated[Uncertain, Setting("how to read -1")] = "unknown"
    follow_links: Annotated[bool, FOLLOW_LINKS] = False
    unlabelled: Annotated[bool, "Labels are not used: for a model that learns from images alone."] = False

    def __post_init__(self) -> None:
        normalise(self)


@with_parameters
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
    means: Annotated[
        tuple[str, ...], Setting("how cells are meant, such as 'effusion:blank=no'; repeat", "LABEL:CELL=VALUE")
    ] = ()


DEFAULT_MINUTES = 10.0


@with_parameters
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
        float | None,
        Setting("minutes for a run without --model, which chooses the best model they allow (default: 10)", "MINUTES"),
        "Minutes that a run without a named model may take; None: 10, or as many as the run that is continued had.",
    ] = None
    accept: Annotated[tuple[str, ...], Setting("continue despite a blocking finding", "FINDING")] = ()
    skip_unreadable: Annotated[bool, Setting("exclude unreadable images, and count them")] = False
    group_near_duplicates: Annotated[
        bool, Setting("keep images that are nearly the same in one part of the split, as one patient's are")
    ] = True
    store: Annotated[Path | None, Setting("folder of prepared images, shared between runs", "DIR")] = None
    workers: Annotated[int | None, Setting("processes that read images", "N")] = None
    engine: Annotated[
        Literal["local", "ray"],
        Setting(
            "where images are read and answered, folds and seeds trained: local (here), ray (workers of a cluster)"
        ),
    ] = "local"
    address: Annotated[
        str | None,
        Setting("with --engine ray: a running cluster; default: one of this machine", "HOST:PORT"),
        "Of a Ray cluster that sees images and results under the same paths; with engine ray None starts one here.",
    ] = None
    devices: Annotated[
        str,
        Setting("devices for nets: auto, cpu, cuda, mps; several train together: 2, cuda:2", "DEVICES"),
    ] = "auto"
    n_nodes: Annotated[int, Setting("machines that train together (with --resume)", "N", option="nodes")] = 1
    force: Annotated[bool, Setting("replace existing files")] = False
    language: Annotated[Language, Setting("language of the pages: English or Chinese")] = "en"
    track: Annotated[
        Literal["mlflow"] | None,
        Setting("log settings, metrics and small files there, too (optional part mlflow; MLFLOW_TRACKING_URI)"),
    ] = None
    progress: Annotated[Progress, "Called to report progress."] = silent
    say: Annotated[Say, "Called with what a reader should know at once: first weights, each model that is done."] = (
        unheard
    )
    begun: Annotated[float | None, "Value of time.monotonic() from which the budget counts; None: the training."] = None

    def __post_init__(self) -> None:
        normalise(self)
        if self.budget is not None and not self.budget > 0:
            raise InputError(f"budget is {self.budget:g} minutes; more than 0 was expected.")
        if self.folds is not None and self.folds < 3:
            raise InputError(f"{self.folds} folds are too few: one tests, one tunes and the rest train. Use 3 or more.")
        if self.cluster is not None and self.n_nodes > 1:
            raise InputError("--nodes divides one training, --engine ray hands out whole ones: choose one of them.")

    @property
    def follows(self) -> bool:
        """Whether this is one of several nodes and not the first, which writes what all of them have learnt."""
        ranks = (os.environ.get(name) for name in ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID"))
        return self.n_nodes > 1 and next((rank for rank in ranks if rank), "0") != "0"

    @property
    def cluster(self) -> "scale.Cluster | None":
        """Whose workers read images, where they are no processes of this machine."""
        return scale.Cluster(self.address, self.workers) if self.engine == "ray" or self.address else None

    @property
    def alone(self) -> "RunOptions":
        """The same without a cluster."""
        return replace(self, engine="local", address=None)

    @property
    def minutes(self) -> float:
        """The budget, or the usual one."""
        return DEFAULT_MINUTES if self.budget is None else self.budget


@with_parameters
@dataclass(frozen=True)
class TrustRequest:
    """How trust is measured, and compared with which other runs."""

    TITLE: ClassVar = "trust in the maps"

    methods: Annotated[
        tuple[str, ...],
        Setting(
            "method to assess, or all; repeat for several (default: those of the maps)", "NAME", option="trust-method"
        ),
    ] = ()
    n_images: Annotated[
        int,
        Setting("maps to assess each method on", "N", option="trust-images"),
        "Number of maps to assess, drawn from those with evidence, label by label in turn.",
    ] = 16
    n_draws: Annotated[int, Setting("number of random removals of each kind", "N", option="trust-draws")] = 20
    against: Annotated[
        tuple[Path, ...],
        Setting("run with another seed (repeatability) or architecture (reproducibility); repeat for several", "RUN"),
        "Runs on the same data: those with the same architecture test repeatability, others reproducibility.",
    ] = ()
    shuffled: Annotated[Path | None, Setting("run trained on shuffled labels", "RUN")] = None

    def __post_init__(self) -> None:
        normalise(self)
        for name, n in (("n_images", self.n_images), ("n_draws", self.n_draws)):
            if n < 2:
                raise InputError(f"trust: {name} is {n}; at least 2 was expected.")


Method = Literal["majority", "dawid-skene"]


@with_parameters
@dataclass(frozen=True)
class ConsensusOptions:
    """How readings become labels."""

    method: Annotated[
        Method,
        Setting("how the readings are combined"),
        "`majority`: the class that most readers gave. `dawid-skene`: the most probable class, where each reader "
        "is weighted by his or her estimated errors.",
    ] = "majority"
    ties: Annotated[
        str,
        Setting("label at a tie: unknown, positive, negative or reader=NAME", "RULE"),
        "If two classes tie: `unknown` leaves the cell empty; `positive` and `negative` decide binary labels; "
        "`reader=NAME` lets that reader decide where he or she gave one of the tied classes.",
    ] = "unknown"
    soft: Annotated[
        bool,
        Setting("write the probability of each binary label"),
        "Write the probability of each binary label (share of votes, or posterior) and no decision.",
    ] = False

    def __post_init__(self) -> None:
        normalise(self)
