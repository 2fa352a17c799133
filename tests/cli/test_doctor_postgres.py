"""`doctor` looks at a PostgreSQL database, and makes nothing there."""

from pathlib import Path

import psycopg
import pytest

from passferry.adapters import keyring
from passferry.adapters.key_file import FileSealer
from passferry.adapters.postgres import PostgresDatabase
from passferry.adapters.postgres_look import look
from passferry.config import OrgSettings, Settings
from passferry.doctor.postgres import look_at_postgres
from passferry.state import _check_database
from postgres import server


def _settings(ring: Path) -> Settings:
    orgs = {"default": OrgSettings("default", scim="proxy")}
    return Settings(state_dir=ring.parent, key_file=ring, orgs=orgs)


def _found(url: str, ring: Path) -> dict[tuple[str, str], str]:
    return {(each.check, each.level): each.message for each in look_at_postgres(url, _settings(ring))}


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


def test_who_may_provision_is_named(ring: Path) -> None:
    """As on SQLite: of the keys in use those whose org it is, before a source is configured."""
    with server().database() as url:
        database = PostgresDatabase(url, b"key")
        try:
            _check_database(database, FileSealer(ring), ["default"])
        finally:
            database.close()
        assert _found(url, ring)["provisioning", "ok"].endswith("by no key")
        with psycopg.connect(url) as c:
            for name, orgs, revoked in (("okta", "", None), ("gone", "", 1.0), ("other", "emea", None)):
                row = (name, name, "source", orgs, b"", 0.0, revoked)
                columns = "id, name, role, orgs, secret_sha256, created_at, revoked_at"
                c.execute(f"INSERT INTO access ({columns}) VALUES (%s, %s, %s, %s, %s, %s, %s)", row)
        assert _found(url, ring)["provisioning", "warn"].endswith("by okta")


def test_live_changes_are_counted_org_by_org(ring: Path) -> None:
    """As on SQLite, so that those of an org that was taken out are told."""
    with server().database() as url:
        database = PostgresDatabase(url, b"key")
        try:
            _check_database(database, FileSealer(ring), ["default", "emea"])
        finally:
            database.close()
        with psycopg.connect(url) as c:
            for number, (org, live) in enumerate([("default", 1), ("emea", 1), ("emea", 1), ("emea", 0)]):
                columns = "id, org, live, seq, user_kind, user_value, user_key, source, state, bulk"
                times = "accepted_at, waiting_since, updated_at, expires_at, attempts"
                rest = "1, 'id', 'u', 'u', 'hr', 'pending', false, 0, 0, 0, 9, 0"
                row = (str(number), org, bool(live))
                c.execute(f"INSERT INTO changes ({columns}, {times}) VALUES (%s, %s, %s, {rest})", row)
        assert look(url, 12.0).look.live_of == {"default": 1, "emea": 2}
        assert _found(url, ring)["database", "warn"].endswith("its live changes: 2")


@pytest.mark.parametrize("url", ["postgresql://u:s3cr3t@127.0.0.1:1/x", "postgresql://u:s3cr3t@h:no/x"])
def test_a_password_is_never_shown(url: str, ring: Path) -> None:
    """Of a database that cannot be reached, and of an address that is none."""
    found = look_at_postgres(url, _settings(ring))
    assert [each.level for each in found] == ["ok", "fail"]
    assert "s3cr3t" not in repr(found)
