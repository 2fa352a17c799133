"""Inbound SCIM: what is taken, what is passed on, and what providers are told."""

import base64
import json
from typing import Any

import anyio
import pytest
import structlog

from http_fakes import GOOD, USER, change
from passferry.domain.accepting import Stopped
from passferry.domain.answers import Answer
from passferry.domain.change import Evidence, Failure, Reference, State
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.source_rules import SourceRules
from passferry.entrypoints.scim_pass import Passing
from passferry.refusals import NotAccepted
from passferry.store_ports import Caller, StoreBusy
from scim_fakes import JANE, SCHEMA, ScimWorld, by_filter, is_error

APPLIED = change("x", state=State.APPLIED, evidence=Evidence.CONFIRMED)
AWAY = Outcome(Kind.UNAVAILABLE, "target.unreachable")
REPLACE = {"op": "replace", "path": "password", "value": GOOD}


def test_a_source_whose_changes_are_bulk_gives_way_with_all_that_it_asks() -> None:
    """And no other does."""
    for bulk in (False, True):
        world = ScimWorld(rules={"emea-hr": SourceRules(bulk=bulk)})
        assert world.scim("GET", f"/Users/{USER}", org="emea", key=world.emea).status_code == 200
        assert (world.provider.gave_way > 0) is bulk


# --- a password ------------------------------------------------------------------------------


def test_a_password_by_put_is_accepted_as_a_change_of_that_user_and_source() -> None:
    """By the target's id, with the usual wait; the answer is the user, with the ETag, without a password."""
    world = ScimWorld()
    world.accept.outcome = APPLIED
    answer = world.put(GOOD)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/scim+json"
    assert (answer.headers["etag"], answer.headers["passferry-change-id"]) == ('"7"', "c1")
    assert answer.headers["passferry-change-status"] == "applied"
    (request,) = world.accept.requests
    assert (request.org, request.user) == ("default", Reference("id", USER))
    assert request.password.reveal() == GOOD
    assert world.accept.callers[0].name == "portal"
    assert world.accept.waits == [15]
    shown = answer.json()
    assert shown["userName"] == "jane@example.com"
    assert shown["meta"]["location"] == f"http://127.0.0.1:8080/scim/v2/Users/{USER}"
    assert GOOD not in answer.text
    assert world.provider.sent == []


@pytest.mark.parametrize(
    "operation",
    [
        REPLACE,
        {"op": "replace", "value": {"password": GOOD}},
        {"op": "Add", "path": "password", "value": GOOD},
        {"op": "REPLACE", "path": f"{SCHEMA}:password", "value": GOOD},
    ],
)
def test_a_password_by_patch_is_accepted_in_every_spelling(operation: Any) -> None:
    """The body of the four that providers send, and any case of op."""
    world = ScimWorld()
    world.accept.outcome = APPLIED
    assert world.patch(operation).status_code == 200
    assert [request.password.reveal() for request in world.accept.requests] == [GOOD]


@pytest.mark.parametrize("content_type", ["application/scim+json", "text/json", "a/b; x=y", None])
def test_the_type_of_a_body_does_not_matter(content_type: str | None) -> None:
    """Providers name it in many ways, or not at all; only compressed ones are refused."""
    world = ScimWorld()
    content = json.dumps({"userName": "jane@example.com", "password": GOOD}).encode()
    headers = {"content-type": content_type} if content_type else {}
    sent = {"content": content, "headers": headers or {"x-other": "1"}}
    assert world.scim("PUT", f"/Users/{USER}", **sent).status_code == 200
    assert is_error(world.put(GOOD, headers={"content-encoding": "gzip"}), 415)


def test_a_put_without_a_password_changes_nothing_about_it() -> None:
    """In the mode passwords it changes nothing at all, and shows the user as it is."""
    world = ScimWorld()
    answer = world.scim("PUT", f"/Users/{USER}", {"userName": "other@example.com", "active": False})
    assert (answer.status_code, answer.json()["userName"]) == (200, "jane@example.com")
    assert "passferry-change-id" not in answer.headers
    assert world.accept.requests == []
    assert world.provider.sent == []


def test_every_broken_rule_is_named_in_one_error() -> None:
    """400 invalidValue; also that the user's name is in it, which an id alone does not tell."""
    world = ScimWorld()
    answer = world.patch(REPLACE | {"value": "jane"})
    assert is_error(answer, 400, "invalidValue", "[password.too.short]")
    for code in ("not.enough.uppercase", "not.enough.digits", "not.enough.specials", "contains.username"):
        assert f"[password.{code}]" in answer.json()["detail"]
    assert world.accept.requests == []


@pytest.mark.parametrize(
    ("state", "error", "status", "scim_type", "code"),
    [
        (State.REFUSED, Failure("password.reused", "Too recent.", "abc-1"), 400, "invalidValue", "abc-1"),
        (State.REFUSED, None, 400, "invalidValue", "refused"),
        (State.PARKED, Failure("user.unknown", "None."), 404, None, "user.unknown"),
        (State.PARKED, Failure("user.inactive", "Inactive."), 409, None, "user.inactive"),
        (State.PARKED, Failure("missing.division.permission", "No."), 403, None, "missing.division"),
        (State.PARKED, Failure("outcome.unknown", "Lost."), 502, None, "outcome.unknown"),
        (State.EXPIRED, Failure("too.many.requests", "Wait."), 502, None, "expired"),
        (State.CANCELLED, None, 502, None, "cancelled"),
    ],
)
def test_a_change_that_ended_badly_within_the_wait_is_an_error(
    state: State, error: Failure | None, status: int, scim_type: str | None, code: str
) -> None:
    """With the target's code and id for its support, and the change that it is about."""
    world = ScimWorld()
    world.accept.outcome = change("x", state=state, error=error)
    answer = world.put(GOOD)
    assert is_error(answer, status, scim_type, code)
    assert answer.headers["passferry-change-id"] == "c1"


@pytest.mark.parametrize("state", [State.PENDING, State.DELIVERING, State.SUPERSEDED])
def test_what_is_accepted_and_not_at_the_target_yet_is_a_success(state: State) -> None:
    """200: it is committed, and an error would only have it sent again; the header tells how it stands."""
    world = ScimWorld()
    world.accept.outcome = change("x", state=state)
    answer = world.put(GOOD)
    assert (answer.status_code, answer.headers["passferry-change-status"]) == (200, str(state))


@pytest.mark.parametrize("code", ["source.too.fast", "queue.full", "shutting.down", "store.away"])
def test_what_is_not_accepted_now_is_an_error_with_a_time(code: str) -> None:
    """429 or 503, with Retry-After."""
    world = ScimWorld()
    world.accept.refusal = NotAccepted(code, "No.", retry_after=7)
    answer = world.put(GOOD)
    assert is_error(answer, 429 if code == "source.too.fast" else 503, None, code)
    assert answer.headers["retry-after"] == "7"


def test_a_change_counts_from_its_arrival_and_says_who_the_user_is() -> None:
    """Before the looks at the user, in which another request may overtake it: that is 409."""
    world = ScimWorld()
    look = world.provider.one

    async def slow(*given: Any, **more: Any) -> Any:
        world.clock.at += 3
        return await look(*given, **more)

    world.provider.one = slow  # type: ignore[method-assign]
    for send in (world.put, lambda password: world.patch(REPLACE, org="emea")):
        arrived = world.clock.at
        assert send(GOOD).status_code == 200
        request = world.accept.requests.pop()
        assert (request.arrived_at, request.user_name) == (arrived, "jane@example.com")
    world.accept.refusal = NotAccepted("change.stale", "A newer change is accepted.")
    assert is_error(world.put(GOOD), 409, None, "change.stale")


@pytest.mark.parametrize(("state", "looks"), [(State.APPLIED, 2), (State.PENDING, 1), (State.DELIVERING, 1)])
def test_a_user_whose_password_is_on_its_way_is_not_read_again(state: State, looks: int) -> None:
    """Nothing has changed at the target yet; a version that will not last is not given."""
    world = ScimWorld()
    world.accept.outcome = change("x", state=state)
    answer = world.put(GOOD)
    assert (answer.status_code, len(world.provider.looks), "etag" in answer.headers) == (
        200,
        looks,
        looks == 2,
    )


def test_a_store_that_fails_is_an_error_of_scim() -> None:
    """503, as everywhere."""
    world = ScimWorld()
    world.accept.failure = StoreBusy("busy")
    assert is_error(world.put(GOOD), 503, None, "store.busy")


@pytest.mark.parametrize(
    "away",
    [
        AWAY,
        Outcome(Kind.THROTTLED, "target.busy", retry_after=9),
        Outcome(Kind.ORG_DOWN, "invalid_client"),
        Answer(403, body=b"{}"),
        Answer(302),
        Answer(200, body=b"<html>maintenance</html>"),
    ],
)
def test_a_target_that_is_away_costs_no_password(away: Outcome | Answer) -> None:
    """It is accepted unseen; the answer names the user as far as the request did."""
    world = ScimWorld()
    world.provider.away = away
    answer = world.put(GOOD)
    assert answer.status_code == 200
    assert answer.json() == {"schemas": [SCHEMA], "id": USER, "userName": "jane@example.com"}
    assert len(world.accept.requests) == 1


def test_without_a_password_a_target_that_is_away_is_an_error() -> None:
    """There is nothing to be accepted."""
    world = ScimWorld()
    world.provider.away = AWAY
    assert is_error(world.put(None), 503, None, "target.unreachable")


def test_a_user_who_is_not_there_gets_no_change() -> None:
    """404 before anything is stored, for an id that the target could not have without asking."""
    world = ScimWorld()
    other = "99999999-2222-3333-4444-555555555555"
    assert is_error(world.scim("PUT", f"/Users/{other}", {"password": GOOD}), 404)
    assert is_error(world.scim("PUT", "/Users/not-a-uuid", {"password": GOOD}), 404)
    assert world.accept.requests == []
    assert world.provider.looks == [(other, False)]


def test_the_answer_never_holds_the_password_even_if_the_target_shows_it() -> None:
    """Then the user is shown bare."""
    world = ScimWorld()
    world.accept.outcome, world.provider.echo = APPLIED, f"was {GOOD}"
    answer = world.put(GOOD)
    assert answer.status_code == 200
    assert answer.json() == {"schemas": [SCHEMA], "id": USER, "userName": "jane@example.com"}


@pytest.mark.parametrize("version", ['"7"', 'W/"7"', "*", '"3", "7"'])
def test_a_version_that_fits_is_no_obstacle(version: str) -> None:
    """Whatever its form."""
    assert ScimWorld().put(GOOD, headers={"If-Match": version}).status_code == 200


def test_another_version_is_refused_after_a_second_look() -> None:
    """412, and no change; what was kept might have been older than the client's."""
    world = ScimWorld()
    assert is_error(world.put(GOOD, headers={"If-Match": '"6"'}), 412, "invalidVers")
    assert world.provider.looks == [(USER, False), (USER, True)]
    assert world.accept.requests == []


def test_a_version_cannot_be_promised_while_the_target_is_away() -> None:
    """503: whoever names a version does not want it unseen."""
    world = ScimWorld()
    world.provider.away = AWAY
    assert is_error(world.put(GOOD, headers={"If-Match": '"7"'}), 503)
    assert world.accept.requests == []


# --- the mode passwords ----------------------------------------------------------------------


def test_users_are_not_created_and_a_password_of_a_post_is_not_taken() -> None:
    """501; a name that exists is 409, so that a provider links it instead."""
    world = ScimWorld()
    new = {"userName": "new@example.com", "password": GOOD}
    assert is_error(world.scim("POST", "/Users", new), 501, None, "passwords only")
    taken = {"userName": "JANE@example.com", "password": GOOD}
    assert is_error(world.scim("POST", "/Users", taken), 409, "uniqueness", "exists")
    assert (world.accept.requests, world.provider.sent) == ([], [])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", f"/Users/{USER}"),
        ("POST", "/Groups"),
        ("PUT", "/Groups/g"),
        ("PATCH", "/Groups/g"),
        ("DELETE", "/Groups/g"),
    ],
)
def test_nothing_else_is_written(method: str, path: str) -> None:
    """501 with the reason."""
    world = ScimWorld()
    assert is_error(world.scim(method, path, {} if method != "DELETE" else None), 501, None, "passwords only")
    assert world.provider.sent == []


def test_there_are_no_groups() -> None:
    """An empty list for whoever probes, without a request to the target, which would want a permission."""
    world = ScimWorld()
    answer = world.scim("GET", "/Groups")
    assert (answer.status_code, answer.json()["totalResults"]) == (200, 0)
    assert is_error(world.scim("GET", "/Groups/g"), 404)
    assert world.asked_for == []


# --- the mode proxy --------------------------------------------------------------------------


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


# --- reading ---------------------------------------------------------------------------------


def test_a_user_is_found_by_name_and_by_external_id() -> None:
    """The comparison is handed over as it was understood."""
    world = ScimWorld()
    answer = world.scim("GET", by_filter('userName eq "JANE@example.com"') + "&startIndex=1&count=100")
    assert [user["id"] for user in answer.json()["Resources"]] == [USER]
    assert answer.json()["totalResults"] == 1
    nobody = world.scim("GET", by_filter('userName eq "nobody@example.com"')).json()
    assert (nobody["totalResults"], nobody["Resources"]) == (0, [])
    assert is_error(world.scim("GET", by_filter('password eq "x"')), 400, "invalidFilter")


@pytest.mark.parametrize("text", ['userName sw "a"', 'emails[type eq "work"]', 'id eq "a" or active eq true'])
def test_a_filter_that_nobody_can_check_is_refused(text: str) -> None:
    """400 at Genesys Cloud; another provider is asked, which knows its own filters."""
    world = ScimWorld()
    assert is_error(world.scim("GET", by_filter(text)), 400, "invalidFilter")
    assert world.provider.queries == []
    assert world.scim("GET", by_filter(text), org="plain").status_code == 200


@pytest.mark.parametrize("path", [f"/Users/{USER}", "/Users"])
def test_a_source_that_asks_too_fast_is_told_so(path: str) -> None:
    """429, and the target is left alone."""
    world = ScimWorld()
    world.accept.not_admitted = NotAccepted("source.too.fast", "Too fast.", retry_after=2)
    answer = world.scim("GET", path)
    assert is_error(answer, 429, None, "source.too.fast")
    assert (answer.headers["retry-after"], world.provider.looks, world.provider.queries) == ("2", [], [])


def test_a_user_is_read_with_its_version_and_not_again_at_that_version() -> None:
    """ETag out, If-None-Match in."""
    world = ScimWorld()
    assert world.scim("GET", f"/Users/{USER}").headers["etag"] == '"7"'
    same = world.scim("GET", f"/Users/{USER}", headers={"If-None-Match": 'W/"7"'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"7"')
    assert world.scim("GET", f"/Users/{USER}", headers={"If-None-Match": '"6"'}).status_code == 200


def test_somebody_elses_answer_is_none() -> None:
    """A target that answers with another user is not believed."""
    world = ScimWorld()
    world.provider.users[USER] = JANE | {"id": "99999999-2222-3333-4444-555555555555"}
    assert is_error(world.scim("GET", f"/Users/{USER}"), 502, None, "unusable")


@pytest.mark.parametrize("path", ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas", "/schemas/"])
def test_discovery_is_answered_here(path: str) -> None:
    """In any letter case, and with a slash at the end, as some clients write it; reading only."""
    world = ScimWorld()
    answer = world.scim("GET", path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/scim+json")
    assert (world.provider.looks, world.provider.queries) == ([], [])
    refused = world.scim("POST", path, {})
    assert is_error(refused, 405)
    assert refused.headers["allow"] == "GET"


@pytest.mark.parametrize("page", [25, 100])
def test_a_page_is_as_large_as_is_announced_and_says_how_many_it_has(page: int) -> None:
    """A client that goes on by either figure skips nobody; one who cannot be understood is not counted."""
    world = ScimWorld()
    world.provider.page = page
    assert world.scim("GET", "/ServiceProviderConfig").json()["filter"]["maxResults"] == page
    world.provider.users |= {"2": JANE | {"id": "2"}, "3": JANE | {"id": ["3"]}}
    listed = world.scim("GET", "/Users?startIndex=1&count=500").json()
    assert (listed["totalResults"], listed["itemsPerPage"], len(listed["Resources"])) == (3, 2, 2)


def test_each_document_of_a_list_is_where_it_says() -> None:
    """Schemas and resource types by their ids; an unknown one is 404."""
    world = ScimWorld()
    for kind in ("Schemas", "ResourceTypes"):
        for one in world.scim("GET", f"/{kind}").json()["Resources"]:
            there = one["meta"]["location"].removeprefix("http://127.0.0.1:8080/scim/v2")
            assert world.scim("GET", there).json() == one
        assert is_error(world.scim("GET", f"/{kind}/nothing"), 404)
    config = world.scim("GET", "/ServiceProviderConfig").json()
    offered = {name for name in config if isinstance(config[name], dict) and config[name].get("supported")}
    assert offered == {"patch", "filter", "changePassword", "etag"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/Unknown", 404),
        ("GET", "/Users/a/b", 404),
        ("GET", "/ServiceProviderConfig/x", 404),
        ("POST", "/.search", 501),
        ("POST", "/Users/.search", 501),
        ("POST", "/Bulk", 501),
        ("GET", "/Me", 501),
        ("PUT", "/Users", 405),
    ],
)
def test_what_is_not_offered_is_an_error_of_scim(method: str, path: str, status: int) -> None:
    """Whatever the path below ours."""
    assert is_error(ScimWorld().scim(method, path, {} if method != "GET" else None), status)


def test_a_head_is_a_get_without_its_body() -> None:
    """As everywhere."""
    answer = ScimWorld().scim("HEAD", f"/Users/{USER}")
    assert (answer.status_code, answer.content) == (200, b"")


# --- who may call ----------------------------------------------------------------------------


def test_a_key_is_taken_in_three_forms() -> None:
    """Bearer, the password of Basic with any name, and alone as a header's value."""
    world = ScimWorld()
    basic = base64.b64encode(f"okta:{world.portal}".encode()).decode()
    for value in (f"Bearer {world.portal}", f"Basic {basic}", f"basic {basic}", world.portal):
        answer = world.scim("GET", "/Users", key=None, headers={"authorization": value})
        assert answer.status_code == 200, value
    for value in ("Basic !!", "Basic " + base64.b64encode(b"nobody").decode(), "Digest x", "pf_1_2", ""):
        answer = world.scim("GET", "/Users", key=None, headers={"authorization": value})
        assert is_error(answer, 401)
        assert [name.split()[0] for name in answer.headers.get_list("www-authenticate")] == [
            "Bearer",
            "Basic",
        ]


def test_the_usual_rules_of_roles_and_orgs_hold() -> None:
    """Sources only, and only for their orgs."""
    world = ScimWorld()
    assert is_error(world.scim("GET", "/Users", key=world.operator), 403)
    assert is_error(world.scim("GET", "/Users", key=world.emea, org="default"), 403)
    assert world.scim("GET", "/Users", key=world.emea).status_code == 200
    assert world.asked_for == ["emea"]


def test_larger_users_than_passwords_are_taken() -> None:
    """256 KiB; beyond that 413."""
    world = ScimWorld()
    assert world.scim("PUT", f"/Users/{USER}", {"userName": "j", "x": "y" * 100_000}).status_code == 200
    assert is_error(world.scim("PUT", f"/Users/{USER}", {"x": "y" * 300_000}), 413)


def test_a_body_that_is_not_scim_is_an_error_of_scim() -> None:
    """Not UTF-8, not JSON, not an object; nothing of it is repeated."""
    world = ScimWorld()
    for content in (b"\xff", b"{", b"[]", b'"Canary-1"'):
        answer = world.scim("PUT", f"/Users/{USER}", content=content)
        assert is_error(answer, 400, "invalidSyntax")
        assert "Canary" not in answer.text


def test_other_providers_have_ids_of_their_own() -> None:
    """The org `plain` has no UUIDs: letter case counts, and schemas are asked for there."""
    world = ScimWorld(proxies=("plain",))
    world.provider.users["u-1"] = JANE | {"id": "u-1"}
    answer = world.scim("PUT", "/Users/u-1", {"schemas": [SCHEMA], "password": GOOD}, org="plain")
    assert answer.status_code == 200
    assert world.accept.requests[0].user == Reference("id", "u-1")
    assert world.scim("GET", "/Schemas", org="plain").status_code == 200
    assert len(world.provider.queries) == 1


# --- which source may what -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", f"/Users/{USER}", JANE),
        ("PUT", f"/Users/{USER}", JANE | {"password": GOOD}),
        ("PATCH", f"/Users/{USER}", {"Operations": [{"op": "replace", "path": "active", "value": False}]}),
        ("DELETE", f"/Users/{USER}", None),
        ("POST", "/Users", JANE),
        ("POST", "/Groups", {"displayName": "x"}),
        ("PUT", f"/Groups/{USER}", {"displayName": "x"}),
        ("DELETE", f"/Groups/{USER}", None),
    ],
)
def test_a_source_that_nobody_named_for_it_passes_nothing_on(method: str, path: str, body: Any) -> None:
    """In an org in mode proxy: 403. A success would say that somebody who left is inactive now."""
    world = ScimWorld(provisioning=False)
    answer = world.scim(method, path, body, org="emea")
    assert is_error(answer, 403, None, 'scim = "proxy"')
    assert (world.provider.sent, world.passes.records) == ([], [])
    came_along = [GOOD] if "password" in (body or {}) else []
    assert [each.password.reveal() for each in world.accept.requests] == came_along


def test_a_source_that_nobody_named_pushes_passwords_and_reads_users_and_no_groups() -> None:
    """What every source may, in an org of either mode."""
    world = ScimWorld(provisioning=False)
    assert world.patch(REPLACE, org="emea").status_code == 200
    assert [each.password.reveal() for each in world.accept.requests] == [GOOD]
    assert world.scim("GET", f"/Users/{USER}", org="emea").status_code == 200
    assert world.scim("GET", by_filter('userName eq "jane@example.com"'), org="emea").status_code == 200
    assert world.scim("GET", "/Groups", org="emea").json()["totalResults"] == 0
    assert world.scim("GET", f"/Groups/{USER}", org="emea").status_code == 404


def test_a_source_for_passwords_alone_has_the_rest_ignored_even_in_a_proxy() -> None:
    """As in the mode passwords."""
    world = ScimWorld(rules={"portal": SourceRules(scim="passwords")})
    assert world.put(GOOD, org="emea").status_code == 200
    assert len(world.accept.requests) == 1
    assert world.scim("DELETE", f"/Users/{USER}", org="emea").status_code == 501
    assert world.provider.sent == []


@pytest.mark.parametrize("path", ["/Users", f"/Users/{USER}", "/ServiceProviderConfig", "/Groups"])
def test_a_source_that_may_not_use_scim_reads_nothing(path: str) -> None:
    """Because it is told, or since it has a template, as hooks and portals do; unless it is told."""
    world = ScimWorld(rules={"other": SourceRules(scim="none")})
    for key in (world.other, world.short):
        assert is_error(world.scim("GET", path, key=key), 403, None, "scim of a source")
    assert is_error(world.patch(REPLACE, key=world.short), 403)
    assert (world.provider.looks, world.provider.queries, world.accept.requests) == ([], [], [])
    told = ScimWorld(rules={"pam": SourceRules(scim="passwords")})
    assert told.patch(REPLACE, key=told.short).status_code == 200


# --- what is passed on: the trail, and the hour ----------------------------------------------


def told(world: ScimWorld) -> list[tuple[str, Any]]:
    """The kinds of the records, and what each says beside."""
    return [(each.kind, json.loads(each.other or "{}")) for each in world.passes.records]


def test_what_is_passed_on_is_written_down_before_and_after() -> None:
    """Who, what, whom, the names of attributes and both versions; never a value, never a password."""
    world = ScimWorld()
    body = JANE | {"title": "Confidential", "password": GOOD}
    headers = {"If-Match": '"7"'}
    assert world.scim("PUT", f"/Users/{USER}", body, org="emea", headers=headers).status_code == 200
    begun, done = world.passes.records
    assert (begun.kind, begun.actor, begun.user, begun.version) == ("passed.on", "portal", USER, "7")
    assert (done.kind, done.actor, done.user, done.version) == ("passed.on.outcome", "portal", USER, "8")
    assert (begun.change_id, done.state, done.code) == (done.change_id, "done", None)
    asked, came = json.loads(begun.other or ""), json.loads(done.other or "")
    assert asked == {
        "attributes": ["active", "title", "userName"],
        "kind": "Users",
        "method": "PUT",
        "userName": "jane@example.com",
    }
    assert came == {"status": 200, "userName": "jane@example.com"}
    assert "Confidential" not in repr(world.passes.records)
    assert GOOD not in repr(world.passes.records)


def test_a_lost_answer_is_written_down_as_one() -> None:
    """That nobody knows is an outcome, too."""
    world = ScimWorld()
    world.provider.away = Outcome(Kind.UNKNOWN, "no.answer")
    assert world.scim("DELETE", f"/Users/{USER}", org="emea").status_code == 504
    _, done = world.passes.records
    assert (done.kind, done.state, done.code) == ("passed.on.outcome", "unknown", "no.answer")


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", f"/Users/{USER}"), ("POST", "/Users"), ("PUT", f"/Groups/{USER}")]
)
def test_nothing_is_sent_whose_intent_cannot_be_written(method: str, path: str) -> None:
    """503, and the target is not asked."""
    world = ScimWorld()
    world.passes.failure = StoreBusy()
    answer = world.scim(method, path, JANE if method != "DELETE" else None, org="emea")
    assert is_error(answer, 503, None, "store.busy")
    assert world.provider.sent == []


def test_an_outcome_that_cannot_be_written_is_no_failure_of_what_was_done() -> None:
    """An error would deny it; the log says which intent has no outcome."""
    world = ScimWorld()
    world.passes.failure_afterwards = StoreBusy()
    with structlog.testing.capture_logs() as logs:
        assert world.scim("DELETE", f"/Users/{USER}", org="emea").status_code == 204
    (begun,) = world.passes.records
    lines = [line for line in logs if line["event"] == "passed.on.outcome.missing"]
    assert [(line["org"], line["id"]) for line in lines] == [("emea", begun.change_id)]


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_what_is_passed_on_counts_towards_the_hour_of_its_source(method: str) -> None:
    """One too many stops it, as a password would: 429, nothing is sent, the log asks for an operator."""
    world = ScimWorld(rules={"portal": SourceRules(most_an_hour=3)})
    world.passes.verdict = Stopped(now=True)
    body = {"Operations": [{"op": "replace", "path": "active", "value": False}]}
    with structlog.testing.capture_logs() as logs:
        answer = world.scim(method, f"/Users/{USER}", body if method == "PATCH" else None, org="emea")
    assert is_error(answer, 429, None, "source.stopped")
    assert answer.headers["retry-after"] == "300"
    assert (world.provider.sent, world.passes.limits) == ([], [3])
    assert "passferry access resume portal" in [line.get("hint") for line in logs]


def test_the_log_line_has_the_org_and_the_id_of_the_resource() -> None:
    """An id of a fixed form; anything else in its place is not logged."""
    world = ScimWorld()
    with structlog.testing.capture_logs() as logs:
        world.scim("DELETE", f"/Users/{USER}", org="emea")
        world.scim("GET", "/Users/odd!id", org="plain")
    lines = [(line["org"], line["resource"]) for line in logs if line["event"] == "request"]
    assert lines == [("emea", USER), ("plain", None)]


GROUP = "99999999-2222-3333-4444-555555555555"


def with_group(world: ScimWorld, *members: str) -> ScimWorld:
    """There is a group with these members."""
    held = {"id": GROUP, "userName": "", "members": [{"value": each} for each in members]}
    world.provider.users[GROUP] = held | {"meta": {"version": "1"}}
    return world


def test_the_members_whom_a_write_of_a_group_touches_are_written_down() -> None:
    """Of a PUT those that make the difference, for which the group is read first."""
    world = with_group(ScimWorld(), "u-1", "u-2")
    body = {"displayName": "x", "members": [{"value": "u-2"}, {"value": "u-3"}]}
    assert world.scim("PUT", f"/Groups/{GROUP}", body, org="emea").status_code == 200
    asked = told(world)[0][1]
    assert (asked["id"], asked["members"]) == (GROUP, ["u-1", "u-3"])
    assert asked["attributes"] == ["displayName", "members"]


# --- whom a write of a group, or of a name, may not touch ------------------------------------

ADMIN_ID = USER
OTHER_ID = "33333333-2222-3333-4444-555555555555"


def guarded(never: str, *members: str) -> ScimWorld:
    """There are an administrator, another user, and a group with ``members``; ``never`` is listed."""
    world = ScimWorld(rules={"emea-hr": SourceRules(never=frozenset({never}))})
    other = JANE | {"id": OTHER_ID, "userName": "joan@example.com"}
    world.provider.users = dict(ADMIN) | {OTHER_ID: other}
    return with_group(world, *members)


def in_group(*operations: Any) -> Any:
    """A PatchOp."""
    return {"Operations": list(operations)}


ONE_ADMIN = [{"value": ADMIN_ID.upper()}]


@pytest.mark.parametrize("never", ["admin@example.com", ADMIN_ID])
@pytest.mark.parametrize(
    ("method", "members", "body"),
    [
        ("PATCH", (), in_group({"op": "add", "path": "members", "value": ONE_ADMIN})),
        ("PATCH", (), in_group({"op": "Add", "value": {"members": ONE_ADMIN}})),
        ("PATCH", (ADMIN_ID,), in_group({"op": "remove", "path": f'members[value eq "{ADMIN_ID}"]'})),
        ("PATCH", (ADMIN_ID,), in_group({"op": "remove", "path": "members"})),
        ("PATCH", (ADMIN_ID,), in_group({"op": "replace", "path": "members", "value": []})),
        ("PUT", (), {"displayName": "x", "members": ONE_ADMIN}),
        ("PUT", (ADMIN_ID,), {"displayName": "x", "members": [{"value": OTHER_ID}]}),
        ("DELETE", (ADMIN_ID,), None),
        ("POST", (), {"displayName": "x", "members": ONE_ADMIN}),
    ],
)
def test_nobody_who_is_not_to_be_touched_gets_into_a_group_or_out_of_one(
    method: str, members: tuple[str, ...], body: Any, never: str
) -> None:
    """Listed by id or by name, and whatever the way; nothing is sent, or written down as sent."""
    world = guarded(never, *members)
    path = "/Groups" if method == "POST" else f"/Groups/{GROUP}"
    world.provider.users[ADMIN_ID.upper()] = world.provider.users[ADMIN_ID]
    answer = world.scim(method, path, body, org="emea", key=world.emea)
    assert is_error(answer, 403, None, "user.protected")
    assert (world.provider.sent, world.passes.records) == ([], [])
    assert world.scim(method, path, body, org="emea").status_code in (200, 201, 204)


@pytest.mark.parametrize("never", ["admin@example.com", ADMIN_ID])
def test_groups_of_protected_users_are_open_to_others(never: str) -> None:
    """Who stays in is not touched; nor is a member that is no user, as a group in a group."""
    world = guarded(never, ADMIN_ID)
    added = in_group({"op": "add", "path": "members", "value": [{"value": OTHER_ID}, {"value": "g-2"}]})
    path = f"/Groups/{GROUP}"
    assert world.scim("PATCH", path, added, org="emea", key=world.emea).status_code == 200
    kept = {"members": [{"value": ADMIN_ID}, {"value": OTHER_ID}]}
    world = guarded(never, ADMIN_ID)
    assert world.scim("PUT", path, kept, org="emea", key=world.emea).status_code == 200


def test_members_of_whom_the_target_does_not_tell_are_not_touched() -> None:
    """Nor more at once than can be looked up; where ids alone are listed, nobody need be."""
    body = in_group({"op": "add", "path": "members", "value": [{"value": f"u-{n}"} for n in range(51)]})
    world, path = guarded("admin@example.com"), f"/Groups/{GROUP}"
    assert is_error(world.scim("PATCH", path, body, org="emea", key=world.emea), 413, None, "at most 50")
    one = in_group({"op": "add", "path": "members", "value": [{"value": OTHER_ID}]})
    world.provider.away = AWAY
    assert is_error(world.scim("PATCH", path, one, org="emea", key=world.emea), 503)
    assert world.provider.sent == []
    world = guarded(ADMIN_ID)
    assert world.scim("PATCH", path, body, org="emea", key=world.emea).status_code == 200
    assert world.provider.looks == []


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "userName", "value": "ADMIN@example.com"},
        {"op": "Add", "value": {f"{SCHEMA}:userName": "admin@example.com"}},
        {"op": "replace", "value": {SCHEMA: {"userName": "admin@example.com"}}},
    ],
)
def test_nobody_gets_a_protected_name_by_patch(operation: Any) -> None:
    """As by POST and PUT, in every spelling."""
    world = guarded("admin@example.com")
    answer = world.scim("PATCH", f"/Users/{OTHER_ID}", in_group(operation), org="emea", key=world.emea)
    assert is_error(answer, 403, None, "user.protected")
    assert (world.provider.sent, world.passes.records) == ([], [])
    assert world.scim("PATCH", f"/Users/{OTHER_ID}", in_group(operation), org="emea").status_code == 200


def test_the_trail_names_what_the_caller_named_even_where_more_is_sent() -> None:
    """As where a whole user goes to the target for the sake of one attribute."""
    world = ScimWorld()
    caller = Caller("k", "okta", "source", ())
    passing = Passing(
        world.provider,
        world.accept,
        world.passes,
        world.clock,
        caller,
        "emea",
        foreign=False,
        named=("title",),
    )
    anyio.run(passing.send, "PUT", "Users", USER, json.dumps(JANE | {"title": "x"}))
    assert told(world)[0][1]["attributes"] == ["title"]
