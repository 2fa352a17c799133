"""What is on this machine: state directory, key ring, database. Nothing is made that is not there."""

import os
import shutil
from functools import partial
from pathlib import Path

from passferry.adapters.database_look import CannotLook, NeedsRecovery, look
from passferry.adapters.keyring import KeyRing
from passferry.adapters.sealing import RingSealer
from passferry.config import Settings
from passferry.doctor.contents import contents
from passferry.doctor.postgres import look_at_postgres
from passferry.doctor.ring import key_file
from passferry.domain.diagnosis import Finding, fail, ok, warn
from passferry.state import DATABASE_FILE, StateError, check_state_dir

FREE_WARN = 256 * 1024 * 1024
"""Bytes that should be free: on a full disk nothing is accepted."""


def look_at_state(settings: Settings) -> list[Finding]:
    """See the module."""
    if settings.database_url is not None:
        return look_at_postgres(settings.database_url, settings)
    path = settings.state_dir / DATABASE_FILE
    findings = [_directory(settings.state_dir)]
    try:
        holds = path.exists() and path.stat().st_size > 0
    except OSError as error:
        why = f"cannot look at {path}: {error.strerror}"
        return [*findings, fail("database", why, "run it as the user who runs `serve`")]
    missing = partial(_no_ring, settings.key_file, holds)
    ring, found = key_file(settings.key_file, [path.parent], missing)
    findings.append(found)
    if not holds:
        findings.append(ok("database", f"none yet: `serve` makes {path}"))
    elif findings[0].cause is None:
        findings += _database(path, ring, settings)
    return findings


def _no_ring(path: Path, needed: bool, what: str) -> Finding:
    if not needed:
        return ok("key file", f"none yet: `serve` makes {path}")
    return fail("key file", what, "restore the key ring from its back-up: nothing stored opens without it")


def _directory(path: Path) -> Finding:
    missing = False
    try:
        missing = not path.exists()
        if not missing:
            check_state_dir(path, create=False)
        folder = next(place for place in (path, *path.parents) if place.exists())
        free = shutil.disk_usage(folder).free
    except StateError as error:
        return fail("state", error.what, error.hint)
    except OSError as error:
        why = f"cannot look at {path}: {error.strerror}"
        return fail("state", why, "run it as the user who runs `serve`")
    if not os.access(folder, os.W_OK | os.X_OK):
        return fail(
            "state", f"{folder} may not be written to", "set PASSFERRY_STATE_DIR, or run as its owner"
        )
    if free < FREE_WARN:
        return warn(
            "state",
            f"{free // 2**20} MiB are free for {path}",
            "make room: on a full disk nothing is accepted",
        )
    there = f"none yet: `serve` makes {path}" if missing else f"{path} is ours alone to write"
    return ok("state", f"{there}; {free / 2**30:.1f} GiB free")


def _database(path: Path, ring: KeyRing | None, settings: Settings) -> list[Finding]:
    try:
        found = look(path)
    except NeedsRecovery:
        why = f"{path} is a copy of a database in use: looking into it would change it, so nobody looked"
        return [warn("database", why, "start `serve`: it checks the database and takes up what was written")]
    except CannotLook as error:
        hint = "run it as the user who runs `serve`; if that is so, restore the database from its back-up"
        return [fail("database", f"cannot read {path}: {error}", hint)]
    return contents(found, RingSealer(ring) if ring is not None else None, str(path), settings)
