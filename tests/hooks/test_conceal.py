"""What a source put into arguments and environment is gone before others can look."""

import subprocess
import sys

CANARY = "Canary-Horse-5"

LOOK = """
import os, sys
from pathlib import Path
from passferry.hooks.conceal import conceal, taken_from_environment, wipe_arguments
{work}
print(repr(Path("/proc/self/cmdline").read_bytes()))
print(repr(Path("/proc/self/environ").read_bytes()))
print(os.environ.get("PAM_AUTHTOK"), os.environ.get("KEPT"))
"""


def looked_at(work: str, *arguments: str, **env: str) -> list[str]:
    """What a process sees of itself in /proc after ``work``: arguments, environment, what the program has."""
    code = LOOK.format(work=work)
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=env | path,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_arguments_behind_the_hook_are_overwritten() -> None:
    """`ps` shows the command and no more; the program still has them."""
    work = "wipe_arguments('ltb'); assert len(sys.argv[-1]) == 14"
    arguments, *_ = looked_at(work, "hook", "ltb", "--post", "jane", CANARY)
    assert CANARY not in arguments
    assert "jane" not in arguments
    assert "ltb" in arguments


def test_arguments_of_something_else_are_left_alone() -> None:
    """Without the hook's name nothing is overwritten."""
    arguments, *_ = looked_at("wipe_arguments('ltb')", "hook", "pam")
    assert "pam" in arguments


def test_variables_are_taken_out_of_the_environment() -> None:
    """Both passwords of pam_script are gone from /proc and for children; the rest is whole."""
    work = (
        "found = taken_from_environment('PAM_AUTHTOK', 'PAM_OLDAUTHTOK', 'NONE');"
        "assert found == ['Canary-Horse-5', 'Old-Canary-5', None]; conceal()"
    )
    env = {"PAM_AUTHTOK": CANARY, "KEPT": "kept", "PAM_OLDAUTHTOK": "Old-Canary-5", "X_PAM_AUTHTOK": "x"}
    _, environ, seen = looked_at(work, **env)
    assert "Canary" not in environ
    assert "KEPT=kept" in environ
    assert "X_PAM_AUTHTOK=x" in environ
    assert seen == "None kept"


def test_nothing_heavy_is_loaded_before_the_arguments_are_overwritten() -> None:
    """Until then neither OpenSSL, nor a client, nor the command line's framework is there."""
    code = (
        "import sys, passferry.hooks.command as c\n"
        "c.wipe_arguments = lambda name: print([m for m in HEAVY if m in sys.modules])\n"
        "HEAVY = ('ssl', '_hashlib', 'http.client', 'typer', 'cryptography', 'asyncio', 'sqlalchemy')\n"
        "c.main(['ltb', '-h'])\n"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=path, check=True
    )
    assert done.stdout.startswith("[]\n")


def test_a_hook_starts_without_the_rest_of_the_program() -> None:
    """Neither the database's nor the server's libraries are loaded by any hook."""
    code = (
        "import sys, importlib\nfrom passferry.hooks.command import HOOKS\n"
        "for name in HOOKS.values():\n    importlib.import_module(name)\n"
        "heavy = ('sqlalchemy', 'starlette', 'uvicorn', 'typer', 'asyncio', 'httpx2', 'cryptography')\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=path, check=True
    )
    assert done.stdout == "[]\n"
