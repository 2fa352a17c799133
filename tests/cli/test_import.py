"""`import` against a small gateway that remembers what it was sent."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from passferry.entrypoints import cli_import_run
from passferry.entrypoints.import_journal import Journal, open_journal

Cli = Callable[..., Any]
KEY = "pf_0123456789_" + "ab" * 32
GOOD = "Canary-Horse-77"
Told = tuple[int, dict[str, Any], dict[str, str]]


@dataclass
class Gateway:
    """What it was sent, and what it shall say."""

    sent: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answers: list[Told | None] = field(default_factory=list)  # before anything else; None hangs up
    by_user: dict[str, Told] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, bool] | None = None  # of look-ups: whether active; None: there are none
    names: dict[str, str] = field(default_factory=dict)  # Idempotency-Key to change

    @property
    def passwords(self) -> list[tuple[str, str]]:
        return [(str(body.get("userName") or body.get("userId")), body["password"]) for _, body in self.sent]

    def answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> Told | None:
        self.asked.append(f"{method} {path}")
        if self.answers:
            return self.answers.pop(0)
        rest = path.removeprefix("/orgs/emea")
        if rest == "/pace":
            return 200, {"success": True, "requestsPerMinute": 300, "waiting": 0}, {}
        if rest == "/sync/password":
            return self._accept(headers, body)
        if rest == "/policy/check":
            return self.by_user.get(body.get("userName") or body.get("userId"), (200, {"success": True}, {}))
        if rest.startswith("/scim/v2/Users") and self.users is not None:
            return self._user(rest)
        if rest.startswith("/changes/"):
            change = rest.rpartition("/")[2]
            state = self.states.get(change, {"status": "applied", "error": None})
            return 200, {"success": True, "changeId": change, **state}, {}
        return 404, {"success": False, "message": "there is no such path", "code": "path.unknown"}, {}

    def _accept(self, headers: dict[str, str], body: dict[str, Any]) -> Told:
        user = body.get("userName") or body["userId"]
        if user in self.by_user:
            return self.by_user[user]
        self.sent.append((headers, body))
        change = self.names.setdefault(headers["idempotency-key"], f"c{len(self.names)}")
        return 202, {"success": True, "changeId": change, "status": "pending"}, {}

    def _user(self, rest: str) -> Told:
        assert self.users is not None
        query = parse_qs(urlsplit(rest).query)
        name = (
            json.loads(query["filter"][0].removeprefix("userName eq ")) if query else rest.rpartition("/")[2]
        )
        known = name in self.users
        if not query:
            return (200, {"active": self.users[name]}, {}) if known else (404, {"status": "404"}, {})
        return 200, {"Resources": [{"active": self.users[name]}] if known else []}, {}


@pytest.fixture
def gateway(clean: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A server on a free port of this machine, and the settings that lead to it."""
    told = Gateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._say(told.answer("POST", self.path, self._headers(), body))

        def do_GET(self) -> None:
            self._say(told.answer("GET", self.path, self._headers(), None))

        def _headers(self) -> dict[str, str]:
            return {name.lower(): value for name, value in self.headers.items()}

        def _say(self, answer: Told | None) -> None:
            if answer is None:
                self.close_connection = True
                return
            status, body, headers = answer
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("PASSFERRY_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("PASSFERRY_API_KEY", KEY)
    monkeypatch.setattr(cli_import_run.Gateway.__init__, "__defaults__", (lambda seconds: None, lambda: 0.0))
    yield told
    server.shutdown()
    server.server_close()


def file(*lines: str, header: str = "userName,password", name: str = "new.csv") -> Path:
    """A file that nobody else may read."""
    path = Path(name)
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8", newline="")
    path.chmod(0o600)
    return path


def here() -> list[str]:
    """What is in the folder."""
    return sorted(path.name for path in Path().iterdir())


def some(count: int) -> list[str]:
    """Rows of users of their own."""
    return [f"u{n}@example.com,{GOOD}{n}" for n in range(count)]


def test_every_row_is_sent_once_as_bulk_and_followed(cli: Cli, gateway: Gateway) -> None:
    """One request a row, async and bulk, with the file's own time; then each change is looked at."""
    path = file(*some(3))
    os.utime(path, (1_700_000_000.25, 1_700_000_000.25))
    done = cli("import", str(path))
    assert (done.code, done.out) == (0, "rows: 3; 3 applied\n")
    assert gateway.passwords == [(f"u{n}@example.com", f"{GOOD}{n}") for n in range(3)]
    assert {headers["prefer"] for headers, _ in gateway.sent} == {"respond-async, bulk"}
    assert {body["changedAt"] for _, body in gateway.sent} == {"2023-11-14T22:13:20.250Z"}
    assert "3 changes at 300 requests a minute take 1 s to 2 s; people go first" in done.err
    assert here() == ["keys", "new.csv"]


def test_the_last_row_of_a_user_wins_and_its_own_time_counts(cli: Cli, gateway: Gateway) -> None:
    """Earlier rows of a user, in any letter case, are not sent at all; nothing is trimmed or evaluated."""
    path = file(
        "a@example.com,first-Horse-1,",
        '"b@example.com"," =2+2,""x"" ",2026-01-02T03:04:05Z',
        "A@Example.com, last-Horse-2 ,",
        header="userName,password,changedAt",
    )
    done = cli("import", str(path), "--org", "emea")
    assert (done.code, done.out) == (0, "rows: 3; 2 applied, 1 of users who have a later row\n")
    assert gateway.passwords == [("b@example.com", ' =2+2,"x" '), ("A@Example.com", " last-Horse-2 ")]
    assert gateway.sent[0][1]["changedAt"] == "2026-01-02T03:04:05Z"
    assert "POST /orgs/emea/sync/password" in gateway.asked


def test_what_did_not_arrive_is_reported_by_row_and_code(cli: Cli, gateway: Gateway) -> None:
    """Refused at once, with every broken rule, or by the target, or parked: exit code 1, never the value."""
    rules = [
        {"code": "password.too.short", "message": "m"},
        {"code": "password.not.enough.digits", "message": "m"},
    ]
    gateway.by_user = {
        "u0@example.com": (400, {"code": "policy", "errors": rules}, {}),
        "u1@example.com": (409, {"code": "change.stale"}, {}),
        "u2@example.com": (403, {"code": "user.protected"}, {}),
    }
    gateway.states = {
        "c0": {"status": "refused", "error": {"code": "password.reused"}},
        "c1": {"status": "parked", "error": {"code": "user.unknown"}},
    }
    path = file(*some(6))
    done = cli("import", str(path), "--delete-after")
    assert done.code == 1
    assert done.out.splitlines() == [
        "rows: 6; 1 applied, 1 parked, 3 refused, 1 superseded",
        "row 2: refused password.too.short password.not.enough.digits",
        "row 3: superseded change.stale",
        "row 4: refused user.protected",
        "row 5: refused password.reused",
        "row 6: parked user.unknown",
    ]
    assert path.exists()
    assert "is kept: not every row has arrived\n" in done.err
    gateway.sent.clear()
    again = cli("import", str(path), "--json")
    report = json.loads(again.out)
    assert (report["rows"], report["applied"], report["refused"], report["superseded"]) == (6, 1, 3, 1)
    assert report["overtaken"] == [{"row": 3, "status": "superseded", "code": "change.stale"}]
    assert report["failed"][2] == {"row": 5, "status": "refused", "code": "password.reused", "changeId": "c0"}
    assert gateway.sent == []


def test_what_was_refused_is_sent_again_once_its_cause_is_mended(cli: Cli, gateway: Gateway) -> None:
    """By the same command, and nothing else is; not what is older than another change, either."""
    gateway.by_user = {
        "u0@example.com": (400, {"code": "policy", "errors": [{"code": "password.too.short"}]}, {}),
        "u1@example.com": (403, {"code": "user.protected"}, {}),
        "u2@example.com": (409, {"code": "change.stale"}, {}),
    }
    path = file(*some(4))
    assert cli("import", str(path)).code == 1
    assert cli("import", str(path)).out == (
        "rows: 4; 1 applied, 2 refused, 1 superseded\n"
        "row 2: refused password.too.short\nrow 3: refused user.protected\nrow 4: superseded change.stale\n"
    )
    assert [user for user, _ in gateway.passwords] == ["u3@example.com"]
    gateway.by_user = {}
    done = cli("import", str(path))
    assert done.out.splitlines() == ["rows: 4; 3 applied, 1 superseded", "row 4: superseded change.stale"]
    assert "2 of 4 rows were answered before: going on" in done.err
    sent = {headers["idempotency-key"].rpartition("-")[2] for headers, _ in gateway.sent}
    assert (sent, len(gateway.sent)) == ({"2", "3", "5"}, 3)


@pytest.mark.parametrize("more", [(), ("--async",)])
def test_a_row_that_was_overtaken_is_no_failure(cli: Cli, gateway: Gateway, more: tuple[str, ...]) -> None:
    """A newer change before the row's or after it: told by row, and nothing is left to do.

    But the newer change may not arrive, and the file be the only place of that user's password: it is not
    deleted, however often the command is run, which exit code 4 says, and it is told how to do that by hand.
    """
    gateway.by_user = {"u0@example.com": (409, {"code": "change.stale"}, {})}
    gateway.states = {"c0": {"status": "superseded", "error": None}}
    path = file(*some(3))
    done = cli("import", str(path), "--delete-after", *more)
    told = ["rows: 3; 2 pending, 1 superseded", "row 2: superseded change.stale"]
    if not more:
        told = [
            "rows: 3; 1 applied, 2 superseded",
            "row 2: superseded change.stale",
            "row 3: superseded",
        ]
    assert (done.code, done.out.splitlines()) == (4, told)
    rows = 1 if more else 2
    assert (
        f"new.csv is kept: of {rows} rows a newer change was accepted, which may not have arrived\n"
        in done.err
    )
    assert "newest of each user is applied: rm new.csv new.csv.import\n" in done.err
    sent = len(gateway.sent)
    again = cli("import", str(path), "--delete-after", *more)
    assert (again.code, again.out, len(gateway.sent)) == (done.code, done.out, sent)
    assert here() == ["keys", "new.csv", "new.csv.import"]
    assert cli("import", str(path), *more).code == (4 if more else 0)
    assert here() == ["keys", "new.csv"]


@pytest.mark.parametrize("stale", [True, False])
def test_the_only_copy_of_a_password_is_not_deleted(cli: Cli, gateway: Gateway, stale: bool) -> None:
    """One overtaken row among many that arrived is enough: it is kept, which is exit code 4."""
    if stale:
        gateway.by_user = {"u1@example.com": (409, {"code": "change.stale"}, {})}
    else:
        gateway.states = {"c1": {"status": "superseded", "error": None}}
    path = file(*some(9))
    assert cli("import", str(path), "--delete-after").code == 4
    assert f"u1@example.com,{GOOD}1\n" in path.read_text()


def test_a_file_is_deleted_after_every_row_arrived(cli: Cli, gateway: Gateway) -> None:
    """And what it kept beside it; with --async, once every row is accepted, which is exit code 4."""
    path = file(*some(2))
    gateway.states = {"c0": {"status": "pending", "error": None}}
    done = cli("import", str(path), "--async", "--delete-after")
    assert (done.code, done.out) == (4, "rows: 2; 2 pending\n")
    assert here() == ["keys"]
    path = file(*some(1), name="other.csv")
    gateway.states = {}
    assert cli("import", str(path), "--delete-after").code == 0
    assert here() == ["keys"]


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_file_with_another_name_is_not_deleted_under_one(cli: Cli, gateway: Gateway, link: str) -> None:
    """The passwords would stay under the other: refused at once; without deleting it is read."""
    path, alias = file(*some(1)), Path("alias.csv")
    if link == "symbolic":
        alias.symlink_to(path)
    else:
        alias.hardlink_to(path)
    done = cli("import", str(alias), "--delete-after")
    assert (done.code, gateway.asked) == (2, [])
    if link == "symbolic":
        assert "alias.csv is a symbolic link" in done.err
        assert f"hint: name the file itself: {path.absolute()}\n" in done.err
    else:
        assert "has another name (hard link)" in done.err
        assert "find / -samefile alias.csv" in done.err
    assert here() == ["alias.csv", "keys", "new.csv"]
    assert cli("import", str(alias)).code == 0


@pytest.mark.parametrize("how", ["replaced", "replaced by a link to it", "written to"])
def test_another_file_in_its_place_is_not_deleted(
    cli: Cli, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It was never sent: whoever put it there while the first was followed finds it, and is told."""
    path = file(*some(1))
    follow = cli_import_run.follow

    def meanwhile(*given: Any) -> None:
        follow(*given)
        if how == "replaced by a link to it":
            path.rename("moved.csv")
            path.symlink_to("moved.csv")
        elif how == "replaced":
            other = file(*some(1), name="other.csv")
            os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
            other.replace(path)
        else:
            path.write_text("userName,password\n" + "\n".join(some(2)) + "\n")

    monkeypatch.setattr(cli_import_run, "follow", meanwhile)
    done = cli("import", str(path), "--delete-after")
    assert (done.code, "is kept: it is not the file that was sent" in done.err) == (0, True)
    assert set(here()) - {"moved.csv"} == {"keys", "new.csv"}


@pytest.mark.parametrize("dry", [(), ("--dry-run", "--no-lookup")])
def test_of_a_file_whose_last_line_has_no_end_nothing_is_sent(
    cli: Cli, gateway: Gateway, dry: tuple[str, ...]
) -> None:
    """Its last password may be cut off."""
    path = file(*some(2))
    path.write_bytes(path.read_bytes()[:-1])
    done = cli("import", str(path), *dry)
    assert (done.code, "its last line has no end" in done.err, GOOD in done.err) == (1, True, False)
    assert gateway.asked == []


def test_a_file_that_is_being_written_is_not_sent(
    cli: Cli, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was written to a moment ago is looked at once more; an old one is not waited for."""
    path = file(*some(2))
    waits: list[float] = []

    def written_to(seconds: float) -> None:
        waits.append(seconds)
        with path.open("a") as more:
            more.write("u2@example.com,Cut-o")

    monkeypatch.setattr(cli_import_run.Gateway.__init__, "__defaults__", (written_to, lambda: 0.0))
    done = cli("import", str(path))
    assert (done.code, "was changed while it was read" in done.err) == (1, True)
    assert (gateway.sent, len(waits), 0 < waits[0] <= 2) == ([], 1, True)
    path = file(*some(2))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert cli("import", str(path)).code == 0
    assert len(waits) == 1


def test_a_file_that_is_changed_on_its_way_ends_there(
    cli: Cli, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is sent of what nobody surveyed."""
    path = file(*some(5))
    accept = gateway._accept

    def touched(headers: dict[str, str], body: dict[str, Any]) -> Told:
        if len(gateway.sent) == 1:
            os.utime(path, (1_700_000_000, 1_700_000_000))
        return accept(headers, body)

    monkeypatch.setattr(gateway, "_accept", touched)
    done = cli("import", str(path))
    assert (done.code, "was changed while it was read" in done.err) == (1, True)
    assert len(gateway.sent) == 2


def test_a_dry_run_asks_policy_and_target_and_sends_nothing(cli: Cli, gateway: Gateway) -> None:
    """Broken rules, unknown and inactive users, by row; users by name and by id."""
    gateway.users = {"u0@example.com": True, "u1@example.com": False, "u3@example.com": True}
    gateway.by_user = {
        "u3@example.com": (400, {"code": "policy", "errors": [{"code": "password.too.short"}]}, {})
    }
    done = cli("import", str(file(*some(4))), "--dry-run")
    assert done.code == 1
    assert done.out.splitlines() == [
        "rows: 4; 1 fine, 3 refused",
        "row 3: refused user.inactive",
        "row 4: refused user.unknown",
        "row 5: refused password.too.short",
    ]
    gateway.users = {"6f1d3e0a-0c6f-4b8e-9a53-5d2f8d0f3d11": True}
    by_id = file(f"6f1d3e0a-0c6f-4b8e-9a53-5d2f8d0f3d11,{GOOD}", header="userId,password")
    assert cli("import", str(by_id), "--dry-run").out == "rows: 1; 1 fine\n"
    assert gateway.sent == []
    assert here() == ["keys", "new.csv"]


def test_a_dry_run_can_leave_the_target_alone(cli: Cli, gateway: Gateway) -> None:
    """By option, or because the gateway has no look-ups: which it says."""
    gateway.users = {}
    assert cli("import", str(file(*some(2))), "--dry-run", "--no-lookup").code == 0
    gateway.users = None
    done = cli("import", str(file(*some(2))), "--dry-run")
    assert done.code == 0
    assert "looks up no users" in done.err


def test_changes_of_an_org_in_a_dry_run_are_not_waited_for(cli: Cli, gateway: Gateway) -> None:
    """They stay pending until it ends, maybe for days: 4, and the file is kept. Others are followed."""
    dry = {"status": "pending", "error": {"code": "dry.run"}, "nextAttemptAt": "2100-01-01T00:00:00.000Z"}
    gateway.states = {"c0": dry, "c1": {"status": "parked", "error": {"code": "user.unknown"}}, "c2": dry}
    path = file(*some(3))
    done = cli("import", str(path), "--delete-after")
    assert (done.code, done.out.splitlines()) == (
        1,
        ["rows: 3; 1 parked, 2 pending (dry run: nothing was written)", "row 3: parked user.unknown"],
    )
    gateway.states["c1"] = {"status": "applied", "error": None}
    done = cli("import", str(path), "--delete-after", "--json")
    report = json.loads(done.out)
    assert (done.code, report["pending"], report["failed"]) == (4, 2, [])
    assert report["waiting"] == [
        {"row": 2, "status": "pending", "code": "dry.run", "changeId": "c0"},
        {"row": 4, "status": "pending", "code": "dry.run", "changeId": "c2"},
    ]
    assert path.exists()
    gateway.states = {}
    assert cli("import", str(path)).out == "rows: 3; 3 applied\n"


def test_what_goes_out_now_that_a_dry_run_has_ended_is_waited_for(
    cli: Cli, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason is the old one until it is tried; but it is due."""
    due = {"status": "pending", "error": {"code": "dry.run"}, "nextAttemptAt": "2020-01-01T00:00:00.000Z"}
    gateway.states = {"c0": due}

    def tried(seconds: float) -> None:
        gateway.states = {}

    monkeypatch.setattr(cli_import_run.Gateway.__init__, "__defaults__", (tried, lambda: 0.0))
    path = file(*some(1))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert cli("import", str(path)).out == "rows: 1; 1 applied\n"


def test_without_a_terminal_it_is_said_every_minute_why_changes_wait(
    cli: Cli, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line each; nothing as long as there is no reason but the pace."""
    now = [0.0]

    def passes(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 100:
            gateway.states["c1"] = {"status": "pending", "error": {"code": "org.paused"}}
        if now[0] > 250:
            gateway.states = {}

    monkeypatch.setattr(cli_import_run.Gateway.__init__, "__defaults__", (passes, lambda: now[0]))
    gateway.states = {"c1": {"status": "pending", "error": None}}
    done = cli("import", str(file(*some(2))))
    assert (done.code, done.out) == (0, "rows: 2; 2 applied\n")
    waits = [line for line in done.err.splitlines() if "waits: " in line]
    assert waits == ["1 of 2 changes have ended; the rest waits: org.paused"] * 3


def test_a_busy_gateway_is_waited_for_under_the_same_key(cli: Cli, gateway: Gateway) -> None:
    """429, 503 and no answer: sent again, and it stays one change."""
    path = file(*some(1))
    gateway.answers = [
        (200, {"requestsPerMinute": 300, "waiting": 4}, {}),
        (429, {"code": "source.too.fast"}, {"Retry-After": "1"}),
        (503, {"code": "queue.full"}, {"Retry-After": "30"}),
        None,
        (500, {"code": "internal.error"}, {}),
    ]
    done = cli("import", str(path))
    assert (done.code, done.out) == (0, "rows: 1; 1 applied\n")
    assert len(gateway.names) == 1
    assert gateway.asked.count("POST /sync/password") == 5


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (
            (429, {"code": "source.stopped", "message": "It is stopped."}, {}),
            3,
            "passferry access resume NAME",
        ),
        ((401, {"code": "access.key.refused", "message": "No."}, {}), 1, "the gateway answers 401: No."),
        ((403, {"code": "org.forbidden", "message": "No."}, {}), 1, "the gateway answers 403: No."),
    ],
)
def test_what_concerns_every_row_ends_it(
    cli: Cli, gateway: Gateway, answer: Told, code: int, said: str
) -> None:
    """A stopped source, a wrong key, a forbidden org: nothing more is sent, and it goes on when run again."""
    path = file(*some(3))
    gateway.by_user = {"u1@example.com": answer}
    done = cli("import", str(path))
    assert done.code == code
    assert said in done.err
    assert len(gateway.sent) == 1
    gateway.by_user = {}
    again = cli("import", str(path))
    assert (again.code, again.out) == (0, "rows: 3; 3 applied\n")
    assert "1 of 3 rows were answered before: going on" in again.err
    assert [user for user, _ in gateway.passwords] == [f"u{n}@example.com" for n in range(3)]


def test_a_gateway_that_stays_away_is_3(cli: Cli, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """After minutes of asking, with the hint that it goes on from there."""
    passed = iter(range(0, 10_000, 200))
    monkeypatch.setattr(
        cli_import_run.Gateway.__init__, "__defaults__", (lambda seconds: None, lambda: float(next(passed)))
    )
    monkeypatch.setenv("PASSFERRY_URL", "http://127.0.0.1:9")
    done = cli("import", str(file(*some(1))))
    assert done.code == 3
    assert "run it again: it goes on from here" in done.err


@pytest.mark.parametrize(
    ("lines", "header", "said"),
    [
        (["a@example.com,Canary-Horse-77,x"], "userName,password", "row 2: row.fields"),
        (['a@example.com,"Canary-Horse-77"x'], "userName,password", "row 2: row.quotes"),
        (["b@example.com,Canary-Horse-77"], "a@example.com,Canary-Horse-77", "row 1: header.unknown"),
        (["a@example.com,Canary-Horse-77,noon"], "userName,password,changedAt", "row 2: changed.at.invalid"),
    ],
)
def test_of_a_file_that_cannot_be_read_whole_nothing_is_sent(
    cli: Cli, gateway: Gateway, lines: list[str], header: str, said: str
) -> None:
    """Every wrong row is named by number and code, and no value is shown."""
    done = cli("import", str(file(*lines, header=header)))
    assert done.code == 1
    assert "nothing was sent of new.csv" in done.err
    assert GOOD not in done.out + done.err
    assert gateway.sent == []


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n"])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_an_empty_file_has_no_header(
    cli: Cli, gateway: Gateway, content: bytes, dry: tuple[str, ...]
) -> None:
    """Exit code 1 with a hint: its export may have failed, which is not the same as nobody to import."""
    path = file()
    path.write_bytes(content)
    done = cli("import", str(path), *dry)
    assert (done.code, "row 1: header.unknown" in done.err, gateway.asked) == (1, True, [])
    assert cli("import", str(file(name="nobody.csv")), *dry).code == 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_use_is_refused(cli: Cli, gateway: Gateway, mode: int) -> None:
    """Exit code 2, with the command that mends it; the same for what is no file."""
    path = file(*some(1))
    path.chmod(mode)
    done = cli("import", str(path))
    assert (done.code, done.err) == (2, "passferry: other users may use new.csv\nhint: chmod 600 new.csv\n")
    assert cli("import", ".").code == 2
    assert cli("import", "nowhere.csv").code == 2
    assert gateway.asked == []


def test_a_time_in_the_future_is_refused(cli: Cli, gateway: Gateway) -> None:
    """A file that claims to be newer than everything would outrank what people change later."""
    path = file(*some(1))
    os.utime(path, (4_000_000_000, 4_000_000_000))
    assert cli("import", str(path)).code == 2
    assert gateway.sent == []


def test_a_changed_file_begins_anew(cli: Cli, gateway: Gateway) -> None:
    """What is kept beside it belongs to the file as it was: other rows get other keys."""
    gateway.states = {"c0": {"status": "pending", "error": None}}
    path = file(*some(1))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    gateway.by_user = {"u1@example.com": (401, {"message": "No."}, {})}
    path = file(*some(2))
    cli("import", str(path))
    gateway.by_user = {}
    changed = file(*some(1), "u1@example.com,Another-Horse-9")
    gateway.states = {}
    assert cli("import", str(changed)).code == 0
    assert len(gateway.names) == 3


def test_what_one_key_sent_is_not_sent_by_another(
    cli: Cli, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key may lead to another org: every row goes there, too. Of the key only its id is kept."""
    gateway.states = {"c0": {"status": "parked", "error": {"code": "user.unknown"}}}
    path = file(*some(2))
    assert cli("import", str(path)).code == 1
    kept = Path("new.csv.import").read_text()
    assert ("pf_0123456789" in kept, "abab" in kept) == (True, False)
    gateway.sent.clear()
    monkeypatch.setenv("PASSFERRY_API_KEY", "pf_9876543210_" + "cd" * 32)
    cli("import", str(path))
    assert [user for user, _ in gateway.passwords] == ["u0@example.com", "u1@example.com"]


def test_what_is_kept_beside_the_file_holds_no_user_and_no_password(cli: Cli, gateway: Gateway) -> None:
    """Only rows, ids and codes, for nobody else to read; a line that was cut off is dropped."""
    gateway.by_user = {"u1@example.com": (401, {"message": "No."}, {})}
    path = file(*some(2))
    cli("import", str(path))
    kept = Path("new.csv.import")
    text = kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "example" not in text
    assert GOOD not in text
    with kept.open("a") as journal:
        journal.write('[3, "change", "torn' + "x" * 500)
    gateway.by_user, gateway.states = {}, {"c1": {"status": "parked", "error": {"code": "user.unknown"}}}
    assert cli("import", str(path)).out == "rows: 2; 1 applied, 1 parked\nrow 3: parked user.unknown\n"
    assert [json.loads(line)[0] for line in kept.read_text().splitlines()] == [1, 2, 3, 2]
    gateway.states = {}
    assert cli("import", str(path)).out == "rows: 2; 2 applied\n"


class Killed(BaseException):
    """As good as kill -9: nothing handles it."""


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("answered", [True, False])
def test_killed_at_any_row_it_sends_none_twice(
    cli: Cli, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, at: int, answered: bool
) -> None:
    """Between a row's answer and its record, or right after: every row is one change, under one key."""
    path = file(*some(6))
    accepted = Journal.accepted

    def dying(journal: Journal, row: int, change_id: str) -> None:
        if row == at + 2 and answered:
            accepted(journal, row, change_id)
        if row == at + 2:
            raise Killed
        accepted(journal, row, change_id)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "accepted", dying)
        with pytest.raises(Killed):
            cli("import", str(path))
    done = cli("import", str(path))
    assert (done.code, done.out) == (0, "rows: 6; 6 applied\n")
    assert len(gateway.names) == 6
    assert len(gateway.sent) == (6 if answered else 7)  # the one in doubt is asked for again, by its key
    bodies = {headers["idempotency-key"]: body for headers, body in gateway.sent}
    assert [body["password"] for body in bodies.values()] == [f"{GOOD}{n}" for n in range(6)]


def test_only_one_import_of_a_file_runs(cli: Cli, gateway: Gateway) -> None:
    """A second one is refused while the first holds what it keeps."""
    path = file(*some(1))
    with open_journal(path, "x"):
        done = cli("import", str(path))
    assert done.code == 2
    assert "another import of this file runs" in done.err
    assert gateway.sent == []
