"""Users are carried over as the text they came in, and no text makes the reader fail but in one way."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.scim import (
    NOT_WRITTEN_BACK,
    NotScim,
    bare_version,
    elements,
    list_items,
    members,
    parse_user,
    patch_body,
    put_body,
    same,
    value_of,
)

CANARY = 'Canary-"\\é\u2028-1'
ODD = (
    '{ "schemas" : [ "urn:x" ],"ID": "u-1" , "userName":"jane@example.com","x":5,"y":5.0,"z":1E400,'
    '"big":' + "9" * 5000 + ',"empty":[],"none":null,"deep":{"a":[{"b": 1.10}]},"é\\u00e9":"\\ud83d\\ude00",'
    '"groups":[{"value":"g"}],"Meta":{"version":"W/\\"7\\""},"Password":"old"}'
)


def refused(reader: Callable[[str], object], text: str) -> NotScim | None:
    """How ``reader`` refuses ``text``; None when it does not."""
    try:
        reader(text)
    except NotScim as error:
        return error
    return None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """The text of a JSON object in some spelling, and its members' names and value texts."""
    values: dict[str, Any] = draw(st.dictionaries(st.text(), JSON_VALUES, max_size=6))
    spelled = [
        (name, json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2]))))
        for name, value in values.items()
    ]
    space = draw(st.sampled_from(["", " ", "\r\n\t"]))
    inside = f"{space},{space}".join(f"{json.dumps(n)}{space}:{space}{v}" for n, v in spelled)
    return f"{space}{{{space}{inside}{space}}}{space}", spelled


@given(objects())
def test_members_gives_every_value_as_the_text_that_stood_there(
    made: tuple[str, list[tuple[str, str]]],
) -> None:
    """Whatever the spelling and spacing, names and value texts come out in order and unchanged."""
    text, spelled = made
    assert members(text) == spelled


@given(objects(), st.text())
def test_a_put_carries_every_kept_member_as_identical_text(
    made: tuple[str, list[tuple[str, str]]], password: str
) -> None:
    """All members but the read-only ones and the password are written back letter by letter."""
    text, spelled = made
    if any(name.lower() in ("id", "username", "active", "meta") for name, _ in spelled):
        return
    inside = text.strip()[1:].lstrip()
    user = parse_user('{"id":"1","userName":"n"' + ("" if inside == "}" else ",") + inside)
    written = members(put_body(user, password))
    kept = [(name, value) for name, value in spelled if name.lower() not in NOT_WRITTEN_BACK]
    assert written[:-1] == [("userName", '"n"'), *kept]
    assert (written[-1][0], json.loads(written[-1][1])) == ("password", password)


def test_a_put_keeps_number_forms_empty_arrays_and_unknown_members() -> None:
    """5, 5.0, 1E400, an integer of 5,000 digits, an empty array and null survive; id, meta, groups do not."""
    user = parse_user(ODD)
    written = dict(members(put_body(user, CANARY)))
    before = dict(members(ODD))
    assert {name: value for name, value in written.items() if name != "password"} == {
        name: value for name, value in before.items() if name.lower() not in NOT_WRITTEN_BACK
    }
    assert json.loads(written["password"]) == CANARY
    assert (user.id, user.user_name, user.active, user.version) == ("u-1", "jane@example.com", True, "7")


def test_a_patch_replaces_the_password_alone() -> None:
    """The PatchOp has one operation, and the password is in it as it was given."""
    assert json.loads(patch_body(CANARY)) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "password", "value": CANARY}],
    }


@given(st.text() | st.text(alphabet='{}[]":,.0123456789eE-+ntfalsru \\dAID'))
def test_any_text_is_read_or_refused_as_not_scim(text: str) -> None:
    """No text whatever raises anything but NotScim, and that holds nothing of it."""
    for reader in (members, parse_user, list_items, value_of, elements):
        refusal = refused(reader, text)
        assert refusal is None or (refusal.__context__, refusal.__cause__) == (None, None)


@given(JSON_VALUES, st.data())
def test_a_damaged_user_is_read_or_refused_as_not_scim(extra: Any, data: st.DataObject) -> None:
    """A user cut off anywhere, or with odd values in the members that are looked at, is NotScim at most."""
    names = st.sampled_from(["id", "userName", "active", "meta", "Resources", "totalResults"])
    text = json.dumps({"id": "1", "userName": "n", data.draw(names): extra})
    cut = text[: data.draw(st.integers(0, len(text)))]
    for reader in (parse_user, list_items):
        for candidate in (text, cut):
            refusal = refused(reader, candidate)
            assert refusal is None or refusal.__context__ is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "<html>",
        '{"id":"1"}',
        '{"id":1,"userName":"n"}',
        '{"id":"","userName":"n"}',
        '{"id":"1","userName":"n",}',
        '{"id":"1","userName":"n"} x',
        '{"id":"1","userName":NaN}',
        '{"id":"1","ID":"2","userName":"n"}',
        '{"id":"1","userName":"n","active":true,"active":false}',
        '{"id":"\\ud800","userName":"n"}',
        '{"id":"1","userName":"n","x":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"id":"1" "userName":"n"}',
    ],
)
def test_what_is_no_user_is_refused(text: str) -> None:
    """Anything without exactly one id and one userName, and anything that is no JSON, is NotScim."""
    with pytest.raises(NotScim):
        parse_user(text)


@pytest.mark.parametrize(
    ("value", "active"),
    [("true", True), ("false", False), ('"False"', False), ("null", True), ("0", True), ('"true"', True)],
)
def test_only_false_means_inactive(value: str, active: bool) -> None:
    """A user is inactive when the target says false, as a boolean or as text."""
    assert parse_user('{"id":"1","userName":"n","active":' + value + "}").active is active


@pytest.mark.parametrize(
    ("version", "bare"),
    [
        ('"42"', "42"),
        ('W/"42"', "42"),
        ("42", "42"),
        ("", None),
        ('""', None),
        (None, None),
        (42, None),
        ("4\r\n2", None),
        ("é", None),
        ("x" * 300, None),
    ],
)
def test_a_version_is_bare_or_absent(version: Any, bare: str | None) -> None:
    """Quotes and weakness are taken off; what cannot stand in a header is no version."""
    assert bare_version(version) == bare


def test_the_etag_wins_over_meta_and_keeps_its_form() -> None:
    """The header's version is taken, a useless header is not, and the entity tag keeps its weakness."""
    text = '{"id":"1","userName":"n","meta":{"version":"3"}}'
    assert (parse_user(text, 'W/"4"').version, parse_user(text, 'W/"4"').entity_tag) == ("4", 'W/"4"')
    assert (parse_user(text, "\n").version, parse_user(text).entity_tag) == ("3", '"3"')
    assert parse_user('{"id":"1","userName":"n","meta":[1]}').version is None


def test_a_list_gives_its_total_and_its_items_as_text() -> None:
    """Each resource comes out as the text that stood there; a list without a sane total is refused."""
    assert list_items('{"totalResults": 3, "Resources": [ {"a": 5.0} , [] ,1]}') == (
        3,
        ['{"a": 5.0}', "[]", "1"],
    )
    assert list_items('{"totalresults":0}') == (0, [])
    for total in ("-1", "1.5", "true", '"3"', "9" * 5000):
        with pytest.raises(NotScim):
            list_items('{"totalResults":' + total + "}")


def test_a_user_does_not_show_its_profile() -> None:
    """The repr of a user has no attribute but id, active and version."""
    assert "jane" not in repr(parse_user(ODD))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ('{"a":1,"b":[]}', '{ "b" : [ ], "a" : 1 }', True),
        ('{"a":5}', '{"a":5.0}', False),
        ('{"a":5}', '{"a":"5"}', False),
        ('{"a":true}', '{"a":1}', False),
        ('{"a":null}', "{}", False),
        ('{"a":[1,2]}', '{"a":[2,1]}', False),
        ('{"a":{"x":1,"y":2}}', '{"a":{"y":2,"x":1}}', True),
        ('{"a":"\\u00e9"}', '{"a":"é"}', True),
        ('{"a":1}', '{"A":1}', False),
    ],
)
def test_two_texts_are_the_same_when_every_member_has_the_same_value(
    one: str, other: str, alike: bool
) -> None:
    """In whatever order and spacing; a number is its digits."""
    assert same(one, other) is alike
    assert same(other, one) is alike


def test_a_repeated_member_is_like_nothing() -> None:
    """Readers differ in which one counts."""
    with pytest.raises(NotScim):
        same('{"a":1,"a":2}', '{"a":2,"a":1}')
