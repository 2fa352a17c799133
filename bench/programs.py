"""Real processes for a measurement: simulator, gateway, and a bare JSON echo on the gateway's own server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

READY_SECONDS = 30.0


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
def program(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[Running]:
    """Start a program that prints its URL as JSON or text, and end it by its process id."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Running(process, _url(process, log))
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


@contextlib.contextmanager
def gateway(folder: Path, target: str, **settings: str) -> Iterator[tuple[Running, str]]:
    """`passferry serve` on a fresh state, and a key of a source."""
    environment = {
        "GENESYS_CLIENT_ID": "simulator",
        "GENESYS_CLIENT_SECRET": "simulator-secret",
        "GENESYS_API_URL": target,
        "GENESYS_LOGIN_URL": target,
        "PASSFERRY_STATE_DIR": str(folder / "state"),
        "PASSFERRY_KEY_FILE": str(folder / "keys" / "ring"),
        "PASSFERRY_LOG_FORMAT": "json",
    } | settings
    command = ["-m", "passferry", "serve", "--listen", "127.0.0.1:0"]
    with program(command, environment, folder / "gateway.log") as running:
        added = subprocess.run(
            [sys.executable, "-m", "passferry", "access", "add", "bench", "--json"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        yield running, json.loads(added.stdout)["apiKey"]


@contextlib.contextmanager
def echo(folder: Path) -> Iterator[Running]:
    """The bare echo of ``bench/echo.py``."""
    with program([str(Path(__file__).parent / "echo.py")], {}, folder / "echo.log") as running:
        yield running


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="passferry-bench-") as made:
        yield Path(made)


def get_json(url: str) -> dict[str, object]:
    """What a loopback URL answers."""
    with urlopen(Request(url), timeout=10) as answer:
        found: dict[str, object] = json.loads(answer.read())
    return found
