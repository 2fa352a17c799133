"""The use case leases: for which orgs this process delivers, and which of them have something to do.

Where several processes share a database, each says every few seconds that it is alive, and takes its share
of the orgs that nobody alive owns. A dead, frozen or cut-off one loses its orgs when its lease ends. Nothing
depends on that for safety: each owner begins a new epoch, and no intent of an earlier epoch is committed.

Idle orgs cost one statement for all of them: an org's owner loop sleeps until it is woken from here.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

import structlog

from passferry.deliver import Delivery
from passferry.notices import Notices
from passferry.ports import Clock
from passferry.store_ports import DeliveryStore, LeaseStore, OrgNews, Roll, StoreFull, StoreLost, Worker

log = structlog.get_logger("passferry.leases")

BEAT = 3.0
"""Seconds between two signs of life."""
LEASE = 12.0
"""Seconds without a sign of life after which a worker owns nothing any more."""
OUT_OF_TOUCH = 10.0
"""Seconds without a good round after which nobody should send changes here: more than the 8 s for which a
transaction may wait for a lock of a busy database, less than a lease, after which others deliver."""


class OthersAlive(Exception):
    """Other workers use the database."""

    def __init__(self, names: Collection[str]) -> None:
        """``names``: host and process of each."""
        super().__init__(", ".join(sorted(names)))


@dataclass(frozen=True, slots=True)
class _Running:
    delivery: Delivery
    stop: asyncio.Event
    task: "asyncio.Task[None]"


class Leases:
    """The orgs of one process, and their owner loops."""

    def __init__(
        self,
        store: LeaseStore,
        worker: Worker | None,
        orgs: Collection[str],
        start: Callable[[str], Delivery],
        clock: Clock,
        notices: Notices,
        fatal: Callable[[str], None],
        *,
        poll: float = 1.0,
    ) -> None:
        """``worker`` None: no other process can deliver, and all of ``orgs`` are ours.

        Args:
            store: leases and news.
            worker: who we are.
            orgs: those that are configured.
            start: makes the owner loop of an org.
            clock: for leases; the same for all workers.
            notices: wakes owner loops.
            fatal: told why the process must end.
            poll: seconds between two looks for what nobody announces.
        """
        self._store, self._worker, self._orgs, self._start = store, worker, tuple(orgs), start
        self._clock, self._notices, self._fatal, self._poll = clock, notices, fatal, poll
        self._running: dict[str, _Running] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._news: dict[str, OrgNews] = {}
        self._beaten_at = float("-inf")
        self._in_touch_at = clock.monotonic()
        self._left_over: set[str] = set()  # free orgs beyond our share, which others had time to take
        self._adopted: set[str] = set()  # and which nobody took
        self._alive = 0

    @property
    def deliveries(self) -> dict[str, Delivery]:
        """The owner loops of the orgs that are ours now."""
        return {org: running.delivery for org, running in self._running.items()}

    def out_of_touch(self) -> bool:
        """Whether the store has not answered for so long that this is no moment's trouble."""
        return self._clock.monotonic() - self._in_touch_at > OUT_OF_TOUCH

    def owns(self, org: str) -> bool:
        """Whether ``org`` is ours, as far as we know."""
        return org in self._running

    def paused(self, org: str) -> str | None:
        """Why nothing of ``org`` is delivered, as far as is known here."""
        mine, news = self._running.get(org), self._news.get(org)
        if mine is not None:
            return mine.delivery.health.paused
        return news.state.paused if news is not None else None

    def held_up(self, org: str) -> float:
        """Seconds for which nothing of ``org`` can be sent, as far as is known here."""
        mine = self._running.get(org)
        if mine is not None:
            return mine.delivery.held_up()
        news = self._news.get(org)
        if news is None:
            return 0.0
        return float("inf") if news.state.paused else max(0.0, news.state.blocked_until - self._clock.now())

    async def hold(self, delivery: DeliveryStore) -> None:
        """Park all that is pending, before anything is delivered: after a back-up was restored.

        Every org is ours first, and its earlier owners are fenced off: nobody sends meanwhile. Cut short, it
        goes on when it is done again. Raises ``OthersAlive`` (nothing was parked), and ``StoreFull``.
        """
        try:
            while self._worker is not None and not await self._owns_all(self._worker):
                pass  # somebody else has an org's row for a moment
            for org in self._orgs:
                await delivery.take(org)
                held, parked = 0, 1
                while parked:
                    parked = await delivery.hold(org, self._clock.now())
                    held += parked
                    if self._worker is not None:
                        await self._store.beat(self._worker, self._clock.now(), LEASE)
                log.warning("held", org=org, changes=held)
        except BaseException:
            if self._worker is not None:
                with suppress(StoreFull):
                    await self._store.leave(self._worker)
            raise

    async def _owns_all(self, worker: Worker) -> bool:
        """Claim all orgs; whether they are ours. Raises ``OthersAlive``."""
        # Claimed first: whoever does not find us alive yet is found alive by us.
        await self._store.claim(worker, self._orgs, self._clock.now(), LEASE)
        roll = await self._store.beat(worker, self._clock.now(), LEASE)
        others = [name for key, name in roll.alive.items() if key != worker.id]
        if others:
            raise OthersAlive(others)
        return all(roll.owners.get(org) == worker.id for org in self._orgs)

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop``; then finish what is being sent, and give up every org.

        Whoever cannot go on ends the process: accepting for nobody would look like working.
        """
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._guarded_round()
                await asyncio.wait([stopping], timeout=self._poll)
        except Exception as error:  # noqa: BLE001  # no text of it: it may quote
            kind = type(error).__name__
        else:
            await self._leave()
            return
        finally:
            stopping.cancel()
        self._fatal(f"delivery ended: {kind}")

    async def _guarded_round(self) -> None:
        try:
            await self._round()
            self._in_touch_at = self._clock.monotonic()
        except StoreFull as full:
            log.warning("store.full", reason=str(full))
        except StoreLost as lost:
            self._fatal(str(lost))

    async def _round(self) -> None:
        if self._worker is None:
            for org in self._orgs:
                self._begin(org)
        elif self._clock.monotonic() - self._beaten_at >= BEAT:
            await self._beat(self._worker)
        before, self._news = self._news, await self._store.news(self._clock.now())
        for org, running in list(self._running.items()):
            was, now = before.get(org), self._news.get(org)
            if _changed(was, now) or (now and (now.late or (now.due and running.delivery.held_up() <= 0))):
                self._notices.owner(org).set()

    # --- whose orgs they are -------------------------------------------------------------------

    async def _beat(self, worker: Worker) -> None:
        roll = await self._store.beat(worker, self._clock.now(), LEASE)
        self._beaten_at = self._clock.monotonic()
        if len(roll.alive) != self._alive:
            self._alive = len(roll.alive)
            self._adopted.clear()
        mine = {org for org in self._orgs if roll.owners.get(org) == worker.id}
        for org in [org for org, each in self._running.items() if org not in mine or each.task.done()]:
            log.warning("lease.lost", org=org, owner=roll.owners.get(org))
            self._end(org)
        wanted = self._wanted(roll, len(mine))
        if wanted:
            mine |= set(await self._store.claim(worker, wanted, self._clock.now(), LEASE))
        for org in sorted(mine - set(self._ending)):
            self._begin(org)
        share = _share(len(self._orgs), len(roll.alive))
        for org in sorted(set(self._running) - self._adopted)[share:]:
            self._end(org, worker)

    def _wanted(self, roll: Roll, mine: int) -> list[str]:
        """Orgs to take: our share of those that nobody owns, and any that nobody took since the last beat."""
        free = [org for org in self._orgs if org in roll.owners and roll.owners[org] is None]
        room = max(0, _share(len(self._orgs), len(roll.alive)) - mine)
        adopted = [org for org in free[room:] if org in self._left_over]
        self._adopted.update(adopted)
        self._left_over = set(free[room:]) - self._adopted
        return free[:room] + adopted

    def _begin(self, org: str) -> None:
        if org in self._running:
            return
        delivery, stop = self._start(org), asyncio.Event()
        self._running[org] = _Running(delivery, stop, asyncio.create_task(delivery.run(stop)))

    def _end(self, org: str, worker: Worker | None = None) -> None:
        """Stop the owner loop of ``org``; with ``worker``, then give up its lease."""
        running = self._running.pop(org)
        running.stop.set()
        self._ending[org] = asyncio.create_task(self._ended(org, running, worker))

    async def _ended(self, org: str, running: _Running, worker: Worker | None) -> None:
        await asyncio.wait([running.task])
        try:
            if worker is not None:
                await self._store.release(worker, [org])
        except StoreFull:
            log.warning("lease.kept", org=org)  # we begin again at the next beat, or the lease ends
        finally:
            del self._ending[org]

    async def _leave(self) -> None:
        for org in list(self._running):
            self._end(org)
        if self._ending:
            await asyncio.wait(set(self._ending.values()))
        if self._worker is not None:
            try:
                await self._store.leave(self._worker)
            except StoreFull:
                log.warning("lease.kept")


def _changed(was: OrgNews | None, now: OrgNews | None) -> bool:
    return (was.state if was else None) != (now.state if now else None)


def _share(orgs: int, workers: int) -> int:
    return -(-orgs // max(1, workers))
