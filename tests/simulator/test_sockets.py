"""The engine behind sockets: keep-alive, resets, silence, bounds."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from passferry.simulator import Server, Settings, Simulator, serve
from simulator.caller import GOOD, USERS, Caller


class Wire:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self.reader, self.writer, self.token = reader, writer, token

    def send(self, method: str, path: str, body: bytes = b"", extra: str = "") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\n{extra}"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    async def answer(self) -> tuple[int, bytes]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or b"0"
        return int(head.split()[1]), await asyncio.wait_for(self.reader.readexactly(int(length)), 5)


class Place:
    """A server, its simulator, and connections to it."""

    def __init__(self, server: Server, simulator: Simulator) -> None:
        self.server, self.simulator = server, simulator
        self.caller = Caller(simulator)
        self.caller.fetch_token()
        self.user_id = self.caller.user()["id"]

    async def connect(self) -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.server.url.rpartition(":")[2]))
        return Wire(reader, writer, self.caller.token)

    @property
    def native(self) -> tuple[str, str, bytes]:
        return "POST", f"/api/v2/users/{self.user_id}/password", f'{{"newPassword":"{GOOD}"}}'.encode()


@contextlib.asynccontextmanager
async def place(**settings: object) -> AsyncIterator[Place]:
    """A server with its simulator."""
    simulator = Simulator(Settings.calm(**settings), users=5)
    async with await serve(simulator) as server:
        yield Place(server, simulator)


def test_one_connection_carries_many_requests_and_pipelined_ones_in_order() -> None:
    """Keep-alive, and answers in the order of the requests even when the first is slow."""

    async def main() -> None:
        async with place(slow_seconds=0.05) as here:
            wire = await here.connect()
            here.simulator.next("slow")
            for path in ("/api/v2/tokens/me", "/api/v2/nothing", f"{USERS}/{here.user_id}"):
                wire.send("GET", path)
            assert [(await wire.answer())[0] for _ in range(3)] == [200, 404, 200]
            wire.send(*here.native)
            assert await wire.answer() == (204, b"")
            wire.send("GET", "/api/v2/tokens/me", extra="Connection: close\r\n")
            assert (await wire.answer())[0] == 200
            assert await wire.reader.read() == b""

    asyncio.run(main())


@pytest.mark.parametrize(("fault", "written"), [("reset_before", False), ("reset_after", True)])
def test_a_reset_is_a_tcp_reset_without_a_byte_of_answer(fault: str, written: bool) -> None:
    """The client sees ECONNRESET, whether or not the write was applied."""

    async def main() -> None:
        async with place() as here:
            wire = await here.connect()
            here.simulator.next(fault)
            wire.send(*here.native)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(wire.reader.readexactly(1), 5)
            assert (here.simulator.password_of(here.user_id) == GOOD) is written

    asyncio.run(main())


def test_a_lost_answer_is_silence_and_then_the_end() -> None:
    """The write is there at once, no byte comes, the line closes after hang_seconds."""

    async def main() -> None:
        async with place(hang_seconds=0.2) as here:
            wire = await here.connect()
            here.simulator.next("lost_answer")
            wire.send(*here.native)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wire.reader.read(1), 0.1)
            assert here.simulator.verify(here.user_id, GOOD)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(wire.reader.read(1), 5) == b""

    asyncio.run(main())


def test_a_client_that_leaves_a_slow_answer_does_no_harm() -> None:
    """The timer of the answer dies with its connection; others are served."""

    async def main() -> None:
        async with place(slow_seconds=0.05) as here:
            wire = await here.connect()
            here.simulator.next("slow")
            wire.send("GET", "/api/v2/tokens/me")
            await asyncio.sleep(0)
            raw = wire.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.writer.transport.abort()
            other = await here.connect()
            other.send("GET", "/api/v2/tokens/me")
            assert (await other.answer())[0] == 200

    asyncio.run(main())


def test_a_body_beyond_the_maximum_is_413_and_a_huge_one_is_cut_off() -> None:
    """512000 bytes is the documented limit."""

    async def main() -> None:
        async with place() as here:
            wire = await here.connect()
            wire.send("PUT", f"{USERS}/{here.user_id}", b" " * 512_001)
            status, body = await wire.answer()
            assert status == 413
            assert b"request.entity.too.large" in body
            huge = await here.connect()
            huge.send("PUT", f"{USERS}/{here.user_id}", b" " * (9 * 1024 * 1024))
            with contextlib.suppress(ConnectionError):
                await huge.writer.drain()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await huge.answer()

    asyncio.run(main())


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"])
def test_what_is_not_http_is_400_and_the_connection_ends(raw: bytes) -> None:
    """A parser error never reaches the engine."""

    async def main() -> None:
        async with place() as here:
            wire = await here.connect()
            wire.writer.write(raw)
            assert (await wire.reader.readuntil(b"\r\n")).split()[1] == b"400"
            await wire.reader.read()

    asyncio.run(main())


def test_a_head_without_end_is_cut_off() -> None:
    """Headers are bounded."""

    async def main() -> None:
        async with place() as here:
            wire = await here.connect()
            wire.writer.write(b"GET / HTTP/1.1\r\n" + b"X-Pad: " + b"x" * 1000 + b"\r\n")
            for _ in range(200):
                wire.writer.write(b"X-Pad: " + b"x" * 1000 + b"\r\n")
            with contextlib.suppress(ConnectionError):
                await wire.writer.drain()
                assert await asyncio.wait_for(wire.reader.read(), 5) == b""
            assert here.simulator.stats()["requests"] == 2

    asyncio.run(main())


def test_head_has_no_body_and_its_length() -> None:
    """HEAD /api/v2/tokens/me is a cheap token check."""

    async def main() -> None:
        async with place() as here:
            wire = await here.connect()
            wire.send("HEAD", "/api/v2/tokens/me")
            assert b" 200 " in await wire.reader.readuntil(b"\r\n\r\n")
            wire.send("GET", "/api/v2/nothing")
            assert (await wire.answer())[0] == 404

    asyncio.run(main())


def test_latency_is_added_to_every_answer() -> None:
    """Setting latency."""

    async def main() -> None:
        async with place(latency=0.1) as here:
            wire = await here.connect()
            started = asyncio.get_running_loop().time()
            wire.send("GET", "/api/v2/tokens/me")
            assert (await wire.answer())[0] == 200
            assert asyncio.get_running_loop().time() - started >= 0.1

    asyncio.run(main())


def test_locations_begin_with_the_address_that_answers() -> None:
    """meta.location leads back to the stand-in."""

    async def main() -> None:
        async with place() as here:
            assert here.caller.user()["meta"]["location"].startswith(
                f"{here.server.url}/api/v2/scim/v2/users/"
            )

    asyncio.run(main())


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_only_loopback_is_listened_on(host: str) -> None:
    """The pages need no key, so nobody else may reach them."""
    with pytest.raises(ValueError, match="loopback"):
        asyncio.run(serve(Simulator(users=1), host))
