"""A password is taken out of whatever SCIM clients send.

Invariant of the fuzzing: any text is split, or refused with ``BadScim``; what remains is the other members as
they stood, and never holds a password.
"""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.passed_on import asked
from passferry.domain.password import Password
from passferry.domain.scim import PATCH_OP, USER_SCHEMA, members
from passferry.domain.scim_split import BadScim, Split, split_patch, split_user

CANARY = 'Canary-"\\é\u2028-1'
USER = {"schemas": [USER_SCHEMA], "userName": "jane@example.com", "active": True, "x": {"y": [1.10]}}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def patch(*operations: Any) -> str:
    """The text of a PatchOp."""
    return json.dumps({"schemas": [PATCH_OP], "Operations": list(operations)})


def holds(split: Split, password: str | None) -> bool:
    """Whether ``split`` found this very password, and nothing of it is left."""
    if password is None or split.password is None:
        return split.password is None and password is None
    return split.password.same_as(Password(password)) and not split.password.within(split.rest or "")


def refusal(split: Any, text: str) -> str:
    """The scimType with which ``text`` is refused; the refusal repeats nothing and hangs on nothing."""
    with pytest.raises(BadScim) as caught:
        split(text)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert not Password(CANARY).within(f"{caught.value!r} {caught.value.detail}")
    return caught.value.scim_type


URN = USER_SCHEMA
SPELLINGS = [
    {"op": "replace", "path": "password", "value": CANARY},
    {"op": "replace", "value": {"password": CANARY}},
    {"op": "Add", "path": "password", "value": CANARY},
    {"op": "replace", "path": f"{URN}:password", "value": CANARY},
    {"op": "REPLACE", "path": f"{URN.upper()}:Password", "value": CANARY},
    {"OP": "aDd", "Path": " password ", "Value": CANARY},
    {"op": "replace", "path": None, "value": {f"{URN}:password": CANARY}},
    {"op": "add", "value": {URN: {"password": CANARY}}},
    {"op": "replace", "path": URN, "value": {"PASSWORD": CANARY}},
    {"op": "replace", "path": "", "value": {"password": CANARY}},
]


@pytest.mark.parametrize("operation", SPELLINGS, ids=lambda one: json.dumps(one)[:60])
def test_every_spelling_of_a_password_is_found_and_nothing_is_left_to_pass_on(operation: Any) -> None:
    """With and without a path, by its URN, in any letter case of op, add as good as replace."""
    split = split_patch(patch(operation))
    assert holds(split, CANARY)
    assert split.rest is None


def test_other_operations_are_left_as_they_stand() -> None:
    """Beside a password each goes on with its own text: op, path and value, and nothing else."""
    text = (
        '{"Operations":[{"op":"Replace","path":"title","value": "\\u0042oss" },'
        '{"op":"add","Path":"x","value":1.50,"y":{"a":1}},'
        f'{{"op":"replace","value":{{"active":false,"password":{json.dumps(CANARY)},"n":1E2}}}}]}}'
    )
    split = split_patch(text)
    assert holds(split, CANARY)
    assert split.rest == (
        '{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":['
        '{"op":"replace","path":"title","value":"\\u0042oss"},{"op":"add","path":"x","value":1.50},'
        '{"op":"replace","value":{"active":false,"n":1E2}}]}'
    )


ODD_NAMES = [
    "password",
    "PassWord",
    f"{USER_SCHEMA}:password",
    f"{USER_SCHEMA.upper()}:Password",
    "passwords",
]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("operation", [*SPELLINGS[:2], {"op": "add", "path": "title", "value": "x"}], ids=str)
def test_a_password_in_an_odd_member_is_refused(name: str, operation: dict[str, Any]) -> None:
    """In an operation beside op, path and value, or beside the operations: neither lost nor passed on."""
    for value in (CANARY, None):
        assert refusal(split_patch, patch(operation | {name: value})) == "invalidPath"
        whole = {"Operations": [operation], name: value}
        assert refusal(split_patch, json.dumps(whole)) == "invalidPath"
    assert refusal(split_patch, patch(operation | {"x": {name: CANARY}})) == "invalidPath"
    assert (
        refusal(split_patch, json.dumps({"Operations": [operation], "x": [{name: CANARY}]})) == "invalidPath"
    )


@pytest.mark.parametrize("again", SPELLINGS, ids=lambda one: json.dumps(one)[:60])
def test_a_password_given_twice_in_one_patch_is_refused(again: dict[str, Any]) -> None:
    """Which one is meant would be a guess, even if they are the same."""
    first = {"op": "add", "path": "password", "value": CANARY}
    assert refusal(split_patch, patch(first, again)) == "invalidSyntax"


@pytest.mark.parametrize(
    ("text", "scim_type"),
    [
        (patch({"op": "remove", "path": "password"}), "mutability"),
        (patch({"op": "replace", "path": "password", "value": [CANARY]}), "invalidValue"),
        (patch({"op": "replace", "path": "password"}), "invalidValue"),
        (patch({"op": "replace", "path": "password", "value": 12345678}), "invalidValue"),
        (patch({"op": "replace", "value": CANARY}), "invalidValue"),
        (patch({"op": "move", "path": "password", "value": CANARY}), "invalidSyntax"),
        (patch({"op": 1, "path": "password", "value": CANARY}), "invalidSyntax"),
        (patch({"path": "password", "value": CANARY}), "invalidSyntax"),
        (patch({"op": "replace", "path": ["password"], "value": CANARY}), "invalidPath"),
        (patch({"op": "replace", "path": "password.value", "value": CANARY}), "invalidPath"),
        (patch({"op": "replace", "path": f'emails[password eq "{CANARY}"]', "value": 1}), "invalidPath"),
        (patch({"op": "replace", "path": "urn:other:User:password", "value": CANARY}), "invalidPath"),
        (patch({"op": "add", "path": "passwords", "value": [{"value": CANARY}]}), "invalidPath"),
        (patch({"op": "add", "path": "emails", "value": [{"Password": CANARY}]}), "invalidPath"),
        (patch({"op": "add", "value": {"x": {"password": CANARY}}}), "invalidPath"),
        (patch({"op": "add", "value": {"password": CANARY, "Password": CANARY}}), "invalidSyntax"),
        (patch({"op": "add", "value": {"password": CANARY, f"{URN}:password": "b"}}), "invalidSyntax"),
        (patch(CANARY), "invalidSyntax"),
        (patch(), "invalidSyntax"),
        (json.dumps({"Operations": {"op": CANARY}}), "invalidSyntax"),
        (json.dumps([CANARY]), "invalidSyntax"),
        (f'{{"Operations": [{{"op": "add", "value": {json.dumps(CANARY)}', "invalidSyntax"),
    ],
)
def test_a_patch_that_cannot_be_understood_is_refused_whole(text: str, scim_type: str) -> None:
    """Rather than lose a password, or pass on one that stands where none belongs."""
    assert refusal(split_patch, text) == scim_type


@pytest.mark.parametrize("name", ["password", "Password", f"{URN}:password"])
def test_a_whole_user_is_left_without_its_password(name: str) -> None:
    """Every other member stays as it stands, and the user's name is known."""
    split = split_user(json.dumps(USER | {name: CANARY}))
    assert holds(split, CANARY)
    assert split.user_name == "jane@example.com"
    assert json.loads(split.rest or "") == USER


@pytest.mark.parametrize("password", [{}, {"password": None}])
def test_a_user_without_a_password_has_none_to_change(password: dict[str, Any]) -> None:
    """Left out, or null, which is the same in SCIM."""
    split = split_user(json.dumps(USER | password))
    assert holds(split, None)
    assert json.loads(split.rest or "") == USER


def test_a_user_that_is_only_a_password_leaves_nothing_to_pass_on() -> None:
    """What names a resource is no attribute to be replaced."""
    split = split_user(json.dumps({"schemas": [URN], "id": "u", "meta": {}, "password": CANARY}))
    assert holds(split, CANARY)
    assert split.rest is None


@pytest.mark.parametrize(
    ("user", "scim_type"),
    [
        ({"password": {"value": CANARY}}, "invalidValue"),
        ({"password": [CANARY]}, "invalidValue"),
        ({"passwords": [{"value": CANARY}]}, "invalidPath"),
        ({"urn:other:User": {"password": CANARY}}, "invalidPath"),
        ({"urn:other:User:password": CANARY}, "invalidPath"),
        ({"password": CANARY, "PASSWORD": "b"}, "invalidSyntax"),
        ({"userName": "a", "username": "b"}, "invalidSyntax"),
    ],
)
def test_a_user_with_a_password_elsewhere_is_refused(user: dict[str, Any], scim_type: str) -> None:
    """At the wrong place, twice, or of the wrong kind."""
    assert refusal(split_user, json.dumps(user)) == scim_type


LIKE_ONE = [
    *("/password", "#/password", "/Password/", f"{URN}/password", "urn:x:User/password", '"password"'),
    *("password,", "$.password", "userPassword", "/userPassword", "user_password", "new-password"),
    *("passwords[0]", "x['password']", "\uff50assword", "password\u200b", "password_policy", "password_hash"),
]


@pytest.mark.parametrize("name", LIKE_ONE)
def test_a_password_by_a_name_that_is_not_scims_is_refused(name: str) -> None:
    """As a path, a member, or below one: it would be lost, or go on to a target that knows the name."""
    for value in (CANARY, {"value": CANARY}):
        assert refusal(split_patch, patch({"op": "replace", "path": name, "value": value})) == "invalidPath"
        assert refusal(split_patch, patch({"op": "add", "value": {name: value}})) == "invalidPath"
        assert (
            refusal(split_patch, patch({"op": "add", "path": "x", "value": {name: value}})) == "invalidPath"
        )
        assert refusal(split_user, json.dumps(USER | {name: value})) == "invalidPath"
        assert refusal(split_user, json.dumps(USER | {URN: {name: value}})) == "invalidPath"
        assert refusal(split_user, json.dumps(USER | {"x": [{name: value}]})) == "invalidPath"


@pytest.mark.parametrize(
    "path",
    [
        *("passwordPolicy", "lastPasswordSet", "passwordless", "urn:x:User:passwordNeverExpires"),
        *('roles[value eq "Password Reset"].display', 'x[a eq "\\"password" and b ne "password"]'),
    ],
)
def test_an_attribute_whose_name_only_begins_like_one_is_passed_on(path: str) -> None:
    """One word is another name; and what a filter compares with is a value."""
    split = split_patch(patch({"op": "replace", "path": path, "value": "x"}))
    assert json.dumps(path) in (split.rest or "")
    whole = split_user(json.dumps(USER | {path: "x"}))
    assert json.loads(whole.rest or "")[path] == "x"


@pytest.mark.parametrize(
    "nested",
    [
        f'{{"y":{{"password":{json.dumps(CANARY)}}},"y":1}}',
        f'[{{"a":[{{"y":{{"password":{json.dumps(CANARY)}}},"Y":1}}]}}]',
    ],
)
def test_a_member_that_comes_twice_at_any_depth_is_refused(nested: str) -> None:
    """Readers differ in which one counts: the password in the other one would go on with the rest."""
    assert refusal(split_user, f'{{"userName":"a","x":{nested}}}') == "invalidSyntax"
    for operation in (
        f'{{"op":"add","path":"x","value":{nested}}}',
        f'{{"op":"add","value":{{"x":{nested}}}}}',
    ):
        assert refusal(split_patch, f'{{"Operations":[{operation}]}}') == "invalidSyntax"
    assert refusal(split_patch, f'{{"x":{nested},"Operations":[]}}') == "invalidSyntax"


def test_a_split_shows_no_password() -> None:
    """Neither the password nor the rest, which is somebody's profile."""
    assert repr(split_user(json.dumps(USER | {"password": CANARY}))) == "Split(password=Password(***))"


def test_depth_is_no_danger() -> None:
    """A hundred thousand brackets are refused, not a crash."""
    for deep in ('{"x":' + "[" * 100_000, '{"x":' + "[" * 900 + "]" * 900 + "}"):
        try:
            split_user(deep)
        except BadScim:
            continue


@given(st.dictionaries(st.text().filter(lambda name: "pass" not in name.casefold()), JSON_VALUES, max_size=5))
def test_every_other_member_goes_on_as_the_text_it_was(values: dict[str, Any]) -> None:
    """Names and value texts of what remains are those that came, in their order."""
    names = {name.casefold() for name in values}
    kept = {name: value for name, value in values.items() if len(names) == len(values)}
    kept.pop(USER_SCHEMA, None)
    text = json.dumps({**kept, "x-always": 1, "password": "Pw-Canary-9"})
    try:
        split = split_user(text)
    except BadScim:
        return  # a member within is called like a password
    assert members(split.rest or "{}") == [pair for pair in members(text) if pair[0] != "password"]
    assert holds(split, "Pw-Canary-9")


OPERATION = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "Replace", "REMOVE", "x", 1, None]),
        "path": st.sampled_from(["password", URN, f"{URN}:password", "title", "emails[x]", "", 7, None]),
        "value": JSON_VALUES | st.fixed_dictionaries({"password": JSON_VALUES, "title": JSON_VALUES}),
        **dict.fromkeys([*ODD_NAMES, "x"], st.just(CANARY) | JSON_VALUES),
    },
)


def passwords_in(value: Any) -> list[Any]:
    """The values of all members, at any depth, that are named like a password."""
    if isinstance(value, list):
        return [found for inner in value for found in passwords_in(inner)]
    if not isinstance(value, dict):
        return []
    odd = {name.casefold() for name in ODD_NAMES}
    return [inner for name, inner in value.items() if name.casefold() in odd] + passwords_in(
        list(value.values())
    )


BESIDE = st.fixed_dictionaries({}, optional=dict.fromkeys([*ODD_NAMES, "x", "schemas"], JSON_VALUES))


@given(st.lists(OPERATION, max_size=4), BESIDE | st.just({}))
def test_any_patch_is_split_or_refused(operations: list[Any], beside: dict[str, Any]) -> None:
    """And never is anything called a password left in the rest, nor one lost that stands anywhere."""
    text = json.dumps({"Operations": operations, **beside})
    try:
        split = split_patch(text)
    except BadScim:
        return
    assert '"password' not in (split.rest or "").casefold()
    assert ':password"' not in (split.rest or "").casefold()
    if split.password is None:
        assert all(value is None for value in passwords_in(json.loads(text)))


@given(st.text() | st.text(alphabet='{}[]":,\\ pasword\u2028\ud800e1-.'))
def test_any_text_is_split_or_refused(text: str) -> None:
    """Whatever it is."""
    for split in (split_user, split_patch):
        try:
            split(text)
        except BadScim:
            continue


def nested(levels: int, innermost: str) -> str:
    """A user's own schema within itself."""
    return f'{{"{URN}":' * levels + innermost + "}" * levels


SIZE = 256 * 1024
LONG = {
    "own schema": nested(300, json.dumps({f"a{n}": "x" * 20 for n in range(6000)})),
    "objects": '{"a":' * 300 + json.dumps({f"a{n}": "x" * 20 for n in range(6000)}) + "}" * 300,
    "lists": '{"a":[' + ",".join(['[{"b":[]}]'] * (SIZE // 11)) + "]}",
    "members": json.dumps({f"a{n}": {} for n in range(SIZE // 13)}),
    "operations": patch(*[{"op": "add", "path": "members", "value": f"u{n}"} for n in range(SIZE // 50)]),
    "filter": patch({"op": "add", "path": 'a[b eq "' * (SIZE // 12), "value": 1}),
    "spaces": patch({"op": "add", "path": "a eq" + " " * (SIZE - 200) + "b", "value": 1}),
}


@pytest.mark.parametrize("kind", LONG)
def test_the_longest_body_is_read_at_once_however_it_is_nested(kind: str) -> None:
    """Nobody else is answered meanwhile. What reads it again for each level takes a minute.

    It is time of this process alone, so that a busy machine fails nothing.
    """
    text = LONG[kind]
    assert 0.5 * SIZE < len(text) < 1.1 * SIZE
    for method, split in (("PUT", split_user), ("PATCH", split_patch)):
        started = time.process_time()
        with contextlib.suppress(BadScim):
            split(text)
        with contextlib.suppress(BadScim):
            asked(method, "Groups", text)
        assert time.process_time() - started < 5.0


@pytest.mark.parametrize("levels", [2, 300])
def test_a_schema_within_itself_is_refused(levels: int) -> None:
    """Below its name once is SCIM; more would have to be read again and again."""
    inner = json.dumps({"title": "x", "password": CANARY})
    assert refusal(split_user, nested(levels, inner)) == "invalidSyntax"
    operation = f'{{"op":"add","value":{nested(levels, inner)}}}'
    assert refusal(split_patch, f'{{"Operations":[{operation}]}}') == "invalidSyntax"
    once = split_user(nested(1, inner))
    assert holds(once, CANARY)
    assert once.rest == f'{{"{URN}":{{"title":"x"}}}}'
