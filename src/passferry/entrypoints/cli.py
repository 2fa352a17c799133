"""The command line. Everything heavy is imported inside the command that needs it, so that help is quick."""

import io
import os
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from passferry.entrypoints import cli_audit, cli_changes, cli_keys, cli_orgs
from passferry.entrypoints.cli_doctor import doctor
from passferry.entrypoints.cli_import import import_file
from passferry.entrypoints.cli_io import (
    BY_ID_ALONE,
    Code,
    NoMoreArguments,
    fail,
    print_json,
    read_password,
    reference,
)
from passferry.entrypoints.cli_push import push
from passferry.entrypoints.cli_state import (
    Config,
    Json,
    code_of,
    open_desk,
    run,
    settings_from,
    the_org,
    uuid_ids,
)

if TYPE_CHECKING:
    from passferry.config import Settings
    from passferry.domain.password import Password
    from passferry.domain.policy import Rules, Violation
    from passferry.state import Desk

app = typer.Typer(
    name="passferry",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show locals, and a local may be a password
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Brings users' new passwords to Genesys Cloud: accepted, sealed, delivered, proven.",
    epilog="Exit codes: 0 done, 1 refused or failed, 2 usage or configuration, 3 not reachable (try again), "
    "4 accepted and not delivered yet.",
)


def main() -> NoReturn:
    """Run the command line; the process ends with one of its exit codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a name that the terminal cannot show is no failure
    app(prog_name="passferry")
    raise SystemExit(0)


def _version(asked: bool) -> None:
    if asked:
        from passferry import __version__

        print(f"passferry {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Read it from here; no one else may read the file."),
]

Host = Annotated[str | None, typer.Option(metavar="HOST", help="The host of --listen alone.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, metavar="PORT", help="The port of --listen alone.")
]

TlsCert = Annotated[
    str | None, typer.Option(metavar="FILE", help="Serve TLS: our certificate with its chain, PEM.")
]
TlsKey = Annotated[str | None, typer.Option(metavar="FILE", help="Its key, PEM.")]
TlsClientCa = Annotated[
    str | None, typer.Option(metavar="FILE", help="Demand client certificates that these CAs signed.")
]
BehindProxy = Annotated[
    list[str] | None,
    typer.Option(metavar="CIDR", help="Take plain HTTP from this proxy that speaks TLS; may be repeated."),
]


# --- running ---------------------------------------------------------------------------------


@app.command(short_help="Run the gateway and delivery in one process.")
def serve(
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen [default: 127.0.0.1:8080].")
    ] = None,
    host: Host = None,
    port: Port = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    behind_proxy: BehindProxy = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Park everything pending first: after restoring a back-up.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run the gateway and delivery in one process, until SIGTERM or SIGINT."""
    said = {
        "listen": listen,
        "host": host,
        "port": port,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "behind_proxy": behind_proxy or None,
    }
    serves = {name: value for name, value in said.items() if value is not None}
    settings = settings_from(config, orgs_required=True, serves=serves)
    from passferry.entrypoints import serve as process

    def ready(url: str) -> None:
        _say({"url": url} if as_json else f"passferry listens on {url}")

    _until_signal(process.serve(settings, hold=hold, ready=ready))


@app.command(short_help="Deliver only, beside others on one PostgreSQL.")
def worker(
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Answer /metrics, /healthz and /readyz here [default: nowhere]."
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Deliver until SIGTERM or SIGINT, and take no changes: any number of them, on any number of machines.

    They and every `serve` share the orgs of one PostgreSQL database among themselves.
    """
    serves = {} if listen is None else {"listen": listen}
    settings = settings_from(config, orgs_required=True, serves=serves)
    from passferry.entrypoints import serve as process

    _until_signal(process.work(settings, watched=listen is not None))


def _until_signal(process: Coroutine[Any, Any, None]) -> None:
    from passferry.state import StateError

    problem = None
    try:
        run(process)
    except StateError as error:
        problem = error
    if problem is not None:
        fail(problem.what, problem.hint, code_of(problem))


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPV6]:PORT``; ends the command when it is neither."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        fail(f"{text!r} is no HOST:PORT", "--listen 127.0.0.1:8080", Code.USAGE)
    return host, int(port)


def _address(listen: tuple[str, int], host: str | None, port: int | None) -> tuple[str, int]:
    """``listen`` with the parts that were named one by one."""
    return (listen[0] if host is None else host, listen[1] if port is None else port)


def _only_loopback(host: str) -> None:
    from passferry.client import is_loopback

    if not is_loopback(host):
        fail(
            f"the stand-in is for this machine only, and {host} is not a loopback address",
            "listen on 127.0.0.1",
            Code.USAGE,
        )


def _say(what: Any) -> None:
    if isinstance(what, str):
        print(what, flush=True)
    else:
        print_json(what)
        sys.stdout.flush()


@app.command(short_help="Show it all, with a stand-in for Genesys Cloud.")
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave both running until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show it all in ten seconds: a stand-in for Genesys Cloud, a gateway, real changes through both.

    Needs no configuration and no network, and leaves nothing behind. Exit code 0 only when every change ended
    as it should and the stand-in confirms it.
    """
    from passferry.entrypoints.demo import run

    raise typer.Exit(run(keep=keep, as_json=as_json))


@app.command(short_help="Run the Genesys Cloud stand-in alone.")
def simulate(
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8090",
    host: Host = None,
    port: Port = None,
    client_id: Annotated[str, typer.Option(metavar="ID", help="OAuth client id.")] = "simulator",
    client_secret: Annotated[
        str, typer.Option(metavar="SECRET", help="Its secret; not a real one.")
    ] = "simulator-secret",  # noqa: S107  # a public example, in the documentation
    clients: Annotated[
        str, typer.Option(metavar="CLIENTS", help="More: a number, or NAME:SECRET,NAME:SECRET.")
    ] = "",
    users: Annotated[int, typer.Option(min=1, max=100_000, help="How many users.")] = 300,
    seed: Annotated[int, typer.Option(help="Of users and faults; the same seed, the same run.")] = 1,
    rate: Annotated[int, typer.Option(min=1, help="Requests a window and token.")] = 300,
    window: Annotated[float, typer.Option(min=0.01, metavar="SECONDS", help="Length of the window.")] = 60.0,
    latency: Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="Added to every answer.")] = 0.0,
    calm: Annotated[bool, typer.Option("--calm", help="No faults.")] = False,
    as_json: Json = False,
) -> None:
    """Run the Genesys Cloud stand-in alone, until Ctrl-C.

    Not for production: it shows the passwords it gets, and forgets everything.
    """
    from passferry.simulator import parse_clients, run_simulate, settings_text

    address = _address(parse_listen(listen), host, port)
    _only_loopback(address[0])

    def ready(url: str) -> None:
        settings = settings_text(url, client_id, client_secret)
        if as_json:
            pairs = (line.partition("=") for line in settings.splitlines())
            _say({"url": url, "settings": {name: value for name, _, value in pairs}})
        else:
            _say(settings)
            typer.echo(f"What arrives is shown at {url}/simulator/", err=True)

    problem = ""
    try:
        run_simulate(
            host=address[0],
            port=address[1],
            client_id=client_id,
            client_secret=client_secret,
            seed=seed,
            users=users,
            clients=parse_clients(clients),
            rate=rate,
            window=window,
            latency=latency,
            calm=calm,
            ready=ready,
        )
    except OSError as error:
        where = f"[{address[0]}]" if ":" in address[0] else address[0]
        why = os.strerror(error.errno) if error.errno else error
        problem = f"cannot listen on {where}:{address[1]}: {why}"
    except ValueError as error:
        problem = str(error)
    if problem:
        fail(problem, "`passferry simulate --help` shows the options", Code.USAGE)


# --- passwords -------------------------------------------------------------------------------


app.command(cls=NoMoreArguments, short_help="Send one new password to a running gateway.")(push)
app.command("import", cls=NoMoreArguments, short_help="Send the new passwords of a CSV file.")(import_file)


@app.command(cls=NoMoreArguments, short_help="Say whether a password meets the policy.")
def check(
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="The password must not contain this name.")
    ] = None,
    org: Annotated[str | None, typer.Option(metavar="ORG", help="Whose policy; else the default.")] = None,
    password_file: PasswordFile = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say whether a password meets the policy, with all reasons when not. Exit code 0 or 1."""
    from passferry.domain.policy import check as verdict

    rules = _rules(settings_from(config), org)
    violations = verdict(read_password(password_file), user, rules)
    if as_json:
        print_json(_verdict_json(violations))
    elif violations:
        lines = "".join(f"\n  - {each.message} ({each.code})" for each in violations)
        print(f"passferry: the password breaks the policy:{lines}", file=sys.stderr)
    else:
        print("the password meets the policy")
    raise typer.Exit(Code.FAILED if violations else Code.DONE)


def _verdict_json(violations: "Sequence[Violation]") -> dict[str, Any]:
    """The verdict as ``POST /policy/check`` answers it."""
    errors = [{"code": each.code, "message": each.message} for each in violations]
    if not errors:
        return {"success": True, "message": "the password meets the policy", "errors": []}
    return {
        "success": False,
        "message": "The password breaks the policy.",
        "code": "policy",
        "errors": errors,
    }


def _rules(settings: "Settings", org: str | None) -> "Rules":
    """The rules of ``org``, else of the default or only org, else Genesys Cloud's own defaults."""
    from passferry.domain.policy import Rules

    if org is not None or "default" in settings.orgs or len(settings.orgs) == 1:
        found = settings.orgs.get(the_org(settings, org))
        if found is not None:
            return found.policy
    return Rules()


@app.command(cls=NoMoreArguments, short_help="Say whether a password is the one last delivered.")
def verify(
    user: Annotated[
        str, typer.Argument(metavar="USER", help="The target's id of the user, or an email (its userName).")
    ],
    org: Annotated[str | None, typer.Option(metavar="ORG", help="Else `default`, or the only org.")] = None,
    password_file: PasswordFile = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say whether a password is the one last delivered: exit code 0 yes, 1 no, 4 nothing to compare with."""
    settings = settings_from(config)
    name = the_org(settings, org)
    password = read_password(password_file)
    with open_desk(settings) as desk:
        same = run(_compare(desk, name, user, password))
    if as_json:
        print_json({"user": user, "org": name, "matches": same})
    elif same is None:
        by_name = "@" in user
        to = f"under the name {user}" if by_name else f"to {user}"
        print(f"passferry: nothing is known to have been delivered {to}", file=sys.stderr)
        known = "only deliveries of this gateway are known, with the verifier switched on and made by now"
        print(f"hint: {known}{f'; {BY_ID_ALONE}' if by_name else ''}", file=sys.stderr)
    else:
        print("it is the password last delivered" if same else "it is not the password last delivered")
    raise typer.Exit(Code.PENDING if same is None else Code.DONE if same else Code.FAILED)


async def _compare(desk: "Desk", org: str, user: str, password: "Password") -> bool | None:
    """Whether ``password`` was last delivered to ``user``; None when no verifier of a delivery is kept."""
    from passferry.ports import Binding, SealBroken, UnknownKey

    delivered = await desk.lookup.delivered(org, reference(user, uuid_ids=uuid_ids(desk.settings, org)))
    if delivered is None or delivered.verifier is None:
        return None
    binding = Binding("verifier", org, delivered.resolved_id, delivered.change_id)
    problem = "the verifier's key is not in the key ring"
    try:
        verifier = desk.sealer.open(delivered.verifier, binding)
    except UnknownKey:
        verifier = None
    except SealBroken:
        verifier, problem = None, "the stored verifier was altered"
    if verifier is None:
        fail(problem, "PASSFERRY_KEY_FILE names the ring; restore it from its back-up", Code.USAGE)
    return await desk.hasher.verify(verifier, password)


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="On a source's machine: hand its passwords over.",
)
def hook(context: typer.Context) -> None:
    """Run a hook. ``__main__`` does before it loads this module; here it stands for the help."""
    from passferry.hooks.command import main as run_hook

    raise typer.Exit(run_hook(context.args))


# --- looking and operating -------------------------------------------------------------------

app.add_typer(cli_changes.app, name="changes")
app.add_typer(cli_orgs.orgs, name="orgs")
app.add_typer(cli_orgs.access, name="access")
app.add_typer(cli_audit.app, name="audit")
app.add_typer(cli_keys.app, name="keys")
app.command(short_help="Check configuration, this machine and every org; change nothing.")(doctor)
