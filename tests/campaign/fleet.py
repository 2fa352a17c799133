"""Several workers deliver for several orgs from one database, and all fail; a seed repeats it exactly."""

import asyncio
import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from campaign.plans import BAD_DAY, MODES, SWITCHES, leaves_no_proof
from campaign.promises import LEAVER, Sent, broken_promises
from campaign.shaky import Machine, ShakyDatabase, ShakyTransport, own_tasks
from campaign.surroundings import SURROUNDINGS
from campaign.virtual_time import VirtualClock
from passferry.accept import Request, Taken
from passferry.adapters import schema
from passferry.adapters.database import add_orgs, prepare
from passferry.adapters.hashing import FOR_TESTS_ONLY, Argon2Hasher
from passferry.adapters.key_file import FileSealer
from passferry.adapters.keyring import create, generate
from passferry.adapters.sqlite import SqliteDatabase
from passferry.adapters.store_deliver import SqlDeliveryStore
from passferry.bootstrap import Gateway, assemble
from passferry.config import OrgSettings, Secret, Settings
from passferry.domain.change import Change, Reference, State
from passferry.domain.password import Password
from passferry.domain.policy import Rules
from passferry.refusals import NotAccepted
from passferry.simulator import Fault, Simulator
from passferry.simulator import Settings as SimulatorSettings
from passferry.state import Stores, audit_key
from passferry.store_ports import Caller, StoreFull, Worker

CALLER = Caller("k", "campaign", "source", ())
USERS = 12
"""Few, so that the changes of one user meet."""
SECONDS_A_CHANGE = 1.5
LATE = (3.0, 15.0)
"""Seconds after which a late write is executed: before its request is given up, or afterwards, while nothing
else may be written to its user."""
TROUBLES = ("crash", "crash", "freeze", "freeze", "away", "all away", "stop")
TROUBLE_EVERY = 40.0
SURROUNDINGS_EVERY = 30.0
LONGEST_OVERDUE = 3600.0
"""Seconds that a change may be due at the end: every owner is replaced, and every wait is over by then."""
INACTIVE = 0.02
"""How many of the changes are for users who are not active."""


@dataclass(frozen=True)
class OrgPlan:
    """One org's target: how it is written to, and what is the matter with it."""

    name: str
    write: str
    switches: dict[str, Any]
    faults: dict[str, float]

    @property
    def honours_versions(self) -> bool:
        """Whether a request that comes late finds its version outdated (docs/design.md, the stated limit)."""
        ignored = self.switches.get("if_match") == "ignored"
        return self.write != "native" and not ignored and self.switches.get("password_moves_version", True)


@dataclass(frozen=True)
class FleetPlan:
    """What a run is made of; everything follows from ``seed``."""

    seed: int
    changes: int
    workers: int
    orgs: tuple[OrgPlan, ...]


def fleet_plan(seed: int, changes: int) -> FleetPlan:
    """One to four workers, one to five orgs, each with a setting and faults of its own."""
    draw = random.Random(f"plan {seed}")
    orgs = tuple(
        OrgPlan(
            f"org{number}",
            draw.choice(MODES),
            draw.choice(SWITCHES) | {"late_seconds": draw.choice(LATE)},
            {name: rate * draw.choice((0.0, 0.5, 1.0)) for name, rate in BAD_DAY.items()},
        )
        for number in range(1, draw.choice((1, 1, 2, 2, 3, 5)) + 1)
    )
    return FleetPlan(seed, changes, draw.choice((1, 2, 2, 3, 3, 4)), orgs)


@dataclass
class Process:
    """One running gateway and what it runs on."""

    machine: Machine
    database: ShakyDatabase
    gateway: Gateway
    stop: asyncio.Event
    leases: "asyncio.Task[None]"
    stopping: bool = False


@dataclass
class Org:
    """An org while it is simulated."""

    plan: OrgPlan
    simulator: Simulator
    users: list[tuple[str, str]]
    before: dict[str, str]
    leavers: list[tuple[str, str]]  # not active
    sent: list[Sent] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)  # changes that an operator tried to cancel
    quota_changed: bool = False

    @property
    def no_proof(self) -> bool:
        """Whether ``outcome.unknown`` is a right end."""
        return leaves_no_proof(self.plan.switches)


class Fleet:
    """See the module."""

    def __init__(self, plan: FleetPlan, folder: Path) -> None:
        """``folder``: for the key ring."""
        self.plan = plan
        self.random = random.Random(f"run {plan.seed}")
        loop = asyncio.get_running_loop()
        own_tasks(loop)
        self.clock = VirtualClock(loop)
        self.ring = folder / "ring"
        create(self.ring, generate(0.0, self.random.randbytes))
        self.sealer = FileSealer(self.ring)
        self.database = SqliteDatabase(None, audit_key(self.sealer), inline=True)
        prepare(self.database)
        with self.database.engine.begin() as connection:
            add_orgs(connection, [one.name for one in plan.orgs])
        self.stores = Stores.over(self.database, self.sealer, self.clock)
        self.hasher = Argon2Hasher(FOR_TESTS_ONLY, threads=0, random=self.random.randbytes)
        self.orgs = {one.name: self._org(one) for one in plan.orgs}
        self.requests: Counter[str] = Counter()  # passwords that reached a target
        self.happened: Counter[str] = Counter()
        self.found: list[str] = []
        self._epochs: dict[str, dict[str, int]] = {}  # by worker and org, as each believes
        self._started = 0
        self.processes = [self._start() for _ in range(plan.workers)]

    def _org(self, plan: OrgPlan) -> Org:
        faults = {fault.value: 0.0 for fault in Fault} | plan.faults
        switches = SimulatorSettings().changed({"faults": faults, **plan.switches})
        seed = self.random.getrandbits(32)
        simulator = Simulator(switches, clock=self.clock.now, seed=seed, users=3 * USERS)
        active = [(user.id, user.user_name) for user in simulator.directory() if user.active]
        users, leavers = active[:USERS], active[USERS : USERS + 2]
        for user_id, _ in leavers:
            simulator.edit(user_id, {"active": False})
        before = {name: simulator.profile_text(name).decode() for _, name in users + leavers}
        return Org(plan, simulator, users, before, leavers)

    def _settings(self) -> Settings:
        orgs = {
            name: OrgSettings(
                name,
                write=org.plan.write,
                api_url=f"https://{name}.example.com",
                login_url=f"https://{name}.example.com",
                client_id="simulator",
                client_secret=Secret("simulator-secret"),
                policy=Rules(minimum_age_seconds=org.plan.switches.get("minimum_age_seconds")),
            )
            for name, org in self.orgs.items()
        }
        return Settings(Path("/nowhere"), Path("/nowhere"), orgs=orgs)

    # --- processes -----------------------------------------------------------------------------

    def _start(self) -> Process:
        self._started += 1
        machine = Machine(f"w{self._started}", self.random)
        database = ShakyDatabase(self.database, machine, lambda *what: self._committed(machine, *what))
        worker = Worker(machine.name, machine.name)
        stores = Stores.over(database, FileSealer(self.ring), self.clock, worker)
        self._epochs[machine.name] = stores.delivery._epochs

        def fatal(reason: str) -> None:
            if not machine.dead:
                self.found.append(f"{machine.name} ended itself: {reason}")

        transport = ShakyTransport(
            machine,
            {f"{name}.example.com": org.simulator for name, org in self.orgs.items()},
            lambda host: self.orgs[host.partition(".")[0]].plan.honours_versions,
            lambda password: self.requests.update([password]),
        )
        gateway = assemble(
            self._settings(),
            stores,
            hasher=self.hasher,
            fatal=fatal,
            transport=transport,
            draw=self.random.random,
            poll=2.0,
        )
        stop = asyncio.Event()
        return Process(machine, database, gateway, stop, machine.start(gateway.leases.run(stop)))

    def _committed(self, machine: Machine, work: str, result: Any) -> None:
        """An intent that is committed belongs to whoever owns the org at that moment."""
        if work.startswith(SqlDeliveryStore.begin.__qualname__) and isinstance(result, Change):
            query = select(schema.orgs.c.epoch).where(schema.orgs.c.name == result.org)
            with self.database.engine.connect() as connection:
                epoch = connection.execute(query).scalar()
            if epoch != self._epochs[machine.name].get(result.org):
                self.found.append(f"{result.id}: {machine.name} began it, and another had taken {result.org}")

    async def _crash(self, process: Process) -> None:
        await process.machine.kill()
        await self._again(process)

    async def _stop(self, process: Process) -> None:
        """A graceful stop, however long it takes; others take over."""
        process.stopping = True
        await asyncio.wait([process.machine.start(process.gateway.accept.close())])
        process.stop.set()
        await asyncio.wait([process.leases])
        await process.machine.kill()
        await self._again(process)

    async def _again(self, process: Process) -> None:
        await asyncio.sleep(self.random.uniform(0.0, 25.0))
        self.processes[self.processes.index(process)] = self._start()

    async def _away(self, processes: list[Process]) -> None:
        for process in processes:
            process.database.away = True
        await asyncio.sleep(self.random.uniform(0.5, 40.0))
        for process in processes:
            process.database.away = False
            self.happened["commits without an answer"] += process.database.lost_commits
            process.database.lost_commits = 0

    def any_process(self) -> Process | None:
        """One that can be asked, though it may be frozen."""
        up = [one for one in self.processes if not (one.machine.dead or one.stopping)]
        return self.random.choice(up) if up else None

    def an_org(self) -> Org:
        """Any."""
        return self.random.choice(list(self.orgs.values()))

    async def _trouble(self, what: str) -> None:
        if what in SURROUNDINGS:
            self.happened[what] += 1
            await SURROUNDINGS[what](self)
            return
        well = [one for one in self.processes if not (one.machine.dead or one.machine.frozen or one.stopping)]
        if not well:
            return
        process = self.random.choice(well)
        self.happened[what] += 1
        if what == "crash":
            await self._crash(process)
        elif what == "freeze":
            await process.machine.freeze(self.random.uniform(5.0, 60.0))
        elif what == "stop":
            await self._stop(process)
        else:
            await self._away(well if what == "all away" else [process])

    # --- callers -------------------------------------------------------------------------------

    async def _push(self, org: Org, number: int) -> None:
        """One change by a caller who asks again, of any process, until it is answered."""
        leaves = self.random.random() < INACTIVE
        user_id, name = self.random.choice(org.leavers if leaves else org.users)
        by_id = self.random.random() < 0.5
        reference = Reference("id", user_id) if by_id else Reference("userName", name)
        password = f"N3w-Passw0rd!{self.plan.seed}-{number}"
        request = Request(org.plan.name, reference, Password(password), idempotency_key=f"k{number}")
        asked = self.clock.monotonic()
        taken = await self._ask(request)
        while taken is None:
            await asyncio.sleep(self.random.uniform(0.5, 3.0))
            taken = await self._ask(request)
        org.sent.append(Sent(taken.change.id, name, password, asked, self.clock.monotonic()))

    async def _ask(self, request: Request) -> Taken | None:
        process = self.any_process()
        if process is None:
            return None
        asking = process.machine.start(process.gateway.accept.accept(CALLER, request))
        await asyncio.wait([asking], timeout=15.0)
        if not asking.done():
            asking.cancel()
            await asyncio.wait([asking])
        if asking.cancelled():
            return None
        try:
            return asking.result()
        except StoreFull:
            return None  # as 503
        except NotAccepted as refusal:
            if refusal.retry_after is None:
                self.found.append(f"refused: {refusal.code}")
            self.happened[f"answered {refusal.code}"] += 1
            return None

    # --- a run ---------------------------------------------------------------------------------

    async def load(self) -> None:
        """All changes, and all that goes wrong between them."""
        seconds = self.plan.changes * SECONDS_A_CHANGE
        orgs = list(self.orgs.values())
        what: list[Any] = [self.random.choice(orgs) for _ in range(self.plan.changes)]
        what += [self.random.choice(TROUBLES) for _ in range(int(seconds / TROUBLE_EVERY))]
        around = list(SURROUNDINGS)
        what += [self.random.choice(around) for _ in range(int(seconds / SURROUNDINGS_EVERY))]
        events = sorted((self.random.uniform(0, seconds), number) for number in range(len(what)))
        started = self.clock.monotonic()
        doing = []
        for at, number in events:
            await asyncio.sleep(max(0.0, started + at - self.clock.monotonic()))
            one = what[number]
            todo = self._trouble(one) if isinstance(one, str) else self._push(one, number)
            doing.append(asyncio.create_task(todo))
        await asyncio.gather(*doing)

    async def settle(self, hours: float = 80.0) -> None:
        """Until every change has ended or waits for a person."""
        changes = schema.changes.c
        moving = changes.next_attempt_at.is_not(None) | (changes.state == State.DELIVERING.value)
        leaver = changes.error_code.in_(LEAVER) & (changes.state == State.PARKED.value)
        query = select(changes.id).where(changes.live, moving, ~leaver)
        deadline = self.clock.monotonic() + hours * 3600.0
        while self.clock.monotonic() < deadline and not self.found:
            with self.database.engine.connect() as connection:
                if connection.execute(query.limit(1)).first() is None:
                    return
                overdue = query.where(changes.next_attempt_at < self.clock.now() - LONGEST_OVERDUE)
                self.found += [f"nobody delivers {one}" for one in connection.execute(overdue).scalars()]
            await asyncio.sleep(10.0)

    async def broken_promises(self) -> list[str]:
        """What was promised and not kept; empty when all is well."""
        await self.settle()
        if self.found:
            return self.found
        return [f"{o.plan.name}: {one}" for o in self.orgs.values() for one in await broken_promises(self, o)]

    async def end(self) -> None:
        """End what runs."""
        for process in self.processes:
            await process.machine.kill()


@contextlib.asynccontextmanager
async def fleet(plan: FleetPlan) -> AsyncIterator[Fleet]:
    """A running fleet."""
    with tempfile.TemporaryDirectory() as folder:
        made = Fleet(plan, Path(folder))
        try:
            yield made
        finally:
            await made.end()


async def one_run(plan: FleetPlan) -> tuple[list[str], Fleet]:
    """One run: (broken promises, the fleet afterwards)."""
    async with fleet(plan) as it:
        await it.load()
        return await it.broken_promises(), it
