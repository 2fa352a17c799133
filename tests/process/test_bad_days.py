"""Days on which the machine itself is in the way: a full disk, a locked database, a stop in mid-flight."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from passferry.simulator import Settings
from process.harness import Answer, Client, StandIn, call, home, until

FAST = {
    "PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT": "1",
    "PASSFERRY_ORGS_DEFAULT_RATE": "100000",
    "PASSFERRY_VERIFIER": "false",
}
LIMITER = Path(__file__).parent / "full_disk"


@contextmanager
def small_disk(size: str = "1m") -> Iterator[Path | None]:
    """A file system of that size, or None where none may be mounted."""
    place = Path(tempfile.mkdtemp(prefix="passferry-disk-"))
    mounted = False
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(place)]
        mounted = (
            shutil.which("mount") is not None
            and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        )
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


def fill(client: Client, users: list[str], most: int) -> tuple[dict[str, str], Answer, int]:
    """Send until something but 202 comes: the newest password by user, that answer, how many went well."""
    newest: dict[str, str] = {}
    for number in range(most):
        user, password = users[number % len(users)], f"Full-{number}-Pass-1!"
        answer = client.send(user, password, idem=f"full-{number}", prefer="respond-async")
        if answer.status != 202:
            return newest, answer, number
        newest[user] = password
    raise AssertionError(f"{most} changes and the disk is not full")


def last_is(target: StandIn, user: str, password: str) -> bool:
    """Whether the target got it last."""
    return target.passwords(user)[-1:] == [password]


@pytest.mark.parametrize("way", ["a file system that is full", "a database that cannot grow"])
def test_a_full_disk_is_said_with_503_and_costs_no_change(tmp_path: Path, way: str) -> None:
    """503 and Retry-After, nothing half accepted; with room again, all that was accepted is delivered."""
    with StandIn(Settings.calm(rate=100_000), users=16) as target, small_disk() as disk:
        users = [user for user, _ in target.active_users()[:8]]
        flag = tmp_path / "full"
        path = os.pathsep.join(filter(None, (str(LIMITER), os.environ.get("PYTHONPATH"))))
        more = FAST | {"FULL_DISK": str(flag), "PYTHONPATH": path}
        with home(tmp_path / "gateway", target.settings(), **more) as place:
            grow = None
            if disk is not None and way.startswith("a file system"):
                place.more = FAST | {"PASSFERRY_STATE_DIR": str(disk / "state")}
                grow = ["mount", "-o", "remount,size=64m", str(disk)]
            key, operator = place.key(), place.key("operator", "--role", "operator")
            gateway = place.serve()
            client = Client(gateway.url, key)
            call("POST", f"{gateway.url}/orgs/default/pause", key=operator)
            flag.touch()
            newest, answer, accepted = fill(client, users, 3000)
            assert (answer.status, answer.json["code"]) == (503, "disk.full")
            assert int(answer.headers["retry-after"]) > 0
            assert "changeId" not in answer.json
            assert call("GET", f"{gateway.url}/healthz").status == 200
            assert call("GET", f"{gateway.url}/readyz").status == 503
            time.sleep(1.5)  # delivery meets the full disk, too
            assert gateway.process.poll() is None
            flag.unlink()
            if grow is not None:
                subprocess.run(grow, check=True)
            again = client.send(
                users[0], "After-Full-Pass-1!", idem=f"full-{accepted}", prefer="respond-async"
            )
            assert again.status == 202
            assert call("GET", f"{gateway.url}/readyz").status == 200
            page = call("GET", f"{gateway.url}/changes?limit=200", key=operator).json
            assert len(page["changes"]) == min(200, accepted + 1)
            newest[users[0]] = "After-Full-Pass-1!"
            call("POST", f"{gateway.url}/orgs/default/resume", key=operator)
            for user, password in newest.items():
                until(partial(last_is, target, user, password), 30, "delivery")
            assert client.ends(again.json["changeId"], "applied")
            assert gateway.stop() == 0
            assert place.run("audit", "verify").code == 0


def test_a_database_locked_by_another_program_delays_and_loses_nothing(tmp_path: Path) -> None:
    """Its lock outlasts our patience while outcomes come in: all of them are written down afterwards."""
    with StandIn(Settings.calm(rate=100_000, latency=0.5), users=16) as target:
        users = [user for user, _ in target.active_users()[:8]]
        with home(tmp_path / "gateway", target.settings(), **FAST) as place:
            gateway = place.serve()
            client = Client(gateway.url, place.key())
            changes = [client.later(user, "Locked-Pass-1!") for user in users]
            until(lambda: target.do(lambda s: s.stats()["passwordWrites"]) == len(users), 30, "the writes")
            with closing(sqlite3.connect(place.state / "passferry.db", timeout=5)) as other:
                other.execute("BEGIN IMMEDIATE")
                late: list[Answer] = []
                sender = threading.Thread(
                    target=lambda: late.append(client.send(users[0], "Late-Pass-1!", idem="late", timeout=60))
                )
                sender.start()
                time.sleep(12)
                other.rollback()
            sender.join(60)
            assert gateway.process.poll() is None
            assert late[0].status in (200, 503), late[0].raw
            assert client.send(users[0], "Late-Pass-1!", idem="late").status == 200
            for change in changes:
                assert client.ends(change, "applied", "superseded", seconds=40)["attempts"] <= 1
            assert [target.passwords(user) for user in users[1:]] == [["Locked-Pass-1!"]] * 7
            assert target.passwords(users[0])[-1] == "Late-Pass-1!"
            assert gateway.events("delivery.defect") == []
            assert gateway.stop() == 0


def test_sigterm_finishes_what_is_in_flight_and_exits_0(tmp_path: Path) -> None:
    """The waiting caller gets its 200, the outcome is written down, nothing is in doubt afterwards."""
    with StandIn(Settings.calm(rate=100_000, latency=0.6), users=16) as target:
        users = [user for user, _ in target.active_users()[:3]]
        with home(tmp_path / "gateway", target.settings(), **FAST) as place:
            gateway = place.serve()
            client = Client(gateway.url, place.key())
            answers: list[Answer] = []
            caller = threading.Thread(target=lambda: answers.append(client.send(users[0], "Term-Pass-1!")))
            caller.start()
            changes = [client.later(user, "Term-Pass-1!") for user in users[1:]]
            until(lambda: target.do(lambda s: s.stats()["passwordWrites"]) == 3, 20, "the writes")
            began = time.monotonic()
            assert gateway.stop() == 0
            assert time.monotonic() - began < 15
            caller.join(10)
            assert [answer.status for answer in answers] == [200]
            target.do(lambda s: s.set(latency=0.0))
            client.url = place.serve().url
            for change in changes:
                assert client.ends(change, "applied")["evidence"] == "confirmed"
            assert [len(target.passwords(user)) for user in users] == [1, 1, 1]


def test_hold_parks_what_waits_until_an_operator_releases_it(tmp_path: Path) -> None:
    """After a restore from a back-up nothing old is sent by itself; a retry sends it."""
    with StandIn(Settings.calm(rate=100_000), users=16) as target:
        user = target.active_users()[0][0]
        with home(tmp_path / "gateway", target.settings(), **FAST) as place:
            key = place.key()
            away = {"GENESYS_API_URL": "http://127.0.0.1:1", "GENESYS_LOGIN_URL": "http://127.0.0.1:1"}
            first = place.serve(env=away)
            change = Client(first.url, key).later(user, "Held-Pass-1!")
            first.kill()
            client = Client(place.serve("--hold").url, key)
            assert client.ends(change, "parked")["error"]["code"] == "held"
            time.sleep(1.5)
            assert target.passwords(user) == []
            assert place.run("changes", "retry", change).code == 0
            assert client.ends(change, "applied")
            assert target.passwords(user) == ["Held-Pass-1!"]
