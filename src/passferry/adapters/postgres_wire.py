"""Word between the processes of one database, by LISTEN and NOTIFY: something was accepted, a change ended.

Nothing depends on it. What is not heard is seen by whoever waits within a second, which is why words are sent
after the commit they tell of, many in one, and none is sent twice: a commit that notifies takes a lock of the
whole server.
"""

import asyncio
from collections.abc import Callable, Iterator

import psycopg
import structlog
from sqlalchemy import Connection, text

from passferry.adapters.database import Database
from passferry.adapters.postgres import SOCKET, is_pooled, psycopg_url
from passferry.domain.change import Change
from passferry.notices import Notices
from passferry.store_ports import StoreFull

log = structlog.get_logger("passferry.wire")

CHANNEL = "passferry"
GATHER = 0.02
"""Seconds for which words are gathered before they are sent together."""
RETRY = 2.0
MOST_BYTES = 7000
"""Of one notification; the server takes 8,000."""
WAITED_FOR = 20.0
"""Seconds after which nobody waits for a change any more."""
_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


class Wire:
    """Sends what this process announces, and announces here what others send."""

    def __init__(
        self, url: str, me: str, database: Database, notices: Notices, owns: Callable[[str], bool]
    ) -> None:
        """``me`` marks our own words; ``owns`` says whether an org is delivered for here."""
        self._url, self._me, self._database, self._notices, self._owns = url, me, database, notices, owns
        self._words: dict[str, None] = {}
        self._some = asyncio.Event()

    def accepted(self, org: str) -> None:
        """Tell the owner of ``org``, if that is another process."""
        if not self._owns(org):
            self._say(f"org {org}")

    def announce(self, change: Change) -> None:
        """Tell whoever may wait for ``change``."""
        if change.updated_at - change.accepted_at < WAITED_FOR:
            self._say(f"change {change.id}")

    def _say(self, word: str) -> None:
        self._words[word] = None
        self._some.set()

    async def run(self) -> None:
        """Until cancelled; a database that is away is tried again."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._send())
            both.create_task(self._listen())

    async def _send(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(GATHER)
            self._some.clear()
            words, self._words = list(self._words), {}
            payloads = [{"channel": CHANNEL, "payload": each} for each in _payloads(self._me, words)]

            def work(c: Connection, payloads: list[dict[str, str]] = payloads) -> None:
                for payload in payloads:
                    c.execute(_NOTIFY, payload)

            try:
                await self._database.run(work)
            except StoreFull:
                await asyncio.sleep(RETRY)
            except Exception as error:  # noqa: BLE001  # word is a help; no text: it may quote an address
                log.error("wire.defect", kind=type(error).__name__)
                await asyncio.sleep(RETRY)

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear_all()
            except Exception as error:  # noqa: BLE001  # as above
                log.warning("wire.cut", kind=type(error).__name__)
            await asyncio.sleep(RETRY)

    async def _hear_all(self) -> None:
        connection = await psycopg.AsyncConnection.connect(psycopg_url(self._url), autocommit=True, **SOCKET)
        async with connection:
            row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
            if row is not None and is_pooled(connection, int(row[0])):
                log.warning(
                    "pooler.found",
                    hint="a pooler stands before the database: who waits may be answered a second late."
                    " Connect to the server itself, or let the pooler keep sessions.",
                )
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            async for notice in connection.notifies():
                self._hear(notice.payload)

    def _hear(self, payload: str) -> None:
        sender, *words = payload.split("\n")
        if sender == self._me:
            return
        for word in words:
            kind, _, name = word.partition(" ")
            if kind == "org":
                self._notices.owner(name).set()
            elif kind == "change":
                self._notices.wake(name)


def _payloads(me: str, words: list[str]) -> Iterator[str]:
    """Texts that hold all ``words``, each short enough for one notification."""
    payload = me
    for word in words:
        if len(payload) + len(word) > MOST_BYTES:
            yield payload
            payload = me
        payload += "\n" + word
    if payload != me:
        yield payload
