"""Commits of accepted changes: those that come together share one."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from passferry.domain.accepting import NewChange, Verdict, judge
from passferry.ports import Clock, Sealer
from passferry.refusals import FULL_SECONDS, NotAccepted, no_room, shutting_down, store_lost
from passferry.store_ports import AcceptStore, StaleSeal, StoreAway, StoreBusy, StoreFull, StoreLost

BATCH = 256
"""Changes that share one commit at most."""
GATHER = 0.002
"""Seconds for which changes that come together wait for more, so that they share the cost of one commit."""
QUEUE = 4096
"""Changes that wait for a commit at most, of those that may share one."""

_Item = tuple[NewChange, "asyncio.Future[Verdict]"]


class Commits:
    """A queue for each lane of the store. A lane commits one batch at a time; all of a batch, or nothing."""

    def __init__(
        self, store: AcceptStore, sealer: Sealer, clock: Clock, fatal: Callable[[str], None]
    ) -> None:
        """``fatal`` is told why the process must end: a commit failed and its effect is not known."""
        self._store, self._sealer, self._clock, self._fatal = store, sealer, clock, fatal
        self._queues: dict[str, deque[_Item]] = defaultdict(deque)
        self._committing: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        self._full_at = float("-inf")

    @property
    def closed(self) -> bool:
        """Whether nothing new is taken."""
        return self._closed

    def full(self) -> bool:
        """Whether the last commit found no room on the disk, not long ago."""
        return self._clock.monotonic() - self._full_at < FULL_SECONDS

    async def add(self, item: NewChange) -> Verdict:
        """The store's verdict on ``item``, once it is committed. Raises ``NotAccepted``."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        if self._closed:  # it was closed while the backlog was looked up
            raise shutting_down()
        lane = self._store.lane(item.org)
        queue = self._queues[lane]
        if len(queue) >= QUEUE:
            raise NotAccepted("queue.full", "Too many requests at once.", retry_after=1)
        queue.append((item, future))
        if lane not in self._committing:
            self._committing[lane] = asyncio.create_task(self._commit_all(lane))
        # A caller that goes away does not take the others' commit with it.
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Refuse new changes and finish the commits under way."""
        self._closed = True
        if self._committing:
            await asyncio.wait(self._committing.values())

    async def _commit_all(self, lane: str) -> None:
        queue, together = self._queues[lane], 1
        try:
            while queue:
                if max(together, len(queue)) > 1:  # who comes alone waits for nobody
                    await asyncio.sleep(GATHER)
                batch = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
                together = len(batch)
                await self._commit_batch(batch)
        finally:
            del self._committing[lane]

    async def _commit_batch(self, batch: list[_Item], *, anew: bool = False) -> None:
        try:
            verdicts = await self._store.accept([item for item, _ in batch], judge)
        except StaleSeal as stale:
            await self._commit_anew(batch, str(stale), again=anew)
        except StoreFull as full:
            _fail(batch, self._no_room(full))
        except StoreLost as lost:
            _fail(batch, store_lost())
            self._fatal(str(lost))
        except Exception as error:  # noqa: BLE001  # one item's failure must not fail its neighbours
            if len(batch) == 1:
                _fail(batch, error)
            else:
                for one in batch:
                    await self._commit_batch([one], anew=anew)
        else:
            self._full_at = float("-inf")
            for (_, future), verdict in zip(batch, verdicts, strict=True):
                if not future.done():
                    future.set_result(verdict)

    def _no_room(self, full: StoreFull) -> NotAccepted:
        if not isinstance(full, StoreAway | StoreBusy):
            self._full_at = self._clock.monotonic()
        return no_room(full)

    async def _commit_anew(self, batch: list[_Item], key_id: str, *, again: bool) -> None:
        """The sealing key was replaced by ``key_id`` between seal and commit."""
        if again or not self._sealer.use(key_id):
            _fail(
                batch,
                NotAccepted("key.missing", "The gateway lacks its newest sealing key.", retry_after=30),
            )
        else:
            await self._commit_batch([(_sealed_anew(item), future) for item, future in batch], anew=True)


def _fail(batch: Sequence[_Item], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
            future.exception()  # seen, even if its caller has gone


def _sealed_anew(item: NewChange) -> NewChange:
    return replace(item, sealed=item.anew()) if item.anew is not None else item
