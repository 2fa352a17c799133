"""``python -m process.seams ARGUMENTS`` is ``passferry ARGUMENTS`` that dies between two of its steps.

The product has no hook for it: the places where it touches the world are wrapped from outside. A point lies
after each statement that writes, each commit, each part of a request to a target and of an answer to a
caller, each seal, each hash, each step of the key ring's file. Where nothing but memory changed since the
last point there is none: to die there is the same death. Verifiers are made at a cost that is for tests only.

Environment: ``SEAMS_TRACE`` names a file that gets every point that is passed, ``SEAMS_DIE`` is the point,
``NAME #TURN``, at which the process kills itself.
"""

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

RING = {
    "_write_synced": "new file written",
    "sync": "folder synced",
    "_write_new": "made",
    "_replace": "replaced",
    "replace": "old file overwritten",
}
REQUEST: ContextVar[str] = ContextVar("request", default="")
PARTS = {
    "connection.connect_tcp.complete": "connected",
    "http11.send_request_headers.complete": "half sent",
    "http11.send_request_body.complete": "sent",
    "http11.receive_response_headers.complete": "half answered",
    "http11.receive_response_body.complete": "answered",
}


class Points:
    """Counts what is passed, writes it down, and kills the process at the point that was asked for."""

    def __init__(self, trace: str, die: str) -> None:
        self._file = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if trace else None
        self._die, self._lock = die, threading.Lock()
        self._turns: Counter[str] = Counter()

    def passed(self, name: str) -> None:
        """The process is at the point ``name``, for the next time."""
        with self._lock:
            self._turns[name] += 1
            point = f"{name} #{self._turns[name]}"
            if self._file is not None:
                os.write(self._file, point.encode() + b"\n")  # the kernel has it: it outlives the process
            if point == self._die:
                os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()  # never returns


POINTS = Points(os.environ.get("SEAMS_TRACE", ""), os.environ.get("SEAMS_DIE", ""))
passed = POINTS.passed


# --- the store ---------------------------------------------------------------------------------


class _Transaction(threading.local):
    name = "start"
    writes = 0


NOW = _Transaction()
"""The transaction of this thread, and how many statements in it wrote."""


def _named(work: Callable[..., Any]) -> str:
    """The method of a store that made ``work``: ``SqlDeliveryStore.begin.<locals>.work`` is ``begin``."""
    return work.__qualname__.partition(".<locals>")[0].rpartition(".")[2].strip("_")


def wrap_store() -> None:
    """Points after each writing statement, around each commit, and when the caller has the result.

    Every transaction has a commit of its own: which of them share one is a matter of luck, and no step.
    """
    from passferry.adapters import sqlite
    from passferry.adapters.postgres import PostgresDatabase
    from passferry.adapters.prepared import Prepared

    sqlite.TOGETHER = 1
    _wrap_run(sqlite.SqliteDatabase, "run")
    _wrap_run(PostgresDatabase, "run_of")
    events: Any = event  # it has no types
    events.listen(Engine, "after_cursor_execute", lambda c, cursor, statement, *_: _executed(statement))
    execute = Prepared._execute

    def prepared(connection: Any, sql: str, parameters: Any, *, many: bool = False) -> Any:
        result = execute(connection, sql, parameters, many=many)
        _executed(sql)
        return result

    Prepared._execute = staticmethod(prepared)  # type: ignore[method-assign]
    commit: Any = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, connection: Any) -> None:
        name, writes = NOW.name, NOW.writes
        commit(self, connection)
        NOW.name, NOW.writes = "start", 0
        if writes:
            passed(f"{name}: committed")

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


def _wrap_run(database: Any, method: str) -> None:
    plain = getattr(database, method)

    async def run(self: Any, *arguments: Any, patient: bool = False) -> Any:
        *org, work = arguments
        name, wrote = _named(work), []

        def named(connection: Any) -> Any:
            NOW.name, NOW.writes = name, 0
            try:
                result = work(connection)
                wrote.append(NOW.writes)
            except BaseException:
                NOW.name, NOW.writes = "start", 0
                raise
            return result

        result = await plain(self, *org, named, patient=patient)
        if any(wrote):
            passed(f"{name}: heard of")
        return result

    setattr(database, method, run)


def _executed(statement: str) -> None:
    words = statement.split(maxsplit=4)
    if words[0] in ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER"):
        NOW.writes += 1
        name = words[1] if words[0] == "UPDATE" else words[2]
        passed(f"{NOW.name}: {words[0]} {name}")


# --- requests to the target --------------------------------------------------------------------


def _role(method: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.path.endswith("/oauth/token"):
        return "token"
    if method == "GET":
        return "lookup" if "filter=" in parts.query else "read"
    return "write"


def wrap_requests() -> None:
    """Points within each request: what is on its way, and what has come back and was not looked at yet."""
    from passferry.adapters import http_client

    plain = http_client.exchange

    async def exchange(client: Any, method: str, url: str, **more: Any) -> Any:
        token = REQUEST.set(_role(method, url))
        try:
            return await plain(client, method, url, **more)
        finally:
            REQUEST.reset(token)

    for user in ("bearer", "oauth"):
        using: Any = import_module(f"passferry.adapters.{user}")
        using.exchange = exchange
    progress: Any = http_client._Progress
    told = progress.__call__

    async def tell(self: Any, name: str, info: Any) -> None:
        await told(self, name, info)
        if name in PARTS and REQUEST.get():
            passed(f"{REQUEST.get()} request: {PARTS[name]}")

    progress.__call__ = tell


# --- answers to callers ------------------------------------------------------------------------

Send = Callable[[Any], Awaitable[None]]


def wrap_answers() -> None:
    """Points when a change came in, when half of its answer has left, and when all of it has."""
    server: Any = import_module("passferry.entrypoints.http_server")
    plain = server.app

    def app(parts: Any, **how: Any) -> Any:
        inner = plain(parts, **how)

        async def outer(scope: Any, receive: Any, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].endswith("/sync/password"):
                await inner(scope, receive, send)
                return

            async def sending(message: Any) -> None:
                await send(message)
                whole = message["type"] == "http.response.body" and not message.get("more_body")
                passed("caller: answered" if whole else "caller: half answered")

            passed("caller: asks")
            await inner(scope, receive, sending)

        return outer

    server.app = app


# --- secrets -----------------------------------------------------------------------------------


def wrap_secrets() -> None:
    """Points after each seal and opening, around each hash, and after each step of the key ring's file."""
    from passferry.adapters import hashing, key_file, keyring

    sealer: Any = key_file.FileSealer
    for verb, done in (("seal", "sealed"), ("open", "opened")):
        setattr(sealer, verb, _sealing(getattr(sealer, verb), done))
    hashing.Argon2Hasher.__init__.__defaults__ = (hashing.FOR_TESTS_ONLY,)
    plain = hashing.Argon2Hasher.hash

    async def hashed(self: Any, password: Any, org: str = "") -> bytes:
        passed("hash: begun")
        verifier = await plain(self, password, org)
        passed("hash: done")
        return verifier

    hashing.Argon2Hasher.hash = hashed  # type: ignore[method-assign]
    for step, name in RING.items():
        setattr(keyring, step, _step(getattr(keyring, step), f"ring: {name}"))


def _sealing(plain: Callable[..., Any], done: str) -> Callable[..., Any]:
    def wrapped(self: Any, value: bytes, binding: Any) -> Any:
        result = plain(self, value, binding)
        passed(f"{binding.purpose}: {done}")
        return result

    return wrapped


def _step(plain: Callable[..., Any], name: str) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        result = plain(*arguments)
        passed(name)
        return result

    return wrapped


def main() -> None:
    """The command."""
    for wrap in (wrap_store, wrap_requests, wrap_answers, wrap_secrets):
        wrap()
    from passferry.entrypoints.cli import main as passferry

    sys.argv[0] = "passferry"
    passed("process: imported")
    passferry()


if __name__ == "__main__":
    main()
