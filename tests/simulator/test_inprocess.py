"""The engine as a transport of httpx2, with time that is moved by the test."""

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any

import httpx2
import pytest

from passferry.simulator import InProcessTransport, Settings, Simulator
from simulator.caller import GOOD, USERS


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        # Not an epoch time: asyncio adds a nanosecond to it, which a large float would swallow.
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def epoch(self) -> float:
        return 1_800_000_000.0 + self.now

    def _run_once(self) -> None:
        scheduled = self._scheduled  # type: ignore[attr-defined]  # where asyncio keeps its timers
        if not self._ready and scheduled:  # type: ignore[attr-defined]
            heapq.heapify(scheduled)
            self.now = max(self.now, scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


def virtually(main: Coroutine[Any, Any, None], loop: VirtualLoop) -> float:
    """Run to the end; gives the virtual seconds it took."""
    started = loop.now
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
    return loop.now - started


def client_of(simulator: Simulator, timeout: float = 10) -> httpx2.AsyncClient:
    """A client that reaches the simulator without a socket."""
    transport = InProcessTransport(simulator)
    return httpx2.AsyncClient(transport=transport, base_url="https://api.mypurecloud.com", timeout=timeout)


async def token(client: httpx2.AsyncClient) -> None:
    """Give the client a token."""
    answer = await client.post(
        "https://login.mypurecloud.com/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=("simulator", "simulator-secret"),
    )
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def test_login_and_api_host_are_one_simulator_told_apart_by_path() -> None:
    """Token from one host, user from the other, exact JSON both ways."""
    simulator = Simulator(Settings.calm(), users=5)

    async def main() -> None:
        async with client_of(simulator) as client:
            await token(client)
            found = await client.get(USERS, params={"filter": 'userName eq "agent005@example.com"'})
            user_id = found.json()["Resources"][0]["id"]
            assert found.headers["inin-ratelimit-count"] == "1"
            answer = await client.post(f"/api/v2/users/{user_id}/password", json={"newPassword": GOOD})
            assert (answer.status_code, answer.content) == (204, b"")

    asyncio.run(main())
    assert simulator.verify("agent005@example.com", GOOD)


@pytest.mark.parametrize(
    ("fault", "error", "seconds", "written"),
    [
        ("reset_before", httpx2.ReadError, 0, False),
        ("reset_after", httpx2.ReadError, 0, True),
        ("lost_answer", httpx2.ReadTimeout, 10, True),
        ("slow", httpx2.ReadTimeout, 10, True),
    ],
)
def test_misbehaviour_reaches_the_client_as_its_own_errors(
    fault: str, error: type[Exception], seconds: float, written: bool
) -> None:
    """Resets and silence raise what sockets would raise, after the client's own read timeout."""
    loop = VirtualLoop()
    simulator = Simulator(Settings.calm(slow_seconds=30), clock=loop.epoch, users=2)

    async def main() -> None:
        async with client_of(simulator) as client:
            await token(client)
            simulator.next(fault)
            path = f"/api/v2/users/{simulator.user('agent001@example.com').id}/password"
            with pytest.raises(error):
                await client.post(path, json={"newPassword": GOOD})

    assert virtually(main(), loop) == pytest.approx(seconds)
    assert simulator.verify("agent001@example.com", GOOD) is written


def test_a_patient_client_sees_the_line_close() -> None:
    """Without a read timeout a lost answer ends in RemoteProtocolError after hang_seconds."""
    loop = VirtualLoop()
    simulator = Simulator(Settings.calm(hang_seconds=3600), clock=loop.epoch, users=2)

    async def main() -> None:
        async with client_of(simulator, timeout=100_000) as client:
            await token(client)
            simulator.next("lost_answer")
            path = f"/api/v2/users/{simulator.user('agent001@example.com').id}/password"
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post(path, json={"newPassword": GOOD})

    assert virtually(main(), loop) == pytest.approx(3600)


def test_a_day_passes_in_virtual_time() -> None:
    """Windows and tokens follow the loop's clock: 300 a minute, and the token ends after a day."""
    loop = VirtualLoop()
    simulator = Simulator(Settings.calm(rate=2), clock=loop.epoch, users=2)

    async def main() -> None:
        async with client_of(simulator) as client:
            await token(client)
            answers = [await client.get("/api/v2/tokens/me") for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            await asyncio.sleep(int(answers[-1].headers["retry-after"]))
            assert (await client.get("/api/v2/tokens/me")).status_code == 200
            await asyncio.sleep(86_400)
            assert (await client.get("/api/v2/tokens/me")).status_code == 401

    assert virtually(main(), loop) == pytest.approx(86_460)
