"""One change's way to the target: one try.

Who is it → is nothing in the way → read → slot → intent → open → write → outcome. What outcomes lead to is in
``outcomes``.
"""

import asyncio
from dataclasses import replace

import structlog

from passferry.domain.change import Change, Evidence, State
from passferry.domain.outcome import AFTER, OF_A_REPEAT, Kind, Next, Outcome, unmoved
from passferry.domain.paging import Listed
from passferry.domain.password import Password
from passferry.domain.scim import User
from passferry.gate import GateClosed
from passferry.outcomes import Outcomes
from passferry.ports import (
    BULK_LISTED_WRITE,
    BULK_READ,
    BULK_WRITE,
    LISTED_WRITE,
    READ,
    WRITE,
    Binding,
    SealBroken,
    UnknownKey,
)
from passferry.store_ports import Delivered, StoreFull, StoreLost
from passferry.tools import Tools
from passferry.verifiers import Verifiers
from passferry.whom import Whom

log = structlog.get_logger("passferry.deliver")

INTENT_FRESH = 1.0
"""Seconds after its intent within which a send must start."""
KEY_MISSING = 30.0
"""Seconds until a change whose key is not in the ring is looked at again."""
HASH_WAIT = 2.0
"""Seconds for which an outcome that is known waits for its verifier, to be committed with it."""
DRY_RUN = "dry.run"
"""The code of a change that would have been written, were its org not in a dry run."""


class Attempts:
    """The tries of one org's changes."""

    def __init__(self, org: str, tools: Tools, outcomes: Outcomes, verifiers: Verifiers) -> None:
        self.org = org
        self._t = tools
        self._outcomes = outcomes
        self._verifiers = verifiers
        self._whom = Whom(tools.target, tools.clock, tools.random)
        self._busy_ids: set[str] = set()
        self._intents: dict[str, tuple[float, float]] = {}  # of users in doubt: when, by both clocks

    async def bring(self, change: Change, listed: Listed | None = None) -> None:
        """One try. Never raises: what goes wrong is the change's outcome, or logged.

        ``listed`` is the user as a page of all users showed it.
        """
        try:
            await self._try(change, listed)
        except (GateClosed, asyncio.CancelledError):
            pass  # nothing was sent; it is due again after the next start
        except StoreFull as full:
            log.warning("store.full", org=self.org, change=change.id, reason=str(full))
            await asyncio.sleep(1.0)
        except StoreLost as lost:
            self._t.fatal(str(lost))
        except Exception as error:  # noqa: BLE001  # one change's defect must not stop the org; no text: it may quote
            log.error("delivery.defect", org=self.org, change=change.id, kind=type(error).__name__)
            await asyncio.sleep(5.0)
        finally:
            self._outcomes.to_finish.discard(change.id)
            if listed is not None:
                listed.waits, listed.done = False, True

    async def _try(self, change: Change, listed: Listed | None) -> None:
        t = self._t
        resolved = await self._resolved(change, listed)
        if isinstance(resolved, Outcome):
            await self._outcomes.settle(change, change, resolved)
            return
        standing = await t.store.resolve(change.id, resolved, t.clock.now(), t.barred)
        if standing.change is None:
            t.notices.announce(change)
            return
        change = standing.change
        if listed is not None and not self._is_for(change, listed.user):
            return  # it came out meanwhile that it is somebody else's; it is due as before
        doubt = self._in_doubt(resolved, standing.intent_at)
        if resolved in self._busy_ids or doubt > 0.0:
            await self._postpone(change, doubt)
            return
        self._busy_ids.add(resolved)
        try:
            if listed is not None:
                await self._write_listed(change, listed, standing.delivered)
            else:
                await self._read_and_write(change, resolved, standing.delivered)
        finally:
            self._busy_ids.discard(resolved)

    async def _resolved(self, change: Change, listed: Listed | None) -> str | Outcome:
        if listed is not None and change.user.kind == "userName" and change.resolved_id is None:
            return listed.user.id  # the name is the user's: it was compared when the page was read
        return await self._whom.is_(change.user, change.resolved_id, _read_priority(change))

    async def _read_and_write(self, change: Change, resolved: str, delivered: Delivered | None) -> None:
        t = self._t
        user = await t.target.read(resolved, _read_priority(change))
        obstacle = self._obstacle(change, user) if isinstance(user, User) else user
        if obstacle is None and t.dry_run:
            obstacle = Outcome(Kind.DRY_RUN, DRY_RUN)
        if isinstance(user, User) and obstacle is None:
            await t.gate.slot(BULK_WRITE if change.bulk else WRITE)
            await self._write(change, user, user.version, delivered)
        elif obstacle is not None:
            await self._outcomes.settle(change, change, obstacle)

    async def _write_listed(self, change: Change, listed: Listed, delivered: Delivered | None) -> None:
        """Write to a user of a page, while what it showed is fresh; else the change is due as before."""
        t, user = self._t, listed.user
        if t.dry_run:
            listed.served = True
            await self._outcomes.settle(change, change, Outcome(Kind.DRY_RUN, DRY_RUN))
            return
        try:
            async with asyncio.timeout(listed.until - t.clock.monotonic()):
                await t.gate.slot(BULK_LISTED_WRITE if change.bulk else LISTED_WRITE)
        except TimeoutError:
            return
        finally:
            listed.waits = False
        if t.clock.monotonic() > listed.until:
            return
        version = user.version if t.target.conditional else None  # without If-Match it may be an older one
        written = await self._write(change, user, version, delivered)
        listed.conflicted = written is Kind.CONFLICT
        listed.served = written not in (None, Kind.CONFLICT)

    def _is_for(self, change: Change, user: User) -> bool:
        """Whether ``user``, of a page, is still who ``change`` is for, now that it is resolved."""
        resolved = change.resolved_id or ""
        return resolved.casefold() == user.id.casefold() and self._obstacle(change, user) is None

    def _obstacle(self, change: Change, user: User) -> Outcome | None:
        """Why ``user``, as read, must not be written to."""
        name = change.user
        if self._t.barred(change.source, [user.id, user.user_name]):
            return Outcome(Kind.REFUSED, "user.protected")
        if name.kind == "userName" and user.user_name.casefold() != name.value.casefold():
            return Outcome(Kind.HELD, "user.changed")
        if not user.active:
            return Outcome(Kind.BLOCKED, "user.inactive")
        return None

    async def _write(
        self, change: Change, user: User, version: str | None, delivered: Delivered | None
    ) -> Kind | None:
        """Write, the slot for it being granted; what it came to, or None when nothing was sent.

        ``version`` is what the user had before for sure, should the answer be lost.
        """
        t = self._t
        self._outcomes.to_finish.add(change.id)
        started = t.clock.monotonic()
        now = t.clock.now()
        if change.expires_at <= now and t.gate.clock_is_right():
            await self._outcomes.expire()
            return None
        begun = await t.store.begin(change.id, version, now, t.limits.doubt, t.barred)
        if begun is None:
            t.notices.announce(change)
            return None
        if isinstance(begun, float):
            await self._postpone(change, min(begun - now, t.limits.doubt))
            return None
        password = self._open(begun)
        if isinstance(password, Outcome):
            await self._outcomes.settle(change, begun, password, user.version)
            return None
        if t.clock.monotonic() - started > INTENT_FRESH:
            await self._outcomes.settle(
                change, begun, Outcome(Kind.THROTTLED, "intent.stale", retry_after=0.0)
            )
            return None
        hashing = self._verifiers.begin(password)
        try:
            outcome, nxt = await self._sent(change, begun, user, password, now)
            if nxt.state is State.APPLIED:
                verifier = await self._verifiers.of(begun, hashing, within=HASH_WAIT)
                late = hashing is not None and not hashing.done()
                await self._outcomes.settle_as(begun, outcome, nxt, verifier)
                if late:  # waited for here, so that no more is written than can be hashed in the long run
                    await self._verifiers.add(begun, hashing)
                return outcome.kind
        finally:
            if hashing is not None:
                hashing.cancel()
        repeat = outcome.code in OF_A_REPEAT and begun.attempts + 1 < t.limits.attempts
        if repeat and delivered is not None and self._verifiers.can_tell(delivered):
            await self._settle_repeat(begun, outcome, nxt, password, delivered)
        else:
            await self._outcomes.settle_as(begun, outcome, nxt)
        return outcome.kind

    async def _sent(
        self, change: Change, begun: Change, user: User, password: Password, intent_at: float
    ) -> tuple[Outcome, Next]:
        """The write itself, and what follows from its answer."""
        t = self._t
        resolved = begun.resolved_id or ""
        mono = t.clock.monotonic()
        for over in [one for one, (_, began) in self._intents.items() if began + t.limits.doubt <= mono]:
            del self._intents[over]
        self._intents[resolved] = (intent_at, mono)
        outcome = await self._send(user, password)
        nxt = self._outcomes.decide(change, outcome, user.version)
        if not nxt.keep_doubt:
            self._intents.pop(resolved, None)
        if nxt.evidence is Evidence.INFERRED:
            outcome = replace(outcome, version=user.version)
        elif nxt.state is State.APPLIED and outcome.version in (None, user.version) and user.version:
            outcome = replace(outcome, version=AFTER + user.version)
        return outcome, nxt

    async def _send(self, user: User, password: Password) -> Outcome:
        try:
            return await self._t.target.write(user, password)
        except Exception as error:  # noqa: BLE001  # whatever broke, the write may have been executed
            kind = type(error).__name__
        log.error("write.defect", org=self.org, kind=kind)
        return Outcome(Kind.UNKNOWN, "no.answer")

    def _open(self, change: Change) -> Password | Outcome:
        binding = Binding("password", self.org, change.user.value, change.id)
        try:
            return Password(self._t.sealer.open(change.sealed or b"", binding).decode())
        except UnknownKey:
            # No attempt of ours was lost on it: the change waits until the ring is whole again.
            return Outcome(Kind.THROTTLED, "key.missing", retry_after=KEY_MISSING)
        except (SealBroken, UnicodeDecodeError):
            return Outcome(Kind.HELD, "seal.broken")

    # --- outcomes ------------------------------------------------------------------------------

    async def _settle_repeat(
        self, begun: Change, outcome: Outcome, nxt: Next, password: Password, delivered: Delivered
    ) -> None:
        """Settle a change that was not taken, perhaps because its password is the one in place.

        To know takes a comparison, which may wait for others' hashes; the answer must not: until it is
        committed, nobody else can tell it from a lost one.
        """
        t = self._t
        known = Next(State.PENDING, t.clock.now(), error=nxt.error)
        change = await self._outcomes.settle_as(begun, outcome, known)
        self._outcomes.to_finish.discard(change.id)  # whoever takes over may as well begin it anew
        if change.state is not State.PENDING:
            return
        same = await self._verifiers.is_of(delivered, password)
        if same is None:
            return
        if same:  # what was read before the write may be minutes old, or of a list
            user = await t.target.read(delivered.resolved_id, _read_priority(change))
            if isinstance(user, Outcome):
                await self._outcomes.settle(change, change, user)
                return
            if unmoved(delivered.version, user.version):
                outcome = Outcome(Kind.APPLIED, "password.unchanged", version=user.version)
                nxt = Next(State.APPLIED, evidence=Evidence.INFERRED)
        await self._outcomes.settle_as(change, outcome, replace(nxt, counts=False, concluded=True))

    def _in_doubt(self, resolved: str, intent_at: float | None) -> float:
        """Seconds for which a send to the user that began at ``intent_at`` may still be executed.

        One of our own is measured by the monotonic clock: the other may have been set meanwhile.
        """
        if intent_at is None:
            self._intents.pop(resolved, None)
            return 0.0
        clock, doubt = self._t.clock, self._t.limits.doubt
        at, began = self._intents.get(resolved, (None, 0.0))
        if at == intent_at:
            return began + doubt - clock.monotonic()
        return min(intent_at - clock.now(), 0.0) + doubt

    async def _postpone(self, change: Change, wait: float) -> None:
        """Another send to the same user may still be executed, for ``wait`` seconds."""
        busy = Outcome(Kind.THROTTLED, "user.busy", retry_after=max(0.5, wait))
        await self._outcomes.settle(change, change, busy)


def _read_priority(change: Change) -> int:
    return BULK_READ if change.bulk else READ
