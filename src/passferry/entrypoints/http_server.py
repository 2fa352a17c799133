"""The HTTP server: uvicorn around the routes, started and stopped by the composition root."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from passferry.access import Access
from passferry.bootstrap import Gateway
from passferry.entrypoints.http import HttpParts, app

KEEP_ALIVE = 65
_NOT_HTTP = b'{"success":false,"message":"the request is not valid HTTP","code":"http.invalid"}'


class _Server(uvicorn.Server):
    """Signals belong to the composition root."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 whose errors have the body that every other error has."""

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; ``msg`` is uvicorn's word for it, and not told."""
        lines = [name + b": " + value for name, value in self.server_state.default_headers]
        lines += [
            b"content-type: application/json",
            b"cache-control: no-store",
            b"connection: close",
            b"content-length: " + str(len(_NOT_HTTP)).encode(),
        ]
        self.transport.write(b"\r\n".join([b"HTTP/1.1 400 Bad Request", *lines, b"", _NOT_HTTP]))
        self.transport.close()


class HttpServer:
    """One listening socket and its routes."""

    def __init__(self, gateway: Gateway, access: Access) -> None:
        parts = HttpParts(
            accept=gateway.accept,
            lookup=gateway.stores.lookup,
            access=access,
            orgs=tuple(gateway.settings.orgs),
            clock=gateway.clock,
            ready=gateway.unready,
            set_paused=gateway.set_paused,
            paused=gateway.leases.paused,
            metrics=gateway.metrics,
            rules={name: org.policy for name, org in gateway.settings.orgs.items()},
            uuid_ids={name: org.target == "genesys" for name, org in gateway.settings.orgs.items()},
            max_wait=gateway.settings.wait_seconds,
        )
        config = uvicorn.Config(
            app(parts),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            h11_max_incomplete_event_size=64 * 1024,
            http=Protocol,
            ws="none",
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> str:
        """Answer on ``listener``; its URL."""
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("the HTTP server ended")
            await asyncio.sleep(0.005)
        host, port = listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def until(self, stop: asyncio.Event) -> None:
        """Return when ``stop`` is set, or raise what ended the server."""
        assert self._task is not None  # noqa: S101  # started before
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, self._task}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self, seconds: int) -> None:
        """Take no new connections, answer what is under way within ``seconds``, and end."""
        assert self._task is not None  # noqa: S101
        self._server.config.timeout_graceful_shutdown = seconds
        self._server.should_exit = True
        await self._task
