"""`doctor` looks at a PostgreSQL database, and makes nothing there."""

from pathlib import Path

import psycopg
import pytest

from passferry.adapters import keyring
from passferry.adapters.key_file import FileSealer
from passferry.adapters.postgres import PostgresDatabase
from passferry.doctor.postgres import look_at_postgres
from passferry.state import _check_database
from postgres import server


def _found(url: str, ring: Path) -> dict[tuple[str, str], str]:
    return {(each.check, each.level): each.message for each in look_at_postgres(url, ring)}


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """A new key ring."""
    path = tmp_path / "ring"
    keyring.create(path, keyring.generate(1.0))
    return path


def test_an_empty_database_stays_empty(ring: Path) -> None:
    """Nothing is made, and what is missing is said."""
    with server().database() as url:
        assert ("database", "ok") in _found(url, ring)
        with psycopg.connect(url) as c:
            assert c.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_another_ring_and_a_newer_version_fail(ring: Path, tmp_path: Path) -> None:
    """As on SQLite."""
    other = tmp_path / "other"
    keyring.create(other, keyring.generate(1.0))
    with server().database() as url:
        sealer = FileSealer(ring)
        database = PostgresDatabase(url, b"key")
        try:
            _check_database(database, sealer, ["default"])
        finally:
            database.close()
        assert ("database", "fail") not in _found(url, ring)
        assert "not the one" in _found(url, other)["database", "fail"]
        with psycopg.connect(url) as c:
            c.execute("UPDATE meta SET value = '99' WHERE name = 'version'")
        assert "99" in _found(url, ring)["database", "fail"]


@pytest.mark.parametrize("url", ["postgresql://u:s3cr3t@127.0.0.1:1/x", "postgresql://u:s3cr3t@h:no/x"])
def test_a_password_is_never_shown(url: str, ring: Path) -> None:
    """Of a database that cannot be reached, and of an address that is none."""
    found = look_at_postgres(url, ring)
    assert [each.level for each in found] == ["ok", "fail"]
    assert "s3cr3t" not in repr(found)
