"""`demo` run whole, as a newcomer runs it; and that it leaves nothing behind."""

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from passferry.entrypoints.cli_http import call
from passferry.entrypoints.demo import SCENES, Step, _newest
from passferry.entrypoints.demo_show import Screen

TITLES = [title for title, _ in SCENES]


@contextmanager
def demo(directory: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """``passferry demo`` with settings in its environment that must not be used; ended in any case."""
    environment = {
        **os.environ,
        "TMPDIR": str(directory),
        "GENESYS_CLIENT_ID": "mine",
        "GENESYS_CLIENT_SECRET": "mine",
        "GENESYS_REGION": "us-east-1",
        "PASSFERRY_STATE_DIR": str(directory / "mine"),
        "PASSFERRY_LISTEN": "127.0.0.1:1",
        "PASSFERRY_CONFIG": str(directory / "none.toml"),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "passferry", "demo", *arguments],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # it ends its own processes first
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_demo_shows_every_scene_and_ends_with_0(tmp_path: Path) -> None:
    """From nothing, beside settings of the user's own: all scenes true, no password shown, nothing left."""
    with demo(tmp_path) as process:
        out, err = process.communicate(timeout=120)
    text = out.decode()
    assert process.returncode == 0, err.decode()[-2000:]
    assert [line for line in text.splitlines() if "✘" in line] == []
    assert [title for title in TITLES if title not in text] == []
    assert "password.not.enough.digits" in text
    assert "→ 429" in text
    assert re.search(rf"{len(TITLES)} of {len(TITLES)} as they should be", text)
    assert "\x1b" not in text, "colours are for terminals"
    assert "Demo-" not in text
    assert list(tmp_path.iterdir()) == []


def read_line(process: "subprocess.Popen[bytes]", seconds: float) -> bytes:
    """The first line of its output."""
    assert process.stdout is not None
    text, until = b"", time.monotonic() + seconds
    while not text.endswith(b"\n") and time.monotonic() < until:
        if select.select([process.stdout], [], [], 0.2)[0]:
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                break
            text += part
    return text


def test_demo_keep_runs_on_until_ctrl_c_and_then_leaves_nothing(tmp_path: Path) -> None:
    """--keep --json gives addresses and a key that work; Ctrl-C ends both, with exit code 0."""
    with demo(tmp_path, "--keep", "--json") as process:
        shown: dict[str, Any] = json.loads(read_line(process, 120))
        assert (shown["ok"], [step["title"] for step in shown["steps"]]) == (True, TITLES)
        assert all(proof["ok"] for step in shown["steps"] for proof in step["proofs"])
        body = {"userId": "agent007@example.com", "password": "Str0ng-enough!"}
        url = shown["gateway"] + "/sync/password"
        answer = call("POST", url, key=shown["apiKey"], json_body=body)
        assert (answer.status, answer.body["status"]) == (200, "applied")
        arrived = call("GET", f"{shown['simulator']}/simulator/users/agent007@example.com").body
        assert arrived["password"] == body["password"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("ends", "times", "newest"),
    [
        (["superseded", "applied"], [2, 1], 1),
        (["applied", "superseded"], [1, 2], 0),
        (["applied", "applied"], [2, 1], 0),
        (["applied", "applied"], [1, 2], 1),
        (["parked", "superseded"], [1, 2], None),
        (["applied"], [1], None),
    ],
)
def test_the_newest_of_two(ends: list[str], times: list[int], newest: int | None) -> None:
    """The one that superseded the other, else the one accepted later; None when that is not known."""
    changes = [{"status": end, "acceptedAt": f"2026-01-0{at}"} for end, at in zip(ends, times, strict=True)]
    assert _newest(changes) == newest


def test_a_terminal_without_unicode_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only ASCII can be shown, marks and arrows are spelt."""
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    step = Step("A scene", timeline=[(0.0, "GET /users → 200")], proofs=[("it holds", True)])
    Screen(quiet=False).step(1, step)
    ascii_only.seek(0)
    shown = ascii_only.read()
    assert "GET /users -> 200" in shown
    assert "ok it holds" in shown


def test_a_claim_that_does_not_hold_is_shown_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A scene is good only when all its claims hold, and one without a claim is not."""
    step = Step("A scene")
    before = step.ok
    step.prove("this holds", True)
    with_one = step.ok
    step.prove("this does not", False)
    assert (before, with_one, step.ok) == (False, True, False)
    Screen(quiet=False).step(1, step)
    shown = capsys.readouterr().out
    assert re.search(r"(✘|NOT SO:) 1  A scene", shown)
    assert re.search(r"(✘|NOT SO:) this does not", shown)
