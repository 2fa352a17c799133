"""Settings and the store, for commands that work beside a running ``serve``."""

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from passferry.entrypoints.cli_io import Code, fail

if TYPE_CHECKING:
    from passferry.bootstrap import Desk
    from passferry.config import Settings

T = TypeVar("T")

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Configuration; else PASSFERRY_CONFIG, else passferry.toml."
    ),
]
Org = Annotated[str | None, typer.Option("--org", metavar="ORG", help="Only this org.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def settings_from(config: Path | None) -> "Settings":
    """The settings; every mistake in them is said at once, and the command ends with exit code 2."""
    from passferry.config import ConfigError, load_settings

    try:
        return load_settings(config)
    except ConfigError as error:
        lines = [
            f"- {each.what}" + (f"\n  hint: {each.hint}" if each.hint else "") for each in error.problems
        ]
        fail("\n".join(["the configuration has mistakes:", *lines]), code=Code.USAGE)


@contextmanager
def open_desk(settings: "Settings", *, write: bool) -> Iterator["Desk"]:
    """The store and the key ring; ends the command with exit code 2 when they cannot be used."""
    from passferry import bootstrap

    try:
        with bootstrap.open_desk(settings, write=write) as desk:
            yield desk
        return
    except bootstrap.StateError as error:
        what, hint = error.what, error.hint
    fail(what, hint, Code.USAGE)


def run(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` comes to, on an event loop of its own."""
    import asyncio

    return asyncio.run(work)


def the_org(settings: "Settings", org: str | None) -> str:
    """``org`` if it is configured; without one ``default``, else the only org there is.

    Where none is configured it is ``default``: looking into the state of a gateway needs no credentials.
    """
    if not settings.orgs and org in (None, "default"):
        return "default"
    if org is None and len(settings.orgs) == 1:
        return next(iter(settings.orgs))
    name = org if org is not None else "default"
    if name not in settings.orgs:
        known = ", ".join(sorted(settings.orgs)) or "none is configured"
        what = f"there is no org {name!r}" if org is not None else "several orgs, and none is named `default`"
        fail(what, f"--org ORG; the orgs are: {known}", Code.USAGE)
    return name


def operator() -> str:
    """Who works at this terminal, for the audit trail."""
    import getpass
    import os
    import re

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid{os.getuid()}"
    return "operator:" + (re.sub(r"[^A-Za-z0-9_.-]", "", name)[:32] or f"uid{os.getuid()}")
