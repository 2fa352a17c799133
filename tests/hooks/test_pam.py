"""PAM: what pam_exec and pam_script pass on, as recorded from both (Linux-PAM 1.7.0, Debian 12)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hook_fakes import FakeGateway
from hook_texts import LONG, ONE, PASSWORDS
from passferry.domain.password import Password
from passferry.hooks.codes import SET_UP_WRONGLY
from passferry.hooks.pam import CUT_AT, Misuse, password_of

PAM_EXEC = {"PAM_TYPE": "password", "PAM_USER": "jane", "PAM_SERVICE": "passwd"}
"""The whole environment that pam_exec gives."""


def hook(config: Path, mode: str, stdin: bytes = b"", **env: str) -> "subprocess.CompletedProcess[bytes]":
    """``passferry hook pam`` as a PAM module starts it."""
    return subprocess.run(
        [sys.executable, "-m", "passferry", "hook", "pam", mode, "--config", str(config)],
        input=stdin,
        env={"PYTHONPATH": os.pathsep.join(sys.path)} | env,
        capture_output=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("name", PASSWORDS)
def test_pam_exec_passes_raw_bytes_on(name: str) -> None:
    """The recorded form: the password's UTF-8, no newline, no NUL."""
    found = password_of(PASSWORDS[name].encode(), "pam_exec")
    assert isinstance(found, Password)
    assert found.reveal() == PASSWORDS[name]


@pytest.mark.parametrize("module", ["pam_exec", "pam_script"])
@given(raw=st.binary(max_size=600))
def test_any_bytes_are_a_password_or_a_misuse(module: str, raw: bytes) -> None:
    """Invariant of this fuzz: exactly the bytes that came are passed on, or none, and no message has them."""
    found = password_of(raw, "pam_exec" if module == "pam_exec" else "pam_script")
    if isinstance(found, Password):
        assert found.reveal().encode() == raw
        assert raw
    else:
        assert isinstance(found, Misuse)
        if len(raw) > 3:
            assert repr(raw)[2:-1] not in found.what + found.shown


def test_empty_input_is_a_misconfiguration_not_a_password() -> None:
    """Debian 12's pam_exec gives an empty standard input."""
    found = password_of(b"", "pam_exec")
    assert isinstance(found, Misuse)
    assert "1.6.0" in found.what


@pytest.mark.parametrize(
    ("length", "refused"), [(1, False), (CUT_AT - 1, False), (CUT_AT, True), (600, True)]
)
def test_what_pam_exec_may_have_cut_off_is_refused(length: int, refused: bool) -> None:
    """511 bytes may be the beginning of more; pam_script cuts nothing off."""
    assert isinstance(password_of(b"x" * length, "pam_exec"), Misuse) == refused
    assert isinstance(password_of(b"x" * length, "pam_script"), Password)


def test_a_password_that_is_no_utf8_is_refused() -> None:
    """A terminal in Latin-1 makes another password than the one typed elsewhere."""
    found = password_of("Pässwörd".encode("latin-1"), "pam_exec")
    assert isinstance(found, Misuse)


def test_pam_exec_pushes_and_checks(fake: FakeGateway, tmp_path: Path) -> None:
    """From standard input to the gateway; a refusal's reason is on standard output, and the exit code 1."""
    config = fake.file(tmp_path)
    for password in (PASSWORDS["non-ascii"], PASSWORDS["spaces at both ends"]):
        assert hook(config, "--check", password.encode(), **PAM_EXEC).returncode == 0
        assert hook(config, "--push", password.encode(), **PAM_EXEC).returncode == 0
    assert [(each.user, each.password) for each in fake.taken] == [
        ("jane", PASSWORDS["non-ascii"]),
        ("jane", PASSWORDS["spaces at both ends"]),
    ]
    for weak in (ONE, LONG[:500]):
        done = hook(config, "--check", weak.encode(), **PAM_EXEC)
        assert (done.returncode, done.stderr) == (1, b"")
        assert done.stdout.startswith(b"The password breaks the policy. ")
    assert len({each.key for each in fake.taken}) == 2


def test_pam_script_passes_it_in_the_environment(fake: FakeGateway, tmp_path: Path) -> None:
    """PAM_AUTHTOK goes before standard input, and nothing else in the environment is a setting."""
    config = fake.file(tmp_path)
    hostile = {
        "PASSFERRY_URL": "http://127.0.0.1:1",
        "PASSFERRY_HOOK_WHEN_AWAY": "refuse",
        "SSL_CERT_FILE": "/x",
    }
    env = PAM_EXEC | {"PAM_AUTHTOK": PASSWORDS["four bytes"], "PAM_OLDAUTHTOK": "", "HOME": "/x"} | hostile
    done = hook(config, "--push", b"not this", **env)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert [each.password for each in fake.taken] == [PASSWORDS["four bytes"]]


@pytest.mark.parametrize(
    ("env", "stdin"),
    [
        (PAM_EXEC, b""),
        (PAM_EXEC | {"PAM_AUTHTOK": ""}, b""),
        (PAM_EXEC | {"PAM_USER": ""}, b"x"),
        (PAM_EXEC, b"\xff\xfe\xfd"),
        (PAM_EXEC, b"x" * 511),
    ],
)
@pytest.mark.parametrize("mode", ["--check", "--push"])
def test_a_call_without_a_password_fails_and_sends_nothing(
    fake: FakeGateway, tmp_path: Path, mode: str, env: dict[str, str], stdin: bytes
) -> None:
    """Exit code 1, one sentence for the user."""
    done = hook(fake.file(tmp_path), mode, stdin, **env)
    assert done.returncode == 1
    assert done.stdout.count(b"\n") == 1
    assert (fake.taken, fake.checked) == ([], [])


@pytest.mark.parametrize("kind", ["auth", "account", "open_session", ""])
def test_calls_of_other_stacks_are_ignored(fake: FakeGateway, tmp_path: Path, kind: str) -> None:
    """A sign-in is no change of a password, even where the line stands in the wrong stack."""
    env = PAM_EXEC | {"PAM_TYPE": kind}
    assert hook(fake.file(tmp_path), "--push", b"Correct-Horse-9", **env).returncode == 0
    assert fake.paths == []


def test_wrong_settings_fail_with_a_sentence_for_the_user(tmp_path: Path) -> None:
    """The user is not shown what is wrong; the log is."""
    done = hook(tmp_path / "none.toml", "--check", b"Correct-Horse-9", **PAM_EXEC)
    assert (done.returncode, done.stdout.decode()) == (1, SET_UP_WRONGLY + "\n")


def test_the_environment_is_forgotten_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    """OpenSSL and the rest never see what the caller of `passwd` put there."""
    code = (
        "import os, sys\nfrom passferry.hooks import pam\npam.run(['--push'])\n"
        "print(dict(os.environ), [m for m in ('ssl', '_hashlib', 'http.client') if m in sys.modules])"
    )
    env = PAM_EXEC | {"PAM_TYPE": "auth", "OPENSSL_CONF": "/x", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=30, check=True)
    assert done.stdout == b"{} []\n"


@pytest.mark.parametrize("arguments", [[], ["--check", "--push"], ["--push", "more"], ["--what"]])
def test_wrong_usage_is_said_and_ends_with_2(arguments: list[str]) -> None:
    """No argument is repeated: it could be a password."""
    done = subprocess.run(
        [sys.executable, "-m", "passferry", "hook", "pam", *arguments],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert b"more" not in done.stderr
    assert b"what" not in done.stderr


def test_a_push_while_the_gateway_is_away_succeeds_and_is_spooled(fake: FakeGateway, tmp_path: Path) -> None:
    """The local password has changed already: what waits is sealed, and `hook flush` hands it over."""
    config = fake.file(tmp_path, seconds=1.0)
    assert hook(config, "--check", b"Correct-Horse-8", **PAM_EXEC).returncode == 0  # fetches the public key
    fake.go()
    for number in (1, 2):
        assert hook(config, "--push", f"Correct-Horse-{number}".encode(), **PAM_EXEC).returncode == 0
    assert hook(config, "--check", b"short", **PAM_EXEC).returncode == 0
    strict = fake.file(tmp_path, seconds=1.0, when_away="refuse")
    assert hook(strict, "--check", b"Correct-Horse-8", **PAM_EXEC).returncode == 1
    fake.come()
    done = subprocess.run(
        [sys.executable, "-m", "passferry", "hook", "flush", "--config", str(config), "--json"],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0
    assert b'"accepted": 2' in done.stdout
    assert [each.password for each in fake.taken] == ["Correct-Horse-1", "Correct-Horse-2"]
