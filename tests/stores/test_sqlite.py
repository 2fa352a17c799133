"""What only the embedded database can show: full and failing disks, erasure, and the state directory."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, update
from sqlalchemy.exc import OperationalError

from passferry.adapters import keyring, schema
from passferry.adapters.sqlite import SqliteDatabase
from passferry.adapters.store_lookup import needed_keys
from passferry.config import OrgSettings, Settings
from passferry.ports import Binding
from passferry.state import StateError, check_state_dir, only_one_serves, open_stores
from passferry.store_ports import StoreFull, StoreLost
from passferry.trail.verify import check_chain
from store_bench import KEY, NOW, Bench, open_bench, run, sealed


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Stores on a file."""
    with open_bench("sqlite-file", tmp_path) as found:
        yield found


def database_of(bench: Bench) -> SqliteDatabase:
    """The database beneath."""
    found = bench.accepts._database
    assert isinstance(found, SqliteDatabase)
    return found


def pragma(bench: Bench, text: str) -> int:
    """The value of a pragma on the store's own connection."""
    with database_of(bench).engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        return int(raw.execute(f"PRAGMA {text}").fetchone()[0])


def test_commits_are_durable_and_erasure_overwrites(bench: Bench) -> None:
    """Write-ahead log, a sync with every commit, erased content overwritten."""
    found = [pragma(bench, name) for name in ("synchronous", "secure_delete", "foreign_keys")]
    assert found == [2, 1, 1]


def test_on_a_full_disk_nothing_is_half_stored_and_later_it_works(bench: Bench) -> None:
    """The batch that does not fit leaves no row and no audit record; with room again the same batch fits."""

    async def body() -> None:
        await bench.accepted("first@example.com")
        items = [bench.new(f"u{n}@example.com", "long" * 50) for n in range(256)]
        pragma(bench, f"max_page_count={pragma(bench, 'page_count') + 3}")
        with pytest.raises(StoreFull) as caught:
            await bench.accept(*items)
        assert caught.value.__context__ is None
        assert await bench.accepts.backlog("default", 1000) == 1
        assert await bench.records() == ["accepted"]
        assert [await bench.lookup.change(item.id) for item in items[:3]] == [None] * 3
        pragma(bench, "max_page_count=1000000")
        await bench.accept(*items)
        assert await bench.accepts.backlog("default", 1000) == 257

    run(body)


@pytest.mark.parametrize("kind", [sqlite3.OperationalError, sqlite3.DatabaseError])
def test_a_failing_commit_means_that_the_process_must_end(
    bench: Bench, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever class the driver gives to it: the effect is not known, and no statement is quoted."""

    async def body() -> None:
        def fail(connection: object) -> None:
            raise kind("disk I/O error")

        monkeypatch.setattr(database_of(bench).engine.dialect, "do_commit", fail)
        with pytest.raises(StoreLost) as caught:
            await bench.accept(bench.new())
        assert caught.value.__context__ is None
        assert "sealed" not in str(caught.value)

    run(body)


@pytest.mark.parametrize("end", ["delivered", "superseded", "cancelled", "expired"])
def test_an_ended_change_leaves_no_sealed_byte_on_disk(bench: Bench, tmp_path: Path, end: str) -> None:
    """After the end and a checkpoint neither database nor write-ahead log holds the sealed password."""
    secret = "a-sealed-one"

    def on_disk() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir() if secret.encode() in path.read_bytes())

    async def body() -> None:
        change = await bench.accepted(password=secret)
        assert on_disk() == ["test.db-wal"]
        await database_of(bench).checkpoint()
        assert on_disk() == ["test.db"]
        if end == "delivered":
            await bench.delivered(change, verifier=sealed("verifier"))
        elif end == "superseded":
            await bench.accepted(password="two")
        elif end == "cancelled":
            await bench.lookup.operate(change.id, "cancel", "operator:ann", NOW)
        else:
            await bench.delivery.expire("default", change.expires_at)
        await database_of(bench).checkpoint()
        assert on_disk() == []

    run(body)


def test_a_command_beside_the_gateway_is_seen_at_once(bench: Bench, tmp_path: Path) -> None:
    """Two connections to one file: what the one commits, the other reads and continues."""

    async def body() -> None:
        change = await bench.accepted()
        second = SqliteDatabase(tmp_path / "test.db", KEY)
        lookup = type(bench.lookup)(second)
        await lookup.operate(change.id, "cancel", "operator:ann", NOW)
        second.close()
        assert (await bench.get(change.id)).state == "cancelled"
        assert await bench.records() == ["accepted", "cancel"]

    run(body)


# --- the state directory ---------------------------------------------------------------------


def settings_in(tmp_path: Path) -> Settings:
    """A configuration whose state and key ring lie below ``tmp_path``."""
    return Settings(
        state_dir=tmp_path / "state",
        key_file=tmp_path / "ring" / "keys",
        orgs={"default": OrgSettings("default")},
    )


def refusal(settings: Settings, *, create: bool = True) -> StateError:
    """Why the state cannot be opened."""
    with pytest.raises(StateError) as caught:
        open_stores(settings, NOW, create=create)
    assert caught.value.hint
    return caught.value


def test_a_fresh_state_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Directory, database and ring are readable by nobody else; opened again they fit together."""
    settings = settings_in(tmp_path)
    open_stores(settings, NOW, create=True).database.close()
    paths = [settings.state_dir, settings.state_dir / "passferry.db", settings.key_file]
    assert [path.stat().st_mode & 0o077 for path in paths] == [0, 0, 0]
    open_stores(settings, NOW, create=False).database.close()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """Nothing is changed in it, and both versions are named."""
    settings = settings_in(tmp_path)
    stores = open_stores(settings, NOW, create=True)
    with stores.database.engine.begin() as connection:
        connection.execute(update(schema.meta).where(schema.meta.c.name == "version").values(value="99"))
        connection.exec_driver_sql("DROP TABLE access")
    stores.database.close()
    assert "99" in refusal(settings).what
    with sqlite3.connect(settings.state_dir / "passferry.db") as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'access'").fetchone() == (0,)


def test_another_ring_is_refused(tmp_path: Path) -> None:
    """A ring of other keys does not start on this database."""
    settings = settings_in(tmp_path)
    open_stores(settings, NOW, create=True).database.close()
    settings.key_file.unlink()
    keyring.create(settings.key_file, keyring.generate(NOW))
    assert "key ring" in refusal(settings).what


def test_a_lost_ring_is_never_replaced_by_a_new_one(tmp_path: Path) -> None:
    """Where something was stored, a missing ring is an error, and stays missing."""
    settings = settings_in(tmp_path)
    open_stores(settings, NOW, create=True).database.close()
    settings.key_file.unlink()
    refusal(settings)
    assert not settings.key_file.exists()


def test_a_ring_that_lacks_a_needed_key_is_refused(tmp_path: Path) -> None:
    """The same ring without the key of a live change: the key is named."""
    settings = settings_in(tmp_path)
    stores = open_stores(settings, NOW, create=True)
    ring = keyring.load(settings.key_file)
    needed = stores.sealer.seal(b"x", Binding("verifier", "default", "u", "c"))
    with stores.database.engine.begin() as connection:
        row = {"org": "default", "resolved_id": "u", "verifier": needed, "verifier_key": ring.active}
        connection.execute(insert(schema.accounts).values(newest_seq=1, **row))
    stores.database.close()
    settings.key_file.unlink()
    fresh = keyring.generate(NOW)
    keyring.create(settings.key_file, replace(fresh, mac_key=ring.mac_key))
    assert ring.active in refusal(settings).what


def test_the_needed_keys_are_looked_for_while_others_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command asks at its start, and the question looks at every user."""
    settings, asked = settings_in(tmp_path), list[set[str]]()

    def ask(connection: Connection) -> set[str]:
        with closing(sqlite3.connect(settings.state_dir / "passferry.db", timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")  # raises while we hold the lock
        asked.append(needed_keys(connection))
        return asked[-1]

    monkeypatch.setattr("passferry.state.needed_keys", ask)
    open_stores(settings, NOW, create=True).database.close()
    assert asked == [set()]


def test_a_command_makes_no_state(tmp_path: Path) -> None:
    """Asked to read only, a missing directory or database is an error and stays missing."""
    settings = settings_in(tmp_path)
    refusal(settings, create=False)
    settings.state_dir.mkdir(mode=0o700)
    assert "no database" in refusal(settings, create=False).what
    assert list(settings.state_dir.iterdir()) == []


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """Group and world must not be able to swap the database."""
    tmp_path.chmod(0o770)
    with pytest.raises(StateError, match="others may write"):
        check_state_dir(tmp_path, create=False)


def test_a_second_gateway_is_told_who_is_first(tmp_path: Path) -> None:
    """The lock names its holder's process, is free after the block, and its file tells no old holder."""
    with only_one_serves(tmp_path):
        with pytest.raises(StateError, match=f"process {os.getpid()} ") as caught, only_one_serves(tmp_path):
            pass
        assert caught.value.hint
    with only_one_serves(tmp_path):
        assert (tmp_path / "serve.lock").read_text() == str(os.getpid())


def test_a_reader_elsewhere_does_not_hold_up_accepting(bench: Bench, tmp_path: Path) -> None:
    """Emptying the write-ahead log gives way at once, and is done the next time."""

    async def body() -> None:
        await bench.accepted()
        with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM changes").fetchall()
            await bench.accepted(password="two")
            started = time.monotonic()
            await database_of(bench).checkpoint()
            assert time.monotonic() - started < 2.0
        await database_of(bench).checkpoint()
        assert (tmp_path / "test.db-wal").stat().st_size == 0

    run(body)


def test_a_look_goes_on_beside_a_transaction_and_writes_nothing(bench: Bench) -> None:
    """Figures are read while a transaction is open, as they were before it; a statement that writes fails."""

    async def body() -> None:
        await bench.accepted("first@example.com")
        database = database_of(bench)
        with database.engine.begin() as connection:
            connection.execute(update(schema.orgs).values(paused="operator"))
            found = (await bench.figures.orgs())["default"]
            assert (found.waiting, found.paused) == (1, None)
        assert (await bench.figures.orgs())["default"].paused == "operator"
        with pytest.raises(OperationalError, match="readonly"):
            await database.look(lambda c: c.execute(update(schema.orgs).values(paused=None)).rowcount)
        assert (await bench.figures.orgs())["default"].paused == "operator"

    run(body)


def test_a_time_that_became_text_breaks_the_trail(bench: Bench) -> None:
    """SQLite keeps any kind of value in any column."""

    async def body() -> None:
        await bench.accepted()
        with database_of(bench).engine.begin() as connection:
            connection.exec_driver_sql("UPDATE audit SET at = 'x' WHERE seq = 1")
        found = await check_chain(bench.audit, KEY, "default")
        assert found.broken is not None
        assert "record 1 does not fit" in found.broken

    run(body)
