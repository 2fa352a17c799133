"""What a client sent is laid over the user as it is: nothing that it did not send is lost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.scim import USER_SCHEMA, members
from passferry.domain.scim_overlay import overlay
from passferry.domain.scim_split import BadScim

WORK = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
THERE = (
    f'{{"schemas":["{USER_SCHEMA}", "{WORK}"],"id":"u","meta":{{"version":"7"}},"groups":[1],'
    f'"userName":"jane@example.com","title" : "Agent","roles":[{{"value":"r", "n":5.0}}],"empty":[],'
    f'"{WORK}":{{"division":"Home","department":"Sales"}}}}'
)


def laid(sent: dict[str, Any]) -> Any:
    """``sent`` over the user that is there."""
    return json.loads(overlay(THERE, json.dumps(sent)))


def test_what_is_not_sent_stays_byte_for_byte() -> None:
    """But for what is read-only, which is not sent back."""
    before = [pair for pair in members(THERE) if pair[0] not in ("id", "meta", "groups")]
    assert members(overlay(THERE, "{}")) == before
    after = dict(members(overlay(THERE, '{"TITLE":"Chief", "new":1.50}')))
    assert after == dict(before) | {"title": '"Chief"', "new": "1.50"}


def test_read_only_members_that_are_sent_go_no_further() -> None:
    """An id, a version and groups are the target's own."""
    sent = {
        "id": "x",
        "META": {"version": "1"},
        "groups": [],
        "Password": "x",
        "userName": "joan@example.com",
    }
    assert laid(sent).keys() == json.loads(THERE).keys() - {"id", "meta", "groups"}
    assert laid(sent)["userName"] == "joan@example.com"


def test_an_extension_keeps_what_is_not_sent_of_it() -> None:
    """A provider maps the department and has never heard of the division."""
    assert laid({WORK.upper(): {"department": "Care"}})[WORK] == {"division": "Home", "department": "Care"}
    assert laid({WORK: {"manager": {"value": "m"}}})[WORK]["manager"] == {"value": "m"}


def test_schemas_are_those_of_both() -> None:
    """A client names those that it knows; the members of the others are still there."""
    assert laid({"schemas": [USER_SCHEMA.upper(), "urn:new"]})["schemas"] == [USER_SCHEMA, WORK, "urn:new"]


@pytest.mark.parametrize("nothing", [None, [], ""])
def test_what_is_to_be_cleared_is_sent_as_nothing(nothing: Any) -> None:
    """Lists and complex attributes are replaced whole."""
    assert laid({"roles": nothing, WORK: None}) == laid({}) | {"roles": nothing, WORK: None}


def test_attributes_below_the_name_of_the_users_schema_are_the_users() -> None:
    """Some clients write them so; the same attribute twice is refused."""
    assert laid({USER_SCHEMA: {"title": "Chief"}}) == laid({"title": "Chief"})
    with pytest.raises(BadScim):
        laid({"title": "Chief", USER_SCHEMA: {"Title": "Boss"}})


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers() | st.text() | st.none()),
    st.dictionaries(st.sampled_from("abcd"), st.integers() | st.text() | st.none()),
)
def test_every_member_comes_from_one_of_the_two(there: dict[str, Any], sent: dict[str, Any]) -> None:
    """The sent one wins."""
    assert json.loads(overlay(json.dumps(there), json.dumps(sent))) == there | sent
