"""Passwords that something on the way could spoil, by every way in, under a policy that allows them all."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from hook_texts import LONG, ONE, PASSWORDS
from passferry.simulator import Settings
from process.harness import Client, Home, Running, StandIn, call, home
from process.test_hooks import Source, arrives

Way = Callable[[Running, str, str], None]
HARD = {**PASSWORDS, "one character": ONE, "512 characters": LONG}
RULES = ("MINIMUM_LENGTH", "MINIMUM_LOWER", "MINIMUM_UPPER", "MINIMUM_DIGITS", "MINIMUM_SPECIALS")
POLICY = dict.fromkeys((f"PASSFERRY_ORGS_DEFAULT_POLICY_{rule}" for rule in RULES), "0") | {
    "PASSFERRY_ORGS_DEFAULT_POLICY_MINIMUM_LENGTH": "1",
    "PASSFERRY_ORGS_DEFAULT_POLICY_MAXIMUM_LENGTH": "512",
    "PASSFERRY_ORGS_DEFAULT_RATE": "100000",
}
TARGET = Settings.calm(
    rate=1_000_000,
    minimum_length=1,
    maximum_length=512,
    minimum_lower=0,
    minimum_upper=0,
    minimum_digits=0,
    minimum_specials=0,
)


def by_http(gateway: Running, key: str, user: str) -> None:
    """One after the other for one user, each answered once it is applied."""
    for name, password in HARD.items():
        answer = Client(gateway.url, key).send(user, password)
        assert (answer.status, answer.json["status"]) == (200, "applied"), (name, answer.raw)


def by_scim(gateway: Running, key: str, user: str) -> None:
    """PUT of a user, as identity providers send it."""
    for name, password in HARD.items():
        answer = call("PUT", f"{gateway.url}/scim/v2/Users/{user}", key=key, body={"password": password})
        assert (answer.status, answer.headers["passferry-change-status"]) == (200, "applied"), name


@pytest.mark.parametrize("way", [by_http, by_scim])
def test_each_arrives_as_it_was_sent_and_is_another_than_the_one_before(tmp_path: Path, way: Way) -> None:
    """NFC and NFD among them, and spaces at both ends: no two are taken for the same, none is changed."""
    with StandIn(TARGET) as target, home(tmp_path / "gateway", target.settings(), **POLICY) as place:
        user, _ = target.active_users()[0]
        way(place.serve(), place.key(), user)
        assert target.passwords(user) == list(HARD.values())


def test_each_row_of_a_file_arrives_as_it_stands_there(tmp_path: Path) -> None:
    """Written as RFC 4180 has it, with as few quotes as can be."""
    with StandIn(TARGET) as target, home(tmp_path / "gateway", target.settings(), **POLICY) as place:
        users = [name for _, name in target.active_users()[: len(HARD)]]
        path = tmp_path / "new.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [("userName", "password"), *zip(users, HARD.values(), strict=True)],
            )
        path.chmod(0o600)
        env = {"PASSFERRY_API_KEY": place.key("import"), "PASSFERRY_URL": place.serve().url}
        done = place.run("import", str(path), env=env, seconds=120)
        assert (done.code, done.out.decode()) == (0, f"rows: {len(HARD)}; {len(HARD)} applied\n"), done.text
        assert [target.passwords(user) for user in users] == [[password] for password in HARD.values()]


def test_the_shortest_and_the_longest_arrive_through_hooks(tmp_path: Path) -> None:
    """Through LTB's arguments, and pam_script's environment; pam_exec passes 510 bytes on at most.

    What else is hard goes through these hooks in ``test_hooks``.
    """
    with StandIn(TARGET) as target, home(tmp_path / "gateway", target.settings(), **POLICY) as place:
        source = Source(place, place.serve(), tmp_path)
        portal, script, exec_ = (name.partition("@")[0] for _, name in target.active_users()[:3])
        for password in (ONE, LONG):
            assert source.ltb("--pre", portal, password).code == 0
            assert source.ltb("--post", portal, password).code == 0
            arrives(target, portal, password)
            assert by_pam_script(place, source, script, password) == 0
            arrives(target, script, password)
        for password in (ONE, LONG[:510]):
            assert source.pam_exec(exec_, password).code == 0
            arrives(target, exec_, password)
        refused = source.pam_exec(exec_, LONG)
        assert (refused.code, "at most 510 bytes" in refused.text) == (1, True)
        assert target.passwords(f"{exec_}@example.com") == [ONE, LONG[:510]]


def by_pam_script(place: Home, source: Source, user: str, password: str) -> int:
    """Exit code of the push."""
    env = {"PAM_TYPE": "password", "PAM_USER": user, "PAM_AUTHTOK": password}
    return place.run("hook", "pam", "--push", "--config", str(source.config), env=env).code
