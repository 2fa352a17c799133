"""A look into the database that changes nothing: no file is made, no lock is kept, no table is created."""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from passferry.adapters import schema
from passferry.store_ports import Caller

BUSY_SECONDS = 2.0
CALLERS = "SELECT id, name, role, orgs, user_template, created_at, revoked_at FROM access"
"""Whose the access keys are; the same on every database, and in every version of it."""


class CannotLook(Exception):
    """The database cannot be read; the text says why and is safe to show."""


class NeedsRecovery(CannotLook):
    """A write-ahead log has no index beside it, as in a copy: SQLite would make one to look into it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. ``ring`` is the fingerprint of the key ring that it belongs to, ``keys`` are needed.

    ``live_of`` has how many live changes each org has that has any.
    """

    version: int
    ring: str | None = None
    keys: frozenset[str] = frozenset()
    live_of: Mapping[str, int] = field(default_factory=dict)
    paused: Mapping[str, str] | None = None
    callers: tuple[Caller, ...] = ()

    @property
    def live(self) -> int:
        """How many changes are live."""
        return sum(self.live_of.values())


def look(path: Path) -> Look:
    """See the module. Of a database of a newer version only ``version`` is read.

    Raises ``CannotLook``, of which ``NeedsRecovery`` is one.
    """
    wal, index = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    try:
        in_use = wal.exists() and index.exists()
        if not in_use and wal.exists() and wal.stat().st_size > 0:
            raise NeedsRecovery("its write-ahead log has no index")
        # A reader makes both files where they are missing. Without them nobody has the database open.
        mode = "mode=ro" if in_use else "immutable=1"
        name = f"file:{quote(str(path))}?{mode}"
        with closing(sqlite3.connect(name, uri=True, timeout=BUSY_SECONDS)) as connection:
            return _look(connection)
    except OSError as error:
        why = error.strerror or "it cannot be read"
    except sqlite3.Error as error:
        why = str(error)  # of statements without values: it holds names of tables at most
    except ValueError:
        why = "its version is no number"
    raise CannotLook(why)


def _look(connection: sqlite3.Connection) -> Look:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return Look(0)
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    version = int(meta.get("version", "0"))
    if version > schema.VERSION or version == 0:
        return Look(version)
    keys = connection.execute(
        "SELECT sealed_key FROM changes WHERE live = 1 UNION SELECT verifier_key FROM accounts"
    )
    needed = frozenset(key for (key,) in [*keys, (meta.get("sealing_key"),)] if key)
    live = dict(connection.execute("SELECT org, count(*) FROM changes WHERE live = 1 GROUP BY org"))
    paused = dict(connection.execute("SELECT name, paused FROM orgs WHERE paused IS NOT NULL"))
    whose = callers(connection.execute(CALLERS))
    return Look(version, meta.get("ring"), needed, live, paused, whose)


def callers(rows: Iterable[tuple[Any, ...]]) -> tuple[Caller, ...]:
    """What ``CALLERS`` found."""
    return tuple(
        Caller(key, name, role, tuple(orgs.split()), template, made, revoked)
        for key, name, role, orgs, template, made, revoked in rows
    )
