"""One org in virtual time: a simulator in process, a gateway that can crash, callers, and the promises."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign.virtual_time import VirtualClock
from passferry.accept import Request
from passferry.adapters.database import add_orgs, prepare
from passferry.adapters.hashing import FOR_TESTS_ONLY, Argon2Hasher
from passferry.adapters.keyring import generate
from passferry.adapters.sealing import RingSealer
from passferry.adapters.sqlite import SqliteDatabase
from passferry.bootstrap import Gateway, assemble
from passferry.config import OrgSettings, Secret, Settings
from passferry.domain.change import LIVE, Change, Reference, State
from passferry.domain.password import Password
from passferry.domain.policy import Rules
from passferry.domain.source_rules import SourceRules, SourceTables
from passferry.refusals import NotAccepted
from passferry.simulator import Fault, InProcessTransport, Simulator
from passferry.simulator import Settings as SimulatorSettings
from passferry.state import Stores, audit_key
from passferry.store_ports import Caller
from passferry.trail.verify import check_chain

CALLER = Caller("k", "campaign", "source", ())


@dataclass(frozen=True)
class Plan:
    """What a run is made of; everything else follows from ``seed``."""

    seed: int
    changes: int = 60
    users: int = 8
    hours: float = 0.05
    write: str = "scim-put"
    crashes: int = 2
    switches: Mapping[str, Any] = field(default_factory=dict)
    faults: Mapping[str, float] = field(default_factory=dict)
    minimum_age: int | None = None
    verifier: bool = True
    never: frozenset[str] = frozenset()  # users that the one source may not touch
    directory: int = 0  # users of the org; 0: twice as many as change their passwords, 40 at least


@dataclass
class Sent:
    """One accepted change, as its caller knows it."""

    change_id: str
    user: str  # userName
    password: str
    order: int


class World:
    """See the module."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.clock = VirtualClock(asyncio.get_running_loop())
        faults = {fault.value: 0.0 for fault in Fault} | dict(plan.faults)
        switches = SimulatorSettings().changed({"faults": faults, **plan.switches})
        self.simulator = Simulator(
            switches,
            clock=self.clock.true,
            seed=plan.seed,
            users=plan.directory or max(40, 2 * plan.users),
            journal_size=20_000,
        )
        sealer = RingSealer(generate(0.0, self.random.randbytes), self.random.randbytes)
        database = SqliteDatabase(None, audit_key(sealer), inline=True)
        prepare(database)
        with database.engine.begin() as connection:
            add_orgs(connection, ["default"])
        self.stores = Stores.over(database, sealer, self.clock)
        self.hasher = Argon2Hasher(FOR_TESTS_ONLY, threads=0, random=self.random.randbytes)
        self.sent: list[Sent] = []
        self._tasks: list[asyncio.Task[None]] = []
        active = [user for user in self.simulator.directory() if user.active]
        self.users = [(user.id, user.user_name) for user in active[: plan.users]]
        self.before = {name: self._profile(name) for _, name in self.users}
        self.gateway = self._start()

    def _profile(self, name: str) -> str:
        return self.simulator.profile_text(name).decode()

    def _settings(self) -> Settings:
        rules = Rules(minimum_age_seconds=self.plan.minimum_age)
        org = OrgSettings(
            "default",
            write=self.plan.write,
            api_url="https://api.example.com",
            login_url="https://login.example.com",
            client_id="simulator",
            client_secret=Secret("simulator-secret"),
            policy=rules,
        )
        return Settings(
            Path("/nowhere"),
            Path("/nowhere"),
            orgs={"default": org},
            source_rate=100_000,
            sources=SourceTables({CALLER.name: SourceRules(never=self.plan.never)}),
        )

    def _start(self) -> Gateway:
        gateway = assemble(
            self._settings(),
            self.stores,
            hasher=self.hasher if self.plan.verifier else None,
            fatal=_fatal,
            transport=InProcessTransport(self.simulator),
            draw=self.random.random,
            poll=60.0,
        )
        stop = asyncio.Event()
        self._tasks = [asyncio.create_task(gateway.leases.run(stop))]
        return gateway

    async def crash(self) -> None:
        """End delivery between any two of its steps, and start anew over what was committed."""
        await self.die()
        self.start()

    def start(self) -> None:
        """Begin to deliver, over what was committed."""
        self.gateway = self._start()

    async def die(self) -> None:
        """End delivery between any two of its steps."""
        everything = [
            task
            for task in asyncio.all_tasks()
            if task.get_coro().__qualname__.startswith(_OF_DELIVERY)  # type: ignore[union-attr]
        ]
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)

    async def push(
        self, user: tuple[str, str], password: str, *, by_id: bool | None = None, bulk: bool = False
    ) -> None:
        """Accept one change, by id or by userName, as it falls unless it is said."""
        user_id, name = user
        if by_id is None:
            by_id = self.random.random() < 0.5
        reference = Reference("id", user_id) if by_id else Reference("userName", name)
        try:
            taken = await self.gateway.accept.accept(
                CALLER, Request("default", reference, Password(password), bulk=bulk)
            )
        except NotAccepted as refusal:
            raise AssertionError(f"refused: {refusal.code}") from None
        self.sent.append(Sent(taken.change.id, name, password, len(self.sent)))

    async def load(self) -> None:
        """All changes, at random times, and crashes between them."""
        plan = self.plan
        ends = plan.hours * 3600.0
        times = sorted(self.random.uniform(0, ends) for _ in range(plan.changes))
        crashes = sorted(self.random.uniform(0, ends) for _ in range(plan.crashes))
        started = self.clock.monotonic()
        events = sorted([(at, "push") for at in times] + [(at, "crash") for at in crashes])
        for number, (at, what) in enumerate(events):
            await asyncio.sleep(max(0.0, started + at - self.clock.monotonic()))
            if what == "crash":
                await self.crash()
            else:
                await self.push(self.random.choice(self.users), f"N3w-Passw0rd!{plan.seed}-{number}")

    async def settle(self, hours: float = 80.0) -> list[Change]:
        """All changes, after everything has ended or waits for a person."""
        deadline = self.clock.monotonic() + hours * 3600.0
        while self.clock.monotonic() < deadline:
            changes = await self.stores.lookup.changes(limit=100_000)
            if not any(
                (c.state in LIVE and c.next_attempt_at is not None) or c.state is State.DELIVERING
                for c in changes
            ):
                return changes
            await asyncio.sleep(30.0)
        return await self.stores.lookup.changes(limit=100_000)

    async def stop(self) -> None:
        """End what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def broken_promises(self, *, no_proof: bool = False) -> list[str]:
        """What was promised and not kept; empty when all is well.

        ``no_proof``: the settings leave no proof after a lost answer, so that ``outcome.unknown`` is right.
        """
        changes = {change.id: change for change in await self.settle()}
        found = [self._ended(sent, changes[sent.change_id], no_proof) for sent in self.sent]
        found += [self._user_right(name, changes) for _, name in self.users]
        found += [self._profile_kept(name) for _, name in self.users]
        found.append(await self._audit_right())
        found.append(self._erased(changes))
        return [each for each in found if each]

    def _ended(self, sent: Sent, change: Change, no_proof: bool) -> str:
        if change.state in (State.APPLIED, State.SUPERSEDED):
            written = [write.password for write in self.simulator.writes(sent.user)]
            if change.state is State.APPLIED and sent.password not in written:
                return f"{change.id} is applied, and was never written"
            return ""
        code = change.error.code if change.error else None
        if change.state is State.PARKED and code == "outcome.unknown" and no_proof:
            return ""
        return f"{change.id} ended {change.state} {code} attempts {change.attempts}"

    def _user_right(self, name: str, changes: Mapping[str, Change]) -> str:
        mine = [sent for sent in self.sent if sent.user == name]
        if not mine:
            return ""
        order = {sent.password: sent.order for sent in mine}
        written = [order[write.password] for write in self.simulator.writes(name)]
        if written != sorted(written):
            return f"{name}: an older password was written after a newer one: {written}"
        newest = max(mine, key=lambda sent: sent.order)
        applied = changes[newest.change_id].state is State.APPLIED
        if applied and not self.simulator.verify(name, newest.password):
            return f"{name}: the newest is applied, and the user has another password"
        return ""

    def _profile_kept(self, name: str) -> str:
        if self.plan.faults.get("edited_between"):
            return ""
        now = self._profile(name)
        return (
            ""
            if now == self.before[name]
            else f"{name}: the profile changed: {_difference(self.before[name], now)}"
        )

    async def _audit_right(self) -> str:
        found = await check_chain(self.stores.audit, audit_key(self.stores.sealer), "default")
        return found.broken or ""

    def _erased(self, changes: Mapping[str, Change]) -> str:
        left = [c.id for c in changes.values() if c.state not in LIVE and c.sealed is not None]
        return f"sealed passwords were kept: {left}" if left else ""


_OF_DELIVERY = ("Leases.", "Delivery.", "Attempts.", "Pages.", "PacedGate.", "Tokens.", "Argon2Hasher.")


def _difference(before: str, after: str) -> str:
    old, new = json.loads(before), json.loads(after)
    names = [name for name in old | new if old.get(name) != new.get(name)]
    return ", ".join(names) or "form of numbers or order"


def _fatal(reason: str) -> None:
    raise AssertionError(reason)


@contextlib.asynccontextmanager
async def world(plan: Plan) -> AsyncIterator[World]:
    """A running world."""
    made = World(plan)
    await asyncio.sleep(0.001)  # until delivery is begun
    try:
        yield made
    finally:
        await made.stop()
