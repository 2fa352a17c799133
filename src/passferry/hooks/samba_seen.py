"""Which passwords of Samba's accounts were handed over: a number or two an account, and nothing secret."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from passferry.hooks.samba_account import Seen

FILE = "samba-seen"
WAIT_SECONDS = 5.0
_TABLE = "CREATE TABLE IF NOT EXISTS seen (guid TEXT PRIMARY KEY, last_set INT, version INT) WITHOUT ROWID"


class SeenUnusable(Exception):
    """The file cannot be used; the text says why."""


class SeenFile:
    """The file, held by one process at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use ``open_seen``."""
        self._connection = connection

    def of(self, guid: str) -> Seen | None:
        """What is known of an account."""
        row = self._connection.execute(
            "SELECT last_set, version FROM seen WHERE guid = ?", (guid,)
        ).fetchone()
        return None if row is None else Seen(int(row[0]), int(row[1]))

    def remember(self, guid: str, seen: Seen) -> None:
        """Durable once the block of ``open_seen`` has ended."""
        self._connection.execute(
            "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT (guid) DO UPDATE SET last_set = ?, version = ?",
            (guid, seen.last_set, seen.version, seen.last_set, seen.version),
        )


@contextmanager
def open_seen(folder: Path) -> Iterator[SeenFile]:
    """The file in ``folder``, which is ours alone; kept on a good end. Raises ``SeenUnusable``."""
    path = folder / FILE
    problem = ""
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_TABLE)
            yield SeenFile(connection)
            connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        problem = str(error)
    if problem:
        raise SeenUnusable(f"{path} cannot be used: {problem}")
