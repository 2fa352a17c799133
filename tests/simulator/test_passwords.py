"""The platform's password rules on every call that carries a password."""

import re
from typing import Any

import pytest

from passferry.simulator import Settings, Simulator
from simulator.caller import GOOD, USERS, Answer, Caller, Clock, calm, inactive_user

VIA = ("native", "put", "patch", "post")


def write(caller: Caller, via: str, password: Any, name: str = "agent001@example.com") -> Answer:
    """Send a password by one of the four calls."""
    if via == "post":
        body = {"userName": "neu@example.com", "displayName": "Neu", "password": password}
        return caller.send("POST", USERS, body)
    user_id = caller.simulator.user(name).id
    if via == "native":
        return caller.native(user_id, password)
    if via == "put":
        user = caller.send("GET", f"{USERS}/{user_id}").json
        return caller.put(user, password=password)
    return caller.patch(user_id, {"op": "replace", "path": "password", "value": password})


@pytest.mark.parametrize("via", VIA)
@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "password.empty"),
        ("Aa1!xyz", "password.too.short"),
        ("AAAA111!", "password.not.enough.lowercase"),
        ("aaaa111!", "password.not.enough.uppercase"),
        ("Aaaaaaa!", "password.not.enough.digits"),
        ("Aaaaaa11", "password.not.enough.specials"),
        ("Aaaaaa1 €", "password.not.enough.specials"),
        ("Password1!", "password.compromised"),
        ("Aa1!" * 101, "invalid.password"),
    ],
)
def test_each_broken_rule_has_its_documented_code_on_every_call(via: str, password: str, code: str) -> None:
    """A refusal is 400 with an ErrorBody, and nothing is stored."""
    caller = calm()
    answer = write(caller, via, password)
    assert (answer.status, answer.code) == (400, code)
    assert answer.json["contextId"] == answer.header("ININ-Correlation-Id")
    assert caller.simulator.stats()["passwordWrites"] == 0


@pytest.mark.parametrize("via", VIA)
def test_a_good_password_arrives_by_every_call(via: str) -> None:
    """Exactly the characters that were sent, 400 of them if need be."""
    caller = calm()
    password = "Äa1!東" * 80
    assert write(caller, via, password).status in (200, 201, 204)
    assert caller.simulator.verify("neu@example.com" if via == "post" else "agent001@example.com", password)


def test_minimum_letters_counts_letters_of_any_case() -> None:
    """Setting minimum_letters."""
    assert write(calm(minimum_letters=5), "native", "Aa1!1111").code == "password.not.enough.letters"
    assert write(calm(minimum_letters=5), "native", "AaBbC1!1").status == 204


@pytest.mark.parametrize(
    ("name", "password", "code"),
    [
        ("minimum_length", GOOD, "password.too.short"),
        ("minimum_digits", GOOD, "password.not.enough.digits"),
        ("minimum_upper", GOOD, "password.not.enough.uppercase"),
        ("minimum_lower", "AAAAAAAAAAa1!", "password.not.enough.lowercase"),
        ("minimum_specials", GOOD, "password.not.enough.specials"),
    ],
)
def test_every_minimum_can_be_set(name: str, password: str, code: str) -> None:
    """Settings minimum_length, minimum_digits, minimum_upper, minimum_lower, minimum_specials."""
    assert write(calm(), "native", password).status == 204
    assert write(Caller(Simulator(Settings.calm(**{name: 20}), users=2)), "native", password).code == code


def test_maximum_length_and_length_unit_decide_what_is_too_long() -> None:
    """Settings maximum_length and length_unit: beyond the BMP a code point is two UTF-16 units."""
    password = "Aa1!" + "😀" * 6
    assert write(calm(maximum_length=10), "native", password).status == 204
    assert write(calm(maximum_length=10, length_unit="utf16"), "native", password).code == "invalid.password"


def test_non_ascii_letters_may_count_or_not() -> None:
    """Setting non_ascii_letters."""
    assert write(calm(), "native", "éÉ1!1111").status == 204
    assert write(calm(non_ascii_letters=False), "native", "éÉ1!1111").code == "password.not.enough.lowercase"


@pytest.mark.parametrize("via", ["native", "put", "patch"])
def test_the_last_ten_passwords_cannot_come_back(via: str) -> None:
    """The tenth last is reused, the eleventh last is not."""
    caller = calm()
    for number in range(11):
        assert write(caller, via, f"{GOOD}{number}").status in (200, 204)
    assert write(caller, via, f"{GOOD}1").code == "password.reused"
    assert write(caller, via, f"{GOOD}10").code == "password.reused"
    assert write(caller, via, f"{GOOD}0").status in (200, 204)


def test_password_history_can_be_off() -> None:
    """Setting password_history."""
    caller = calm(password_history=0)
    assert [write(caller, "native", GOOD).status for _ in range(2)] == [204, 204]


def test_a_young_password_says_until_when_and_is_accepted_then() -> None:
    """Setting minimum_age_seconds: the text names the moment, to the second, at which it works."""
    clock = Clock(1_800_000_000.25)
    caller = calm(clock, minimum_age_seconds=90)
    assert write(caller, "native", GOOD).status == 204
    answer = write(caller, "put", GOOD + "2")
    assert answer.code == "password.too.young"
    assert answer.json["message"] == "password cannot be changed until 2027-01-15T08:01:31Z"
    assert re.search(r"until (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)", answer.json["message"])
    clock.now = 1_800_000_091.0
    assert write(caller, "native", GOOD + "2").status == 204


def test_too_young_text_can_be_the_published_one() -> None:
    """Setting too_young_text."""
    caller = calm(minimum_age_seconds=90, too_young_text="plain")
    write(caller, "native", GOOD)
    assert write(caller, "native", GOOD + "2").json["message"] == "The new password cannot be changed yet"


@pytest.mark.parametrize(("first", "code"), [(True, "password.too.young"), (False, "password.reused")])
def test_young_before_reused_decides_which_of_two_broken_rules_is_named(first: bool, code: str) -> None:
    """Setting young_before_reused."""
    caller = calm(minimum_age_seconds=90, young_before_reused=first)
    write(caller, "native", GOOD)
    assert write(caller, "native", GOOD).code == code


@pytest.mark.parametrize("via", ["put", "patch", "post"])
def test_scim_refusal_can_be_a_scim_error(via: str) -> None:
    """Setting scim_refusal; the native call keeps its ErrorBody."""
    caller = calm(scim_refusal="scim-error")
    answer = write(caller, via, "short")
    assert (answer.status, answer.json["scimType"], answer.json["status"]) == (400, "invalidValue", "400")
    assert answer.json["detail"] == "The new password is too short"
    assert write(caller, "native", "short").code == "password.too.short"


@pytest.mark.parametrize("via", ["native", "put", "patch"])
@pytest.mark.parametrize(("rule", "active"), [("stays-inactive", False), ("becomes-active", True)])
def test_password_on_inactive_decides_whether_a_leaver_comes_back(via: str, rule: str, active: bool) -> None:
    """Setting password_on_inactive: the password is set either way."""
    caller = calm(password_on_inactive=rule)
    user_id = inactive_user(caller)
    assert write(caller, via, GOOD, "agent002@example.com").status in (200, 204)
    assert caller.simulator.user(user_id).active is active
    assert caller.simulator.verify(user_id, GOOD)
    names = [user["id"] for user in caller.send("GET", USERS, count=100).json["Resources"]]
    assert (user_id in names) is active


@pytest.mark.parametrize("via", VIA)
def test_sso_only_may_refuse_passwords(via: str) -> None:
    """Setting sso_only."""
    assert write(calm(), via, GOOD).status < 300
    assert write(calm(sso_only="refused"), via, GOOD).status == 400


def test_the_native_call_refuses_what_it_does_not_understand() -> None:
    """No newPassword, a number, an unknown user, a SCIM media type, the token's own user."""
    caller = calm()
    path = f"/api/v2/users/{caller.user()['id']}/password"
    assert caller.send("POST", path, {"password": GOOD}).code == "bad.request"
    assert caller.send("POST", path, {"newPassword": 12345678}).code == "bad.request"
    scim = {"content-type": "application/scim+json"}
    assert caller.send("POST", path, {"newPassword": GOOD}, headers=scim).status == 415
    missing = caller.native("00000000-0000-4000-8000-000000000000")
    assert (missing.status, missing.code) == (404, "general.resource.not.found")
    assert missing.json["message"] == "Unable to find a user with that userId"
    assert caller.native("me").code == "not.a.user"


def test_no_refusal_repeats_the_password() -> None:
    """Neither an answer nor the journal holds a password that was sent."""
    caller = calm(users=3)
    for via in VIA:
        answer = write(caller, via, "nodigitsCANARY!")
        assert b"CANARY" not in answer.reply.body
    assert "CANARY" not in repr(caller.simulator.journal())
    write(caller, "native", "CANARY-good-1")
    assert "CANARY" not in repr(caller.simulator.user("agent001@example.com"))
