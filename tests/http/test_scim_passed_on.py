"""The mode proxy: a password and the rest of a user in one request, of which either may fail."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from http_fakes import GOOD, USER, change
from passferry.domain.answers import Answer
from passferry.domain.change import Evidence, Reference, State
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.source_rules import SourceRules
from passferry.refusals import NotAccepted
from scim_fakes import JANE, SCHEMA, FakeProvider, ScimWorld, is_error

APPLIED = change("x", state=State.APPLIED, evidence=Evidence.CONFIRMED)
AWAY = Outcome(Kind.UNAVAILABLE, "target.unreachable")
LOST = Outcome(Kind.UNKNOWN, "no.answer")
BUSY = Outcome(Kind.THROTTLED, "target.busy", retry_after=9)
REPLACE = {"op": "replace", "path": "password", "value": GOOD}
TITLE = {"op": "replace", "path": "title", "value": "Chief"}
AGENT = JANE | {"title": "Agent", "roles": [{"value": "agent"}], "groups": [{"value": "g"}]}
MOVED = Answer(409, body=json.dumps({"scimType": "invalidVers"}).encode())


def sends(name: str) -> Callable[..., Any]:
    """A request that has both: a whole user by PUT, or a PatchOp."""

    def send(world: ScimWorld, **more: Any) -> Any:
        if name == "PUT":
            return world.put(GOOD, org="emea", **more)
        return world.patch(TITLE, REPLACE, org="emea", **more)

    return send


BOTH = pytest.mark.parametrize("send", [sends("PUT"), sends("PATCH")], ids=["PUT", "PATCH"])


# --- a whole user ----------------------------------------------------------------------------


def test_a_put_is_laid_over_the_user_as_it_is_without_its_password() -> None:
    """First the rest, at the version that was read; then the password, as any other change.

    What the provider does not map goes back as it was: the target may clear what is left out.
    """
    world = ScimWorld()
    world.accept.outcome, world.provider.users = APPLIED, {USER: AGENT}
    answer = world.put(GOOD, org="emea", headers={"If-Match": '"6", W/"7"'})
    assert answer.status_code == 200
    ((method, user, body, version),) = world.provider.sent
    assert (method, user, version) == ("PUT", USER, '"7"')
    kept = {name: AGENT[name] for name in ("schemas", "userName", "active", "title", "roles")}
    assert json.loads(body or "") == kept
    assert world.provider.looks[0] == (USER, True)
    assert [request.org for request in world.accept.requests] == ["emea"]


def test_a_put_without_a_password_is_laid_over_the_user_too() -> None:
    """And nothing is accepted."""
    world = ScimWorld()
    world.provider.users = {USER: AGENT}
    assert world.put(None, org="emea").status_code == 200
    assert json.loads(world.provider.sent[0][2] or "")["roles"] == AGENT["roles"]
    assert world.accept.requests == []


@pytest.mark.parametrize("password", [GOOD, None])
def test_another_version_than_the_clients_stops_everything(password: str | None) -> None:
    """412, and neither is done; be it seen before the write or by the target."""
    world = ScimWorld()
    assert is_error(world.put(password, org="emea", headers={"If-Match": '"6"'}), 412, "invalidVers")
    assert world.provider.sent == []
    world.provider.answers = [MOVED]
    assert is_error(world.put(password, org="emea", headers={"If-Match": '"7"'}), 412, "invalidVers")
    assert (len(world.provider.sent), world.accept.requests) == (1, [])


@pytest.mark.parametrize("password", [GOOD, None])
def test_a_put_without_a_version_follows_a_user_that_moves(password: str | None) -> None:
    """The client named none: what moved is read, and the PUT laid over it. Not for ever."""
    world = ScimWorld()
    world.provider.answers = [MOVED, MOVED]
    assert world.put(password, org="emea").status_code == 200
    assert len(world.provider.sent) == 3
    world.provider.answers = [MOVED, MOVED, MOVED]
    answer = world.put(password, org="emea")
    assert is_error(answer, 412, "invalidVers")
    assert len(world.provider.sent) == 6
    assert ("passferry-change-id" in answer.headers) == (password is not None)


class Moving(FakeProvider):
    """Somebody else writes the user whenever we do."""

    async def send(self, method: str, *rest: Any, **more: Any) -> Answer | Outcome:
        if self.answers:
            self.users[USER] = JANE | {"meta": {"version": f"moved-{len(self.sent)}"}}
        return await super().send(method, *rest, **more)


@pytest.mark.parametrize(
    ("provider", "sent"), [(FakeProvider(), 1), (Moving(), 2)], ids=["the same version", "another version"]
)
def test_a_conflict_of_which_nothing_is_said_is_tried_again_only_if_the_user_moved(
    provider: FakeProvider, sent: int
) -> None:
    """409 may mean anything, which does not go away by itself."""
    world = ScimWorld()
    world.provider = provider
    provider.answers = [Answer(409, body=b"{}")]
    answer = world.put(None, org="emea")
    assert (answer.status_code == 200) == (sent == 2)
    assert len(provider.sent) == sent


@pytest.mark.parametrize("password", [GOOD, None])
@pytest.mark.parametrize("kind", [None, "tooMany"])
def test_a_conflict_that_is_not_of_versions_is_one_of_names(password: str | None, kind: str | None) -> None:
    """409 `uniqueness` with the target's words, as for POST; the password is taken all the same."""
    world = ScimWorld()
    said = {"scimType": kind, "detail": "bob@example.com is taken"}
    world.provider.answers = [Answer(409, body=json.dumps(said).encode())]
    answer = world.put(password, org="emea")
    assert is_error(answer, 409, "uniqueness", "bob@example.com is taken")
    assert len(world.provider.sent) == 1
    assert ("passferry-change-id" in answer.headers) == (password is not None)


def test_a_conflict_of_names_does_not_tell_the_password() -> None:
    """Of a target that repeats it, the words are left out."""
    world = ScimWorld()
    world.provider.answers = [Answer(409, body=json.dumps({"detail": f"bad: {GOOD}"}).encode())]
    answer = world.put(GOOD, org="emea")
    assert (answer.status_code, GOOD in answer.text) == (409, False)


# --- the rest fails --------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (AWAY, 503, "target.unreachable"),
        (LOST, 504, "no.answer"),
        (BUSY, 429, "target.busy"),
        (Answer(500), 503, "target.unavailable"),
        (Answer(429), 429, ""),
        (Answer(403, body=b'{"code":"missing.permissions"}'), 403, "missing.permissions"),
        (Answer(404), 404, ""),
        (Answer(400, body=b'{"scimType":"invalidValue","detail":"no phone number"}'), 400, "no phone number"),
    ],
)
def test_a_rest_that_is_not_passed_on_costs_no_password(
    send: Any, trouble: Answer | Outcome, status: int, code: str
) -> None:
    """The user has the new password elsewhere already: it is accepted, and the error names its change."""
    world = ScimWorld()
    world.provider.answers = [trouble]
    answer = send(world)
    is_error(answer, status)
    assert code in answer.json()["detail"]
    assert answer.json()["detail"].endswith(" The password was accepted.")
    assert (answer.headers["passferry-change-id"], answer.headers["passferry-change-status"]) == (
        "c1",
        "pending",
    )
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    (request,) = world.accept.requests
    assert (request.user, request.password.reveal()) == (Reference("id", USER), GOOD)
    assert world.accept.waits == []  # what is known at once is answered at once
    assert GOOD not in answer.text


@BOTH
def test_a_target_that_is_away_gets_nothing_and_the_password_is_accepted(send: Any) -> None:
    """503 with the change: the provider repeats the rest, and the password is safe."""
    world = ScimWorld()
    world.provider.away = AWAY
    answer = send(world)
    assert is_error(answer, 503, None, "target.unreachable")
    assert answer.headers["passferry-change-id"] == "c1"
    assert answer.headers["retry-after"]
    assert (world.provider.sent, len(world.accept.requests)) == ([], 1)


@BOTH
def test_a_version_that_nobody_can_check_stops_the_password_too(send: Any) -> None:
    """503: whoever names one does not want it unseen."""
    world = ScimWorld()
    world.provider.away = AWAY
    answer = send(world, headers={"If-Match": '"7"'})
    assert is_error(answer, 503)
    assert ("passferry-change-id" in answer.headers, world.accept.requests) == (False, [])


@BOTH
def test_a_pause_costs_no_password(send: Any) -> None:
    """503 for the rest; the password is accepted, and waits."""
    world = ScimWorld(paused=lambda org: "operator")
    answer = send(world)
    assert is_error(answer, 503, None, "org.paused")
    assert answer.headers["passferry-change-id"] == "c1"
    assert (world.provider.sent, len(world.accept.requests)) == ([], 1)


@BOTH
def test_a_source_that_changes_users_too_fast_loses_no_password(send: Any) -> None:
    """429 for the rest, whose rate is one of its own."""
    world = ScimWorld()
    world.accept.not_admitted = NotAccepted("source.too.fast", "Too fast.", retry_after=2)
    answer = send(world)
    assert is_error(answer, 429, None, "source.too.fast")
    assert (answer.headers["passferry-change-id"], answer.headers["retry-after"]) == ("c1", "2")
    assert (world.provider.sent, len(world.accept.requests)) == ([], 1)


@BOTH
def test_a_user_that_is_not_to_be_touched_is_not_touched_by_either(send: Any) -> None:
    """By name, which the target tells; while it is away, the id alone is known, and delivery looks again."""
    world = ScimWorld(rules={"emea-hr": SourceRules(never=frozenset({"admin@example.com"}))})
    world.provider.users = {USER: JANE | {"userName": "Admin@example.com"}}
    answer = send(world, key=world.emea)
    assert is_error(answer, 403, None, "user.protected")
    assert (world.provider.sent, world.accept.requests) == ([], [])
    world = ScimWorld(rules={"emea-hr": SourceRules(never=frozenset({USER}))})
    world.provider.away = AWAY
    assert is_error(send(world, key=world.emea), 403, None, "user.protected")
    assert (world.provider.looks, world.accept.requests) == ([], [])


@pytest.mark.parametrize("word", [GOOD, "Authorization: Bearer abc"])
def test_a_target_that_repeats_a_secret_is_not_quoted(word: str) -> None:
    """Neither the password nor what looks like a token."""
    world = ScimWorld()
    world.provider.refusal = Answer(400, body=json.dumps({"detail": f"bad: {word}"}).encode())
    answer = world.put(GOOD, org="emea")
    assert answer.status_code == 400
    assert word not in answer.text
    assert answer.headers["passferry-change-id"] == "c1"


# --- the password is refused -----------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("code", ["source.too.fast", "source.stopped", "queue.full", "shutting.down"])
def test_a_password_that_cannot_be_taken_now_stops_the_rest(send: Any, code: str) -> None:
    """It is asked before anything is read or sent, so that the whole request can be sent again."""
    world = ScimWorld()
    world.accept.change_refusal = NotAccepted(code, "No.", retry_after=7)
    answer = send(world)
    assert is_error(answer, 503 if code in ("queue.full", "shutting.down") else 429, None, code)
    assert (world.provider.sent, world.provider.looks) == ([], [])


def test_a_password_with_the_users_name_in_it_stops_the_rest_of_a_patch() -> None:
    """A PatchOp does not tell the name, so the user is read before anything is sent."""
    world = ScimWorld()
    named = REPLACE | {"value": "Jane-Password-9"}
    answer = world.patch(TITLE, named, org="emea")
    assert is_error(answer, 400, "invalidValue", "contains.username")
    assert (world.provider.sent, world.accept.requests) == ([], [])


RENAME = {"op": "replace", "path": "userName", "value": "janet.roe@example.com"}


@pytest.mark.parametrize("password", ["Janet.Roe-Password-9", "Jane-Password-9"])
@pytest.mark.parametrize("old", ["jane@example.com", "bob@example.com"])
def test_a_renamed_users_password_has_neither_the_old_nor_the_new_name_in_it(password: str, old: str) -> None:
    """Whichever is there when the password arrives."""
    bad = "Janet" in password or old.startswith("jane@")
    for method in ("PUT", "PATCH"):
        world = ScimWorld()
        world.provider.users = {USER: JANE | {"userName": old}}
        if method == "PUT":
            body = {"userName": RENAME["value"], "password": password}
            answer = world.scim("PUT", f"/Users/{USER}", body, org="emea")
        else:
            answer = world.patch(RENAME, REPLACE | {"value": password}, org="emea")
        assert (answer.status_code == 400) == bad
        assert (world.provider.sent == []) == (world.accept.requests == []) == bad
        assert not bad or answer.json()["detail"].count("password.contains.username") == 1


# --- looks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [GOOD, None])
@pytest.mark.parametrize("org", ["default", "emea"])
def test_no_look_at_a_user_is_beyond_the_rate_of_its_source(password: str | None, org: str) -> None:
    """429 before the target is asked, with a version that is wrong or without."""
    world = ScimWorld()
    too_fast = NotAccepted("source.too.fast", "Too fast.", retry_after=2)
    world.accept.not_admitted = world.accept.change_refusal = too_fast
    for headers in ({}, {"If-Match": '"6"'}):
        answer = world.put(password, org=org, headers=headers)
        assert is_error(answer, 429, None, "source.too.fast")
    assert (world.provider.looks, world.provider.sent) == ([], [])


def test_no_search_before_a_post_is_beyond_the_rate_of_its_source() -> None:
    """In the mode passwords a POST looks whether the user exists."""
    world = ScimWorld()
    world.accept.not_admitted = NotAccepted("source.too.fast", "Too fast.", retry_after=2)
    answer = world.scim("POST", "/Users", {"schemas": [SCHEMA], "userName": "new@example.com"})
    assert is_error(answer, 429, None, "source.too.fast")
    assert world.provider.queries == []
