"""The verb ``dicom``: what each action does, and what is said of it."""

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from focusmap.basics import InputError
from focusmap.convert import dicom_files
from focusmap.dicom.answering import Answering, read_codes, write_objects
from focusmap.dicom.archive import SHOWN, Archive
from focusmap.dicom.deidentify import deidentify
from focusmap.dicom.jobs import Jobs
from focusmap.dicom.request import OBJECT_KINDS, DicomAction, DicomRequest
from focusmap.dicom.watch import SECONDS_BETWEEN_LOOKS, TITLE, Lookout, Station, listen, maker
from focusmap.images import refuse_links_out


def dicom(action: DicomAction, request: DicomRequest) -> Iterator[str]:
    """Yield what is done, line by line, as it is done.

    Parameters
    ----------
    action
        ``write``: a model's answers to DICOM images as objects. ``deidentify``: copies without who they are.
        ``query``, ``fetch``, ``send``: of and to an archive. ``watch``: answer what an archive sends, until
        interrupted.

    Raises
    ------
    InputError, MissingFileError, MissingPartError
        If something that the action needs is not named or not there, or the extra ``dicom`` is not installed.
    """
    return ACTIONS[action](request)


def _write(request: DicomRequest) -> Iterator[str]:
    from focusmap.api import load_model

    model, out = _named(request.model, "--model RUN"), _named(request.out, "--out DIR")
    answering = Answering(load_model(model), read_codes(request.codes), request.kinds or OBJECT_KINDS)
    answers = write_objects(answering, _inputs(request), out)
    n_objects = sum(len(answer.objects) for answer in answers)
    yield f"objects: {out} ({n_objects} about {len(answers)} image{'s' * (len(answers) != 1)})"
    for name in dict.fromkeys(name for answer in answers for name in answer.missing):
        reasons = [answer.missing[name] for answer in answers if name in answer.missing]
        yield f"  no {name} of {len(reasons)} of them: {reasons[0]}"


def _deidentify(request: DicomRequest) -> Iterator[str]:
    out = _named(request.out, "--out DIR")
    done = deidentify(_inputs(request), out)
    yield f"files: {out} ({done.n_files}), of {done.n_patients} patients"
    yield f"  burnt-in text: {done.n_flagged} files say or suggest that they have some; none is verified"
    yield f"  keep to yourself: {done.key} leads from the new names to the old"
    for name, reason in done.failures:
        yield f"  not written: {name}: {reason}"


def _query(request: DicomRequest) -> Iterator[str]:
    studies = Archive(_text(request.server, "--server URL")).query(_filters(request))
    yield "\t".join(SHOWN)
    for study in studies:
        yield "\t".join(study.values())


def _filters(request: DicomRequest) -> dict[str, str]:
    wrong = [text for text in request.filters if "=" not in text]
    if wrong:
        raise InputError(f"--where {wrong[0]}: KEY=VALUE was expected, such as StudyDate=20240301-20240331.")
    return dict(text.split("=", 1) for text in request.filters)


def _fetch(request: DicomRequest) -> Iterator[str]:
    out, study = _named(request.out, "--out DIR"), _text(request.study, "--study UID")
    files = Archive(_text(request.server, "--server URL")).fetch(study, out)
    yield f"files: {out} ({len(files)})"


def _send(request: DicomRequest) -> Iterator[str]:
    from pydicom import dcmread

    archive = Archive(_text(request.server, "--server URL"))
    files = [file for place in _inputs(request) for file in (dicom_files(place) if place.is_dir() else [place])]
    new = [archive.send(dcmread(file)) for file in files]
    yield f"stored and read back: {sum(new)} of {len(files)} files; the others were there already"


def _watch(request: DicomRequest) -> Iterator[str]:
    from focusmap.api import load_model

    model, archive = _named(request.model, "--model RUN"), Archive(_text(request.send_to, "--send-to URL"))
    answering = Answering(load_model(model), read_codes(request.codes), request.kinds or OBJECT_KINDS)
    jobs = Jobs(request.queue or model / "queue", request.quiet)
    messages: queue.Queue[str] = queue.Queue()
    lookout = None
    if request.server:
        lookout = Lookout(jobs, Archive(request.server), _filters(request), request.every, messages.put)
    server = listen(jobs, (request.host, request.listen), request.callers)
    yield f"listening: {request.host}:{request.listen}, AE title {TITLE}"
    for job in jobs.parked():
        yield f"job {job.number}: parked: {job.reason}"
    station = Station(jobs, maker(answering), archive, messages.put)
    if request.server:
        yield f"looking: {request.server}, every {request.every:g} s"
    try:
        while True:
            if lookout is not None:
                lookout.step()
            station.step()
            while not messages.empty():
                yield messages.get()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        server.shutdown()


def _text(value: str, option: str) -> str:
    if not value:
        raise InputError(f"add {option}.")
    return value


def _inputs(request: DicomRequest) -> tuple[Path, ...]:
    if not request.inputs:
        raise InputError("name DICOM files, or a folder of them.")
    for place in filter(Path.is_dir, request.inputs):
        names = (str(file.relative_to(place)) for file in dicom_files(place))
        refuse_links_out(place, names, follow=request.follow_links)
    return request.inputs


def _named(value: Path | None, option: str) -> Path:
    if value is None:
        raise InputError(f"add {option}.")
    return value


ACTIONS: Mapping[DicomAction, Callable[[DicomRequest], Iterator[str]]] = {
    "write": _write,
    "deidentify": _deidentify,
    "query": _query,
    "fetch": _fetch,
    "send": _send,
    "watch": _watch,
}
