"""What the page shows of an image: its levels, its maps and its masks, as arrays on one grid; run by the worker alone.

``(slices, rows, columns)``, of an image one slice, of a volume along the axis of its largest voxels.
"""

import shutil
from collections.abc import Mapping, Sequence
from hashlib import sha256
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from focusmap import heatmaps, images, models, study
from focusmap.basics import InputError, Json, UnreadableImageError, read_table
from focusmap.evaluation import SHOWN
from focusmap.images import Image, SliceView, slice_view, voxel_sizes
from focusmap.reading_room.cases import fitted, rows_of, samples_of
from focusmap.reading_room.intake import DICOM, SHOWN_WINDOW, Sent, starts, without_paths, write_pixels

if TYPE_CHECKING:
    from focusmap.reading_room.worker import Room

# Pixels of the longer side of what is shown of an image, and of a slice of a volume.
LONGEST, LONGEST_OF_SLICES = 2048, 512
LEVELS = 65535


def show(sent: Sent) -> dict[str, Json]:
    """Write what the page shows of an image, ``shown.npy``, and return how it is laid out.

    ``(slices, rows, columns)`` uint8 or uint16, or with a last axis of 3 colours; of an image one slice. `low` and
    `high` are the values of the lowest and the highest level, `window` what is shown of that at first, `size` the mm
    (or pixels) along slices, rows and columns of one element.
    """
    image = images.read_image(sent.file)
    stack, sizes = _laid_out(image)
    low, high = (0.0, 255.0) if stack.dtype == np.uint8 else (float(stack.min()), float(stack.max()))
    window = (low, high)
    if stack.dtype != np.uint8:
        if not starts(sent.file, 128, DICOM):
            low_shown, high_shown = np.percentile(stack.ravel()[:: stack.size // 2**22 + 1], SHOWN_WINDOW)
            window = (float(low_shown), float(high_shown)) if high_shown > low_shown else window
        stack = np.rint((stack.astype(np.float32) - low) * (LEVELS / ((high - low) or 1.0))).astype(np.uint16)
    np.save(sent.folder / "shown.npy", stack)
    rows: list[Json] = [int(n) for n in stack.shape[:3]]
    return {
        "shape": rows,
        "colour": stack.ndim == 4,
        "bits": 8 * stack.dtype.itemsize,
        "low": low,
        "high": high,
        "window": list(window),
        "size": [float(size) for size in sizes],
        "source_shape": list(image.source_shape),
    }


def _laid_out(image: Image) -> tuple[np.ndarray, Sequence[float]]:
    """Return slices ``(n, rows, columns[, 3])`` as they are shown, and the size of an element along each axis."""
    if len(image.source_shape) == 2:
        if image.n_channels == 3:
            colours = np.stack([_in_colour(channel, image.pixels) for channel in image.pixels], axis=-1)
            return _reduced(colours, LONGEST)[np.newaxis], (1.0, 1.0, 1.0)
        return _reduced(image.pixels[0], LONGEST)[np.newaxis], (1.0, 1.0, 1.0)
    view = slice_view(image.source_shape, image.affine)
    stack = view.stack(image.pixels[0])
    sizes = _sizes(view, image.affine)
    shown = np.stack([_reduced(plane, LONGEST_OF_SLICES) for plane in stack])
    factors = [1.0, *(before / after for before, after in zip(stack.shape[1:], shown.shape[1:], strict=True))]
    return shown, [size * factor for size, factor in zip(sizes, factors, strict=True)]


def _in_colour(channel: np.ndarray, all_of_them: np.ndarray) -> np.ndarray:
    if all_of_them.dtype == np.uint8:
        return np.asarray(channel)
    low, high = float(all_of_them.min()), float(all_of_them.max())
    return np.asarray(np.rint((channel.astype(np.float32) - low) * (255 / ((high - low) or 1.0))), dtype=np.uint8)


def _sizes(view: SliceView, affine: np.ndarray | None) -> Sequence[float]:
    if affine is None:
        return (1.0, 1.0, 1.0)
    mm = voxel_sizes(affine)
    return tuple(float(mm[axis]) for axis in (view.across, view.rows, view.columns))


def _reduced(plane: np.ndarray, longest: int) -> np.ndarray:
    """Return a plane whose longer side is at most so many pixels, as means over what each covers."""
    rows, columns = plane.shape[:2]
    scale = longest / max(rows, columns)
    if scale >= 1:
        return np.ascontiguousarray(plane)
    kept = plane if plane.dtype in (np.uint8, np.uint16, np.int16) else plane.astype(np.float32)
    size = (max(round(columns * scale), 1), max(round(rows * scale), 1))
    return np.asarray(cv2.resize(np.ascontiguousarray(kept), size, interpolation=cv2.INTER_AREA))


def show_alike(room: "Room", sent: Sent) -> list[Json]:
    """Write the images of train that look most like one, ``alike_0.png`` and so on, and return their labels.

    Neither their names nor their files are told. Whether there is a file is `shown`.
    """
    from focusmap.api import thumbnail

    model, found = room.model, list[Json]()
    samples = study.read_images(model.folder, model.task, [sent.file], study.Declaration())
    for k, one in enumerate(models.neighbours_of(model.folder, model.model, samples, room.limits.alike)):
        small = thumbnail(one.file)
        if small:
            (sent.folder / f"alike_{k}.png").write_bytes(small)
        labels: dict[str, Json] = dict(one.labels)
        found.append({"labels": labels, "shown": bool(small)})
    return found


def draw_maps(room: "Room", sent: Sent, method: str | None, with_values: bool = False) -> dict[str, Json]:
    """Write the maps of all labels on the grid of ``shown.npy``, ``maps.npy``: levels from 0 to 255 of their scale.

    Returns
    -------
    dict
        ``method``, ``unit`` and for each of ``labels`` why it may not be shown (``why``, empty where it may be),
        whether it has evidence and where its colours end; ``shared`` where that is the run's own scale, so that images
        can be compared. What may not be shown lies in no file that the page fetches.
    """
    view = room.view
    if view is None:
        raise InputError("the model is no net of images and has no heat maps")
    chosen = view.check(method)
    seen = _maps_of(room, view, sent, chosen)
    given = heatmaps.read_scale(room.model.folder / "focus", chosen)
    least = heatmaps.unit_of(chosen).least
    found = [_of_label(room, seen, k, (given, least)) for k in range(len(room.model.task.label_names))]
    levels = np.stack([
        np.concatenate([_on_shown_grid(part, one.layout, sent.folder) for part, one in zip(parts, seen, strict=True)])
        for _, parts in found
    ])  # fmt: skip
    np.save(sent.folder / "maps.npy", np.rint(levels * 255).astype(np.uint8))
    if with_values:
        np.savez_compressed(sent.folder / "values.npz", **{f"map_{k}": one for k, one in enumerate(seen[0].values)})
    told: list[Json] = [one for one, _ in found]
    return {"method": chosen, "unit": heatmaps.unit_of(chosen).words, "labels": told}


def _of_label(
    room: "Room", seen: "Sequence[_Seen]", k: int, scale: tuple[Mapping[str, float], float]
) -> tuple[dict[str, Json], list[np.ndarray]]:
    """Return what is told of the maps of a label, and each as levels between 0 and 1: 0 where it may not be shown."""
    label, (given, least) = room.model.task.label_names[k], scale
    why = room.showing.why_not(label, unlike=any(one.is_unlike for one in seen))
    shown = [one.values[k] / one.evidence.units[k] for one in seen]
    are_shown = [
        bool(one.evidence.has_evidence[k] and part.max() > 0) and not why for one, part in zip(seen, shown, strict=True)
    ]
    end = given.get(label) or max(*(float(part.max()) for part in shown), least)
    levels = [np.clip(part / max(end, 1e-12), 0, 1) * is_shown for part, is_shown in zip(shown, are_shown, strict=True)]
    told: dict[str, Json] = {
        "label": label, "why": why, "has_evidence": any(are_shown), "end": float(end), "shared": label in given,
    }  # fmt: skip
    return told, levels


class _Seen(NamedTuple):
    """Maps ``(L, *source_shape)`` of one image and their evidence, a volume's layout, whether it is unlike train."""

    values: np.ndarray
    evidence: "heatmaps.Evidence"
    layout: SliceView | None
    is_unlike: bool


def _maps_of(room: "Room", view: "heatmaps.NetView", sent: Sent, method: str) -> list[_Seen]:
    """Return the maps of an image, or of each image of a case."""
    samples = samples_of(room.model, sent.file)
    columns = range(room.model.task.n_logits)
    batch = next(iter(samples.batches(view.preparations, 1)), None)
    if batch is None:
        raise UnreadableImageError(without_paths(samples.failures[0].reason, sent))
    of_all = heatmaps.evidence_in(view.map_batch(batch, method, columns), view.card, method, columns)
    shown, found = batch.images(view.preparations[0]), []
    for i, placement in enumerate(shown.placements):
        evidence = of_all.of_image(i)
        values = images.to_source(evidence.maps, placement)
        affine = placement.affine if isinstance(placement, images.VolumePlacement) else None
        layout = None if values.ndim == 3 else slice_view(values.shape[1:], affine)
        found.append(_Seen(values, evidence, layout, room.showing.is_unlike(shown, i)))
    return found


def _on_shown_grid(plane: np.ndarray, layout: SliceView | None, folder: Path) -> np.ndarray:
    """Return an array in the grid of an image's file in that of ``shown.npy``, ``(slices, rows, columns) float32``."""
    stack = plane[np.newaxis] if layout is None else layout.stack(plane)
    _, rows, columns, *_ = np.load(folder / "shown.npy", mmap_mode="r").shape
    return np.stack([fitted(one, (rows, columns)) for one in stack])


def segment(room: "Room", sent: Sent) -> dict[str, Json]:
    """Write the mask of each lesion on the grid of ``shown.npy``, ``mask.npy``, and return what was found.

    Masks as written, in the grid of the image's file, lie beside it in the folder ``masks``.
    """
    import focusmap

    out = sent.folder / "masks"
    shutil.rmtree(out, ignore_errors=True)
    with TemporaryDirectory(dir=sent.folder) as place:
        made = Path(place) / "masks"
        result = focusmap.segment(
            room.model.folder,
            focusmap.SegmentRequest((sent.file,), made),
            focusmap.RunOptions(devices=room.limits.devices, skip_unreadable=True),
        )
        if result.failures:
            raise UnreadableImageError(without_paths(result.failures[0][1], sent))
        made.rename(out)
    index, found, planes = read_table(out / "index.csv"), [], []
    for row in index.to_dict("records"):
        image = images.read_image(out / str(row["mask"]))
        layout = None if image.pixels.ndim == 3 else slice_view(image.source_shape, image.affine)
        mask = (image.pixels[0] > 0) & (row["shown"] == SHOWN)
        planes.append(_on_shown_grid(mask.astype(np.float32), layout, sent.folder) >= 0.5)
        found.append({str(key): str(value) for key, value in row.items() if key not in ("image_id", "path")})
    if planes:
        np.save(sent.folder / "mask.npy", np.stack(planes).astype(np.uint8))
    lesions: list[Json] = [dict(one) for one in found]
    return {"lesions": lesions}


class Kept(NamedTuple):
    """What was sent, kept for a label file: the image's file, or the rows of a case; the patient as sent, or empty."""

    name: str
    patient: str = ""
    rows: tuple[Mapping[str, str], ...] = ()


def keep(room: "Room", sent: Sent, folder: Path) -> Kept:
    """Write an image, or those of a case, to a folder without anything that says whose they are."""
    if not room.form:
        patient = images.dicom_identity(sent.file).patient_id if starts(sent.file, 128, DICOM) else ""
        return Kept(_keep_image(sent.file, folder), patient)
    rows = rows_of(room.model.folder, sent.file)
    kept = tuple(
        {**row, "path": _keep_image(sent.file.parent / row["path"], folder)} if "path" in row else row for row in rows
    )
    return Kept(sha256(dumps(kept).encode()).hexdigest()[:20], rows=kept)


def _keep_image(file: Path, folder: Path) -> str:
    """Return the name of an image's copy: the same for the same content."""
    image, stem = images.read_image(file), images.content_hash_of(file)[:20]
    folder.mkdir(parents=True, exist_ok=True)
    if len(image.source_shape) == 3:
        images.write_nifti(folder / f"{stem}.nii.gz", image.pixels, image.affine)
        return f"{stem}.nii.gz"
    return write_pixels(folder / stem, image.pixels).name
