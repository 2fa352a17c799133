"""`import` by real processes: killed again and again; ten thousand rows in bounded memory."""

import json
import os
import pty
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from passferry.simulator import Settings
from process.ground import Ledger
from process.harness import StandIn, home

KILLS = 8
ROWS = 120
KEY = "pf_0_" + "0" * 64


def written(path: Path, rows: Iterator[tuple[str, str]]) -> Path:
    """A file that nobody else may read."""
    lines = "".join(f"{user},{password}\r\n" for user, password in rows)
    path.write_bytes(("userName,password\r\n" + lines).encode())
    path.chmod(0o600)
    return path


def test_killed_again_and_again_every_password_arrives_and_none_is_accepted_twice(tmp_path: Path) -> None:
    """kill -9 at random moments of sending and following: in the end each user has the row's password."""
    draw = random.Random(7)
    settings = Settings.calm(rate=1_000_000, latency=0.05)
    with StandIn(settings, users=2 * ROWS) as target, home(tmp_path / "gateway", target.settings()) as place:
        place.more = {"PASSFERRY_ORGS_DEFAULT_RATE": "100000", "PASSFERRY_VERIFIER": "false"}
        users = target.active_users()[:ROWS]
        rows = ((name, f"Correct-Horse-{n}") for n, (_, name) in enumerate(users))
        path = written(tmp_path / "new.csv", rows)
        env = {"PASSFERRY_API_KEY": place.key("import"), "PASSFERRY_URL": place.serve().url}
        sending = 0
        for _ in range(KILLS):
            running = place.spawn("import", str(path), env=env)
            began = time.monotonic()
            journal = tmp_path / "new.csv.import"
            while running.process.poll() is None and time.monotonic() - began < 20:
                if journal.exists() and draw.random() < 0.02:
                    break
                time.sleep(0.005)
            sending += running.process.poll() is None
            running.kill()
        done = place.run("import", str(path), env=env, seconds=120)
        assert done.code == 0, done.text
        assert done.out == f"rows: {ROWS}; {ROWS} applied\n".encode()
        assert sending >= 3
        for number, (user, _) in enumerate(users):
            assert target.passwords(user) == [f"Correct-Horse-{number}"]
        ledger = Ledger.of(place)
        assert len(ledger.changes) == ROWS
        assert all(change["bulk"] for change in ledger.changes.values())


def test_a_gateway_that_is_killed_meanwhile_is_waited_for(tmp_path: Path) -> None:
    """kill -9 twice while rows are sent: the same import goes on, and no row becomes two changes."""
    settings = Settings.calm(rate=1_000_000)
    with StandIn(settings, users=2 * ROWS) as target, home(tmp_path / "gateway", target.settings()) as place:
        place.more = {"PASSFERRY_ORGS_DEFAULT_RATE": "100000", "PASSFERRY_VERIFIER": "false"}
        users = [name for _, name in target.active_users()[:ROWS]]
        rows = ((name, f"Correct-Horse-{n}") for n, name in enumerate(users))
        path, key = written(tmp_path / "new.csv", rows), place.key("import")
        gateway = place.serve()
        running = place.spawn(
            "import", str(path), env={"PASSFERRY_API_KEY": key, "PASSFERRY_URL": gateway.url}
        )
        journal = tmp_path / "new.csv.import"

        def answered() -> int:
            return journal.read_bytes().count(b"\n") if journal.exists() else 0

        for most in (ROWS // 4, ROWS // 2):
            while answered() < most:
                assert running.process.poll() is None, running.log()
                time.sleep(0.005)
            gateway.kill()
            assert running.process.poll() is None, running.log()
            gateway = place.serve("--listen", gateway.url.removeprefix("http://"))
        assert running.process.wait(120) == 0, running.log()
        assert running.out.read_bytes() == f"rows: {ROWS}; {ROWS} applied\n".encode()
        assert [target.passwords(user)[-1] for user in users] == [f"Correct-Horse-{n}" for n in range(ROWS)]
        assert len(Ledger.of(place).changes) == ROWS


def test_a_dry_run_finds_who_cannot_be_written_to(tmp_path: Path) -> None:
    """At the target itself, by name and by id; policy and look-ups only, and no change is made."""
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path / "gateway", target.settings()) as place,
    ):
        place.more = {"PASSFERRY_ORGS_DEFAULT_RATE": "100000"}
        (user, name), (other, _) = target.active_users()[:2]
        env = {"PASSFERRY_API_KEY": place.key("import"), "PASSFERRY_URL": place.serve().url}
        rows = [
            (name, "Correct-Horse-1"),
            ("nobody@example.com", "Correct-Horse-2"),
            ("x@example.com", "short"),
        ]
        by_name = written(tmp_path / "names.csv", iter(rows))
        done = place.run("import", str(by_name), "--dry-run", "--json", env=env)
        failed = {row["row"]: row["code"].split()[0] for row in json.loads(done.out)["failed"]}
        assert (done.code, failed) == (1, {3: "user.unknown", 4: "password.too.short"})
        ids = tmp_path / "ids.csv"
        lost = "00000000-0000-4000-8000-000000000000"
        ids.write_text(
            f"userId,password\n{user},Correct-Horse-1\n{lost},Correct-Horse-2\n{other},Correct-Horse-3\n"
        )
        ids.chmod(0o600)
        done = place.run("import", str(ids), "--dry-run", env=env)
        assert done.out.decode().splitlines() == ["rows: 3; 2 fine, 1 refused", "row 3: refused user.unknown"]
        assert Ledger.of(place).changes == {}


def test_a_row_that_was_refused_arrives_once_its_cause_is_mended(tmp_path: Path) -> None:
    """A user wrongly among those never touched: the same command sends that row again, and only that one."""
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path / "gateway", target.settings()) as place,
    ):
        (_, first), (_, second) = target.active_users()[:2]
        env = {"PASSFERRY_API_KEY": place.key("import")}
        path = written(tmp_path / "new.csv", iter([(first, "Correct-Horse-1"), (second, "Correct-Horse-2")]))
        gateway = place.serve(env={"PASSFERRY_ORGS_DEFAULT_NEVER": second})
        done = place.run("import", str(path), env=env | {"PASSFERRY_URL": gateway.url})
        assert (done.code, done.out.decode().splitlines()[1:]) == (1, ["row 3: refused user.protected"])
        assert gateway.stop() == 0
        gateway = place.serve("--listen", gateway.url.removeprefix("http://"))
        done = place.run("import", str(path), env=env | {"PASSFERRY_URL": gateway.url})
        assert (done.code, done.out) == (0, b"rows: 2; 2 applied\n"), done.text
        assert (target.passwords(first), target.passwords(second)) == (
            ["Correct-Horse-1"],
            ["Correct-Horse-2"],
        )
        assert len(Ledger.of(place).changes) == 2


@contextmanager
def quick_gateway() -> Iterator[str]:
    """Takes everything and has applied it when it is asked; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            key = self.headers["Idempotency-Key"]
            change = key.rpartition("-")[2].zfill(32)
            self._say(202, {"success": True, "changeId": change, "status": "pending"})

        def do_GET(self) -> None:
            if self.path == "/pace":
                self._say(200, {"requestsPerMinute": 300, "waiting": 0})
            else:
                self._say(200, {"status": "applied", "error": None})

        def _say(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def shown_at_a_terminal(path: Path, url: str) -> str:
    """What importing ``path`` writes to a terminal as its standard error."""
    env = {
        **os.environ,
        "TERM": "xterm",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "PASSFERRY_URL": url,
        "PASSFERRY_API_KEY": KEY,
    }
    shown = b""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        command = [sys.executable, "-m", "passferry", "import", str(path)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        with suppress(OSError):  # of a terminal that nobody has open any more
            while part := terminal.read(65_536):
                shown += part
        assert process.wait() == 0
        watchdog.cancel()
    return shown.decode()


def test_at_a_terminal_it_is_drawn_how_far_it_is(tmp_path: Path) -> None:
    """How many of how many are accepted, and delivered, and the time that is left."""
    rows = ((f"u{n}@example.com", "Correct-Horse-1") for n in range(300))
    path = written(tmp_path / "new.csv", rows)
    with quick_gateway() as url:
        shown = shown_at_a_terminal(path, url)
    for what in ("accepted", "delivered"):
        drawn = [int(done) for done in re.findall(rf"{what}\D[^\r\n]*?(\d+)/300", shown)]
        assert drawn == sorted(drawn)
        assert (drawn[0] < 300, drawn[-1]) == (True, 300), (what, drawn)
    assert re.search(r"\d/300 +\d:\d\d:\d\d", shown)


def memory_of_import(path: Path, url: str) -> int:
    """The most memory that importing ``path`` took, in bytes."""
    env = {**os.environ, "PASSFERRY_URL": url, "PASSFERRY_API_KEY": KEY}
    process = subprocess.Popen(
        [sys.executable, "-m", "passferry", "import", str(path)], env=env, stdout=subprocess.DEVNULL
    )
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    _, status, used = os.wait4(process.pid, 0)
    watchdog.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_maxrss * 1024


def test_ten_thousand_rows_need_no_memory_for_their_passwords(tmp_path: Path) -> None:
    """10,000 rows of a thousand characters take a few MiB more than ten, and nowhere near the file."""
    few = written(tmp_path / "few.csv", ((f"u{n}@example.com", "x" * 1000) for n in range(10)))
    many = written(tmp_path / "many.csv", ((f"u{n}@example.com", "x" * 1000) for n in range(10_000)))
    assert many.stat().st_size > 10_000_000
    with quick_gateway() as url:
        assert memory_of_import(many, url) - memory_of_import(few, url) < 8 * 1024 * 1024
