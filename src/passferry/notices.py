"""Who waits for what inside one process: callers for their change, owner loops for work."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from passferry.domain.change import Change


class Elsewhere(Protocol):
    """Passes announcements on to other processes."""

    def accepted(self, org: str) -> None:
        """A change of ``org`` was accepted."""

    def announce(self, change: Change) -> None:
        """The state of ``change`` was committed."""


class Notices:
    """Announcements of committed states. Nothing depends on them: who waits looks for itself, too."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._owners: dict[str, asyncio.Event] = {}
        self.elsewhere: Elsewhere | None = None

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
        if self.elsewhere is not None:
            self.elsewhere.accepted(org)

    def announce(self, change: Change) -> None:
        """Wake whoever waits for ``change``, or for the one that it superseded."""
        self.wake(change.id)
        if self.elsewhere is not None:
            self.elsewhere.announce(change)

    def wake(self, change_id: str) -> None:
        """Wake whoever waits for the change of that id in this process."""
        for event in self._waiters.get(change_id, ()):
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
