"""The real programs of Debian 12: pamtester and passwd, through pam_script, into a gateway and the stand-in.

Everything of it happens in a mount namespace with a copy of /etc: no account and no PAM file of this machine
is touched. `debian.py` says what it needs.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import passferry
from hook_texts import PASSWORDS
from passferry.hooks.pam_stack import entries
from passferry.hooks.self_test import Grade
from passferry.hooks.self_test_pam import judge
from passferry.simulator import Settings
from process.harness import Home, Running, StandIn, home
from process.test_hooks import Source, arrives, users

STACK = """\
password requisite pam_pwquality.so retry=1 minlen=6 minclass=0 difok=0 dictcheck=0 usercheck=0
password requisite pam_script.so dir={folder}/check
password required  pam_unix.so use_authtok yescrypt
password optional  pam_script.so dir={folder}/push onerr=success
"""
DEBIAN = """\
password requisite pam_pwquality.so retry=3 minlen=6 minclass=0 difok=0 dictcheck=0 usercheck=0
password requisite pam_script.so dir={folder}/check
password [success=1 default=ignore] pam_unix.so obscure use_authtok try_first_pass yescrypt
password requisite pam_deny.so
password required  pam_permit.so
password optional  pam_script.so dir={folder}/push onerr=success
"""
"""What Debian ships, and the hook's two lines."""
SCRIPT = """\
#!{python} -I
import sys
sys.path.insert(0, {source!r})
from passferry.__main__ import main
sys.argv = ["passferry", "hook", "pam", "--{mode}", "--config", {config!r}]
main()
"""


@dataclass
class Machine:
    """A machine with PAM set up as the documentation says, that looks like this one but for /etc."""

    folder: Path
    source: Source

    def prepare(self, *accounts: str) -> None:
        """A copy of /etc with the stack, the scripts and the accounts."""
        shutil.copytree("/etc", self.folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
        for mode in ("check", "push"):
            script = self.folder / mode / "pam_script_passwd"
            script.parent.mkdir(mode=0o755)
            script.write_text(
                SCRIPT.format(
                    python=sys.executable,
                    source=str(Path(passferry.__file__).parents[1]),
                    mode=mode,
                    config=str(self.source.config),
                )
            )
            script.chmod(0o755)
        plain = "password required pam_unix.so yescrypt\n"
        stack = STACK.format(folder=self.folder)
        for service, text in (("chpasswd", plain), ("passwd", stack), ("passferry-test", stack)):
            self.service(service, text)
        for account in accounts:
            made = self.inside("useradd", "--no-create-home", account)
            assert made.returncode == 0, made.stderr
            self.inside("chpasswd", stdin=f"{account}:Old-Horse-9-x\n")

    def service(self, name: str, stack: str) -> None:
        """Have ``stack`` for the passwords of a service."""
        (self.folder / "etc" / "pam.d" / name).write_text(stack)

    def inside(self, *command: str, stdin: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
        """Run ``command`` where /etc is the copy."""
        mount = f'mount --bind "{self.folder}/etc" /etc && exec "$@"'
        kept = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", mount, "sh", *command],
            input=stdin,
            text=True,
            capture_output=True,
            timeout=60,
            env=kept | env,
            check=False,
        )

    def pamtester(self, account: str, password: str) -> "subprocess.CompletedProcess[str]":
        """root changes the password of ``account``."""
        return self.inside(
            "pamtester", "passferry-test", account, "chauthtok", stdin=f"{password}\n{password}\n"
        )

    def passwd(self, account: str, old: str, password: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """``account`` changes its own password."""
        return self.inside(
            "runuser", "-u", account, "--", "passwd", stdin=f"{old}\n{password}\n{password}\n", **env
        )

    def hash_of(self, account: str) -> str:
        """What /etc/shadow has."""
        lines = (self.folder / "etc" / "shadow").read_text().splitlines()
        return next(line.split(":")[1] for line in lines if line.startswith(f"{account}:"))


@dataclass
class Scene:
    """All that a test needs."""

    target: StandIn
    place: Home
    source: Source
    machine: Machine
    accounts: list[str]

    def serve(self, port: str) -> Running:
        """The gateway again, where it was."""
        self.source.gateway = self.place.serve("--port", port)
        return self.source.gateway


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Three accounts, each a user at the target."""
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path / "gateway", target.settings(), PASSFERRY_ORGS_DEFAULT_RATE="100000") as place,
    ):
        source = Source(place, place.serve(), tmp_path)
        accounts = users(target, 3)
        machine = Machine(tmp_path, source)
        for folder in (tmp_path, *tmp_path.parents[:3]):
            if folder.stat().st_uid == os.geteuid():
                folder.chmod(folder.stat().st_mode | 0o011)  # an account other than root runs passwd below it
        machine.prepare(*accounts)
        yield Scene(target, place, source, machine, accounts)


def test_what_root_sets_arrives_exactly(scene: Scene) -> None:
    """pamtester, and every password that something on the way could spoil."""
    for name, password in PASSWORDS.items():
        done = scene.machine.pamtester(scene.accounts[0], password)
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        arrives(scene.target, scene.accounts[0], password)


def test_debians_common_password_with_two_lines_more_checks_and_pushes(scene: Scene) -> None:
    """What the policy refuses changes nothing, and what it takes arrives."""
    account, machine = scene.accounts[0], scene.machine
    machine.service("passferry-test", DEBIAN.format(folder=machine.folder))
    before = machine.hash_of(account)
    assert machine.pamtester(account, "weakweakweak").returncode != 0
    assert machine.hash_of(account) == before
    done = machine.pamtester(account, "Debians-Horse-9")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert machine.hash_of(account) != before
    arrives(scene.target, account, "Debians-Horse-9")


UNIX, CHECK = "[success=1 default=ignore] pam_unix", "requisite pam_script"
SPOILED = [
    ("success=1", "success=2"),  # not by that
    ("success=1", "success=3"),
    ("success=1", "success=4"),
    (UNIX, "required pam_unix"),
    (UNIX, "[ success = 1  default = ignore ] pam_unix"),
    (CHECK, "Requisite pam_script"),
    (UNIX, "sufficient pam_unix"),
    (UNIX, "[success=done default=die] pam_unix"),
    (UNIX, "[success=1] pam_unix"),
    (CHECK, "sufficient pam_script"),
    (CHECK, "[success=done default=die] pam_script"),
    (CHECK, "[success=1 default=die] pam_script"),
    ("requisite pam_pwquality", "[success=1 default=die] pam_pwquality"),
    ("requisite pam_pwquality", "[success=ignore default=die] pam_pwquality"),
    ("requisite pam_deny", "optional  pam_script.so dir={folder}/push\npassword requisite pam_deny"),
]


def test_libpam_goes_the_way_that_the_self_test_foretells(scene: Scene) -> None:
    """Of each way to spoil Debian's stack: whether a change that succeeds passes both lines of the hook."""
    account, machine = scene.accounts[0], scene.machine
    marks = machine.folder / "marks"
    for mode in ("check", "push"):
        script = marks / mode / "pam_script_passwd"
        script.parent.mkdir(parents=True)
        script.write_text(f"#!/bin/sh\n: > {marks}/{mode}.ran\n: passferry hook pam --{mode}\n")
        script.chmod(0o755)
    scripts = {
        str(marks / mode): (marks / mode / "pam_script_passwd").read_text() for mode in ("check", "push")
    }
    for number, (old, new) in enumerate(SPOILED):
        assert old in DEBIAN
        stack = DEBIAN.replace(old, new, 1).format(folder=marks)
        machine.service("passferry-test", stack)
        for mark in marks.glob("*.ran"):
            mark.unlink()
        before = machine.hash_of(account)
        done = machine.pamtester(account, f"Spoiled-Horse-{number}")
        changed = done.returncode == 0 and machine.hash_of(account) != before
        ran = {mode for mode in ("check", "push") if changed and (marks / f"{mode}.ran").exists()}
        judged = judge(entries("x", stack), scripts, None)
        assert [each.grade is Grade.FAIL for each in judged].count(False) == len(ran), (new, done.stderr)


CONTROLS = {
    "requisite": True,
    "required": False,
    "optional": False,
    "[success=ok new_authtok_reqd=ok ignore=ignore default=die]": True,
    "[success=ok default=bad]": False,
    "[success=ok default=ignore]": False,
    "[success=ok default=1]": True,
    "[success=ok default=2]": False,
}
"""Of a check that refuses: whether that is a veto."""


def test_libpam_takes_for_a_veto_what_the_self_test_takes_for_one(scene: Scene) -> None:
    """Of each control of a check that refuses: whether passwd fails, with nothing set and nothing pushed."""
    account, machine = scene.accounts[0], scene.machine
    marks = machine.folder / "marks"
    scripts = {}
    for mode, code in (("check", 1), ("push", 0)):
        script = marks / mode / "pam_script_passwd"
        script.parent.mkdir(parents=True)
        scripts[str(script.parent)] = (
            f"#!/bin/sh\n: > {marks}/{mode}.ran\n: passferry hook pam --{mode}\nexit {code}\n"
        )
        script.write_text(scripts[str(script.parent)])
        script.chmod(0o755)
    for number, (control, veto) in enumerate(CONTROLS.items()):
        stack = DEBIAN.replace(CHECK, f"{control} pam_script", 1).format(folder=marks)
        machine.service("passferry-test", stack)
        for mark in marks.glob("*.ran"):
            mark.unlink()
        before = machine.hash_of(account)
        done = machine.pamtester(account, f"Refused-Horse-{number}")
        as_it_was = machine.hash_of(account) == before and not (marks / "push.ran").exists()
        assert (marks / "check.ran").exists()
        assert (done.returncode != 0 and as_it_was) is veto, (control, done.stdout)
        assert all(each.grade is not Grade.FAIL for each in judge(entries("x", stack), scripts, None)) is veto


INCLUDED = """\
password requisite pam_pwquality.so retry=3 minlen=6 minclass=0 difok=0 dictcheck=0 usercheck=0
password sufficient pam_unix.so yescrypt shadow use_authtok
password required  pam_deny.so
"""
"""As Red Hat's files are, that others include."""


def test_libpam_runs_a_push_behind_an_included_stack_as_the_self_test_foretells(scene: Scene) -> None:
    """One that ends inside of what it includes does so for both kinds of include; a substack goes on."""
    account, machine = scene.accounts[0], scene.machine
    script = machine.folder / "marks" / "pam_script_passwd"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\n: > {machine.folder}/push.ran\n: passferry hook pam --push\n")
    script.chmod(0o755)
    scripts = {str(script.parent): script.read_text()}
    machine.service("passferry-included", INCLUDED)
    included = {"passferry-included": entries("passferry-included", INCLUDED)}
    for number, include in enumerate(("password include", "@include", "password substack")):
        stack = f"{include} passferry-included\npassword optional pam_script.so dir={script.parent}\n"
        machine.service("passferry-test", stack)
        before = machine.hash_of(account)
        assert machine.pamtester(account, f"Included-Horse-{number}").returncode == 0
        assert machine.hash_of(account) != before
        (judged,) = judge(entries("x", stack), scripts, None, included)
        ran = (machine.folder / "push.ran").exists()
        assert ran is (include == "password substack")
        assert ran is (judged.grade is Grade.OK)


def test_passwd_of_a_user_is_vetoed_before_and_pushed_after(scene: Scene) -> None:
    """The gateway's policy refuses: passwd fails with the reason, and the local password is as it was."""
    account, machine = scene.accounts[0], scene.machine
    before = machine.hash_of(account)
    done = machine.passwd(account, "Old-Horse-9-x", "weakweakweak")
    assert done.returncode != 0
    assert "breaks the policy" in done.stdout
    assert machine.hash_of(account) == before
    assert scene.target.passwords(f"{account}@example.com") == []
    done = machine.passwd(account, "Old-Horse-9-x", "Näw-Horse-10")
    assert done.returncode == 0, done.stderr
    assert machine.hash_of(account) != before
    arrives(scene.target, account, "Näw-Horse-10")


def test_the_environment_of_who_calls_passwd_decides_nothing(scene: Scene, tmp_path: Path) -> None:
    """No code of theirs runs as root, and no setting of theirs sends the password elsewhere."""
    evil = tmp_path / "evil"
    evil.mkdir()
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w').close()\n"
    for name in ("sitecustomize.py", "usercustomize.py", "ssl.py", "syslog.py", "passferry.py"):
        (evil / name).write_text(code)
    hostile = {
        "PYTHONPATH": str(evil),
        "PYTHONHOME": str(evil),
        "PYTHONSTARTUP": str(evil / "ssl.py"),
        "PASSFERRY_URL": "http://127.0.0.1:9",
        "PASSFERRY_CONFIG": str(evil / "hook.toml"),
        "SSL_CERT_FILE": str(evil / "ca.pem"),
    }
    account = scene.accounts[0]
    done = scene.machine.passwd(account, "Old-Horse-9-x", "Newer-Horse-11", **hostile)
    assert done.returncode == 0, done.stderr
    arrives(scene.target, account, "Newer-Horse-11")
    assert not ran.exists()


def test_while_the_gateway_is_away_passwd_works_and_the_newest_arrives_later(scene: Scene) -> None:
    """Two changes in quick succession, by passwd itself; then the gateway comes back."""
    account, machine, source = scene.accounts[0], scene.machine, scene.source
    assert machine.pamtester(account, "First-Horse-9").returncode == 0
    arrives(scene.target, account, "First-Horse-9")
    port = source.port()
    assert source.gateway.stop() == 0
    for old, new in (("First-Horse-9", "Second-Horse-9"), ("Second-Horse-9", "Third-Horse-9")):
        done = machine.passwd(account, old, new)
        assert done.returncode == 0, done.stderr
    letters = list(source.folder.glob("spool/*.letter"))
    assert len(letters) == 2
    assert all(b"Horse" not in letter.read_bytes() for letter in letters)
    scene.serve(port)
    assert source.flush()["accepted"] == 2
    arrives(scene.target, account, "Third-Horse-9")
    other = scene.accounts[1]
    assert machine.pamtester(other, "Other-Horse-9").returncode == 0
    arrives(scene.target, other, "Other-Horse-9")
