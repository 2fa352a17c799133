"""What clients ask for is understood, and never about a password.

Invariant of the fuzzing: any query string is a ``Query``, or refused with ``BadScim``.
"""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.scim_query import Equals, Query, meets, query
from passferry.domain.scim_split import BadScim

SCHEMAS = "urn:ietf:params:scim:schemas:core:2.0"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def asked(**fields: str) -> Query:
    """The query of these parameters."""
    return query("&".join(f"{name}={quote(value)}" for name, value in fields.items()).encode())


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ('userName eq "test.user@okta.local"', Equals("userName", "test.user@okta.local")),
        ('USERNAME EQ "A"', Equals("USERNAME", "A")),
        ("userName eq jane@example.com", Equals("userName", "jane@example.com")),
        ('externalId eq "0\\"0\\u00e9"', Equals("externalId", '0"0é')),
        (' userName  eq  "a b" ', Equals("userName", "a b")),
        ("active EQ False", Equals("active", "false", literal=True)),
        ("title eq null", "title eq null"),
        ('userName eq "a" and active eq true', 'userName eq "a" and active eq true'),
        ('emails[type eq "work"]', 'emails[type eq "work"]'),
        ('userName sw "a"', 'userName sw "a"'),
        ('userName eq "a', 'userName eq "a'),
    ],
)
def test_a_comparison_is_understood_and_everything_else_is_left_to_the_target(
    text: str, understood: Equals | str
) -> None:
    """Quoted as RFC 7644 has it, or bare."""
    assert asked(filter=text).filter == understood


def test_an_attribute_may_be_written_with_its_schema() -> None:
    """The name alone counts."""
    found = asked(filter='urn:ietf:params:scim:schemas:core:2.0:User:userName eq "a"').filter
    assert isinstance(found, Equals)
    assert found.name == "username"


def test_numbers_are_brought_into_their_bounds() -> None:
    """A start below 1 is 1, a negative count is 0 (RFC 7644 §3.4.2.4)."""
    assert asked(startIndex="-3", count="-1") == Query(start=1, count=0)
    assert asked(startIndex="2", count="100") == Query(start=2, count=100)
    assert asked() == Query()


@pytest.mark.parametrize(
    "fields", [{"count": "many"}, {"startIndex": "1.5"}, {"count": ""}, {"count": "9" * 12}], ids=str
)
def test_what_is_no_number_is_refused(fields: dict[str, str]) -> None:
    """But an empty parameter counts as absent."""
    if fields == {"count": ""}:
        assert asked(**fields) == Query()
        return
    with pytest.raises(BadScim):
        asked(**fields)


@pytest.mark.parametrize(
    "text",
    ['password eq "x"', "Password pr", 'urn:x:User:password eq "x"', 'active eq true and password sw "a"'],
)
def test_there_is_no_filter_by_password(text: str) -> None:
    """Whatever the spelling; the word in a compared value is no attribute."""
    with pytest.raises(BadScim) as caught:
        asked(filter=text)
    assert caught.value.scim_type == "invalidFilter"
    assert asked(filter='userName eq "password"').filter == Equals("userName", "password")


def test_a_password_is_never_asked_for() -> None:
    """It is left out of the attributes; where nothing else is asked for, the id is."""
    assert asked(attributes="userName, password,emails").attributes == ("userName", "emails")
    assert asked(attributes="password").attributes == ("id",)
    assert asked(excludedAttributes="emails").excluded == ("emails",)


def test_what_a_filter_compares_is_shown_so_that_it_can_be_checked() -> None:
    """Added to the attributes, taken out of the excluded ones."""
    assert Query(attributes=("id",)).showing("userName").attributes == ("id", "userName")
    assert Query(excluded=("USERNAME", "emails")).showing("userName").excluded == ("emails",)
    assert Query().showing("userName") == Query()


@pytest.mark.parametrize(
    ("user", "wanted", "verdict"),
    [
        ({"userName": "Jane@Example.com"}, Equals("userName", "jane@example.COM"), True),
        ({"userName": "joan@example.com"}, Equals("userName", "jane@example.com"), False),
        ({"id": "1"}, Equals("userName", "jane@example.com"), None),
        ({"externalId": "A"}, Equals("externalId", "A"), True),
        ({"externalId": "a"}, Equals("externalId", "A"), False),
        ({}, Equals("externalId", "A"), None),
        ({}, Equals("title", "A"), None),
        ({"title": "a"}, Equals("title", "A"), True),
        ({"title": "b"}, Equals("urn:ietf:params:scim:schemas:core:2.0:User:title", "A"), False),
        ({"id": "1"}, Equals("id", "2"), False),
        ({"active": False}, Equals("active", "false", literal=True), True),
        ({"active": True}, Equals("active", "false", literal=True), False),
        ({"emails": [{"value": "a"}, {"Value": "b"}]}, Equals("emails.value", "b"), True),
        ({"emails": [{"value": "a"}, {"value": "b"}]}, Equals("email", "c"), False),
        ({ENTERPRISE: {"employeeNumber": 7}}, Equals(f"{ENTERPRISE}:employeeNumber", "7"), True),
        ({ENTERPRISE: {"manager": {"value": "m"}}}, Equals("manager", "m"), True),
        ({ENTERPRISE: {"division": "x"}}, Equals("division", "y"), False),
        ({"displayName": "Everybody"}, Equals(f"{SCHEMAS}:Group:displayName", "Nobody"), False),
        ({"name": {"value": {"value": "x"}}}, Equals("name", "x"), None),
    ],
)
def test_a_user_is_held_against_the_filter_that_found_it(
    user: dict[str, Any], wanted: Equals, verdict: bool | None
) -> None:
    """Only external ids exactly; in extensions and in values of several parts; None when it is not shown."""
    assert meets(json.dumps(user), wanted) is verdict


@pytest.mark.parametrize(
    ("attribute", "shown"),
    [
        ("email", "emails"),
        ("name.familyName", "name"),
        (f"{ENTERPRISE}:manager.value", f"{ENTERPRISE}:manager"),
    ],
)
def test_what_must_be_shown_to_be_compared(attribute: str, shown: str) -> None:
    """The whole attribute, under the name that it has in a resource."""
    assert Equals(attribute, "x").shown == shown


@given(
    st.dictionaries(
        st.sampled_from(["a", "value", ENTERPRISE]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["a", "value", "b"]), inner, max_size=3)
            ),
        ),
    ),
    st.sampled_from(["a", "a.b", "value", f"{ENTERPRISE}:a.value", "urn:x:a", ".", ":"]),
)
def test_any_resource_is_held_against_any_filter(resource: dict[str, Any], attribute: str) -> None:
    """Whatever it shows."""
    assert meets(json.dumps(resource), Equals(attribute, "x")) in (True, False, None)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: b"filter=" + quote(text).encode()))
def test_any_query_is_understood_or_refused(raw: bytes) -> None:
    """Whatever it is."""
    try:
        assert query(raw).start >= 1
    except BadScim:
        return
