"""The databases that a gateway may run on, as settings. PostgreSQL is that of the tests, with syncs."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import programs

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"


@contextlib.contextmanager
def settings(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """What to add to a gateway's environment; for PostgreSQL a new database and a key ring."""
    if kind == SQLITE:
        yield {}
        return
    import postgres

    with postgres.own_server().database() as url:
        yield {"PASSFERRY_DATABASE_URL": url} | _key_ring(folder)


def _key_ring(folder: Path) -> dict[str, str]:
    """A ring, since none is made for PostgreSQL: there, each machine would make its own."""
    import time

    from passferry.adapters import keyring

    path = Path(programs.environment(folder)["PASSFERRY_KEY_FILE"])
    path.parent.mkdir(mode=0o700, exist_ok=True)
    keyring.create(path, keyring.generate(time.time()))
    return {"PASSFERRY_KEY_FILE": str(path)}
