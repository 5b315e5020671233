"""Convert: packed data sets, or the images and volumes of a label file, to images and a label file."""

from pathlib import Path
from typing import TYPE_CHECKING

from focusmap.basics import InputError, MissingFileError, Progress, silent
from focusmap.verbs.requests import ConvertRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from focusmap.convert import Conversion, Packed


def convert(
    source: Path,
    out: Path,
    request: ConvertRequest = ConvertRequest(),
    *,
    force: bool = False,
    progress: Progress = silent,
) -> "Conversion":
    """Write the images or volumes of `source` and their ``labels.csv`` to `out`, and return what was written.

    Parameters
    ----------
    source
        A packed data set (`focusmap.convert.conversion.PACKINGS`), or a label file.
    out
        Folder.
    request
        What is made of it.
    force
        Replace what is there.
    progress
        Called as the work goes on.

    Raises
    ------
    MissingFileError, InputError
        If the source is missing or of no known kind, or `out` holds files and `force` is not given.
    """
    from focusmap.convert import write_packed

    if not source.exists():
        raise MissingFileError(f"{source}: no such file.")
    _refuse_held(out, force=force)
    try:
        return write_packed(_unplaced(source, request), out, progress, escape=request.escape)
    except InputError as error:
        raise error if str(error).startswith(str(source)) else InputError(f"{source}: {error}") from None


def _refuse_held(out: Path, *, force: bool) -> None:
    """Raise `InputError` where a folder holds what was converted earlier, without `force`, or other images."""
    from focusmap.convert.conversion import IMAGES, LABELS, VOLUMES

    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; a folder was expected. Choose another name.")
    there = [path.name for path in out.iterdir()] if out.is_dir() else []
    if LABELS not in there and {IMAGES, VOLUMES} & set(there):
        raise InputError(f"{out}: holds images without {LABELS}, perhaps not converted ones. Choose an empty folder.")
    if there and not force:
        raise InputError(f"{out}: holds files already. Choose another --out, or add --force.")


def _unplaced(source: Path, request: ConvertRequest) -> "Iterator[Packed]":
    """Yield what is unpacked; reasons why an image cannot be read name it relative to the source."""
    from focusmap.convert import PackedFailure

    home = source if source.is_dir() else source.parent
    for image in _unpack(source, request):
        if isinstance(image, PackedFailure):
            yield PackedFailure(image.name, image.reason.replace(f"{home}/", ""))
        else:
            yield image


def _unpack(source: Path, request: ConvertRequest) -> "Iterator[Packed]":
    from focusmap.convert import find_packing, slices_and_stacks, unpack_dicom_volumes
    from focusmap.images import refuse_links_out

    if source.is_dir():
        names = (str(path.relative_to(source)) for path in source.rglob("*"))
        refuse_links_out(source, names, follow=request.follow_links)
    elif (request.parts or request.slices or request.stack) and not request.follow_links:
        slices_and_stacks.refuse_links_of(source)

    if request.parts:
        return slices_and_stacks.unpack_parts(source, request.parts)
    if request.slices:
        return slices_and_stacks.unpack_slices(
            source, slices_and_stacks.SliceOptions(request.slice_labels, request.neighbours)
        )
    if request.stack:
        return slices_and_stacks.unpack_stacks(source, (request.stack[0], request.stack[1]), request.spacing)
    if request.volumes:
        return unpack_dicom_volumes(source)
    return find_packing(source).unpack(source)
