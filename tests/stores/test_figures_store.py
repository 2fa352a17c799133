"""The contract of ``FiguresStore``."""

from passferry.store_ports import OrgFigures
from store_bench import APPLIED, CONFIRMED, NOW, UUID, Bench, run


def test_an_empty_org_has_figures_too(bench: Bench) -> None:
    """Every org of the database is there, with nothing waiting."""

    async def body() -> None:
        empty = OrgFigures(0, 0, None, None, 0)
        assert await bench.figures.orgs() == {"default": empty, "other": empty}

    run(body)


def test_what_waits_is_told_from_what_is_parked_and_what_ended(bench: Bench) -> None:
    """Pending and delivering count as waiting, parked apart, ends not at all; orgs are kept apart."""

    async def body() -> None:
        parked = await bench.parked(await bench.accepted("parked@example.com"))
        bench.now += 10
        sending = await bench.begun(await bench.accepted("sending@example.com"), "id-1")
        bench.now += 10
        await bench.accepted("waiting@example.com")
        await bench.accepted("other@example.com", org="other")
        ended = await bench.begun(await bench.accepted(UUID))
        await bench.delivery.settle(ended, APPLIED, CONFIRMED, bench.now)
        found = await bench.figures.orgs()
        default = found["default"]
        assert (default.waiting, default.parked) == (2, 1)
        assert default.oldest_waiting_since == NOW + 10  # the parked one is older, and does not count
        assert default.head_seq == len(await bench.records())
        assert (found["other"].waiting, found["other"].parked) == (1, 0)
        assert found["other"].oldest_waiting_since == NOW + 20
        await bench.delivery.settle(sending, APPLIED, CONFIRMED, bench.now)
        assert (await bench.figures.orgs())["default"].waiting == 1
        await bench.lookup.operate(parked.id, "cancel", "operator:ann", bench.now)
        assert (await bench.figures.orgs())["default"].parked == 0

    run(body)


def test_a_user_waits_from_the_first_change_that_was_not_delivered(bench: Bench) -> None:
    """A newer change of the same user does not make the wait look shorter."""

    async def body() -> None:
        await bench.accepted(UUID, "one")
        bench.now += 60
        await bench.accepted(UUID, "two")
        figures = (await bench.figures.orgs())["default"]
        assert (figures.waiting, figures.oldest_waiting_since) == (1, NOW)

    run(body)


def test_a_pause_is_known_at_once(bench: Bench) -> None:
    """Whoever pauses or resumes; so is a wait that the target asked for."""

    async def body() -> None:
        await bench.delivery.set_org("default", "operator", NOW + 42, "operator:ann", NOW)
        paused = (await bench.figures.orgs())["default"]
        assert (paused.paused, paused.blocked_until) == ("operator", NOW + 42)
        assert (await bench.figures.orgs())["other"].paused is None
        await bench.delivery.set_org("default", None, 0.0, "operator:ann", NOW)
        assert (await bench.figures.orgs())["default"].paused is None

    run(body)
