"""A look into a PostgreSQL database that changes nothing: its transaction is read-only."""

from dataclasses import dataclass
from typing import Any

import psycopg

from passferry.adapters import schema
from passferry.adapters.database_look import CALLERS, CannotLook, Look, callers
from passferry.adapters.postgres import SOCKET, hint, is_pooled, psycopg_url

_SERVER = (
    "SELECT current_setting('server_version_num')::int, current_setting('fsync'),"
    " extract(epoch FROM clock_timestamp())::float8,"
    " pg_backend_pid(), to_regclass('meta') IS NOT NULL, to_regclass('workers') IS NOT NULL"
)
_KEYS = "SELECT sealed_key FROM changes WHERE live UNION SELECT verifier_key FROM accounts"


@dataclass(frozen=True, slots=True)
class Server:
    """What was found. ``now`` is its clock in epoch seconds, ``alive`` the names of workers."""

    release: int
    fsync: bool
    now: float
    pooled: bool
    look: Look
    alive: tuple[str, ...] = ()


def look(url: str, lease: float) -> Server:
    """See the module; a worker is alive that was seen within ``lease`` seconds.

    Raises ``CannotLook``, with what to do as its text: the server's words may quote ``url``.
    """
    said = ""
    try:
        with psycopg.connect(psycopg_url(url), **SOCKET) as connection:
            connection.read_only = True
            return _look(connection, lease)
    except (psycopg.Error, ValueError) as error:
        said = str(error)
    raise CannotLook(hint(said))


def _look(connection: psycopg.Connection[Any], lease: float) -> Server:
    [(release, fsync, now, backend, has_meta, has_workers)] = connection.execute(_SERVER).fetchall()
    found = _contents(connection) if has_meta else Look(0)
    alive: tuple[str, ...] = ()
    if has_workers:
        query = "SELECT name FROM workers WHERE seen_at > %s ORDER BY name"
        alive = tuple(name for (name,) in connection.execute(query, (now - lease,)))
    pooled = is_pooled(connection, backend)
    return Server(release // 10_000, fsync == "on", now, pooled, found, alive)


def _contents(connection: psycopg.Connection[Any]) -> Look:
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    version = int(meta.get("version", "0"))
    if version > schema.VERSION or version == 0:
        return Look(version)
    needed = frozenset(key for (key,) in [*connection.execute(_KEYS), (meta.get("sealing_key"),)] if key)
    live = dict(connection.execute("SELECT org, count(*) FROM changes WHERE live GROUP BY org").fetchall())
    paused = dict(connection.execute("SELECT name, paused FROM orgs WHERE paused IS NOT NULL").fetchall())
    whose = callers(connection.execute(CALLERS))
    return Look(version, meta.get("ring"), needed, live, paused, whose)
