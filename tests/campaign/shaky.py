"""One process among several, on a bad machine: it pauses anywhere, freezes, loses its database, and dies.

Everything that a process does passes its database or its transport; there it can be held up, and there a
dead one does nothing more.
"""

import asyncio
import contextvars
import json
import random
import weakref
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import httpx2
from sqlalchemy import Connection, Engine

from passferry.adapters.database import Database
from passferry.adapters.sqlite import SqliteDatabase
from passferry.simulator import InProcessTransport, Simulator
from passferry.store_ports import StoreAway

T = TypeVar("T")

HERE: "contextvars.ContextVar[Machine | None]" = contextvars.ContextVar("machine", default=None)
"""Which process a task belongs to; tasks inherit it from who makes them."""
PAUSE = 0.05
"""Virtual seconds that a step is held up at most, so that any other may come in between."""


def own_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let every task of ``loop`` be known to the process that it belongs to."""

    def factory(
        loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **more: Any
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=loop, **more)
        context = more.get("context")
        machine = context.get(HERE) if context is not None else HERE.get()
        if machine is not None:
            machine.tasks.append(weakref.ref(task))
        return task

    loop.set_task_factory(factory)  # type: ignore[arg-type]


class Machine:
    """A process as its surroundings see it: frozen, dead, cut off from its database, or well."""

    def __init__(self, name: str, draw: random.Random) -> None:
        self.name, self.random = name, draw
        self.context = contextvars.copy_context()
        self.context.run(HERE.set, self)
        self.tasks: list[weakref.ref[asyncio.Task[Any]]] = []
        self.dead = False
        self._awake = asyncio.Event()
        self._awake.set()

    @property
    def frozen(self) -> bool:
        """Whether everything in it waits."""
        return not self._awake.is_set()

    def start(self, what: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do ``what`` in this process."""
        if len(self.tasks) > 4096:
            self.tasks = [one for one in self.tasks if (task := one()) is not None and not task.done()]
        return asyncio.get_running_loop().create_task(what, context=self.context)

    async def freeze(self, seconds: float) -> None:
        """Stop between two instructions, and go on later as if no time had passed."""
        self._awake.clear()
        await asyncio.sleep(seconds)
        self._awake.set()

    async def kill(self) -> None:
        """End between two steps: whatever was committed or sent is all that is left."""
        self.dead = True
        self._awake.set()
        while alive := [task for one in self.tasks if (task := one()) is not None and not task.done()]:
            for task in alive:
                task.cancel()
            await asyncio.wait(alive)
        self.tasks.clear()

    async def step(self) -> None:
        """Let others come in between; nothing comes after it in who is dead."""
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.uniform(0.0, PAUSE))
        while self.frozen:
            await self._awake.wait()
        if self.dead:
            raise asyncio.CancelledError


class ShakyDatabase(Database):
    """What one process sees of the database that all share."""

    shared = True

    def __init__(
        self, inner: SqliteDatabase, machine: Machine, committed: Callable[[str, Any], None]
    ) -> None:
        """``committed`` is told each transaction's function and result, before anything else happens."""
        self._inner, self._machine, self._committed = inner, machine, committed
        self.audit_key = inner.audit_key
        self.away = False
        self.lost_commits = 0

    @property
    def engine(self) -> Engine:
        """See the protocol."""
        return self._inner.engine

    @property
    def reader(self) -> Engine:
        """See the protocol."""
        return self._inner.reader

    async def run(self, work: Callable[[Connection], T], *, patient: bool = False) -> T:
        """See the protocol; while it is away, some of what fails was committed all the same."""
        await self._machine.step()
        if self.away and self._machine.random.random() < 0.7:
            raise StoreAway("cut off")
        result = await self._inner.run(work, patient=patient)
        self._committed(work.__qualname__, result)
        await self._machine.step()
        if self.away:
            self.lost_commits += 1
            raise StoreAway("cut off before the answer")
        return result

    async def look(self, work: Callable[[Connection], T]) -> T:
        """See the protocol."""
        return await self.run(work)

    async def checkpoint(self) -> None:
        """There are no files."""

    def close(self) -> None:
        """Others go on with it."""


class ShakyTransport(httpx2.AsyncBaseTransport):
    """Brings requests to the simulator of their host; what a frozen process had handed over goes out late."""

    def __init__(
        self,
        machine: Machine,
        simulators: Mapping[str, Simulator],
        late_writes: Callable[[str], bool],
        sent: Callable[[str], None],
    ) -> None:
        """``late_writes``: whether writes to that host may come late; ``sent`` is told each password."""
        self._machine, self._late_writes, self._sent = machine, late_writes, sent
        self._inner = {host: InProcessTransport(one) for host, one in simulators.items()}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request and its answer, of which a process that was frozen or died hears late or never."""
        machine, host = self._machine, request.url.host
        password = _password(await request.aread())
        if machine.frozen and (password is None or self._late_writes(host)):
            # The time limit of the request passes, and does not recall what goes out when it thaws.
            sending = machine.start(self._send(request, password))
            sending.add_done_callback(_heard)
            response = await asyncio.shield(sending)
        else:
            response = await self._send(request, password)
        await machine.step()
        return response

    async def _send(self, request: httpx2.Request, password: str | None) -> httpx2.Response:
        await self._machine.step()
        response = await self._inner[request.url.host].handle_async_request(request)
        if password is not None and response.status_code != 401:
            self._sent(password)
        return response


def _heard(sending: "asyncio.Task[httpx2.Response]") -> None:
    """Its failure is known, also where nobody waits any more."""
    if not sending.cancelled():
        sending.exception()


def _password(body: bytes) -> str | None:
    """The password in a request, if there is one."""
    if not body.startswith(b"{"):
        return None
    read = json.loads(body)
    value = read.get("password", read.get("newPassword"))
    for operation in read.get("Operations", ()):
        inner = operation.get("value")
        value = inner.get("password") if isinstance(inner, dict) else inner
    return value if isinstance(value, str) else None
