"""A hook that is called or set up wrongly: who is told, and of what."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from passferry.hooks.codes import SET_UP_WRONGLY

CODE = """\
import sys, syslog
syslog.syslog = lambda level, text: open(sys.argv[1], "a").write(text + "\\n")
from passferry.hooks.command import leave, main
leave(main(sys.argv[2:]))
"""
PROBLEMS = ["api_key_file is missing", "url is missing"]


def hook(folder: Path, *arguments: str) -> tuple["subprocess.CompletedProcess[str]", str]:
    """What ``passferry hook`` did, and what it told the machine's log."""
    log = folder / "log"
    log.touch()
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(log), *arguments],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done, log.read_text()


@pytest.mark.parametrize(
    ("arguments", "reason", "shown"),
    [
        (("pam", "--pusch"), "an argument that is not known", SET_UP_WRONGLY + "\n"),
        (("pam", "--push", "--confg", "/x"), "an argument that is not known", SET_UP_WRONGLY + "\n"),
        (("ltb", "--pre", "--post", "--", "jane", "x"), "give one of --pre, --post", SET_UP_WRONGLY + "\n"),
        (("samba", "--atribute", "mail"), "an argument that is not known", ""),
        (("openldap", "--soket", "/x"), "an argument that is not known", ""),
        (("flush", "--seconds", "0"), "--seconds is a number", ""),
    ],
)
def test_a_wrong_call_is_in_the_machines_log_and_shown_where_users_look(
    tmp_path: Path, arguments: tuple[str, ...], reason: str, shown: str
) -> None:
    """``pam_exec … quiet`` and PHP throw standard error away; Samba expects its own words, and no others."""
    done, log = hook(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, shown)
    assert reason in log
    assert log.startswith(f"{arguments[0]}: ")
    assert reason in done.stderr


def test_a_name_that_is_not_known_is_in_the_machines_log(tmp_path: Path) -> None:
    """Without the name, which could be anything; whoever asks for help, or gives none, made no mistake."""
    done, log = hook(tmp_path, "pan", "--push")
    assert (done.returncode, log) == (2, "hook: it was called by a name that is not known\n")
    for arguments in (["--help"], ["pam", "--help"], []):
        assert hook(tmp_path, *arguments)[1] == log


@pytest.mark.parametrize("name", ["flush", "openldap"])
def test_wrong_settings_are_named_to_an_operator(tmp_path: Path, name: str) -> None:
    """Also where the machine has no log, as in a container."""
    (tmp_path / "hook.toml").write_text("[hook]\n")
    (tmp_path / "hook.toml").chmod(0o600)
    done, log = hook(tmp_path, name, "--config", str(tmp_path / "hook.toml"))
    assert done.returncode == 2
    assert all(f"passferry hook {name}: {problem}" in done.stderr for problem in PROBLEMS)
    assert all(f"{name}: {problem}" in log for problem in PROBLEMS)


def test_wrong_settings_are_not_named_to_users(tmp_path: Path) -> None:
    """A portal's users are no operators."""
    done, log = hook(
        tmp_path, "ltb", "--config", str(tmp_path / "none"), "--plain", "--post", "--", "jane", "x"
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, SET_UP_WRONGLY + "\n", "")
    assert "cannot read the configuration" in log
