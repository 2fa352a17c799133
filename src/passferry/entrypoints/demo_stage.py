"""What the demo plays on: the stand-in and the gateway, each a process of its own, in a directory of its own.

They are the very commands that a user would run, so that the demo shows the product and not a copy of it.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passferry.client import Reply
from passferry.entrypoints.cli_http import call

START_SECONDS = 30.0
"""How long a process may take until it listens."""


class StageError(Exception):
    """The stage could not be set; the text says why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Addresses, the key, and where everything is kept. The key is not shown."""

    gateway: str
    simulator: str
    key: str
    directory: Path
    processes: tuple["subprocess.Popen[bytes]", ...]

    def __repr__(self) -> str:
        return f"Stage({self.gateway!r}, {self.simulator!r})"

    def send(self, body: Mapping[str, Any], **headers: str) -> Reply:
        """``POST /sync/password``; header names with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(
            "POST", f"{self.gateway}/sync/password", key=self.key, json_body=body, headers=named, timeout=30
        )

    def change(self, change_id: str) -> dict[str, Any]:
        """``GET /changes/{id}``."""
        return call("GET", f"{self.gateway}/changes/{change_id}", key=self.key).body

    def user(self, name: str) -> dict[str, Any]:
        """What the stand-in holds of a user, its last password included."""
        return call("GET", f"{self.simulator}/simulator/users/{name}").body

    def requests(self, since: float) -> list[dict[str, Any]]:
        """What arrived at the stand-in since then (epoch seconds), oldest first."""
        found = call("GET", f"{self.simulator}/simulator/journal?limit=1000").body["requests"]
        return [entry for entry in reversed(found) if entry["time"] >= _iso(since)]

    def fault(self, name: str, method: str, path: str) -> None:
        """Let the next such request fail."""
        wanted = {"fault": name, "method": method, "path": path}
        call("POST", f"{self.simulator}/simulator/faults", json_body=wanted)

    def command(self, *arguments: str) -> dict[str, Any]:
        """See ``command``."""
        return command(self.directory, *arguments)

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Every file that the gateway has written, and what it holds."""
        for path in sorted(self.directory.rglob("*")):
            if path.is_file():
                with suppress(FileNotFoundError):  # SQLite takes its side files away
                    yield path, path.read_bytes()

    def log_tail(self) -> str:
        """The end of what the gateway said."""
        return "\n".join((self.directory / "gateway.log").read_text(errors="replace").splitlines()[-20:])

    def alive(self) -> bool:
        """Whether both processes run."""
        return all(process.poll() is None for process in self.processes)


PASSFERRY = (sys.executable, "-m", "passferry")


def _iso(at: float) -> str:
    from passferry.entrypoints.cli_io import timestamp

    return timestamp(at) or ""


def _environment(directory: Path) -> dict[str, str]:
    """This process's environment without any setting of ours or of Genesys's tools, plus the stage's own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("GENESYS", "PASSFERRY_"))
    }
    own = {
        "PASSFERRY_STATE_DIR": str(directory / "state"),
        "PASSFERRY_KEY_FILE": str(directory / "keys" / "ring"),
        "PASSFERRY_LOG_FORMAT": "json",
    }
    return kept | own | _target(directory)


def _target(directory: Path) -> dict[str, str]:
    """The settings that lead to the stand-in, once they are known."""
    file = directory / "target.json"
    return json.loads(file.read_text()) if file.exists() else {}


@contextmanager
def stage() -> Iterator[Stage]:
    """Start both, and end both. Raises ``StageError``."""
    with tempfile.TemporaryDirectory(prefix="passferry-demo-") as name, _terminated():
        directory = Path(name)
        processes: list[subprocess.Popen[bytes]] = []
        try:
            yield _start(directory, processes)
        finally:
            for process in reversed(processes):
                _end(process)


def _start(directory: Path, processes: list["subprocess.Popen[bytes]"]) -> Stage:
    (directory / "state").mkdir(mode=0o700)
    (directory / "keys").mkdir(mode=0o700)
    simulate = ("simulate", "--listen", "127.0.0.1:0", "--calm", "--seed", "1", "--json")
    _launch(simulate, directory, "simulator", processes)
    # The key is made while the stand-in starts: one start of an interpreter less to wait for.
    made = command(directory, "access", "add", "demo")
    target = _told(processes[0], directory, "simulator")
    (directory / "target.json").write_text(json.dumps(target["settings"]))
    _launch(("serve", "--listen", "127.0.0.1:0", "--json"), directory, "gateway", processes)
    gateway = _told(processes[1], directory, "gateway")
    if "apiKey" not in made:
        raise StageError("no access key could be made")
    return Stage(gateway["url"], target["url"], made["apiKey"], directory, tuple(processes))


def command(directory: Path, *arguments: str) -> dict[str, Any]:
    """What ``passferry ARGUMENTS --json`` prints, run on the stage's state; {} when it failed."""
    done = subprocess.run(
        [*PASSFERRY, *arguments, "--json"],
        cwd=directory,
        env=_environment(directory),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    found = json.loads(done.stdout) if done.returncode == 0 and done.stdout else {}
    return found if isinstance(found, dict) else {}


def _launch(
    arguments: tuple[str, ...], directory: Path, name: str, processes: list["subprocess.Popen[bytes]"]
) -> None:
    with (directory / f"{name}.log").open("wb") as errors:
        process = subprocess.Popen(
            [*PASSFERRY, *arguments],
            cwd=directory,
            env=_environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is ours to handle, in order
        )
    processes.append(process)


def _told(process: "subprocess.Popen[bytes]", directory: Path, name: str) -> dict[str, Any]:
    """The line of JSON with which a process says that it listens. Raises ``StageError``."""
    line = _first_line(process, time.monotonic() + START_SECONDS)
    if not line:
        log = (directory / f"{name}.log").read_text(errors="replace")
        raise StageError(f"the {name} did not start\n" + "\n".join(log.splitlines()[-20:]))
    found: dict[str, Any] = json.loads(line)
    return found


def _first_line(process: "subprocess.Popen[bytes]", until: float) -> bytes:
    assert process.stdout is not None  # noqa: S101  # it was asked for
    text = b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        part = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not part:
            return b""
        text += part
    return text.splitlines()[0]


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def _terminated() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C, so that nothing is left running."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
