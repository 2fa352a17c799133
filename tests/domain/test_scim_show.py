"""Clients see the target's own text, without a password, and at an address of ours."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.password import Password
from passferry.domain.scim import NotScim, members
from passferry.domain.scim_show import bare, error, listed, resource, without_meta

PLACE = "https://gateway.example/scim/v2/Users"


def test_a_user_is_shown_as_the_text_it_came_in() -> None:
    """Numbers, escapes and order stay; the location is ours, the password is gone."""
    text = (
        '{ "id":"u-1","x":5.0,"y":1E400,"e":"\\u00e9","Password":"p","empty":[],'
        '"meta":{"version":"7","location":"https://api.target.example/u-1","n":1.10}}'
    )
    shown = resource(text, PLACE)
    assert shown.text == (
        '{"id":"u-1","x":5.0,"y":1E400,"e":"\\u00e9","empty":[],'
        f'"meta":{{"version":"7","location":"{PLACE}/u-1","n":1.10}}}}'
    )
    assert (shown.id, shown.user_name, shown.tag, shown.version) == ("u-1", None, '"7"', "7")


@pytest.mark.parametrize(
    ("etag", "tag"),
    [('W/"9"', 'W/"9"'), ('"9"', '"9"'), (None, '"7"'), ("a\nb", '"7"'), ('""', '"7"')],
)
def test_the_etag_is_the_targets_own_in_its_own_form(etag: str | None, tag: str) -> None:
    """Else made of the version; what cannot be one is not passed on."""
    assert resource('{"id":"u","meta":{"version":"7"}}', PLACE, etag).tag == tag


@pytest.mark.parametrize("text", ["[]", "{}", '{"id":1}', '{"id":""}', "", '{"id":"u"'])
def test_what_is_no_resource_is_refused(text: str) -> None:
    """One kind of failure, which carries none of the text."""
    with pytest.raises(NotScim) as caught:
        resource(text, PLACE)
    assert caught.value.__context__ is None


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=5))
def test_every_member_but_password_and_location_stays(values: dict[str, object]) -> None:
    """Whatever the target has."""
    named = {
        name: value for name, value in values.items() if name.casefold() not in ("id", "password", "meta")
    }
    text = json.dumps({**named, "id": "u", "password": "pw"})
    assert members(resource(text, PLACE).text) == [pair for pair in members(text) if pair[0] != "password"]


def test_a_user_whose_version_may_have_moved_on_is_shown_without_one() -> None:
    """Rather than with one that would be refused at the next write."""
    shown = without_meta(resource('{"id":"u","userName":"n","meta":{"version":"7"}}', PLACE))
    assert (shown.text, shown.tag, shown.user_name) == ('{"id":"u","userName":"n"}', None, "n")


def test_a_bare_user_tells_no_password() -> None:
    """Not even one that is the user's name."""
    assert json.loads(bare("u", "n").text)["userName"] == "n"
    assert "userName" not in json.loads(bare("u", "Secret-1", Password("Secret-1")).text)


def test_lists_and_errors_have_the_types_that_clients_insist_on() -> None:
    """Numbers of a list are integers, the status of an error is a string."""
    found = json.loads(listed(['{"id":"u"}'], 9, 3))
    assert [found[name] for name in ("totalResults", "startIndex", "itemsPerPage")] == [9, 3, 1]
    assert found["Resources"] == [{"id": "u"}]
    assert json.loads(error(409, "taken", "uniqueness")) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": "409",
        "scimType": "uniqueness",
        "detail": "taken",
    }
    assert "scimType" not in json.loads(error(404, "gone"))
