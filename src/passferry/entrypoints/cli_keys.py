"""``passferry keys rotate``: a new sealing key, and the end of the old one."""

from typing import TYPE_CHECKING, Any

import typer

from passferry.entrypoints.cli_io import Code, fail, print_json
from passferry.entrypoints.cli_state import Config, Json, open_desk, operator, run, settings_from

if TYPE_CHECKING:
    from passferry.config import Settings
    from passferry.rotate import Rotated
    from passferry.state import Desk

app = typer.Typer(no_args_is_help=True, help="The sealing keys: create, rotate.")

UNFINISHED = "the rotation is not finished, and the old key is kept"


@app.callback()
def _root() -> None:
    """The sealing keys: create, rotate."""


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
def rotate(config: Config = None, as_json: Json = False) -> None:
    """Make a new sealing key, seal everything stored with it, then destroy the old key.

    Works beside a running `serve`. Cut short, it goes on where it stopped when it is run again. Back the key
    ring up afterwards: copies of the old ring open nothing that is stored from now on.
    """
    settings = settings_from(config)
    with open_desk(settings, write=False) as desk:
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


def _as_json(done: "Rotated") -> dict[str, Any]:
    return {
        "key": done.key,
        "resumed": done.resumed,
        "resealed": done.resealed,
        "destroyed": list(done.destroyed),
    }


def _rotated(desk: "Desk", settings: "Settings") -> "Rotated":
    from passferry.adapters.keyring import KeyRingError
    from passferry.ports import StoreFull
    from passferry.rotate import rotate as use_case
    from passferry.state import ROTATION_LOCK, StateError, only_one

    done: Rotated | None = None
    what = hint = ""
    code = Code.FAILED
    try:
        with only_one(settings.state_dir, ROTATION_LOCK, "rotates the keys of"):
            done = run(use_case(desk.keys, desk.keep, desk.sealer, desk.clock, operator()))
    except StateError as error:
        what, hint = error.what, error.hint
    except KeyRingError as error:
        what, hint, code = f"{error.what}; {UNFINISHED}", error.hint, Code.USAGE
    except StoreFull as error:
        what, hint, code = f"{error}; {UNFINISHED}", "run it again: it goes on", Code.UNREACHABLE
    return done if done is not None else fail(what, hint, code)
