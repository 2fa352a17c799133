"""Targets that answer nonsense, nothing, or are away: nothing is lost, and nothing is called applied."""

import json
import time
import uuid
from functools import partial
from pathlib import Path

from passferry.simulator import Settings
from process.harness import Client, StandIn, call, genesys, home, until
from process.raw_target import Asked, RawTarget, always, reply

HTML = b"<html><body><h1>It works!</h1></body></html>"
QUICK = {"PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT": "0.5", "PASSFERRY_VERIFIER": "false"}
FAST = {**QUICK, "PASSFERRY_ORGS_DEFAULT_RATE": "100000"}

SENSELESS = {
    "html": reply(200, HTML, kind="text/html"),
    "html without a length": reply(200, HTML, kind="text/html", length=-1),
    "half a body": reply(200, b'{"id":', length=500),
    "json cut off": reply(200, b'{"id": "x", "userName": '),
    "not utf-8": reply(200, b'{"id": "\xff\xfe"}'),
    "closed at once": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no http": b"220 mail.example.com ESMTP\r\n",
    "html of a proxy": reply(502, HTML, kind="text/html"),
    "redirect": reply(302, b"", "Location: http://127.0.0.1:1/elsewhere"),
    "unknown status": reply(599, b""),
}
ONLY_READS = {
    "empty": reply(200, b""),
    "a list": reply(200, b"[1, 2, 3]"),
    "a number": reply(200, b"5"),
    "deep": reply(200, b"[" * 100_000),
    "long number": reply(200, b'{"id": ' + b"9" * 100_000 + b"}"),
    "too large": reply(200, b'"' + b"x" * (9 * 2**20) + b'"'),
    "no members": reply(200, b"{}"),
    "members of other kinds": reply(200, b'{"id": 5, "userName": [], "active": "yes"}'),
    "204": reply(204, b"", length=-1, kind=""),
}


def test_no_senseless_answer_is_taken_for_success_and_no_change_is_lost(tmp_path: Path) -> None:
    """Each change stays alive while its user is answered senselessly, and is applied once that ends."""
    with RawTarget() as target, home(tmp_path, genesys(target.url), **FAST) as place:
        target.tokens = [lambda _: b"", lambda _: SENSELESS["html"], lambda _: reply(500, b"")]
        cases: dict[str, str] = {}
        for name, answer in {**SENSELESS, **ONLY_READS}.items():
            cases[f"read: {name}"] = user = str(uuid.uuid4())
            target.reads[user] = always(answer)
        for name, answer in SENSELESS.items():
            cases[f"write: {name}"] = user = str(uuid.uuid4())
            target.writes[user] = always(answer)
            cases[f"write executed: {name}"] = user = str(uuid.uuid4())
            target.writes[user] = target.stored_but(answer)
        for way, behaviours in (("read", target.reads), ("write", target.writes)):
            cases[f"{way}: silence"] = user = str(uuid.uuid4())
            behaviours[user] = always(None)
        gateway = place.serve()
        client, operator = Client(gateway.url, place.key()), place.key("operator", "--role", "operator")
        changes = {name: client.later(user, "Senseless-Pass-1!") for name, user in cases.items()}

        def tried_twice() -> bool:
            kinds = (
                (name, user, "GET" if name.startswith("read") else "PUT") for name, user in cases.items()
            )
            return all(target.count(user, method) >= 2 for _, user, method in kinds)

        until(tried_twice, 60, "two tries of each")
        states = {name: client.change(change)["status"] for name, change in changes.items()}
        assert {name: state for name, state in states.items() if state not in ("pending", "delivering")} == {}
        target.mend()
        for change in changes.values():  # no need to sit out the waits between tries
            call("POST", f"{gateway.url}/changes/{change}/retry", key=operator)
        ends = {name: client.ends(change, "applied", seconds=60) for name, change in changes.items()}
        assert {end["status"] for end in ends.values()} == {"applied"}
        held = {name: target.user(user).passwords[-1:] for name, user in cases.items()}
        assert {name: last for name, last in held.items() if last != ["Senseless-Pass-1!"]} == {}
        assert place.run("audit", "verify").code == 0


def test_200_without_a_body_is_success(tmp_path: Path) -> None:
    """A write answered 200 or 204 with nothing in it is applied, with one request."""
    with RawTarget() as target, home(tmp_path, genesys(target.url), **FAST) as place:
        client = Client(place.serve().url, place.key())
        for status in (200, 204):
            user = str(uuid.uuid4())
            answer = reply(status, b"", kind="", length=0 if status == 200 else -1)
            target.writes[user] = target.stored_but(answer)
            done = client.send(user, "Empty-Pass-1!")
            assert (done.status, done.json["status"]) == (200, "applied")
            assert target.user(user).passwords == ["Empty-Pass-1!"]


def test_a_user_that_has_become_somebody_else_is_not_written_to(tmp_path: Path) -> None:
    """A read that shows another id parks the change; nothing is sent."""
    with RawTarget() as target, home(tmp_path, genesys(target.url), **FAST) as place:
        user = str(uuid.uuid4())
        other = json.dumps(target.user("x").resource(str(uuid.uuid4()))).encode()
        target.reads[user] = lambda _: reply(200, other)
        client = Client(place.serve().url, place.key())
        done = client.send(user, "Other-Pass-1!")
        assert (done.status, done.json["code"]) == (502, "user.changed")
        assert target.count(user, "PUT") == 0


def test_a_write_that_is_answered_with_another_user_is_parked_and_not_repeated(tmp_path: Path) -> None:
    """A 200 that shows another id is no proof, and a repetition could hit the wrong user again."""
    with RawTarget() as target, home(tmp_path, genesys(target.url), **FAST) as place:
        user = str(uuid.uuid4())
        other = json.dumps(target.user("x").resource(str(uuid.uuid4()))).encode()
        target.writes[user] = target.stored_but(reply(200, other))
        client = Client(place.serve().url, place.key())
        done = client.send(user, "Other-Pass-1!")
        assert (done.status, done.json["status"], done.json["code"]) == (502, "parked", "user.changed")
        assert target.count(user, "PUT") == 1


def test_what_waits_while_the_target_is_away_is_delivered_when_it_is_back(tmp_path: Path) -> None:
    """Connection refused, then back: each user's newest is applied; an operator's retry shortens the wait."""
    with StandIn(Settings.calm(rate=100_000), users=20) as target:
        port = target.hush()
        with home(tmp_path, target.settings(), **FAST) as place:
            gateway = place.serve()
            client, operator = Client(gateway.url, place.key()), place.key("operator", "--role", "operator")
            users = target.active_users()[:6]
            sent = {user: [client.later(user, f"Away-{n}-Pass-1!") for n in range(2)] for user, _ in users}
            until(lambda: client.change(sent[users[0][0]][1])["attempts"] >= 2, 30, "two attempts")
            target.listen(port)
            for _, newest in sent.values():
                call("POST", f"{gateway.url}/changes/{newest}/retry", key=operator)
            for user, (older, newest) in sent.items():
                assert client.ends(newest)["status"] == "applied"
                assert client.change(older)["status"] == "superseded"
                assert target.passwords(user) == ["Away-1-Pass-1!"]


def test_an_org_whose_client_is_refused_pauses_and_resumes_by_itself(tmp_path: Path) -> None:
    """invalid_client stops all sending but one probe at a time; once mended, everything is delivered."""
    refusing = Settings.calm(rate=100_000, disabled_clients=["simulator"])
    with StandIn(refusing, users=20) as target, home(tmp_path, target.settings(), **QUICK) as place:
        gateway = place.serve()
        client = Client(gateway.url, place.key())
        users = [user for user, _ in target.active_users()[:5]]
        changes = [client.later(user, "Paused-Pass-1!") for user in users]
        until(lambda: gateway.events("org.paused"), 20, "the pause")
        assert gateway.events("org.paused")[0]["code"] == "invalid_client"
        began = time.monotonic()
        answer = client.send(users[0], "Paused-Pass-2!")
        assert answer.status == 202
        assert time.monotonic() - began < 10  # at once: nothing can happen within the wait
        requests = target.do(lambda s: s.stats()["tokenRequests"])
        assert requests <= 4
        target.do(lambda s: s.set(disabled_clients=[]))
        for change in changes[1:]:
            assert client.ends(change, seconds=45)["status"] == "applied"
        assert client.ends(answer.json["changeId"])["status"] == "applied"
        assert target.passwords(users[0]) == ["Paused-Pass-2!"]
        assert len(gateway.events("org.resumed")) == 1


def test_a_redirect_is_never_followed(tmp_path: Path) -> None:
    """Neither password nor token reaches the place that a target points to."""
    with (
        RawTarget() as elsewhere,
        RawTarget() as target,
        home(tmp_path, genesys(target.url), **FAST) as place,
    ):
        client = Client(place.serve().url, place.key())
        users: dict[int, str] = {}
        for status in (301, 302, 303, 307, 308):
            users[status] = user = str(uuid.uuid4())

            def away(asked: Asked, status: int = status) -> bytes:
                return reply(status, b"", f"Location: {elsewhere.url}{asked.path}")

            (target.reads if status == 307 else target.writes)[user] = away
            client.later(user, "Redirect-Pass-1!")
        for status, user in users.items():
            method = "GET" if status == 307 else "PUT"
            until(partial(target.count, user, method), 20, f"{status}")
        assert elsewhere.asked == []
