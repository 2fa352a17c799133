"""Runs the programs of sources: bounded in time, ended by their id."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

SECONDS = 240
"""For a program. Provisioning a domain takes 10 of a processor, of which others may have the most."""
USED: set[str] = set()
"""Every password that was given to a source, or that was tried, for the search at the end."""
SHORTEST = 8
"""Characters of one that can be searched for: a shorter one is found by chance."""
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def used(password: str) -> str:
    """``password``, which will be searched for."""
    if len(password) >= SHORTEST:
        USED.add(password)
    return password


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """A folder that daemons under users of their own can reach, with a short name: sockets lie in it."""
    made = Path(tempfile.mkdtemp(prefix=f"passferry-{prefix}-", dir="/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def daemon(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with its children in a session of their own, all ended with the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(os.environ) | {"PATH": PATH} | dict(env or {}),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]", seconds: float = 10.0) -> None:
    """SIGTERM, then SIGKILL to whatever of its session is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def said(*command: str, env: Mapping[str, str] | None = None, stdin: str = "") -> tuple[int, str]:
    """Exit code and output of a program."""
    done = subprocess.run(
        command,
        input=stdin.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ) | {"PATH": PATH, "LC_ALL": "C.UTF-8"} | dict(env or {}),
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def done(*command: str, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """The output of a program that ends well."""
    code, text = said(*command, env=env, stdin=stdin)
    assert code == 0, (command[0], code, text)
    return text
