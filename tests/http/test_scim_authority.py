"""Inbound SCIM: which source may what, whom it may not touch, and what the trail says of it."""

import json
from typing import Any

import pytest
import structlog

from http_fakes import GOOD, USER, change
from passferry.domain.accepting import Stopped
from passferry.domain.answers import Answer
from passferry.domain.change import Evidence, State
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.source_rules import SourceRules
from passferry.store_ports import StoreBusy
from scim_fakes import JANE, SCHEMA, ScimWorld, by_filter, is_error

APPLIED = change("x", state=State.APPLIED, evidence=Evidence.CONFIRMED)
AWAY = Outcome(Kind.UNAVAILABLE, "target.unreachable")
REPLACE = {"op": "replace", "path": "password", "value": GOOD}


# --- which source may what -------------------------------------------------------------------


REQUESTS: list[tuple[str, str, Any]] = [
    ("PUT", f"/Users/{USER}", JANE),
    ("PUT", f"/Users/{USER}", JANE | {"password": GOOD}),
    ("PATCH", f"/Users/{USER}", {"Operations": [{"op": "replace", "path": "active", "value": False}]}),
    ("DELETE", f"/Users/{USER}", None),
    ("POST", "/Users", JANE),
    ("POST", "/Groups", {"displayName": "x"}),
    ("PUT", f"/Groups/{USER}", {"displayName": "x"}),
    ("DELETE", f"/Groups/{USER}", None),
]


@pytest.mark.parametrize("scim", [None, "proxy"])
@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_a_source_may_do_what_the_mode_of_its_org_allows(
    method: str, path: str, body: Any, scim: str | None
) -> None:
    """Whoever sets an org's mode to proxy need say nothing more; the source may say it, too."""
    world = ScimWorld(rules={"portal": SourceRules(scim=scim)})
    assert world.scim(method, path, body, org="emea").status_code in (200, 201, 204)
    assert len(world.provider.sent) == 1


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_a_source_for_passwords_alone_passes_nothing_on_in_a_proxy(method: str, path: str, body: Any) -> None:
    """As in the mode passwords: what is no password is ignored, or refused where there is nothing else."""
    world = ScimWorld(rules={"portal": SourceRules(scim="passwords")})
    answers = [world.scim(method, path, body, org=org) for org in ("emea", "default")]
    assert answers[0].status_code == answers[1].status_code
    assert (answers[0].status_code == 200) == (method in ("PUT", "PATCH") and "/Users/" in path)
    assert (world.provider.sent, world.passes.records) == ([], [])
    came_along = [GOOD] * 2 if "password" in (body or {}) else []
    assert [each.password.reveal() for each in world.accept.requests] == came_along


def test_a_source_for_passwords_alone_needs_no_whole_user_and_sees_no_groups() -> None:
    """A body that is good enough in the mode passwords is so in a proxy."""
    world = ScimWorld(rules={"portal": SourceRules(scim="passwords")})
    body = {"active": True, "password": GOOD}
    assert world.scim("PUT", f"/Users/{USER}", body, org="emea").status_code == 200
    assert [each.password.reveal() for each in world.accept.requests] == [GOOD]
    assert world.scim("GET", f"/Users/{USER}", org="emea").status_code == 200
    assert world.scim("GET", by_filter('userName eq "jane@example.com"'), org="emea").status_code == 200
    assert world.scim("GET", "/Groups", org="emea").json()["totalResults"] == 0
    assert world.scim("GET", f"/Groups/{USER}", org="emea").status_code == 404


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

ADMIN = {USER: JANE | {"userName": "Admin@Example.com"}}
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
    """A whole user goes to the target for the sake of one attribute, and nothing of it can be in the way."""
    world = ScimWorld()
    world.provider.users = {USER: JANE | {"roles": ["agent"], "odd": {"a": 1, "A": 2}}}
    body = {"userName": "jane@example.com", "title": "x", "password": GOOD}
    assert world.scim("PUT", f"/Users/{USER}", body, org="emea").status_code == 200
    assert told(world)[0][1]["attributes"] == ["title", "userName"]
    assert json.loads(world.provider.sent[0][2] or "")["odd"] == {"a": 1, "A": 2}
    assert [each.password.reveal() for each in world.accept.requests] == [GOOD]


def test_one_request_counts_once_towards_the_hour_however_often_it_is_sent() -> None:
    """A user who moves meanwhile must not stop a source that did nothing wrong; each try is written down."""
    world = ScimWorld(rules={"portal": SourceRules(most_an_hour=3)})
    world.provider.answers = [Answer(412), Answer(412)]
    assert world.put(None, org="emea").status_code == 200
    assert world.passes.limits == [3, None, None]
    assert [kind for kind, _ in told(world)] == ["passed.on", "passed.on.outcome"] * 3
