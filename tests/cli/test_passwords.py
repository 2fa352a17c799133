"""Where passwords come from: a prompt, standard input, a file; and `check`, which judges them."""

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
GOOD = b"Correct-Horse-7"


def codes(done: Any) -> list[str]:
    """The codes in a verdict."""
    return [error["code"] for error in json.loads(done.out)["errors"]]


def test_check_takes_a_good_password(cli: Cli) -> None:
    """Without any org configured the default policy judges: exit code 0."""
    done = cli("check", stdin=GOOD)
    assert (done.code, done.out, done.err) == (0, "the password meets the policy\n", "")


def test_check_says_every_reason(cli: Cli) -> None:
    """All broken rules are listed on standard error, none of them with the password: exit code 1."""
    done = cli("check", "--user", "zebra@example.com", stdin=b"zebra")
    assert done.code == 1
    assert done.out == ""
    assert done.err == (
        "passferry: the password breaks the policy:\n"
        "  - The new password is too short. (password.too.short)\n"
        "  - The new password does not have enough upper case letters. (password.not.enough.uppercase)\n"
        "  - The new password does not have enough digits. (password.not.enough.digits)\n"
        "  - The new password does not have enough special characters. (password.not.enough.specials)\n"
        "  - The new password contains the user name. (password.contains.username)\n"
    )


def test_check_uses_the_policy_of_the_configuration(cli: Cli, clean: Path) -> None:
    """An org's own minimum decides, and --org names the org."""
    (clean / "passferry.toml").write_text(
        '[orgs.default]\nregion = "us-east-1"\nclient_id = "a"\nclient_secret = "b"\n'
        "[orgs.default.policy]\nminimum_length = 20\n"
        '[orgs.other]\nregion = "us-east-1"\nclient_id = "c"\nclient_secret = "d"\n'
    )
    assert codes(cli("check", "--json", stdin=GOOD)) == ["password.too.short"]
    assert cli("check", "--org", "other", stdin=GOOD).code == 0
    done = cli("check", "--org", "third", stdin=GOOD)
    assert (done.code, done.err.splitlines()[0]) == (2, "passferry: there is no org 'third'")


@pytest.mark.parametrize("text", [b"Correct-Horse-7\n", b"Correct-Horse-7"])
def test_one_trailing_newline_is_not_part_of_the_password(cli: Cli, text: bytes) -> None:
    """``echo`` and ``printf`` give the same password."""
    assert cli("check", stdin=text).code == 0


@pytest.mark.parametrize("text", [b"Correct-Horse-7\n\n", b"Correct-Horse-7\r\n"])
def test_anything_more_is_part_of_the_password(cli: Cli, text: bytes) -> None:
    """Only one newline is taken off: what remains is judged, and refused, as it stands."""
    assert codes(cli("check", "--json", stdin=text)) == ["password.control.character"]


def test_invalid_utf8_is_refused_unseen(cli: Cli) -> None:
    """Bytes that are no UTF-8 are refused with a hint, and are not shown."""
    done = cli("check", stdin=b"Correct-\xff-Horse-7")
    assert done.code == 1
    assert done.err == (
        "passferry: the password from standard input is not valid UTF-8\n"
        "hint: passwords are sent as UTF-8; convert it first\n"
    )


def test_more_than_a_request_holds_is_refused(cli: Cli) -> None:
    """Reading is bounded; what is longer is refused, not cut."""
    done = cli("check", stdin=b"A" * 20_000)
    assert (done.code, done.err) == (
        1,
        "passferry: the password from standard input is longer than 16384 bytes\n",
    )


def test_a_file_that_only_we_can_read_is_taken(cli: Cli, clean: Path) -> None:
    """--password-file reads a private file, less one newline."""
    file = clean / "secret"
    file.write_bytes(GOOD + b"\n")
    file.chmod(0o600)
    assert cli("check", "--password-file", str(file)).code == 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_use_is_refused(cli: Cli, clean: Path, mode: int) -> None:
    """Any right of group or world on the file is an error that says what to do."""
    file = clean / "secret"
    file.write_bytes(GOOD)
    file.chmod(mode)
    done = cli("check", "--password-file", str(file))
    assert done.code == 2
    assert done.err == f"passferry: other users may use {file}\nhint: chmod 600 {file}\n"


def test_a_file_that_is_not_there_is_said(cli: Cli, clean: Path) -> None:
    """A missing file, or a directory, is exit code 2."""
    assert cli("check", "--password-file", "nowhere").code == 2
    assert cli("check", "--password-file", str(clean)).code == 2


def prompted(arguments: list[str], typed: list[bytes], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command at a terminal of its own, answer its prompts; its exit code and what the screen shows."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "passferry", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    shown, answered = b"", 0
    try:
        while select.select([master], [], [], 30)[0]:
            try:
                shown += os.read(master, 4096)
            except OSError:  # the other side is closed
                break
            # A prompt is answered when it is there: what is typed earlier is thrown away.
            if shown.count(b": ") > answered and answered < len(typed):
                os.write(master, typed[answered])
                answered += 1
    finally:
        if answered < len(typed):
            process.kill()
        code = process.wait(30)
        os.close(master)
    return code, shown.decode()


def test_at_a_terminal_it_is_asked_for_and_not_shown(clean: Path) -> None:
    """The prompt does not echo."""
    code, shown = prompted(["check"], [GOOD + b"\n"], dict(os.environ))
    assert code == 0
    assert "Password:" in shown
    assert GOOD.decode() not in shown


def test_push_asks_twice(clean: Path) -> None:
    """Two different answers are refused before anything is sent."""
    environment = {**os.environ, "PASSFERRY_API_KEY": "pf_a_b"}
    code, shown = prompted(["push", "a@example.com"], [GOOD + b"\n", b"other\n"], environment)
    assert code == 1
    assert "Again:" in shown
    assert "the two passwords differ" in shown


def test_nothing_at_all_on_standard_input_is_an_empty_password(cli: Cli) -> None:
    """A closed pipe is judged like the empty password that it is."""
    assert codes(cli("check", "--json", stdin=b"")) == ["password.empty"]


def test_the_module_runs_as_a_program(clean: Path) -> None:
    """``python -m passferry`` is the command; its exit code arrives."""
    done = subprocess.run(
        [sys.executable, "-m", "passferry", "check"],
        input=b"abc",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
