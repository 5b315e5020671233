"""DICOM files as packed data sets: every frame an image, or slices as volumes, ordered by where they lie.

Every slice says where its first pixel lies and how its rows and columns run (PS3.3 C.7.6.2); enhanced objects say it of
each frame (C.7.6.16). What does not make one straight, even stack is named and left out: a slice that is missing or
there twice would put everything behind it in the wrong place.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from focusmap.basics import (
    DICOM_DIRECTORY,
    IMAGE_SUFFIXES,
    FocusmapError,
    UnreadableImageError,
    files_within,
    listed,
)
from focusmap.convert.archives import Packed, PackedFailure, PackedImage, PackedVolume, natural
from focusmap.images import Layout, attribute_numbers, layout_of, modality_values, sequence_items, stored_frame
from focusmap.images.budget import AGAIN, check_volume_size, read_head
from focusmap.images.dicom import Identity, dicom_identity, parse_dicom, read_frames, with_look_ups
from focusmap.study import names_nobody, normal_id

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset


MAGIC, MAGIC_OFFSET = b"DICM", 128
BESIDE = "._"
"""How macOS calls what it notes of a file."""


def is_dicom(path: Path) -> bool:
    """Return True for a file that is DICOM by its content or its name, but for what a disc or macOS puts beside it."""
    if not path.is_file() or path.name.upper() == DICOM_DIRECTORY or path.name.startswith(BESIDE):
        return False
    if path.name.lower().removesuffix(".gz").endswith(IMAGE_SUFFIXES["DICOM"]):
        return True
    return read_head(path, MAGIC_OFFSET + len(MAGIC))[MAGIC_OFFSET:] == MAGIC


def dicom_files(source: Path) -> list[Path]:
    """Return the DICOM files of a folder and its folders in natural order, or the one file that is named."""
    if not source.is_dir():
        return [source] if is_dicom(source) else []
    return sorted(filter(is_dicom, files_within(source)), key=lambda path: natural(str(path)))


def unpack_dicom(source: Path) -> Iterator[Packed]:
    """Yield every frame of every file, as `read_image` would show it.

    Cells: ``patient_id`` and ``series`` as the file has them, ``source`` (the file) and ``frame``, from 1 on. There is
    no label in a DICOM file; add the column. A file that cannot be read is a `PackedFailure`.
    """
    for path in dicom_files(source):
        name = path.relative_to(source).as_posix() if source.is_dir() else path.name
        try:
            yield from _frames(path, name)
        except FocusmapError as error:
            yield PackedFailure(name, str(error))
        except PermissionError as error:
            yield PackedFailure(name, f"cannot be read ({error.strerror})")
        # A foreign decoder may raise anything; whatever it is, it says that this one file cannot be read.
        except Exception:
            yield PackedFailure(name, f"cannot be decoded: it is damaged. {AGAIN}")


def _frames(path: Path, name: str) -> Iterator[PackedImage]:
    plain = name.removesuffix(".gz")
    has_suffix = plain.lower().endswith(IMAGE_SUFFIXES["DICOM"])
    stem = str(PurePosixPath(plain).with_suffix("")) if has_suffix else plain
    for number, frame in enumerate(read_frames(path), start=1):
        cells = {"patient_id": frame.patient_id, "series": frame.series, "source": name, "frame": str(number)}
        yield PackedImage(f"{stem}_{number:04d}" if frame.n_frames > 1 else stem, frame.image.pixels, cells)


# Directions are written with six digits or so, and rounded by some scanners to four.
SAME_DIRECTION = 1e-3
NO_DIRECTION = 1e-2
SAME_PLACE_MM = 1e-2
UNEVEN = 0.05
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice of a series, and where it lies.

    Parameters
    ----------
    name
        Of its file, and of the frame where there are several.
    position : (3,)
        Of the middle of the first pixel, in mm towards the patient's left, back and top.
    directions : (2, 3)
        Unit vectors along a row and along a column.
    spacing : (2,)
        mm from column to column and from row to row.
    values : (rows, columns) float32 or int16
        In the units of the modality.
    """

    name: str
    position: NDArray[np.float64]
    directions: NDArray[np.float64]
    spacing: NDArray[np.float64]
    values: NDArray[np.generic]

    @property
    def height(self) -> float:
        """Return how far it lies along the direction across the slices, in mm."""
        return float(self.position @ np.cross(self.directions[0], self.directions[1]))


ALONE = ". It does not say its SeriesInstanceUID, and so is a series by itself"


def unpack_dicom_volumes(source: Path) -> Iterator[Packed]:
    """Yield a volume for each series of a file or folder; one series is in memory at a time.

    Cells: ``patient_id`` and ``series`` as the files have them, ``source`` (the first file) and ``n_slices``. A series
    that makes no volume is a `PackedFailure` with the reason.
    """
    for number, (who, paths) in enumerate(_series_of(dicom_files(source)).items(), start=1):
        names = {path: path.relative_to(source).as_posix() if source.is_dir() else path.name for path in paths}
        shown = f"series {number} ({names[paths[0]]}, {len(paths)} files)"
        is_alone = who.series == str(paths[0])
        try:
            slices = [one for path in paths for one in _slices(path, names[path])]
            voxels, affine = stacked(slices)
        except FocusmapError as error:
            yield PackedFailure(shown, f"{error}{ALONE if is_alone else ''}")
        except PermissionError as error:
            yield PackedFailure(shown, f"cannot be read ({error.strerror})")
        # A foreign decoder may raise anything; whatever it is, it says that this one series cannot be read.
        except Exception:
            yield PackedFailure(shown, f"cannot be decoded: it is damaged. {AGAIN}")
        else:
            cells = {"patient_id": who.patient_id, "series": "" if is_alone else who.series, "source": names[paths[0]]}
            cells["n_slices"] = str(len(slices))
            yield PackedVolume(f"series_{number:04d}", voxels[np.newaxis], affine, cells)


def _series_of(paths: Sequence[Path]) -> dict[Identity, list[Path]]:
    """Return the files of each series of one patient and study, in their order.

    Anonymisers have given one UID to the series of several people, who differ in their names where their ids say
    nothing. Who is not named in some files of a series, and is one person in the others, is that person.
    """
    known = [replace(one, name=_telling_name(one)) for one in map(dicom_identity, paths)]
    # One person may be written in two ways within a series.
    first = {normal_id(one.patient_id): one.patient_id for one in reversed(known)}
    known = [replace(one, patient_id=first[normal_id(one.patient_id)] if one.patient_id else "") for one in known]
    series: dict[Identity, list[Path]] = {}
    for path, who in zip(paths, known, strict=True):
        candidates = {one for one in known if one.series == who.series and one.patient_id and one.study}
        lacks = not who.patient_id or not who.study
        named = next(iter(candidates)) if who.series and lacks and len(candidates) == 1 else who
        # What does not say its series is one of its own.
        series.setdefault(named if who.series else replace(named, series=str(path)), []).append(path)
    return series


def _telling_name(who: Identity) -> str:
    """Return the normal form of the name of a patient whose id says nothing; it is empty of any other."""
    return normal_id(who.name) if names_nobody(who.patient_id) and not names_nobody(who.name) else ""


def stacked(slices: Sequence[Slice]) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Return the voxels ``(columns, rows, slices)`` of slices in any order, and their affine to right, front and top.

    Raises
    ------
    UnreadableImageError
        If they differ in shape, direction or spacing, two lie in one place, or their distances are uneven; the message
        names the slices.
    """
    if len(slices) < 2:
        raise UnreadableImageError("holds one slice, which is no volume; convert it without --volumes")
    _refuse_mixed(slices)
    ordered = sorted(slices, key=lambda one: one.height)
    _refuse_uneven(ordered)
    first, last = ordered[0], ordered[-1]
    check_volume_size((*first.values.shape, len(ordered)))
    affine = np.eye(4)
    affine[:3, :2] = (first.directions * first.spacing[:, None]).T
    affine[:3, 2] = (last.position - first.position) / (len(ordered) - 1)
    affine[:3, 3] = first.position
    affine[:3] = LPS_TO_RAS @ affine[:3]
    return np.stack([one.values.T for one in ordered], axis=-1), affine


def _refuse_mixed(slices: Sequence[Slice]) -> None:
    # The odd ones are those unlike most, be they the first.
    kinds = [(one.values.shape, *one.directions.round(1).ravel(), *one.spacing.round(2)) for one in slices]
    first = slices[kinds.index(Counter(kinds).most_common(1)[0][0])]
    for what, differs in (
        ("another size", lambda one: one.values.shape != first.values.shape),
        ("another orientation", lambda one: np.abs(one.directions - first.directions).max() > SAME_DIRECTION),
        ("another pixel spacing", lambda one: not np.allclose(one.spacing, first.spacing, rtol=1e-3)),
    ):
        odd = [one.name for one in slices if differs(one)]
        if odd:
            raise UnreadableImageError(
                f"{len(odd)} of {len(slices)} slices have {what} than {first.name}: {listed(odd, 3)}. "
                "A volume has one; put them in folders of their own series"
            )


def _refuse_uneven(ordered: Sequence[Slice]) -> None:
    heights = np.array([one.height for one in ordered])
    steps = np.diff(heights)
    twice = np.flatnonzero(steps < SAME_PLACE_MM)
    if len(twice):
        pairs = [f"{ordered[i].name} and {ordered[i + 1].name} ({heights[i]:.2f} mm)" for i in twice.tolist()]
        raise UnreadableImageError(f"two slices lie in one place: {listed(pairs, 3)}. Keep one of each, or one phase")
    usual = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - usual) > UNEVEN * usual)
    if len(uneven):
        gaps = [f"{steps[i]:.2f} mm between {ordered[i].name} and {ordered[i + 1].name}" for i in uneven.tolist()]
        raise UnreadableImageError(
            f"its slices are uneven: {listed(gaps, 3)}, where {usual:.2f} mm is usual. Find the missing slices"
        )
    places = np.array([one.position for one in ordered])
    line = places[0] + np.outer((heights - heights[0]) / (heights[-1] - heights[0]), places[-1] - places[0])
    aside = np.linalg.norm(places - line, axis=1)
    if aside.max() > max(UNEVEN * usual, SAME_PLACE_MM):
        odd = [f"{ordered[i].name} ({aside[i]:.2f} mm)" for i in np.flatnonzero(aside > UNEVEN * usual).tolist()]
        raise UnreadableImageError(
            f"its slices do not lie on a straight line by their ImagePositionPatient: {listed(odd, 3)}. "
            "Put each straight run of slices in a folder of its own"
        )


def _slices(path: Path, name: str) -> Iterator[Slice]:
    # pydicom quotes the values of odd elements in its warnings, and those may name the patient.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _named(name):
            dataset = parse_dicom(path)
            layout = layout_of(dataset)
        for index in range(layout.n_frames):
            shown = name if layout.n_frames == 1 else f"{name} frame {index + 1}"
            with _named(shown):
                one = _slice(dataset, layout, index, shown)
            yield one


@contextmanager
def _named(slice_name: str) -> Iterator[None]:
    """Put the name of a slice before what is said of it."""
    try:
        yield
    except FocusmapError as error:
        is_predicate = str(error).startswith(("does ", "is "))
        raise UnreadableImageError(f"{slice_name}{' ' if is_predicate else ': '}{error}") from None


def _slice(dataset: "FileDataset", layout: Layout, index: int, name: str) -> Slice:
    stored = stored_frame(dataset, layout, index)
    if stored.ndim != 2:
        raise UnreadableImageError("is in colour; a volume is made of grey slices")
    values = modality_values(stored, with_look_ups(dataset, index), layout)
    kept = values if values.dtype in (np.uint8, np.int16, np.uint16) else values.astype(np.float32)
    position = _numbers(dataset, index, "PlanePositionSequence", "ImagePositionPatient", 3)
    directions = _directions(_numbers(dataset, index, "PlaneOrientationSequence", "ImageOrientationPatient", 6))
    spacing = _numbers(dataset, index, "PixelMeasuresSequence", "PixelSpacing", 2)
    if spacing.min() <= 0:
        shown = "\\".join(f"{size:g}" for size in spacing)
        raise UnreadableImageError(f"PixelSpacing is {shown}; two sizes in mm above 0 were expected")
    if layout.n_frames > 1:
        position = position + _offset(dataset, index, directions)
    # DICOM names the distance from row to row first.
    return Slice(name, position, directions, spacing[::-1], kept)


def _directions(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the directions of rows and columns; `UnreadableImageError` if they are no unit vectors at right angles."""
    directions = found.reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > NO_DIRECTION or abs(directions[0] @ directions[1]) > NO_DIRECTION:
        shown = "\\".join(f"{number:g}" for number in found)
        raise UnreadableImageError(
            f"ImageOrientationPatient is {shown}; two directions of length 1 at right angles were expected"
        )
    return directions


def _offset(dataset: "FileDataset", index: int, directions: NDArray[np.float64]) -> NDArray[np.float64] | float:
    """Return how far a frame lies from the first: by its own position, or by GridFrameOffsetVector (C.8.8.3.2).

    Offsets from 0 on run across the slices; others are places along the patient's axis.
    """
    if sequence_items(dataset, "PerFrameFunctionalGroupsSequence"):
        return 0.0
    offsets = attribute_numbers(dataset, "GridFrameOffsetVector")
    if not offsets:
        raise UnreadableImageError(
            "its frames have one ImagePositionPatient, and neither a PlanePositionSequence nor a GridFrameOffsetVector "
            "tells them apart; without one no volume can be put together"
        )
    if len(offsets) <= index:
        raise UnreadableImageError(f"GridFrameOffsetVector has {len(offsets)} values, which are fewer than its frames")
    across = np.cross(directions[0], directions[1]) if offsets[0] == 0 else np.array([0.0, 0.0, 1.0])
    return np.asarray(across * (offsets[index] - offsets[0]))


def _numbers(dataset: "Dataset", index: int, group: str, keyword: str, expected: int) -> NDArray[np.float64]:
    """Return numbers that describe a frame: from its own functional group, the shared one, or the file."""
    per_frame = sequence_items(dataset, "PerFrameFunctionalGroupsSequence")[index : index + 1]
    shared = sequence_items(dataset, "SharedFunctionalGroupsSequence")[:1]
    described = [item for holder in (*per_frame, *shared) for item in sequence_items(holder, group)[:1]]
    for holder in (*described, dataset):
        found = attribute_numbers(holder, keyword)
        if found and len(found) != expected:
            raise UnreadableImageError(f"{keyword} has {len(found)} values; {expected} were expected")
        if found:
            return np.array(found)
    raise UnreadableImageError(f"does not say its {keyword}; without it no volume can be put together")
