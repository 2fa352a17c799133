"""Settings and the store, for commands that work beside a running ``serve``."""

import os
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from passferry.entrypoints.cli_io import Code, fail

if TYPE_CHECKING:
    from passferry.config import Settings
    from passferry.state import Desk, StateError

T = TypeVar("T")

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Configuration; else PASSFERRY_CONFIG, else passferry.toml."
    ),
]
Org = Annotated[str | None, typer.Option("--org", metavar="ORG", help="Only this org.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def settings_from(
    config: Path | None, *, orgs_required: bool = False, serves: Mapping[str, Any] | None = None
) -> "Settings":
    """The settings; every mistake in them is said at once, and the command ends with exit code 2."""
    from passferry.config import ConfigError, load_settings

    try:
        return load_settings(config, orgs_required=orgs_required, serves=serves)
    except ConfigError as error:
        lines = [
            f"- {each.what}" + (f"\n  hint: {each.hint}" if each.hint else "") for each in error.problems
        ]
        fail("\n".join(["the configuration has mistakes:", *lines]), code=Code.USAGE)
    except OSError as error:
        what = f"cannot read the configuration: {error.filename}: {error.strerror}"
        fail(what, "run it as the user who owns it, in a directory that may be read", Code.USAGE)


def code_of(error: "StateError") -> Code:
    """The exit code for a state that cannot be used."""
    from passferry.state import NotReachable

    return Code.UNREACHABLE if isinstance(error, NotReachable) else Code.USAGE


@contextmanager
def open_desk(settings: "Settings", *, create: bool = False) -> Iterator["Desk"]:
    """The store and the key ring; ends the command with exit code 2 when they cannot be used.

    Only a command that sets a gateway up says ``create``. With any other, state that is not there is that of
    another user or another place: made anew, it would report success and change nothing of the gateway's.
    """
    from passferry import state
    from passferry.store_ports import StoreAway, StoreBusy, StoreFull, StoreLost

    with ExitStack() as held:
        try:
            desk = held.enter_context(state.open_desk(settings, create=create))
        except state.StateError as error:
            fail(error.what, error.hint, code_of(error))
        try:
            yield desk
        except StoreLost:
            hint = "look at what it was to change before trying again"
            fail("the disk failed: whether anything was changed is not known", hint, Code.UNREACHABLE)
        except StoreAway:
            fail("the database does not answer", "try again", Code.UNREACHABLE)
        except StoreBusy:
            fail("another program holds the database: nothing was changed", "try again", Code.UNREACHABLE)
        except StoreFull:
            fail("the disk is full: nothing was changed", "make room, then try again", Code.UNREACHABLE)


def run(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` comes to, on an event loop of its own."""
    import uvloop

    return uvloop.run(work)


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


def uuid_ids(settings: "Settings", org: str) -> bool:
    """Whether the ids of the org's users are UUIDs; as those of Genesys Cloud, where it is not configured."""
    configured = settings.orgs.get(org)
    return configured is None or configured.target == "genesys"


async def the_orgs(desk: "Desk", org: str | None) -> list[str]:
    """All orgs that the database knows, or only ``org``; ends the command when it does not know that."""
    names = sorted(await desk.audit.heads())
    if org is not None and org not in names:
        hint = f"the orgs of this state are: {', '.join(names)}; `serve` adds those that are configured"
        fail(f"there is no org {org!r}", hint, Code.USAGE)
    return names if org is None else [org]


def operator() -> str:
    """Who works at this terminal, for the audit trail."""
    import getpass
    import re

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid{os.getuid()}"
    return "operator:" + (re.sub(r"[^A-Za-z0-9_.-]", "", name)[:32] or f"uid{os.getuid()}")
