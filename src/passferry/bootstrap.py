"""The composition root: the one place where adapters meet use cases, and a process is made of them."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import httpx2

from passferry.accept import Accept, Intake
from passferry.adapters.bearer import Bearer
from passferry.adapters.genesys import GenesysTarget
from passferry.adapters.hashing import Argon2Hasher
from passferry.adapters.http_client import http_client, load
from passferry.adapters.oauth import Tokens
from passferry.adapters.prepared import compile_all
from passferry.adapters.relay import Relay, genesys, plain
from passferry.adapters.scim_target import FixedToken, ScimTarget
from passferry.config import FileSecret, OrgSettings, Settings
from passferry.deliver import Delivery
from passferry.domain.outcome import Limits
from passferry.domain.pacing import Pacer
from passferry.domain.source_rules import SourceRules, names_one, spelling
from passferry.gate import PacedGate
from passferry.leases import LEASE, OUT_OF_TOUCH, Leases, OthersAlive
from passferry.notices import Notices
from passferry.org_health import OPERATOR
from passferry.ports import Clock, Meter, Pace, Provider, Target
from passferry.relay_gate import ELSEWHERE, RelayGate
from passferry.retention import prune
from passferry.state import NotReachable, StateError, Stores
from passferry.store_ports import StoreFull, StoreLost
from passferry.tools import Tools

if TYPE_CHECKING:
    from passferry.adapters.meter import Levels, PrometheusMeter
    from passferry.adapters.postgres_wire import Wire

CLOCK_UNCONFIRMED = 7 * 86400.0
"""Seconds without a confirmation of the clock after which that is said."""
SECRETS_EVERY = 2.0
"""Seconds between two looks at the credential files of orgs that paused themselves."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The use cases of one process, connected but not running."""

    settings: Settings
    stores: Stores
    accept: Accept
    leases: Leases
    notices: Notices
    clock: Clock
    hasher: Argon2Hasher | None
    meter: "PrometheusMeter"
    providers: "Providers"
    fatal: Callable[[str], None]
    wire: "Wire | None" = None

    @property
    def deliveries(self) -> Mapping[str, Delivery]:
        """The owner loops of the orgs that are ours now."""
        return self.leases.deliveries

    async def keep_house(self) -> None:
        """Delete what need not be kept any more, and forget missing keys that nothing needs any more.

        Nothing is deleted by a clock that no answer of a target confirms.
        """
        if self.stores.sealer.missing():
            self.stores.sealer.missing(await self.stores.lookup.key_ids())
        if any(one.gate.clock_is_right() for one in self.deliveries.values()):
            await prune(self.stores.keep, self.clock)
            await self._expire_elsewhere()

    async def _expire_elsewhere(self) -> None:
        """What is too old in orgs that are not configured any more has no owner to end it."""
        now = self.clock.now()
        late = [org for org, news in (await self.stores.lease.news(now)).items() if news.late]
        for org in set(late) - set(self.settings.orgs):
            while await self.stores.delivery.expire(org, now):
                pass

    async def set_paused(self, org: str, paused: bool, actor: str) -> None:
        """An operator pauses or resumes ``org``; resuming also forgets a wait that the target asked for."""
        delivery = self.deliveries.get(org)
        await self.stores.delivery.set_org(
            org, OPERATOR if paused else None, None if paused else 0.0, actor, self.clock.now()
        )
        if delivery is not None:  # who asks next shall meet the org as it is now
            delivery.health.told(OPERATOR if paused else None, self.clock.monotonic())
            if not paused:
                delivery.resume()
        self.notices.accepted(org)

    async def metrics(self, orgs: Collection[str]) -> bytes:
        """Figures of ``orgs`` (empty: all) and of the process, in the text format of Prometheus."""
        levels = await self.levels()
        # A thousand orgs are some megabytes of text; nobody waits for that.
        stopped = await self.stopped_sources()
        expose = partial(self.meter.expose, clock_unconfirmed=self.clock_unconfirmed())
        return await asyncio.to_thread(expose, levels, self.hashes(), orgs, stopped)

    async def pace(self, org: str) -> Pace:
        """How fast ``org`` is delivered to, as far as this process knows, and how many changes are live."""
        settings, delivery = self.settings.orgs[org], self.deliveries.get(org)
        rate = settings.rate if delivery is None else float(delivery.gate.pacer.limit)
        return Pace(rate, await self.stores.accept.backlog(org, self.settings.queue_limit))

    def hashes(self) -> int:
        """Verifiers asked for and not done yet."""
        return self.hasher.queued if self.hasher is not None else 0

    async def stopped_sources(self) -> dict[str, bool]:
        """Of each source that has a limit an hour: whether it is stopped."""
        limited = [name for name, rules in self.settings.sources.items() if rules.most_an_hour is not None]
        stopped = await self.stores.figures.stopped_sources()
        told = {spelling(name) for name in stopped}  # by the name of the key, which may be spelt otherwise
        running = [name for name in limited if spelling(name) not in told]
        return {name: name in stopped for name in sorted({*running, *stopped})}

    async def levels(self) -> "dict[str, Levels]":
        """How each configured org stands now, whichever process delivers for it; pacing of our own alone."""
        from passferry.adapters.meter import Levels

        stored = await self.stores.figures.orgs()
        now, mono, ours = self.clock.now(), self.clock.monotonic(), self.deliveries
        levels = {}
        for name, settings in self.settings.orgs.items():
            org, since = stored[name], stored[name].oldest_waiting_since
            pacer = ours[name].gate.pacer if name in ours else None
            levels[name] = Levels(
                waiting=org.waiting,
                parked=org.parked,
                oldest_seconds=0.0 if since is None else max(0.0, now - since),
                paused=org.paused,
                quota_used=pacer.spent(mono) if pacer is not None else None,
                quota_allowed=pacer.limit if pacer is not None else None,
                head_seq=org.head_seq,
                dry_run=settings.dry_run,
            )
        return levels

    def unready(self) -> list[str]:
        """Why changes cannot be accepted and delivered as promised; empty when they can."""
        # A clock that no answer confirms is none of these. Who is sent no changes asks no target, and would
        # behind a load balancer never be sent any again; and what is accepted does not depend on a target.
        lacking = [
            f"the key ring lacks the key {key_id}, which what is stored needs: restore it from its back-up"
            for key_id in sorted(self.stores.sealer.missing())
        ]
        if self.leases.out_of_touch():
            lacking.append(f"the database did not answer for {OUT_OF_TOUCH:.0f} s")
        if self.accept.full():
            lacking.append("the disk is full: make room")
        return lacking

    def clock_unconfirmed(self) -> bool:
        """Whether no answer to any org confirmed the clock, which all share, for ``CLOCK_UNCONFIRMED``."""
        last = [one.gate.clock_confirmed_at or one.started for one in self.deliveries.values()]
        return bool(last) and self.clock.monotonic() - max(last) > CLOCK_UNCONFIRMED


def assemble(
    settings: Settings,
    stores: Stores,
    *,
    hasher: Argon2Hasher | None,
    fatal: Callable[[str], None],
    transport: httpx2.AsyncBaseTransport | None = None,
    draw: Callable[[], float] = random.random,
    poll: float = 1.0,
) -> Gateway:
    """Connect the use cases. ``transport`` replaces the network, ``draw`` gives numbers in [0, 1)."""
    from passferry.adapters.meter import PrometheusMeter  # late: only a gateway counts

    clock, notices = stores.clock, Notices()
    meter = PrometheusMeter(settings.orgs)

    def delivery(name: str) -> Delivery:
        org = settings.orgs[name]
        gate = PacedGate(Pacer(int(org.rate), clock.monotonic()), clock, org.request_timeout)
        age = org.policy.minimum_age_seconds
        limits = Limits(request=org.request_timeout, minimum_age=None if age is None else float(age))
        target = _target(org, gate, clock, transport, meter)
        tools = Tools(
            store=stores.delivery.of(name),
            target=target,
            gate=gate,
            sealer=stores.sealer,
            hasher=hasher.of(name) if hasher is not None else None,
            clock=clock,
            random=draw,
            notices=notices,
            limits=limits,
            fatal=fatal,
            meter=meter,
            dry_run=org.dry_run,
            barred=partial(_barred, settings, name),
        )
        return Delivery(name, tools)

    leases = Leases(stores.lease, stores.worker, settings.orgs, delivery, clock, notices, fatal, poll=poll)
    intakes = {
        name: Intake(org.policy, org.time_to_live, settings.source_rate, settings.queue_limit, org.never)
        for name, org in settings.orgs.items()
    }
    accept = Accept(stores.accept, stores.lookup, stores.sealer, clock, notices, intakes, fatal, meter)
    accept.ask_before_waiting(leases.held_up)
    wire = _wire(settings, stores, notices, leases)
    providers = Providers(lambda name: _provider(settings.orgs[name], leases, clock, transport, meter))
    return Gateway(settings, stores, accept, leases, notices, clock, hasher, meter, providers, fatal, wire)


def _barred(settings: Settings, org: str, source: str, names: Sequence[str]) -> bool:
    """Whether ``source`` may not touch the user of ``org`` that has these ``names``."""
    rules = settings.sources.get(source, SourceRules())
    return names_one(settings.orgs[org].never | rules.never, *names)


def _wire(settings: Settings, stores: Stores, notices: Notices, leases: Leases) -> "Wire | None":
    """Word to and from other processes, where there may be some."""
    if settings.database_url is None or stores.worker is None:
        return None
    from passferry.adapters.postgres_wire import Wire  # late: SQLite needs none

    wire = Wire(settings.database_url, stores.worker.id, stores.database, notices, leases.owns)
    notices.elsewhere = wire
    return wire


def _target(
    org: OrgSettings,
    gate: PacedGate,
    clock: Clock,
    transport: httpx2.AsyncBaseTransport | None,
    meter: Meter,
) -> Target:
    client = http_client(transport)
    if org.target == "scim":
        assert org.base_url is not None and org.token is not None  # noqa: S101, PT018  # configuration saw to it
        return ScimTarget(org.base_url, org.token, org.write, client, gate, org.request_timeout, clock)
    assert org.api_url is not None  # noqa: S101
    tokens = _tokens(org, client, clock, meter, lambda status, headers: gate.seen(headers))
    return GenesysTarget(org.api_url, org.write, tokens, client, gate, org.request_timeout, clock)


def _tokens(
    org: OrgSettings,
    client: httpx2.AsyncClient,
    clock: Clock,
    meter: Meter,
    on_answer: Callable[[int, Mapping[str, str]], None] = lambda status, headers: None,
) -> Tokens:
    assert org.login_url is not None  # noqa: S101  # configuration saw to it
    assert org.client_id is not None and org.client_secret is not None  # noqa: S101, PT018
    return Tokens(
        client,
        org.login_url,
        org.client_id,
        org.client_secret,
        clock,
        on_answer,
        limit=org.request_timeout,
        on_failure=lambda kind: meter.token_failed(org.name, kind),
    )


def _provider(
    org: OrgSettings,
    leases: Leases,
    clock: Clock,
    transport: httpx2.AsyncBaseTransport | None,
    meter: Meter,
) -> Provider:
    """The org's target for inbound SCIM: at delivery's own gate while we deliver, else at a slow one."""
    client, limit = http_client(transport), org.request_timeout
    slow = PacedGate(Pacer(max(1, int(org.rate * ELSEWHERE)), clock.monotonic()), clock, limit)

    def owner() -> PacedGate | None:
        delivery = leases.deliveries.get(org.name)
        return None if delivery is None else delivery.gate

    gate = RelayGate(owner, slow, clock)
    if org.target == "scim":
        assert org.base_url is not None and org.token is not None  # noqa: S101, PT018  # configuration saw to it
        token = FixedToken(org.token)
        bearer = Bearer(client, token, gate, limit, "application/scim+json", clock)
        return Relay(bearer, plain(org.base_url), clock)
    assert org.api_url is not None  # noqa: S101
    tokens = _tokens(org, client, clock, meter)
    return Relay(Bearer(client, tokens, gate, limit, "application/json", clock), genesys(org.api_url), clock)


class Providers:
    """The targets of orgs as inbound SCIM sees them, each made when it is first asked for."""

    def __init__(self, make: Callable[[str], Provider]) -> None:
        self._make = make
        self._made: dict[str, Provider] = {}

    def __call__(self, org: str) -> Provider:
        """The one of ``org``."""
        if org not in self._made:
            self._made[org] = self._make(org)
        return self._made[org]

    async def close(self) -> None:
        """Give up their connections."""
        for provider in self._made.values():
            await provider.close()


@asynccontextmanager
async def running(gateway: Gateway, *, hold: bool = False) -> AsyncIterator[None]:
    """Deliver for all orgs until the block ends; then finish what is being sent.

    With ``hold`` all that is pending is parked first. Raises ``StateError`` when that cannot be done.
    """
    stop = asyncio.Event()
    load()
    compile_all(gateway.stores.database.engine.dialect)
    if hold:
        await _hold(gateway)
    delivering = asyncio.create_task(gateway.leases.run(stop))
    talking = asyncio.create_task(gateway.wire.run()) if gateway.wire is not None else None
    watch = asyncio.create_task(_watch_credentials(gateway))
    try:
        yield
    finally:
        watch.cancel()
        await gateway.accept.close()
        stop.set()
        await asyncio.wait([delivering])
        await gateway.providers.close()
        if talking is not None:
            talking.cancel()


async def _hold(gateway: Gateway) -> None:
    problem: StateError
    try:
        await gateway.leases.hold(gateway.stores.delivery)
    except OthersAlive as others:
        what = f"others work on this database, and would deliver what --hold is to park: {others}"
        problem = StateError(what, f"stop them first; one that was killed counts for {LEASE:.0f} s more")
    except (StoreFull, StoreLost) as error:
        reason = str(error) or "the database does not answer"
        problem = NotReachable(
            f"not all could be parked: {reason}", "nothing was sent; try again with --hold"
        )
    else:
        return
    raise problem


async def _watch_credentials(gateway: Gateway) -> None:
    """An org that paused itself asks again as soon as the file of its secret or token is another.

    Who is not paused needs no watch: every token request looks at the file.
    """
    files = {
        name: secret
        for name, org in gateway.settings.orgs.items()
        if isinstance(secret := org.client_secret or org.token, FileSecret)
    }
    while files:
        await asyncio.sleep(SECRETS_EVERY)
        ours = gateway.deliveries
        waiting = [name for name in files if name in ours and ours[name].health.paused is not None]
        if waiting:  # in a thread: a file system that hangs must hold up nobody
            looks = await asyncio.to_thread(lambda names: [files[name].changed() for name in names], waiting)
            for name in itertools.compress(waiting, looks):
                ours[name].health.probe_now(gateway.clock.monotonic())
                gateway.notices.accepted(name)
