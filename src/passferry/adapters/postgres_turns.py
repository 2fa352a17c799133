"""Which transaction is next when more wait than there are connections.

What was begun is finished before something else is begun: a process with work for a thousand orgs would else
look up who is due in all of them, and be late with every write. Delivery begins one transaction of an org at
a time: others would only wait for its lock, and keep a connection from everybody.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

NO_ORG = ""
"""Of a transaction that does not wait for another."""

_Future = asyncio.Future[None]


class Turns:
    """So many at a time; of one event loop at a time."""

    def __init__(self, many: int) -> None:
        """``many`` transactions may run at once."""
        self._free = many
        self._busy: set[str] = set()
        self._prompt: OrderedDict[_Future, str] = OrderedDict()  # by when they came
        self._patient: OrderedDict[str, deque[_Future]] = OrderedDict()  # orgs in rotation

    @asynccontextmanager
    async def turn(self, org: str, *, patient: bool) -> AsyncIterator[None]:
        """Wait for a turn of ``org``, and have it inside the block."""
        mine: _Future = asyncio.get_running_loop().create_future()
        if patient:
            self._patient.setdefault(org, deque()).append(mine)
        else:
            self._prompt[mine] = org
        self._give()
        try:
            await mine
            yield
        finally:
            if not mine.cancelled():  # else it was cancelled in line, and ``_give`` drops it
                self._free += 1
                self._busy.discard(org)
                self._give()

    def _give(self) -> None:
        while self._free and (found := self._next()) is not None:
            org, future = found
            if future.done():
                continue
            self._free -= 1
            if org != NO_ORG:
                self._busy.add(org)
            future.set_result(None)

    def _next(self) -> tuple[str, _Future] | None:
        """The first who may begin, out of line."""
        for future, org in self._prompt.items():
            if org not in self._busy:
                del self._prompt[future]
                return org, future
        for org, waiting in self._patient.items():
            if org not in self._busy:
                future = waiting.popleft()
                if waiting:
                    self._patient.move_to_end(org)
                else:
                    del self._patient[org]
                return org, future
        return None
