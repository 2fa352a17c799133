"""POST /sync/password: what is handed over, and what the caller is told."""

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_fakes import GOOD, USER, World, change
from passferry.domain.change import Evidence, Failure, Reference, State
from passferry.entrypoints.http_answers import NOT_ACCEPTED
from passferry.refusals import NotAccepted
from passferry.store_ports import StoreBusy

APPLIED = change("x", state=State.APPLIED, evidence=Evidence.CONFIRMED)


def test_an_applied_change_is_answered_with_200() -> None:
    """The body is the contract's, nothing more, and the wait was 15 seconds."""
    world = World()
    world.accept.outcome = APPLIED
    answer = world.sync()
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "message": "password synchronized",
        "changeId": "c1",
        "status": "applied",
    }
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "preference-applied" not in answer.headers
    assert world.accept.waits == [15]


def test_a_pending_change_is_answered_with_202_and_its_place() -> None:
    """When the wait ends first, Location names the change."""
    answer = World().sync()
    assert answer.status_code == 202
    assert answer.headers["location"] == "/changes/c1"
    assert answer.json() == {
        "success": True,
        "message": "password accepted, delivery pending",
        "changeId": "c1",
        "status": "pending",
    }


def test_a_store_that_fails_after_the_accept_does_not_unsay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is committed: 202 with its id, though nobody could look what became of it."""
    world = World()

    async def locked(change_id: str, seconds: float) -> None:
        raise StoreBusy("the database is locked by another program")

    monkeypatch.setattr(world.accept, "wait", locked)
    answer = world.sync()
    assert (answer.status_code, answer.json()["changeId"]) == (202, "c1")


@pytest.mark.parametrize(
    ("prefer", "waits", "applied"),
    [
        ("respond-async", [], "respond-async"),
        ("wait=0", [], "wait=0"),
        ("wait=3", [3], "wait=3"),
        ("wait=100", [15], "wait=15"),
        ("wait=nonsense", [15], None),
    ],
)
def test_prefer_decides_how_long_to_wait(prefer: str, waits: list[float], applied: str | None) -> None:
    """The wait is the one asked for, and Preference-Applied says what was honoured."""
    world = World()
    answer = world.sync(headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert world.accept.waits == waits
    assert answer.headers.get("preference-applied") == applied


@pytest.mark.parametrize(
    ("state", "error", "status", "code"),
    [
        (State.SUPERSEDED, None, 409, "superseded"),
        (State.REFUSED, Failure("password.reused", "Too recent.", "abc-1"), 502, "password.reused"),
        (State.REFUSED, None, 502, "refused"),
        (State.PARKED, Failure("user.unknown", "No such user."), 502, "user.unknown"),
        (State.EXPIRED, Failure("too.many.requests", "Wait."), 502, "expired"),
        (State.CANCELLED, None, 502, "cancelled"),
    ],
)
def test_a_change_that_ended_otherwise_is_an_error_with_its_id(
    state: State, error: Failure | None, status: int, code: str
) -> None:
    """The code is the target's, or the state; the correlation id goes along."""
    world = World()
    world.accept.outcome = change("x", state=state, error=error)
    answer = world.sync()
    body = answer.json()
    assert answer.status_code == status
    assert body.pop("message")
    expected = {"success": False, "changeId": "c1", "status": str(state), "code": code}
    if error is not None and error.correlation_id:
        expected["correlationId"] = error.correlation_id
    assert body == expected


@pytest.mark.parametrize("code", sorted(NOT_ACCEPTED))
def test_what_was_not_accepted_has_the_status_of_its_code(code: str) -> None:
    """Each refusal of the use case has its status, and Retry-After where sending again helps."""
    world = World()
    world.accept.refusal = NotAccepted(code, "A public sentence.", retry_after=1.2)
    answer = world.sync()
    assert answer.status_code == NOT_ACCEPTED[code]
    assert answer.json() == {"success": False, "message": "A public sentence.", "code": code}
    assert answer.headers.get("retry-after") == ("2" if answer.status_code in (429, 503) else None)


def test_every_broken_rule_of_the_policy_is_told() -> None:
    """400 with all codes, and the password nowhere."""
    answer = World().sync({"userId": USER, "password": "canary"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "policy"
    assert [error["code"] for error in answer.json()["errors"]] == [
        "password.too.short",
        "password.not.enough.uppercase",
        "password.not.enough.digits",
        "password.not.enough.specials",
    ]
    assert "canary" not in answer.text


def test_half_a_surrogate_pair_in_the_password_breaks_the_policy() -> None:
    """JSON can name what no Unicode text holds; it is refused by name and reaches no encoder."""
    answer = World().sync(content=b'{"userId":"' + USER.encode() + b'","password":"Correct-Horse-9\\ud83d"}')
    assert answer.status_code == 400
    assert [error["code"] for error in answer.json()["errors"]] == ["password.not.unicode"]


def test_everything_of_the_request_is_handed_over() -> None:
    """Org, user, password, time and key arrive at the use case as they were sent."""
    world = World()
    body = {"userName": "Jane@Example.com", "password": GOOD, "changedAt": "1970-01-01T00:00:01+00:00"}
    headers = {"Idempotency-Key": '"k 1"'.replace(" ", "-")}
    world.call("POST", "/orgs/emea/sync/password", key=world.portal, body=body, headers=headers)
    (request,) = world.accept.requests
    assert (request.org, request.user) == ("emea", Reference("userName", "Jane@Example.com"))
    assert request.password.reveal() == GOOD
    assert (request.changed_at, request.idempotency_key, request.bulk) == (1.0, '"k-1"', False)
    assert world.accept.callers[0].name == "portal"


def test_a_repeat_under_the_same_key_is_the_same_change() -> None:
    """One change; its present state; another body is a conflict."""
    world = World()
    world.accept.outcome = APPLIED
    headers = {"Idempotency-Key": "k"}
    first, second = world.sync(headers=headers), world.sync(headers=headers)
    assert first.json() == second.json()
    assert world.accept.waits == [15]  # the second was known to be applied
    other = world.sync({"userId": USER, "password": GOOD + "x"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency.key.reused")


@pytest.mark.parametrize(
    ("key", "org"),
    [("portal", "default"), ("emea", "emea")],
)
def test_without_an_org_it_is_default_or_the_keys_only_one(key: str, org: str) -> None:
    """A key for one org needs no path for it."""
    world = World()
    assert world.sync(key=getattr(world, key)).status_code == 202
    assert world.accept.requests[0].org == org


def test_a_key_for_all_orgs_uses_the_only_one_there_is() -> None:
    """With one org of another name, that one is meant."""
    world = World(orgs=["acme"])
    assert world.sync().status_code == 202
    assert world.accept.requests[0].org == "acme"


def test_an_unknown_and_a_forbidden_org_look_the_same() -> None:
    """Byte for byte the same 403, also when no org is named and none fits."""
    world = World()
    body = {"userId": USER, "password": GOOD}
    answers = [
        world.call("POST", f"/orgs/{org}/sync/password", key=world.emea, body=body)
        for org in ("default", "nowhere", "%00")
    ]
    answers.append(World(orgs=["a", "b"]).sync())
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.content for answer in answers}) == 1
    assert world.accept.requests == []


def test_short_names_are_completed_by_the_sources_template() -> None:
    """A source with a template may send what it has."""
    world = World()
    world.sync({"userId": "jane", "password": GOOD}, key=world.short)
    world.sync({"userId": "jane@b.org", "password": GOOD}, key=world.short)
    assert [request.user.value for request in world.accept.requests] == ["jane@example.com", "jane@b.org"]


def test_ids_need_not_be_uuids_where_the_target_has_others() -> None:
    """A plain service provider's ids are taken as they are."""
    world = World()
    body = {"userId": "2819c223", "password": GOOD}
    assert world.call("POST", "/orgs/plain/sync/password", key=world.portal, body=body).status_code == 202
    assert world.accept.requests[0].user == Reference("id", "2819c223")
    assert world.sync(body).json()["code"] == "user.invalid"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, 415, "content.type.unsupported"),
        ({"Content-Encoding": "gzip"}, 415, "content.type.unsupported"),
        ({"Idempotency-Key": "a b"}, 400, "idempotency.key.invalid"),
        ([("Idempotency-Key", "a"), ("Idempotency-Key", "b")], 400, "idempotency.key.invalid"),
    ],
)
def test_bad_headers_are_refused(headers: Any, status: int, code: str) -> None:
    """Each header of the table has its status and code, and nothing is accepted."""
    world = World()
    answer = world.sync(headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["success"] is False
    assert world.accept.requests == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "json.invalid"),
        (b"canary", "json.invalid"),
        (b'["canary"]', "json.not.object"),
        (b'{"userId":"u","password":"canary","password":"canary"}', "member.repeated"),
        (b'{"userId":"u","canary":"canary"}', "member.unknown"),
        (b'{"userId":"u","password":["canary"]}', "member.type"),
        (b'{"userId":"u","userName":"u","password":"canary"}', "user.both"),
        (b'{"password":"canary"}', "member.missing"),
        (b'{"userId":"canary canary","password":"canary"}', "user.invalid"),
        (b'{"userId":"u@x","password":"canary","changedAt":"canary"}', "changed.at.invalid"),
    ],
)
def test_bad_bodies_are_refused_without_repeating_them(content: bytes, code: str) -> None:
    """400 with the code, in JSON, and no part of the body."""
    world = World()
    answer = world.sync(content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert (answer.json()["success"], bool(answer.json()["message"])) == (False, True)
    assert "canary" not in answer.text
    assert world.accept.requests == []


def test_a_body_of_16_kib_is_read_and_one_byte_more_is_not() -> None:
    """The limit is exact; beyond it the connection ends."""
    world = World()
    content = b'{"userId":"' + USER.encode() + b'","password":"Correct-Horse-9"}'
    assert world.sync(content=content.ljust(16 * 1024)).status_code == 202
    answer = world.sync(content=content.ljust(16 * 1024 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "body.too.large")
    assert answer.headers["connection"] == "close"


def raw(world: World, messages: list[dict[str, Any]], headers: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Status (0: no answer) and how many of ``messages`` were read; then nothing more comes."""
    sent: list[Any] = []
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await anyio.sleep_forever()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "client": ("127.0.0.1", 50000),
        "type": "http",
        "method": "POST",
        "path": "/sync/password",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"authorization", f"Bearer {world.portal}".encode()),
            *headers,
        ],
    }
    anyio.run(world.app, scope, receive, send)
    return (sent[0]["status"] if sent else 0), len(messages) - len(waiting)


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    """A message with a part of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def test_reading_stops_where_the_body_is_known_to_be_too_large() -> None:
    """A stated length is believed; without one, parts are read up to the limit and no further."""
    assert raw(World(), [part(b"x")], [(b"content-length", b"16385")]) == (413, 0)
    assert raw(World(), [part(b"x" * 8192) for _ in range(10)], []) == (413, 3)


def test_a_body_that_does_not_come_is_given_up() -> None:
    """After the time limit the answer is 408."""
    assert raw(World(body_seconds=0.02), [part(b"{")], []) == (408, 1)


def test_a_caller_that_goes_away_while_sending_is_not_answered() -> None:
    """Nothing is accepted and nothing is sent."""
    world = World()
    assert raw(world, [part(b"{"), {"type": "http.disconnect"}], []) == (0, 2)
    assert world.accept.requests == []


def test_a_body_in_parts_is_one_body() -> None:
    """Chunks are put together."""
    body = b'{"userId":"' + USER.encode() + b'","password":"Correct-Horse-9"}'
    assert raw(World(), [part(body[:9]), part(body[9:20]), part(body[20:], more=False)], []) == (202, 3)


@given(st.binary(max_size=100))
def test_no_body_makes_the_gateway_fail(content: bytes) -> None:
    """Any bytes get an answer with `success` and `message`, and never a 500."""
    answer = World().sync(content=content)
    assert answer.status_code in (400, 202)
    assert {"success", "message"} <= answer.json().keys()
