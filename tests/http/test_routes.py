"""Who may do what, what operators see, and what holds for every route."""

from typing import Any

import anyio
import pytest
import structlog

from http_fakes import GOOD, NOW, USER, World, change
from passferry.domain.change import Evidence, Failure, Reference, State
from passferry.domain.source_rules import SourceRules
from passferry.store_ports import StoreFull, StoreLost

ROUTES = [
    ("POST", "/sync/password", {"portal"}),
    ("POST", "/orgs/default/sync/password", {"portal"}),
    ("POST", "/policy/check", {"portal"}),
    ("POST", "/orgs/default/policy/check", {"portal"}),
    ("GET", "/pace", {"portal"}),
    ("GET", "/orgs/default/pace", {"portal"}),
    ("GET", "/changes/c9", {"portal", "operator"}),
    ("GET", "/changes", {"operator"}),
    ("POST", "/changes/c9/retry", {"operator"}),
    ("POST", "/changes/c9/cancel", {"operator"}),
    ("POST", "/orgs/default/pause", {"operator"}),
    ("POST", "/orgs/default/resume", {"operator"}),
]


def body_for(path: str) -> Any:
    """A good body for the routes that want one."""
    return {"userId": USER, "password": GOOD} if path.endswith(("password", "check")) else None


@pytest.mark.parametrize(("method", "path", "roles"), ROUTES)
@pytest.mark.parametrize("who", ["portal", "operator", "metrics"])
def test_each_route_is_for_its_roles(method: str, path: str, roles: set[str], who: str) -> None:
    """The roles of the table get through, the others 403."""
    world = World()
    world.lookup.held["c9"] = change("c9")
    answer = world.call(method, path, key=getattr(world, who), body=body_for(path))
    if who in roles:
        assert answer.status_code in (200, 202)
        assert {"success", "message"} <= answer.json().keys()
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "role.forbidden")


@pytest.mark.parametrize(("method", "path", "roles"), ROUTES)
def test_each_route_needs_a_key(method: str, path: str, roles: set[str]) -> None:
    """Without a key, with a wrong one, or with two: 401 with a challenge, and nothing was done."""
    assert roles
    world = World()
    world.lookup.held["c9"] = change("c9")
    wrong = world.portal[:-4] + "0000"
    two = [("Authorization", f"Bearer {world.portal}"), ("Authorization", f"Bearer {world.operator}")]
    for headers in (
        [],
        [("Authorization", f"Bearer {wrong}")],
        [("Authorization", f"Basic {world.operator}")],
        [("Authorization", world.operator)],
        [("Authorization", "Bearer ")],
        [("Authorization", "Bearer ,;")],
        two,
    ):
        answer = world.call(method, path, body=body_for(path), headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["code"] in ("access.key.missing", "access.key.refused")
    assert (world.accept.requests, world.lookup.acts, world.pauses) == ([], [], [])


def test_a_change_is_shown_whole() -> None:
    """Every member of the contract, times in UTC."""
    world = World()
    world.lookup.held["c9"] = change(
        "c9",
        state=State.REFUSED,
        attempts=2,
        next_attempt_at=NOW + 1.5,
        error=Failure("password.reused", "Too recent.", "cid-1"),
    )
    answer = world.call("GET", "/changes/c9", key=world.portal)
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "message": "the change as it is now",
        "changeId": "c9",
        "org": "default",
        "user": USER,
        "status": "refused",
        "evidence": None,
        "attempts": 2,
        "acceptedAt": "2027-01-15T08:00:00.000Z",
        "updatedAt": "2027-01-15T08:00:00.000Z",
        "nextAttemptAt": "2027-01-15T08:00:01.500Z",
        "error": {"code": "password.reused", "message": "Too recent.", "correlationId": "cid-1"},
    }
    world.lookup.held["c9"] = change("c9", state=State.APPLIED, evidence=Evidence.INFERRED)
    body = world.call("GET", "/changes/c9", key=world.portal).json()
    assert (body["evidence"], body["error"], body["nextAttemptAt"]) == ("inferred", None, None)


def test_what_is_not_yours_is_unknown() -> None:
    """Another source's change, another org's, a missing and a malformed id look the same."""
    world = World()
    world.lookup.held["c9"] = change("c9")
    answers = [
        world.call("GET", "/changes/c9", key=world.other),
        world.call("GET", "/changes/c9", key=world.emea_operator),
        world.call("POST", "/changes/c9/cancel", key=world.emea_operator),
        world.call("GET", "/changes/none", key=world.portal),
        world.call("GET", "/changes/%00", key=world.portal),
        world.call("GET", "/changes/" + "a" * 500, key=world.portal),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert world.lookup.acts == []


def test_pages_show_every_change_once_newest_first() -> None:
    """Following `next` to its end visits all, also across orgs and equal times."""
    world = World()
    for number in range(7):
        org = "emea" if number % 2 else "default"
        world.lookup.held[f"c{number}"] = change(f"c{number}", org=org, accepted_at=NOW + number // 3)
    world.lookup.held["hidden"] = change("hidden", org="plain")
    seen: list[str] = []
    path = "/changes?limit=3"
    while True:
        page = world.call("GET", path, key=world.both_operator).json()
        seen += [each["changeId"] for each in page["changes"]]
        if page["next"] is None:
            break
        path = f"/changes?limit=3&cursor={page['next']}"
    assert seen == ["c6", "c5", "c4", "c3", "c2", "c1", "c0"]


def test_a_listing_is_filtered() -> None:
    """By user, states, time and org; an org that is not the operator's is 403."""
    world = World()
    world.lookup.held |= {
        "a": change("a", user=Reference("userName", "a@example.com"), accepted_at=NOW),
        "b": change("b", state=State.PARKED, accepted_at=NOW + 60),
        "c": change("c", state=State.APPLIED, org="emea", accepted_at=NOW + 120),
    }

    def ids(query: str) -> list[str]:
        answer = world.call("GET", f"/changes?{query}", key=world.operator)
        return [each["changeId"] for each in answer.json()["changes"]]

    assert ids("") == ["c", "b", "a"]
    assert ids("user=a%40example.com") == ["a"]
    assert ids("state=parked,applied") == ["c", "b"]
    assert ids("since=2027-01-15T08:01:00Z") == ["c", "b"]
    assert ids("org=default&state=parked") == ["b"]
    assert world.call("GET", "/changes?org=default", key=world.emea_operator).status_code == 403
    assert world.call("GET", "/changes", key=world.emea_operator).json()["changes"][0]["changeId"] == "c"
    assert world.call("GET", "/changes?colour=red", key=world.operator).json()["code"] == "query.invalid"


def test_operators_retry_and_cancel() -> None:
    """The act is done once, in the operator's name; an ended change is a conflict."""
    world = World()
    world.lookup.held["c9"] = change("c9", state=State.PARKED)
    assert world.call("POST", "/changes/c9/retry", key=world.operator).json()["status"] == "pending"
    assert world.call("POST", "/changes/c9/cancel", key=world.operator).json()["status"] == "cancelled"
    again = world.call("POST", "/changes/c9/retry", key=world.operator)
    assert (again.status_code, again.json()["code"]) == (409, "change.state")
    assert world.lookup.acts == [
        ("c9", "retry", "operator:desk", NOW),
        ("c9", "cancel", "operator:desk", NOW),
    ]


def test_operators_pause_and_resume_their_orgs() -> None:
    """Another org, known or not, is 403."""
    world = World()
    assert world.call("POST", "/orgs/emea/pause", key=world.emea_operator).json()["paused"] is True
    assert world.call("POST", "/orgs/emea/resume", key=world.emea_operator).json()["paused"] is False
    assert world.call("POST", "/orgs/default/pause", key=world.emea_operator).status_code == 403
    assert world.call("POST", "/orgs/none/pause", key=world.operator).status_code == 403
    assert world.pauses == [("emea", True, "operator:emea-desk"), ("emea", False, "operator:emea-desk")]


def test_the_policy_is_asked_without_accepting() -> None:
    """The verdict is the one that a change would get; the user's name counts when it is given."""
    world = World()
    good = world.call("POST", "/policy/check", key=world.portal, body={"password": GOOD})
    assert (good.status_code, good.json()["success"], good.json()["errors"]) == (200, True, [])
    named = {"userName": "horse@example.com", "password": GOOD}
    bad = world.call("POST", "/policy/check", key=world.portal, body=named)
    assert bad.status_code == 400
    assert [error["code"] for error in bad.json()["errors"]] == ["password.contains.username"]
    unknown = world.call("POST", "/policy/check", key=world.portal, body={"password": "x", "changedAt": "y"})
    assert unknown.json()["code"] == "member.unknown"
    assert world.accept.requests == []


def test_who_is_about_to_send_many_learns_the_pace() -> None:
    """The org's limit and what waits; of no org that the key may not use."""
    world = World()
    told = world.call("GET", "/pace", key=world.portal).json()
    assert (told["org"], told["requestsPerMinute"], told["waiting"]) == ("default", 300.0, 7)
    assert world.call("GET", "/orgs/default/pace", key=world.emea).status_code == 403


def test_a_change_that_nobody_waits_for_is_bulk() -> None:
    """`Prefer: bulk` marks it, and the answer says that this was honoured."""
    world = World()
    plain = world.sync(headers={"Prefer": "respond-async"})
    bulk = world.sync(headers={"Prefer": "respond-async, bulk"})
    assert [request.bulk for request in world.accept.requests] == [False, True]
    assert (plain.headers["preference-applied"], bulk.headers["preference-applied"]) == (
        "respond-async",
        "respond-async, bulk",
    )


def test_the_configuration_narrows_a_source_and_completes_its_users() -> None:
    """Orgs that key and table have in common, perhaps none; the table's template instead of the key's."""
    rules = {
        "portal": SourceRules(orgs=("emea",), user="{uid}@corp.example"),
        "emea-hr": SourceRules(orgs=("default",)),
        "desk": SourceRules(orgs=("emea",)),
    }
    world = World(rules=rules)
    body = {"userId": "jane", "password": GOOD}
    for key, path, status in (
        (world.portal, "/sync/password", 200),
        (world.portal, "/orgs/default/sync/password", 403),
        (world.emea, "/orgs/emea/sync/password", 403),
        (world.emea, "/orgs/default/sync/password", 403),
        (world.emea, "/sync/password", 403),
    ):
        answer = world.call("POST", path, key=key, body=body, headers={"Prefer": "wait=1"})
        assert answer.status_code in (status, 202), path
    assert [(each.org, each.user.value) for each in world.accept.requests] == [("emea", "jane@corp.example")]
    assert world.call("GET", "/changes", key=world.operator).status_code == 200


def test_readiness_tells_figures_only_to_holders_of_a_key() -> None:
    """Ready or not is public; why not is for holders of a key."""
    world = World()
    assert world.call("GET", "/healthz").status_code == 200
    assert world.call("GET", "/readyz").json() == {"success": True, "message": "ready"}
    world.missing.append("the key ring lacks 0123")
    public = world.call("GET", "/readyz")
    assert public.status_code == 503
    assert public.json() == {"success": False, "message": "not ready", "code": "not.ready"}
    private = world.call("GET", "/readyz", key=world.metrics)
    assert private.json()["errors"][0]["message"] == "the key ring lacks 0123"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "path.unknown"),
        ("GET", "/sync/password/", 404, "path.unknown"),
        ("POST", "/SYNC/password", 404, "path.unknown"),
        ("GET", "/changes/a/b", 404, "path.unknown"),
        ("GET", "/sync/password", 405, "method.not.allowed"),
        ("OPTIONS", "/sync/password", 405, "method.not.allowed"),
        ("PUT", "/changes/c9", 405, "method.not.allowed"),
        ("TRACE", "/healthz", 405, "method.not.allowed"),
    ],
)
def test_paths_and_methods_that_are_not_there(method: str, path: str, status: int, code: str) -> None:
    """JSON as everywhere, Allow with 405, and no redirect."""
    answer = World().call(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("allow" in answer.headers) is (status == 405)


def test_head_is_get_without_a_body() -> None:
    """Same status and length, no content."""
    world = World()
    get, head = world.call("GET", "/healthz"), world.call("HEAD", "/healthz")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_plain_http_is_for_this_machine_only() -> None:
    """A foreign Host is 421 on every path, before any key is looked at."""
    world = World()
    for path in ("/healthz", "/sync/password", "/none"):
        answer = world.call("POST", path, key=world.portal, host="evil.example:8080")
        assert (answer.status_code, answer.json()["code"]) == (421, "host.not.allowed")
    assert world.keys.readings == 0
    two = World().call("GET", "/healthz", headers=[("Host", "localhost"), ("Host", "localhost")])
    assert (two.status_code, two.json()["code"]) == (400, "host.invalid")


def test_a_defect_is_a_500_that_tells_nothing() -> None:
    """Neither the answer nor the log holds what the exception or the request held."""
    world = World()
    world.accept.failure = RuntimeError("canary-in-the-exception")
    with structlog.testing.capture_logs() as logs:
        answer = world.sync({"userId": USER, "password": "canary-In-body-1"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal.error")
    assert "canary" not in answer.text
    assert "canary" not in repr(logs)
    assert [line["event"] for line in logs] == ["request failed", "request"]
    assert logs[0]["error"] == "RuntimeError"
    assert logs[0]["at"].startswith("http_fakes.py:")


@pytest.mark.parametrize(
    ("error", "code", "ends"),
    [(StoreFull(), "disk.full", []), (StoreLost("a commit failed"), "store.lost", ["a commit failed"])],
)
@pytest.mark.parametrize("who", ["an operator", "whoever shows a key", "a source"])
def test_a_store_that_fails_is_said_to_the_caller(
    error: Exception, code: str, ends: list[str], who: str
) -> None:
    """Both are worth sending again; what is lost ends the process, after the answer."""

    async def fail(*_: object) -> None:
        raise error

    if who == "an operator":
        world = World(set_paused=fail)
        answer = world.call("POST", "/orgs/default/pause", key=world.operator)
    else:
        world = World(access=fail) if who == "whoever shows a key" else World()
        world.accept.failure = error
        answer = world.sync()
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert "retry-after" in answer.headers
    assert world.fatal == ends


def test_one_line_is_logged_for_each_request() -> None:
    """Route template, status, change, caller and time; no path, query, body or key."""
    world = World()
    with structlog.testing.capture_logs() as logs:
        world.call(
            "POST",
            "/orgs/default/sync/password?canary=canary",
            key=world.portal,
            body={"userId": USER, "password": "Canary-horse-9"},
            headers={"Idempotency-Key": "canary"},
        )
        world.call("GET", "/canary?canary")
    assert logs == [
        {
            "event": "request",
            "log_level": "info",
            "method": "POST",
            "route": "/orgs/{org}/sync/password",
            "status": 202,
            "org": "default",
            "resource": None,
            "change": "c1",
            "caller": "portal",
            "client": "127.0.0.1",
            "ms": 0.0,
        },
        {
            "event": "request",
            "log_level": "info",
            "method": "GET",
            "route": "none",
            "status": 404,
            "org": None,
            "resource": None,
            "change": None,
            "caller": None,
            "client": "127.0.0.1",
            "ms": 0.0,
        },
    ]
    assert "anary" not in repr(logs)


def test_a_websocket_is_turned_away() -> None:
    """There are none, and the attempt reaches no route."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    anyio.run(World().app, {"type": "websocket", "path": "/healthz", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
