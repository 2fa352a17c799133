"""Inbound SCIM: a password, what a provider is told, and who may ask."""

import base64
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


@pytest.mark.parametrize("code", ["general.resource.not.found", "not.found", None])
def test_who_asks_for_a_user_who_is_not_there_is_told_so(code: str | None) -> None:
    """Whether the target gives a code or none: nothing was refused, there is just nobody."""
    world = ScimWorld()
    world.provider.away = Answer(404, body=json.dumps({"code": code} if code else {}).encode())
    answer = world.scim("GET", f"/Users/{USER}")
    assert is_error(answer, 404, None, code or "")
    assert answer.json()["detail"].startswith("There is no such user")


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


def test_a_version_is_held_against_the_user_as_it_is_now() -> None:
    """412, and no change; what was kept for moments may be the client's version, and no longer the user's."""
    world = ScimWorld()
    assert is_error(world.put(GOOD, headers={"If-Match": '"6"'}), 412, "invalidVers")
    assert world.provider.looks == [(USER, True)]
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
