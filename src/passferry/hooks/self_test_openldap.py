"""The self-test of OpenLDAP: what slapd's configuration says of the ``sock`` overlay. Judging is pure."""

import os
import pwd
import re
import secrets
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from passferry.hooks import self_test
from passferry.hooks.ldap_bind import Bound, bound
from passferry.hooks.ldif import Entry, NotLdif, read_entry
from passferry.hooks.openldap_socket import peer_of
from passferry.hooks.self_test import Check, fail, ok, warn
from passferry.hooks.settings import HookSettings

_SECONDS = 30
_PAGE = "docs/sources/openldap.md has the lines to paste"
LOCAL_SSF = 71
"""What slapd takes its own socket for, unless it is told (slapd.conf(5), localSSF)."""
_NOBODY = "cn=passferry-self-test"
"""Of no database: slapd answers as to a wrong password, where it takes passwords at all."""
_EVERYTHING = re.compile(rb"(\{\d+\})?to \* ")
"""A rule behind which no other counts."""


def entries(text: bytes) -> list[Entry]:
    """The objects in what ``slapcat -n 0`` prints; those that cannot be read are left out."""
    found = []
    for part in text.split(b"\n\n"):
        with suppress(NotLdif):
            found.append(read_entry(part + b"\n\n"))
    return found


_OF_CONF = {
    "socketpath": "olcdbsocketpath",
    "extensions": "olcdbsocketextensions",
    "sockops": "olcovsocketops",
    "sockresps": "olcovsocketresps",
    "access": "olcaccess",
    "security": "olcsecurity",
    "localssf": "olclocalssf",
}
"""What slapd.conf calls them, in any letters, and the attributes of cn=config."""


def entries_of_conf(text: str) -> list[Entry]:
    """The same from a ``slapd.conf``, as far as it is judged here."""
    database, overlays = 0, 0
    attributes: dict[str, tuple[bytes, ...]] = {}
    found = [Entry("cn=config", attributes)]
    for line in re.sub(r"\n[ \t]+", " ", text).splitlines():
        first, *others = line.split() or [""]
        word, rest = first.lower(), " ".join(others)
        if word == "database":
            database, overlays, attributes = database + 1, 0, {}
            found.append(Entry(f"olcDatabase={{{database}}}{rest},cn=config", attributes))
        elif word == "overlay" and database:
            parent = f"olcDatabase={found[-1].dn.partition('olcDatabase=')[2]}"
            attributes = {"olcoverlay": (f"{{{overlays}}}{rest}".encode(),)}
            found.append(Entry(f"olcOverlay={{{overlays}}}{rest},{parent}", attributes))
            overlays += 1
        elif word in _OF_CONF:
            name = _OF_CONF[word]
            attributes[name] = (*attributes.get(name, ()), rest.encode())
    return found


def judge(config: list[Entry], path: str) -> list[Check]:
    """What is right and wrong with the configuration of a slapd that is to speak to ``path``."""
    overlays = [
        entry
        for entry in config
        if entry.text("olcDbSocketPath") == path and entry.first("olcOverlay") is not None
    ]
    if not overlays:
        return [fail(f"no `overlay sock` of slapd has `socketpath {path}`", _PAGE)]
    found: list[Check] = []
    for overlay in overlays:
        wrong = [*_of_overlay(overlay), *_of_place(overlay, config)]
        found += wrong or [ok(f"the overlay of {_database(overlay)} is set up as it should")]
    return [*found, *_of_security(config)]


def _of_security(config: list[Entry]) -> Iterator[Check]:
    """Whether users may log in over slapd's own socket, which is how a change is looked at."""
    told = [int(word) for entry in config for word in _words(entry, "olcLocalSSF") if word.isdigit()]
    local = max(told, default=LOCAL_SSF)
    for entry in config:
        for word in sorted(_words(entry, "olcSecurity")):
            name, _, strength = word.partition("=")
            if name in ("ssf", "simple_bind") and strength.isdigit() and int(strength) > local:
                yield fail(
                    f"`security {word}` forbids users to log in over ldapi://: every change is dropped",
                    f"localSSF {strength}, or less of {name}",
                )


def _of_overlay(overlay: Entry) -> Iterator[Check]:
    extensions = _words(overlay, "olcDbSocketExtensions")
    operations = _words(overlay, "olcOvSocketOps")
    if missing := {"binddn", "connid"} - extensions:
        yield fail(f"`extensions` lacks {' '.join(sorted(missing))}: changes are refused with code 80", _PAGE)
    if "result" not in _words(overlay, "olcOvSocketResps"):
        yield fail("`sockresps result` is missing: no change is ever handed over", _PAGE)
    if "extended" not in operations:
        yield fail("`sockops` lacks extended: ldappasswd and most portals are not seen", _PAGE)
    if missing := {"modify", "add"} - operations:
        yield warn(f"`sockops` lacks {' '.join(sorted(missing))}: passwords written so are not seen", _PAGE)
    if heavy := operations & {"bind", "search", "compare", "unbind"}:
        yield warn(f"`sockops` has {' '.join(sorted(heavy))}, which are of no use here and slow", _PAGE)


def _of_place(overlay: Entry, config: list[Entry]) -> Iterator[Check]:
    database = _database(overlay)
    later = [
        entry
        for entry in config
        if entry.first("olcOverlay") is not None
        and _database(entry) == database
        and _number(entry) > _number(overlay)
    ]
    if any("ppolicy" in (entry.text("olcOverlay") or "") for entry in later):
        yield fail("`overlay sock` stands before `overlay ppolicy`: it sees hashes only", "make it the last")
    rules = [
        rule
        for entry in config
        if entry.dn.lower() == database
        for rule in entry.attributes.get("olcaccess", ())
    ]
    if not _words(overlay, "olcOvSocketOps") & {"modify", "add"} or not rules:
        return
    entry = next((rule for rule in rules if b"attrs=entry" in rule or _EVERYTHING.match(rule)), b"")
    if b"write" not in entry or b"attrs=entry" not in entry:
        yield fail(
            "no `access to attrs=entry by self write by * read` before `to *`: users cannot change their own"
            " passwords",
            _PAGE,
        )


def _words(entry: Entry, name: str) -> set[str]:
    values = entry.attributes.get(name.lower(), ())
    return {word.lower() for value in values for word in value.decode("ascii", "replace").split()}


def _database(entry: Entry) -> str:
    """The DN of the database that an overlay is of."""
    return entry.dn.partition(",")[2].lower()


def _number(entry: Entry) -> int:
    """The place of an overlay among those of its database: ``olcOverlay={1}sock``."""
    digits = entry.dn.partition("{")[2].partition("}")[0]
    return int(digits) if digits.isdigit() else -1


# --- this machine ----------------------------------------------------------------------------


def run(values: Mapping[str, str]) -> int:
    """Print every check; 0 when none failed."""

    def own(settings: HookSettings) -> Iterable[Check]:
        yield _listens(Path(values["socket"]))
        yield of_ldapi(Path(values["ldapi"]))
        config = _config(values.get("slapd-config"))
        if config:
            yield from judge(config, values["socket"])
        else:
            yield warn(
                "the configuration of slapd cannot be read here",
                "run it as root; --slapd-config names slapd.conf, or the folder slapd.d",
            )

    return self_test.run(values, os.environ, own, _who_runs_the_hook(values), root_too=False)


def _who_runs_the_hook(values: Mapping[str, str]) -> pwd.struct_passwd | None:
    """Whoever listens at its socket; while nobody does, slapd's user, as whom it is meant to run."""
    with suppress(OSError, KeyError), _connected(Path(values["socket"])) as line:
        return pwd.getpwuid(peer_of(line).uid)
    with suppress(KeyError):
        return pwd.getpwnam(values["slapd-user"])
    return None


@contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(5)
        line.connect(str(path))
        yield line


def _listens(path: Path) -> Check:
    try:
        with _connected(path):
            pass
    except OSError as error:
        return fail(
            f"nobody listens at {path}: {error.strerror}: slapd answers every change with code 80",
            "start `passferry hook openldap`, before slapd",
        )
    return ok(f"`passferry hook openldap` listens at {path}")


def of_ldapi(path: Path) -> Check:
    """Whether slapd lets users log in at ``path``: nobody does so, with a password drawn for it."""
    found, why = bound(path, _NOBODY, secrets.token_urlsafe(18).encode())
    if found is Bound.AWAY:
        return fail(
            f"slapd is not reached at {path} ({why}): every change of a password is refused with code 52",
            'SLAPD_SERVICES="ldap:/// ldapi:///" in /etc/default/slapd; --ldapi names another path',
        )
    if found is Bound.UNKNOWN:
        return fail(
            f"slapd lets no user log in at {path} ({why}): every change is dropped",
            "see `disallow bind_simple`, `require` and `security` of slapd; --ldapi names another path",
        )
    return ok(f"slapd lets users log in at {path}")


def _config(named: str | None) -> list[Entry]:
    """slapd's configuration, from its folder or its file; nothing when it cannot be read."""
    with suppress(OSError, subprocess.SubprocessError):
        if named is not None and Path(named).is_file():
            return entries_of_conf(Path(named).read_text(errors="replace"))
        where = [] if named is None else ["-F", named]
        command = ["slapcat", "-n", "0", *where]
        return entries(subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True).stdout)
    return []
