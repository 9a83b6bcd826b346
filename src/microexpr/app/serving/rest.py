"""The REST interface: a video in, report.json out; at once, or by a ticket."""

from __future__ import annotations

import asyncio
import math
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from microexpr.app.serving import schema
from microexpr.app.serving.apipage import api_page
from microexpr.app.serving.gate import Refused, error_line
from microexpr.app.serving.queue import Queue, Status
from microexpr.app.serving.receive import Received, receive
from microexpr.app.serving.uploads import Limits, Uploads
from microexpr.errors import UserError, suggest

if TYPE_CHECKING:
    from microexpr.app.outputs import Settings

LOOK = 0.1  # seconds between two looks at an analysis that a client waits for
STATUS = {"video": 422, "server": 503, "time": 504}
DOWNLOADS = {
    "events.csv": "text/csv",
    "report.html": "text/html",
    "report.json": "application/json",
    "annotated.mp4": "video/mp4",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "face": {"type": "integer", "minimum": 0, "description": "Which face: 0 the largest."},
    "onset": {"type": "integer", "description": "Known frame: nothing is spotted then."},
    "apex": {"type": "integer", "description": "See onset."},
    "offset": {"type": "integer", "description": "See onset."},
    "confidence": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "Probability below which no emotion is named; else the model's own.",
    },
    "fps": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Frame rate; overrules the file's.",
    },
}
_NAME = {"type": "string", "description": "Name of the video, where it is the whole body."}
_BINARY = {"type": "string", "format": "binary"}
_TAKES_VIDEO: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": told}
        for name, told in [*OPTIONS.items(), ("name", _NAME)]
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["video"],
                    "properties": {"video": _BINARY, **OPTIONS},
                }
            },
            "video/*": {"schema": _BINARY},
        },
    },
}


def _errors(**why: str) -> dict[int | str, dict[str, Any]]:
    return {int(k[1:]): {"model": schema.Error, "description": told} for k, told in why.items()}


OTHER: dict[int | str, dict[str, Any]] = {
    "default": {"model": schema.Error, "description": "Not let in, or the server failed."}
}
BROKEN = OTHER | _errors(
    _400="The request is not understood.",
    _408="The video came in too slowly.",
    _413="The video is too large.",
    _415="The type of the body is none of those.",
    _503="Too many wait already, or the disk is full; try again later.",
)
FAILED = _errors(_422="The video cannot be analysed.", _504="The analysis took too long.")
UNKNOWN = OTHER | _errors(_404="No such ticket, or no longer.")


class Rest:
    """The routes below ``/api``. Each request has a session of its own, which its ticket names."""

    def __init__(self, queue: Queue, uploads: Uploads, limits: Limits) -> None:
        self._queue, self._uploads, self._limits = queue, uploads, limits
        self._receiving = 0

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes, and makes every refusal below ``/api`` a line of JSON."""
        app.add_exception_handler(Refused, _refusal)
        app.add_exception_handler(Exception, _failure)
        api = APIRouter(prefix="/api")
        add = api.add_api_route
        video: dict[str, Any] = {"methods": ["POST"], "openapi_extra": _TAKES_VIDEO}
        report: dict[str, Any] = {
            "response_model": schema.Report,
            "response_description": "The report.",
        }
        job: dict[str, Any] = {"response_model": schema.Job, "response_description": "Its ticket."}
        add("/analyze", self.analyze, responses=BROKEN | FAILED, **report, **video)
        add("/jobs", self.submit, status_code=202, responses=BROKEN, **job, **video)
        add("/jobs/{ticket}", self.job, responses=UNKNOWN, **job)
        add("/jobs/{ticket}", self.drop, methods=["DELETE"], status_code=204, responses=UNKNOWN)
        add(
            "/jobs/{ticket}/{file}",
            self.download,
            response_class=FileResponse,
            responses=UNKNOWN | _errors(_409="Not done yet, or it failed."),
        )
        add("/openapi.json", lambda: JSONResponse(app.openapi()), include_in_schema=False)
        add("", lambda: HTMLResponse(api_page(app.openapi())), include_in_schema=False)
        every = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        add("/{rest:path}", _nothing, methods=every, include_in_schema=False)
        app.include_router(api)

    async def analyze(self, request: Request) -> Response:
        """Analyses a video and answers with its report; who hangs up cancels it."""
        session = self._session()
        try:
            ticket = await self._take(request, session)
            status = await self._wait(request, ticket)
        finally:
            await asyncio.shield(asyncio.to_thread(self._close, session))
        if status.report is None:
            raise Refused(STATUS.get(status.blame, 503), status.error)
        return JSONResponse(status.report)

    async def submit(self, request: Request) -> Response:
        """Takes a video and answers with a ticket; the results are kept for a while."""
        session = self._session()
        try:
            ticket = await self._take(request, session)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._close, session))
            raise
        about = _job(ticket, self._queue.status(ticket))
        return JSONResponse(about, 202, {"location": f"/api/jobs/{ticket}"})

    async def job(self, ticket: str) -> Response:
        """Where an analysis stands, and its report once it is done."""
        return JSONResponse(_job(ticket, self._status(ticket)))

    async def drop(self, ticket: str) -> Response:
        """Cancels an analysis, and removes the video and the results."""
        session = self._status(ticket).out.parent
        await asyncio.to_thread(self._close, session)
        return Response(status_code=204)

    async def download(self, ticket: str, file: str) -> Response:
        """One of the files of an analysis: events.csv, report.html, report.json, annotated.mp4."""
        status = self._status(ticket)
        if file not in DOWNLOADS:
            raise Refused(404, f"there is no {file[:50]}; {suggest(file[:50], DOWNLOADS)}")
        if status.state != "done":
            raise Refused(409, f"not there: {status.error or status.state}")
        if not (status.out / file).is_file():
            raise Refused(404, "the results are gone: they are kept for a while only")
        return FileResponse(status.out / file, media_type=DOWNLOADS[file], filename=file)

    def _session(self) -> Path:
        return self._uploads.session(f"rest-{secrets.token_hex(16)}")

    def _close(self, session: Path) -> None:
        """Ends what is still done for a session, and removes it."""
        self._queue.drop(session)
        self._uploads.close(session)

    def _status(self, ticket: str) -> Status:
        """Where an analysis that came this way stands; the page's have tickets of their own."""
        try:
            status = self._queue.status(ticket)
        except UserError as error:
            raise Refused(404, str(error)) from None
        if not status.out.parent.name.startswith("rest-"):
            raise Refused(404, "no such ticket")
        self._uploads.touch(status.out)
        return status

    async def _take(self, request: Request, session: Path) -> str:
        """Puts the video of a request onto the disk and into the queue; gives its ticket."""
        if self._receiving >= self._queue.room():
            raise Refused(503, "too many videos wait already; try again later")
        if shutil.disk_usage(session).free < self._limits.size:
            raise Refused(503, "the disk of the server is full; try again later")
        self._receiving += 1
        try:
            folder = session / "video"
            folder.mkdir()
            received = await receive(request, folder, self._limits)
            settings = await asyncio.to_thread(_settings, received)
            return self._queue.submit(received.video, session / "results", settings)
        except UserError as error:
            raise Refused(503, str(error)) from None
        finally:
            self._receiving -= 1

    async def _wait(self, request: Request, ticket: str) -> Status:
        """Waits for an analysis to be over, or for the client to hang up."""
        gone = asyncio.ensure_future(_hung_up(request))
        try:
            while True:
                status = self._queue.status(ticket)
                if status.state not in ("waiting", "running"):
                    return status
                if gone.done():
                    raise Refused(400, "the client hung up")
                await asyncio.wait([gone], timeout=LOOK)
        finally:
            gone.cancel()


def read_options(fields: dict[str, str]) -> dict[str, float | int]:
    """The options of a request, as numbers.

    >>> read_options({"face": "1", "confidence": "0.8"})
    {'face': 1, 'confidence': 0.8}

    Raises:
        UserError: An unknown one, or one that is not such a number.
    """
    found: dict[str, float | int] = {}
    for name, text in fields.items():
        told = OPTIONS.get(name)
        if told is None:
            raise UserError(f"there is no option {name[:50]}; {suggest(name[:50], OPTIONS)}")
        kind = int if told["type"] == "integer" else float
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        small = value < told.get("minimum", -math.inf) or value <= told.get(
            "exclusiveMinimum", -math.inf
        )
        if not math.isfinite(value) or small or value > told.get("maximum", math.inf):
            raise UserError(f"{name} is not what it should be: {text[:50]!r}; see /api")
        found[name] = value
    return found


def _settings(received: Received) -> Settings:
    from microexpr.analysis import key_frames  # torch comes with it
    from microexpr.app.outputs import Settings

    try:
        options: dict[str, Any] = read_options(received.fields)
        known = key_frames(*(options.pop(name, None) for name in ("onset", "apex", "offset")))
    except UserError as error:
        raise Refused(400, str(error).replace("--", "")) from None
    return Settings(key_frames=known, **options)


def _job(ticket: str, status: Status) -> dict[str, Any]:
    names = ("state", "ahead", "step", "done", "of", "seconds_left", "error", "report")
    return {"ticket": ticket, **{name: getattr(status, name) for name in names}}


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _nothing(request: Request) -> Response:
    raise Refused(404, f"there is no {request.method} {request.url.path[:100]}; see /api")


async def _refusal(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refused)  # it was registered for these alone
    body, headers = error_line(refusal)
    return Response(body, refusal.status, {k.decode(): v.decode() for k, v in headers})


async def _failure(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its log says why"}, 500)
