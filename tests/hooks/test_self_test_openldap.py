"""The self-test of OpenLDAP by root, of a hook that another user runs: the spool is and stays theirs."""

import os
import pwd
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hook_fakes import FakeGateway
from passferry.domain.password import Password
from passferry.hooks import self_test_openldap
from passferry.hooks.gateway import Gateway, SourceChange, Verdict
from passferry.hooks.openldap import DEFAULTS
from passferry.hooks.self_test import acting_as
from passferry.hooks.settings import load
from sources.programs import folder

USER = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
"""Who runs the hook. Whoever is not root can only be themselves; the claims are the same."""


@pytest.fixture
def below() -> Iterator[Path]:
    """A folder that others may look into, and only we may write to."""
    with folder("self-test") as made:
        yield made
        made.chmod(0o755)


def said_of(config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the self-test says of a hook with these settings, which is its user's."""
    shutil.chown(config, USER.pw_uid, USER.pw_gid)
    below = config.parent
    values = {"config": str(config), "slapd-user": USER.pw_name, "socket": str(below / "sock")}
    self_test_openldap.run(DEFAULTS | values | {"slapd-config": str(below / "none")})
    return capsys.readouterr().out


def test_a_spool_of_the_hooks_user_is_good_and_stays_theirs(
    fake: FakeGateway, below: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made as the page says. The hook can then seal to the key that the self-test has fetched."""
    (below / "spool").mkdir(mode=0o700)
    shutil.chown(below / "spool", USER.pw_uid, USER.pw_gid)
    config = fake.file(below)
    said = said_of(config, capsys)
    assert f"ok    the spool {below / 'spool'} can be written" in said
    assert "ok    its public key is kept in the spool" in said
    assert {each.stat().st_uid for each in (below / "spool").iterdir()} == {USER.pw_uid}
    fake.go()
    with acting_as(USER):
        gateway = Gateway(load(config, {}))
        answer = gateway.push(SourceChange("jane", Password("New-Passw0rd-1"), None, "k"))
    assert answer.verdict is Verdict.SPOOLED


def test_a_spool_is_not_made_for_another_than_the_hooks_user(
    fake: FakeGateway, below: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where they cannot make it themselves, it is said how it is made; root's would be of no use to them."""
    config = fake.file(below)
    below.chmod(0o555)
    said = said_of(config, capsys)
    assert not (below / "spool").exists()
    assert f"install -d -m 0700 -o {USER.pw_name} {below / 'spool'}" in said


def test_whoever_listens_is_taken_for_the_hooks_user(below: Path) -> None:
    """It may run as root, or as a member of slapd's group; while nobody listens, it is slapd's user."""
    values = {"socket": str(below / "sock"), "slapd-user": USER.pw_name}
    assert self_test_openldap._who_runs_the_hook(values) == USER
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(values["socket"])
        listener.listen()
        assert self_test_openldap._who_runs_the_hook(values) == pwd.getpwuid(os.geteuid())
