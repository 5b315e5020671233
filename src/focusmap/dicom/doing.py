"""The verb ``dicom``: what each action does, and what is said of it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from focusmap.dicom.answering import KINDS, Answering, read_codes, write_objects
from focusmap.dicom.deidentify import deidentify
from focusmap.dicom.request import DicomAction, DicomRequest
from focusmap.errors import InputError


def dicom(action: DicomAction, request: DicomRequest) -> list[str]:
    """Return what was done, line by line.

    Parameters
    ----------
    action
        ``write``: a model's answers to DICOM images as objects. ``deidentify``: copies without who they are.

    Raises
    ------
    InputError, MissingFileError, MissingPartError
        If something that the action needs is not named or not there, or the extra ``dicom`` is not installed.
    """
    return list(ACTIONS[action](request))


def _write(request: DicomRequest) -> Iterator[str]:
    from focusmap.loaded import load_model

    model, out = _named(request.model, "--model RUN"), _named(request.out, "--out DIR")
    answering = Answering(load_model(model), read_codes(request.codes), request.kinds or KINDS)
    found = write_objects(answering, _inputs(request), out)
    n_objects = sum(len(one.objects) for one in found)
    yield f"objects: {out} ({n_objects} of {len(found)} images)"
    for name in dict.fromkeys(name for one in found for name in one.missing):
        reasons = [one.missing[name] for one in found if name in one.missing]
        yield f"  no {name} of {len(reasons)} images: {reasons[0]}"


def _deidentify(request: DicomRequest) -> Iterator[str]:
    out = _named(request.out, "--out DIR")
    done = deidentify(_inputs(request), out)
    yield f"files: {out} ({done.n_files}), of {done.n_patients} patients"
    yield f"  burnt-in text: {done.n_flagged} files say or suggest that they have some; none is verified"
    yield f"  keep to yourself: {done.key} leads from the new names to the old"
    for name, reason in done.failures:
        yield f"  not written: {name}: {reason}"


def _inputs(request: DicomRequest) -> tuple[Path, ...]:
    if not request.inputs:
        raise InputError("name DICOM files, or a folder of them.")
    return request.inputs


def _named(value: Path | None, option: str) -> Path:
    if value is None:
        raise InputError(f"add {option}.")
    return value


ACTIONS: Mapping[DicomAction, Callable[[DicomRequest], Iterator[str]]] = {"write": _write, "deidentify": _deidentify}
