"""Which images train, tune and test: by patient, stratified, repeatable, and checked on load.

From a split follows what the models of a run have learnt from and what they are held against.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from focusmap.basics import InputError, Reason, listed, note_entries, read_notes
from focusmap.basics.files import read_json, read_table, write_json, write_table
from focusmap.study.cohort import Cohort, load_cohort
from focusmap.study.dealing import UNUSED, deal_blocks, label_matrix, sequence_ranks, stratify
from focusmap.study.run import Run

PARTS = ("train", "tune", "test")
# Of ``split.csv``; the third where there are folds that can be cut.
COLUMNS = (["image_id", "split"], ["image_id", "split", "tunes"])
NOT_USED = ""
HALVES = (0.5, 0.5)
MAX_GAPS = 0.2  # of a fold, where blocks are halved
SHOWN = 3


@dataclass(frozen=True)
class SplitOptions:
    """How a cohort is split.

    Parameters
    ----------
    fractions
        Shares of train, tune and test.
    folds
        Number of folds for cross-validation, or None for one split.
    seed
        Equal seeds give equal splits.
    gap
        Rows left out between contiguous blocks; used only where the study names a block column.
    together
        Ids of rows that stand in one part with all other rows of their patients, group by group.
    """

    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    folds: int | None = None
    seed: int = 0
    gap: int = 20
    together: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise InputError(f"split fractions {self.fractions} must be positive and sum to 1.")
        if self.gap < 0:
            raise InputError(f"a gap of {self.gap} rows is not possible; use 0 or more.")


@dataclass(frozen=True)
class Split:
    """The part of every image.

    Parameters
    ----------
    table
        ``image_id`` and ``split``: ``train``, ``tune``, ``test``, ``""`` (not used), or a fold ``0``, ``1``, ...;
        of folds that can be cut ``tunes`` too: ``1`` for the half of each that may tune, ``0`` for the other, ``""``
        for the gap between them.
    notes
        What the split did that a reader should know.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the sorted rows: two runs of equal fingerprints have the same split."""
        rows = sorted("\t".join(cells) + "\n" for cells in self.table.itertuples(index=False, name=None))
        return hashlib.sha256("".join(rows).encode()).hexdigest()

    @cached_property
    def part_of(self) -> dict[str, str]:
        """Part of each image_id."""
        return dict(zip(self.table["image_id"], self.table["split"], strict=True))

    @property
    def n_folds(self) -> int:
        """Number of folds; 0 for a train, tune and test split."""
        return sum(str(name).isdecimal() for name in self.table["split"].unique())

    def ids(self, part: str) -> list[str]:
        """Return the image ids of a part, in table order."""
        return list(self.table.loc[self.table["split"] == part, "image_id"])

    def of(self, image_ids: Sequence[str]) -> list[str]:
        """Return the part of each image named."""
        return [self.part_of[image_id] for image_id in image_ids]


def make_split(cohort: Cohort, options: SplitOptions | None = None) -> Split:
    """Return the split of a cohort: the declared one where there is one, else by patient and stratified by label.

    Parameters
    ----------
    cohort
        A declared split (``split_declared``) is kept as it is, leaks and all; the audit judges it. Parts that it lacks
        are taken from train by patient. With `options.folds`, its test part is left out and the rest is folded.
    options
        Shares, folds, seed, gap.

    Raises
    ------
    InputError
        If there are fewer patients than parts, or a declared split has no train part.
    """
    options = options or SplitOptions()
    declared = cohort.table.get("split_declared")
    cohort = joined_patients(cohort, options.together)
    has_folds = declared is not None and bool(declared.str.fullmatch(r"\d+").any())
    if declared is None:
        parts, notes = _deal(cohort, options)
    elif has_folds:
        parts, notes = _declared_folds(declared, options)
    elif options.folds is not None:
        parts, notes = _fold_within(cohort, declared, options)
    else:
        parts, notes = _complete(cohort, declared, options)
    table = pd.DataFrame({"image_id": cohort.table["image_id"], "split": parts})
    if options.together and declared is None:
        n_images = sum(map(len, options.together))
        notes = [*notes, Reason("near-together", n=n_images, groups=len(options.together))]
    can_cut = not has_folds or cohort.study.patient_column is not None
    if (has_folds or options.folds is not None) and can_cut:
        table["tunes"] = _halve_folds(cohort, table["split"], options)
    return Split(table, tuple(notes))


def joined_patients(cohort: Cohort, together: Sequence[Sequence[str]]) -> Cohort:
    """Return the cohort in which the patients of each group of rows bear one name; others keep theirs."""
    if not together:
        return cohort
    first: dict[str, str] = {}

    def name_of(patient: str) -> str:
        while patient in first:
            patient = first[patient]
        return patient

    owners = dict(zip(cohort.image_ids, _patients(cohort), strict=True))
    for group in together:
        names = sorted({name_of(owners[image_id]) for image_id in group})
        first.update(dict.fromkeys(names[1:], names[0]))
    renamed = cohort.table["patient_id"].map(lambda patient: name_of(str(patient)))
    return replace(cohort, table=cohort.table.assign(patient_id=renamed))


def fold_split(split: Split, k: int) -> Split:
    """Return train, tune and test of fold `k`: it is tested, half of the next one tunes, all else trains.

    Of declared folds of images without a patient the whole next fold tunes, since nothing says where it may be cut.

    Raises
    ------
    InputError
        If the split has no such fold.
    """
    n_folds = split.n_folds
    if not 0 <= k < n_folds:
        raise InputError(f"fold {k} is not one of the {n_folds} folds, 0 to {n_folds - 1}.")
    names = {str(fold): "train" for fold in range(n_folds)} | {str((k + 1) % n_folds): "tune", str(k): "test"}
    parts = split.table["split"].map(names).fillna(NOT_USED)
    if "tunes" in split.table:
        other_half = (parts == "tune") & (split.table["tunes"] != "1")
        parts = parts.mask(other_half, split.table["tunes"].map({"0": "train", NOT_USED: NOT_USED}))
    return Split(split.table[["image_id"]].assign(split=parts), split.notes)


def write_split(split: Split, path: Path) -> None:
    """Write ``split.csv`` and beside it ``split.json`` with the fingerprint and the notes."""
    write_table(path, split.table, sealed=True)
    facts = {"fingerprint": split.fingerprint, **note_entries("notes", split.notes)}
    write_json(path.with_suffix(".json"), facts, sealed=True)


def read_split(path: Path, cohort: Cohort) -> Split:
    """Return the split in `path`.

    Raises
    ------
    MissingFileError, InputError
        If the file is not there, was edited after it was written, or belongs to other images than the cohort's.
    """
    saved = read_json(path.with_suffix(".json"))
    changed = InputError(
        f"{path}: was changed after it was written (its fingerprint differs). Restore it, or make the run again "
        "with --force; a split of your own goes into a column of the label file, named with --split."
    )
    try:
        table = read_table(path)
    except InputError as error:
        raise changed from error
    split = Split(table, read_notes(saved, "notes"))
    # Held against the fingerprint too: runs of before have no `hashes.json`, and a user may take the file out of it.
    if list(table.columns) not in COLUMNS or split.fingerprint != saved.get("fingerprint"):
        raise changed
    _require_same_images(path, list(table["image_id"]), cohort.image_ids)
    return split


def _require_same_images(path: Path, image_ids: Sequence[str], expected: Sequence[str]) -> None:
    for fact, names in (
        ("does not list", sorted(set(expected) - set(image_ids))),
        ("lists images that the label file lacks:", sorted(set(image_ids) - set(expected))),
    ):
        if names:
            few = listed(names, SHOWN, ", ")
            raise InputError(f"{path}: {fact} {few}. The label file has changed; split again with --force.")


def _deal(cohort: Cohort, options: SplitOptions) -> tuple[list[str], list[Reason]]:
    names = _part_names(options)
    shares = options.fractions if options.folds is None else (1 / options.folds,) * options.folds
    strata = label_matrix(cohort.task, cohort.truth)
    if "block" not in cohort.table:
        return [names[part] for part in stratify(_patients(cohort), strata, shares, options.seed)], []
    parts = deal_blocks(_block_ranks(cohort), strata, shares, options.gap)
    n_unused = int((parts == UNUSED).sum())
    column = str(cohort.study.block_column)
    note = Reason("blocks", column=column, gap=options.gap, n=n_unused, all=len(parts))
    return [NOT_USED if part == UNUSED else names[part] for part in parts], [note]


def _block_ranks(cohort: Cohort) -> np.ndarray:
    """Return the rank of each image in the sequence; images of a declared patient share one, so no cut parts them."""
    ranks = pd.Series(sequence_ranks(list(cohort.table["block"])))
    return ranks.groupby(_patients(cohort)).transform("min").to_numpy()


def _part_names(options: SplitOptions) -> Sequence[str]:
    return PARTS if options.folds is None else [str(fold) for fold in range(options.folds)]


def _patients(cohort: Cohort) -> list[str]:
    return [str(patient) for patient in cohort.patient_ids]


def _halve_folds(cohort: Cohort, folds: pd.Series, options: SplitOptions) -> np.ndarray:
    """Return ``1`` for the half of each fold that tunes, ``0`` for the other; one that cannot be halved tunes whole."""
    tunes = np.full(len(cohort), "0", dtype=object)
    for fold in sorted(set(folds) - {NOT_USED}):
        inside = np.flatnonzero(folds == fold)
        tunes[inside] = _halve(cohort.take(inside), options)
    return tunes


def _halve(fold: Cohort, options: SplitOptions) -> np.ndarray:
    """Return ``1`` or ``0`` for each row, by patient, or in blocks with ``""`` (not used) for the gaps between them."""
    patients, strata = _patients(fold), label_matrix(fold.task, fold.truth)
    whole = np.array(["1"] * len(fold))
    if len(set(patients)) == 1:
        return whole
    if "block" not in fold.table:
        return stratify(patients, strata, HALVES, options.seed).astype(str)
    try:
        halves = deal_blocks(_block_ranks(fold), strata, HALVES, options.gap)
    except InputError:
        return whole
    is_gap = halves == UNUSED
    return whole if is_gap.mean() > MAX_GAPS else np.where(is_gap, NOT_USED, halves.astype(str))


def _declared_folds(declared: pd.Series, options: SplitOptions) -> tuple[list[str], list[Reason]]:
    written = sorted({int(cell) for cell in declared if cell})
    if len(written) < 3:
        raise InputError(f"the split column holds {len(written)} folds; one tests, one tunes, so three are needed.")
    notes = [Reason("declared-folds", n=len(written))]
    if options.folds is not None and options.folds != len(written):
        notes.append(Reason("folds-not-made", n=options.folds))
    number = {fold: str(place) for place, fold in enumerate(written)}
    return [number[int(cell)] if cell else NOT_USED for cell in declared], notes


def _fold_within(cohort: Cohort, declared: pd.Series, options: SplitOptions) -> tuple[list[str], list[Reason]]:
    inside = np.flatnonzero(declared.isin(["train", "tune"]))
    if len(inside) == 0:
        raise InputError("the split column marks no image as train; folds are made of train and tune.")
    parts = np.full(len(cohort), NOT_USED, dtype=object)
    dealt, notes = _deal(cohort.take(inside), options)
    parts[inside] = dealt
    return list(parts), [*notes, Reason("folds-within", n=len(cohort) - len(inside))]


def _complete(cohort: Cohort, declared: pd.Series, options: SplitOptions) -> tuple[list[str], list[Reason]]:
    """Keep the declared parts and take what they lack from train, by patient."""
    parts = declared.to_numpy(dtype=object).copy()
    if "train" not in parts:
        raise InputError(f"column {cohort.study.split_column!r} marks no image as train.")
    missing = [name for name in ("tune", "test") if name not in parts]
    if not missing:
        return list(parts), []
    share = dict(zip(PARTS, options.fractions, strict=True))
    names = ["train", *missing]
    weights = np.array([share[name] for name in names])
    inside = np.flatnonzero(parts == "train")
    train = cohort.take(inside)
    strata = label_matrix(train.task, train.truth)
    dealt = stratify(_patients(train), strata, list(weights / weights.sum()), options.seed)
    parts[inside] = [names[part] for part in dealt]
    lacked = dict(zip(("part", "other"), missing, strict=False))
    return list(parts), [Reason("part-taken" if len(missing) == 1 else "parts-taken", **lacked)]


@dataclass(frozen=True)
class Parts:
    """One model's run folder, and the rows that it learnt from, was tuned on and has not seen."""

    run: Run
    train: Cohort
    tune: Cohort
    test: Cohort


def parts_of(run: Run, images: Path | None = None) -> list[Parts]:
    """Return the parts of a run's own split, or those of each of its folds; `images` is where its images lie now.

    Raises
    ------
    InputError
        If a split without folds has no test part.
    """
    cohort = load_cohort(run.folder)
    if images is not None:
        cohort = replace(cohort, study=replace(cohort.study, images=images))
    split, runs = read_split(run.split, cohort), run.parts()
    if runs == [run]:
        if not split.ids("test"):
            raise InputError(f"{run.folder}: its split has no test part. Name images or a label file.")
        return [_parts(run, cohort, split)]
    return [_parts(fold, cohort, fold_split(split, k)) for k, fold in enumerate(runs)]


def first_parts_of(run: Run) -> Parts:
    """Return the parts of a run's own split, or of its first fold, whether or not there is a test part."""
    cohort = load_cohort(run.folder)
    split = read_split(run.split, cohort)
    return _parts(run, cohort, fold_split(split, 0) if split.n_folds else split)


def learnt_by_any(run: Run) -> Cohort | None:
    """Return the rows that any model of a run has learnt from: of a run with folds, all; None where there are none."""
    cohort = load_cohort(run.folder)
    parts = read_split(run.split, cohort).part_of if run.split.is_file() else {}
    learnt = [image_id for image_id, part in parts.items() if part == "train" or part.isdecimal()]
    return cohort.of(learnt) if learnt else None


def _parts(run: Run, cohort: Cohort, split: Split) -> Parts:
    return Parts(run, *(cohort.of(split.ids(part)) for part in ("train", "tune", "test")))
