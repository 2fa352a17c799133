"""The engine behind sockets: HTTP/1.1 with keep-alive, and connections that can be cut on purpose.

An off-the-shelf server cannot reset a connection or stay silent, which is half of what this is for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections import deque
from http import HTTPStatus
from types import TracebackType
from typing import cast

import httptools

from passferry.simulator.inspection import Simulator
from passferry.simulator.wire import Fate, Reply, Request

_HEAD_MAXIMUM = 64 * 1024
# A body beyond this is not even read to its end: the sender is cut off.
_BODY_READ_MAXIMUM = 8 * 1024 * 1024
_PIPELINE_MAXIMUM = 64
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class _Connection(asyncio.Protocol):
    """One client connection; its requests are answered one after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._head_size = 0
        self._body = bytearray()
        self._body_size = 0

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cut()
        except httptools.HttpParserError:
            self._send(Reply(400), keep_alive=False)

    # --- httptools ---

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def _grow(self, size: int) -> None:
        self._head_size += size
        if self._head_size > _HEAD_MAXIMUM:
            self.cut()

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > _BODY_READ_MAXIMUM:
            self.cut()
        elif len(self._body) <= self._server.simulator.settings.body_maximum:
            # One byte too many is kept, so that the engine sees that it is too large.
            self._body += body

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, query, self._headers, bytes(self._body))
        self._waiting.append((request, self._parser.should_keep_alive()))
        if len(self._waiting) > _PIPELINE_MAXIMUM:
            self.cut()
        elif self._timer is None and len(self._waiting) == 1:
            self._work()

    # --- answering ---

    def _work(self) -> None:
        """Answer what waits, until one of the answers has to wait itself."""
        while self._waiting and self._transport is not None:
            request, keep_alive = self._waiting.popleft()
            reply = self._server.simulator.handle(request)
            head_only = request.method == "HEAD"
            if reply.fate is Fate.ANSWER and not reply.delay:
                self._send(reply, keep_alive=keep_alive, head_only=head_only)
                continue
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(reply.delay, self._later, reply, keep_alive, head_only)
            return

    def _later(self, reply: Reply, keep_alive: bool, head_only: bool) -> None:
        self._timer = None
        if reply.fate is Fate.RESET:
            self.reset()
        elif reply.fate is Fate.HANG:
            self.cut()
        else:
            self._send(reply, keep_alive=keep_alive, head_only=head_only)
            self._work()

    def _send(self, reply: Reply, *, keep_alive: bool, head_only: bool = False) -> None:
        if self._transport is None:
            return
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, '')}"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        if reply.status not in (204, 304):
            lines.append(f"Content-Length: {len(reply.body)}")
        if not keep_alive:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self._transport.write(head if head_only else head + reply.body)
        if not keep_alive:
            self._transport.close()

    def reset(self) -> None:
        """Cut the connection with a TCP reset rather than an orderly end."""
        if self._transport is not None:
            raw = self._transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    def cut(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()


class Server:
    """A listening stand-in. `url` is where it answers; leave with `close`, or use it with `async with`."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.url = ""
        self.connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises ValueError for an address other than loopback, OSError when the port is taken."""
        if host != "localhost" and not _is_loopback(host):
            raise ValueError(f"the simulator listens on loopback only, not on {host}")
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Connection(self), host, port, backlog=1024)
        bound = self._listener.sockets[0].getsockname()
        name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"http://{name}:{bound[1]}"
        self.simulator.base_url = self.url

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._listener is not None:
            self._listener.close()
            for connection in list(self.connections):
                connection.cut()
            await self._listener.wait_closed()
            self._listener = None

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(simulator: Simulator, host: str = "127.0.0.1", port: int = 0) -> Server:
    """Start listening; port 0 takes a free one. The caller closes the server that is returned.

    Raises ValueError for an address other than loopback, OSError when the port is taken.
    """
    server = Server(simulator)
    await server.start(host, port)
    return server
