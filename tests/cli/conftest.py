"""Running commands in this process, with a state directory of their own and none of the user's settings."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from passferry.entrypoints.cli import app


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment that holds no settings but a state directory; the directory everything is in."""
    for name in list(os.environ):
        if name.upper().startswith(("GENESYS", "PASSFERRY_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PASSFERRY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PASSFERRY_KEY_FILE", str(tmp_path / "keys" / "ring"))
    (tmp_path / "keys").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def cli(clean: Path) -> Cli:
    """Run ``passferry ARGUMENTS`` in this process."""

    def run(*arguments: str, stdin: bytes = b"") -> Done:
        done = CliRunner().invoke(app, arguments, input=stdin, prog_name="passferry")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    return run
