"""The HTTP server: uvicorn around the routes, started and stopped by the composition root."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn

from passferry.access import Access
from passferry.bootstrap import Gateway
from passferry.entrypoints.http import HttpParts, app
from passferry.entrypoints.http_door import Door
from passferry.entrypoints.http_front import Front
from passferry.entrypoints.http_protocol import Protocol
from passferry.ports import HandOver

KEEP_ALIVE = 65
HANDSHAKE_SECONDS = 10.0
"""For a caller to agree on TLS; until then it costs a socket and nothing else."""
CLOSE_SECONDS = 2
"""For a caller to take the rest of its answer and the end of its connection, once the process is to end."""


class _Server(uvicorn.Server):
    """uvicorn on a socket and with a TLS context of ours. Signals belong to the composition root."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, as uvicorn would, but with limits to the time that a caller takes for TLS."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                lambda: Protocol(self.config, self.server_state, self.lifespan.state),
                sock=listener,
                ssl=self._tls,
                backlog=self.config.backlog,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls is not None else None,
                ssl_shutdown_timeout=CLOSE_SECONDS if self._tls is not None else None,
            )
            for listener in sockets or []
        ]
        self.started = True


class HttpServer:
    """One listening socket and its routes."""

    def __init__(
        self,
        gateway: Gateway,
        access: Access,
        tls: ssl.SSLContext | None = None,
        hand_over: HandOver | None = None,
        *,
        only_watched: bool = False,
    ) -> None:
        """``only_watched``: for a process that serves nobody but who watches it."""
        self._door = Door()
        parts = HttpParts(
            accept=gateway.accept,
            lookup=gateway.stores.lookup,
            passes=gateway.stores.passes,
            access=access,
            orgs=tuple(gateway.settings.orgs),
            clock=gateway.clock,
            ready=gateway.unready,
            set_paused=gateway.set_paused,
            paused=gateway.leases.paused,
            metrics=gateway.metrics,
            pace=gateway.pace,
            fatal=gateway.fatal,
            answered=gateway.meter.answered,
            uuid_ids={name: org.target == "genesys" for name, org in gateway.settings.orgs.items()},
            hand_over=hand_over,
            max_wait=gateway.settings.wait_seconds,
            front=Front(gateway.settings.behind_proxy),
            providers=gateway.providers,
            proxies=gateway.settings.proxies,
            door=self._door,
        )
        config = uvicorn.Config(
            app(parts, only_watched=only_watched),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=CLOSE_SECONDS,
            ws="none",
        )
        self._scheme = "http" if tls is None else "https"
        self._server = _Server(config, tls)
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
        return f"{self._scheme}://[{host}]:{port}" if ":" in host else f"{self._scheme}://{host}:{port}"

    async def until(self, stop: asyncio.Event) -> None:
        """Return when ``stop`` is set, or raise what ended the server."""
        assert self._task is not None  # noqa: S101  # started before
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, self._task}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self, seconds: float) -> None:
        """Refuse what is new (503), answer what is under way within ``seconds``, and end."""
        assert self._task is not None  # noqa: S101
        await self._door.close(seconds)
        self._server.should_exit = True
        await self._task
