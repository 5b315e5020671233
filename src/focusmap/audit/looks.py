"""One look at an image: what it is, a hash of its pixels, a thumbnail; and the looks of an audit that was stopped.

Looks are taken share by share. A share whose looks lie in a file, named by the contents of its images and by how much
may be read of one, is not looked at again.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from focusmap.audit.burnt_in import Mark, marks_in
from focusmap.audit.metadata import Metadata, metadata_of
from focusmap.basics import UnreadableImageError, note_entries, own_version, read_notes, write_text
from focusmap.images import content_hash_of, middle_slice, read_image
from focusmap.images.budget import budget

SIDE, N_PATCHES = 32, 4
MAX_LOOKED_AT = 512
WINDOW = (0.5, 99.5)

Share: TypeAlias = Sequence[tuple[Path, bool]]
"""Files, each with whether marks are looked for in it."""


@dataclass(frozen=True)
class Look:
    """What one look at an image tells.

    Parameters
    ----------
    digest
        SHA-256 of shape and pixels; a colour image whose channels agree counts as grey.
    thumbnail : (32, 32) uint8
        Mean of each patch; 16-bit and decimal pixels are windowed first.
    corners : (4, 4, 4) uint8
        Greatest value of each patch of the eighths at the corners, in which marks and letters stand.
    size
        Rows and columns, or all sides of a volume.
    mode
        Pixel type and number of channels.
    empty
        True if 99 % of the pixels or more have one value.
    reason
        Why it cannot be read, or "".
    notes
        What was made of odd values in it.
    metadata
        What the file says beside the pixels.
    marks
        What is burnt into an image.
    """

    digest: str = ""
    thumbnail: np.ndarray | None = None
    corners: np.ndarray | None = None
    size: tuple[int, ...] = ()
    mode: str = ""
    empty: bool = False
    reason: str = ""
    notes: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=Metadata)
    marks: tuple[Mark, ...] = ()


def look_at(file: Path, is_searched: bool = False) -> Look:
    """Return what one look at an image tells; an unreadable one says why. Marks are looked for where it is searched."""
    try:
        image = read_image(file)
    except UnreadableImageError as error:
        return Look(reason=str(error).removeprefix(f"{file}: "))
    pixels = image.pixels
    if pixels.shape[0] == 3 and (pixels == pixels[:1]).all():
        pixels = pixels[:1]
    plane = _grey(middle_slice(image))
    low, high = _window(plane)
    return Look(
        digest=_digest(pixels),
        thumbnail=_thumbnail(plane, low, high),
        corners=_corners(plane, low, high),
        size=pixels.shape[1:],
        mode=f"{pixels.dtype}, {pixels.shape[0]} channel{'' if pixels.shape[0] == 1 else 's'}",
        empty=low == high,
        notes=image.notes,
        metadata=metadata_of(file),
        marks=marks_in(_in_bytes(plane, low, high)) if is_searched and len(image.source_shape) == 2 else (),
    )


def look_through(share: Share, kept: Path | None) -> Iterator[Look]:
    """Yield a look at each file of a share: from the folder `kept`, or taken now and kept there; None keeps nothing."""
    place = None if kept is None else kept / f"{_question(share)}.json"
    if place is not None and place.is_file():
        yield from map(_look_in, json.loads(place.read_text()))
        return
    looks = []
    for file, is_searched in share:
        looks.append(look_at(file, is_searched))
        yield looks[-1]
    if place is not None:
        entries = [{**asdict(look), **note_entries("notes", look.notes)} for look in looks]
        # In ASCII, since a header may hold bytes that are no text.
        write_text(place, json.dumps(entries, default=np.ndarray.tolist))


def _question(share: Share) -> str:
    facts = [
        own_version(),
        vars(budget()),
        [(str(file), content_hash_of(file), is_searched) for file, is_searched in share],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _look_in(entry: Mapping[str, Any]) -> Look:
    def array(name: str) -> np.ndarray | None:
        return None if entry[name] is None else np.array(entry[name], np.uint8)

    return Look(
        *(entry["digest"], array("thumbnail"), array("corners"), tuple(entry["size"]), entry["mode"], entry["empty"]),
        reason=entry["reason"],
        notes=read_notes(entry, "notes"),
        metadata=Metadata(tuple(entry["metadata"]["owner"]), entry["metadata"]["made"]),
        marks=tuple(Mark(mark["kind"], tuple(mark["box"])) for mark in entry["marks"]),
    )


def _digest(pixels: np.ndarray) -> str:
    state = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    state.update(np.ascontiguousarray(pixels).data)
    return state.hexdigest()


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Return ``(rows, columns)``: channels averaged."""
    if pixels.shape[0] == 1:
        return np.asarray(pixels[0])
    mean = pixels.mean(axis=0, dtype=np.float32)
    return np.asarray(np.rint(mean).astype(np.uint8) if pixels.dtype == np.uint8 else mean)


def _window(plane: np.ndarray) -> tuple[float, float]:
    step = max(1, max(plane.shape) // MAX_LOOKED_AT)
    low, high = np.percentile(plane[::step, ::step], WINDOW)
    return float(low), float(high)


def _in_bytes(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    if plane.dtype == np.uint8:
        return plane
    scaled = (plane.astype(np.float32) - low) * (255 / max(high - low, 1e-9))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def _corners(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the greatest value of each of 4 x 4 patches of each corner, ``(4, 4, 4) uint8``."""
    rows, columns = (max(side // 8 // N_PATCHES, 1) for side in plane.shape)
    n, m = N_PATCHES * rows, N_PATCHES * columns
    padded = plane if min(plane.shape[0] // n, plane.shape[1] // m) else np.pad(plane, ((0, n), (0, m)), mode="edge")
    cut = (padded[:n, :m], padded[:n, -m:], padded[-n:, :m], padded[-n:, -m:])
    patches = [corner.reshape(N_PATCHES, rows, N_PATCHES, columns).max(axis=(1, 3)) for corner in cut]
    return _in_bytes(np.stack(patches), low, high)


def _thumbnail(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    from PIL import Image as PilImage

    plane = _in_bytes(plane, low, high)
    return np.asarray(PilImage.fromarray(plane).resize((SIDE, SIDE), PilImage.Resampling.BOX))
