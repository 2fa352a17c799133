"""The self-test: what is wrong with a set-up is said in the words of its source."""

import os
import re
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from hook_fakes import FakeGateway
from passferry.client import Reply
from passferry.hooks import self_test, self_test_ltb, self_test_pam
from passferry.hooks.pam_stack import entries
from passferry.hooks.self_test import Grade, of_clock, of_verdict
from passferry.hooks.self_test_pam import judge, of_script
from passferry.hooks.settings import HookSettings

EXEC = "pam_exec.so expose_authtok quiet stdout /opt/passferry/bin/passferry hook pam"
GOOD = f"""\
# a comment
password requisite pam_pwquality.so retry=1
password requisite {EXEC} --check
password required  pam_unix.so use_authtok yescrypt
password optional  {EXEC} --push
session  optional  pam_exec.so /bin/true
"""


def report(capsys: pytest.CaptureFixture[str], config: Path) -> tuple[int, str]:
    """Exit code and text of the common checks."""
    code = self_test.run({"config": str(config)}, {}, lambda settings: [])
    return code, capsys.readouterr().out


def test_a_good_set_up_is_said_to_be_one(
    fake: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing fails, nothing is stored at the gateway, and the public key is kept for when it is away."""
    code, text = report(capsys, fake.file(tmp_path))
    assert (code, "fail" in text) == (0, False)
    assert (tmp_path / "spool" / "gateway-key").exists()
    assert fake.taken == []
    assert list((tmp_path / "spool").glob("*.letter")) == []


@pytest.mark.parametrize(
    ("instead", "word"),
    [
        ((401, {"code": "access.key.refused"}), "does not know the access key"),
        ((403, {"code": "role.forbidden"}), "not one of a source"),
        ((404, {"code": "sealed.key.none"}), "no pair"),
        ((404, {"code": "path.unknown"}), "answered 404"),
        ((421, {"code": "https.required"}), "https"),
    ],
)
def test_what_the_gateway_refuses_is_named(
    fake: FakeGateway,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    instead: tuple[int, dict[str, Any]],
    word: str,
) -> None:
    """Key, role, ring, address: each with its remedy."""
    fake.instead = instead
    code, text = report(capsys, fake.file(tmp_path))
    assert code == 1
    assert word in text


def test_a_gateway_that_is_away_and_never_was_there_is_told_apart(
    fake: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a public key even spooling would fail."""
    config = fake.file(tmp_path)
    fake.go()
    assert "gateway-key" in report(capsys, config)[1]
    fake.come()
    report(capsys, config)
    fake.go()
    code, text = report(capsys, config)
    assert code == 1
    assert "gateway-key" not in text


def test_settings_and_spool_are_looked_at(
    fake: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every mistake in the settings; a spool that others may use."""
    config = fake.file(tmp_path, seconds=0, colour="red")
    code, text = report(capsys, config)
    assert code == 1
    assert "seconds" in text
    assert "colour" in text
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o755)
    assert "others may use it" in report(capsys, fake.file(tmp_path))[1]


def test_a_clock_that_differs_is_told() -> None:
    """What is spooled carries this machine's time."""
    assert list(of_clock(formatdate(1000.0, usegmt=True), 1030.0)) == []
    (ahead,) = of_clock(formatdate(1000.0, usegmt=True), 1100.0)
    (behind,) = of_clock(formatdate(1000.0, usegmt=True), 800.0)
    assert "100 seconds ahead" in ahead.what
    assert "200 seconds behind" in behind.what
    assert list(of_clock(None, 0.0)) == list(of_clock("nonsense", 0.0)) == []


@pytest.mark.parametrize(
    ("status", "code", "grade"),
    [
        (200, None, Grade.OK),
        (400, "policy", Grade.OK),
        (400, "user.invalid", Grade.WARN),
        (403, "org.forbidden", Grade.FAIL),
        (503, "store.busy", Grade.FAIL),
    ],
)
def test_the_verdict_of_the_policy_shows_the_rest_of_the_set_up(
    status: int, code: str | None, grade: Grade
) -> None:
    """Orgs and short names of the source."""
    assert of_verdict(Reply(status, {}, {"code": code}), None, short_names=False).grade is grade


def test_a_source_of_short_names_alone_needs_a_key_that_takes_them(
    fake: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each change would be refused, but of accounts whose names have an @, as SSSD can give them."""
    fake.verdict = (400, {"code": "user.invalid"})
    config = fake.file(tmp_path)
    self_test_pam.run({"config": str(config)})
    said = capsys.readouterr().out
    assert "fail  the gateway does not take short names" in said
    assert "unless every account's name has an @" in said
    code, text = report(capsys, config)
    assert (code, "warn  the gateway does not take short names" in text) == (0, True)


def grades(text: str, version: tuple[int, int] | None = (1, 7), **scripts: str) -> list[Grade]:
    """How the lines of a file in /etc/pam.d are judged."""
    return [check.grade for check in judge(entries("passwd", text), scripts, version)]


def test_the_documented_stack_is_good() -> None:
    """Check before pam_unix, push behind it."""
    assert grades(GOOD) == [Grade.OK, Grade.OK]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("expose_authtok ", "", Grade.FAIL),
        ("requisite " + EXEC, "optional " + EXEC, Grade.FAIL),
        ("optional  " + EXEC, "required " + EXEC, Grade.WARN),
        (" stdout", "", Grade.WARN),
        ("pam_exec.so", "/lib/security/pam_exec.so", Grade.OK),
        ("optional  " + EXEC, "[success=ok default=ignore] " + EXEC, Grade.OK),
        ("optional  " + EXEC, "[success=ok new_authtok_reqd=ok default=ignore] " + EXEC, Grade.OK),
        ("optional  " + EXEC, "[success=ok user_unknown=die default=ignore] " + EXEC, Grade.WARN),
    ],
)
def test_each_mistake_in_a_stack_is_named(old: str, new: str, expected: Grade) -> None:
    """The worst that is said of the changed file."""
    assert old in GOOD
    order = [Grade.OK, Grade.WARN, Grade.FAIL]
    assert max(grades(GOOD.replace(old, new)), key=order.index) is expected


PAGE = Path(__file__).resolve().parents[2] / "docs" / "sources" / "pam.md"
DEBIAN = f"""\
password requisite                  pam_pwquality.so retry=3
password requisite                  {EXEC} --check
password [success=1 default=ignore] pam_unix.so obscure use_authtok try_first_pass yescrypt
password requisite                  pam_deny.so
password required                   pam_permit.so
password optional                   {EXEC} --push
"""
PUSH = f"password optional                   {EXEC} --push\n"


def test_every_stack_of_the_page_is_good() -> None:
    """Debian's and a service's own, with either module, and the one that keeps system accounts out."""
    page = PAGE.read_text()
    scripts = {f"/etc/passferry/pam-{mode}": f"passferry hook pam --{mode}" for mode in ("check", "push")}
    stacks = re.findall(r"(?:^    password .*\n)+", page, re.MULTILINE)
    judged = [[each.grade for each in judge(entries("page", text), scripts, (1, 7))] for text in stacks]
    assert judged == [[Grade.OK] * 2] * 4 + [[Grade.OK]]
    (script,) = re.findall(r"(?:^    .*\n)*    sys\.argv = .*\n", page, re.MULTILINE)
    text = "password optional pam_script.so dir=/x"
    assert [each.grade for each in judge(entries("page", text), {"/x": script}, None)] == [Grade.OK]


def test_every_command_of_a_page_is_where_the_installation_puts_it() -> None:
    """On a source's machine `passferry` is in no PATH: what is to be pasted names it in full."""
    pages = {page.name: page.read_text() for page in PAGE.parent.glob("*.md")}
    lines = {line.strip() for text in pages.values() for line in text.splitlines() if line.startswith("    ")}
    commands = [line for line in lines if re.search(r"passferry hook ", line)]
    assert len(commands) > 8
    assert [line for line in commands if "/opt/passferry/bin/passferry hook" not in line] == []
    assert "    python3 -m venv /opt/passferry\n" in pages["hand-over.md"]


NEVER = "the stack never ends in success"
NOT_PASSED = "no change of a password passes this line"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEBIAN, []),
        (DEBIAN.replace("[success=1 default=ignore] pam_unix", "required pam_unix"), [NEVER, NEVER]),
        (
            DEBIAN.replace(PUSH, "").replace(
                "password requisite                  pam_deny", f"{PUSH}password requisite pam_deny"
            ),
            [NEVER, NEVER],
        ),
        (DEBIAN.replace("[success=1 default=ignore] pam_unix", "sufficient pam_unix"), [NOT_PASSED]),
        (
            DEBIAN.replace("[success=1 default=ignore] pam_unix", "[success=done default=die] pam_unix"),
            [NOT_PASSED],
        ),
        (DEBIAN.replace("success=1", "success=3"), [NOT_PASSED]),
        (DEBIAN.replace("success=1", "success=4"), [NEVER, NEVER]),
        (
            DEBIAN.replace("requisite                  pam_pwq", "[success=1 default=die] pam_pwq"),
            [NOT_PASSED],
        ),
        (
            DEBIAN.replace(f"requisite                  {EXEC}", f"sufficient {EXEC}"),
            ["a sufficient check", NEVER],
        ),
        (
            DEBIAN.replace(f"requisite                  {EXEC}", f"[success=done default=die] {EXEC}"),
            [NEVER, NEVER],
        ),
        (DEBIAN.replace(f"optional                   {EXEC}", f"sufficient {EXEC}"), ["a sufficient push"]),
        (GOOD.replace("required  pam_unix", "sufficient pam_unix"), [NOT_PASSED]),
        (GOOD.replace("--push", "--pusch"), ["the hook does not know '--pusch'"]),
        (GOOD.replace("--push", "--push --confg /x"), ["the hook does not know '--confg'"]),
        (GOOD.replace("--push", "--push --check"), ["give one of --check, --push"]),
        (GOOD.replace("--push", ""), ["give one of --check, --push"]),
        (GOOD.replace("--push", "--push --config"), ["--config needs a value"]),
    ],
)
def test_a_hook_that_is_not_run_with_every_change_fails(text: str, said: list[str]) -> None:
    """Jumps, ends and denials on the way of a change that succeeds; options that the hook does not know."""
    failed = [check.what for check in judge(entries("f", text), {}, (1, 7)) if check.grade is Grade.FAIL]
    assert len(failed) == len(said), failed
    assert all(word in what for word, what in zip(said, failed, strict=True)), failed


def test_conditions_and_other_directories_may_go_either_way() -> None:
    """A line that spares system accounts, in both its forms; Kerberos before ``pam_unix``, as in Debian."""
    spared = "password [success=1 default=ignore] pam_succeed_if.so quiet uid < 1000\n"
    kerberos = "password [success=2 default=ignore] pam_krb5.so minimum_uid=1000\npassword [success=1"
    assert grades(DEBIAN.replace(PUSH, spared + PUSH)) == [Grade.OK, Grade.OK]
    assert grades(DEBIAN.replace("password [success=1", kerberos)) == [Grade.OK, Grade.OK]
    assert grades("@include common-password\n" + PUSH.replace("\n", "  # a comment\n")) == [Grade.OK]


@pytest.mark.parametrize(
    ("control", "vetoes"),
    [
        ("requisite", True),
        ("[success=ok new_authtok_reqd=ok ignore=ignore default=die]", True),
        ("required", False),
        ("[success=ok]", False),
        ("[success=ok default=bad]", False),
        ("[success=ok default=ignore]", False),
        ("[success=ok user_unknown=ignore default=die]", False),
        ("[success=ok default=1]", True),  # onto pam_deny
        ("[success=ok default=2]", False),  # onto pam_permit
    ],
)
def test_a_check_whose_refusal_ends_nothing_is_no_veto(control: str, vetoes: bool) -> None:
    """`required` fails in the end, too, but only when `pam_unix` has set the password."""
    judged = judge(
        entries("f", DEBIAN.replace(f"requisite                  {EXEC}", f"{control} {EXEC}")), {}, None
    )
    failed = [check for check in judged if check.grade is Grade.FAIL]
    assert [check.what.partition(": ")[2] for check in failed] == (
        [] if vetoes else ["a password that this check refuses is set all the same"]
    )
    assert all(check.hint == "make it requisite" for check in failed)


def test_a_check_that_jumps_may_end_in_a_denial_that_comes_late() -> None:
    """Red Hat's files end in a `pam_deny` that is `required`: it is bad, and nothing comes behind it."""
    unix = "password sufficient pam_unix.so\npassword required pam_deny.so\n"
    text = f"password [success=ok default=1] {EXEC} --check\n{unix}"
    assert grades(text) == [Grade.OK]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[success=2 default=ignore] pam_krb5.so minimum_uid=1000", ["f:2 may jump over this check"]),
        ("[success=1 default=ignore] pam_systemd_home.so", ["f:2 may jump over this check"]),
        ("[success=ignore default=2] pam_succeed_if.so quiet uid >= 1000", ["f:2 may jump over this check"]),
        ("[success=ignore default=1] pam_succeed_if.so quiet uid >= 1000", []),
    ],
)
def test_a_check_that_a_line_before_it_may_jump_over_stands_in_the_wrong_place(
    line: str, said: list[str]
) -> None:
    """Kerberos' jump onto `pam_permit` ends on `pam_deny` then. A condition may spare accounts the check."""
    check = f"password requisite                  {EXEC}"
    text = DEBIAN.replace(check, f"password {line}\n{check}")
    failed = [check.what for check in judge(entries("f", text), {}, (1, 7)) if check.grade is Grade.FAIL]
    assert len(failed) == len(said), failed
    assert all(word in what for word, what in zip(said, failed, strict=True)), failed


def test_order_and_version_decide() -> None:
    """A check behind pam_unix vetoes nothing; a push before it may be refused; 1.5 gives pam_exec nothing."""
    lines = GOOD.splitlines()
    swapped = "\n".join([lines[1], lines[4], lines[3], lines[2]])
    assert grades(swapped) == [Grade.FAIL, Grade.FAIL]
    assert grades(GOOD, (1, 5)) == [Grade.FAIL, Grade.FAIL]
    assert grades("password required pam_unix.so") == []


def test_pam_script_is_found_by_its_folder() -> None:
    """What the script in the folder calls is what the line means."""
    text = (
        "password requisite pam_script.so dir=/etc/p/check\n"
        "password required pam_unix.so\npassword optional pam_script.so dir=/etc/p/push onerr=success\n"
    )
    scripts = {"/etc/p/check": "passferry hook pam --check", "/etc/p/push": "passferry hook pam --push"}
    stack = entries("passwd", text)
    assert [check.grade for check in judge(stack, scripts, None)] == [Grade.OK, Grade.OK]


def test_a_comment_in_a_script_calls_nothing() -> None:
    """Neither one that speaks of the hook, nor the call itself, when it is one."""
    call = 'sys.argv = ["passferry", "hook", "pam", "--push"]\n'
    stack = entries("f", "password optional pam_script.so dir=/x")
    speaks = "#!/usr/bin/python3 -I\n  # passferry hook pam behind pam_unix: hands the password over\n"
    assert [check.grade for check in judge(stack, {"/x": speaks + call}, None)] == [Grade.OK]
    assert judge(stack, {"/x": f"{speaks}# {call}"}, None) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[success=1 default=ignore]", "[success = 1 default = ignore]"),
        ("[success=1 default=ignore]", "[ success=1  default=ignore ]"),
        ("password ", "Password "),
        ("requisite ", "Requisite "),
        ("optional ", "OPTIONAL "),
    ],
)
def test_spaces_and_capitals_are_read_as_libpam_reads_them(old: str, new: str) -> None:
    """It takes types and controls in any letters, and brackets with spaces."""
    assert old in DEBIAN
    assert grades(DEBIAN.replace(old, new)) == [Grade.OK, Grade.OK]


def test_a_script_that_runs_what_its_caller_says_is_a_mistake(tmp_path: Path) -> None:
    """`passwd` is set-uid and passes its environment on: Python must be told to ignore it."""
    path = tmp_path / "pam_script_passwd"
    good = '#!/opt/passferry/bin/python3 -I\nargv = ["passferry", "hook", "pam", "--push"]\n'
    path.write_text(good)
    path.chmod(0o755)
    status = os.stat_result((0o100755, 0, 0, 1, 0, *path.stat()[5:]))
    assert of_script(path, good, status) == []
    (comment,) = of_script(path, good.replace("argv", "# argv"), status)
    assert "does not call the hook" in comment.what
    for bad in ("#!/bin/sh\n", "#!/opt/passferry/bin/python3\n", "#!/usr/bin/env python3\n"):
        assert (
            "PYTHONPATH"
            in of_script(path, good.replace(good.partition("\n")[0], bad.strip()), status)[0].hint
        )
    writable = os.stat_result((0o100777, *status[1:]))
    assert len(of_script(path, good, writable)) == 1
    assert len(of_script(path, good, os.stat_result((0o100644, *status[1:])))) == 1


LTB = """<?php
$prehook = "exec /opt/passferry/bin/passferry hook ltb --pre --";
$display_prehook_error = true;
$ignore_prehook_error = false;
$prehook_password_encodebase64 = true;
$posthook = 'exec /opt/passferry/bin/passferry hook ltb --post --';
$display_posthook_error = true;
$posthook_password_encodebase64 = true;
#$posthook = "/elsewhere";
"""


def ltb(text: str) -> list[Grade]:
    """How a portal's configuration is judged."""
    return [check.grade for check in self_test_ltb.judge(self_test_ltb.settings_in(text))]


def test_the_documented_portal_is_good() -> None:
    """Both hooks as they should be; a portal without us has nothing to be judged."""
    assert ltb(LTB) == [Grade.OK, Grade.OK]
    assert ltb('$prehook = "/usr/bin/other";') == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--pre --", "--post --"),
        ("--post --", "--post"),
        ('"exec /opt', '"/opt'),
        ("$ignore_prehook_error = false", "$ignore_prehook_error = true"),
        ("$prehook_password_encodebase64 = true", "$prehook_password_encodebase64 = false"),
        ("$display_posthook_error = true", "$display_posthook_error = false"),
        ("--post --", "--post --plain --"),
    ],
)
def test_each_mistake_in_a_portal_is_named(old: str, new: str) -> None:
    """Something is said that is not ok."""
    assert old in LTB
    assert set(ltb(LTB.replace(old, new))) != {Grade.OK}


def test_the_self_test_of_pam_runs_on_any_machine(
    fake: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no line calls the hook, that is what is said."""
    monkeypatch.setattr(self_test_pam, "FOLDER", tmp_path / "pam.d")
    (tmp_path / "pam.d").mkdir()
    (tmp_path / "pam.d" / "passwd").write_text("password required pam_unix.so\n")
    assert self_test_pam.run({"config": str(fake.file(tmp_path))}) == 1
    assert "calls the hook" in capsys.readouterr().out
    (tmp_path / "passferry").touch(0o755)
    hook = str(tmp_path / "passferry")
    (tmp_path / "pam.d" / "passwd").write_text(GOOD.replace("/opt/passferry/bin/passferry", hook))
    monkeypatch.setattr(self_test_pam, "_version", lambda: (1, 7))
    assert self_test_pam.run({"config": str(fake.file(tmp_path))}) == 0


SCRIPTS = """\
password requisite pam_script.so dir={folder}/check
password required  pam_unix.so
password optional  pam_script.so dir={folder}/push onerr=success
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with PAM's files in ``pam.d``, and with the hook in ``bin``."""
    monkeypatch.setattr(self_test_pam, "FOLDER", tmp_path / "pam.d")
    monkeypatch.setattr(self_test_pam, "_version", lambda: (1, 7))
    for name in ("pam.d", "bin", "check", "push"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "passferry").touch(0o755)
    for mode in ("check", "push"):
        script = tmp_path / mode / "pam_script_passwd"
        script.write_text(
            f'#!/opt/passferry/bin/python3 -I\nargv = ["passferry", "hook", "pam", "--{mode}"]\n'
        )
    return tmp_path


def own(folder: Path, **files: str) -> list[str]:
    """What fails of these files in /etc/pam.d; whose the scripts are is another matter."""
    for name, text in files.items():
        (folder / "pam.d" / name).write_text(text)
    checks = self_test_pam._own(HookSettings("https://gateway.example.com", "pf_id_secretsecret"))
    scripts = re.compile(r"others than root may change|.* cannot be run")
    return [each.what for each in checks if each.grade is Grade.FAIL and not scripts.match(each.what)]


def test_a_path_that_leads_nowhere_fails(folder: Path) -> None:
    """With `onerr=success` the push would never be sent; a check that cannot run refuses every change."""
    good = GOOD.replace("/opt/passferry", str(folder))
    assert own(folder, passwd=good) == []
    assert own(
        folder, passwd=good.replace("bin/passferry hook pam --check", "bni/passferry hook pam --check")
    ) == [f"passwd:3: {folder}/bni/passferry is no program that can be run"]
    (folder / "bin" / "passferry").chmod(0o644)
    assert len(own(folder, passwd=good)) == 2
    good = SCRIPTS.format(folder=folder)
    assert own(folder, passwd=good) == []
    assert own(folder, passwd=good.replace("/push", "/psuh")) == [
        f"passwd:3: there is no {folder}/psuh/pam_script_passwd"
    ]


@pytest.mark.parametrize(
    "end", ["~", ".bak", ".pam-old", ".dpkg-old", ".dpkg-dist", ".ucf-dist", ".rpmsave", ".rpmnew"]
)
def test_a_copy_that_no_service_reads_is_not_judged(folder: Path, end: str) -> None:
    """What is wrong in it harms nobody, and a call in it alone is none."""
    good = GOOD.replace("/opt/passferry", str(folder))
    assert own(folder, **{"passwd": good, f"passwd{end}": good.replace("requisite", "optional")}) == []
    assert own(folder, **{"passwd": "", f"passwd{end}": good}) == [
        f"no line in {folder / 'pam.d'} calls the hook"
    ]


RED_HAT = """\
password requisite pam_pwquality.so local_users_only
password sufficient pam_unix.so yescrypt shadow nullok use_authtok
password [success=1 default=ignore] pam_localuser.so
password required pam_deny.so
"""


@pytest.mark.parametrize(
    ("include", "failed"),
    [("password include system-auth", 1), ("@include system-auth", 1), ("password substack system-auth", 0)],
)
def test_a_push_behind_an_included_stack_that_ends_is_never_reached(
    folder: Path, include: str, failed: int
) -> None:
    """`sufficient` ends the stack that includes it; only a `substack` ends by itself."""
    push = PUSH.replace("/opt/passferry", str(folder))
    found = own(folder, **{"system-auth": RED_HAT, "passwd": f"{include}\n{push}"})
    assert len(found) == failed
    assert all(what.startswith("passwd:2: ") and NOT_PASSED in what for what in found)


def test_what_is_included_is_judged_once(folder: Path) -> None:
    """With its own file; one that includes itself ends, and so does the self-test."""
    mistaken = DEBIAN.replace("/opt/passferry", str(folder)).replace("requisite   ", "required    ")
    files = {
        "common-password": mistaken,
        "passwd": "@include common-password\n",
        "chpasswd": "@include passwd\n",
    }
    (failed,) = own(folder, **files)
    assert failed.startswith("common-password:2: ")
    assert own(folder, **files, loop="@include loop\n@include chpasswd\n" * 3) == [failed]
    before = f"{PUSH.replace('/opt/passferry', str(folder))}@include common-password\n"
    assert any("pam_unix may still refuse" in what for what in own(folder, **files, other=before))
