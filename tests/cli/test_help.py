"""Help, usage errors, and how quickly they come."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

import passferry
from passferry.entrypoints.cli import app

Cli = Callable[..., Any]
DOC = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"

COMMANDS = [
    "serve",
    "worker",
    "demo",
    "simulate",
    "push",
    "import",
    "check",
    "verify",
    "changes list",
    "changes show",
    "changes retry",
    "changes cancel",
    "orgs list",
    "orgs pause",
    "orgs resume",
    "orgs forget-user",
    "access add",
    "access list",
    "access revoke",
    "access resume",
    "audit verify",
    "audit export",
    "audit prune",
    "hook",
    "doctor",
    "keys create",
    "keys rotate",
    "keys public",
]

HEAVY = (
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "httpx2",
    "cryptography",
    "precis_i18n",
    "structlog",
    "rich",
    "asyncio",
)


def options(path: str) -> list[Any]:
    """The parameters of a command."""
    command: Any = get_command(app)
    for name in path.split():
        command = command.commands[name]
    return list(command.params)


HELP = """\
Usage: passferry [OPTIONS] COMMAND [ARGS]...

  Brings users' new passwords to Genesys Cloud: accepted, sealed, delivered,
  proven.

Options:
  --version   Say the version.
  -h, --help  Show this message and exit.

Commands:
  serve     Run the gateway and delivery in one process.
  worker    Deliver only, beside others on one PostgreSQL.
  demo      Show it all, with a stand-in for Genesys Cloud.
  simulate  Run the Genesys Cloud stand-in alone.
  push      Send one new password to a running gateway.
  import    Send the new passwords of a CSV file.
  check     Say whether a password meets the policy.
  verify    Say whether a password is the one last delivered.
  hook      On a source's machine: hand its passwords over.
  doctor    Check configuration, this machine and every org; change nothing.
  changes   The queue: list, show, retry, cancel.
  orgs      The orgs: list, pause, resume, forget a user.
  access    Access keys: add, list, revoke; let a source send again.
  audit     The audit trail: verify, export, prune.
  keys      The sealing keys: create, rotate, public.

  Exit codes: 0 done, 1 refused or failed, 2 usage or configuration, 3 not
  reachable (try again), 4 accepted and not delivered yet.
"""


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_this_page(cli: Cli, flag: str) -> None:
    """Help lists every command and the exit codes, and ends with 0."""
    done = cli(flag)
    assert (done.code, done.out, done.err) == (0, HELP, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    """``-h`` works on every command and needs no configuration."""
    done = cli(*command.split(), "-h")
    assert done.code == 0
    assert done.out.startswith(f"Usage: passferry {command}")


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    """``--version`` says what is installed."""
    assert cli("--version").out == f"passferry {passferry.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nonsense"], "No such command 'nonsense'."),
        (["push"], "Missing argument 'USER'."),
        (["push", "a@example.com", "--wait", "16"], "Invalid value for '--wait'"),
        (["changes", "show"], "Missing argument 'ID'."),
        (["push", "a@example.com", "--password", "x"], "No such option"),
    ],
)
def test_wrong_usage_ends_with_2(cli: Cli, arguments: list[str], text: str) -> None:
    """A usage error is said on standard error, with exit code 2."""
    done = cli(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert text in done.err


def test_help_imports_nothing_heavy() -> None:
    """Help is quick because it loads no server, client, database or cryptography."""
    code = (
        "import sys\nfrom passferry.entrypoints.cli import app\n"
        "try:\n    app(['--help'], prog_name='passferry')\nexcept SystemExit:\n    pass\n"
        f"print(sorted(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_the_command_line_names_every_command_and_option(command: str) -> None:
    """The documentation has a heading for each command, and below it each of its options."""
    sections = re.split(r"^### ", DOC.read_text(), flags=re.MULTILINE)
    section = next((text for text in sections if text.startswith(f"`passferry {command}")), "")
    assert section, f"no heading for {command}"
    names = [option for one in options(command) for option in one.opts if option.startswith("--")]
    assert [name for name in names if name != "--help" and f"`{name}" not in section] == []


def test_a_password_is_never_an_argument() -> None:
    """No command has an option or argument that takes a password; only the path of a file."""
    named = {
        option for command in COMMANDS for one in options(command) for option in one.opts if "passw" in option
    }
    assert named == {"--password-file"}


def test_no_traceback_shows_locals() -> None:
    """The framework's tracebacks, which show local variables, are off."""
    assert isinstance(app, typer.Typer)
    assert app.pretty_exceptions_enable is False
