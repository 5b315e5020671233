"""The site: the page, what it asks for, and the same answers for programs; errors are one sentence without a path.

``/`` is the page, ``/programs`` says how programs ask, ``/openapi.json`` says it to them.
"""

import base64
import logging
import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
from fastapi import Body, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteError
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from focusmap.basics import LANGUAGES, FocusmapError, InputError, Json, Language, MissingFileError, MissingPartError
from focusmap.basics.installation import own_version
from focusmap.reading_room import cases, corrections, guard, intake, pages
from focusmap.reading_room.desk import BusyError, Desk, RefusedImageError
from focusmap.reading_room.shelf import Files, Item, Shelf, plane_of
from focusmap.report import Words, words_in
from focusmap.study import open_run
from focusmap.verbs.requests import ServeRequest

LOG = logging.getLogger("focusmap.reading_room")
# Plots of the report place their marks by style; such a page holds no script at all.
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
NOT_SEGMENTED = "nothing was learnt to draw masks with; run focusmap segment on the run first."


def serve(folder: Path, request: ServeRequest = ServeRequest(), ready: Callable[[], object] = lambda: None) -> None:
    """Serve the reading room of a run until interrupted; `ready` is called when the model is loaded.

    Raises
    ------
    InputError, MissingFileError, MissingPartError
        If others could reach the address without a token, the run has no model of single images, the address is taken,
        or the extra ``web`` is not installed.
    """
    import uvicorn

    request = replace(request, token=request.token or os.environ.get("FOCUSMAP_TOKEN", ""))
    guard.check_address(request)
    open_run(folder)
    with guard.listening(request) as door, closing(Desk(folder, request)) as desk:
        # No log of requests: their addresses may hold the token. What is logged names nobody.
        settings = uvicorn.Config(
            site_of(folder, desk), request.host, request.port, log_level="warning", access_log=False,
            limit_concurrency=512, timeout_graceful_shutdown=5, server_header=False,
        )  # fmt: skip
        ready()
        uvicorn.Server(settings).run(sockets=[door])


def site_of(folder: Path, desk: Desk) -> guard.Guard:
    """Return the site of a run, behind its guard."""
    shelf = Shelf(desk)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        shelf.close()

    app = FastAPI(
        title="focusmap reading room", version=own_version(), docs_url=None, redoc_url=None, lifespan=lifespan,
        description="Answers of one model. For research use; not a medical device.",
    )  # fmt: skip
    app.mount("/static", StaticFiles(directory=pages.STATIC))
    _say_errors(app)
    _add_pages(app, folder, shelf)
    _add_items(app, shelf)
    _add_layers(app, shelf)
    _add_drawing(app, shelf)
    _add_outcomes(app, folder, shelf)
    _add_programs(app, shelf)
    _add_watching(app, shelf)
    app.add_middleware(GZipMiddleware, minimum_size=2048, compresslevel=1)
    return guard.Guard(app, desk.limits)


def _say_errors(app: FastAPI) -> None:
    statuses = {MissingFileError: 404, BusyError: 503, RefusedImageError: 422, MissingPartError: 501}

    @app.exception_handler(FocusmapError)
    def said(_: Request, error: Exception) -> Response:
        status = next((status for kind, status in statuses.items() if isinstance(error, kind)), 400)
        return JSONResponse({"error": str(error)}, status, {"retry-after": "5"} if status == 503 else None)

    @app.exception_handler(StarletteError)
    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException | StarletteError)
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    def failed(_: Request, error: Exception) -> Response:
        LOG.error("a request failed: %s", type(error).__name__)
        return JSONResponse({"error": "the server failed at this; its log says more."}, 500)


def _words_for(request: Request, usual: Language) -> Words:
    """Return the words of the language asked for, else the browser's where it is one of ours, else the usual one."""
    asked = request.query_params.get("lang", "")
    browser = request.headers.get("accept-language", "").lower()
    known = next((language for language in LANGUAGES if browser.startswith(language)), usual)
    return words_in(next((language for language in LANGUAGES if language == asked), known))


def _add_pages(app: FastAPI, folder: Path, shelf: Shelf) -> None:
    usual = shelf.desk.limits.language

    @app.get("/", include_in_schema=False)
    def room(request: Request) -> Response:
        return HTMLResponse(pages.room_page(folder, shelf.desk.facts, _words_for(request, usual)))

    @app.get("/model", include_in_schema=False)
    def model(request: Request) -> Response:
        found = pages.model_page(folder, shelf.desk.facts, _words_for(request, usual))
        return HTMLResponse(found, headers={"content-security-policy": REPORT_POLICY})

    @app.get("/programs", include_in_schema=False)
    def programs(request: Request) -> Response:
        return HTMLResponse(pages.programs_page(app.openapi(), _words_for(request, usual)))

    @app.get("/static-pages.css", include_in_schema=False)
    def style() -> Response:
        return Response(pages.page_style(), media_type="text/css")


def _visitor(request: Request) -> str:
    return str(request.state.visitor)


async def _files_of(request: Request) -> list[tuple[str, BinaryIO]]:
    """Return the files of a form by what their sender calls them."""
    form = await request.form(max_files=intake.MOST_FILES, max_fields=16)
    found = [
        (value.filename or "image", value.file) for _, value in form.multi_items() if isinstance(value, UploadFile)
    ]
    if not found:
        raise InputError("no file was sent; send a form with the field files.")
    return found


def _add_items(app: FastAPI, shelf: Shelf) -> None:
    @app.post("/api/items", status_code=201, openapi_extra=cases.FILES_BODY, tags=["page"])
    async def send(request: Request) -> dict[str, Any]:
        """Send images, zip files or the slices of a series; they are answered while the page waits."""
        files = await _files_of(request)
        items = await run_in_threadpool(shelf.receive, _visitor(request), files)
        return {"items": [item.to_dict() for item in items]}

    @app.post("/api/cases", status_code=201, openapi_extra=cases.CASE_BODY, tags=["page", "programs"])
    async def send_case(request: Request) -> dict[str, Any]:
        """Send one case of a model of tables or cases: cells as JSON, its images, and the view of each as JSON."""
        form = await request.form(max_files=intake.MOST_FILES, max_fields=16)
        files = [(one.filename or "image", one.file) for one in form.getlist("files") if isinstance(one, UploadFile)]
        texts = cases.texts_in(form.get("cells"), {}), cases.texts_in(form.get("views"), [""] * len(files))
        item = await run_in_threadpool(shelf.receive_case, _visitor(request), files, texts)
        return {"items": [item.to_dict()]}

    @app.get("/api/items", tags=["page"])
    def listed(request: Request) -> dict[str, Any]:
        """Return what this visitor sent, with what is known of it so far."""
        return {"items": [item.to_dict() for item in shelf.of(_visitor(request))], "waiting": shelf.desk.n_waiting}

    @app.delete("/api/items", status_code=204, tags=["page"])
    def clear(request: Request) -> None:
        """Remove all that this visitor sent."""
        shelf.remove(shelf.of(_visitor(request)))

    @app.delete("/api/items/{item_id}", status_code=204, tags=["page"])
    def remove(request: Request, item_id: str) -> None:
        """Remove one image."""
        shelf.remove([shelf.get(_visitor(request), item_id)])


def _add_layers(app: FastAPI, shelf: Shelf) -> None:
    def raw(request: Request, item_id: str, name: str, plane: int, position: int) -> Response:
        item = shelf.get(_visitor(request), item_id)
        return _octets(plane_of(item.sent.folder / name, plane, position))

    @app.get("/api/items/{item_id}/image/{plane}/{position}", tags=["page"])
    def image(request: Request, item_id: str, plane: int, position: int) -> Response:
        """Return one plane of an image: levels, 8 or 16 bits little-endian, row by row; of colour three bytes each."""
        return raw(request, item_id, "shown.npy", plane, position)

    @app.get("/api/items/{item_id}/maps/{label}/{plane}/{position}", tags=["page"])
    def maps(request: Request, item_id: str, label: int, plane: int, position: int) -> Response:
        """Return one plane of the map of a label, by its place among the labels: 0 to 255 of its scale."""
        return _layer(shelf.get(_visitor(request), item_id), "maps.npy", (label, plane, position))

    @app.get("/api/items/{item_id}/mask/{lesion}/{plane}/{position}", tags=["page"])
    def mask(request: Request, item_id: str, lesion: int, plane: int, position: int) -> Response:
        """Return one plane of a mask: 0 or 1."""
        return _layer(shelf.get(_visitor(request), item_id), "mask.npy", (lesion, plane, position))

    @app.get("/api/items/{item_id}/alike/{position}", tags=["page"])
    def alike(request: Request, item_id: str, position: int) -> Response:
        """Return one of the training images that are most like an image, small."""
        file = shelf.get(_visitor(request), item_id).sent.folder / f"alike_{position}.png"
        if not file.is_file():
            raise MissingFileError("no such image.")
        return Response(file.read_bytes(), media_type="image/png")


def _add_drawing(app: FastAPI, shelf: Shelf) -> None:
    @app.post("/api/items/{item_id}/maps", status_code=202, tags=["page"])
    def draw(request: Request, item_id: str, method: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
        """Have the maps of an image drawn anew, by another method."""
        item = shelf.get(_visitor(request), item_id)
        if method not in pages.texts(shelf.desk.facts, "methods"):
            raise InputError(f"{method!r} is no method that this model's maps can be drawn by.")
        shelf.draw(item, method)
        return item.to_dict()

    @app.post("/api/items/{item_id}/segment", status_code=202, tags=["page"])
    def segment(request: Request, item_id: str) -> dict[str, Any]:
        """Have the masks of an image drawn."""
        if not shelf.desk.facts["can_segment"]:
            raise InputError(NOT_SEGMENTED)
        item = shelf.get(_visitor(request), item_id)
        shelf.segment(item)
        return item.to_dict()


def _octets(plane: np.ndarray) -> Response:
    return Response(plane.astype(plane.dtype.newbyteorder("<")).tobytes(), media_type="application/octet-stream")


def _layer(item: Item, name: str, where: tuple[int, int, int]) -> Response:
    file, (layer, plane, position) = item.sent.folder / name, where
    if not file.is_file():
        raise MissingFileError("nothing is drawn yet.")
    layers = np.load(file, mmap_mode="r")
    if not (0 <= layer < len(layers) and 0 <= plane < 3 and 0 <= position < layers.shape[1 + plane]):
        raise MissingFileError("no such slice.")
    return _octets(np.take(layers[layer], position, axis=plane))


def _add_outcomes(app: FastAPI, folder: Path, shelf: Shelf) -> None:
    usual = shelf.desk.limits.language

    @app.post("/api/items/{item_id}/correction", tags=["page"])
    def correct(
        request: Request, item_id: str, target: Annotated[str, Body()], label: Annotated[str, Body()]
    ) -> dict[str, Any]:
        """Store what a reader says is right, with the image, in the run."""
        item = shelf.get(_visitor(request), item_id)
        if item.state != "answered" or label not in pages.classes_of(shelf.desk.facts, target):
            raise InputError(f"{label!r} is no class of {target!r}.")
        place = folder / corrections.FOLDER / corrections.IMAGES
        kept = shelf.desk.ask("keep", item.sent, place).result()
        corrections.store(folder, item, (target, label), kept)
        item.corrected[target] = label
        return item.to_dict()

    @app.get("/api/items.csv", tags=["page"])
    def table(request: Request) -> Response:
        """Return a table of all answers to this visitor."""
        found = pages.answers_csv(shelf.of(_visitor(request)), _words_for(request, usual))
        return Response(found, media_type="text/csv; charset=utf-8", headers=_as_file("answers.csv"))

    @app.get("/api/sheet.pdf", tags=["page"])
    def sheet(request: Request, item: Annotated[list[str], Query()]) -> Response:
        """Return a one-page PDF of images of one patient."""
        items = [shelf.get(_visitor(request), item_id) for item_id in item]
        answered = [one for one in items if one.state == "answered"]
        if not answered:
            raise InputError("nothing was answered that a sheet could show.")
        pdf = pages.sheet(answered, shelf.desk.facts, _words_for(request, usual))
        return Response(pdf, media_type="application/pdf", headers=_as_file("answers.pdf"))


def _as_file(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


def _add_programs(app: FastAPI, shelf: Shelf) -> None:
    @app.post("/api/predict", openapi_extra=cases.FILES_BODY, tags=["programs"])
    async def predict(request: Request) -> dict[str, Any]:
        """Return what the model says of each file; what is sent is removed when it is answered."""

        def ask(sent: Sequence[intake.Sent]) -> Any:
            answers = shelf.desk.ask("answer", list(sent), False).result()
            return [{"name": image.name, **answer} for image, answer in zip(sent, answers, strict=True)]

        return {"answers": await _once(request, shelf, ask)}

    @app.post("/api/explain", openapi_extra=cases.FILES_BODY, tags=["programs"])
    async def explain(request: Request, method: str | None = None) -> dict[str, Any]:
        """Return the answers with heat maps: values in the grid of each file, as float32 in a file of NumPy (npz)."""

        def ask(sent: Sequence[intake.Sent]) -> Any:
            answers = shelf.desk.ask("answer", list(sent), True).result()
            return [_with_maps(shelf, image, answer, method) for image, answer in zip(sent, answers, strict=True)]

        return {"answers": await _once(request, shelf, ask)}

    @app.post("/api/segment", openapi_extra=cases.FILES_BODY, tags=["programs"])
    async def segment(request: Request) -> dict[str, Any]:
        """Return the masks of each file in its own grid, as PNG or NIfTI."""
        if not shelf.desk.facts["can_segment"]:
            raise InputError(NOT_SEGMENTED)

        def ask(sent: Sequence[intake.Sent]) -> Any:
            return [_masks_of(shelf, image) for image in sent]

        return {"answers": await _once(request, shelf, ask)}


def _with_maps(shelf: Shelf, image: intake.Sent, answer: Mapping[str, Json], method: str | None) -> dict[str, Any]:
    if "refused" in answer:
        return {"name": image.name, **answer}
    maps = shelf.desk.ask("maps", image, method, True, urgency=2).result()
    return {"name": image.name, **answer, "maps": {**maps, "npz": _base64(image.folder / "values.npz")}}


def _masks_of(shelf: Shelf, image: intake.Sent) -> dict[str, Any]:
    try:
        shelf.desk.ask("answer", [image], True).result()
        lesions = shelf.desk.ask("segment", image).result()["lesions"]
    except RefusedImageError as error:
        return {"name": image.name, "refused": str(error)}
    files = [{**lesion, "content": _base64(image.folder / "masks" / lesion["mask"])} for lesion in lesions]
    return {"name": image.name, "masks": files}


async def _once(request: Request, shelf: Shelf, ask: Callable[[Sequence[intake.Sent]], Any]) -> Any:
    files: Files = await _files_of(request)
    return await run_in_threadpool(shelf.asked_once, files, ask)


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode("ascii")


def _add_watching(app: FastAPI, shelf: Shelf) -> None:
    started = time.time()

    @app.get("/health", tags=["watching"])
    def health() -> Response:
        """Return whether images can be answered; 503 while the process that answers starts anew."""
        is_ready = shelf.desk.is_ready
        return JSONResponse({"status": "ready" if is_ready else "starting"}, 200 if is_ready else 503)

    @app.get("/metrics", tags=["watching"], response_class=PlainTextResponse)
    def metrics() -> str:
        """Return counts since the start, as Prometheus reads them."""
        return _prometheus(shelf.desk, time.time() - started)


def _prometheus(desk: Desk, uptime: float) -> str:
    """Return the counts of a desk, after `uptime` seconds, in the text format of Prometheus."""
    counts, memory = desk.counts, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    values = {
        ("answered_images_total", "counter", "Images that were answered"): counts.answered,
        ("refused_images_total", "counter", "Images that were refused"): counts.refused,
        ("batches_total", "counter", "Batches that were answered"): counts.batches,
        ("answering_seconds_total", "counter", "Seconds spent on batches"): round(counts.seconds, 3),
        ("restarts_total", "counter", "Times that the answering process was replaced"): counts.restarts,
        ("waiting_requests", "gauge", "Requests that wait"): desk.n_waiting,
        ("server_peak_memory_bytes", "gauge", "Most memory that the server had"): memory,
        ("uptime_seconds", "gauge", "Seconds since the start"): round(uptime, 1),
    }
    return "".join(
        f"# HELP focusmap_{name} {help_text}\n# TYPE focusmap_{name} {kind}\nfocusmap_{name} {value}\n"
        for (name, kind, help_text), value in values.items()
    )
