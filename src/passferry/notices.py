"""Who waits for what inside one process: callers for their change, owner loops for work."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from passferry.domain.change import Change


class Notices:
    """Announcements of committed states. Nothing depends on them: who waits looks for itself, too."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._owners: dict[str, asyncio.Event] = {}

    @property
    def waiting(self) -> int:
        """For how many changes somebody waits."""
        return len(self._waiters)

    def owner(self, org: str) -> asyncio.Event:
        """Set when a change of ``org`` was accepted or its state was changed from outside."""
        return self._owners.setdefault(org, asyncio.Event())

    def accepted(self, org: str) -> None:
        """Wake the owner of ``org``."""
        self.owner(org).set()

    def announce(self, change: Change) -> None:
        """Wake whoever waits for ``change``, or for the one that it superseded."""
        for event in self._waiters.get(change.id, ()):
            event.set()

    def wake_all(self) -> None:
        """Wake everybody: a pause or a wait of a whole org became known."""
        for events in self._waiters.values():
            for event in events:
                event.set()

    @asynccontextmanager
    async def of(self, change_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever ``change_id`` was announced."""
        event = asyncio.Event()
        self._waiters[change_id].add(event)
        try:
            yield event
        finally:
            self._waiters[change_id].discard(event)
            if not self._waiters[change_id]:
                del self._waiters[change_id]
