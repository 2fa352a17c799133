"""What tries came to: committed, told to who waits, and heeded for the org as a whole.

What is to be done after an outcome is decided in ``domain.outcome``, purely; this module does it.
"""

import asyncio

import structlog

from passferry.domain.change import Change, State
from passferry.domain.outcome import OUR_OWN, Next, Outcome, decide
from passferry.org_health import OrgHealth, Outage
from passferry.store_ports import StaleSeal, StoreFull
from passferry.tools import Tools
from passferry.verifiers import Verifiers

log = structlog.get_logger("passferry.deliver")


class Outcomes:
    """Those of one org's tries."""

    def __init__(self, org: str, tools: Tools, health: OrgHealth, verifiers: Verifiers) -> None:
        self._org = org
        self._t = tools
        self._health = health
        self._verifiers = verifiers
        self._outage = Outage()
        self.to_finish: set[str] = set()  # ids of changes that came to a write, or to an outcome
        self._noting = self._noted = 0

    @property
    def found_out(self) -> int | None:
        """How often a finding about the org was written down; None while one is."""
        return None if self._noting else self._noted

    async def expire(self) -> None:
        """End what is older than its time to live, as long as answers of the target confirm our clock."""
        t = self._t
        while t.gate.clock_is_right() and (expired := await t.store.expire(self._org, t.clock.now())):
            t.meter.expired(self._org, expired)
            t.notices.wake_all()

    def decide(self, change: Change, outcome: Outcome, version: str | None) -> Next:
        """See ``domain.outcome.decide``; ``version`` of the user is what was read before the try."""
        return decide(change, outcome, self._t.clock.now(), self._t.limits, self._t.random(), version)

    async def settle(
        self, before: Change, tried: Change, outcome: Outcome, version: str | None = None
    ) -> None:
        """Decide by ``before`` (the doubt of earlier tries) and commit on ``tried`` (as stored now)."""
        await self.settle_as(tried, outcome, self.decide(before, outcome, version))

    async def settle_as(
        self, tried: Change, outcome: Outcome, nxt: Next, verifier: bytes | None = None
    ) -> Change:
        """Commit ``outcome``; the change as it stands then.

        ``verifier`` is sealed here, as late as can be: the key may be replaced at any time.
        """
        t = self._t
        self.to_finish.add(tried.id)
        stale: set[str] = set()
        while True:
            sealed = self._verifiers.sealed(tried, verifier) if verifier is not None else None
            try:
                done = await t.store.settle(tried, outcome, nxt, t.clock.now(), sealed)
                break
            except StaleSeal as error:
                if str(error) in stale:  # the ring lacks it: the outcome matters more than its verifier
                    log.error("verifier.failed", org=self._org, change=tried.id)
                    verifier = None
                stale.add(str(error))
                t.sealer.use(str(error))
            except StoreFull as full:  # what the target did is known: it is written down before anything else
                log.warning("store.full", org=self._org, change=tried.id, reason=str(full))
                await asyncio.sleep(1.0)
        log.info(
            "change",
            org=self._org,
            change=done.id,
            state=done.state.value,
            outcome=outcome.kind.value,
            code=outcome.code or None,
            attempts=done.attempts,
            correlation_id=outcome.correlation_id,
        )
        self._count(done, outcome, nxt)
        if not nxt.concluded:
            await self.heed(outcome, change=done)
        t.notices.announce(done)
        return done

    def _count(self, change: Change, outcome: Outcome, nxt: Next) -> None:
        t = self._t
        if not nxt.concluded and outcome.code not in OUR_OWN:
            t.meter.tried(self._org, outcome.kind)
        if change.state is State.APPLIED:
            t.meter.applied(self._org, max(0.0, t.clock.now() - change.accepted_at))

    async def heed(self, outcome: Outcome, change: Change | None = None) -> None:
        """What an outcome says about the org as a whole; ``change`` None: it was no change's."""
        t = self._t
        now, mono, until = t.clock.now(), t.clock.monotonic(), 0.0
        if outcome.code in ("too.many.requests", "token.throttled") or _no_token_before(outcome):
            t.gate.block(outcome.retry_after or 0.0, learn=outcome.code == "too.many.requests")
            until = now + (outcome.retry_after or 0.0)
        before = self._health.paused
        after = before if change is None else self._health.outcome(outcome, change.user.key, mono)
        if until or after != before:
            await self._note_health(before, after, until, now)
            t.notices.wake_all()
        if after != before:
            log.warning("org.paused" if after else "org.resumed", org=self._org, code=after or before)
        if over := self._outage.outcome(outcome, mono):
            log.info("outage.over", org=self._org, woken=await t.store.wake(self._org, over, now))

    async def _note_health(self, before: str | None, after: str | None, until: float, now: float) -> None:
        self._noting += 1
        try:
            await self._t.store.note_health(self._org, before, after, until, now)
        finally:
            self._noting -= 1
            self._noted += 1


def _no_token_before(outcome: Outcome) -> bool:
    return outcome.code == "token.unavailable" and outcome.retry_after is not None
