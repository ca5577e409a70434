"""Starting and stopping the server: in a thread for tests, in the foreground for the CLI."""

import asyncio
import errno
import gc
import signal
import sys
import threading
from pathlib import Path
from types import TracebackType

from .app import App
from .context import Context
from .faults import Faults
from .http import Connection
from .journal import FileJournal
from .requestlog import RequestLog

HOST = "127.0.0.1"
_CANNOT_LISTEN = 2


class Server:
    """The listening socket, its connections and the journal, inside one event loop."""

    def __init__(self, app: App, data_dir: Path | None) -> None:
        self._app = app
        self._data_dir = data_dir
        self._journal: FileJournal | None = None
        self._peers: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int) -> None:
        """Listen, then load the journal; everything is answered with 503 until it is loaded."""
        if self._data_dir is not None:
            self._journal = FileJournal(self._data_dir)
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                lambda: Connection(self._app.handle, self._peers), HOST, port, backlog=1024
            )
        except OSError:
            await self.stop()
            raise
        self.port = self._listener.sockets[0].getsockname()[1]
        if self._journal is not None:
            for _rows in self._journal.replay(self._app.context.store):
                await asyncio.sleep(0)
            self._app.context.journal = self._journal
        self._app.context.is_ready = True

    async def stop(self) -> None:
        """Stop listening and drop the connections; queued writes that have not run are lost."""
        if self._listener is not None:
            self._listener.close()
        for peer in list(self._peers):
            peer.close()
        await asyncio.sleep(0)
        if self._journal is not None:
            self._journal.close()


class StandIn:
    """A server in a background thread, for tests.

    >>> with StandIn() as standin:
    ...     standin.url
    """

    def __init__(self, port: int = 0, api_key: str = "xyz", data_dir: str | Path | None = None) -> None:
        self.api_key = api_key
        self._port = port
        self._app = App(api_key, Context())
        self._server = Server(self._app, Path(data_dir) if data_dir is not None else None)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._ended = asyncio.Event()
        self._failure: OSError | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://{HOST}:{self.port}"

    @property
    def faults(self) -> Faults:
        """Arm and clear faults."""
        return self._app.faults

    @property
    def requests(self) -> RequestLog:
        """What was asked so far."""
        return self._app.requests

    @property
    def max_in_flight(self) -> dict[str, int]:
        """The most unanswered writes at one time, by collection."""
        return self._app.context.lanes.max_in_flight()

    def start(self) -> "StandIn":
        """Start the thread; returns when requests are answered. Raises OSError."""
        self._thread = threading.Thread(target=self._run, name="typesense-standin", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self) -> None:
        """Close the connections and end the thread; writes still queued are lost."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
            self._loop = None

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except OSError as error:
            self._failure = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        await self._server.start(self._port)
        self._loop = asyncio.get_running_loop()
        self._started.set()
        await self._ended.wait()
        await self._server.stop()

    def __enter__(self) -> "StandIn":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def serve(port: int, api_key: str, data_dir: str | Path | None = None, host: str = HOST) -> None:
    """Run until SIGTERM or SIGINT. Exits with status 2 and one line when it cannot start."""
    if host not in (HOST, "localhost"):
        _fail(f"the stand-in listens on {HOST} only, not on {host}")
    # Indexes are many small sets: with the usual thresholds the collector walks them too often.
    gc.set_threshold(50_000, 20, 50)
    try:
        asyncio.run(_serve(port, api_key, Path(data_dir) if data_dir is not None else None))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            _fail(f"port {port} is already in use")
        _fail(str(error))
    except OverflowError:
        _fail(f"port {port} is not between 0 and 65535")


def _fail(text: str) -> None:
    print(f"typesense-standin: {text}", file=sys.stderr)
    raise SystemExit(_CANNOT_LISTEN)


async def _serve(port: int, api_key: str, data_dir: Path | None) -> None:
    server = Server(App(api_key, Context()), data_dir)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await server.start(port)
    print(f"typesense-standin: ready at http://{HOST}:{server.port} (not a real Typesense)")
    sys.stdout.flush()
    await ended.wait()
    await server.stop()
