"""``passferry keys rotate``: a new sealing key, and the end of the old one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passferry.entrypoints.cli_io import Code, fail, print_json
from passferry.entrypoints.cli_state import Config, Json, open_desk, operator, run, settings_from

if TYPE_CHECKING:
    from passferry.config import Settings
    from passferry.rotate import Rotated
    from passferry.state import Desk

app = typer.Typer(no_args_is_help=True, help="The sealing keys: create, rotate, public.")

UNFINISHED = "the rotation is not finished, and the old key is kept"


@app.callback()
def _root() -> None:
    """The sealing keys: create, rotate, public."""


@app.command()
def create(config: Config = None, as_json: Json = False) -> None:
    """Make the key ring of a new set-up on PostgreSQL, once; every machine gets a copy of it.

    On SQLite the first start makes it. A ring that exists is never replaced.
    """
    settings = settings_from(config)
    import time

    from passferry.adapters import keyring

    path, problem = settings.key_file, None
    ring = keyring.generate(time.time())
    try:
        keyring.check_place(path, [settings.state_dir])
        keyring.create(path, ring)
    except keyring.KeyRingError as error:
        problem = error
    if problem is not None:
        fail(problem.what, problem.hint, Code.USAGE)
    if as_json:
        print_json({"key": ring.active, "file": str(path)})
    else:
        print(f"a key ring was made at {path}")
        typer.echo("Back it up apart from the database: nothing stored opens without it.", err=True)


@app.command()
def rotate(
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Only put the next key into the ring, to be copied to every machine."),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a new sealing key, seal everything stored with it, then destroy the old key.

    Works beside a running `serve`. Cut short, it goes on where it stopped when it is run again. Back the key
    ring up afterwards: copies of the old ring open nothing that is stored from now on.

    Where several machines have copies of the ring: `--prepare` on one, copy its ring to the others, then
    rotate on each of them, one after the other.
    """
    settings = settings_from(config)
    if prepare:
        _prepare(settings, as_json)
        return
    with open_desk(settings) as desk:
        done = _rotated(desk, settings)
    if done.unreadable:
        listed = "\n".join(f"- {each}" for each in done.unreadable[:20])
        fail(
            f"{UNFINISHED}: {len(done.unreadable)} stored values do not open:\n{listed}",
            "cancel such a change; `passferry orgs forget-user` deletes a verifier; then rotate again",
        )
    if as_json:
        print_json(_as_json(done))
    else:
        what = "an unfinished rotation was finished" if done.resumed else "the sealing key was rotated"
        print(f"{what}: {done.resealed} values sealed anew under {done.key}, the old key is destroyed")
        typer.echo("Back the key ring up now: older copies of it do not open what is stored.", err=True)


def _prepare(settings: "Settings", as_json: bool) -> None:
    with open_desk(settings) as desk, _ring_of(settings):
        keys = desk.keys.keys()
        if keys.old:
            fail("a rotation was cut short", "finish it first: `passferry keys rotate`")
        prepared = keys.prepared or desk.keys.prepare()
    if as_json:
        print_json({"key": keys.active, "prepared": prepared, "file": str(settings.key_file)})
    else:
        print(f"the sealing key {prepared} is prepared in {settings.key_file}")
        typer.echo("Copy the ring to every machine, then run `passferry keys rotate` on each.", err=True)


@app.command()
def public(config: Config = None, as_json: Json = False) -> None:
    """Print the public key to which sources seal what they cannot hand over at once.

    Sources fetch it themselves. One that has never reached the gateway gets it by hand: the output, as a file
    `gateway-key` in its spool directory.
    """
    from passferry.entrypoints.change_view import hand_over_key
    from passferry.state import StateError, open_hand_over

    settings, key, problem = settings_from(config), None, None
    try:
        key = open_hand_over(settings).key()
    except StateError as error:
        problem = error
    if problem is not None:
        fail(problem.what, problem.hint, Code.USAGE)
    if key is None:
        fail("the key ring holds no pair yet", "`passferry keys rotate` makes one")
    print_json(hand_over_key(key))


def _as_json(done: "Rotated") -> dict[str, Any]:
    return {
        "key": done.key,
        "resumed": done.resumed,
        "resealed": done.resealed,
        "destroyed": list(done.destroyed),
    }


def _rotated(desk: "Desk", settings: "Settings") -> "Rotated":
    from passferry.rotate import rotate as use_case

    with _ring_of(settings):
        return run(use_case(desk.keys, desk.keep, desk.sealer, desk.clock, operator()))


@contextmanager
def _ring_of(settings: "Settings") -> Iterator[None]:
    """Hold the ring; tell and exit when that cannot be, or when it or the store cannot be written."""
    from passferry.adapters.keyring import KeyRingError
    from passferry.state import StateError, only_one_rotates
    from passferry.store_ports import StaleSeal, StoreFull

    code = Code.FAILED
    try:
        with only_one_rotates(settings.key_file):
            yield
        return
    except StateError as error:
        what, hint = error.what, error.hint
    except StaleSeal as error:
        what = f"another machine rotates at this moment, to the key {error}; {UNFINISHED}"
        hint = f"copy the key {error} from its ring to before the last key of this one, and rotate here again"
    except KeyRingError as error:
        what, hint, code = f"{error.what}; {UNFINISHED}", error.hint, Code.USAGE
    except StoreFull as error:
        what, hint, code = f"{error}; {UNFINISHED}", "run it again: it goes on", Code.UNREACHABLE
    fail(what, hint, code)
