"""Real processes for a measurement: simulator, gateway, and a bare JSON echo on the gateway's own server."""

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

PASSFERRY = ("-m", "passferry")


@functools.cache
def inherited() -> dict[str, str]:
    """Our environment, for programs that find their modules compiled from the second start on.

    As where they are installed, whatever whoever measures has told Python for themselves.
    """
    compiled = tempfile.mkdtemp(prefix="passferry-bytecode-")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": compiled}


@dataclass
class Running:
    """A process that listens at ``url``."""

    process: subprocess.Popen[str]
    url: str

    @property
    def host(self) -> tuple[str, int]:
        """Where it listens."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port.strip("/"))

    def peak_mib(self) -> float:
        """The largest resident size so far, in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise LookupError("VmHWM")

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def program(
    arguments: list[str], environment: dict[str, str], log: Path, *, listens: bool = True
) -> Iterator[Running]:
    """Start a program, wait for it to print its URL if it ``listens``, and end it by its process id."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=inherited() | environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Running(process, _url(process, log) if listens else "")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _url(process: "subprocess.Popen[str]", log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        words = line.replace('"', " ").replace("=", " ").split()
        for word in words:
            if word.startswith("http://"):
                return word.strip("/,}")
    raise RuntimeError(f"it did not start: {log.read_text()[-2000:]}")


@contextlib.contextmanager
def simulator(folder: Path, *options: str) -> Iterator[Running]:
    """`passferry simulate` without faults."""
    command = ["-m", "passferry", "simulate", "--listen", "127.0.0.1:0", "--calm", *options]
    with program(command, {}, folder / "simulator.log") as running:
        yield running


@dataclass
class Gateway(Running):
    """A `passferry serve`, with a key of a source and one of an operator."""

    source: str
    operator: str

    @property
    def headers(self) -> str:
        """Of a change whose caller does not wait for its delivery."""
        return f"Authorization: Bearer {self.source}\r\nPrefer: respond-async\r\n"

    def pause(self) -> None:
        """Accept, and deliver nothing."""
        self._operate("pause")

    def resume(self) -> None:
        """Deliver again."""
        self._operate("resume")

    def _operate(self, act: str) -> None:
        request = Request(f"{self.url}/orgs/default/{act}", method="POST", data=b"")
        request.add_header("Authorization", f"Bearer {self.operator}")
        urlopen(request, timeout=10).close()


def environment(folder: Path, target: str = "http://127.0.0.1:9", **settings: str) -> dict[str, str]:
    """Settings of a gateway whose state is in ``folder``."""
    return {
        "GENESYS_CLIENT_ID": "simulator",
        "GENESYS_CLIENT_SECRET": "simulator-secret",
        "GENESYS_API_URL": target,
        "GENESYS_LOGIN_URL": target,
        "PASSFERRY_STATE_DIR": str(folder / "state"),
        "PASSFERRY_KEY_FILE": str(folder / "keys" / "ring"),
        "PASSFERRY_LOG_FORMAT": "json",
    } | settings


@contextlib.contextmanager
def gateway(
    folder: Path, target: str, runner: Sequence[str] = PASSFERRY, **settings: str
) -> Iterator[Gateway]:
    """`passferry serve` on the state in ``folder``, new if there is none. ``runner``: what is `passferry`."""
    given = environment(folder, target, **settings)
    command = [*runner, "serve", "--listen", "127.0.0.1:0"]
    with program(command, given, folder / "gateway.log") as running:
        keys = [_key(given, "bench", "source"), _key(given, "operator", "operator")]
        yield Gateway(running.process, running.url, *keys)


def _key(given: dict[str, str], name: str, role: str) -> str:
    command = [sys.executable, "-m", "passferry", "access", "add", name, "--role", role, "--json"]
    added = subprocess.run(command, env=inherited() | given, capture_output=True, text=True, check=True)
    return str(json.loads(added.stdout)["apiKey"])


@contextlib.contextmanager
def echo(folder: Path) -> Iterator[Running]:
    """The bare echo of ``bench/echo.py``."""
    with program([str(Path(__file__).parent / "echo.py")], {}, folder / "echo.log") as running:
        yield running


@contextlib.contextmanager
def standin(folder: Path) -> Iterator[Running]:
    """The light target of ``bench/standin.py``."""
    with program([str(Path(__file__).parent / "standin.py")], {}, folder / "standin.log") as running:
        yield running


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="passferry-bench-") as made:
        yield Path(made)


def get_json(url: str) -> Any:
    """What a loopback URL answers."""
    with urlopen(Request(url), timeout=30) as answer:
        return json.loads(answer.read())


def count(target: Running, name: str) -> int:
    """One of the simulator's counts."""
    return int(get_json(f"{target.url}/simulator/stats")[name])


def users(target: Running) -> list[str]:
    """Ids of the simulator's active users."""
    found = get_json(f"{target.url}/simulator/users")
    listed = found["users"] if isinstance(found, dict) else found
    return [user["id"] for user in listed if user["active"]]
