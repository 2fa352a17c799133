"""Which transaction is next when more wait than there are connections.

What was begun is finished before something else is begun: a process with work for a thousand orgs would else
look up who is due in all of them, and be late with every write. Among equals the orgs take turns, and an org
has one transaction at a time: others would only wait for its lock, and keep a connection from everybody.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

NO_ORG = ""
"""Of a transaction that need not wait for another."""

_Line = dict[str, "deque[asyncio.Future[None]]"]


class Turns:
    """So many at a time; of one event loop at a time."""

    def __init__(self, many: int) -> None:
        """``many`` transactions may run at once."""
        self._free = many
        self._busy: set[str] = set()
        self._lines: tuple[_Line, _Line] = (
            {},
            {},
        )  # who is prompt, who is patient: by org, whose turn it is first

    @asynccontextmanager
    async def turn(self, org: str, *, patient: bool) -> AsyncIterator[None]:
        """Wait for a turn of ``org``, and have it inside the block."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._lines[patient]
        line.setdefault(org, deque()).append(mine)
        self._give()
        try:
            await mine
            yield
        finally:
            if mine.cancelled():
                self._leave(line, org, mine)
            else:
                self._free += 1
                self._busy.discard(org)
                self._give()

    def _give(self) -> None:
        while self._free and (found := self._next()):
            org, future = found
            self._free -= 1
            if org != NO_ORG:
                self._busy.add(org)
            future.set_result(None)

    def _next(self) -> "tuple[str, asyncio.Future[None]] | None":
        """The first who may begin; the others of its org go to the end of the line."""
        for line in self._lines:
            for org in line:
                if org not in self._busy:
                    waiting = line.pop(org)
                    future = waiting.popleft()
                    if waiting:
                        line[org] = waiting
                    return org, future
        return None

    def _leave(self, line: _Line, org: str, mine: "asyncio.Future[None]") -> None:
        line[org].remove(mine)
        if not line[org]:
            del line[org]
