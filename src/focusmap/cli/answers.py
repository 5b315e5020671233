"""Commands that ask a trained model: ``focusmap predict``, ``explain``, ``segment`` and ``export``."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import focusmap
from focusmap import study
from focusmap.basics import InputError, Only, Setting, command_line, is_table
from focusmap.cli.arguments import refuse_idle
from focusmap.cli.groups import FORCE, LABEL_FILE_ONLY, RUN, Reading, with_progress
from focusmap.cli.show_results import print_failures, print_mask_scores, print_scores, print_trust, unlike_in_words
from focusmap.study import RunOptions, TrustRequest
from focusmap.verbs.requests import ExplainRequest, PredictRequest, SegmentRequest

if TYPE_CHECKING:
    from focusmap.verbs.predict import PredictAnswer


# The options that take effect, by what a command is given; any other that is typed is refused.
PREDICT_IMAGES_OPTIONS = frozenset(
    {
        "request.out",
        "request.overlay",
        "request.template",
        "request.error",
        "request.alike",
        "request.engine",
        "request.escape",
        "reading.budget",
        "request.declaration.follow_links",
        "request.declaration.targets",
    }
    | {"options.skip_unreadable", "options.devices", "options.force"}
)


UNCHECKED = (
    "nothing was checked for being out of distribution, because the model has no such check: it is one of cases, or "
    "had fewer than 20 images in train or tune"
)


CLUSTER_ONLY_OPTIONS = frozenset({"options.address", "options.workers", "request.resume"})
CLUSTER_OPTIONS = CLUSTER_ONLY_OPTIONS | {
    "request.out", "request.error", "request.engine", "request.methods", "request.targets", "request.negatives",
    "request.method", "request.tune_on_masks", "recipe", "options.engine", "options.force", "options.skip_unreadable",
}  # fmt: skip
CLUSTER_OPTIONS |= {f"request.declaration.{name}" for name in ("images", "patient", "missing", "means", "follow_links")}


def runs_on_cluster(command: "Predict | Explain | Segment", engine: str) -> bool:
    """Return whether a command runs on a cluster; `InputError` for an option without effect there, or elsewhere."""
    if engine == "ray":
        refuse_idle(
            command, command.typed, CLUSTER_OPTIONS, "is not for --engine ray, which writes tables of single images."
        )
    elif idle := sorted(CLUSTER_ONLY_OPTIONS & command.typed.keys()):
        raise InputError(f"--{idle[0].rpartition('.')[2]} is for --engine ray.")
    return engine == "ray"


def print_cluster_result(what: str, answer: "study.TableAnswer", *, skip: bool) -> int:
    """Print what a cluster wrote for a table; return the exit code."""
    before = f", beside {answer.n_before} parts that were done" if answer.n_before else ""
    rate = (answer.n_images + answer.n_failed) / max(answer.seconds, 1e-9)
    print(f"{what}: {answer.folder} ({answer.n_images} images, {rate:.1f} per second{before})")
    if answer.n_failed:
        print(f"{answer.n_failed} images could not be read: {answer.folder / 'failures.parquet'}", file=sys.stderr)
    return 2 if answer.n_failed and not skip else 0


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Options of ``focusmap predict``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap predict runs/first film.png --overlay images      one image: the answer in words
      focusmap predict runs/first films                          a folder: one line per image
      focusmap predict runs/first films --out answers.csv        a table
      focusmap predict runs/first archive.parquet --engine ray --out answers     any length, on a cluster; --resume"""

    run: Annotated[Path, Setting("folder of the run, or of a model", "RUN", is_positional=True)]
    request: PredictRequest
    options: Annotated[RunOptions, Only("skip_unreadable", "devices", "workers", "address", "force")]
    reading: Reading = Reading()
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> int:
        """Run the command."""
        if runs_on_cluster(self, self.request.engine):
            found = focusmap.predict_table(self.run, self.request, with_progress(self.options))
            return print_cluster_result("predictions", found, skip=self.options.skip_unreadable)
        if not any(map(is_table, self.request.inputs)):
            refuse_idle(self, self.typed, PREDICT_IMAGES_OPTIONS, LABEL_FILE_ONLY)
        answer = focusmap.predict(self.run, self.request, with_progress(self.options))
        if answer.words:
            print(answer.words)
        if answer.table is not None:
            print(f"predictions: {answer.table} ({answer.n_images} images)")
        if answer.n_flagged:
            print(self._flags_in_words(answer), file=sys.stderr)
        if answer.n_unlike:
            print(f"note: {unlike_in_words(answer.n_unlike, answer.n_images)} (column flags)", file=sys.stderr)
        if answer.unchecked:
            print(f"note: {UNCHECKED}", file=sys.stderr)
        if answer.overlays is not None:
            print(f"overlays: {answer.overlays}")
        return print_failures(answer.failures, skip=self.options.skip_unreadable)

    def _flags_in_words(self, answer: "PredictAnswer") -> str:
        return (
            f"note: {answer.n_flagged} of {answer.n_images} rows are flagged, {answer.n_unseen} for a category and "
            f"{answer.n_outside} for a number outside the training data, or those of one of the models (column flags"
            f"{', which the template leaves out' if self.request.template else ''})"
        )


EXPLAIN_IMAGES_OPTIONS = frozenset(
    {"request.out", "request.methods", "request.targets", "request.declaration.follow_links", "reading.budget"}
    | {"options.skip_unreadable", "options.devices", "options.force"}
)
TRUST_OPTIONS = frozenset({"trust", "options.language", "options.recipe.seed"}) | {
    f"request.trust.{name}" for name in ("methods", "n_images", "n_draws", "against", "shuffled")
}
EXPLAIN_TEST_OPTIONS = (
    EXPLAIN_IMAGES_OPTIONS | TRUST_OPTIONS | {"request.declaration.boxes", "request.declaration.images"}
)


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Options of ``focusmap explain``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap explain runs/first                               the run's own test split
      focusmap explain runs/first film.png --out maps --target Effusion
      focusmap explain runs/first --method cam --method occlusion --out compared     scored side by side
      focusmap explain runs/first --trust                       and whether the maps show where the net looks
      focusmap explain runs/first archive.csv --engine ray --out maps     any length, on a cluster; --resume

    methods, and what they run besides one forward pass per image:
      focus                               nothing: it is the output of a focus-map net (--model resnet18-fpn)
      acam                                nothing: attention along the axes (--model resnet18-acam)
      reconstruction                      nothing: it is the output of an autoencoder (--model autoencoder)
      cam, gradcam, gradcam++, hirescam, layercam, eigencam, ablationcam   the classifier's last layer
      rollout                             nothing; of vision transformers only, and the same map for every label
      layercam-stages                     part of the net backward, per label
      gradients, guided-backprop          once backward, per label
      smoothgrad                          16 times forward and backward, per label
      integrated-gradients, xrai          32 times forward and backward, per label
      occlusion, scorecam                 up to 225 times forward; once forward per feature (512 to 2048)
      NAME@mirror, NAME@sizes, NAME@moves, NAME@mirror,sizes   NAME averaged over 2, 3, 5, 6 copies of the image"""

    run: Annotated[Path, RUN]
    request: ExplainRequest
    trust: Annotated[
        bool, Setting("measure it: writes trust.json and trust.html, soon for a small net", title=TrustRequest.TITLE)
    ] = False
    options: Annotated[
        RunOptions,
        Only(
            "accept", "skip_unreadable", "recipe.seed", "devices", "workers", "engine", "address", "force", "language"
        ),
    ]
    reading: Reading = Reading()
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> int:
        """Run the command."""
        if runs_on_cluster(self, self.options.engine):
            found = focusmap.explain_table(self.run, self.request, with_progress(self.options))
            return print_cluster_result("maps", found, skip=self.options.skip_unreadable)
        self._refuse_idle()
        request = replace(self.request, trust=self.request.trust or TrustRequest()) if self.trust else self.request
        result = focusmap.explain(self.run, request, with_progress(self.options))
        if result.boxes:
            print(f"boxes       {result.boxes}")
        print_scores(result.scores)
        if result.trust is not None:
            print_trust(result.trust, result.folder / "trust.html")
        print(f"maps: {result.folder / 'index.csv'}")
        return print_failures(result.failures, skip=self.options.skip_unreadable)

    def _refuse_idle(self) -> None:
        """Raise `InputError` for an option that has no effect on what is explained."""
        if not self.trust and TRUST_OPTIONS & self.typed.keys():
            raise InputError(
                "--trust-..., --against, --shuffled, --language and --seed set how trust is measured: add --trust."
            )
        if not self.request.inputs:
            refuse_idle(self, self.typed, EXPLAIN_TEST_OPTIONS, LABEL_FILE_ONLY)
        elif not any(map(is_table, self.request.inputs)):
            refuse_idle(self, self.typed, EXPLAIN_IMAGES_OPTIONS, LABEL_FILE_ONLY)


SEGMENT_IMAGES_OPTIONS = frozenset(
    {f"request.{name}" for name in ("out", "targets", "negatives", "method", "tune_on_masks")}
    | {"request.declaration.follow_links", "reading.budget", "recipe"}
    | {"options.skip_unreadable", "options.devices", "options.force"}
)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Options of ``focusmap segment``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap segment runs/first                               the run's own test split, into runs/first/segmentation
      focusmap segment runs/first film.png --out masks          an image, a folder, or a label file
      focusmap segment runs/busi --target label=malignant       one class; by default every class except the negative
      focusmap segment runs/first archive.csv --engine ray --out masks    any length, on a cluster; --resume

    A lesion is the positive class of a binary target, or either of benign and malignant; of several classes it is
    every class except those called normal, healthy, none and so on, or named by --negative (none: every image has a
    lesion). Reference masks are opened only to score, and to train baselines."""

    run: Annotated[Path, RUN]
    request: SegmentRequest
    recipe: Annotated[Path | None, Setting("recipe.yaml whose group 'segmentation' replaces the run's", "FILE")] = None
    options: Annotated[
        RunOptions, Only("accept", "skip_unreadable", "devices", "workers", "engine", "address", "force")
    ]
    reading: Reading = Reading()
    typed: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> int:
        """Run the command."""
        on_cluster = runs_on_cluster(self, self.options.engine)
        if not on_cluster and not any(map(is_table, self.request.inputs)):
            own = frozenset() if self.request.inputs else {"request.declaration.images"}
            refuse_idle(self, self.typed, SEGMENT_IMAGES_OPTIONS | own, LABEL_FILE_ONLY)
        options = with_progress(self.options)
        if self.recipe is not None:
            options = replace(options, recipe=focusmap.read_recipe(self.recipe))
        if on_cluster:
            found = focusmap.segment_table(self.run, self.request, options)
            return print_cluster_result("masks", found, skip=self.options.skip_unreadable)
        result = focusmap.segment(self.run, self.request, options)
        for words in result.lesions:
            print(f"lesion  {words}")
        for caution in result.cautions:
            print(caution)
        print_mask_scores(result.scores)
        print(f"masks: {result.folder / 'index.csv'}")
        if not self.request.inputs and self.request.out is None:
            print(f"to see them in the report: {command_line('report', self.run)}")
        return print_failures(result.failures, skip=self.options.skip_unreadable)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Options of ``focusmap export``."""

    EXAMPLE: ClassVar[str] = """
    examples:
      focusmap export runs/first --format onnx --out deployed          model.onnx, export.json, example.py
      focusmap export runs/first --format openvino --out deployed      model.xml and model.bin
      focusmap export runs/first --format openvino                     for the run's own answers, which start faster"""

    run: Annotated[Path, Setting("folder of the run, or of a model", "RUN", is_positional=True)]
    out: Annotated[Path | None, Setting("folder of the exported model (default: in the model's own)", "DIR")] = None
    format: Annotated[Literal["onnx", "openvino"], Setting("format of the exported model")] = "onnx"
    force: Annotated[bool, FORCE] = False

    def __call__(self) -> None:
        """Run the command."""
        found = focusmap.export(self.run, self.format, self.out, force=self.force)
        off = ", ".join(f"{name} {value:.1e}" for name, value in found.differences.items())
        print(f"differs from torch by at most: {off}")
        print(f"inputs and outputs: {found.file.with_name('export.json')}")
        print(f"model: {found.file} ({found.file.stat().st_size / 1e6:.1f} MB)")
