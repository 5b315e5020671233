"""Cases and rows on the page: what a model asks for beside an image, and one case laid down, answered and shown.

A case is written as the one row, or the rows of the one case, of a label file with the columns of the run's own study,
so that it is read and refused as `focusmap predict` does.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import cv2
import numpy as np

from focusmap import images, models, study
from focusmap.basics import InputError, Json, branch, items, text
from focusmap.images import to_bytes
from focusmap.reading_room.intake import SHOWN_WINDOW

if TYPE_CHECKING:
    from focusmap.api import LoadedModel

TABLE = "case.csv"
# Pixels of the longer side of a case's images.
LONGEST = 1024


def _form(**fields: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": fields}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


_FILES, _TEXT = {"type": "array", "items": {"type": "string", "format": "binary"}}, {"type": "string"}
FILES_BODY, CASE_BODY = _form(files=_FILES), _form(files=_FILES, cells=_TEXT, views=_TEXT)
"""What is sent, for the OpenAPI description."""
T = TypeVar("T", dict[str, str], list[str])


@dataclass(frozen=True)
class Case:
    """What was sent of one case: cells by column, and its images with the view of each."""

    cells: Mapping[str, str]
    files: Sequence[Path]
    views: Sequence[str]


def texts_in(field: object, usual: T) -> T:
    """Return the JSON in a field of a form, texts by name or in a row as `usual` has them; that where there is none."""
    if field is None:
        return usual
    try:
        found = json.loads(str(field))
    except ValueError:
        found = None
    values = found.values() if isinstance(found, dict) else found
    if type(found) is not type(usual) or not all(isinstance(value, str) for value in values):
        raise InputError("cells are an object of texts, and views a list of texts, as JSON.")
    return found


def form_of(model: "LoadedModel") -> dict[str, Json]:
    """Return what the page asks for; empty for a model that is shown one image and nothing else.

    Returns
    -------
    dict
        ``fields``: for each column ``name``, ``kind`` (``numeric``, ``category``, ``date`` or ``codes``), ``levels``
        that train has, ``low`` and ``high`` of train as text, and ``unit``. ``views``: of the images of a case, one
        without a name where there is only one kind; none of a table alone. ``several``: whether a case has several.
    """
    needs = models.needs_of(model.model)
    fields = [_field(branch(column)) for column in model.card.covariates]
    names = [field["name"] for field in fields]
    bare: dict[str, Json] = {"kind": "numeric", "levels": [], "low": "", "high": ""}
    fields += [
        {**bare, "name": target.baseline, "unit": target.unit}
        for target in model.task.targets
        if target.baseline and target.baseline not in names
    ]
    if not fields and not needs.views and needs.images:
        return {}
    views: list[Json] = list(needs.views) or ([study.NO_VIEW] if needs.images else [])
    asked: list[Json] = [dict(field) for field in fields]
    return {"fields": asked, "views": views, "several": bool(needs.views)}


def _field(column: Mapping[str, Json]) -> dict[str, Json]:
    is_number = column.get("kind") == "numeric"
    low, high = (f"{column[end]:g}" if is_number else "" for end in ("low", "high"))
    unit = text(column.get("unit")) or text(column.get("date_format"))
    levels = list(items(column.get("levels")))
    return {"name": column["name"], "kind": column["kind"], "levels": levels, "low": low, "high": high, "unit": unit}


def check(form: Mapping[str, Json], case: Case) -> None:
    """Raise `InputError` where a case is not what a form asks for."""
    names = [text(branch(field).get("name")) for field in items(form.get("fields"))]
    views = [text(view) for view in items(form.get("views"))]
    odd = [name for name in case.cells if name not in names] + [view for view in case.views if view not in views]
    if odd or len(case.files) != len(case.views):
        raise InputError(f"{', '.join(map(repr, odd)) or 'a file without a view'} is not asked for.")
    if views and not case.files:
        raise InputError("no image was sent; the model needs one.")
    if len(case.files) > 1 and not form.get("several"):
        raise InputError(f"{len(case.files)} images were sent; the model is shown one.")


def write_case(run: Path, case: Case, folder: Path) -> Path:
    """Write the label file of one case to the folder of its images, and return it."""
    own = study.read_study(study.Run(run).study)
    row = dict(case.cells) | {name: "case" for name in (own.case_column, own.patient_column) if name}
    rows: list[dict[str, str]] = [row]
    if case.files:
        path, view = own.path_column or "path", own.view_column
        of_views = [{view: name} if view else {} for name in case.views]
        rows = [{path: file.name, **of_view, **row} for file, of_view in zip(case.files, of_views, strict=True)]
    table = folder / TABLE
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def rows_of(run: Path, table: Path) -> list[dict[str, str]]:
    """Return the rows of a case as it was written, its images' files under ``path``; case and patient are left out."""
    own = study.read_study(study.Run(run).study)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        {"path" if name == own.path_column else name: cell for name, cell in row.items()
         if name not in (own.case_column, own.patient_column)}
        for row in rows
    ]  # fmt: skip


def samples_of(model: "LoadedModel", file: Path) -> study.Samples:
    """Return what a model is shown of an image, or of the table of a case."""
    return study.read_inputs(model.folder, models.needs_of(model.model), [file], study.Declaration())


def show_case(model: "LoadedModel", file: Path, folder: Path) -> dict[str, Json]:
    """Write the images of a case on one canvas as if they were slices, ``shown.npy``, and return how they are laid out.

    As `focusmap.reading_room.layers.show`, with ``views``: what each of them is called. Empty of a case without images.
    """
    samples = samples_of(model, file)
    if not samples.files:
        return {}
    planes = [to_bytes(images.read_image(one).pixels, SHOWN_WINDOW) for one in samples.files]
    n_channels = max(len(plane) for plane in planes)
    longest = np.max([plane.shape[1:] for plane in planes], axis=0)
    canvas = cast(tuple[int, int], tuple(int(side) for side in np.ceil(longest * min(1.0, LONGEST / longest.max()))))
    stack = np.stack([
        np.stack([fitted(channel, canvas) for channel in np.broadcast_to(plane, (n_channels, *plane.shape[1:]))], -1)
        for plane in planes
    ])  # fmt: skip
    stack = stack if n_channels == 3 else stack[..., 0]
    np.save(folder / "shown.npy", np.rint(stack).astype(np.uint8))
    shape: list[Json] = [len(planes), *canvas]
    named = samples.rows.images
    views: list[Json] = [""] if named is None else [str(view) for view in named["view"]]
    return {
        "shape": shape, "colour": n_channels == 3, "bits": 8, "low": 0.0, "high": 255.0, "window": [0.0, 255.0],
        "size": [1.0, 1.0, 1.0], "source_shape": shape[1:], "views": views,
    }  # fmt: skip


def fitted(plane: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """Return an array ``(rows, columns)`` as large as it fits into the middle of a canvas, ``float32``, 0 around it.

    >>> fitted(np.ones((1, 2)), (4, 4)).tolist()[1:3]
    [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """
    rows, columns = plane.shape
    scale = min(canvas[0] / rows, canvas[1] / columns)
    size = [max(round(side * scale), 1) for side in (rows, columns)]
    drawn = cv2.resize(np.ascontiguousarray(plane, dtype=np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    found = np.zeros(canvas, np.float32)
    top, left = ((whole - side) // 2 for whole, side in zip(canvas, size, strict=True))
    found[top : top + size[0], left : left + size[1]] = drawn
    return found
