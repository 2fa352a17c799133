"""Callers that cost little: keep-alive connections, one request at a time each, plain asyncio."""

import asyncio
import json
import time
from dataclasses import dataclass, field


@dataclass
class Answers:
    """What came back: statuses, seconds from sending to the last byte, and when that was (perf_counter)."""

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    wall: float = 0.0

    def quantile(self, share: float) -> float:
        """The latency that ``share`` of the answers stayed under, in milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Caller:
    """One connection."""

    def __init__(self, address: tuple[str, int], headers: str) -> None:
        self._address, self._headers = address, headers
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, answers: Answers) -> None:
        """Send one request and note its answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{self._headers}\r\n"
        )
        started = time.perf_counter()
        writer.write(head.encode() + body)
        first = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in first.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        await reader.readexactly(length)
        answers.ended.append(time.perf_counter())
        answers.seconds.append(answers.ended[-1] - started)
        status = int(first.split(b" ", 2)[1])
        answers.statuses[status] = answers.statuses.get(status, 0) + 1

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()


async def as_fast_as_possible(
    address: tuple[str, int], headers: str, path: str, bodies: list[bytes], callers: int
) -> Answers:
    """Send ``bodies`` from ``callers`` connections, each sending its next as soon as it has an answer."""
    answers = Answers()
    waiting = iter(bodies)
    made = [Caller(address, headers) for _ in range(callers)]

    async def work(caller: Caller) -> None:
        for body in waiting:
            await caller.post(path, body, answers)

    started = time.perf_counter()
    await asyncio.gather(*(work(caller) for caller in made))
    answers.wall = time.perf_counter() - started
    for caller in made:
        caller.close()
    return answers


async def evenly(
    address: tuple[str, int], headers: str, path: str, bodies: list[bytes], seconds: float
) -> Answers:
    """Send ``bodies`` spread over ``seconds``, whether or not earlier ones were answered."""
    answers = Answers()
    free: list[Caller] = []

    async def one(at: float, body: bytes) -> None:
        await asyncio.sleep(max(0.0, started + at - time.perf_counter()))
        caller = free.pop() if free else Caller(address, headers)
        await caller.post(path, body, answers)
        free.append(caller)

    started = time.perf_counter()
    gap = seconds / len(bodies)
    await asyncio.gather(*(one(number * gap, body) for number, body in enumerate(bodies)))
    answers.wall = time.perf_counter() - started
    for caller in free:
        caller.close()
    return answers


def change(user_id: str, password: str) -> bytes:
    """The body of a change."""
    return json.dumps({"userId": user_id, "password": password}).encode()
