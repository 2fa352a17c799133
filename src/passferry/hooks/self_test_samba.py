"""The self-test of Samba AD: what ``smb.conf`` and ``syncpasswords`` say of the hook. Judging is pure."""

import os
import pwd
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from passferry.hooks import self_test
from passferry.hooks.samba_account import ENCRYPTED, NEEDED
from passferry.hooks.samba_seen import SeenUnusable, unread_in
from passferry.hooks.self_test import Check, fail, ok, warn
from passferry.hooks.settings import HookSettings

CACHE = "user-syncpasswords-cache.ldb"
MOST_LISTED = 20
_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Dc:
    """What the programs of a domain controller say of it; "" where they say nothing."""

    role: str
    gpg_keys: str  # `password hash gpg key ids`
    stores_plaintext: bool
    encrypts: bool  # each of those keys has a part that can encrypt
    cache: bytes  # syncpasswords' own database, which holds how it was initialized


def judge(dc: Dc, user_attribute: str) -> list[Check]:
    """What is right and wrong with a domain controller."""
    if "domain controller" not in dc.role:
        return [fail("this machine is no Samba AD domain controller", "run it on one, and on one alone")]
    return [_clear_text(dc), *_syncpasswords(dc, user_attribute)]


def _clear_text(dc: Dc) -> Check:
    if dc.gpg_keys and not dc.encrypts:
        return fail(
            f"password hash gpg key ids = {dc.gpg_keys}: GnuPG finds no key there that can encrypt",
            "password changes fail so: set GNUPGHOME for samba and here; the key needs an encryption subkey",
        )
    if dc.gpg_keys:
        return ok("smb.conf keeps clear text, encrypted: password hash gpg key ids")
    if dc.stores_plaintext:
        return ok("the domain stores plaintext passwords for accounts with reversible encryption")
    return fail(
        "no password is kept in clear, so none can be handed over",
        "smb.conf on every DC: password hash gpg key ids = KEYID; it works from the next change on",
    )


def _syncpasswords(dc: Dc, user_attribute: str) -> list[Check]:
    initialize = "samba-tool user syncpasswords --cache-ldb-initialize … (docs/sources/samba-ad.md)"
    if not dc.cache:
        return [fail("syncpasswords was never initialized here", initialize)]
    initialize = f"stop it, delete {CACHE} in Samba's private folder, then {initialize}"
    found = []
    lower = dc.cache.lower()
    missing = [name for name in (*NEEDED, user_attribute) if name.lower().encode() not in lower]
    if missing:
        found.append(fail(f"syncpasswords was initialized without {', '.join(missing)}", initialize))
    if b"synccommand" not in lower:
        found.append(fail("syncpasswords was initialized without --script", initialize))
    if dc.gpg_keys and b"decryptsambagpg" not in lower:
        found.append(fail("syncpasswords was initialized without --decrypt-samba-gpg", initialize))
    if dc.gpg_keys and ENCRYPTED.lower().encode() not in lower:
        found.append(warn(f"without {ENCRYPTED} a wrong GNUPGHOME loses passwords", initialize))
    return found or [ok("syncpasswords was initialized with every attribute that is needed")]


def of_unread(unread: Sequence[tuple[str, str]]) -> list[Check]:
    """What is said of accounts whose newest password was passed over, each with the reason."""
    if not unread:
        return []
    listed = "; ".join(f"{account!a}: {why}" for account, why in unread[:MOST_LISTED])
    more = f"; and {len(unread) - MOST_LISTED} more" if len(unread) > MOST_LISTED else ""
    return [
        warn(
            f"passwords of {len(unread)} accounts were passed over: {listed}{more}",
            "a few: let these users choose another password. Many: see GNUPGHOME and the machine's log",
        )
    ]


# --- this machine ----------------------------------------------------------------------------


def run(values: Mapping[str, str], user_attribute: str) -> int:
    """Print every check; 0 when none failed."""

    def own(settings: HookSettings) -> Iterable[Check]:
        if os.geteuid() != 0:
            yield warn("this is not root, who runs syncpasswords", "run it as root")
        yield from judge(_dc(), user_attribute)
        yield from _passed_over(settings.spool)

    return self_test.run(values, os.environ, own, pwd.getpwuid(0))


def _passed_over(spool: Path) -> list[Check]:
    try:
        return of_unread(unread_in(spool))
    except SeenUnusable as error:
        return [fail(str(error), "docs/sources/samba-ad.md, Initialize it anew")]


def _dc() -> Dc:
    keys = _parameter("password hash gpg key ids")
    plaintext = _said("samba-tool", "domain", "passwordsettings", "show")
    cache = b""
    with suppress(OSError):
        cache = Path(_parameter("private dir"), CACHE).read_bytes()
    return Dc(
        role=_parameter("server role"),
        gpg_keys=keys,
        stores_plaintext="Store plaintext passwords: on" in plaintext,
        encrypts=all(_can_encrypt(key) for key in keys.replace(",", " ").split()),
        cache=cache,
    )


def _parameter(name: str) -> str:
    return _said("testparm", "--suppress-prompt", "--parameter-name", name).strip()


def _can_encrypt(key: str) -> bool:
    """Whether GnuPG has such a key (field 12 of its colon format; capitals are for the key as a whole)."""
    listed = _said("gpg", "--batch", "--with-colons", "--list-keys", key)
    return any(
        line.startswith("pub:") and "E" in line.split(":")[11]
        for line in listed.splitlines()
        if line.count(":") > 11
    )


def _said(*command: str) -> str:
    """What a program says on standard output; "" when it is not there. testparm fails for mere warnings."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
        return done.stdout.decode(errors="replace")
    return ""
