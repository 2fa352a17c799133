"""Opening the state on PostgreSQL: what is refused, with which exit code, and that no password is shown."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

import postgres
from passferry.adapters import keyring
from passferry.config import Settings, load
from passferry.state import NotReachable, StateError, open_stores

NOW = 1_800_000_000.0
SECRET = "Secret-of-a-database-7"
GONE = "127.0.0.1:9"
ORG = {
    "GENESYS_API_URL": "http://127.0.0.1:9",
    "GENESYS_LOGIN_URL": "http://127.0.0.1:9",
    "GENESYS_CLIENT_ID": "tests",
    "GENESYS_CLIENT_SECRET": "tests",
}


@pytest.fixture
def url() -> Iterator[str]:
    """A new, empty database."""
    with postgres.server().database() as found:
        yield found


def environment(folder: Path, url: str) -> dict[str, str]:
    """Of a machine whose key ring lies, or would lie, in ``folder``."""
    own = {"PASSFERRY_STATE_DIR": f"{folder}/state", "PASSFERRY_KEY_FILE": f"{folder}/keys/ring"}
    return ORG | own | {"PASSFERRY_DATABASE_URL": url}


def settings(folder: Path, url: str, *, ring: bool = True) -> Settings:
    """As ``environment``; with ``ring``, there is a ring."""
    found = load(environment(folder, url))
    if ring and not found.key_file.exists():
        keyring.create(found.key_file, keyring.generate(NOW))
    return found


def refused(found: Settings) -> StateError:
    """Why it cannot be opened."""
    with pytest.raises(StateError) as caught:
        open_stores(found, NOW, create=True)
    assert caught.value.__context__ is None  # it would hold the address
    return caught.value


def with_password(url: str, password: str) -> str:
    """``url`` with another password."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{password}@{parts.hostname}:{parts.port}").geturl()


def test_a_key_ring_is_never_made_beside_postgresql(url: str, tmp_path: Path) -> None:
    """Two machines that each make their own could not open what the other stored."""
    found = settings(tmp_path, url, ring=False)
    assert "keys create" in refused(found).hint
    assert not found.key_file.exists()


def test_a_server_that_does_not_answer_may_be_tried_again(tmp_path: Path) -> None:
    """Which a start that is refused for good may not."""
    why = refused(settings(tmp_path, f"postgresql://u:{SECRET}@{GONE}/db"))
    assert isinstance(why, NotReachable)
    assert "is it running" in why.hint
    assert SECRET not in str(why)


def test_a_wrong_password_is_named_as_such_and_not_shown(url: str, tmp_path: Path) -> None:
    """The server says so; the machine and the database are right."""
    why = refused(settings(tmp_path, with_password(url, SECRET)))
    assert "password is wrong" in why.hint
    assert SECRET not in str(why)


def test_a_database_that_does_not_exist_is_named_as_such(url: str, tmp_path: Path) -> None:
    """Nothing creates it in passing."""
    assert "create the user and the database" in refused(settings(tmp_path, f"{url}_not")).hint


def test_another_key_ring_than_the_first_is_refused(url: str, tmp_path: Path) -> None:
    """Nothing stored would open with it."""
    open_stores(settings(tmp_path / "one", url), NOW, create=True).database.close()
    assert "key ring is not the one" in refused(settings(tmp_path / "two", url)).what


def test_a_user_who_may_not_make_tables_is_told_so(url: str, tmp_path: Path) -> None:
    """The usual mistake on PostgreSQL 15 and later: the database belongs to somebody else."""
    name = f"guest_{os.getpid()}_{next(_numbers)}"
    server = postgres.server()
    server.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(SECRET))
    )
    try:
        parts = urlsplit(url)
        guest = parts._replace(netloc=f"{name}:{SECRET}@{parts.hostname}:{parts.port}").geturl()
        why = refused(settings(tmp_path, guest))
    finally:
        server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    assert "may not make tables" in why.what
    assert not isinstance(why, NotReachable)


_numbers = itertools.count(1)


def test_a_command_makes_no_tables(url: str, tmp_path: Path) -> None:
    """Where no gateway was ever started, the address is another's, and is left as it was."""
    with pytest.raises(StateError) as caught:
        open_stores(settings(tmp_path, url), NOW, create=False)
    assert "nothing of passferry in the database" in caught.value.what
    assert "PASSFERRY_DATABASE_URL" in caught.value.hint
    with psycopg.connect(url) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() == (0,)


def test_first_starts_at_the_same_time_make_one_database(url: str, tmp_path: Path) -> None:
    """All of them open it, and its tables and rows are there once."""
    found = settings(tmp_path, url)
    with ThreadPoolExecutor(6) as threads:
        opened = list(threads.map(lambda _: open_stores(found, NOW, create=True), range(6)))
    for stores in opened:
        stores.database.close()
    assert len({stores.worker.id for stores in opened if stores.worker is not None}) == 6
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM meta WHERE name = 'ring'").fetchone() == (1,)
        assert connection.execute("SELECT name FROM orgs").fetchall() == [("default",)]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (f"postgresql://u:{SECRET}@{GONE}/db", 3),
        (f"postgres://u:{SECRET}@{GONE}/db", 3),
        (f"postgresql://u@{GONE}/db?password={SECRET}&sslmode={SECRET}", 3),
        (f"postgresql://u:{SECRET}@{GONE}/db?nosuch={SECRET}", 2),
        (f"postgresql://u:{SECRET}@127.0.0.1:{SECRET}/db", 2),
        (f"postgresql://u:{SECRET}@{SECRET}@{GONE}/db", 2),
        (f"postgresql://u:{SECRET}/{SECRET}@{GONE}/db", 2),
        (f"postgresql://u:{SECRET}#{SECRET}@{GONE}/db", 2),
        (f"postgresql://u:{SECRET}?{SECRET}@{GONE}/db", 2),
        (f"postgresql://u:{SECRET}[{SECRET}@{GONE}/db", 2),
        (f"postgresql://u:{SECRET}%zz@{GONE}/db", 2),
    ],
)
def test_an_address_that_cannot_be_used_ends_the_start_without_showing_its_password(
    tmp_path: Path, url: str, code: int
) -> None:
    """Exit code 3 where a later start may succeed, else 2; a hint, and no traceback."""
    keyring.create(tmp_path / "keys/ring", keyring.generate(NOW))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PASSFERRY_", "GENESYS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "passferry", "worker"],
        env=inherited | environment(tmp_path, url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert SECRET not in said
    assert "Traceback" not in said
    assert "hint" in said
    assert done.returncode == code
