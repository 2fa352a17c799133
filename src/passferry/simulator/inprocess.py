"""The engine as a transport of httpx2: no socket, and only `asyncio.sleep` waits, so time can be virtual."""

from __future__ import annotations

import asyncio

import httpx2

from passferry.simulator.inspection import Simulator
from passferry.simulator.wire import Fate, Reply, Request


class InProcessTransport(httpx2.AsyncBaseTransport):
    """Carries requests to a `Simulator`, and its misbehaviour back as the client's own exceptions.

    The client's read timeout is kept: an answer that comes later raises `httpx2.ReadTimeout`. A reset raises
    `httpx2.ReadError`, a line that closes after silence `httpx2.RemoteProtocolError`.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request, after the delay that the engine asks for."""
        body = await request.aread()
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = request.url.query.decode("ascii")
        path = request.url.raw_path.decode("ascii").partition("?")[0]
        reply = self._simulator.handle(Request(request.method, path, query, headers, body))
        # The other side never answers within the same step of the event loop.
        await self._wait(reply, request)
        if reply.fate is Fate.RESET:
            raise httpx2.ReadError("connection reset by peer", request=request)
        if reply.fate is Fate.HANG:
            raise httpx2.RemoteProtocolError("server disconnected without an answer", request=request)
        content = b"" if request.method == "HEAD" else reply.body
        return httpx2.Response(reply.status, headers=list(reply.headers), content=content, request=request)

    async def _wait(self, reply: Reply, request: httpx2.Request) -> None:
        timeout = request.extensions.get("timeout", {}).get("read")
        if timeout is not None and reply.delay > timeout:
            await asyncio.sleep(timeout)
            raise httpx2.ReadTimeout("no answer in time", request=request)
        await asyncio.sleep(reply.delay)
