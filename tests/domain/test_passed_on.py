"""What a request that is passed on touches, and what the audit trail says of it."""

import json
from typing import Any

import pytest

from passferry.domain.answers import Answer
from passferry.domain.audit import Record
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.passed_on import MOST_MEMBERS, Asked, Sending, asked, ended, intent
from passferry.domain.scim_split import BadScim

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
NOBODY: frozenset[str] = frozenset()


def patched(kind: str, *operations: Any) -> Asked:
    """What these operations touch."""
    return asked("PATCH", kind, json.dumps({"Operations": operations}))


def told(record: Record) -> Any:
    """What stands in ``other``."""
    return json.loads(record.other or "{}")


@pytest.mark.parametrize(
    ("operation", "attributes"),
    [
        ({"op": "replace", "path": "active", "value": False}, ("active",)),
        ({"op": "replace", "path": 'emails[type eq "work"].value', "value": "x"}, ("emails",)),
        ({"op": "Add", "value": {"DISPLAYNAME": "x", f"{USER}:title": "y"}}, ("displayName", "title")),
        ({"op": "replace", "path": f"{ENTERPRISE}:manager.displayName", "value": "x"}, ("manager",)),
        ({"op": "add", "path": ENTERPRISE, "value": {"department": "x"}}, ("department",)),
        ({"op": "add", "value": {ENTERPRISE: {"department": "x"}}}, ("department",)),
        ({"op": "add", "path": "Hunter.Two", "value": {"roles": 1}}, ("other",)),
        ({"op": "add", "value": {"urn:example:Hunter2": {"active": 1}}}, ("other",)),
    ],
)
def test_attributes_are_named_as_their_schemas_name_them(operation: Any, attributes: Any) -> None:
    """And nothing else is written down: a name that no schema has may be a value in the wrong place."""
    assert patched("Users", operation).attributes == attributes


def test_the_record_of_an_intent_says_who_did_what_to_whom_and_no_values() -> None:
    """Source, method, user, its name, attributes, and the version that it must have."""
    body = {"schemas": [USER], "userName": "jane@example.com", "title": "Secret", "active": True}
    sending = Sending("p1", "okta", "PUT", "Users", "id-1", 'W/"7"')
    record = intent(sending, 5.0, asked("PUT", "Users", json.dumps(body)), ())
    assert record == Record("passed.on", 5.0, "okta", "p1", "id-1", version="7", other=record.other)
    names = ["active", "title", "userName"]
    assert told(record) == {
        "attributes": names,
        "kind": "Users",
        "method": "PUT",
        "userName": "jane@example.com",
    }
    made = intent(Sending("p1", "okta", "POST", "Users", None), 5.0, Asked(names=("joe@example.com",)), ())
    assert made.user == "joe@example.com"
    odd = intent(Sending("p1", "okta", "POST", "Users", None), 5.0, Asked(names=("a\ud800\0",)), ())
    assert (odd.user, told(odd)) == (None, {"kind": "Users", "method": "POST"})


def test_the_record_of_a_group_names_its_members_in_bounds() -> None:
    """By id; what is no id is not written down; beyond a thousand they are counted."""
    sending = Sending("p1", "okta", "PATCH", "Groups", "g-1")
    record = intent(sending, 5.0, Asked(("members",)), ["u-2", "u-1", "no id!"])
    assert record.user is None
    assert told(record) == {
        "attributes": ["members"],
        "id": "g-1",
        "kind": "Groups",
        "members": ["?", "u-1", "u-2"],
        "method": "PATCH",
    }
    many = told(intent(sending, 5.0, Asked(), [f"u-{n}" for n in range(MOST_MEMBERS + 7)]))
    assert (len(many["members"]), many["moreMembers"]) == (MOST_MEMBERS, 7)


@pytest.mark.parametrize(
    ("answer", "state", "code", "status"),
    [
        (Answer(204), "done", None, 204),
        (Answer(202), "unknown", None, 202),
        (Answer(403, body=b'{"code":"not.authorized"}'), "refused", "not.authorized", 403),
        (Answer(501), "refused", None, 501),
        (Answer(500), "unknown", None, 500),
        (Answer(303), "unknown", None, 303),
        (Outcome(Kind.UNKNOWN, "no.answer"), "unknown", "no.answer", None),
        (Outcome(Kind.THROTTLED, "target.busy"), "unsent", "target.busy", None),
    ],
)
def test_an_outcome_is_done_only_where_the_target_says_so(
    answer: Any, state: str, code: str | None, status: int | None
) -> None:
    """Who got no answer does not know; nor who got one that says nothing."""
    record = ended(Sending("p1", "okta", "DELETE", "Users", "id-1"), 6.0, answer)
    assert (record.kind, record.actor, record.change_id) == ("passed.on.outcome", "okta", "p1")
    assert (record.user, record.state, record.code) == ("id-1", state, code)
    assert told(record).get("status") == status


def test_an_outcome_has_the_new_id_the_new_version_and_the_targets_correlation_id() -> None:
    """The id and name of a user that was made, as the target shows them."""
    headers = {"etag": '"8"', "inin-correlation-id": "abc-1"}
    body = b'{"id":"id-9","userName":"joe@example.com","title":"Secret"}'
    record = ended(Sending("p1", "okta", "POST", "Users", None), 6.0, Answer(201, headers, body))
    assert (record.user, record.version, record.correlation_id) == ("id-9", "8", "abc-1")
    assert told(record) == {"status": 201, "userName": "joe@example.com"}
    group = ended(Sending("p1", "okta", "POST", "Groups", None), 6.0, Answer(201, headers, b'{"id":"g-1"}'))
    assert (group.user, told(group)) == (None, {"id": "g-1", "status": 201})


# --- whose names are given, and whose membership changes --------------------------------------


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "userName", "value": "a@b"},
        {"op": "Replace", "path": " USERNAME ", "value": "a@b"},
        {"op": "add", "path": f"{USER}:userName", "value": "a@b"},
        {"op": "replace", "path": 'userName[value eq "x"]', "value": "a@b"},
        {"op": "replace", "path": "userName.value", "value": "a@b"},
        {"op": "replace", "path": "userName", "value": [{"value": "a@b"}]},
        {"op": "replace", "value": {"username": "a@b"}},
        {"op": "replace", "value": {f"{USER}:userName": "a@b"}},
        {"op": "replace", "value": {USER: {"userName": "a@b"}}},
        {"op": "replace", "path": USER, "value": {"userName": "a@b"}},
    ],
)
def test_a_name_that_a_patch_gives_is_found_in_every_spelling(operation: Any) -> None:
    """As RFC 7644 §3.5.2 has it, and as clients and lenient targets do."""
    assert patched("Users", {"op": "remove", "path": "title"}, operation).names == ("a@b",)


def test_other_names_are_none() -> None:
    """Of a manager, for instance."""
    assert patched("Users", {"op": "add", "path": "manager", "value": {"userName": "a@b"}}).names == ()


@pytest.mark.parametrize(
    ("operation", "touched"),
    [
        ({"op": "add", "path": "members", "value": [{"value": "d"}]}, {"d"}),
        ({"op": "Add", "value": {"Members": [{"Value": "d"}]}}, {"d"}),
        ({"op": "add", "path": f"{GROUP}:members", "value": {"$ref": "https://x/Users/d/"}}, {"d"}),
        ({"op": "add", "path": "members", "value": ["d"]}, {"d"}),
        ({"op": "remove", "path": 'members[value eq "a"]'}, {"a"}),
        ({"op": "remove", "path": 'MEMBERS [ VALUE EQ "a" ]'}, {"a"}),
        ({"op": "remove", "path": 'members[value eq "a" or value eq "b"]'}, {"a", "b", "c"}),
        ({"op": "remove", "path": 'members[type eq "User"]'}, {"a", "b", "c"}),
        ({"op": "remove", "path": "members"}, {"a", "b", "c"}),
        ({"op": "remove", "path": "members", "value": [{"value": "a"}]}, {"a", "b", "c"}),
        ({"op": "replace", "path": "members", "value": [{"value": "a"}, {"value": "d"}]}, {"b", "c", "d"}),
        ({"op": "replace", "value": {"members": [{"value": "a"}]}}, {"b", "c"}),
        ({"op": "replace", "path": "displayName", "value": "a"}, set()),
    ],
)
def test_the_members_that_a_patch_adds_or_removes_are_known(operation: Any, touched: set[str]) -> None:
    """Of a group with a, b and c; what may mean anybody means everybody."""
    assert patched("Groups", operation).touched("abc") == touched


def test_a_put_touches_what_makes_the_difference_and_a_deletion_everybody() -> None:
    """A PUT without members takes them all out; a new group has those that it names."""
    body = json.dumps({"displayName": "x", "members": [{"value": "a"}, {"value": "d"}]})
    assert asked("PUT", "Groups", body).touched("abc") == set("bcd")
    assert asked("PUT", "Groups", "{}").touched("abc") == set("abc")
    assert asked("DELETE", "Groups", None).touched("abc") == set("abc")
    assert asked("POST", "Groups", body).touched(()) == set("ad")
    assert asked("DELETE", "Users", None) == Asked()


def test_of_several_operations_none_hides_another() -> None:
    """Who is replaced away and cleared in the end was touched."""
    kept = {"op": "replace", "path": "members", "value": [{"value": "a"}]}
    cleared = {"op": "remove", "path": "members"}
    assert patched("Groups", kept, cleared).touched("ab") == set("ab")
    added = {"op": "add", "path": "members", "value": [{"value": "d"}]}
    assert patched("Groups", kept, added).touched("ab") == set("bd")


@pytest.mark.parametrize(
    "body",
    [
        '{"members":[{"value":"a"}],"Members":[]}',
        '{"members":[{"value":"a","Value":"b"}]}',
        "[]",
        "{",
        "[" * 100_000,
    ],
)
def test_what_two_readers_would_read_differently_is_refused(body: str) -> None:
    """Who is looked at must be who the target reads."""
    with pytest.raises(BadScim):
        asked("PUT", "Groups", body)


def test_the_password_of_a_request_is_no_attribute_that_is_passed_on() -> None:
    """Nor has the trail its name."""
    body = json.dumps({"userName": "a@b", "password": "x", USER: {"title": "y"}})
    assert asked("PUT", "Users", body).attributes == ("title", "userName")
    alone = {"Operations": [{"op": "add", "path": "password", "value": "x"}]}
    assert asked("PATCH", "Users", json.dumps(alone)).attributes == ()
