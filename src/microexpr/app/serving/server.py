"""The server: the page and the REST interface behind one gate, on the loopback of this computer."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import microexpr
from microexpr.app.serving.gate import Gate, Login
from microexpr.app.serving.offline import stay_offline
from microexpr.app.serving.queue import Queue
from microexpr.app.serving.uploads import Limits, Uploads
from microexpr.errors import UserError

if TYPE_CHECKING:
    from gradio import Blocks

HOST = "127.0.0.1"  # and nothing else, ever: what is analysed stays on this computer
TIDY = 60.0  # seconds between two rounds of the sweeper
GRACE = 2  # seconds for answers under way when the server is stopped
HEADERS_WITHIN = 20.0  # seconds in which a client must have said what it wants


@dataclass(frozen=True, slots=True)
class Plan:
    """What the server is to be.

    Attributes:
        port: 0: one that is free.
        workers: Analyses at once.
        limits: What is taken.
        login: Name and password; None: whoever uses this computer may come in.
        model: Checkpoint, or the folder of one; None: the default one.
        runs: Folder of runs that the page compares; None: none.
    """

    port: int = 7860
    workers: int = 2
    limits: Limits = field(default_factory=Limits)
    login: Login | None = None
    model: Path | None = None
    runs: Path | None = None


Page = tuple["Blocks", dict[str, Any]]


def check_plan(plan: Plan) -> None:
    """Says what cannot be before anything is started.

    Raises:
        UserError: A limit that lets nothing in, a folder that is not there, a model that cannot be
            read.
    """
    if not (plan.limits.megabytes > 0 and plan.limits.seconds > 0):
        raise UserError("--megabytes and --minutes must be more than 0")
    if plan.runs is not None and not plan.runs.is_dir():
        raise UserError(f"--runs: there is no folder {plan.runs}")
    if plan.model is not None:
        from microexpr.training.pretrained import load_pretrained

        load_pretrained(plan.model)


def serve(plan: Plan, tell: Callable[[str], None] = print) -> None:
    """Runs the server until it is stopped (Ctrl-C, SIGTERM); nothing of it remains then.

    Args:
        plan: What it is to be.
        tell: Gets one line when the server answers.

    Raises:
        UserError: The port is taken, or gradio is not installed.
    """
    began = time.perf_counter()
    stay_offline()
    with _listen(plan.port) as listening, _until_stopped() as cleaning:
        uploads = Uploads(None, plan.limits)
        cleaning.callback(uploads.clear)
        _work_in(uploads)
        studio = _studio()  # before the workers, which would compete with its imports
        queue = Queue(plan.workers, plan.limits, plan.model)
        cleaning.callback(queue.close)
        page = studio.build(queue, uploads, plan.limits, plan.runs), studio.look()
        app = make_app(queue, uploads, plan, page)
        port = listening.getsockname()[1]
        _run(app, listening, lambda: tell(_greeting(port, time.perf_counter() - began)))


def make_app(queue: Queue, uploads: Uploads, plan: Plan, page: Page | None) -> Gate:
    """The whole server as an ASGI application.

    Args:
        queue: Does the analyses.
        uploads: Holds the files.
        plan: What the server is to be.
        page: gradio's page and how it looks; None: REST alone.
    """
    from fastapi import FastAPI

    from microexpr.app.serving.rest import Rest

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tidying = asyncio.create_task(_tidy(queue, uploads, plan.limits))
        yield
        tidying.cancel()

    app = FastAPI(
        title="microexpr",
        version=microexpr.__version__,
        description="Facial micro-expressions in videos. What is sent is removed after a while.",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    Rest(queue, uploads, plan.limits).add_to(app)
    if page is not None:
        _mount(app, uploads, plan.limits, *page)
    return Gate(app, plan.limits, plan.login)


def _mount(app: Any, uploads: Uploads, limits: Limits, page: Blocks, look: dict[str, Any]) -> None:
    """Puts gradio's page at the root."""
    from gradio import mount_gradio_app

    given = {
        "allowed_paths": [str(uploads.root / "sessions")],
        "max_file_size": limits.size,
        "enable_monitoring": False,
        "footer_links": [],
        "mcp_server": False,
        "pwa": False,
        "run_history": False,
        "server_name": HOST,
        "show_error": False,
        "ssr_mode": False,
    }
    mount_gradio_app(app, page, path="/", **(given | look))


def _studio() -> ModuleType:
    """The page's module; gradio comes with it.

    Raises:
        UserError: gradio is not installed.
    """
    try:
        return importlib.import_module("microexpr.app.studio")
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError("the app needs gradio: pip install 'microexpr[app]'") from error


def _work_in(uploads: Uploads) -> None:
    """Lets everything that this process and its workers write for a while lie in the one folder."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(uploads.temporary)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.gradio)


@contextlib.contextmanager
def _until_stopped() -> Iterator[contextlib.ExitStack]:
    """Ends quietly on Ctrl-C, SIGTERM and a closed terminal; what was given to it is then done.

    uvicorn, too, ends on the first two, and then raises the signal once more.
    """

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before = {number: signal.signal(number, stop) for number in numbers}
    cleaning = contextlib.ExitStack()
    try:
        yield cleaning
    except KeyboardInterrupt:
        pass
    finally:
        for number in numbers:  # a second signal does not stop the cleaning
            signal.signal(number, signal.SIG_IGN)
        cleaning.close()
        for number in numbers:
            signal.signal(number, before[number])


def _listen(port: int) -> socket.socket:
    """A socket at a port of the loopback.

    Raises:
        UserError: The port is taken, or is none.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere this would let two servers share a port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen on port {port}: {why}; give another --port") from error
    return listening


def _run(app: Gate, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answers requests until SIGINT or SIGTERM."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """Hangs up on a client that does not say what it wants."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(HEADERS_WITHIN, self._look)

        def _look(self) -> None:
            if self.cycle is None:
                self.transport.close()

    class Server(uvicorn.Server):
        """Says when it answers."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").disabled = True  # an open page is cut off: no news
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE,
        server_header=False,
        proxy_headers=False,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    Server(config).run([listening])


async def _tidy(queue: Queue, uploads: Uploads, limits: Limits) -> None:
    """Removes what is too old, again and again; what waits or runs is in use."""
    while True:
        for out in queue.busy():
            uploads.touch(out)
        queue.forget(time.monotonic() - limits.keep)
        await asyncio.to_thread(uploads.sweep)
        await asyncio.sleep(TIDY)


def _greeting(port: int, seconds: float) -> str:
    at = f"http://{HOST}:{port}"
    return f"microexpr is at {at} (ready in {seconds:.1f} s; REST: {at}/api). Ctrl-C ends it."
