"""In-memory stand-ins for what the routes stand on, and one way to call them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import httpx2

from passferry.accept import Request, Taken
from passferry.access import Access, NewKey, mint
from passferry.domain.accepting import Remembered, Stopped
from passferry.domain.audit import Head, Record
from passferry.domain.change import RETRYABLE, Change, Reference, State
from passferry.domain.password import Password
from passferry.domain.policy import Rules, Violation, check
from passferry.domain.source_rules import SourceRules, SourceTables, names_one
from passferry.entrypoints.http import HttpParts, app
from passferry.ports import Pace
from passferry.refusals import NotAccepted
from passferry.store_ports import Caller, Delivered, NameTaken, NotNow

USER = "11111111-2222-3333-4444-555555555555"
GOOD = "Correct-Horse-9"
NOW = 1_800_000_000.0


class StillClock:
    """Time stands where it is put."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass
class FakeAccept:
    """Follows ``passferry.accept``: policy, repeats under a key; changes end as they are told to."""

    lookup: "FakeLookup"
    outcome: Change | None = None  # the state, evidence and error that a waited-for change gets
    refusal: NotAccepted | None = None
    not_admitted: NotAccepted | None = None
    admitted: list[tuple[str, str]] = field(default_factory=list)
    change_refusal: NotAccepted | None = None  # before anything else of a request is done
    failure: Exception | None = None
    requests: list[Request] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    seen: dict[tuple[str, str, str], Remembered] = field(default_factory=dict)

    async def accept(self, caller: Caller, request: Request) -> Taken:
        if self.failure is not None:
            raise self.failure
        if self.refusal is not None:
            raise self.refusal
        user = request.user.value if request.user.kind == "userName" else None
        if violations := check(request.password, user, Rules()):
            raise NotAccepted("policy", "The password breaks the policy.", violations=violations)
        self.requests.append(request)
        self.callers.append(caller)
        body = f"{request.user} {request.password.reveal()}".encode()
        name = (caller.name, request.org, request.idempotency_key or "")
        if request.idempotency_key and (before := self.seen.get(name)):
            if before.body_mac != body:
                raise NotAccepted("idempotency.key.reused", "The Idempotency-Key was used with another body.")
            return Taken(self.lookup.held[before.change_id], True)
        made = change(f"c{len(self.requests)}", org=request.org, user=request.user, source=caller.name)
        self.lookup.held[made.id] = made
        if request.idempotency_key:
            self.seen[name] = Remembered(body, made.id)
        return Taken(made, False)

    async def admit_change(self, caller: Caller, org: str) -> None:
        if self.change_refusal is not None:
            raise self.change_refusal

    def check(
        self, caller: Caller, org: str, user: Reference | None, password: Password
    ) -> Sequence[Violation]:
        if self.refusal is not None:
            raise self.refusal
        return self.violations(org, user, password)

    def admit_look(self, caller: Caller, org: str) -> None:
        if self.not_admitted is not None:
            raise self.not_admitted

    def admit(self, caller: Caller, org: str) -> None:
        self.admitted.append((caller.name, org))
        if self.not_admitted is not None:
            raise self.not_admitted

    def never(self, caller: Caller, org: str) -> frozenset[str]:
        return caller.rules.never

    def spare(self, caller: Caller, org: str, *names: str) -> None:
        if names_one(self.never(caller, org), *names):
            raise NotAccepted("user.protected", "This user may not be touched.")

    def violations(self, org: str, user: Reference | None, password: Password) -> Sequence[Violation]:
        name = user.value if user is not None and user.kind == "userName" else None
        return check(password, name, Rules())

    async def wait(self, change_id: str, seconds: float) -> Change:
        self.waits.append(seconds)
        held = self.lookup.held[change_id]
        if self.outcome is not None:
            held = replace(
                held,
                state=self.outcome.state,
                evidence=self.outcome.evidence,
                error=self.outcome.error,
            )
            self.lookup.held[change_id] = held
        return held


@dataclass
class FakeLookup:
    """Changes in memory."""

    held: dict[str, Change] = field(default_factory=dict)
    acts: list[tuple[str, str, str, float]] = field(default_factory=list)

    async def change(self, change_id: str) -> Change | None:
        return self.held.get(change_id)

    async def changes(
        self,
        *,
        org: str | None = None,
        user: str | None = None,
        states: Sequence[State] = (),
        since: float | None = None,
        limit: int = 50,
        before: tuple[float, str] | None = None,
    ) -> list[Change]:
        found = [
            each
            for each in self.held.values()
            if (org is None or each.org == org)
            and (user is None or each.user.value == user)
            and (not states or each.state in states)
            and (since is None or each.accepted_at >= since)
            and (before is None or (each.accepted_at, each.id) < before)
        ]
        return sorted(found, key=lambda each: (each.accepted_at, each.id), reverse=True)[:limit]

    async def operate(self, change_id: str, act: str, actor: str, now: float) -> Change | None:
        held = self.held.get(change_id)
        if held is None:
            return None
        if held.state not in RETRYABLE:
            raise NotNow(held.state)
        self.acts.append((change_id, act, actor, now))
        state = State.CANCELLED if act == "cancel" else State.PENDING
        self.held[change_id] = replace(held, state=state)
        return self.held[change_id]

    async def delivered(self, org: str, user: Reference) -> Delivered | None:
        return None

    async def audit(self, org: str, after: int, limit: int) -> list[tuple[Record, bytes]]:
        return []

    async def heads(self) -> dict[str, Head]:
        return {}

    async def key_ids(self) -> set[str]:
        return set()


@dataclass
class FakeKeys:
    """Access keys in memory."""

    held: list[tuple[Caller, bytes]] = field(default_factory=list)
    readings: int = 0

    async def add_key(self, caller: Caller, secret_sha256: bytes, now: float) -> None:
        if any(each.name == caller.name and each.revoked_at is None for each, _ in self.held):
            raise NameTaken
        self.held.append((caller, secret_sha256))

    async def keys(self) -> list[tuple[Caller, bytes]]:
        self.readings += 1
        return list(self.held)

    async def resume(self, name: str, actor: str, now: float) -> bool:
        return False

    async def revoke(self, name: str, actor: str, now: float) -> bool:
        self.held = [
            (replace(each, revoked_at=now) if each.name == name else each, secret)
            for each, secret in self.held
        ]
        return any(each.name == name for each, _ in self.held)

    def add(self, name: str, role: str = "source", *orgs: str, template: str | None = None) -> str:
        """The text of a new key."""
        key: NewKey = mint()
        self.held.append((Caller(key.id, name, role, orgs, template), key.secret_sha256))
        return key.text


@dataclass
class FakePasses:
    """The trail of what is passed on, in memory."""

    verdict: Stopped | None = None
    failure: Exception | None = None
    failure_afterwards: Exception | None = None
    records: list[Record] = field(default_factory=list)
    limits: list[int | None] = field(default_factory=list)

    async def intend(self, org: str, record: Record, most_an_hour: int | None) -> Stopped | None:
        if self.failure is not None:
            raise self.failure
        self.limits.append(most_an_hour)
        if self.verdict is None:
            self.records.append(record)
        return self.verdict

    async def note_ended(self, org: str, record: Record) -> None:
        if self.failure_afterwards is not None:
            raise self.failure_afterwards
        self.records.append(record)


def change(change_id: str, **members: Any) -> Change:
    """A pending change with some members as given."""
    plain = Change(
        id=change_id,
        org="default",
        seq=1,
        user=Reference("id", USER),
        source="portal",
        state=State.PENDING,
        accepted_at=NOW,
        updated_at=NOW,
        expires_at=NOW + 72 * 3600,
    )
    return replace(plain, **members)


class World:
    """The gateway over fakes, with one key of each kind."""

    def __init__(self, rules: Mapping[str, SourceRules] | None = None, **parts: Any) -> None:
        self.clock, self.lookup, self.keys = StillClock(), FakeLookup(), FakeKeys()
        self.accept, self.passes = FakeAccept(self.lookup), FakePasses()
        self.missing: list[str] = []
        self.fatal: list[str] = []
        self.answered: list[tuple[str, int]] = []
        self.pauses: list[tuple[str, bool, str]] = []
        self.scrapes: list[tuple[str, ...]] = []
        self.portal = self.keys.add("portal")
        self.other = self.keys.add("other")
        self.emea = self.keys.add("emea-hr", "source", "emea")
        self.short = self.keys.add("pam", template="{uid}@example.com")
        self.operator = self.keys.add("desk", "operator")
        self.emea_operator = self.keys.add("emea-desk", "operator", "emea")
        self.both_operator = self.keys.add("both-desk", "operator", "emea", "default")
        self.metrics = self.keys.add("prometheus", "metrics")
        built: dict[str, Any] = {
            "accept": self.accept,
            "lookup": self.lookup,
            "passes": self.passes,
            "access": Access(self.keys, self.clock, sources=SourceTables(rules)),
            "orgs": ("default", "emea", "plain"),
            "clock": self.clock,
            "ready": lambda: self.missing,
            "set_paused": self._set_paused,
            "metrics": self._metrics,
            "pace": self._pace,
            "fatal": self.fatal.append,
            "answered": lambda route, status: self.answered.append((route, status)),
            "uuid_ids": {"default": True, "emea": True, "plain": False},
        }
        self.app = app(HttpParts(**(built | parts)))

    async def _set_paused(self, org: str, paused: bool, actor: str) -> None:
        self.pauses.append((org, paused, actor))

    async def _pace(self, org: str) -> Pace:
        return Pace(300.0, 7)

    async def _metrics(self, orgs: Collection[str]) -> bytes:
        self.scrapes.append(tuple(orgs))
        return b"# TYPE passferry_backlog_changes gauge\npassferry_backlog_changes 0.0\n"

    def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        host: str = "127.0.0.1:8080",
    ) -> httpx2.Response:
        """One request; ``body`` is sent as JSON, ``content`` as it is."""
        sent = httpx2.Headers({"host": host})
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent["content-type"] = "application/json"
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        names = {name.lower() for name, _ in given}
        kept = [(name, value) for name, value in sent.multi_items() if name not in names]

        async def go() -> httpx2.Response:
            transport = httpx2.ASGITransport(app=self.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
                return await client.request(method, path, content=content, headers=[*kept, *given])

        return anyio.run(go)

    def sync(self, body: Any = None, **more: Any) -> httpx2.Response:
        """POST /sync/password by the portal, with a good body unless given."""
        more.setdefault("key", self.portal)
        if "content" not in more:
            more["body"] = body if body is not None else {"userId": USER, "password": GOOD}
        return self.call("POST", "/sync/password", **more)
