"""The gate before a target."""

import asyncio
from email.utils import formatdate

import pytest

from campaign.virtual_time import EPOCH, VirtualClock, run
from passferry.domain.pacing import BURST, Pacer
from passferry.gate import GateClosed, PacedGate
from passferry.ports import BULK_LIST, BULK_READ, BULK_WRITE, LISTED_WRITE, READ, RELAYED, WRITE


def gate(limit: int = 300) -> PacedGate:
    """A gate in the running loop's time."""
    clock = VirtualClock(asyncio.get_running_loop())
    return PacedGate(Pacer(limit, clock.monotonic()), clock, 10.0)


def rate(count: object, allowed: object, reset: object) -> dict[str, str]:
    """The target's headers."""
    return {
        "inin-ratelimit-count": str(count),
        "inin-ratelimit-allowed": str(allowed),
        "inin-ratelimit-reset": str(reset),
    }


def test_slots_are_given_at_the_pacers_times() -> None:
    """A few at once, then evenly: a hundred slots of 300 a minute take about as long as they should."""

    async def body() -> None:
        loop, it = asyncio.get_running_loop(), gate()
        times = []
        for _ in range(100):
            await it.slot(WRITE)
            times.append(loop.time())
        assert times[BURST - 1] == 0.0
        assert times[-1] == pytest.approx((100 - BURST) * 61.5 / 300, abs=0.1)
        assert it.requests == 100

    run(body())


def test_whoever_has_priority_goes_first_however_late_they_ask() -> None:
    """Waiting bulk and reads are passed by a write that comes later; equals go in order."""

    async def body() -> None:
        it, order = gate(), list[str]()

        async def ask(priority: int, name: str) -> None:
            await it.slot(priority)
            order.append(name)

        for _ in range(BURST):
            await it.slot(WRITE)
        asks = [(BULK_LIST, "bulk"), (READ, "read 1"), (READ, "read 2"), (WRITE, "write")]
        tasks = []
        for priority, name in asks:
            tasks.append(asyncio.create_task(ask(priority, name)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)
        assert order == ["write", "read 1", "read 2", "bulk"]

    run(body())


def test_who_gives_up_waiting_costs_nothing() -> None:
    """A cancelled caller's slot is not counted, and the next in line gets its turn."""

    async def body() -> None:
        it = gate()
        it.block(30.0)
        gone = asyncio.create_task(it.slot(WRITE))
        stays = asyncio.create_task(it.slot(READ))
        await asyncio.sleep(1)
        gone.cancel()
        await stays
        assert it.requests == 1
        assert asyncio.get_running_loop().time() == pytest.approx(30.0, abs=0.01)

    run(body())


def test_nothing_is_sent_while_the_target_asks_to_wait_unless_an_operator_resumes() -> None:
    """Retry-After holds everybody up; resuming wakes those who wait."""

    async def body() -> None:
        loop, it = asyncio.get_running_loop(), gate()
        it.block(181.0)
        await it.slot(WRITE)
        assert loop.time() == pytest.approx(181.0, abs=0.01)
        it.block(3600.0)
        loop.call_later(5.0, it.resume)
        await it.slot(WRITE)
        assert loop.time() == pytest.approx(186.0, abs=0.01)

    run(body())


def test_a_throttling_token_endpoint_teaches_nothing_about_the_target() -> None:
    """Its wait is kept, and the rate stays; the target's own 429 lowers the rate."""

    async def body() -> None:
        it = gate()
        for _ in range(50):
            await it.slot(WRITE)
        it.block(60.0, learn=False)
        assert it.pacer.limit == 300
        assert it.pacer.blocked_until > asyncio.get_running_loop().time() + 59
        it.block(60.0)
        assert it.pacer.limit == 49

    run(body())


def test_closing_sends_everybody_home() -> None:
    """Who waits and who comes later gets ``GateClosed``; nothing more is counted."""

    async def body() -> None:
        it = gate()
        it.block(1e6)
        waiting = [asyncio.create_task(it.slot(priority)) for priority in (WRITE, READ, BULK_LIST)]
        await asyncio.sleep(1)
        it.close()
        assert all(
            isinstance(one, GateClosed) for one in await asyncio.gather(*waiting, return_exceptions=True)
        )
        with pytest.raises(GateClosed):
            await it.slot(WRITE)
        assert it.requests == 0

    run(body())


def test_what_answers_state_is_heeded() -> None:
    """The headers' limit replaces the configured one, and a used-up window is waited for."""

    async def body() -> None:
        loop, it = asyncio.get_running_loop(), gate()
        await it.slot(WRITE)
        it.answered(200, rate(180, 180, 38))
        assert it.pacer.limit == 180
        await it.slot(WRITE)
        assert 38.0 <= loop.time() <= 39.0

    run(body())


@pytest.mark.parametrize("nonsense", ["nan", "inf", "-inf", "-1", "1e9", "", "many", "9" * 400, "٣"])
def test_nonsense_in_headers_breaks_nothing(nonsense: str) -> None:
    """An answer whose figures are none is an answer like others."""

    async def body() -> None:
        it = gate()
        for place in range(3):
            figures: list[object] = [1, 180, 38]
            figures[place] = nonsense
            await it.slot(WRITE)
            it.answered(200, rate(*figures) | {"date": nonsense})
        assert it.pacer.limit == 300
        assert it.clock_confirmed_at is None

    run(body())


@pytest.mark.parametrize(
    ("off", "right"), [(0, True), (299, True), (-299, True), (302, False), (-302, False)]
)
def test_the_clock_is_confirmed_by_an_answers_date(off: int, right: bool) -> None:
    """Within 5 minutes the clock counts as right, beyond as unconfirmed; no date says nothing."""

    async def body() -> None:
        it = gate()
        await asyncio.sleep(50)
        it.answered(200, {})
        assert it.clock_confirmed_at is None
        it.seen({"date": formatdate(EPOCH + 50 + off, usegmt=True)})
        assert it.clock_confirmed_at == (50.0 if right else None)

    run(body())


def test_a_clock_that_is_set_after_it_was_confirmed_is_not_right_any_more() -> None:
    """A jump of days must not end what was accepted minutes ago; the next answer tells which is right."""

    async def body() -> None:
        it = gate()
        assert not it.clock_is_right()
        it.seen({"date": formatdate(EPOCH, usegmt=True)})
        await asyncio.sleep(86400.0)
        assert it.clock_is_right()
        clock = it._clock
        jumped = EPOCH + 5 * 86400.0
        clock.now = lambda: jumped  # type: ignore[method-assign]
        assert not it.clock_is_right()
        it.seen({"date": formatdate(jumped, usegmt=True)})
        assert it.clock_is_right()

    run(body())


def test_people_go_before_bulk_and_bulk_keeps_a_tenth() -> None:
    """However many people wait, every tenth slot is bulk's; whose writes go before its reads."""

    async def body() -> None:
        it, order = gate(), list[str]()

        async def ask(priority: int, name: str) -> None:
            await it.slot(priority)
            order.append(name)

        for _ in range(BURST):
            await it.slot(WRITE)
        asks = [(BULK_READ, "bulk read"), (BULK_WRITE, "bulk write")] * 5
        asks += [(priority, "person") for priority in (LISTED_WRITE, READ, WRITE) for _ in range(30)]
        await asyncio.gather(*(ask(priority, name) for priority, name in asks))
        assert order.index("bulk write") == 9
        assert [name for name in order if name != "person"] == ["bulk write"] * 5 + ["bulk read"] * 5
        assert [sum(name != "person" for name in order[at : at + 10]) for at in range(0, 100, 10)] == [1] * 10

    run(body())


def test_bulk_alone_uses_all_of_the_quota() -> None:
    """Nothing is kept free for people who are not there; one who comes has the next slot."""

    async def body() -> None:
        loop, it = asyncio.get_running_loop(), gate()
        tasks = [asyncio.create_task(it.slot(BULK_READ)) for _ in range(600)]
        await asyncio.sleep(61.5)
        assert sum(task.done() for task in tasks) >= 300
        at = loop.time()
        await it.slot(READ)
        assert loop.time() - at <= 61.5 / 300 + 0.001
        await asyncio.gather(*tasks)

    run(body())


def test_what_others_ask_through_us_does_not_starve_deliveries_nor_the_other_way_round() -> None:
    """Twenty turns a second, eighty wanted by others: nine tenths are left to what waits of deliveries."""

    async def body() -> None:
        it, given = gate(1200), dict.fromkeys((RELAYED, READ, LISTED_WRITE), 0)

        async def ask(priority: int) -> None:
            await it.slot(priority)
            given[priority] += 1

        tasks = []
        for _ in range(60):
            tasks += [asyncio.create_task(ask(RELAYED)) for _ in range(4)]
            tasks += [asyncio.create_task(ask(priority)) for priority in (READ, LISTED_WRITE)]
            await asyncio.sleep(0.05)
        total = sum(given.values())
        assert total > 60
        assert given[READ] + given[LISTED_WRITE] >= 0.8 * total
        assert given[RELAYED] >= 0.09 * total
        it.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(body())
