"""LTB: what Self Service Password and Service Desk put into the argument list."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hook_fakes import FakeGateway
from hook_texts import LONG, ONE, PASSWORDS
from passferry.hooks.ltb import Refused, called

ARGUMENT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def coded(text: str) -> str:
    """As PHP's base64_encode gives it."""
    return base64.b64encode(text.encode()).decode()


def hook(config: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """``passferry hook ltb`` as PHP starts it."""
    return subprocess.run(
        [sys.executable, "-m", "passferry", "hook", "ltb", "--config", str(config), *arguments],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "LC_ALL": "C"},
        capture_output=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("name", PASSWORDS)
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_every_vector_is_the_password_that_was_typed(name: str, old: bool, plain: bool) -> None:
    """With base64 and without, with the old password (a change) and without (a reset)."""
    text = PASSWORDS[name]
    rest = ["jane", text if plain else coded(text)]
    rest += [("old" if plain else coded("old"))] if old else []
    found = called(rest, plain=plain)
    assert (found.login, found.password.reveal()) == ("jane", text)


@given(ARGUMENT, ARGUMENT, st.booleans())
def test_any_arguments_are_a_password_or_refused(login: str, new: str, plain: bool) -> None:
    """Invariant of this fuzz: the password is exactly the one given, or ``Refused`` that repeats nothing."""
    said, found = "", None
    try:
        found = called([login, new], plain=plain)
    except Refused as refused:
        said = str(refused) + refused.what
    if found is not None:
        assert found.password.reveal() == (new if plain else base64.b64decode(new).decode())
    else:
        assert said
        assert len(new) < 10 or new not in said


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["jane"],
        ["jane", ""],
        ["", coded("x")],
        ["jane", coded("x"), coded("y"), "z"],
        ["jane", "no base64"],
        ["jane", "Pässwörd"],
        ["jane", base64.b64encode(b"\xff").decode()],
        ["ja\nne", coded("x")],
    ],
)
def test_what_is_no_call_is_refused(arguments: list[str]) -> None:
    """Numbers, emptiness and coding; the error has no context that holds a password."""
    with pytest.raises(Refused) as caught:
        called(arguments, plain=False)
    assert caught.value.__context__ is None


def test_the_prehook_refuses_with_its_reasons_on_the_first_line(fake: FakeGateway, tmp_path: Path) -> None:
    """Exit code 1 blocks the change in the directory; the portal shows the first line."""
    config = fake.file(tmp_path)
    assert hook(config, "--pre", "--", "jane", coded(PASSWORDS["non-ascii"])).returncode == 0
    for weak in (ONE, LONG):
        done = hook(config, "--pre", "--base64", "--", "jane", coded(weak), coded("old"))
        assert done.returncode == 1
        first, *more = done.stdout.decode().splitlines()
        assert first.startswith("The password breaks the policy. ")
        assert (more, done.stderr) == ([], b"")
    assert fake.taken == []


def test_the_posthook_hands_over_and_says_so(fake: FakeGateway, tmp_path: Path) -> None:
    """Each way of calling; the first line is for the user."""
    config = fake.file(tmp_path)
    calls = [
        ["--post", "--", "jane", coded(PASSWORDS["four bytes"]), coded("old")],
        ["--post", "jane", coded("Correct-Horse-2")],
        ["--post", "--plain", "--", "-jane", "-Horse-3-correct"],
        ["--post", "--plain", "jane", "--Horse-4-correct"],
    ]
    for arguments in calls:
        done = hook(config, *arguments)
        assert (done.returncode, done.stdout) == (0, b"The new password was handed over.\n")
    assert [(each.user, each.password) for each in fake.taken] == [
        ("jane", PASSWORDS["four bytes"]),
        ("jane", "Correct-Horse-2"),
        ("-jane", "-Horse-3-correct"),
        ("jane", "--Horse-4-correct"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["jane", coded("x")],
        ["--pre", "--post", "--", "jane", coded("x")],
        ["--pre", "--plain", "--base64", "--", "jane", "x"],
        ["--post", "--config=/tmp/theirs", coded("Geheim-1"), coded("x")],
        ["--post", "--what", coded("Geheim-1")],
    ],
)
def test_a_login_is_never_taken_for_an_option(
    fake: FakeGateway, tmp_path: Path, arguments: list[str]
) -> None:
    """Wrong usage, and a login that looks like an option, send nothing and repeat nothing."""
    done = hook(fake.file(tmp_path), *arguments)
    assert done.returncode in (1, 2)
    assert coded("Geheim-1").encode() not in done.stdout + done.stderr
    assert fake.taken == []


def test_while_the_gateway_is_away_the_user_is_told_that_it_waits(fake: FakeGateway, tmp_path: Path) -> None:
    """Exit code 0: the portal has no queue, this one has; two in quick succession arrive in order."""
    config = fake.file(tmp_path, seconds=1.0)
    assert hook(config, "--pre", "--", "jane", coded("Correct-Horse-1")).returncode == 0
    fake.go()
    for number in (1, 2):
        done = hook(config, "--post", "--", "jane", coded(f"Correct-Horse-{number}"))
        assert done.returncode == 0
        assert b"sealed" in done.stdout
    fake.come()
    assert hook(config, "--post", "--", "joe", coded("Correct-Horse-3")).returncode == 0
    assert [each.password for each in fake.taken] == [f"Correct-Horse-{number}" for number in (1, 2, 3)]


def test_arguments_are_gone_within_moments(fake: FakeGateway, tmp_path: Path) -> None:
    """While the gateway lets the hook wait, `ps` shows neither login nor password."""
    config = fake.file(tmp_path, seconds=10.0)
    seen: list[bytes] = []
    process: list[subprocess.Popen[bytes]] = []

    def look(taken: object) -> None:
        seen.append(Path(f"/proc/{process[0].pid}/cmdline").read_bytes())

    fake.answer = look
    command = [sys.executable, "-m", "passferry", "hook", "ltb", "--config", str(config), "--post", "--plain"]
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    process.append(subprocess.Popen([*command, "--", "jane-canary", "Canary-Horse-5"], env=env))
    assert process[0].wait(30) == 0
    assert len(seen) == 1
    assert b"anary" not in seen[0]
    assert b"ltb" in seen[0]
