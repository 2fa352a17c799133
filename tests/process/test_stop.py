"""SIGTERM: what is new is refused, what is under way is answered, and then the process ends with 0."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from passferry.simulator import Settings
from process.harness import NO_ANSWER, Answer, Client, Running, StandIn, call, genesys, home, until

PACE = {"PASSFERRY_ORGS_DEFAULT_RATE": "100000", "PASSFERRY_VERIFIER": "false"}


@contextmanager
def kept_alive(running: Running) -> Iterator[http.client.HTTPConnection]:
    """A connection on which one request was answered, and that is still open."""
    parts = urlsplit(running.url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        yield connection


def sent_on(connection: http.client.HTTPConnection, key: str, user: str) -> Answer:
    """A change on that connection."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request(
        "POST", "/sync/password", json.dumps({"userId": user, "password": "Too-Late-1!"}), headers
    )
    response = connection.getresponse()
    return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())


def is_shutting_down(answer: Answer) -> bool:
    """503, with the code, when to come again, and the end of the connection."""
    assert answer.status == 503, answer.raw
    assert answer.json["code"] == "shutting.down"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["connection"] == "close"
    return True


def test_whoever_waits_gets_an_outcome_and_whoever_comes_is_told_to_come_again(tmp_path: Path) -> None:
    """New connections and kept ones get 503 while a caller waits; its answer is 200, the exit code 0."""
    with (
        StandIn(Settings.calm(rate=100_000, latency=1.5)) as target,
        home(tmp_path / "gateway", target.settings(), **PACE) as place,
    ):
        key, desk = place.key(), place.key("desk", "--role", "operator")
        running = place.serve()
        (waits, _), (late, _) = target.active_users()[:2]
        answers: list[Answer] = []
        client = Client(running.url, key)
        waiting = threading.Thread(
            target=lambda: answers.append(client.send(waits, "In-Flight-1!", prefer="wait=15"))
        )
        with kept_alive(running) as busy, kept_alive(running):
            waiting.start()
            until(lambda: accepted(running, desk), what="the change accepted")
            running.process.terminate()
            until(lambda: running.events("stopping"), what="stopping")
            assert is_shutting_down(sent_on(busy, key, late))
            assert is_shutting_down(client.send(late, "Too-Late-2!"))
            assert is_shutting_down(call("GET", f"{running.url}/readyz"))
            assert not answers
            assert running.process.wait(30) == 0
        waiting.join(10)
        assert (answers[0].status, answers[0].json["status"]) == (200, "applied")
        assert answers[0].headers["connection"] == "close"
        assert target.passwords(waits) == ["In-Flight-1!"]
        assert target.passwords(late) == []
        assert "Traceback" not in running.log()


def accepted(running: Running, desk: str) -> bool:
    """Whether there is a change."""
    return bool(call("GET", f"{running.url}/changes", key=desk).json["changes"])


def test_a_caller_whose_target_is_away_is_answered_within_its_wait(tmp_path: Path) -> None:
    """202 at the end of its wait or before, and the process ends soon after."""
    with home(tmp_path / "gateway", genesys("http://127.0.0.1:1"), **PACE) as place:
        key, desk = place.key(), place.key("desk", "--role", "operator")
        running = place.serve()
        answers: list[Answer] = []
        client = Client(running.url, key)
        user = "11111111-2222-3333-4444-555555555555"
        waiting = threading.Thread(
            target=lambda: answers.append(client.send(user, "Waits-1234!", prefer="wait=3"))
        )
        waiting.start()
        until(lambda: accepted(running, desk), what="the change accepted")
        started = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - started < 12
        waiting.join(10)
        assert (answers[0].status, answers[0].json["success"]) == (202, True)


def test_idle_connections_do_not_hold_the_stop_up(tmp_path: Path) -> None:
    """They are closed, and nothing listens any more when the process has ended."""
    with home(tmp_path / "gateway", genesys("http://127.0.0.1:1"), **PACE) as place:
        running = place.serve()
        with kept_alive(running), kept_alive(running):
            started = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - started < 8
        try:
            call("GET", f"{running.url}/healthz", timeout=5)
        except NO_ANSWER:
            return
        raise AssertionError("something answers")
