"""The gate before requests that others make through us."""

import asyncio

import pytest

from campaign.virtual_time import VirtualClock, run
from passferry.domain.pacing import BURST, Pacer
from passferry.domain.turns import ONE_IN
from passferry.gate import PacedGate
from passferry.ports import BULK_RELAYED, READ, RELAYED
from passferry.relay_gate import MOST_WAITING, PATIENCE, Busy, RelayGate


class Scene:
    """A relay's gate between an owner's, which can come and go, and one of its own."""

    def __init__(self, owner: int | None, own: int) -> None:
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.own = self.paced(own)
        self.owner = self.paced(owner) if owner is not None else None
        self.gate = RelayGate(lambda: self.owner, self.own, self.clock)

    def paced(self, limit: int) -> PacedGate:
        return PacedGate(Pacer(limit, self.clock.monotonic()), self.clock, 10.0)


def test_where_we_deliver_requests_count_against_the_owners_limit() -> None:
    """They start at its pace, and its answers are told to it."""

    async def body() -> None:
        scene = Scene(300, 1)
        for _ in range(BURST):
            await scene.gate.slot(READ)
        scene.gate.answered(
            200, {"inin-ratelimit-count": "9", "inin-ratelimit-allowed": "77", "inin-ratelimit-reset": "5"}
        )
        assert scene.owner is not None
        assert (scene.owner.requests, scene.owner.pacer.limit, scene.own.requests) == (BURST, 77, 0)

    run(body())


def test_elsewhere_requests_have_a_slow_pace_of_their_own() -> None:
    """Beside an owner that we do not know: 6 a minute are no more than that."""

    async def body() -> None:
        scene, loop = Scene(None, 30), asyncio.get_running_loop()
        for _ in range(BURST + 3):
            await scene.gate.slot(READ)
        assert loop.time() == pytest.approx(3 * 61.5 / 30, abs=0.1)

    run(body())


def test_a_turn_that_does_not_come_in_time_is_refused_with_the_wait() -> None:
    """Nobody is kept waiting longer than their patience, and who has no chance is told at once."""

    async def body() -> None:
        scene, loop = Scene(6, 1), asyncio.get_running_loop()
        for _ in range(6):
            await scene.gate.slot(READ)
        with pytest.raises(Busy) as caught:
            await scene.gate.slot(READ)
        assert caught.value.seconds > PATIENCE
        assert loop.time() == 0.0

    run(body())


def test_a_queue_of_others_does_not_keep_anybody_longer_than_their_patience() -> None:
    """Who waits behind them gives up, and takes no slot."""

    async def body() -> None:
        scene, loop = Scene(300, 1), asyncio.get_running_loop()
        assert scene.owner is not None
        before = [asyncio.create_task(scene.owner.slot(READ)) for _ in range(200)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await scene.gate.slot(READ)
        assert loop.time() == pytest.approx(PATIENCE)
        await asyncio.gather(*before)
        assert scene.owner.requests == 200

    run(body())


def test_an_owner_that_gives_up_the_org_meanwhile_is_replaced_by_the_slow_gate() -> None:
    """Whoever waited for its turn there gets one."""

    async def body() -> None:
        scene = Scene(300, 30)
        assert scene.owner is not None
        scene.owner.block(5.0)
        turn = asyncio.create_task(scene.gate.slot(READ))
        await asyncio.sleep(1.0)
        owner, scene.owner = scene.owner, None
        owner.close()
        await turn
        assert scene.own.requests == 1

    run(body())


@pytest.mark.parametrize(("headers", "wait"), [({"retry-after": "42"}, 42.0), ({}, 60.0)])
def test_a_429_makes_delivery_wait_too(headers: dict[str, str], wait: float) -> None:
    """It is the org's limit, whoever met it."""

    async def body() -> None:
        scene = Scene(300, 1)
        scene.gate.answered(429, headers)
        assert scene.owner is not None
        assert scene.owner.pacer.blocked_until == wait
        with pytest.raises(Busy) as caught:
            await scene.gate.slot(READ)
        assert caught.value.seconds == pytest.approx(wait)

    run(body())


@pytest.mark.parametrize("people", [0, 1])
def test_a_queue_that_is_full_refuses_at_once_with_the_time_that_it_takes(people: int) -> None:
    """Of requests for one user, which have every tenth turn while people's deliveries wait.

    Others have a queue of their own, and who leaves makes room.
    """

    async def body() -> None:
        scene, loop = Scene(60, 1), asyncio.get_running_loop()
        assert scene.owner is not None
        before = [asyncio.create_task(scene.owner.slot(READ)) for _ in range(BURST + people)]
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(scene.gate.slot(RELAYED)) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as caught:
            await scene.gate.slot(RELAYED)
        assert loop.time() == 0.0
        assert caught.value.seconds == pytest.approx(
            MOST_WAITING * 61.5 / 60 * (ONE_IN if people else 1), abs=0.1
        )
        listing = asyncio.create_task(scene.gate.slot(BULK_RELAYED))
        await asyncio.sleep(0)
        assert not listing.done()
        waiting[-1].cancel()
        await asyncio.sleep(0)
        waiting[-1] = asyncio.create_task(scene.gate.slot(RELAYED))
        await asyncio.gather(*before)
        ended = await asyncio.gather(*waiting, listing, return_exceptions=True)
        assert {type(one) for one in ended} == {type(None), Busy}
        assert loop.time() == pytest.approx(PATIENCE)

    run(body())
