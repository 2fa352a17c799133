"""``passferry orgs`` and ``passferry access``: whom passwords are brought to, and who may send them."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passferry.entrypoints.cli_io import (
    BY_ID_ALONE,
    Code,
    NoMoreArguments,
    fail,
    print_json,
    print_table,
    reference,
    timestamp,
)
from passferry.entrypoints.cli_state import (
    Config,
    Json,
    open_desk,
    operator,
    run,
    settings_from,
    the_org,
    the_orgs,
    uuid_ids,
)

if TYPE_CHECKING:
    from passferry.config import Settings
    from passferry.state import Desk
    from passferry.store_ports import Caller, Forgotten

orgs = typer.Typer(no_args_is_help=True, help="The orgs: list, pause, resume, forget a user.")
access = typer.Typer(no_args_is_help=True, help="Access keys: add, list, revoke; let a source send again.")

ROLES = ("source", "operator", "metrics")


# --- orgs ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrgLine:
    """What ``orgs list`` says of one org."""

    org: str
    target: str
    paused: str | None
    blocked_until: float | None
    live: int
    dry_run: bool = False
    served: bool = True

    @property
    def state(self) -> str:
        """running, paused (by whom or why), or waiting until the target's limit is over; or in a dry run.

        Or that no gateway has served it yet.
        """
        if not self.served:
            return "not served yet"
        state = f"waiting until {timestamp(self.blocked_until)}" if self.blocked_until else "running"
        state = f"paused ({self.paused})" if self.paused else state
        return f"{state}, dry run" if self.dry_run else state

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "org": self.org,
            "target": self.target,
            "paused": self.paused,
            "blockedUntil": timestamp(self.blocked_until),
            "live": self.live,
            "dryRun": self.dry_run,
        }


@orgs.command("list")
def list_orgs(config: Config = None, as_json: Json = False) -> None:
    """The configured orgs, whether they run, and how many changes are under way."""
    settings = settings_from(config)
    with open_desk(settings) as desk:
        lines = run(_lines(desk))
    if as_json:
        print_json({"orgs": [line.as_json() for line in lines]})
        return
    rows = [(line.org, line.target, line.state, str(line.live)) for line in lines]
    print_table(("ORG", "TARGET", "STATE", "LIVE"), rows, "no org is configured")


def _target(org: Any) -> str:
    """Kind, write mode and address of an org's target."""
    address = getattr(org, "api_url", None) or getattr(org, "base_url", "")
    return f"{org.target} {org.write} {address}"


async def _lines(desk: "Desk") -> list[OrgLine]:
    now, figures = desk.clock.now(), await desk.figures.orgs()
    lines = []
    for name, org in desk.settings.orgs.items():
        found = figures.get(name)
        if found is None:  # configured since `serve` was started
            lines.append(OrgLine(name, _target(org), None, None, 0, org.dry_run, served=False))
            continue
        blocked = found.blocked_until if found.blocked_until > now else None
        live = found.waiting + found.parked
        lines.append(OrgLine(name, _target(org), found.paused, blocked, live, org.dry_run))
    return lines


OrgName = Annotated[str, typer.Argument(metavar="ORG", help="The org's name; a single org is `default`.")]


@orgs.command()
def pause(org: OrgName, config: Config = None, as_json: Json = False) -> None:
    """Stop delivery to an org; changes are still accepted and kept."""
    from passferry.org_health import OPERATOR

    _set_paused(org, OPERATOR, config, as_json)


@orgs.command()
def resume(org: OrgName, config: Config = None, as_json: Json = False) -> None:
    """Take up delivery to an org again, whoever or whatever had paused it."""
    _set_paused(org, None, config, as_json)


def _set_paused(org: str, paused: str | None, config: Any, as_json: bool) -> None:
    settings = settings_from(config)
    name = the_org(settings, org)
    with open_desk(settings) as desk:
        run(the_orgs(desk, name))
        run(_pause(desk, name, paused))
    if as_json:
        print_json({"org": name, "paused": paused})
    else:
        print(f"org {name} is {'paused' if paused else 'running'}")


async def _pause(desk: "Desk", org: str, paused: str | None) -> None:
    # Resuming also forgets a wait that the target asked for, as it does over HTTP.
    blocked_until = None if paused else 0.0
    await desk.delivery.set_org(org, paused, blocked_until, operator(), desk.clock.now())


@orgs.command("forget-user", cls=NoMoreArguments)
def forget_user(
    user: Annotated[
        str, typer.Argument(metavar="USER", help="The target's id of the user, or an email (its userName).")
    ],
    org: Annotated[str | None, typer.Option(metavar="ORG", help="Else `default`, or the only org.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Delete what is kept of a user: ended changes, verifier, references. The audit trail stays."""
    from passferry.store_ports import NotNow

    settings = settings_from(config)
    name = the_org(settings, org)
    state, found = "", None
    with open_desk(settings) as desk:
        run(the_orgs(desk, name))
        try:
            found = run(_forget(desk, name, user))
        except NotNow as error:
            state = str(error)
    if state:
        fail(
            f"a change of this user is {state}: nothing was deleted",
            "wait until it ended, or `passferry changes cancel` it; then once more",
        )
    if found is None:
        if "@" in user:
            fail("nothing is kept under this name", BY_ID_ALONE)
        fail("nothing is kept of such a user", "`passferry changes list --user USER` shows what is")
    if as_json:
        print_json({"org": name, "user": user, "changes": found.changes, "verifier": found.verifier})
    else:
        print(f"{user}: {found.changes} changes{' and a verifier' if found.verifier else ''} deleted")


async def _forget(desk: "Desk", org: str, user: str) -> "Forgotten | None":
    from passferry.domain.outcome import Limits

    configured = desk.settings.orgs.get(org)
    limits = Limits(request=configured.request_timeout) if configured is not None else Limits()
    whom = reference(user, uuid_ids=uuid_ids(desk.settings, org))
    return await desk.keep.forget_user(org, whom, operator(), desk.clock.now(), limits.doubt)


# --- access ----------------------------------------------------------------------------------


@access.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will use it: a system or a person.")],
    role: Annotated[
        str, typer.Option(help="source: send, see its own changes; operator: console, queue; metrics.")
    ] = "source",
    org: Annotated[
        list[str] | None, typer.Option(help="An org it may use; several times for several; else all.")
    ] = None,
    user_template: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="For sources with short names: {uid}@example.com."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make an access key. It is shown this once."""
    from passferry.state import DATABASE_FILE
    from passferry.store_ports import NameTaken, StoreFull, StoreLost

    _check_add(name, role, user_template)
    settings = settings_from(config)
    named = [the_org(settings, each) for each in org or []]
    new = settings.database_url is None and not (settings.state_dir / DATABASE_FILE).exists()
    with open_desk(settings, create=True) as desk:
        key, callers = None, list["Caller"]()
        with suppress(NameTaken):
            key = run(_mint(desk, name, role, tuple(named), user_template))
        with suppress(StoreFull, StoreLost):  # the key is made: it is shown, whatever cannot be said of it
            callers = run(_callers(desk)) if key is not None else []
    if key is None:
        fail(
            f"there is a key named {name!r} already",
            f"`passferry access revoke {name}` first, or another name",
        )
    if as_json:
        print_json({"name": name, "role": role, "apiKey": key})
    else:
        print(key)
        typer.echo("This key is not shown again; what is kept is only its SHA-256.", err=True)
    if new:
        what = f"A new state was made in {settings.state_dir}: a gateway with another does not know this key."
        typer.echo(what, err=True)
    _say_who_provisions(settings, name, callers)


def _say_who_provisions(settings: "Settings", name: str, callers: "list[Caller]") -> None:
    """On standard error, of each org where the new key ``name`` may do more than its holder might expect."""
    from passferry.access import provisioners
    from passferry.config.keys import source_table

    for org in sorted(settings.proxies):
        names = [each.name for each in provisioners(org, callers, settings.sources)]
        if name in names:
            what = f'org {org} has scim = "proxy": this key may create, change and delete its users'
            others = ", ".join(each for each in names if each != name)
            typer.echo(f"{what}; so may: {others}" if others else what, err=True)
            table = source_table(name)
            hint = f'if it shall not: scim = "passwords" or "none" in {table}, and start serve anew'
            typer.echo(f"hint: {hint}", err=True)


def _check_add(name: str, role: str, template: str | None) -> None:
    import re

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        fail("that is no name for a key", "letters, digits, `_`, `.`, `-`; at most 64", Code.USAGE)
    if role not in ROLES:
        fail(f"there is no role {role!r}", "the roles are: " + ", ".join(ROLES), Code.USAGE)
    if template is not None and (template.count("{uid}") != 1 or "@" not in template):
        fail("the template is not one", "it holds {uid} once and an @, as in {uid}@example.com", Code.USAGE)


async def _mint(desk: "Desk", name: str, role: str, orgs: tuple[str, ...], template: str | None) -> str:
    """The new key's text. Raises ``NameTaken``."""
    from passferry.access import mint
    from passferry.store_ports import Caller

    key, now = mint(), desk.clock.now()
    await desk.access.add_key(Caller(key.id, name, role, orgs, template, now), key.secret_sha256, now)
    return key.text


async def _callers(desk: "Desk") -> "list[Caller]":
    return [caller for caller, _ in await desk.access.keys()]


@access.command("list")
def list_keys(config: Config = None, as_json: Json = False) -> None:
    """All keys, revoked ones too, as the configuration leaves them; never the keys themselves."""
    from passferry.access import NOWHERE, as_configured

    settings = settings_from(config)
    with open_desk(settings) as desk:
        callers = [caller for caller, _ in run(desk.access.keys())]
    callers = [as_configured(each, settings.sources) for each in callers]
    if as_json:
        print_json({"keys": [_caller_json(caller) for caller in callers]})
        return
    rows = [
        (
            caller.name,
            caller.role,
            "none" if caller.orgs == NOWHERE else ", ".join(caller.orgs) or "all",
            caller.user_template or "",
            timestamp(caller.created_at) or "",
            _state(caller),
        )
        for caller in callers
    ]
    print_table(("NAME", "ROLE", "ORGS", "USER", "MADE", "STATE"), rows, "there is no key")


def _state(caller: "Caller") -> str:
    if caller.revoked_at is not None:
        return "revoked"
    return "ok" if caller.stopped_at is None else f"stopped since {timestamp(caller.stopped_at)}"


def _caller_json(caller: "Caller") -> dict[str, Any]:
    return {
        "id": caller.id,
        "name": caller.name,
        "role": caller.role,
        "orgs": list(caller.orgs),
        "userTemplate": caller.user_template,
        "createdAt": timestamp(caller.created_at),
        "revokedAt": timestamp(caller.revoked_at),
        "stoppedAt": timestamp(caller.stopped_at),
    }


@access.command("resume")
def resume_source(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As given to `access add`.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let a source send again that was stopped because it sent more changes in an hour than it may."""
    with open_desk(settings_from(config)) as desk:
        done = run(desk.access.resume(name, operator(), desk.clock.now()))
    if not done:
        fail(f"no source named {name!r} is stopped", "`passferry access list` shows which are")
    if as_json:
        print_json({"name": name, "resumed": True})
    else:
        print(f"source {name} may send again; its hour begins anew")


@access.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As given to `access add`.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Revoke the keys of a name; within a second they are refused."""
    with open_desk(settings_from(config)) as desk:
        done = run(desk.access.revoke(name, operator(), desk.clock.now()))
    if not done:
        fail(f"there is no key named {name!r}", "`passferry access list` shows the names")
    if as_json:
        print_json({"name": name, "revoked": True})
    else:
        print(f"the keys of {name} are revoked")
