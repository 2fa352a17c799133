"""Which passwords of Samba's accounts were handed over: a number or two an account, and nothing secret."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from passferry.hooks.samba_account import Seen

FILE = "samba-seen"
WAIT_SECONDS = 5.0
_TABLE = "CREATE TABLE IF NOT EXISTS seen (guid TEXT PRIMARY KEY, last_set INT, version INT) WITHOUT ROWID"
_UNREAD = "CREATE TABLE IF NOT EXISTS unread (guid TEXT PRIMARY KEY, account TEXT, why TEXT) WITHOUT ROWID"
_LIFE = "CREATE TABLE IF NOT EXISTS life (only INT PRIMARY KEY CHECK (only = 1), name TEXT)"


class SeenUnusable(Exception):
    """The file cannot be used; the text says why."""


class SeenFile:
    """The file, held by one process at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use ``open_seen``."""
        self._connection = connection

    @property
    def life(self) -> str:
        """Drawn when the file was made: whoever deletes it wants every account sent as if never before."""
        return str(self._connection.execute("SELECT name FROM life").fetchone()[0])

    def of(self, guid: str) -> Seen | None:
        """What is known of an account."""
        row = self._connection.execute(
            "SELECT last_set, version FROM seen WHERE guid = ?", (guid,)
        ).fetchone()
        return None if row is None else Seen(int(row[0]), int(row[1]))

    def remember(self, guid: str, seen: Seen) -> None:
        """Durable once the block of ``open_seen`` has ended."""
        self.read(guid)
        self._connection.execute(
            "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT (guid) DO UPDATE SET last_set = ?, version = ?",
            (guid, seen.last_set, seen.version, seen.last_set, seen.version),
        )

    def unread(self, guid: str, account: str, why: str) -> None:
        """A password of the account was passed over; for the self-test, until another one is handed over."""
        self._connection.execute("INSERT OR REPLACE INTO unread VALUES (?, ?, ?)", (guid, account, why))

    def read(self, guid: str) -> None:
        """Nothing of the account is passed over any more."""
        self._connection.execute("DELETE FROM unread WHERE guid = ?", (guid,))


def unread_in(folder: Path) -> list[tuple[str, str]]:
    """Accounts of which a password was passed over, and why. Nothing is made. Raises ``SeenUnusable``."""
    path, problem = folder / FILE, ""
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)) as found:
            if not found.execute("SELECT 1 FROM sqlite_master WHERE name = 'unread'").fetchone():
                return []  # an earlier release made it
            return [
                (str(account), str(why))
                for account, why in found.execute("SELECT account, why FROM unread ORDER BY account")
            ]
    except (sqlite3.Error, OSError) as error:
        problem = str(error)
    raise SeenUnusable(f"{path} cannot be used: {problem}")


@contextmanager
def open_seen(folder: Path) -> Iterator[SeenFile]:
    """The file in ``folder``, which is ours alone; kept on a good end. Raises ``SeenUnusable``."""
    path = folder / FILE
    problem = ""
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)) as connection:
            _make(connection)
            connection.execute("BEGIN IMMEDIATE")
            yield SeenFile(connection)
            connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        problem = str(error)
    if problem:
        raise SeenUnusable(f"{path} cannot be used: {problem}")


def _make(connection: sqlite3.Connection) -> None:
    """What a new file has, kept whatever becomes of the first account: it is sent again in the same life."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_TABLE)
    connection.execute(_LIFE)
    connection.execute(_UNREAD)
    connection.execute("INSERT OR IGNORE INTO life VALUES (1, ?)", (secrets.token_hex(8),))
    connection.execute("COMMIT")
