"""The use case accept: one change in, checked, sealed, committed; then the caller is answered."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from passferry.commits import Commits
from passferry.domain.accepting import (
    Accepted,
    NewChange,
    Replayed,
    Stopped,
)
from passferry.domain.change import Change, Reference, State
from passferry.domain.password import Password
from passferry.domain.policy import Rules, Violation, check
from passferry.domain.source_rules import names_one
from passferry.notices import Notices
from passferry.ports import Binding, Clock, Meter, SealBroken, Sealer, UnknownKey, Unmetered
from passferry.refusals import NotAccepted, code_of, protected, refusal, shutting_down, stopped
from passferry.store_ports import (
    AcceptStore,
    Caller,
    LookupStore,
)

log = structlog.get_logger("passferry.accept")

LOOKS = 200
"""Looks a second of all who wait together: thousands would leave the store no time to accept."""
FASTEST = 10_000
"""Accepts a second that all processes together do not reach: so long a queue cannot have become full."""


@dataclass(frozen=True, slots=True)
class Request:
    """A change as a source asks for it. Times are epoch seconds.

    ``arrived_at``: it came then, and was held up before it is asked for; used where no ``changed_at`` counts.
    ``user_name``: the user's, where it is known beside ``user``.
    ``admitted``: ``Accept.admit_change`` has let it in.
    """

    org: str
    user: Reference
    password: Password
    changed_at: float | None = None
    idempotency_key: str | None = None
    bulk: bool = False
    arrived_at: float | None = None
    user_name: str | None = None
    admitted: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """The change that stands for the request; ``replayed``: it existed before."""

    change: Change
    replayed: bool


@dataclass(frozen=True, slots=True)
class Intake:
    """What is accepted of an org. Times are seconds, ``source_rate`` changes a second and source."""

    rules: Rules = field(default_factory=Rules)
    time_to_live: float = 72 * 3600.0
    source_rate: float = 500.0
    queue_limit: int = 500_000
    never: frozenset[str] = frozenset()
    """Users whose password nobody may change through us, folded."""


class SourceRates:
    """How fast each source may send: a bucket of two seconds' worth, by monotonic time."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def admit(self, source: str, rate: float, now: float) -> float:
        """0.0 when a change is admitted, else the seconds to wait."""
        due = max(self._next.get(source, now), now)
        if due - now > 2.0:
            return due - now - 2.0
        if source not in self._next:  # whose time is over is as good as one that never came
            self._next = {name: at for name, at in self._next.items() if at > now}
        self._next[source] = due + 1.0 / rate
        return 0.0


class Accept:
    """Takes changes for all orgs of a process; concurrent ones share a commit."""

    def __init__(
        self,
        store: AcceptStore,
        lookup: LookupStore,
        sealer: Sealer,
        clock: Clock,
        notices: Notices,
        orgs: Mapping[str, Intake],
        fatal: Callable[[str], None],
        meter: Meter | None = None,
    ) -> None:
        """``fatal`` is told why the process must end: a commit failed and its effect is not known."""
        self._store, self._lookup, self._sealer, self._clock = store, lookup, sealer, clock
        self._notices, self._orgs = notices, orgs
        self._meter = meter or Unmetered()
        self._rates, self._rates_of_checks = SourceRates(), SourceRates()
        self._rates_of_writes = SourceRates()
        self._commits = Commits(store, sealer, clock, fatal)
        self._backlog: dict[str, tuple[float, int]] = {}
        self._held_up: Callable[[str], float] = lambda org: 0.0

    def ask_before_waiting(self, held_up: Callable[[str], float]) -> None:
        """``held_up`` gives the seconds for which nothing of an org can be sent."""
        self._held_up = held_up

    def full(self) -> bool:
        """Whether the last commit found no room on the disk, not long ago."""
        return self._commits.full()

    async def accept(self, caller: Caller, request: Request) -> Taken:
        """Check, seal and commit ``request``.

        Raises ``NotAccepted``, ``StoreFull`` and ``StoreLost``; then it is not stored, as far as is known.
        """
        started = self._clock.monotonic()
        try:
            taken = await self._accept(caller, request)
        except Exception as error:
            self._meter.accept_ended(request.org, code_of(error), self._clock.monotonic() - started)
            raise
        result = "replayed" if taken.replayed else "accepted"
        self._meter.accept_ended(request.org, result, self._clock.monotonic() - started)
        return taken

    async def _accept(self, caller: Caller, request: Request) -> Taken:
        intake = self._orgs[request.org]
        self._may_go_on(caller)
        if not request.admitted:
            self._admit(self._rates, caller, intake)
        if not caller.rules.believe_clock:
            request = replace(request, changed_at=None)
        self._check(caller, request, intake)
        if not request.admitted:
            await self._check_backlog(request.org, intake)
        item = self._seal(caller, request, intake)
        verdict = await self._commits.add(item)
        if isinstance(verdict, Stopped) and verdict.now:
            log.warning("source.stopped", source=caller.name, hint=f"passferry access resume {caller.name}")
        refused = refusal(verdict)
        if refused is not None:
            raise refused
        change_id = verdict.change_id if isinstance(verdict, Replayed) else item.id
        if isinstance(verdict, Accepted):
            if verdict.replaces is not None:
                self._notices.announce(verdict.replaces)
            self._notices.accepted(request.org)
        change = await self._lookup.change(change_id) if isinstance(verdict, Replayed) else _fresh(item)
        if change is None:  # it ended and was pruned long ago, under a key that was kept
            raise NotAccepted("idempotency.key.reused", "The change of this Idempotency-Key is gone.")
        return Taken(change, isinstance(verdict, Replayed))

    async def admit_change(self, caller: Caller, org: str) -> None:
        """Let ``caller`` send a change that will be ``Request.admitted``, once what goes before it is done.

        A source that is too fast, or a queue that is full, is told before anything is done. Raises
        ``NotAccepted`` and ``StoreFull``.
        """
        try:
            self._may_go_on(caller)
            self._admit(self._rates, caller, self._orgs[org])
            await self._check_backlog(org, self._orgs[org])
        except Exception as error:
            self._meter.accept_ended(org, code_of(error), 0.0)
            raise

    def check(
        self, caller: Caller, org: str, user: Reference | None, password: Password
    ) -> Sequence[Violation]:
        """The policy's verdict, as a change would get it. Raises ``NotAccepted`` when it is asked too fast.

        It may ask as often as it may send, and what it asks takes nothing from what it sends.
        """
        self.admit_look(caller, org)
        return self.violations(org, user, password)

    def admit_look(self, caller: Caller, org: str) -> None:
        """Let ``caller`` ask something, as often as ``check``. Raises ``NotAccepted``."""
        self._admit(self._rates_of_checks, caller, self._orgs[org])

    def admit(self, caller: Caller, org: str) -> None:
        """Let ``caller`` change something at the target that is no password.

        It may as often as it may send, and takes nothing from what it sends. Raises ``NotAccepted``.
        """
        if caller.stopped_at is not None:
            raise stopped()
        self._admit(self._rates_of_writes, caller, self._orgs[org])

    def spare(self, caller: Caller, org: str, *names: str) -> None:
        """Raise ``NotAccepted`` when the user with these ``names`` is one that ``caller`` may not touch."""
        if names_one(self.never(caller, org), *names):
            raise protected()

    def never(self, caller: Caller, org: str) -> frozenset[str]:
        """The folded names of the users that ``caller`` may not touch."""
        return self._orgs[org].never | caller.rules.never

    def violations(self, org: str, user: Reference | None, password: Password) -> Sequence[Violation]:
        """The policy's verdict, as a change would get it."""
        return check(password, _name_in(user), self._orgs[org].rules)

    async def wait(self, change_id: str, seconds: float) -> Change:
        """The change once it ended or is parked; earlier when nothing can happen within ``seconds``."""
        deadline = self._clock.monotonic() + seconds
        async with self._notices.of(change_id) as news:
            while True:
                news.clear()
                change = await self._lookup.change(change_id)
                if change is None:
                    raise LookupError(change_id)
                left = deadline - self._clock.monotonic()
                if left <= 0 or change.state not in (State.PENDING, State.DELIVERING):
                    return change
                if change.state is State.PENDING and self._beyond(change, left):
                    return change
                try:
                    async with asyncio.timeout(min(left, max(1.0, self._notices.waiting / LOOKS))):
                        await news.wait()
                except TimeoutError:
                    pass  # looked at again: a command beside this process announces nothing here

    async def close(self) -> None:
        """Refuse new changes and finish the commits under way."""
        await self._commits.close()

    def _may_go_on(self, caller: Caller) -> None:
        if self._commits.closed:
            raise shutting_down()
        if caller.stopped_at is not None:
            raise stopped()

    def _beyond(self, change: Change, left: float) -> bool:
        due = (change.next_attempt_at or 0.0) - self._clock.now()
        return max(due, self._held_up(change.org)) > left

    def _admit(self, rates: SourceRates, caller: Caller, intake: Intake) -> None:
        rate = caller.rules.rate or intake.source_rate
        wait = rates.admit(caller.name, rate, self._clock.monotonic())
        if wait > 0:
            raise NotAccepted("source.too.fast", "This source sends too fast.", retry_after=wait)

    def _check(self, caller: Caller, request: Request, intake: Intake) -> None:
        latest = self._clock.now() + caller.rules.clock_ahead
        if request.changed_at is not None and request.changed_at > latest:
            raise NotAccepted("changed.at.future", "changedAt is too far ahead of the gateway's clock.")
        self.spare(caller, request.org, request.user.value, request.user_name or request.user.value)
        violations = check(request.password, _name_in(request.user), intake.rules)
        if violations:
            raise NotAccepted("policy", "The password breaks the policy.", violations=violations)

    async def _check_backlog(self, org: str, intake: Intake) -> None:
        now = self._clock.monotonic()
        due, size = self._backlog.get(org, (now, 0))
        if now >= due:
            self._backlog[org] = (now + 1.0, size)  # one caller looks, the others go on with the last figure
            size = await self._store.backlog(org, intake.queue_limit)
            room = (intake.queue_limit - size) / FASTEST
            self._backlog[org] = (now + min(max(1.0, room), 60.0), size)
        if size >= intake.queue_limit:
            raise NotAccepted("queue.full", "Too many changes are waiting.", retry_after=30)

    def _seal(self, caller: Caller, request: Request, intake: Intake) -> NewChange:
        now = self._clock.now()
        change_id = uuid.uuid4().hex
        binding = Binding("password", request.org, request.user.value, change_id)

        def sealed() -> bytes:
            return self._sealer.seal(request.password.reveal().encode(), binding)

        return NewChange(
            id=change_id,
            org=request.org,
            user=request.user,
            source=caller.name,
            sealed=sealed(),
            now=now,
            expires_at=now + intake.time_to_live,
            changed_at=request.changed_at,
            arrived_at=request.arrived_at,
            bulk=request.bulk or caller.rules.bulk,
            never=self.never(caller, request.org),
            most_an_hour=caller.rules.most_an_hour,
            idempotency_key=request.idempotency_key,
            body_mac=self._body_mac(request) if request.idempotency_key is not None else b"",
            same=lambda live: self._same(live, request.password),
            anew=sealed,
        )

    def _body_mac(self, request: Request) -> bytes:
        fields = [request.user.kind, request.user.value, request.password.reveal(), request.changed_at]
        return self._sealer.mac("idempotency", json.dumps(fields).encode())

    def _same(self, live: Change, password: Password) -> bool:
        if live.sealed is None:
            return False
        binding = Binding("password", live.org, live.user.value, live.id)
        try:
            stored = Password(self._sealer.open(live.sealed, binding).decode())
        except (SealBroken, UnknownKey):
            return False
        return stored.same_as(password)


def _name_in(user: Reference | None) -> str | None:
    """The name that a password must not contain."""
    return user.value if user is not None and user.kind == "userName" else None


def _fresh(item: NewChange) -> Change:
    return Change(
        id=item.id,
        org=item.org,
        seq=0,
        user=item.user,
        source=item.source,
        state=State.PENDING,
        accepted_at=item.now,
        updated_at=item.now,
        expires_at=item.expires_at,
        next_attempt_at=item.now,
        bulk=item.bulk,
    )
