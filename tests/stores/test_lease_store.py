"""Contract of the leases: one owner for an org at a time, for as long as it says that it is alive."""

from sqlalchemy import text

from passferry.adapters.store_lease import SqlLeaseStore
from passferry.store_ports import Worker
from store_bench import NOW, ORGS, Bench, run

LEASE = 12.0
ONE, TWO = Worker("w1", "one:1"), Worker("w2", "two:2")


def store(bench: Bench) -> SqlLeaseStore:
    """The leases on the bench's database."""
    return SqlLeaseStore(bench.database)


def test_an_org_is_claimed_by_one_worker_only(bench: Bench) -> None:
    """Who comes second gets nothing, and is told whose the orgs are."""

    async def body() -> None:
        leases = store(bench)
        assert (await leases.beat(ONE, NOW, LEASE)).owners == dict.fromkeys(ORGS)
        assert sorted(await leases.claim(ONE, ORGS, NOW, LEASE)) == sorted(ORGS)
        roll = await leases.beat(TWO, NOW, LEASE)
        assert await leases.claim(TWO, ORGS, NOW, LEASE) == []
        assert roll.alive == {ONE.id: ONE.name, TWO.id: TWO.name}
        assert roll.owners == dict.fromkeys(ORGS, ONE.id)

    run(body)


def test_an_org_that_does_not_exist_cannot_be_claimed(bench: Bench) -> None:
    """Nor is anything else claimed in its place."""

    async def body() -> None:
        leases = store(bench)
        await leases.beat(ONE, NOW, LEASE)
        assert await leases.claim(ONE, ["nowhere"], NOW, LEASE) == []

    run(body)


def test_a_lease_ends_when_its_worker_was_not_seen_for_that_long(bench: Bench) -> None:
    """Until then nobody else can claim; a sign of life renews it."""

    async def body() -> None:
        leases = store(bench)
        await leases.beat(ONE, NOW, LEASE)
        await leases.claim(ONE, ORGS, NOW, LEASE)
        await leases.beat(ONE, NOW + 6, LEASE)
        await leases.beat(TWO, NOW + 6, LEASE)
        assert await leases.claim(TWO, ORGS, NOW + LEASE + 5, LEASE) == []
        roll = await leases.beat(TWO, NOW + LEASE + 6, LEASE)
        assert roll.alive == {TWO.id: TWO.name}
        assert roll.owners == dict.fromkeys(ORGS)
        assert sorted(await leases.claim(TWO, ORGS, NOW + LEASE + 6, LEASE)) == sorted(ORGS)

    run(body)


def test_a_worker_that_was_seen_in_the_future_is_dead(bench: Bench) -> None:
    """It died before the clock was set back: nobody waits for its orgs until it was."""

    async def body() -> None:
        leases = store(bench)
        await leases.beat(ONE, NOW + 3600, LEASE)
        await leases.claim(ONE, ORGS, NOW + 3600, LEASE)
        roll = await leases.beat(TWO, NOW, LEASE)
        assert (roll.alive, roll.owners) == ({TWO.id: TWO.name}, dict.fromkeys(ORGS))
        assert sorted(await leases.claim(TWO, ORGS, NOW, LEASE)) == sorted(ORGS)

    run(body)


def test_who_comes_back_after_its_lease_learns_that_another_owns(bench: Bench) -> None:
    """Its own claim finds nothing free."""

    async def body() -> None:
        leases = store(bench)
        await leases.beat(ONE, NOW, LEASE)
        await leases.claim(ONE, ORGS, NOW, LEASE)
        await leases.beat(TWO, NOW + 30, LEASE)
        await leases.claim(TWO, ORGS, NOW + 30, LEASE)
        assert (await leases.beat(ONE, NOW + 31, LEASE)).owners == dict.fromkeys(ORGS, TWO.id)
        assert await leases.claim(ONE, ORGS, NOW + 31, LEASE) == []

    run(body)


def test_only_the_owner_gives_up_an_org(bench: Bench) -> None:
    """A late release of one who lost the org takes it from nobody."""

    async def body() -> None:
        leases = store(bench)
        for worker in (ONE, TWO):
            await leases.beat(worker, NOW, LEASE)
        await leases.claim(ONE, ORGS, NOW, LEASE)
        await leases.release(TWO, ORGS)
        assert await leases.claim(TWO, ORGS, NOW, LEASE) == []
        await leases.release(ONE, ["default"])
        assert await leases.claim(TWO, ORGS, NOW, LEASE) == ["default"]

    run(body)


def test_who_leaves_owns_nothing_and_is_not_counted(bench: Bench) -> None:
    """The orgs of the others stay theirs."""

    async def body() -> None:
        leases = store(bench)
        for worker in (ONE, TWO):
            await leases.beat(worker, NOW, LEASE)
        await leases.claim(ONE, ["default"], NOW, LEASE)
        await leases.claim(TWO, ["other"], NOW, LEASE)
        await leases.leave(ONE)
        roll = await leases.beat(TWO, NOW, LEASE)
        assert (set(roll.alive), roll.owners) == ({TWO.id}, {"default": None, "other": TWO.id})

    run(body)


def test_workers_that_died_long_ago_are_forgotten(bench: Bench) -> None:
    """The table of workers does not grow with every start."""

    async def body() -> None:
        leases = store(bench)
        await leases.beat(ONE, NOW, LEASE)
        await leases.beat(TWO, NOW + 11 * LEASE, LEASE)
        await leases.claim(TWO, ORGS, NOW + 11 * LEASE, LEASE)
        with bench.database.engine.connect() as connection:
            assert list(connection.execute(text("SELECT id FROM workers")).scalars()) == [TWO.id]

    run(body)


def test_idle_orgs_are_no_news(bench: Bench) -> None:
    """What is due, what is late and who was paused is; what ended is not."""

    async def body() -> None:
        leases = store(bench)
        assert await leases.news(NOW) == {}
        change = await bench.accepted()
        found = (await leases.news(bench.now))["default"]
        assert (found.due, found.late) == (True, False)
        assert list(await leases.news(bench.now)) == ["default"]
        assert (await leases.news(change.expires_at))["default"].late
        await bench.delivered(change)
        assert "default" not in await leases.news(bench.now + 60)
        await bench.delivery.set_org("other", "tests", None, "operator", bench.now)
        assert (await leases.news(bench.now))["other"].state.paused == "tests"
        await bench.delivery.set_org("other", None, NOW + 30, "operator:ann", NOW)
        assert (await leases.news(NOW + 29))["other"].state.blocked_until == NOW + 30
        assert "other" not in await leases.news(NOW + 30)

    run(body)
