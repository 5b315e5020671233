"""What commands print before and during their work: the study as understood, the cost of a run, progress.

The progress line goes to stderr with an estimate of the time left; where stderr is no terminal, a line per epoch.
"""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from focusmap import evaluation, fitting, study
from focusmap.basics import Progress

if TYPE_CHECKING:
    from focusmap.audit import ImageSummary


QUIET_SECONDS = 2.0


class ProgressLine:
    """Writes one line per step and updates it; nothing for a step of less than two seconds."""

    def __init__(self) -> None:
        self._doing = ""
        self._started = 0.0
        self._written = 0.0

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done; a total of 0 is unknown."""
        now = time.monotonic()
        if doing != self._doing:
            self._doing, self._started, self._written = doing, now, 0.0
        elapsed = now - self._started
        ends = 0 < total <= done
        if elapsed < QUIET_SECONDS or (now - self._written < 0.2 and not ends):
            return
        left = elapsed / max(done, 1) * (total - done)
        rest = f" of {total}, {clock(left)} left" if total else ""
        rate = f", {done / elapsed:.0f} per second" if done > elapsed else ""
        print(f"\r{doing}: {done}{rest}{rate}   ", end="", file=sys.stderr, flush=True)
        self._written = now
        if ends:
            print(file=sys.stderr)


# A float map in its image's own grid of about 400 x 400 pixels, compressed, and the overlay beside it.
MB_OF_A_MAP = 0.5
# For longer runs a cheaper alternative is printed.
LONG_SECONDS = 600.0


def epoch_lines(doing: str, done: int, total: int) -> None:
    """Write a line per epoch, as suits a log file; other steps are not reported."""
    if doing.startswith("training "):
        print(f"{doing}: epoch {done} of {total}", file=sys.stderr, flush=True)


def terminal_progress() -> Progress:
    """Return a progress line if stderr is a terminal, else a line per epoch."""
    return ProgressLine() if sys.stderr.isatty() else epoch_lines


class PrintOnce:
    """Writes each line to stderr once only: folds repeat some."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, line: str) -> None:
        """Write a line unless it was written before."""
        if line not in self._said:
            self._said.add(line)
            print(f"\r{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Return a duration as a person writes it.

    >>> clock(75), clock(9000)
    ('1 min 15 s', '2 h 30 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def changed_settings(recipe: "study.Recipe") -> str:
    """Return the settings that differ from the default, whether a preset, a file or an option changed them.

    >>> from focusmap.study import Augmentation, Recipe
    >>> changed_settings(Recipe(size=320, augmentation=Augmentation(shift=0.05)))
    'size 320, augmentation.shift 0.05'
    """
    default = type(recipe)()
    groups = ("augmentation", "segmentation")
    pairs = [(name, value, getattr(default, name)) for name, value in vars(recipe).items() if name not in groups]
    for group in groups:
        inner = vars(getattr(default, group))
        pairs += [(f"{group}.{name}", value, inner[name]) for name, value in vars(getattr(recipe, group)).items()]
    return ", ".join(f"{name} {str(value).lower()}" for name, value, usual in pairs if value != usual)


def print_study(cohort: "study.Cohort") -> None:
    """Print the study as understood, and how many images, known patients, masks and boxes it has.

    Raises
    ------
    InputError
        If there is a file of boxes that cannot be read: better now than after the training.
    """
    print(cohort.study.describe())
    what = "images" if cohort.has_images else "cases"
    patients = f", {cohort.table['patient_id'].nunique()} patients" if cohort.study.patients == "column" else ""
    print(f"rows        {len(cohort)} {what}{patients}")
    for what, shown in {"masks": masks_in_words(cohort), "boxes": boxes_in_words(cohort)}.items():
        if shown:
            print(f"{what:<11} {shown}")


def masks_in_words(cohort: "study.Cohort") -> str:
    """Return the number of masks per column; empty if there are none."""
    if not cohort.has_images or not cohort.has_masks:
        return ""
    counts = {name: (cohort.table[name] != "").sum() for name in cohort.mask_columns}
    return f"{', '.join(f'{n} in {name}' for name, n in counts.items())}; used to score heat maps"


def boxes_in_words(cohort: "study.Cohort") -> str:
    """Return the number of boxes, and which match no image or label; empty without a file."""
    if cohort.study.boxes_file is None or not cohort.has_images:
        return ""
    return evaluation.read_boxes(cohort.study.boxes_file, cohort).in_words()


def print_cases(cohort: "study.Cohort", recipe: "study.Recipe") -> None:
    """Print the number of cases and their views, if a model is to learn from cases."""
    how = fitting.cases_of(cohort, recipe)
    if how == "pictures":
        print_single_images_note(cohort, recipe)
        return
    rows = fitting.rows_for(cohort, recipe)
    views = ", ".join(filter(None, study.views_of(rows)))
    print(f"cases       {len(rows)}, images pooled by {how}{views and ' per view: '}{views}")


def print_single_images_note(cohort: "study.Cohort", recipe: "study.Recipe") -> None:
    """Note on stderr that images are predicted singly although the study names cases, unless the recipe wants that."""
    case, name = cohort.study.case_column, fitting.model_name(cohort, recipe)
    if case is None or recipe.cases != "auto" or not (cohort.has_images and recipe.learns_labels):
        return
    net = "" if name.engine == "net" else "a net (--model resnet18) and "
    print(
        f"note: each image is predicted on its own, although {case} groups images into cases. To make a case one "
        f"sample, add {net}--view COL, --covariate COL with a +table model, or cases: mean in the recipe.",
        file=sys.stderr,
    )


def print_plan(cohort: "study.Cohort", options: "study.RunOptions") -> None:
    """Print the cost of a run: sizes, time, memory and disk."""
    from focusmap.audit import accepting

    plan = fitting.estimate(cohort, options)
    size, shape = plan.recipe.size, plan.recipe.shape
    taken = f", {' x '.join(map(str, shape))} voxels" if shape else f", {size} x {size} pixels" if size else ""
    if plan.image_summary is not None and shape:
        print(f"volumes     {volumes_in_words(plan.image_summary)}")
    is_net = study.parse_model(plan.recipe.model).engine == "net" and plan.recipe.model != study.LADDER
    epochs = f", {plan.recipe.epochs} epochs" if is_net else ""
    print(f"model       {plan.recipe.model}{taken}{epochs}")
    print(f"time        {time_in_words(plan)}")
    if cheaper := cheaper_in_words(plan):
        print(f"cheaper     {cheaper}")
    print(f"memory      about {plan.memory_mb} MB")
    maps_mb = round(plan.n_maps * MB_OF_A_MAP)
    maps = f", {maps_mb} MB of {plan.n_maps} maps with their overlays" if plan.n_maps else ""
    whole = plan.disk_mb + plan.weights_mb + maps_mb
    print(f"disk        about {whole} MB: {plan.disk_mb} MB of prepared images, {plan.weights_mb} MB of weights{maps}")
    later = "; the run itself audits the images" if cohort.has_images else ""
    print(f"audit       {'' if plan.blocking else 'no '}blocking findings in the table{later}")
    for finding in plan.blocking:
        print(f"refused: {finding.name}: {finding.message}")
    if plan.blocking:
        print(f"refused: the run will end with exit code 3. To continue anyway: {accepting(plan.blocking)}")


def time_in_words(plan: "fitting.Plan") -> str:
    """Return how long the training would take, and how that is known."""
    if plan.recipe.model == study.LADDER and plan.seconds is not None:
        return f"up to about {clock(plan.seconds)} (--budget), maps and report included"
    if plan.seconds is None:
        return f"unknown: a batch does not fit into the memory of {plan.device}. Try a smaller --batch-size"
    known = f"measured here on {plan.device} over a few steps" if plan.device else "a rough estimate"
    return f"about {clock(plan.seconds)} of training ({known}), plus all other steps"


def cheaper_in_words(plan: "fitting.Plan") -> str:
    """Return what to type for a run that takes less time; empty where it is short or the user has set its budget."""
    recipe, seconds = plan.recipe, plan.seconds
    if recipe.model == study.LADDER or seconds is None or seconds < LONG_SECONDS:
        return ""
    ways = []
    if study.parse_model(recipe.model).is_net_of_images and recipe.learns_labels:
        ways.append("without --model, the best of several models within --budget 10 minutes")
    if recipe.ensemble > 1:
        ways.append(f"ensemble: 1 in the recipe, about {clock(seconds / recipe.ensemble)}")
    if (n := int(recipe.epochs * LONG_SECONDS / seconds)) > 0:
        ways.append(f"--epochs {n}, about {clock(seconds * n / recipe.epochs)} of training")
    return "; or ".join(ways)


def volumes_in_words(image_summary: "ImageSummary") -> str:
    """Return the sizes of some of a study's volumes towards right, front and top.

    >>> from focusmap.audit import ImageSummary
    >>> volumes_in_words(ImageSummary([(256, 256, 24), (256, 256, 20)], 1, [(1, 1, 5), (1, 1, 6)]))
    '256 x 256 x 20 to 24 voxels of 1 x 1 x 5 to 6 mm (2 examined)'
    """
    shapes = [shape for shape in image_summary.shapes if len(shape) == 3]
    sizes = f"of {ranges(image_summary.voxels)} mm" if len(image_summary.voxels) == len(shapes) else "of unknown size"
    return f"{ranges(shapes)} voxels {sizes} ({len(shapes)} examined)"


def ranges(rows: "Sequence[Sequence[float]]") -> str:
    """Return the least and the greatest of each column, with ``x`` between the columns."""
    ends = [(min(column), max(column)) for column in zip(*rows, strict=True)]
    return " x ".join(
        f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}" for low, high in ends
    )
