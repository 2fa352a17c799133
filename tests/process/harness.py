"""Real processes over loopback for tests: every one bounded in time and ended by its id."""

import asyncio
import atexit
import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from passferry.simulator import Settings, Simulator, serve

T = TypeVar("T")

TESTS = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
"""How long a process may take until it listens, on a machine that has other things to do."""
NO_ANSWER = (OSError, http.client.HTTPException)
"""What ``call`` raises when the other side went away."""


@functools.cache
def bytecode() -> str:
    """A folder for compiled modules, so that the second start of a process is quick wherever tests run."""
    folder = tempfile.mkdtemp(prefix="passferry-bytecode-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


WITH_TESTS = {"PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))}
"""For a program of the tests: ``process.…`` lies in their folder."""


# --- HTTP ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


def call(
    method: str,
    url: str,
    *,
    key: str | None = None,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> Answer:
    """One request on a connection of its own; ``body`` is bytes or becomes JSON. Raises ``NO_ANSWER``."""
    parts = urlsplit(url)
    sent = {"Connection": "close", **({"Authorization": f"Bearer {key}"} if key else {})}
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    if body is not None:
        sent["Content-Type"] = "application/json"
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body=body, headers=sent | dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def until(condition: Callable[[], T], seconds: float = 30.0, what: str = "it") -> T:
    """The first true result of ``condition``. Raises AssertionError after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.03)


def count(into: dict[str, int], words: Sequence[str]) -> None:
    """Add up how often each word occurs."""
    for word in words:
        into[word] = into.get(word, 0) + 1


# --- servers in this process -----------------------------------------------------------------


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def run(self, work: Any, seconds: float = 30.0) -> Any:
        """The result of a coroutine, run there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class StandIn:
    """The simulator over sockets; ``do`` looks at it in its own thread."""

    def __init__(
        self, settings: Settings, *, seed: int = 1, users: int = 60, secret: str | None = None
    ) -> None:
        from passferry.simulator import Client

        self.secret = secret or "simulator-secret"
        client = Client("simulator", self.secret)
        self.simulator = Simulator(settings, seed=seed, users=users, clients=(client,), journal_size=20_000)
        self._thread = LoopThread()
        self._server: Any = None
        self.url = ""

    def __enter__(self) -> "StandIn":
        self._thread.start()
        self.listen()
        return self

    def listen(self, port: int = 0) -> None:
        """Start to answer."""
        self._server = self._thread.run(serve(self.simulator, port=port))
        self.url = self._server.url

    def hush(self) -> int:
        """Refuse connections from now on; the port, to listen on again."""
        self._thread.run(self._server.close())
        return urlsplit(self.url).port or 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hush()
        self._thread.stop()

    def do(self, work: Callable[[Simulator], T]) -> T:
        """The result of ``work`` on the simulator."""

        async def there() -> T:
            return work(self.simulator)

        found: T = self._thread.run(there())
        return found

    def active_users(self) -> list[tuple[str, str]]:
        """Id and userName of every active user."""
        return self.do(lambda s: [(user.id, user.user_name) for user in s.directory() if user.active])

    def passwords(self, reference: str) -> list[str]:
        """Every password that was written for a user, in the order of the writes."""
        return self.do(lambda s: [write.password for write in s.writes(reference)])

    def profile(self, reference: str) -> bytes:
        """Everything of a user but the password, as JSON text."""
        return self.do(lambda s: s.profile_text(reference))

    def fault(self, name: str, reference: str, method: str = "PUT") -> None:
        """Let the next such request for a user fail."""
        self.do(lambda s: s.next(name, method=method, path=reference))

    def settings(self) -> dict[str, str]:
        """The environment that leads to it."""
        return genesys(self.url, secret=self.secret)


def genesys(url: str, *, secret: str = "simulator-secret") -> dict[str, str]:
    """The environment of a gateway whose target is at ``url``."""
    return {
        "GENESYS_API_URL": url,
        "GENESYS_LOGIN_URL": url,
        "GENESYS_CLIENT_ID": "simulator",
        "GENESYS_CLIENT_SECRET": secret,
    }


# --- processes -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return (self.out + self.err).decode(errors="replace")


@dataclass(slots=True)
class Running:
    """A process that runs, and where it writes."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path
    url: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """What it has said so far."""
        return self.err.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of an event."""
        found = []
        for line in self.log().splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == name:
                    found.append(entry)
        return found

    def listening(self, seconds: float = START_SECONDS) -> "Running":
        """Wait until it says where it listens. Raises AssertionError."""

        def first_line() -> bytes:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.log()[-2000:]}")
            text = self.out.read_bytes()
            return text.splitlines()[0] if b"\n" in text else b""

        self.url = json.loads(until(first_line, seconds, "listening"))["url"]
        return self

    def kill(self) -> None:
        """kill -9."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self, seconds: float = 40.0) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)


@dataclass(slots=True)
class Home:
    """One gateway's place: state, key ring, logs of all its processes, environment."""

    root: Path
    target: Mapping[str, str]
    more: Mapping[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)
    _count: int = 0

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def ring(self) -> Path:
        return self.root / "keys" / "ring"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Nothing of ours or of Genesys's tools is inherited."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(("GENESYS", "PASSFERRY_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        own = {
            "PASSFERRY_STATE_DIR": str(self.state),
            "PASSFERRY_KEY_FILE": str(self.ring),
            "PASSFERRY_LOG_FORMAT": "json",
            "PYTHONPYCACHEPREFIX": bytecode(),
        }
        return kept | own | dict(self.target) | dict(self.more) | dict(more or {})

    def spawn(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        module: str = "passferry",
    ) -> Running:
        """Start ``passferry ARGUMENTS``; another ``module``, of the tests, is one that stands in for it."""
        self.root.mkdir(exist_ok=True)
        self._count += 1
        out, err = (self.root / f"{self._count:03d}-{arguments[0]}.{name}" for name in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=self.root,
                env=self.environment(env) | (WITH_TESTS if module != "passferry" else {}),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        running = Running(process, out, err)
        self.started.append(running)
        return running

    def serve(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
    ) -> Running:
        """A gateway on a free port that answers."""
        running = self.spawn("serve", "--listen", "127.0.0.1:0", "--json", *arguments, env=env)
        return running.listening()

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        seconds: float = 60.0,
        module: str = "passferry",
    ) -> Done:
        """``passferry ARGUMENTS`` to its end; ``module`` as in ``spawn``."""
        self.root.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.root,
            env=self.environment(env) | (WITH_TESTS if module != "passferry" else {}),
            input=stdin,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def key(self, name: str = "tester", *options: str) -> str:
        """A new access key."""
        made = self.run("access", "add", name, "--json", *options)
        assert made.code == 0, made.text
        return str(json.loads(made.out)["apiKey"])

    def end(self) -> None:
        """End what still runs."""
        for running in self.started:
            if running.process.poll() is None:
                running.kill()


@contextmanager
def home(root: Path, target: Mapping[str, str], **more: str) -> Iterator[Home]:
    """A gateway's place below ``root``; whatever was started ends with the block."""
    place = Home(root, target, more)
    try:
        yield place
    finally:
        place.end()


# --- changes ---------------------------------------------------------------------------------

ENDED = ("applied", "refused", "superseded", "expired", "cancelled")


@dataclass(slots=True)
class Client:
    """One source that talks to a gateway."""

    url: str
    key: str

    def send(
        self,
        user: str,
        password: str,
        *,
        idem: str | None = None,
        prefer: str | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """POST /sync/password."""
        headers = {}
        if idem is not None:
            headers["Idempotency-Key"] = idem
        if prefer is not None:
            headers["Prefer"] = prefer
        body = {"userId": user, "password": password}
        return call(
            "POST", f"{self.url}/sync/password", key=self.key, body=body, headers=headers, timeout=timeout
        )

    def later(self, user: str, password: str) -> str:
        """Send and do not wait for the delivery; the change's id."""
        answer = self.send(user, password, prefer="respond-async")
        assert answer.status in (200, 202), answer.raw
        return str(answer.json["changeId"])

    def change(self, change_id: str) -> dict[str, Any]:
        """GET /changes/{id}."""
        found: dict[str, Any] = call("GET", f"{self.url}/changes/{change_id}", key=self.key).json
        return found

    def ends(self, change_id: str, *states: str, seconds: float = 30.0) -> dict[str, Any]:
        """The change once it has one of ``states`` (any end by default)."""
        wanted = states or ENDED

        def look() -> dict[str, Any] | None:
            change = self.change(change_id)
            return change if change["status"] in wanted else None

        try:
            found = until(look, seconds, f"{change_id} {wanted}")
        except AssertionError:
            raise AssertionError(f"not {wanted}: {self.change(change_id)}") from None
        assert found is not None
        return found
