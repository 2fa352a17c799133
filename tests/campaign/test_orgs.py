"""In virtual time: several orgs behind one gateway. What ails one of them costs the others nothing."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2

from campaign.virtual_time import VirtualClock, run
from passferry.accept import Request
from passferry.adapters.database import add_orgs, prepare
from passferry.adapters.hashing import FOR_TESTS_ONLY, Argon2Hasher
from passferry.adapters.keyring import generate
from passferry.adapters.sealing import RingSealer
from passferry.adapters.sqlite import SqliteDatabase
from passferry.bootstrap import Gateway, assemble, running
from passferry.config import OrgSettings, Secret, Settings
from passferry.domain.change import Change, Reference, State
from passferry.domain.password import Password
from passferry.simulator import InProcessTransport, Simulator
from passferry.simulator import Settings as SimulatorSettings
from passferry.state import Stores, audit_key
from passferry.store_ports import Caller

CALLER = Caller("k", "campaign", "source", ())
HOURS = 3600.0


def _org(name: str, *, secret: str = "simulator-secret", dry_run: bool = False) -> OrgSettings:
    return OrgSettings(
        name,
        api_url=f"https://api.{name}.example.com",
        login_url=f"https://login.{name}.example.com",
        client_id="simulator",
        client_secret=Secret(secret),
        dry_run=dry_run,
    )


class _Routed(httpx2.AsyncBaseTransport):
    """Each org's hosts lead to its own target."""

    def __init__(self, targets: Mapping[str, httpx2.AsyncBaseTransport]) -> None:
        self._targets = targets

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._targets[request.url.host.split(".")[1]].handle_async_request(request)


class _Refuses(httpx2.AsyncBaseTransport):
    """Nobody listens."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")


class _Swallows(httpx2.AsyncBaseTransport):
    """No packet comes back."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(10 * HOURS)
        raise AssertionError("nobody waits that long")


class _Throttles(httpx2.AsyncBaseTransport):
    """Asks to wait for hours."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(429, headers={"Retry-After": "10800"})


class _NoTokens(httpx2.AsyncBaseTransport):
    """The first token request is told to come again in an hour; all is well since."""

    def __init__(self, well: httpx2.AsyncBaseTransport) -> None:
        self._well, self._asked = well, False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/oauth/token" and not self._asked:
            self._asked = True
            return httpx2.Response(503, headers={"Retry-After": "3600"})
        return await self._well.handle_async_request(request)


class _ButTokens(httpx2.AsyncBaseTransport):
    """Only the token endpoint is well."""

    def __init__(self, tokens: httpx2.AsyncBaseTransport, rest: httpx2.AsyncBaseTransport) -> None:
        self._tokens, self._rest = tokens, rest

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        where = self._tokens if request.url.path == "/oauth/token" else self._rest
        return await where.handle_async_request(request)


@dataclass
class Orgs:
    """A gateway with several orgs, and a stand-in for each."""

    gateway: Gateway
    clock: VirtualClock
    simulators: Mapping[str, Simulator]
    taken: dict[str, list[str]] = field(default_factory=dict)

    def users(self, org: str) -> list[str]:
        """Ids of the active users."""
        return [user.id for user in self.simulators[org].directory() if user.active]

    async def send(self, org: str, user: str, password: str, *, bulk: bool = False) -> str:
        """Accept a change; its id."""
        request = Request(org, Reference("id", user), Password(password), bulk=bulk)
        change = (await self.gateway.accept.accept(CALLER, request)).change
        self.taken.setdefault(org, []).append(change.id)
        return change.id

    async def get(self, change_id: str) -> Change:
        """The change now."""
        change = await self.gateway.stores.lookup.change(change_id)
        assert change is not None
        return change

    async def changes(self, org: str) -> list[Change]:
        """The org's changes, in the order in which they were accepted."""
        return [await self.get(change_id) for change_id in self.taken.get(org, [])]


@contextlib.asynccontextmanager
async def _orgs(
    *settings: OrgSettings, latency: Mapping[str, float] | None = None, stores: Stores | None = None
) -> AsyncIterator[Orgs]:
    clock = VirtualClock(asyncio.get_running_loop())
    simulators = {}
    for org in settings:
        calm = SimulatorSettings.calm(latency=(latency or {}).get(org.name, 0.06))
        simulators[org.name] = Simulator(calm, clock=clock.now, seed=3, users=140)
    targets: dict[str, httpx2.AsyncBaseTransport] = {
        name: InProcessTransport(simulator) for name, simulator in simulators.items()
    }
    sick: dict[str, httpx2.AsyncBaseTransport]
    sick = {"throttled": _Throttles(), "down": _Refuses(), "hole": _Swallows()}
    targets |= {name: _NoTokens(targets[name]) for name in {"tokenless"} & targets.keys()}
    targets |= {name: _ButTokens(targets[name], sick[name]) for name in sick.keys() & targets.keys()}
    gateway = assemble(
        Settings(Path("/nowhere"), Path("/nowhere"), orgs={org.name: org for org in settings}),
        stores or _stores([org.name for org in settings], clock),
        hasher=Argon2Hasher(FOR_TESTS_ONLY, threads=0),
        fatal=_fatal,
        transport=_Routed(targets),
        draw=lambda: 0.5,
        poll=60.0,
    )
    async with running(gateway):
        await asyncio.sleep(0.001)  # until it is begun
        yield Orgs(gateway, clock, simulators)


def _stores(names: list[str], clock: VirtualClock) -> Stores:
    sealer = RingSealer(generate(0.0, random.Random(1).randbytes))
    database = SqliteDatabase(None, audit_key(sealer), inline=True)
    prepare(database)
    with database.engine.begin() as connection:
        add_orgs(connection, names)
    return Stores.over(database, sealer, clock)


def _fatal(reason: str) -> None:
    raise AssertionError(reason)


# --- neighbours ------------------------------------------------------------------------------

SICK = ("slow", "throttled", "refused", "down", "hole", "paused")
"""Answers after 9.5 s; 429 with hours to wait; token refused; nobody listens; black hole; by an operator."""


async def _latencies(neighbours: tuple[str, ...]) -> tuple[list[float], dict[str, set[str]]]:
    """How long each change of the healthy org took, and what became of its neighbours' changes."""
    orgs = [_org(name, secret="wrong" if name == "refused" else "simulator-secret") for name in neighbours]
    async with _orgs(_org("healthy"), *orgs, latency={"slow": 9.5}) as it:
        if "paused" in neighbours:
            await it.gateway.set_paused("paused", True, "operator:test")
        users, luck = it.users("healthy"), random.Random(8)
        for number in range(100):
            for name in neighbours:  # 64 at a time, and a backlog behind them
                await it.send(name, it.users(name)[number], f"N3w-Passw0rd!{number}")
            await it.send("healthy", users[number], f"N3w-Passw0rd!{number}")
            await asyncio.sleep(luck.expovariate(1.0))
        await asyncio.sleep(120.0)
        found = await it.changes("healthy")
        assert {change.state for change in found} <= {State.APPLIED, State.SUPERSEDED}
        others = {
            name: {change.error.code for change in await it.changes(name) if change.error is not None}
            for name in neighbours
        }
        return [change.updated_at - change.accepted_at for change in found], others


def test_an_org_is_as_fast_beside_sick_ones_as_alone() -> None:
    """Each change takes as long, to the microsecond, whatever its neighbours suffer from."""
    alone, _ = run(_latencies(()))
    among, others = run(_latencies(SICK))
    assert len(alone) == 100
    assert max(alone) < 30.0
    assert [round(one, 6) for one in among] == [round(one, 6) for one in alone]
    assert "too.many.requests" in others["throttled"]
    assert "invalid_client" in others["refused"]
    assert others["down"] == {"target.unreachable"}
    assert others["hole"] == {"target.unavailable"}


# --- dry run ---------------------------------------------------------------------------------


async def _dry() -> tuple[Change, Change, Change, list[int], list[str | None]]:
    stores = _stores(["default"], VirtualClock(asyncio.get_running_loop()))
    async with _orgs(_org("default", dry_run=True), stores=stores) as it:
        simulator = it.simulators["default"]
        user, other, inactive = it.users("default")[:3]
        simulator.edit(inactive, {"active": False})
        first = await it.send("default", user, "N3w-Passw0rd!1")
        blocked = await it.send("default", inactive, "N3w-Passw0rd!2")
        started = it.clock.monotonic()
        seen = await it.gateway.accept.wait(first, 15.0)
        assert it.clock.monotonic() - started < 1.0
        newest = await it.send("default", user, "N3w-Passw0rd!3")
        await asyncio.sleep(5 * HOURS)
        assert (await it.get(first)).state is State.SUPERSEDED
        waits = await it.get(newest)
        parked = await it.get(blocked)
        gone = await it.send("default", other, "N3w-Passw0rd!4")
        await asyncio.sleep(73 * HOURS)
        assert (await it.get(gone)).state is State.EXPIRED
        assert (await it.get(newest)).state is State.EXPIRED
        kept = await it.send("default", user, "N3w-Passw0rd!5")
        await asyncio.sleep(60.0)
        writes = [len(simulator.writes(each)) for each in (user, other, inactive)]
        records = [link.record for link in await stores.audit.links("default", 0, 1000)]
        mine = [record.code for record in records if record.change_id == newest]
        assert not [record for record in records if record.kind == "attempt"]
    async with _orgs(_org("default"), stores=stores) as it:
        await asyncio.sleep(5.0)
        assert (await it.get(kept)).state is State.APPLIED
        assert it.simulators["default"].password_of(user) == "N3w-Passw0rd!5"
    return seen, waits, parked, writes, mine


def test_a_dry_run_does_everything_but_write() -> None:
    """Users are found or not, changes wait, are superseded and expire; the next start delivers the newest."""
    seen, waits, parked, writes, codes = run(_dry())
    assert writes == [0, 0, 0]
    for change in (seen, waits):
        assert change.state is State.PENDING
        assert change.error is not None
        assert (change.error.code, change.attempts) == ("dry.run", 0)
        assert "nothing was written" in change.error.message
    assert waits.next_attempt_at is not None
    assert waits.next_attempt_at - waits.updated_at == HOURS
    assert parked.error is not None
    assert (parked.state, parked.error.code) == (State.PARKED, "user.inactive")
    assert codes == [None, "dry.run", "expired"]  # once, however often it was looked at


async def _resumed() -> tuple[State, State]:
    """A change while the token endpoint wants to be left alone, and after an operator said otherwise."""
    async with _orgs(_org("tokenless")) as it:
        change = await it.send("tokenless", it.users("tokenless")[0], "N3w-Passw0rd!1")
        await asyncio.sleep(300.0)
        before = (await it.get(change)).state
        # As another process does it: this one finds out by itself.
        await it.gateway.stores.delivery.set_org("tokenless", None, 0.0, "operator:ann", it.clock.now())
        await asyncio.sleep(90.0)
        return before, (await it.get(change)).state


def test_an_operator_ends_every_wait_that_was_asked_for_from_any_process() -> None:
    """Of the token endpoint, too: else it would be an hour in which nothing is sent."""
    assert run(_resumed()) == (State.PENDING, State.APPLIED)


async def _taken_out() -> tuple[Change, Change]:
    """A change of an org that is not configured any more, after and before its time to live."""
    clock = VirtualClock(asyncio.get_running_loop())
    stores = _stores(["default", "gone"], clock)
    async with _orgs(_org("default"), _org("gone", dry_run=True), stores=stores) as it:
        change = await it.send("gone", it.users("gone")[0], "N3w-Passw0rd!1")
        await asyncio.sleep(5.0)
    async with _orgs(_org("default"), stores=stores) as it:
        await it.send("default", it.users("default")[0], "N3w-Passw0rd!1")  # its answer confirms the clock
        await asyncio.sleep(1 * HOURS)
        await it.gateway.keep_house()
        before = await it.get(change)
        await asyncio.sleep(72 * HOURS)
        await it.gateway.keep_house()
        return await it.get(change), before


def test_what_waits_in_an_org_that_was_taken_out_of_the_configuration_expires() -> None:
    """Nobody owns it, and its password must not be kept for ever."""
    after, before = run(_taken_out())
    assert (before.state, after.state, after.sealed) == (State.PENDING, State.EXPIRED, None)


async def _back_from_a_pause() -> tuple[str | None, str | None]:
    async with _orgs(_org("default", secret="wrong", dry_run=True)) as it:
        change = await it.send("default", it.users("default")[0], "N3w-Passw0rd!1")
        await asyncio.sleep(60.0)
        before = it.gateway.deliveries["default"].health.paused
        simulator = it.simulators["default"]
        simulator.change_secret("simulator", "wrong")
        await asyncio.sleep(1 * HOURS)
        assert (await it.get(change)).error is not None
        return before, it.gateway.deliveries["default"].health.paused


def test_a_dry_run_ends_a_pause_as_a_write_would() -> None:
    """That users can be read again shows that the org is back."""
    assert run(_back_from_a_pause()) == ("invalid_client", None)


def test_two_orgs_may_differ_in_whether_they_write() -> None:
    """A dry run is one org's."""

    async def both() -> tuple[State, State]:
        async with _orgs(_org("wet"), replace(_org("dry"), dry_run=True)) as it:
            dry = await it.send("dry", it.users("dry")[0], "N3w-Passw0rd!1")
            wet = await it.send("wet", it.users("wet")[0], "N3w-Passw0rd!1")
            await asyncio.sleep(30.0)
            return (await it.get(dry)).state, (await it.get(wet)).state

    assert run(both()) == (State.PENDING, State.APPLIED)
