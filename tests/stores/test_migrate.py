"""From every version of the tables to the newest, on both databases."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import OperationalError

import postgres
from passferry.adapters import migrate as migration
from passferry.adapters import schema
from passferry.adapters.database import add_orgs, prepare
from passferry.adapters.migrate import ForeignDatabase, NewerDatabase, migrate
from passferry.adapters.postgres import PostgresDatabase

DATA = Path(__file__).resolve().parent.parent / "data"
OLD_VERSIONS = range(1, schema.VERSION)
DATABASES = ["sqlite", "postgresql"]


def engine_of(url: str) -> Engine:
    """An engine with the transactions that the product's have."""
    if not url.startswith("sqlite"):
        return create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    engine = create_engine(url, connect_args={"isolation_level": None, "timeout": 20})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


@contextmanager
def empty_database(name: str, folder: Path) -> Iterator[str]:
    """The URL of an empty one."""
    if name == "sqlite":
        yield f"sqlite:///{folder}/test.db"
    else:
        with postgres.server().database() as url:
            yield url


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of an empty database."""
    with empty_database(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Of an empty database."""
    made = engine_of(url)
    yield made
    made.dispose()


def statements(dialect: str, version: int) -> list[str]:
    """What once made a database of that version, and rows in every table."""
    lines = (DATA / f"schema-{version}-{dialect}.sql").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("--")]


def execute(connection: Connection, lines: list[str]) -> None:
    """One statement a line."""
    for line in lines:
        connection.exec_driver_sql(line)


def load(engine: Engine, version: int) -> None:
    """Make the database of an old version."""
    with engine.begin() as connection:
        execute(connection, statements(engine.dialect.name, version))


def run(engine: Engine) -> None:
    """As at a start."""
    with engine.begin() as connection:
        migrate(connection)


def rows(engine: Engine) -> dict[str, set[tuple[tuple[str, Any], ...]]]:
    """Every row of every table, without what is NULL."""
    with engine.connect() as connection:
        return {
            table: {
                tuple(sorted((str(name), value) for name, value in row._mapping.items() if value is not None))
                for row in connection.execute(text(f'SELECT * FROM "{table}"'))
            }
            for table in inspect(connection).get_table_names()
        }


def columns(engine: Engine) -> dict[str, set[str]]:
    """The names of the columns of every table."""
    looked = inspect(engine)
    return {
        table: {str(one["name"]) for one in looked.get_columns(table)} for table in looked.get_table_names()
    }


def shape(engine: Engine) -> dict[str, Any]:
    """Columns, keys and indexes with their conditions, of every table."""
    looked = inspect(engine)

    def by_name(found: list[Any]) -> dict[str, Any]:
        return {one["name"]: plain(one) for one in found}

    return {
        table: (
            by_name(looked.get_columns(table)),
            looked.get_pk_constraint(table),
            by_name(looked.get_indexes(table)),
        )
        for table in looked.get_table_names()
    }


def plain(value: Any) -> Any:
    """With types and conditions as text: those of SQLAlchemy are never equal."""
    return {key: plain(inner) for key, inner in value.items()} if isinstance(value, dict) else str(value)


def marks(engine: Engine) -> tuple[list[str], list[str]]:
    """Both records of the version."""
    with engine.connect() as connection:
        ours = connection.exec_driver_sql("SELECT value FROM meta WHERE name = 'version'")
        return list(ours.scalars()), list(connection.execute(migration.mark.select()).scalars())


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_an_upgrade_reaches_exactly_the_newest_tables(engine: Engine, version: int, tmp_path: Path) -> None:
    """Whichever version a database began with, it ends with the tables, keys and indexes of a new one."""
    load(engine, version)
    run(engine)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
    (tmp_path / "new").mkdir()
    with empty_database(engine.dialect.name, tmp_path / "new") as fresh:
        new = engine_of(fresh)
        run(new)
        assert shape(engine) == shape(new)
        assert marks(engine) == marks(new) == ([str(schema.VERSION)], [f"{schema.VERSION:04}"])
        new.dispose()


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_an_upgrade_keeps_every_row(engine: Engine, version: int) -> None:
    """Every table has the rows that it had, whatever stands in new columns."""
    load(engine, version)
    before, known = rows(engine), columns(engine)
    assert all(before.values())
    run(engine)
    after = {
        table: {tuple(cell for cell in row if cell[0] in known[table]) for row in found}
        for table, found in rows(engine).items()
        if table in known
    }
    before.pop("alembic_version", None)
    before["meta"] = {
        tuple((name, str(schema.VERSION) if value == str(version) else value) for name, value in row)
        for row in before["meta"]
    }
    assert {table: after[table] for table in before} == before


@pytest.mark.parametrize("version", range(1, 4))
def test_when_the_newest_change_of_a_reference_was_accepted_is_taken_from_it(
    engine: Engine, version: int
) -> None:
    """Of that change, and no other of its user or place; of one that is not stored any more it stays open."""
    load(engine, version)
    with engine.begin() as connection:
        execute(connection, ["UPDATE changes SET accepted_at = seq", "DELETE FROM changes WHERE id = 'c3'"])
        execute(connection, ["UPDATE changes SET accepted_at = 77 WHERE org = 'other'"])
    run(engine)
    with engine.connect() as connection:
        found = connection.execute(text('SELECT org, "key", newest_accepted_at FROM users'))
        assert {(org, key[:6]): at for org, key, at in found} == {
            ("default", "i:1111"): 4,
            ("default", "i:5555"): 10,
            ("default", "n:anna"): None,
            ("default", "n:bert"): 8,
            ("other", "n:unic"): 77,
        }


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_a_process_of_an_older_version_can_go_on_beside_the_newest_tables(
    engine: Engine, version: int
) -> None:
    """What an older program inserts is taken: a migration only adds, and what it adds may be left out."""
    run(engine)
    with engine.begin() as connection:
        execute(connection, ["DELETE FROM meta"])
        written = [
            line
            for line in statements(engine.dialect.name, version)
            if line.startswith("INSERT") and "alembic_version" not in line
        ]
        execute(connection, written)
    assert sum(len(found) for table, found in rows(engine).items() if table != "alembic_version") == len(
        written
    )


def test_the_newest_tables_are_left_alone(engine: Engine) -> None:
    """A second start changes nothing."""
    run(engine)
    before, tables = rows(engine), shape(engine)
    run(engine)
    assert (rows(engine), shape(engine)) == (before, tables)


@pytest.mark.parametrize(
    "newer",
    [
        f"UPDATE meta SET value = '{schema.VERSION + 1}' WHERE name = 'version'",
        f"UPDATE alembic_version SET version_num = '{schema.VERSION + 1:04}'",
    ],
    ids=["meta", "alembic"],
)
def test_a_newer_database_is_refused_whichever_mark_says_so(engine: Engine, newer: str) -> None:
    """`NewerDatabase` names the version, and nothing is changed."""
    run(engine)
    with engine.begin() as connection:
        execute(connection, [newer])
    before = rows(engine)
    with pytest.raises(NewerDatabase, match=f"^{schema.VERSION + 1}$"):
        run(engine)
    assert rows(engine) == before


@pytest.mark.parametrize(
    "foreign", [["users"], ["meta"], ["meta", "orgs", "changes"]], ids=["users", "meta", "no-version"]
)
def test_tables_of_another_program_are_not_touched(engine: Engine, foreign: list[str]) -> None:
    """A database of something else, with a table of our name, is refused and stays as it is."""
    with engine.begin() as connection:
        execute(connection, [f"CREATE TABLE {table} (name text, value text)" for table in foreign])
    before = shape(engine)
    with pytest.raises(ForeignDatabase, match=f"^{foreign[0]}$"):
        run(engine)
    assert shape(engine) == before


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing: the next start finds the old version and tries again."""
    load(engine, 1)
    before, tables = rows(engine), shape(engine)

    def fail(*_: object) -> None:
        raise OSError("in the midst of it")

    with monkeypatch.context() as patched:
        patched.setattr("alembic.op.add_column", fail)
        with pytest.raises(OSError, match="in the midst"):
            run(engine)
    assert (rows(engine), shape(engine)) == (before, tables)
    run(engine)
    assert marks(engine)[0] == [str(schema.VERSION)]


def test_an_upgrade_does_not_queue_everybody_behind_a_long_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL it gives up after `LOCK_SECONDS`, and the lock is free again."""
    monkeypatch.setattr(migration, "LOCK_SECONDS", 0.2)
    with postgres.server().database() as url:
        engine = engine_of(url)
        load(engine, 1)
        with engine.connect() as reader:
            reader.exec_driver_sql("SET idle_in_transaction_session_timeout = '10s'")  # this test is bounded
            reader.exec_driver_sql("SELECT count(*) FROM orgs")
            with pytest.raises(OperationalError, match="lock timeout"):
                run(engine)
        run(engine)
        engine.dispose()


def test_who_starts_during_a_long_upgrade_waits_for_it_as_long_as_it_takes() -> None:
    """Longer than the product's sessions wait for any other lock, on PostgreSQL."""
    with postgres.server().database() as url:
        database = PostgresDatabase(url, b"key")
        event.listen(database.engine, "connect", hurry)
        upgrading = engine_of(url)
        with ThreadPoolExecutor(1) as threads, upgrading.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migration.LOCK})
            waiting = threads.submit(prepare, database)
            with pytest.raises(TimeoutError):
                waiting.result(1.0)
            connection.rollback()
            waiting.result(30.0)
        assert marks(upgrading)[0] == [str(schema.VERSION)]
        database.close()
        upgrading.dispose()


def hurry(raw: psycopg.Connection[Any], _: object) -> None:
    """The product's session, with its limits a hundredth of what they are."""
    for name in ("lock_timeout", "statement_timeout"):
        (limit,) = raw.execute("SELECT setting FROM pg_settings WHERE name = %s", (name,)).fetchone() or (
            "0",
        )
        assert int(limit) > 0
        raw.execute("SELECT set_config(%s, %s, false)", (name, f"{int(limit) // 100}ms"))
    raw.commit()


def test_who_starts_with_the_orgs_in_another_order_is_no_deadlock() -> None:
    """Each adds them in one order, so that the second waits for the first, on PostgreSQL."""
    with postgres.server().database() as url:
        engine = engine_of(url)
        run(engine)
        with ThreadPoolExecutor(1) as threads, engine.connect() as first:
            add_orgs(first, ["a"])
            with engine.connect() as second:
                pid = second.execute(text("SELECT pg_backend_pid()")).scalar_one()
                adding = threads.submit(add_orgs, second, ["b", "a"])
                blocked = text("SELECT cardinality(pg_blocking_pids(:pid))")
                end = time.monotonic() + 20
                while not first.execute(blocked, {"pid": pid}).scalar_one() and time.monotonic() < end:
                    pass
                add_orgs(first, ["b"])
                first.commit()
                adding.result(20.0)
        engine.dispose()


STARTER = """
import sys
from sqlalchemy import create_engine
import alembic.command
from passferry.adapters.migrate import migrate
from stores.test_migrate import engine_of
engine = engine_of(sys.argv[1])
engine.connect().close()
print("ready", flush=True)
sys.stdin.readline()
with engine.begin() as connection:
    migrate(connection)
"""


@contextmanager
def starters(url: str) -> Iterator[Callable[[], list[str]]]:
    """Two processes about to start on one database; the call lets go of both, and gives what they said."""
    began = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(2)
    ]

    def start() -> list[str]:
        for one in began:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in began:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        said = [one.communicate(timeout=60)[1] for one in began]
        assert [one.returncode for one in began] == [0, 0], said
        return said

    try:
        yield start
    finally:
        for one in began:
            one.kill()
            one.communicate()


@pytest.mark.parametrize("version", [0, *OLD_VERSIONS])
def test_processes_that_start_at_once_make_or_upgrade_the_tables_once(
    url: str, engine: Engine, version: int
) -> None:
    """Two at once, on an empty database and on an old one: one does it, the other finds it done."""
    with starters(url) as start:
        if version:
            load(engine, version)
        said = start()
    upgrades = [line for text in said for line in text.splitlines()]
    expected = f"the database is upgraded from version {version} to {schema.VERSION}"
    assert upgrades == ([expected] if version else [])
    assert marks(engine) == ([str(schema.VERSION)], [f"{schema.VERSION:04}"])


@pytest.mark.parametrize("version", [0, schema.VERSION])
def test_a_start_that_upgrades_nothing_does_not_import_alembic(
    engine: Engine, url: str, version: int
) -> None:
    """Making new tables and finding them does without Alembic, whose import takes as long as the start."""
    if version:
        run(engine)
    program = """
import sys
from sqlalchemy import create_engine, make_url
from passferry.adapters.migrate import migrate
url = make_url(sys.argv[1])
if url.drivername == "postgresql":
    url = url.set(drivername="postgresql+psycopg")
with create_engine(url).begin() as connection:
    migrate(connection)
sys.exit("alembic" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60)
