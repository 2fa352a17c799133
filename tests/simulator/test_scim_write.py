"""Writing users: PUT, PATCH, POST, DELETE."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.simulator.directory import ENTERPRISE, GENESYS
from simulator.caller import GOOD, USERS, Answer, Caller, calm

STALE = {"if-match": '"1000"'}


def test_a_user_put_back_with_a_password_keeps_every_other_attribute() -> None:
    """GET, add password, PUT: only the version and the password differ, down to the spelling of numbers."""
    caller = calm()
    user = caller.user("agent005@example.com")
    before = caller.simulator.profile_text(user["id"])
    body = before.decode()[:-1] + f',"password":{json.dumps(GOOD)}}}'
    answer = caller.send("PUT", f"{USERS}/{user['id']}", body.encode())
    assert answer.status == 200
    assert caller.simulator.profile_text(user["id"]) == before
    assert caller.simulator.verify(user["id"], GOOD)
    assert answer.json["meta"]["version"] == str(int(user["meta"]["version"]) + 1)
    assert answer.header("ETag") == f'"{answer.json["meta"]["version"]}"'
    assert "password" not in answer.json


def test_numbers_keep_their_spelling() -> None:
    """5, 5.0, 0.10, 1E+2 and a long integer come back as they were written."""
    caller = calm()
    user = caller.user()
    text = '{"userName":"agent001@example.com","x":[5,5.0,0.10,1E+2,90071992547409931234,-0.0,[],{}]}'
    caller.send("PUT", f"{USERS}/{user['id']}", text.encode())
    assert b'"x":[5,5.0,0.10,1E+2,90071992547409931234,-0.0,[],{}]' in caller.simulator.profile_text(
        user["id"]
    )


@pytest.mark.parametrize(
    ("rule", "title", "status"),
    [("cleared", None, 200), ("kept", "Agent", 200), ("username-required", "Agent", 400)],
)
def test_put_omitted_decides_what_becomes_of_attributes_left_out(
    rule: str, title: str | None, status: int
) -> None:
    """Switch put_omitted: a PUT of the password alone clears, keeps, or is refused."""
    caller = calm(put_omitted=rule)
    user_id = caller.user()["id"]
    caller.simulator.edit(user_id, {"title": "Agent"})
    answer = caller.send("PUT", f"{USERS}/{user_id}", {"password": GOOD})
    assert answer.status == status
    profile = caller.simulator.profile(user_id)
    assert profile.get("title") == title
    assert profile["userName"] == "agent001@example.com"
    assert ("phoneNumbers" in profile) == (rule != "cleared")
    assert caller.simulator.verify(user_id, GOOD) == (status == 200)


def test_the_immutable_entries_survive_a_put_that_leaves_them_out() -> None:
    """The SCIM external id and the `other` email are always there."""
    caller = calm()
    user_id = caller.user()["id"]
    answer = caller.send(
        "PUT", f"{USERS}/{user_id}", {"userName": "new.name@example.com", "displayName": "N"}
    ).json
    assert answer["emails"] == [{"value": "new.name@example.com", "type": "other", "primary": True}]
    assert answer[GENESYS]["externalIds"][0]["authority"].startswith("x-pc:scimv2:v1")


def test_read_only_attributes_in_a_put_are_ignored() -> None:
    """id, meta and groups of the body change nothing."""
    caller = calm()
    user = caller.user()
    body = user | {"id": "other", "groups": [], "meta": {"version": "7"}}
    answer = caller.send("PUT", f"{USERS}/{user['id']}", body).json
    assert (answer["id"], answer["groups"]) == (user["id"], user["groups"])


@pytest.mark.parametrize(
    ("body", "scim_type"),
    [
        ({"active": "yes"}, "invalidValue"),
        ({"roles": {}}, "invalidValue"),
        ([], "invalidSyntax"),
        ({"password": 5}, "invalidValue"),
    ],
)
def test_a_put_of_the_wrong_types_is_refused_and_changes_nothing(body: Any, scim_type: str) -> None:
    """A refused write leaves profile and version alone."""
    caller = calm()
    user = caller.user()
    answer = caller.send("PUT", f"{USERS}/{user['id']}", body)
    assert (answer.status, answer.json["scimType"]) == (400, scim_type)
    assert caller.user() == user


def test_a_passwords_array_is_no_attribute() -> None:
    """The attribute is one string; the array of some tutorials is invalid.property."""
    caller = calm()
    answer = caller.put(caller.user(), passwords=[{"value": GOOD}])
    assert (answer.status, answer.code) == (400, "invalid.property")


def test_a_user_name_of_somebody_else_is_a_uniqueness_conflict() -> None:
    """PUT and POST of a taken userName are 409 uniqueness, in a ScimError."""
    caller = calm()
    user = caller.user()
    taken = caller.put(user, userName="AGENT003@example.com")
    assert (taken.status, taken.json["scimType"]) == (409, "uniqueness")
    again = caller.send("POST", USERS, {"userName": "agent003@example.com", "displayName": "X"})
    assert (again.status, again.json["scimType"]) == (409, "uniqueness")


@pytest.mark.parametrize(("switch", "status"), [("409", 409), ("400", 400), ("412", 412)])
def test_a_stale_if_match_is_refused_as_stale_if_match_says(switch: str, status: int) -> None:
    """Switch stale_if_match, on PUT, PATCH and DELETE; nothing is written."""
    caller = calm(stale_if_match=switch)
    user = caller.user()
    answers = [
        caller.put(user, headers=STALE, password=GOOD),
        caller.patch(user["id"], {"op": "replace", "path": "password", "value": GOOD}, headers=STALE),
        caller.send("DELETE", f"{USERS}/{user['id']}", headers=STALE),
    ]
    for answer in answers:
        assert (answer.status, answer.json["scimType"]) == (status, "invalidVers")
        assert answer.json["status"] == str(status)
    assert caller.user() == user
    assert caller.simulator.writes(user["id"]) == []


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', "*"])
def test_a_current_if_match_lets_the_write_in(form: str) -> None:
    """The quoted version, its weak form and * all match."""
    caller = calm()
    user = caller.user()
    tag = form.format(user["meta"]["version"])
    assert caller.put(user, headers={"if-match": tag}, password=GOOD).status == 200


def test_if_match_can_be_ignored() -> None:
    """Switch if_match."""
    caller = calm(if_match="ignored")
    assert caller.put(caller.user(), headers=STALE, password=GOOD).status == 200


@pytest.mark.parametrize("moves", [True, False])
def test_password_moves_version_holds_for_all_three_calls(moves: bool) -> None:
    """Switch password_moves_version: PUT, PATCH and native; a change of the profile moves it always."""
    caller = calm(password_moves_version=moves)
    user = caller.user()
    versions = [int(user["meta"]["version"])]
    writes: list[Callable[[], Answer]] = [
        lambda: caller.put(user, password=GOOD + "a"),
        lambda: caller.patch(user["id"], {"op": "replace", "path": "password", "value": GOOD + "b"}),
        lambda: caller.native(user["id"], GOOD + "c"),
    ]
    for write in writes:
        assert write().status in (200, 204)
        versions.append(int(caller.user()["meta"]["version"]))
    assert [later - earlier for earlier, later in itertools.pairwise(versions)] == [int(moves)] * 3
    caller.put(caller.user(), title="Another")
    assert int(caller.user()["meta"]["version"]) == versions[-1] + 1


def patched(caller: Caller, *operations: Any, name: str = "agent001@example.com") -> dict[str, Any]:
    """The user after operations that must succeed."""
    answer = caller.patch(caller.user(name)["id"], *operations)
    assert answer.status == 200, answer.json
    return dict(answer.json)


def test_patch_sets_the_password_in_every_accepted_form() -> None:
    """With a path, without one, with the core URN, and whatever the case of op."""
    caller = calm()
    forms: list[dict[str, Any]] = [
        {"op": "replace", "path": "password", "value": GOOD + "1"},
        {"op": "Replace", "value": {"password": GOOD + "2"}},
        {"op": "ADD", "path": "urn:ietf:params:scim:schemas:core:2.0:User:password", "value": GOOD + "3"},
    ]
    for form in forms:
        user = patched(caller, form)
        assert "password" not in user
    passwords = [write.password for write in caller.simulator.writes("agent001@example.com")]
    assert passwords == [GOOD + "1", GOOD + "2", GOOD + "3"]


def test_patch_with_other_schemas_is_accepted_and_without_schemas_refused() -> None:
    """A forum moderator lists the core URN there; schemas itself is required."""
    caller = calm()
    path = f"{USERS}/{caller.user()['id']}"
    operations = [{"op": "replace", "path": "title", "value": "T"}]
    schemas = ["urn:ietf:params:scim:schemas:core:2.0:User"]
    assert caller.send("PATCH", path, {"schemas": schemas, "Operations": operations}).status == 200
    assert caller.send("PATCH", path, {"Operations": operations}).json["scimType"] == "invalidSyntax"


def test_patch_reaches_extensions_members_and_filtered_values() -> None:
    """Paths into extensions, into complex attributes and through value filters."""
    user = patched(
        calm(),
        {"op": "replace", "path": f"{ENTERPRISE}:department", "value": "New"},
        {"op": "replace", "path": f"{ENTERPRISE}:manager.value", "value": "m"},
        {"op": "replace", "path": 'phoneNumbers[type eq "work"].value', "value": "+4930123"},
        {"op": "replace", "path": "Title", "value": "Chief"},
        {"op": "add", "value": {f"{GENESYS}:externalIds": [{"authority": "a", "value": "v"}], "x": 5}},
        {"op": "replace", "value": {ENTERPRISE: {"employeeNumber": "77"}}},
    )
    assert user[ENTERPRISE]["department"] == "New"
    assert user[ENTERPRISE]["employeeNumber"] == "77"
    assert user[ENTERPRISE]["manager"]["value"] == "m"
    assert user["phoneNumbers"][0]["value"] == "+4930123"
    assert user["title"] == "Chief"
    assert user[GENESYS]["externalIds"][-1] == {"authority": "a", "value": "v"}
    assert user["x"] == 5


def test_patch_adds_to_and_removes_from_arrays() -> None:
    """add appends once and moves the primary mark, remove takes the matching value or all of them."""
    caller = calm()
    phone = {"value": "+4911", "type": "mobile", "primary": True}
    user = patched(caller, {"op": "add", "path": "phoneNumbers", "value": [phone]})
    assert [p["value"] for p in user["phoneNumbers"] if p["primary"]] == ["+4911"]
    user = patched(caller, {"op": "add", "path": "phoneNumbers", "value": phone})
    assert user["phoneNumbers"].count(phone) == 1
    user = patched(caller, {"op": "remove", "path": 'phoneNumbers[type eq "mobile" and primary eq true]'})
    assert phone not in user["phoneNumbers"]
    user = patched(caller, {"op": "remove", "path": "phoneNumbers"}, {"op": "remove", "path": "title"})
    assert not {"phoneNumbers", "title"} & set(user)


@pytest.mark.parametrize(
    ("operation", "scim_type"),
    [
        ({"op": "move", "path": "title", "value": "x"}, "invalidSyntax"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "remove", "path": "password"}, "mutability"),
        ({"op": "replace", "path": "id", "value": "x"}, "mutability"),
        ({"op": "replace", "path": "groups", "value": []}, "mutability"),
        ({"op": "replace", "path": "a b", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": 5, "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "title"}, "invalidValue"),
        ({"op": "replace", "value": "x"}, "invalidValue"),
        ({"op": "replace", "path": "active", "value": "False"}, "invalidValue"),
        ({"op": "replace", "path": 'phoneNumbers[type eq "fax"].value', "value": "x"}, "noTarget"),
        ({"op": "remove", "path": "userName"}, "invalidValue"),
        ("nonsense", "invalidSyntax"),
    ],
)
def test_a_bad_operation_is_refused_and_the_good_one_before_it_undone(operation: Any, scim_type: str) -> None:
    """A PATCH is applied wholly or not at all (RFC 7644 section 3.5.2)."""
    caller = calm()
    user = caller.user()
    answer = caller.patch(user["id"], {"op": "replace", "path": "title", "value": "T"}, operation)
    assert (answer.status, answer.json["scimType"]) == (400, scim_type)
    assert caller.user() == user


def test_a_user_can_be_created_read_and_deleted() -> None:
    """POST gives 201 with Location and ETag, DELETE 204, afterwards 404 and the name is free."""
    caller = calm()
    body = {"userName": "neu@example.com", "displayName": "Neu", "password": GOOD}
    created = caller.send("POST", USERS, body)
    assert created.status == 201
    assert str(created.header("Location")).endswith(created.json["id"])
    assert "password" not in created.json
    assert caller.simulator.verify("neu@example.com", GOOD)
    path = f"{USERS}/{created.json['id']}"
    assert caller.send("GET", path).json["active"] is True
    assert caller.send("DELETE", path).status == 204
    assert caller.send("GET", path).status == 404
    assert caller.send("POST", USERS, body).status == 201


@pytest.mark.parametrize("missing", ["userName", "displayName"])
def test_creating_needs_user_name_and_display_name(missing: str) -> None:
    """The two attributes that the document calls required on POST."""
    body = {"userName": "neu@example.com", "displayName": "Neu"}
    del body[missing]
    assert calm().send("POST", USERS, body).json["scimType"] == "invalidValue"


def test_media_type_and_syntax_are_checked() -> None:
    """415 for another media type, 400 for what is not JSON; application/scim+json is as good."""
    caller = calm()
    path = f"{USERS}/{caller.user()['id']}"
    text = caller.send("PUT", path, b"{}", headers={"content-type": "text/plain"})
    assert (text.status, text.code) == (415, "unsupported.media.type")
    for body in (b"{", b"\xff", b"[" * 100_000, b'{"x":NaN}'):
        assert caller.send("PUT", path, body).code == "bad.request"
    assert (
        caller.send(
            "PUT", path, b"{}", headers={"content-type": "application/scim+json; charset=utf-8"}
        ).status
        == 200
    )


def test_body_maximum_is_enforced() -> None:
    """Switch body_maximum: one byte more is 413 with the documented code."""
    caller = calm(body_maximum=100)
    path = f"{USERS}/{caller.user()['id']}"
    answer = caller.send("PUT", path, b"{}" + b" " * 99)
    assert (answer.status, answer.code) == (413, "request.entity.too.large")
    assert caller.send("PUT", path, b"{}" + b" " * 98).status == 200


def test_methods_and_paths_that_are_not_served_are_refused() -> None:
    """405 for a method, 404 for a path."""
    caller = calm()
    user_id = caller.user()["id"]
    assert caller.send("PUT", USERS, {}).status == 405
    assert caller.send("POST", f"{USERS}/{user_id}", {}).status == 405
    assert caller.send("GET", f"{USERS}/{user_id}/x").status == 404
    assert caller.send("POST", "/api/v2/scim/v2/Bulk", {}).status == 404


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PATHS = st.sampled_from(
    [
        "emails",
        "emails[type eq work]",
        "emails.value",
        GENESYS,
        f"{GENESYS}:externalIds",
        ENTERPRISE,
        "roles.value",
        f"{ENTERPRISE}:manager.value",
        "active",
        "x",
        "x.y",
        'x[y eq "z"].w',
        "schemas",
        "phoneNumbers[primary eq true]",
    ]
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "replace", "remove"]), "path": PATHS | st.text(max_size=10), "value": JSON}
)
MEMBERS = st.sampled_from(
    ["emails", "externalIds", "roles", GENESYS, ENTERPRISE, "active", "x", "schemas", "title"]
)


@given(st.lists(OPERATIONS, max_size=3), st.dictionaries(MEMBERS, JSON, max_size=3))
def test_any_body_is_applied_or_refused_never_a_crash(operations: list[Any], body: dict[str, Any]) -> None:
    """Whatever PATCH and PUT carry, the answer is below 500 and the user still reads."""
    caller = calm(users=2)
    user_id = caller.user()["id"]
    assert caller.patch(user_id, *operations).status < 500
    assert caller.send("PUT", f"{USERS}/{user_id}", body).status < 500
    assert caller.send("GET", f"{USERS}/{user_id}").status == 200
    assert caller.send("GET", USERS, filter='externalIds[authority eq "a" and value eq "b"]').status == 200
    assert caller.send("GET", USERS, filter="manager eq x").status == 200
