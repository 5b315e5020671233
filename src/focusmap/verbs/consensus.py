"""Consensus: several readers' table to one label file, with how far they agree and what to look at again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from focusmap.basics import FocusmapError, InputError, Json, refuse_existing, write_json, write_table
from focusmap.consensus import consensus_table, decide, describe_consensus
from focusmap.figures import write_thumbnail
from focusmap.images import middle_slice, read_image
from focusmap.report import MOST_IMAGES, disputed_images, inside, render_consensus
from focusmap.study import Readings, read_readings
from focusmap.verbs.requests import ConsensusRequest

FACTS, PAGE = "consensus.json", "consensus.html"
THUMBNAIL_PIXELS = 360


def consensus(readers: Path, out: Path, request: ConsensusRequest = ConsensusRequest()) -> dict[str, Json]:
    """Write the label file `out`, and ``consensus.json`` and ``consensus.html`` beside it; return the former.

    Raises
    ------
    MissingFileError, InputError
        If the table cannot be read as readings, the options do not fit it, or a file is there already.
    """
    refuse_existing(out, out.with_name(FACTS), out.with_name(PAGE), force=request.force)
    readings = read_readings(readers, request.declaration)
    try:
        decisions = decide(readings, request.options)
    except InputError as error:
        raise InputError(f"{readers}: {error}") from None
    facts = describe_consensus(readings, decisions, request.options, request.seed)
    write_table(out, consensus_table(readings, decisions, request.options), escape=request.escape)
    write_json(out.with_name(FACTS), facts)
    with TemporaryDirectory() as folder:
        disputed = disputed_images(facts)[:MOST_IMAGES]
        images = _thumbnails(readings, disputed, request.images or readers.parent, Path(folder))
        render_consensus(facts, images, out.with_name(PAGE), request.language)
    return facts


def _thumbnails(readings: Readings, names: Sequence[str], root: Path, folder: Path) -> Mapping[str, Path]:
    """Write a small PNG of each image that can be read; the page says of the others that it cannot show them."""
    if readings.path_column is None:
        return {}
    written = {}
    for number, name in enumerate(names):
        file, thumbnail = inside(root, name), folder / f"{number}.png"
        try:
            pixels = None if file is None else middle_slice(read_image(file, at_least=THUMBNAIL_PIXELS))
        except FocusmapError:
            continue
        if pixels is not None:
            write_thumbnail(thumbnail, pixels, THUMBNAIL_PIXELS)
            written[name] = thumbnail
    return written
