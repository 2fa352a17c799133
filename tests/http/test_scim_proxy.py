"""Inbound SCIM in the mode proxy: what is passed on beside a password, and what stops it."""

import json
from typing import Any

import pytest

from http_fakes import GOOD, USER, change
from passferry.domain.answers import Answer
from passferry.domain.change import Evidence, Failure, Reference, State
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.source_rules import SourceRules
from passferry.refusals import NotAccepted
from passferry.store_ports import StoreBusy
from scim_fakes import JANE, SCHEMA, ScimWorld, is_error

APPLIED = change("x", state=State.APPLIED, evidence=Evidence.CONFIRMED)
AWAY = Outcome(Kind.UNAVAILABLE, "target.unreachable")
REPLACE = {"op": "replace", "path": "password", "value": GOOD}


def test_a_patch_of_a_password_alone_passes_nothing_on() -> None:
    """There is nothing left."""
    world = ScimWorld()
    assert world.patch(REPLACE, org="emea").status_code == 200
    assert world.provider.sent == []
    assert len(world.accept.requests) == 1


def test_a_patch_without_a_password_is_passed_on_alone() -> None:
    """And answered with what the target says."""
    world = ScimWorld()
    answer = world.patch({"op": "Replace", "value": {"active": False}}, org="emea")
    assert (answer.status_code, answer.headers["etag"]) == (200, '"8"')
    assert '"op":"replace"' in (world.provider.sent[0][2] or "")
    assert world.accept.requests == []


def test_a_bad_password_stops_the_rest_too() -> None:
    """The policy is asked before anything is written."""
    world = ScimWorld()
    assert is_error(world.put("short", org="emea"), 400, "invalidValue")
    assert world.provider.sent == []


@pytest.mark.parametrize(
    ("status", "body", "shown", "scim_type"),
    [
        (409, {"scimType": "uniqueness"}, 409, "uniqueness"),
        (409, {"scimType": "invalidVers"}, 412, "invalidVers"),
        (400, {"scimType": "invalidVers"}, 412, "invalidVers"),
        (412, {}, 412, "invalidVers"),
        (400, {"scimType": "<script>"}, 400, "invalidValue"),
        (401, {}, 403, None),
        (403, {"code": "missing.permissions"}, 403, None),
        (404, {}, 404, None),
        (405, {}, 501, None),
        (429, {}, 429, None),
        (500, {}, 503, None),
        (302, {}, 503, None),
    ],
)
def test_errors_of_the_target_are_errors_of_scim(
    status: int, body: dict[str, str], shown: int, scim_type: str | None
) -> None:
    """A conflict of versions is 412 whatever it was; our credentials are no 401 of the client's."""
    world = ScimWorld()
    world.provider.refusal = Answer(status, body=json.dumps(body).encode())
    answer = world.put(None, org="emea")
    assert is_error(answer, shown, scim_type)
    assert ("retry-after" in answer.headers) == (shown in (429, 503))


def test_a_lost_answer_is_not_called_a_failure() -> None:
    """504: nobody knows whether it was done."""
    world = ScimWorld()
    world.provider.away = Outcome(Kind.UNKNOWN, "no.answer")
    assert is_error(world.put(None, org="emea"), 504, None, "no.answer")


def test_a_put_without_a_name_replaces_nobody() -> None:
    """It is no whole user: passed on, it would empty one. A password alone is taken all the same."""
    world = ScimWorld()
    path = f"/Users/{USER}"
    assert is_error(world.scim("PUT", path, {"title": "x"}, org="emea"), 400, "invalidValue", "userName")
    assert world.scim("PUT", path, {"schemas": [SCHEMA], "password": GOOD}, org="emea").status_code == 200
    assert world.provider.sent == []
    assert len(world.accept.requests) == 1


def test_a_user_who_is_deactivated_together_with_a_password_is_no_error() -> None:
    """The password waits for the user to be active again, and what was asked for is done."""
    world = ScimWorld()
    world.accept.outcome = change("x", state=State.PARKED, error=Failure("user.inactive", "Inactive."))
    answer = world.put(GOOD, org="emea")
    assert (answer.status_code, answer.headers["passferry-change-status"]) == (200, "parked")


def test_a_user_is_created_without_the_password_that_came_along() -> None:
    """201 with its address here; providers send random passwords then."""
    world = ScimWorld()
    new = {"userName": "new@example.com", "displayName": "New", "password": "1mz050nq"}
    answer = world.scim("POST", "/Users", new, org="emea")
    assert answer.status_code == 201
    place = "http://127.0.0.1:8080/orgs/emea/scim/v2/Users/22222222-2222-3333-4444-555555555555"
    assert answer.headers["location"] == answer.json()["meta"].get("location", place) == place
    assert json.loads(world.provider.sent[0][2] or "") == {
        "userName": "new@example.com",
        "displayName": "New",
    }
    assert world.accept.requests == []


def test_the_password_of_a_created_user_is_taken_where_its_source_is_expected_to_make_one_up() -> None:
    """201 at once, with the change to follow; a password that breaks the policy creates nobody."""
    world = ScimWorld(rules={"emea-hr": SourceRules(generated=True)})
    new = {"userName": "new@example.com", "password": GOOD}
    answer = world.scim("POST", "/Users", new, org="emea", key=world.emea)
    assert (answer.status_code, answer.headers["passferry-change-status"]) == (201, "pending")
    (request,) = world.accept.requests
    assert (request.password.reveal(), request.user) == (GOOD, Reference("id", answer.json()["id"]))
    assert request.user_name == "new@example.com"
    weak = world.scim("POST", "/Users", new | {"password": "1"}, org="emea", key=world.emea)
    assert is_error(weak, 400, "invalidValue")
    assert len(world.provider.sent) == 1


@pytest.mark.parametrize("code", ["source.too.fast", "queue.full"])
def test_nobody_is_created_whose_password_could_not_be_taken_now(code: str) -> None:
    """The whole request can be sent again; a user without the password would be there for good."""
    world = ScimWorld(rules={"emea-hr": SourceRules(generated=True)})
    world.accept.change_refusal = NotAccepted(code, "No.", retry_after=7)
    new = {"userName": "new@example.com", "password": GOOD}
    answer = world.scim("POST", "/Users", new, org="emea", key=world.emea)
    assert is_error(answer, 429 if code == "source.too.fast" else 503, None, code)
    assert (world.provider.sent, world.accept.requests) == ([], [])


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ({"refusal": NotAccepted("source.too.fast", "Too fast.", retry_after=1)}, "source.too.fast"),
        ({"failure": StoreBusy("held")}, "store.busy"),
    ],
    ids=["refused", "store"],
)
def test_a_user_that_was_created_is_answered_with_even_if_its_password_is_not_taken(
    trouble: dict[str, Any], code: str
) -> None:
    """201, since the user is there; the header says that a password must be sent anew."""
    world = ScimWorld(rules={"emea-hr": SourceRules(generated=True)})
    for name, value in trouble.items():
        setattr(world.accept, name, value)
    new = {"userName": "new@example.com", "password": GOOD}
    answer = world.scim("POST", "/Users", new, org="emea", key=world.emea)
    assert (answer.status_code, answer.headers["passferry-change-status"]) == (201, f"refused {code}")
    assert answer.headers["location"].endswith(answer.json()["id"])
    assert "passferry-change-id" not in answer.headers
    assert GOOD not in answer.text


def test_a_user_is_deleted_at_its_version() -> None:
    """204, which has no body."""
    world = ScimWorld()
    answer = world.scim("DELETE", f"/Users/{USER}", org="emea", headers={"If-Match": '"7"'})
    assert (answer.status_code, answer.content, "content-length" in answer.headers) == (204, b"", False)
    assert world.provider.sent == [("DELETE", USER, None, '"7"')]
    assert is_error(
        world.scim("DELETE", f"/Users/{USER}", org="emea", headers={"If-Match": '"7", "8"'}),
        400,
        "invalidVers",
    )


ADMIN = {USER: JANE | {"userName": "Admin@Example.com"}}
RENAMED = {"userName": "spare@example.com", "password": GOOD}


@pytest.mark.parametrize("never", ["admin@example.com", USER])
@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PUT", RENAMED),
        ("PATCH", {"Operations": [{"op": "replace", "path": "userName", "value": "spare@example.com"}]}),
        ("PATCH", {"Operations": [{"op": "replace", "path": "active", "value": False}, REPLACE]}),
        ("DELETE", None),
    ],
)
def test_a_user_that_is_not_to_be_touched_is_not_renamed_first(method: str, body: Any, never: str) -> None:
    """Whom an id names is looked up before anything is passed on; under a new name nobody would know."""
    world = ScimWorld(rules={"emea-hr": SourceRules(never=frozenset({never}))})
    world.provider.users = dict(ADMIN)
    answer = world.scim(method, f"/Users/{USER}", body, org="emea", key=world.emea)
    assert is_error(answer, 403, None, "user.protected")
    assert (world.provider.sent, world.accept.requests) == ([], [])
    assert world.provider.looks == ([] if never == USER and method != "DELETE" else [(USER, True)])
    assert world.scim(method, f"/Users/{USER}", body, org="emea").status_code in (200, 204)


def test_whoever_cannot_be_looked_up_is_not_touched() -> None:
    """Where some users must not be, the target's silence says nothing of this one."""
    world = ScimWorld(rules={"emea-hr": SourceRules(never=frozenset({"admin@example.com"}))})
    world.provider.away = AWAY
    assert is_error(world.put(None, org="emea", key=world.emea), 503, None, "target.unreachable")
    world.provider.away, world.provider.users = None, {USER: {"id": USER, "meta": {"version": "7"}}}
    assert is_error(world.put(GOOD, org="emea", key=world.emea), 502, None, "target.answer.unusable")
    assert (world.provider.sent, world.accept.requests) == ([], [])


def test_nobody_gets_a_name_that_is_not_to_be_touched() -> None:
    """Neither a new user nor one that there is."""
    world = ScimWorld(rules={"emea-hr": SourceRules(never=frozenset({"jane@example.com"}))})
    world.provider.users = {USER: JANE | {"userName": "joan@example.com"}}
    new = {"userName": "jane@example.com"}
    assert is_error(world.scim("POST", "/Users", new, org="emea", key=world.emea), 403, None, "protected")
    assert is_error(world.put(GOOD, org="emea", key=world.emea), 403, None, "user.protected")
    assert world.provider.sent == []


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, f"/{kind}/{USER}") for method in ("PUT", "PATCH", "DELETE") for kind in ("Users", "Groups")]
    + [("POST", "/Users"), ("POST", "/Groups")],
)
def test_a_stopped_source_changes_nothing_at_the_target(method: str, path: str) -> None:
    """429 as for its passwords: nothing is passed on."""
    world = ScimWorld()
    world.accept.not_admitted = NotAccepted("source.stopped", "It is stopped.", retry_after=300)
    body = {"Operations": [{"op": "add", "path": "title", "value": "x"}]} if method == "PATCH" else JANE
    answer = world.scim(method, path, body, org="emea")
    assert is_error(answer, 429, None, "source.stopped")
    assert answer.headers["retry-after"] == "300"
    assert (world.provider.sent, world.accept.admitted) == ([], [("portal", "emea")])


def test_nothing_is_passed_on_to_a_paused_org() -> None:
    """503; a password alone is accepted and waits, as ever."""
    world = ScimWorld(paused=lambda org: "operator")
    assert is_error(world.put(None, org="emea"), 503, None, "org.paused")
    assert world.patch(REPLACE, org="emea").status_code == 200
    assert world.provider.sent == []
