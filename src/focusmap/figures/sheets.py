"""Many images on one page: contact sheets, slices of a volume, masks beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from focusmap.basics import read_table
from focusmap.figures.overlays import as_image, as_shown, blend, part_of, save_png
from focusmap.figures.style import INK, fitted, font

TILE, GAP, WORDS, COLUMNS = 150, 10, 22, 6
MOST_TILES = 120


@dataclass(frozen=True)
class Tile:
    """One image of a sheet, as `as_shown` takes it, and a short line under it."""

    image: np.ndarray
    caption: str


def write_sheet(path: Path, tiles: Sequence[Tile], columns: int = COLUMNS) -> None:
    """Write a PNG of the tiles, as `sheet_of` lays them."""
    save_png(sheet_of(tiles, columns), path, level=3)


def write_contact_sheet(folder: Path) -> Path | None:
    """Write ``sheet.png``: the maps alone of the overlays that a folder's ``index.csv`` lists; None where none is.

    At most `MOST_TILES`; a row per image where few labels have maps.
    """
    index = read_table(folder / "index.csv")
    drawn = index[index["overlay"] != ""].head(MOST_TILES)
    tiles = []
    for row in drawn.to_dict("records"):
        with Image.open(folder / str(row["overlay"])) as overlay:
            shown = overlay.convert("RGB").crop(part_of(overlay.size, "map"))
        caption = f"{Path(str(row['image_id'])).name}: {row['target']} {float(str(row['probability'])):.2f}"
        tiles.append(Tile(np.moveaxis(np.asarray(shown), -1, 0), caption))
    if not tiles:
        return None
    write_sheet(folder / "sheet.png", tiles, min(max(drawn["target"].nunique(), 3), COLUMNS))
    return folder / "sheet.png"


def sheet_of(tiles: Sequence[Tile], columns: int = COLUMNS, side: int = TILE) -> Image.Image:
    """Return the tiles, row by row; aspect is kept, and each image is shown on its own grey scale.

    `side` is that of the square that an image fits in, in pixels.
    """
    columns = max(1, min(columns, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    size = columns * (side + GAP) + GAP, rows * (side + WORDS + GAP) + GAP
    sheet = Image.new("RGB", size, "white")
    for position, tile in enumerate(tiles):
        row, column = divmod(position, columns)
        _place(sheet, tile, (GAP + column * (side + GAP), GAP + row * (side + WORDS + GAP)), side)
    return sheet


def write_thumbnail(path: Path, image: np.ndarray, longest: int) -> None:
    """Write a PNG of one image, as `as_shown` takes it, no side above `longest` pixels."""
    shown = as_image(as_shown(image))
    shown.thumbnail((longest, longest))
    save_png(shown, path, level=3)


def _place(sheet: Image.Image, tile: Tile, corner: tuple[int, int], side: int) -> None:
    left, top = corner
    image = as_image(as_shown(tile.image))
    scale = side / max(image.size)
    small = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    how = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BILINEAR
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left - 1, top - 1, left + side, top + side), outline="#e4e8ec")
    sheet.paste(image.resize(small, how), (left + (side - small[0]) // 2, top + (side - small[1]) // 2))
    letters = font(9.5, tile.caption)
    draw.text((left, top + side + 5), fitted(tile.caption, side, letters), fill=INK, font=letters)


N_MONTAGE, N_ACROSS = 12, 4
N_STEPS = 48
SLICE_SIDE, NUMBER_HEIGHT = 240, 12.0


@dataclass(frozen=True)
class SliceStrip:
    """Slices under each other, each beside itself under its heat map.

    Parameters
    ----------
    slices
        ``(n, rows, columns) uint8``.
    maps
        The same shape, or None for no evidence.
    numbers
        Of the slices in their volume.
    vmax
        The value at which the colours end.
    """

    slices: np.ndarray
    maps: np.ndarray | None
    numbers: Sequence[int]
    vmax: float


def spread(n_slices: int, most: int, strongest: int) -> list[int]:
    """Return at most `most` slices, evenly spread, with the strongest among them, in order.

    >>> spread(24, 4, 9)
    [0, 9, 15, 23]
    """
    if n_slices <= most:
        return list(range(n_slices))
    chosen = np.rint(np.linspace(0, n_slices - 1, most)).astype(int)
    chosen[np.abs(chosen - strongest).argmin()] = strongest
    return [int(i) for i in chosen]


def montage(stack: np.ndarray) -> np.ndarray:
    """Return slices ``(n, rows, columns)`` as one image, row by row; what is left over is 0.

    >>> montage(np.ones((5, 2, 3))).shape
    (4, 12)
    """
    n, rows, columns = stack.shape
    across = min(N_ACROSS, n)
    down = -(-n // across)
    filled = np.concatenate([stack, np.zeros((down * across - n, rows, columns), stack.dtype)])
    return filled.reshape(down, across, rows, columns).swapaxes(1, 2).reshape(down * rows, across * columns)


def write_strip(path: Path, strip: SliceStrip) -> None:
    """Write a PNG of the slices under each other, all of one height."""
    scale = SLICE_SIDE / max(strip.slices.shape[1:])
    size = tuple(max(round(n * scale), 1) for n in strip.slices.shape[:0:-1])
    width, height = size[0], size[1]
    sheet = Image.new("RGB", (2 * width, height * len(strip.slices)))
    for k, (image, number) in enumerate(zip(strip.slices, strip.numbers, strict=True)):
        sheet.paste(_image(image, None, strip.vmax, (width, height)), (0, k * height))
        heat_map = None if strip.maps is None else strip.maps[k]
        sheet.paste(_image(image, heat_map, strip.vmax, (width, height)), (width, k * height))
        ImageDraw.Draw(sheet).text(
            (6, k * height + 4), str(number), fill="#ffffff", font=font(NUMBER_HEIGHT, str(number))
        )
    save_png(sheet, path, level=1)


def _image(image: np.ndarray, heat_map: np.ndarray | None, vmax: float, size: tuple[int, int]) -> Image.Image:
    shown = as_shown(image)
    if heat_map is not None:
        shown = blend(shown, heat_map, vmax)
    return as_image(shown).resize(size, Image.Resampling.BILINEAR)


# Of Okabe and Ito, between 0 and 1: what was drawn, and what is true.
DRAWN, TRUE = np.array([0.90, 0.62, 0.0]), np.array([0.0, 0.75, 0.55])
OF_DRAWN = "drawn mask"
LEGEND = {OF_DRAWN: DRAWN, "true mask": TRUE}
LETTERS, SWATCH = 13, 24
# Outlines are to be seen, and there are few cases.
CASE_SIDE = 300


@dataclass(frozen=True)
class DrawnCase:
    """One case: an image ``(rows, columns)`` or ``(3, rows, columns)``, masks of its shape, and a caption.

    Parameters
    ----------
    truth
        None where there is no true mask.
    """

    image: np.ndarray
    drawn: np.ndarray
    truth: np.ndarray | None
    caption: str


def draw_cases(path: Path, cases: Sequence[DrawnCase]) -> None:
    """Write a PNG: of each case the bare image and, below it, the outlines of its masks, with a legend."""
    above = [Tile(case.image, case.caption) for case in cases]
    below = [Tile(outlined(case), "") for case in cases]
    sheet = sheet_of([*above, *below], columns=len(cases), side=CASE_SIDE)
    _add_legend(sheet, LEGEND if any(case.truth is not None for case in cases) else {OF_DRAWN: DRAWN})
    save_png(sheet, path, level=3)


def _add_legend(sheet: Image.Image, legend: Mapping[str, np.ndarray]) -> None:
    """Write under the lower tiles, which have no captions, whose line has which colour."""
    draw, letters, left, middle = ImageDraw.Draw(sheet), font(LETTERS), GAP, sheet.height - GAP - WORDS // 2
    for words, colour in legend.items():
        shade = tuple(round(255 * part) for part in colour)
        draw.line((left, middle, left + SWATCH, middle), fill=shade, width=4)
        draw.text((left + SWATCH + 6, middle), words, fill=INK, font=letters, anchor="lm")
        left += SWATCH + 6 + round(letters.getlength(words)) + 2 * GAP


def outlined(case: DrawnCase) -> np.ndarray:
    """Return the image ``(3, rows, columns)`` with the outlines of its masks on it, the drawn one on top."""
    shown = np.moveaxis(np.asarray(as_shown(case.image)), -1, 0).copy()
    for mask, colour in ((case.truth, TRUE), (case.drawn, DRAWN)):
        if mask is not None:
            shown[:, border_of(mask)] = colour[:, None]
    return shown


def border_of(mask: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of a mask ``(rows, columns) bool``.

    >>> border_of(np.ones((3, 3), bool)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    from scipy.ndimage import binary_erosion

    return np.asarray(mask & ~binary_erosion(mask))
