"""`push` against a small server that says what it is told to say."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Cli = Callable[..., Any]
KEY = "pf_0123456789_" + "ab" * 32
PASSWORD = "Canary-Horse-77"

APPLIED = {"success": True, "message": "password synchronized", "changeId": "c1", "status": "applied"}
PENDING = {
    "success": True,
    "message": "password accepted, delivery pending",
    "changeId": "c1",
    "status": "pending",
}


@dataclass
class Gateway:
    """What the server answers (None: it hangs up), and what it was sent."""

    answers: list[tuple[int, Any, dict[str, str]] | None] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def gateway(clean: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A server on a free port of this machine, and the settings that lead to it."""
    told = Gateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.requests.append((self.path, headers, json.loads(text)))
            answer = told.answers.pop(0)
            if answer is None:
                self.close_connection = True
                return
            status, body, more = answer
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("PASSFERRY_URL", told.url)
    monkeypatch.setenv("PASSFERRY_API_KEY", KEY)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    yield told
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_applied_is_0(cli: Cli, gateway: Gateway) -> None:
    """A delivered change: exit code 0, and the sentence names it."""
    gateway.answers = [(200, APPLIED, {})]
    done = cli("push", "a@example.com", stdin=PASSWORD.encode())
    assert (done.code, done.out, done.err) == (0, "password synchronized (change c1)\n", "")


def test_accepted_is_4(cli: Cli, gateway: Gateway) -> None:
    """Accepted and not delivered yet: exit code 4."""
    gateway.answers = [(202, PENDING, {})]
    done = cli("push", "a@example.com", stdin=PASSWORD.encode())
    assert (done.code, done.out) == (4, "password accepted, delivery pending (change c1)\n")


def test_the_request_is_the_contracts(cli: Cli, gateway: Gateway) -> None:
    """Path, key, preference, a fresh Idempotency-Key, and a body of exactly user and password."""
    gateway.answers = [(200, APPLIED, {})] * 2
    cli("push", "a@example.com", "--wait", "3", stdin=b"p\xc3\xa4ss \n")
    cli("push", "b", "--org", "x y", "--async", "--changed-at", "2026-01-01T00:00:00Z", stdin=b"q")
    (path, headers, body), (path2, headers2, body2) = gateway.requests
    assert path == "/sync/password"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert headers["prefer"] == "wait=3"
    assert body == {"userId": "a@example.com", "password": "päss "}
    assert path2 == "/orgs/x%20y/sync/password"
    assert headers2["prefer"] == "respond-async"
    assert body2 == {"userId": "b", "password": "q", "changedAt": "2026-01-01T00:00:00Z"}
    assert headers["idempotency-key"] != headers2["idempotency-key"]


def test_all_reasons_of_a_refusal_are_shown(cli: Cli, gateway: Gateway) -> None:
    """A password that the policy refuses: every reason, exit code 1."""
    errors = [{"code": "password.too.short", "message": "Too short."}, {"code": "x.y", "message": "No."}]
    gateway.answers = [
        (400, {"success": False, "message": "It breaks the policy.", "code": "policy", "errors": errors}, {})
    ]
    done = cli("push", "a@example.com", stdin=b"short")
    assert done.code == 1
    assert done.err == (
        "passferry: It breaks the policy.\n  - Too short. (password.too.short)\n  - No. (x.y)\n"
    )


@pytest.mark.parametrize(
    ("status", "body", "code", "hint"),
    [
        (401, {"message": "no", "code": "key.unknown"}, 1, "the access key is wrong or revoked"),
        (403, {"message": "no", "code": "org.forbidden"}, 1, "this key may not write to that org"),
        (404, "<html>", 1, "may point at something that is not Passferry"),
        (409, {"message": "no", "code": "change.stale"}, 1, "the user has a newer password already"),
        (413, {"message": "no", "code": "too.large"}, 1, ""),
        (
            429,
            {"message": "no", "code": "source.too.fast"},
            3,
            "send it again after 7 s with --idempotency-key",
        ),
        (500, {"message": "no", "code": "internal"}, 3, "with --idempotency-key"),
        (502, {"message": "no", "code": "user.inactive", "changeId": "c9"}, 1, "passferry changes show c9"),
        (502, "<html>a proxy</html>", 3, "with --idempotency-key"),
        (503, {"message": "no", "code": "disk.full"}, 3, "with --idempotency-key"),
    ],
)
def test_every_status_has_its_exit_code_and_hint(
    cli: Cli, gateway: Gateway, status: int, body: Any, code: int, hint: str
) -> None:
    """Final answers are 1, what is worth sending again is 3."""
    gateway.answers = [(status, body, {"Retry-After": "7"})]
    done = cli("push", "a@example.com", stdin=PASSWORD.encode())
    assert done.code == code
    assert hint in done.err
    assert len(gateway.requests) == 1


def test_json_is_the_gateways_answer(cli: Cli, gateway: Gateway) -> None:
    """--json gives the body as it came, with the same exit code."""
    gateway.answers = [(202, PENDING, {})]
    done = cli("push", "a@example.com", "--json", stdin=PASSWORD.encode())
    assert (done.code, json.loads(done.out)) == (4, PENDING)


def test_a_lost_answer_is_asked_for_again_under_the_same_key(cli: Cli, gateway: Gateway) -> None:
    """When the connection breaks, the same request is sent again, so that it cannot become two changes."""
    gateway.answers = [None, None, (200, APPLIED, {})]
    done = cli("push", "a@example.com", stdin=PASSWORD.encode())
    assert done.code == 0
    assert len({headers["idempotency-key"] for _, headers, _ in gateway.requests}) == 1
    assert len(gateway.requests) == 3


def test_no_answer_in_the_end_is_3_and_says_how_to_go_on(cli: Cli, gateway: Gateway) -> None:
    """After the last try the hint names the Idempotency-Key."""
    gateway.answers = [None, None, None]
    done = cli("push", "a@example.com", "--idempotency-key", "mine", stdin=PASSWORD.encode())
    assert done.code == 3
    assert done.err == (
        f"passferry: no answer from {gateway.url}: the connection broke before an answer came\n"
        "hint: it may have been accepted: send it again with --idempotency-key mine\n"
    )


def test_nobody_there_is_3_at_once(cli: Cli, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is not tried again; exit code 3."""
    monkeypatch.setenv("PASSFERRY_URL", "http://127.0.0.1:1")
    done = cli("push", "a@example.com", stdin=PASSWORD.encode())
    assert done.code == 3
    assert done.err == (
        "passferry: no answer from http://127.0.0.1:1: Connection refused\n"
        "hint: is `passferry serve` running there? PASSFERRY_URL names another gateway\n"
    )


@pytest.mark.parametrize(
    "url",
    ["http://gateway.example.com", "http://10.0.0.1:8080", "ftp://127.0.0.1", "https://u:p@h", "nonsense"],
)
def test_a_password_is_not_sent_over_plain_http_to_another_machine(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Plain HTTP is for this machine only: exit code 2."""
    monkeypatch.setenv("PASSFERRY_API_KEY", KEY)
    monkeypatch.setenv("PASSFERRY_URL", url)
    done = cli("push", "a@example.com", stdin=PASSWORD.encode())
    assert done.code == 2
    assert "is not an address that a password may be sent to" in done.err


def test_without_a_key_it_says_how_to_make_one(cli: Cli) -> None:
    """No key: exit code 2, and a hint."""
    done = cli("push", "a@example.com", stdin=PASSWORD.encode())
    assert done.code == 2
    assert done.err == (
        "passferry: there is no access key\n"
        "hint: set PASSFERRY_API_KEY or PASSFERRY_API_KEY_FILE; `passferry access add NAME` makes a key\n"
    )


def test_the_key_may_be_in_a_file(
    cli: Cli, gateway: Gateway, clean: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PASSFERRY_API_KEY_FILE is read, less its newline."""
    (clean / "key").write_text(KEY + "\n")
    monkeypatch.delenv("PASSFERRY_API_KEY")
    monkeypatch.setenv("PASSFERRY_API_KEY_FILE", str(clean / "key"))
    gateway.answers = [(200, APPLIED, {})]
    assert cli("push", "a@example.com", stdin=PASSWORD.encode()).code == 0
    assert gateway.requests[0][1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("answer", [(200, APPLIED, {}), (400, {"message": "m"}, {}), (500, "x", {}), None])
def test_password_and_key_are_never_shown(cli: Cli, gateway: Gateway, answer: Any) -> None:
    """Whatever comes back, neither stands in the output."""
    gateway.answers = [answer] * 3
    done = cli("push", "a@example.com", stdin=PASSWORD.encode())
    assert PASSWORD not in done.out + done.err
    assert KEY not in done.out + done.err
