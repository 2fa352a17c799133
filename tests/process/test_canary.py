"""One password through every path, and then a search for it everywhere but at the target."""

import base64
import json
import os
import socket
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from passferry.simulator import Settings
from process.canary import CANARY, CLIENT_SECRET, ECHO_SECRET, REFUSED, Scene, Trail
from process.canary_sources import hooks, imports
from process.harness import NO_ANSWER, StandIn, call, home, until
from process.leaks import files, forms, search
from process.raw_target import Asked, RawTarget, reply
from process.watch import Watch

STATUSES = (200, 201, 302, 400, 401, 403, 404, 409, 412, 413, 422, 429, 500, 502, 503, 504)


def hostile_answer(status: int, asked: Asked) -> bytes:
    """An answer that repeats what was asked in its reason, headers, code, ids and texts."""
    sent = json.loads(asked.body)["password"] if asked.method == "PUT" else asked.head.decode("latin-1")
    texts = (
        "code",
        "scimType",
        "message",
        "detail",
        "contextId",
        "error",
        "error_description",
        "description",
    )
    body: dict[str, Any] = dict.fromkeys(texts, sent)
    body |= {
        "meta": {"version": sent},
        "errors": [sent],
        "access_token": sent,
        "received": asked.head.decode("latin-1"),
    }
    line = quote(sent)
    names = (
        "ININ-Correlation-Id",
        "ETag",
        "Retry-After",
        "Location",
        "WWW-Authenticate",
        "inin-ratelimit-count",
    )
    return reply(status, json.dumps(body).encode(), *(f"{name}: {line}" for name in names))


def hostile_authorization(asked: Asked) -> bytes:
    """A token endpoint that repeats the credentials."""
    line = next(
        line for line in asked.head.decode("latin-1").split("\r\n") if line.lower().startswith("auth")
    )
    clear = base64.b64decode(line.split()[-1]).decode()
    body = {"error": clear, "error_description": clear, "description": line, "code": clear}
    return reply(
        401, json.dumps(body).encode(), f"WWW-Authenticate: {clear}", f"ININ-Correlation-Id: {clear}"
    )


@pytest.mark.parametrize("form", list(forms(CANARY)))
def test_the_search_itself_finds_every_form(form: str, tmp_path: Path) -> None:
    """A secret planted in a file in that form is found."""
    noise = os.urandom(500)
    (tmp_path / "log").write_bytes(noise + forms(CANARY)[form] + noise)
    assert any(hit.endswith(f"secret 0, {form}") for hit in search((CANARY,), files(tmp_path)))
    for skip in range(3):  # base64 of a longer text around it
        text = base64.b64encode(b"x" * (30 + skip) + CANARY.encode() + b"yy")
        assert search((CANARY,), [("text", text)])


def test_no_password_is_anywhere_but_sealed_and_at_the_target(tmp_path: Path) -> None:
    """After good, refused, lost, hostile, malformed and interrupted changes no form of it is to be found."""
    settings = Settings.calm(rate=1_000_000, slow_seconds=0.8)
    more = {
        "PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT": "0.5",
        "PASSFERRY_ORGS_DEFAULT_RATE": "100000",
        "PASSFERRY_ORGS_ECHO_RATE": "100000",
        "PASSFERRY_ORGS_ECHO_REQUEST_TIMEOUT": "0.5",
        "PASSFERRY_ORGS_ECHO_CLIENT_ID": "echo",
        "PASSFERRY_ORGS_ECHO_CLIENT_SECRET": ECHO_SECRET,
    }
    with (
        StandIn(settings, users=40, secret=CLIENT_SECRET) as target,
        RawTarget() as hostile,
        RawTarget() as mirrored,
    ):
        mirror = {
            "API_URL": mirrored.url,
            "LOGIN_URL": mirrored.url,
            "CLIENT_ID": "mirror",
            "CLIENT_SECRET": ECHO_SECRET,
            "SCIM": "proxy",
        }
        more |= {f"PASSFERRY_ORGS_MIRROR_{name}": value for name, value in mirror.items()}
        more |= {"PASSFERRY_SOURCES_TESTER_SCIM": "proxy"}
        more |= {"PASSFERRY_ORGS_ECHO_API_URL": hostile.url, "PASSFERRY_ORGS_ECHO_LOGIN_URL": hostile.url}
        with (
            home(tmp_path / "gateway", target.settings(), **more) as place,
            Watch() as watch,
            Watch("openldap") as directory,
        ):
            key, operator = place.key("tester"), place.key("operator", "--role", "operator")
            scene = Scene(place, target, hostile, key, operator, Trail(), watch, directory, place.serve())
            good_and_refused(scene)
            odd_requests(scene)
            by_scim(scene)
            assert scene.leaks() == []
            at_a_hostile_target(scene)
            scim_at_a_hostile_target(scene, mirrored)
            commands(scene)
            assert scene.leaks() == []
            hooks(scene)
            assert scene.leaks() == []
            interrupted(scene)
            assert scene.leaks() == []
            answers_to_operators(scene)
            assert scene.gateway.stop() == 0
            assert scene.leaks() == []
            audit = scene.command("audit", "audit", "verify")
            assert audit.code == 0
            assert CANARY in [
                password for user, _ in target.active_users() for password in target.passwords(user)
            ]


def good_and_refused(scene: Scene) -> None:
    """Accepted by id and name, replayed, refused by policy and by the target, parked, lost, in doubt."""
    client, trail, target = scene.client, scene.trail, scene.target
    for number, reference in enumerate(scene.user(0)):
        answer = trail.answer(f"good {number}", client.send(reference, CANARY, idem="canary"))
        assert answer.status == (200 if number == 0 else 409)  # one key, two bodies
    (user, name), (other, _) = scene.user(1), scene.user(2)
    assert trail.answer("by name", client.send(name, CANARY)).status == 200
    assert trail.answer("again", client.send(user, CANARY)).status == 200
    assert trail.answer("policy", client.send(other, REFUSED)).status == 400
    body = {"userId": other, "password": REFUSED}
    trail.answer("check", call("POST", f"{client.url}/policy/check", key=client.key, body=body))
    target.do(lambda s: s.set(minimum_length=200))
    refused = trail.answer("refused", client.send(other, CANARY))
    assert (refused.status, refused.json["code"]) == (502, "password.too.short")
    target.do(lambda s: s.set(minimum_length=8))
    assert trail.answer("unknown", client.send("nobody@example.com", CANARY)).status == 502
    faults = (
        "lost_answer",
        "reset_after",
        "reset_before",
        "gateway_timeout",
        "bad_gateway",
        "slow",
        "empty_body",
    )
    changes = []
    for number, fault in enumerate((*faults, "error_without_code", "server_error", "edited_between"), 3):
        user = scene.user(number)[0]
        target.fault(fault, user)
        changes.append(client.later(user, CANARY))
    for change in changes:
        ended = client.ends(change)
        trail.seen.append((f"change {change}", json.dumps(ended).encode()))


def at_a_hostile_target(scene: Scene) -> None:
    """Every status, with the request repeated in every part of the answer; credentials and tokens, too."""
    url, trail = f"{scene.gateway.url}/orgs/echo/sync/password", scene.trail
    scene.hostile.tokens = [hostile_authorization]
    users = {status: str(uuid.uuid4()) for status in STATUSES}
    first = {"userId": users[200], "password": CANARY}
    trail.answer("hostile token", call("POST", url, key=scene.key, body=first, headers={"Prefer": "wait=1"}))
    resume = call("POST", f"{scene.gateway.url}/orgs/echo/resume", key=scene.operator)
    assert resume.status == 200
    for status, user in users.items():
        scene.hostile.writes[user] = partial(hostile_answer, status)
        body = {"userId": user, "password": CANARY}
        headers = {"Prefer": "wait=2" if status < 429 else "respond-async"}
        trail.answer(f"hostile {status}", call("POST", url, key=scene.key, body=body, headers=headers))
    until(
        lambda: sum(scene.hostile.count(user, "PUT") > 0 for user in users.values()) > 10,
        40,
        "hostile answers",
    )
    reader = str(uuid.uuid4())
    scene.hostile.reads[reader] = lambda asked: hostile_answer(400, asked)
    body = {"userId": reader, "password": CANARY}
    trail.answer("hostile read", call("POST", url, key=scene.key, body=body, headers={"Prefer": "wait=1"}))


def by_scim(scene: Scene) -> None:
    """Inbound SCIM: every spelling, refused, misplaced, malformed."""
    url, trail = f"{scene.gateway.url}/scim/v2/Users", scene.trail
    user, name = scene.user(33)

    def ask(what: str, method: str, place: str, body: Any, **headers: str) -> int:
        answer = call(method, place, key=scene.key, body=body, headers=headers)
        return trail.answer(f"scim {what}", answer).status

    whole = {"userName": name, "password": CANARY}
    urn = "urn:ietf:params:scim:schemas:core:2.0:User:password"
    good = [
        {"op": "Add", "path": "password", "value": CANARY},
        {"op": "replace", "value": {"password": CANARY}},
        {"op": "replace", "path": urn, "value": CANARY},
    ]
    assert ask("put", "PUT", f"{url}/{user}", whole) == 200
    for number, operation in enumerate(good):
        assert ask(f"patch {number}", "PATCH", f"{url}/{user}", {"Operations": [operation]}) == 200
    assert ask("policy", "PUT", f"{url}/{user}", whole | {"password": REFUSED}) == 400
    bad: list[Any] = [
        {"op": "move", "path": CANARY, "value": CANARY},
        {"op": "add", "path": f'emails[password eq "{CANARY}"]', "value": CANARY},
        {"op": "add", "value": {"emails": [{"password": CANARY}], CANARY: CANARY}},
        {"op": "add", "path": "password", "value": [CANARY]},
        CANARY,
    ]
    for number, one in enumerate(bad):
        assert ask(f"bad {number}", "PATCH", f"{url}/{user}", {"Operations": [one]}) == 400
    assert ask("post", "POST", url, {"userName": "new@example.com", "password": CANARY}) == 501
    assert ask("taken", "POST", url, whole) == 409
    assert ask("no json", "PUT", f"{url}/{user}", CANARY.encode()) == 400
    assert ask("as id", "PUT", f"{url}/{quote(CANARY, safe='')}", whole) == 404
    basic = base64.b64encode(f"okta:{CANARY}".encode()).decode()
    assert ask("as key", "PUT", f"{url}/{user}", whole, Authorization=f"Basic {basic}") == 401
    condition = quote(f'password eq "{CANARY}"')
    assert ask("filter", "GET", f"{url}?filter={condition}", None) == 400


def scim_at_a_hostile_target(scene: Scene, target: RawTarget) -> None:
    """What is passed on has no password, and an answer that repeats it is not repeated."""
    there = f"{scene.gateway.url}/orgs/mirror/scim/v2/Users"
    whole = {"userName": scene.user(33)[1], "password": CANARY}
    for status in (200, 400, 409, 500):
        other = str(uuid.uuid4())
        target.writes[other] = partial(repeated, status)
        for method in ("PUT", "GET"):  # what is there must be read well, or nothing is laid over it
            target.reads[other] = target.good_read if method == "PUT" else partial(repeated, status)
            body = whole if method == "PUT" else None
            answer = call(method, f"{there}/{other}", key=scene.key, body=body)
            scene.trail.answer(f"scim {method} {status}", answer)
        sent = next(one for one in target.asked if one.user == other and one.method == "PUT")
        assert CANARY not in json.dumps(json.loads(sent.body), ensure_ascii=False)


def repeated(status: int, asked: Asked) -> bytes:
    """An answer that repeats the whole request in a user, or in an error."""
    said = asked.head.decode("latin-1") + asked.body.decode("latin-1")
    body = {"id": asked.user, "userName": said, "detail": said, "message": said, "code": said}
    return reply(status, json.dumps(body).encode(), 'ETag: "7"')


def commands(scene: Scene) -> None:
    """The commands that take a password, and those that show what there is."""
    user, name = scene.user(20)
    assert scene.command("push", "push", name, "--json").code == 0
    assert scene.command("push refused", "push", name, stdin=REFUSED).code == 1
    assert scene.command("verify", "verify", user).code == 0
    assert scene.command("verify another", "verify", user, stdin=REFUSED).code == 1
    assert scene.command("check", "check").code == 0
    assert scene.command("check refused", "check", "--json", stdin=REFUSED).code == 1
    assert scene.command("check bytes", "check", stdin=CANARY + "\0").code == 1
    assert scene.command("as argument", "push", name, CANARY).code == 2
    assert scene.command("as option", "push", name, f"--password={CANARY}").code == 2
    scene.command("list", "changes", "list", "--json", stdin="")
    imports(scene)


def interrupted(scene: Scene) -> None:
    """kill -9 with changes in flight and waiting; SIGTERM in mid-flight; each time a new start."""
    scene.target.do(lambda s: s.set(latency=0.3))
    for number, signal in ((24, "kill"), (28, "term")):
        users = [scene.user(number + n)[0] for n in range(4)]
        changes = [scene.client.later(user, CANARY) for user in users]
        if signal == "kill":
            scene.gateway.kill()
        else:
            assert scene.gateway.stop() == 0
        assert scene.leaks() == []
        scene.gateway = scene.place.serve()
        for change in changes:
            assert scene.client.ends(change, "applied", seconds=40)
    scene.target.do(lambda s: s.set(latency=0.0))


def answers_to_operators(scene: Scene) -> None:
    """Whatever an operator can see of it all."""
    page = call("GET", f"{scene.gateway.url}/changes?limit=200", key=scene.operator)
    scene.trail.answer("list", page)
    assert len(page.json["changes"]) > 30
    for path in ("/healthz", "/readyz", "/openapi.json", "/metrics"):
        answer = scene.trail.answer(path, call("GET", scene.gateway.url + path, key=scene.operator))
        assert answer.status == 200, path


def odd_requests(scene: Scene) -> None:
    """Requests that are refused for their form, each with the canary in it."""
    url, key, user = scene.gateway.url, scene.key, scene.user(0)[0]
    good = json.dumps({"userId": user, "password": CANARY}).encode()
    form = f"userId={user}&password={quote(CANARY)}".encode()
    basic = base64.b64encode(f"{user}:{CANARY}".encode()).decode()
    odd: dict[str, tuple[bytes, dict[str, str]]] = {
        "not json": (good[:-1], {}),
        "bare": (CANARY.encode(), {}),
        "a string": (json.dumps(CANARY).encode(), {}),
        "unknown member": (json.dumps({"userId": user, "password": CANARY, CANARY: CANARY}).encode(), {}),
        "repeated member": (good[:-1] + b', "password": ' + json.dumps(CANARY).encode() + b"}", {}),
        "another kind": (json.dumps({"userId": user, "password": [CANARY]}).encode(), {}),
        "in changedAt": (json.dumps({"userId": user, "password": CANARY, "changedAt": CANARY}).encode(), {}),
        "in userId": (json.dumps({"userId": CANARY, "password": CANARY}).encode(), {}),
        "two users": (json.dumps({"userId": user, "userName": CANARY, "password": CANARY}).encode(), {}),
        "not utf-8": (b'{"userId": "u", "password": "' + CANARY.encode() + b'\xff\xfe"}', {}),
        "a control": (json.dumps({"userId": user, "password": CANARY + "\0"}).encode(), {}),
        "a surrogate": (good.replace(b'"}', b'\\ud800"}'), {}),
        "too large": (json.dumps({"userId": user, "password": CANARY * 2000}).encode(), {}),
        "a form": (form, {"Content-Type": "application/x-www-form-urlencoded"}),
        "a text": (good, {"Content-Type": "text/plain"}),
        "compressed": (good, {"Content-Encoding": "gzip"}),
        "wrong key": (good, {"Authorization": "Bearer pf_0000000000000000_" + "A" * 43}),
        "as key": (good, {"Authorization": f"Bearer {quote(CANARY)}"}),
        "as basic": (good, {"Authorization": f"Basic {basic}"}),
        "as idempotency key": (good, {"Idempotency-Key": quote(CANARY) + "\t."}),
        "as host": (good, {"Host": "canary.example.com"}),
    }
    for name, (body, headers) in odd.items():
        answer = call("POST", f"{url}/sync/password", key=key, body=body, headers=headers)
        assert 400 <= scene.trail.answer(name, answer).status < 500, (name, answer)
    for path in (f"/{quote(CANARY)}", f"/changes/{quote(CANARY)}", f"/orgs/{quote(CANARY)}/sync/password"):
        for method, sent in (("GET", None), ("POST", good)):
            answer = call(method, url + path, key=key, body=sent)
            assert 400 <= scene.trail.answer(f"{method} {path[:9]}", answer).status < 500, path
    scene.trail.seen += [
        ("no http", raw_exchange(url, CANARY.encode() + b"\r\n\r\n")),
        ("bad head", raw_exchange(url, b"GET / HTTP/1.1\r\nX: " + CANARY.encode() + b"\0\r\n\r\n")),
        ("cut off", raw_exchange(url, promise(url, key, len(good) + 50) + good)),
    ]


def promise(url: str, key: str, length: int) -> bytes:
    """A request's head that promises ``length`` bytes."""
    lines = (
        "POST /sync/password HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def raw_exchange(url: str, data: bytes) -> bytes:
    """Send bytes and nothing more; what comes back."""
    parts = urlsplit(url)
    got = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as line, suppress(*NO_ANSWER):
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        while part := line.recv(65536):
            got += part
    return got
