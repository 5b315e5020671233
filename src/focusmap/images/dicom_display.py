"""From stored values to what a viewer would first show: modality, VOI, then MONOCHROME1 turned round (PS3.3 C.11).

An attribute that is absent, empty, or says nothing that its module allows is left out; what leaves several readings is
refused by its name and value. docs/formats.md has the table.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from focusmap.basics import UnreadableImageError
from focusmap.images.budget import check_parts
from focusmap.images.dicom_attributes import attribute_numbers, number, sequence_items, word, word_bytes
from focusmap.images.dicom_pixels import Layout, Plane
from focusmap.images.image import Pixels, over_black

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

COLOURS = ("Red", "Green", "Blue", "Alpha")
LUT_ENTRIES = 65536
Function: TypeAlias = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True, eq=False)
class LookUp:
    """A look-up table: what its first entry stands for, its entries, and how many bits they have."""

    first: int
    entries: NDArray[np.generic]
    bits: int

    def of(self, values: Plane) -> Plane:
        """Return the entries of values; what lies below or above the table has its first or last."""
        places = np.clip(values.astype(np.float64) - self.first, 0, len(self.entries) - 1)
        return np.asarray(self.entries[places.astype(np.int64)])


@dataclass(frozen=True)
class Window:
    """The first window of an image that is one (C.11.2.1.2)."""

    centre: float
    width: float
    function: Function

    def of(self, values: Plane, low: float, high: float) -> Plane:
        """Return values spread so that the window fills the range from `low` to `high`."""
        x = values.astype(np.float64)
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                return np.asarray((high - low) / (1 + np.exp(-4 * (x - self.centre) / self.width)) + low)
        less = 1.0 if self.function == "LINEAR" else 0.0
        x -= self.centre - less / 2
        if self.width == less:
            return np.where(x <= 0, low, high)
        # ((x - c) / w + 0.5) * (high - low) + low, in place: an image is gone through once for each step.
        x /= self.width - less
        x += 0.5
        x *= high - low
        x += low
        return np.clip(x, low, high, out=x)


def modality_values(stored: Plane, dataset: "Dataset", layout: Layout) -> Plane:
    """Return stored values in the units of their modality (C.11.1): by its table, or slope and intercept."""
    table = _look_up(dataset, "ModalityLUTSequence", signed=layout.signed)
    if table is not None:
        return table.of(stored)
    slope, intercept, is_said = _rescale(dataset)
    return stored.astype(np.float64) * slope + intercept if is_said else stored


def grey_image(stored: Plane, dataset: "Dataset", layout: Layout) -> Pixels:
    """Return stored grey as it is shown first."""
    padding = _padding(stored, dataset, layout)
    if layout.is_float:
        if padding is not None:
            stored = np.where(padding, stored[~padding].min(), stored)
        # What window and table spread their result over, the range of the stored bits, decimal numbers do not have.
        values, low, high = modality_values(stored, dataset, layout), float(np.nanmin(stored)), float(np.nanmax(stored))
        low, high = (float(end) for end in sorted(modality_values(np.array([low, high]), dataset, layout)))
        displayed = _narrow(_upright(values, low, high, layout), low, high)
    else:
        low = _modality_range(dataset, layout)[0]
        displayed = _looked_up(stored, dataset, layout)
    return displayed if padding is None else cast(Pixels, _with_background(displayed, padding, low))


def _looked_up(stored: Plane, dataset: "Dataset", layout: Layout) -> Pixels:
    """Return whole numbers as they are shown: of an image of more pixels than there are values, each is found once."""
    if layout.stored > 16 or stored.size <= 2**layout.stored:
        return _shown(stored, dataset, layout)
    first = -(2 ** (layout.stored - 1)) if layout.signed else 0
    each = np.arange(first, first + 2**layout.stored).astype(stored.dtype)
    displayed = _shown(each, dataset, layout)
    if displayed is each:
        return cast(Pixels, stored)
    places = stored.astype(np.intp) - first if first else cast(NDArray[np.uint16], stored)
    return cast(Pixels, np.take(displayed, places))


def _shown(stored: Plane, dataset: "Dataset", layout: Layout) -> Pixels:
    """Return each whole number as modality, VOI and photometric interpretation have it."""
    values = modality_values(stored, dataset, layout)
    low, high = _modality_range(dataset, layout)
    table, window = _look_up(dataset, "VOILUTSequence", signed=low < 0), _window(dataset)
    if table is not None:
        values, low, high = table.of(values), 0.0, 2.0**table.bits - 1
    elif window is not None and not _is_blank(window, low, high):
        values = window.of(values, low, high)
    return _narrow(_upright(values, low, high, layout), low, high)


def _is_blank(window: Window, low: float, high: float) -> bool:
    """Return whether a window leaves one grey of all that there can be, so that it says nothing."""
    greys = window.of(np.array([low, (low + high) / 2, high]), low, high)
    return bool((greys == greys[0]).all())


def _upright(values: Plane, low: float, high: float, layout: Layout) -> Plane:
    """Return values with white bright: MONOCHROME1 is turned round within its range."""
    return (low + high) - values.astype(np.float64) if layout.photometric == "MONOCHROME1" else values


def palette_image(stored: Plane, dataset: "Dataset", layout: Layout) -> Pixels:
    """Return stored indices as the colours of their palette (C.7.6.3.1.5), alpha laid over black."""
    names = [colour for colour in COLOURS if colour != "Alpha" or f"{colour}PaletteColorLookupTableData" in dataset]
    tables = [_palette(dataset, colour, layout) for colour in names]
    return over_black(cast(Pixels, np.stack([table.of(stored) for table in tables], axis=-1)))


def _rescale(dataset: "Dataset") -> tuple[float, float, bool]:
    """Return slope, intercept, and whether they say anything; a slope of 0 or none is 1, no intercept is 0."""
    slope, intercept = number(dataset, "RescaleSlope", 1.0) or 1.0, number(dataset, "RescaleIntercept", 0.0)
    both = bool(attribute_numbers(dataset, "RescaleSlope")) and bool(attribute_numbers(dataset, "RescaleIntercept"))
    return slope, intercept, both or (slope, intercept) != (1.0, 0.0)


def _modality_range(dataset: "Dataset", layout: Layout) -> Range:
    """Return the least and greatest value that the stored bits can stand for in the units of the modality.

    The image's own extremes would not do: an image and its MONOCHROME1 twin must come out the same.
    """
    table = _look_up(dataset, "ModalityLUTSequence", signed=layout.signed)
    if table is not None:
        return 0.0, 2.0**table.bits - 1
    slope, intercept, _ = _rescale(dataset)
    first = -(2.0 ** (layout.stored - 1)) if layout.signed else 0.0
    ends = (first * slope + intercept, (first + 2.0**layout.stored - 1) * slope + intercept)
    return min(ends), max(ends)


def _window(dataset: "Dataset") -> Window | None:
    """Return the first window whose width its function allows: at least 1 of LINEAR, above 0 of others."""
    name = word(dataset, "VOILUTFunction")
    function: Function = "LINEAR_EXACT" if name == "LINEAR_EXACT" else "SIGMOID" if name == "SIGMOID" else "LINEAR"
    for centre, width in zip(
        attribute_numbers(dataset, "WindowCenter"), attribute_numbers(dataset, "WindowWidth"), strict=False
    ):
        if width >= 1 or (width > 0 and function != "LINEAR"):
            return Window(centre, width, function)
    return None


def _look_up(dataset: "Dataset", keyword: str, *, signed: bool) -> LookUp | None:
    """Return the first table of a sequence that has a descriptor and entries (C.11.1.1, C.11.2.1.1)."""
    for item in sequence_items(dataset, keyword):
        table = _table(item, "LUTDescriptor", "LUTData", signed=signed)
        if table is not None:
            return table
    return None


def _table(item: "Dataset", descriptor: str, data: str, *, signed: bool) -> LookUp | None:
    """Return a table, or None without a descriptor of three numbers or without entries.

    0 entries are 65536. Entries of up to 8 bits may lie in bytes or in words, which their number tells.
    """
    described, (content, order) = attribute_numbers(item, descriptor), word_bytes(item, data)
    if len(described) < 3 or not content:
        return None
    n_entries, first, bits = (int(value) for value in described[:3])
    n_entries = (n_entries % LUT_ENTRIES) or LUT_ENTRIES
    if not 1 <= bits <= 16:
        raise UnreadableImageError(f"{descriptor} says {bits} bits for each entry; 1 to 16 were expected")
    return LookUp(_signed(first, signed=signed), _entries(content, order, n_entries, bits), bits)


def _signed(first: int, *, signed: bool) -> int:
    """Return the first mapped value, which is negative where values may be and it was written without a sign."""
    return first - 65536 if signed and first > 32767 else first


def _entries(content: bytes, order: str, n_entries: int, bits: int) -> NDArray[np.generic]:
    are_bytes = len(content) in (n_entries, n_entries + 1) or (bits <= 8 and len(content) < 2 * n_entries)
    if not are_bytes:
        return np.frombuffer(content[: len(content) & ~1], f"{order}u2")[:n_entries].astype(np.uint16)
    swapped = np.frombuffer(content[: len(content) & ~1], "<u2").byteswap().tobytes() if order == ">" else content
    return np.frombuffer(swapped, np.uint8)[:n_entries]


def _palette(dataset: "Dataset", colour: str, layout: Layout) -> LookUp:
    """Return the table of a colour; `UnreadableImageError` if there is none."""
    descriptor, data = f"{colour}PaletteColorLookupTableDescriptor", f"{colour}PaletteColorLookupTableData"
    # The standard has all descriptors the same; some writers leave out all but the first, and alpha has none.
    known = descriptor if attribute_numbers(dataset, descriptor) else f"Red{descriptor.removeprefix(colour)}"
    segmented = f"Segmented{data}"
    table = _table(dataset, known, data, signed=layout.signed)
    if table is None and len(attribute_numbers(dataset, known)) >= 3:
        n_entries, first, bits = (int(value) for value in attribute_numbers(dataset, known)[:3])
        entries = _expanded(*word_bytes(dataset, segmented), bits)[: (n_entries % LUT_ENTRIES) or LUT_ENTRIES]
        table = LookUp(_signed(first, signed=layout.signed), entries, bits) if len(entries) else None
    if table is None:
        raise UnreadableImageError(
            f"PhotometricInterpretation is PALETTE COLOR, and {known} or {data} is missing or empty. Export it as RGB"
        )
    if table.bits == 8 and table.entries.max() <= 255:
        return LookUp(table.first, table.entries.astype(np.uint8), 8)
    return table


def _expanded(content: bytes, order: str, bits: int) -> NDArray[np.generic]:
    """Return the entries of a segmented table (C.7.9.2): runs, straight lines, and copies of earlier segments."""
    kind = np.dtype(np.uint8) if bits <= 8 else np.dtype(f"{order}u2")
    codes = np.frombuffer(content[: len(content) // kind.itemsize * kind.itemsize], kind).astype(np.int64)
    entries: list[int] = []
    _expand(codes, 0, len(codes), kind.itemsize, order, entries, depth=0)
    return np.array(entries, np.uint8 if bits <= 8 else np.uint16)


def _expand(
    codes: NDArray[np.int64], place: int, n_segments: int, size: int, order: str, entries: list[int], *, depth: int
) -> None:
    while n_segments and place + 2 < len(codes) and len(entries) < LUT_ENTRIES:
        kind, length = int(codes[place]), int(codes[place + 1])
        place, n_segments = place + 2, n_segments - 1
        if kind == 0:
            entries += codes[place : place + length].tolist()
            place += length
        elif kind == 1 and entries:
            line = np.linspace(entries[-1], int(codes[place]), length + 1)[1:]
            entries += np.rint(line).astype(int).tolist()
            place += 1
        elif kind == 2 and entries and depth == 0:
            parts = [int(code) for code in codes[place : place + 4 // size]]
            if size == 1:
                low, high = (parts[1] << 8 | parts[0], parts[3] << 8 | parts[2]) if order == "<" else (
                    parts[0] << 8 | parts[1], parts[2] << 8 | parts[3])  # fmt: skip
            else:
                low, high = parts
            check_parts(length, "segments of a palette")
            _expand(codes, (high << 16 | low) // size, length, size, order, entries, depth=1)
            place += 4 // size
        else:
            raise UnreadableImageError(f"its segmented palette has a segment of type {kind} where none is allowed")


def _padding(stored: Plane, dataset: "Dataset", layout: Layout) -> NDArray[np.bool_] | None:
    """Return where pixels are padding (C.7.5.1.1.2): one value, or all from it to its limit; None where none is."""
    prefix = layout.keyword.removesuffix("PixelData")
    limits = attribute_numbers(dataset, f"{prefix}PixelPaddingValue")
    if not limits:
        return None
    ends = [limits[0], *attribute_numbers(dataset, f"{prefix}PixelPaddingRangeLimit")[:1]]
    if not layout.is_float:
        ends = [twin for end in ends if (twin := _as_stored(int(end), layout)) is not None]
    if not ends:
        return None
    values = cast(NDArray[np.float64], stored)
    padding = (values >= min(ends)) & (values <= max(ends))
    return padding if padding.any() and not padding.all() else None


def _as_stored(value: int, layout: Layout) -> int | None:
    """Return a value as the stored bits hold it, since its own type may lack the sign; None where they cannot."""
    low = -(2 ** (layout.stored - 1)) if layout.signed else 0
    turns = (0, -(2**layout.stored) if layout.signed else 0, 2**layout.allocated, -(2**layout.allocated))
    return next((value + turn for turn in turns if low <= value + turn < low + 2**layout.stored), None)


def _with_background(values: Plane, padding: NDArray[np.bool_], low: float) -> Plane:
    """Return values in which padding is background: where it is not the lowest, it becomes so."""
    lowest = float(values[~padding].min())
    if float(values[padding].max()) <= lowest:
        return values
    background = low if low >= min(lowest, 0.0) else lowest
    return np.where(padding, np.asarray(background, values.dtype), values)


def _narrow(values: Plane, low: float, high: float) -> Pixels:
    if (low, high) == (0.0, 1.0) and values.dtype.kind != "f":
        return np.asarray(values != 0, np.uint8) * np.uint8(255)
    if (low, high) == (0.0, 255.0):
        if values.dtype == np.uint8:
            return cast(Pixels, values)
        return np.rint(np.clip(values.astype(np.float64), 0, 255)).astype(np.uint8)
    if values.dtype in (np.uint16, np.int16):
        return cast(Pixels, values)
    return values.astype(np.float32)


def narrow_colour(colour: Plane) -> Pixels:
    """Return colour as uint8 or uint16, else as decimals."""
    return cast(Pixels, colour if colour.dtype in (np.uint8, np.uint16) else colour.astype(np.float32))
