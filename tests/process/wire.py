"""A network between a gateway and its database that can be cut without either side being told.

A cut holds what is sent and closes nothing: to both sides it looks as if the other were slow, which is how a
pulled cable, a dropped route or a stalled firewall looks. Answers alone can be held as well: what was asked
for is done, and nobody hears of it.
"""

import asyncio
import socket
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit

from .harness import LoopThread

CHUNK = 65536


class Wire:
    """A TCP proxy on a free port of 127.0.0.1; its methods may be called from any thread."""

    def __init__(self, host: str, port: int) -> None:
        """Forward to ``host`` and ``port``."""
        self._to = (host, port)
        self._thread = LoopThread()
        self._forward = {"there": asyncio.Event(), "back": asyncio.Event()}
        self._lines: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    def __enter__(self) -> "Wire":
        self._thread.start()
        self._thread.run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.run(self._close())
        self._thread.stop()

    def url(self, url: str) -> str:
        """``url`` of the server behind the wire, by way of the wire."""
        parts = urlsplit(url)
        who = parts.netloc.rpartition("@")[0]
        return parts._replace(
            netloc=f"{who}@127.0.0.1:{self.port}" if who else f"127.0.0.1:{self.port}"
        ).geturl()

    @property
    def lines(self) -> int:
        """How many connections there are."""
        return len(self._lines)

    def cut(self, *, there: bool = True, back: bool = True) -> None:
        """Hold what is sent ``there``, to the server, or ``back``, or both, until ``mend``."""
        held = [name for name, cut in (("there", there), ("back", back)) if cut]
        self._thread.run(self._set(held, on=False))

    def mend(self) -> None:
        """Forward again, first what was held."""
        self._thread.run(self._set(self._forward, on=True))

    def reset(self) -> None:
        """End every connection; what was held is lost, and both sides are told."""
        self._thread.run(self._hang_up())

    async def _set(self, names: "list[str] | dict[str, asyncio.Event]", *, on: bool) -> None:
        for name in names:
            if on:
                self._forward[name].set()
            else:
                self._forward[name].clear()

    async def _open(self) -> None:
        await self._set(self._forward, on=True)
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        lines = list(self._lines)
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.current_task()
        assert line is not None
        self._lines.add(line)
        ends = [writer]
        try:
            await self._forward["there"].wait()  # a cut wire leads nowhere
            there, back = await asyncio.open_connection(*self._to)
            ends.append(back)
            await asyncio.gather(
                self._pump(reader, back, self._forward["there"]),
                self._pump(there, writer, self._forward["back"]),
            )
        except (OSError, asyncio.CancelledError):
            pass  # the other side is told below
        finally:
            self._lines.discard(line)
            for end in ends:
                _end(end)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forward: asyncio.Event
    ) -> None:
        while True:
            data = await reader.read(CHUNK)
            await forward.wait()  # an end is held, too
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


def _end(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, so that nobody waits for more."""
    with suppress(OSError):
        found: socket.socket | None = writer.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()
