"""The self-test by root, of hooks that others run: no spool is taken away, none is made for root."""

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hook_fakes import FakeGateway
from passferry.hooks import self_test, self_test_ltb, self_test_pam
from sources.programs import folder

USER = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
"""Who runs the portal. Whoever is not root can only be themselves; the claims are the same."""


@pytest.fixture
def below() -> Iterator[Path]:
    """A folder that others may look into, and only we may write to."""
    with folder("self-test") as made:
        yield made


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is root who looks."""
    monkeypatch.setattr(self_test, "_by_root", lambda: True)


def spool(below: Path, owner: pwd.struct_passwd) -> Path:
    """A spool as the page says."""
    made = below / "spool"
    made.mkdir(mode=0o700)
    shutil.chown(made, owner.pw_uid, owner.pw_gid)
    return made


def test_the_owner_of_the_spool_is_taken_for_who_runs_a_portal(
    fake: FakeGateway, below: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is made in it is theirs."""
    theirs = spool(below, USER)
    self_test_ltb.run({"config": str(fake.file(below))})
    said = capsys.readouterr().out
    assert f"ok    the spool {theirs} can be written" in said
    assert "install -d" not in said
    assert {each.stat().st_uid for each in (theirs, theirs / "gateway-key")} == {USER.pw_uid}


@pytest.mark.parametrize("exists", [True, False])
def test_where_nobody_is_known_to_run_a_portal_nothing_is_made(
    fake: FakeGateway,
    below: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    exists: bool,
) -> None:
    """A spool of root's would be of no use to the web server; root's own, of another hook, stays as it is."""
    if exists:
        spool(below, pwd.getpwuid(os.geteuid()))
        monkeypatch.setattr(self_test, "_owner", lambda folder: pwd.getpwuid(0))
    before = sorted(below.rglob("*"))
    config = fake.file(below)
    self_test_ltb.run({"config": str(config)})
    said = capsys.readouterr().out
    assert f"warn  the spool {below / 'spool'} was not looked at" in said
    assert "sudo -u USER" in said
    assert "ok    the gateway answers, and knows the access key" in said
    assert "install -d" not in said
    assert sorted(each for each in below.rglob("*") if each != config) == before


def test_nobody_is_told_to_take_the_spool_of_another(
    fake: FakeGateway, below: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose it is, and what to do instead. PAM's hook is root's; that folder is a portal's."""
    theirs = spool(below, USER)
    if os.geteuid() != 0:
        theirs.chmod(0o755)  # or else it would be good
    self_test_pam.run({"config": str(fake.file(below))})
    said = capsys.readouterr().out
    assert f"fail  the spool {theirs} cannot be used" in said
    assert f"it is {USER.pw_name}'s, and root runs the hook to this test" in said
    assert "install -d" not in said
    assert theirs.stat().st_uid == USER.pw_uid


def test_where_there_is_no_spool_it_is_said_how_it_is_made(
    fake: FakeGateway, below: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For who runs the hook, not for who looks."""
    config = fake.file(below, spool=str(below / "nowhere" / "spool"))
    self_test_pam.run({"config": str(config)})
    assert f"install -d -m 0700 -o root {below / 'nowhere' / 'spool'}" in capsys.readouterr().out
