"""``passferry hook SOURCE --self-test``: what is wrong with the set-up of a source on this machine.

Each source adds checks of its own, in its own words, to those of settings, gateway and spool. No password of
anybody is used; what is asked for the policy's verdict is drawn for the occasion.
"""

import email.utils
import json
import os
import pwd
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from passferry.client import Reply
from passferry.domain.password import Password
from passferry.hooks.codes import DONE, FAILED
from passferry.hooks.gateway import Gateway
from passferry.hooks.settings import HookSettings, SettingsError, load
from passferry.hooks.spool import SpoolUnusable, write_whole
from passferry.hooks.wire import Unreachable

CLOCK_SECONDS = 60.0
"""By so much the clocks may differ before it is said; 300 seconds are refused."""
PROBE = "self-test"
"""The user of whom the policy is asked: a short name, as those that the source sends."""


class Grade(Enum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, and what to do about it."""

    grade: Grade
    what: str
    hint: str = ""


def ok(what: str) -> Check:
    """As it should be."""
    return Check(Grade.OK, what)


def warn(what: str, hint: str) -> Check:
    """It works, but not for long, or not for all."""
    return Check(Grade.WARN, what, hint)


def fail(what: str, hint: str) -> Check:
    """It does not work."""
    return Check(Grade.FAIL, what, hint)


def run(
    values: Mapping[str, str],
    env: Mapping[str, str],
    own: Callable[[HookSettings], Iterable[Check]],
    user: pwd.struct_passwd | None = None,
    *,
    root_too: bool = True,
    short_names: bool = False,
) -> int:
    """Print every check; 0 when none failed.

    Args:
        values: of the options; ``config`` names the settings' file.
        env: as the hook itself reads it.
        own: the source's checks.
        user: who runs the hook, if not whoever runs this. Root then looks at settings and spool as they do.
        root_too: whether that may be root, where ``user`` is not known. If not, root takes the owner of the
            spool for them, and makes nothing where there is none.
        short_names: whether the users whom it sends have short names as a rule, as ``jane``.
    """
    config = values.get("config")
    failed = False
    known = user is not None or root_too or not _by_root()
    try:
        with acting_as(user):
            settings = load(Path(config) if config is not None else None, env, whose_ever=not known)
    except SettingsError as error:
        checks: Iterable[Check] = [
            fail(each, "docs/sources/hand-over.md has every key") for each in error.problems
        ]
    else:
        checks = _all(settings, own, user, known=known, short_names=short_names)
    for check in checks:
        failed = failed or check.grade is Grade.FAIL
        print(f"{check.grade.value:4}  {check.what}", flush=True)
        if check.hint:
            print(f"      hint: {check.hint}", flush=True)
    return FAILED if failed else DONE


def _all(
    settings: HookSettings,
    own: Callable[[HookSettings], Iterable[Check]],
    user: pwd.struct_passwd | None,
    *,
    known: bool,
    short_names: bool,
) -> Iterator[Check]:
    gateway = Gateway(settings)
    yield ok(f"the gateway is {settings.url}; when it gives no verdict, a veto will {settings.when_away}")
    if not known:
        user = _owner(settings.spool)
        known = user is not None and user.pw_uid != 0
    with acting_as(user):
        yield from of_spool(gateway, time.time(), user) if known else [_not_looked_at(settings.spool)]
        yield from of_gateway(gateway, time.time, keep=known, short_names=short_names)
    yield from own(settings)


@contextmanager
def acting_as(user: pwd.struct_passwd | None) -> Iterator[None]:
    """Be ``user`` to the kernel until the block ends, where we are root: what is made then is theirs."""
    if user is None or os.geteuid() != 0 or user.pw_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.initgroups(user.pw_name, user.pw_gid)
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


# --- the gateway -----------------------------------------------------------------------------


def of_gateway(
    gateway: Gateway, now: Callable[[], float], *, keep: bool = True, short_names: bool = False
) -> Iterator[Check]:
    """Whether it answers this source, and takes what it would send; ``keep``: its public key is fetched."""
    seconds = max(5.0, gateway.settings.seconds)
    try:
        reply = gateway.wire.call("GET", "/sync/key", seconds)
    except Unreachable as error:
        text = str(error)
    else:
        yield from _of_key(gateway, reply, now(), keep=keep)
        if reply.status in (200, 404):
            yield _of_policy(gateway, seconds, short_names=short_names)
        return
    yield fail(
        f"no answer from {gateway.settings.url}: {text}",
        "is `passferry serve` running there? see url, ca_file",
    )
    if keep and gateway.public_key.read() is None:
        yield fail("there is no public key to seal to while the gateway is away", _BY_HAND)


_BY_HAND = "`passferry keys public` at the gateway prints it: put that into the file gateway-key in the spool"
_REFUSED = {
    401: (
        "the gateway does not know the access key",
        "`passferry access add NAME` makes one, for api_key_file",
    ),
    403: ("the access key is not one of a source", "`passferry access add NAME` makes one"),
    421: ("the gateway wants https", "give its https:// address as url"),
}


def _of_key(gateway: Gateway, reply: Reply, now: float, *, keep: bool) -> Iterator[Check]:
    if reply.status in _REFUSED:
        yield fail(*_REFUSED[reply.status])
        return
    if reply.body.get("code") == "sealed.key.none":
        yield fail(
            "the gateway has no pair to seal to: what cannot be handed over at once would be lost",
            "run `passferry keys rotate` there",
        )
    elif reply.status != 200:
        yield fail(
            f"{gateway.settings.url} answered {reply.status}", "does url lead to a Passferry of this release?"
        )
    else:
        yield ok("the gateway answers, and knows the access key")
        if keep:
            yield _kept(gateway)
    yield from of_clock(reply.headers.get("date"), now)


def _kept(gateway: Gateway) -> Check:
    try:
        gateway.refresh_key(time.monotonic() + max(5.0, gateway.settings.seconds), force=True)
    except (Unreachable, SpoolUnusable, OSError) as error:
        reason = str(error)
    else:
        return ok("its public key is kept in the spool")
    return fail(f"its public key cannot be kept: {reason}", "without it nothing can be spooled")


def of_clock(date: str | None, now: float) -> Iterator[Check]:
    """Whether the ``Date`` of an answer agrees with ``now``, epoch seconds. Pure."""
    parsed = email.utils.parsedate_tz(date) if date is not None else None
    if parsed is None:
        return
    ahead = now - email.utils.mktime_tz(parsed)
    if abs(ahead) > CLOCK_SECONDS:
        word = "ahead of" if ahead > 0 else "behind"
        yield fail(
            f"this machine's clock is {abs(ahead):.0f} seconds {word} the gateway's",
            "run NTP on both: what is spooled carries this clock's time, and an older change loses",
        )


def _of_policy(gateway: Gateway, seconds: float, *, short_names: bool) -> Check:
    org = gateway.settings.org
    path = "/policy/check" if org is None else f"/orgs/{org}/policy/check"
    drawn = Password("Aa1!" + secrets.token_urlsafe(18))
    body = json.dumps({"userId": PROBE, "password": drawn.reveal()}).encode()
    try:
        reply = gateway.wire.call("POST", path, seconds, body, {"Content-Type": "application/json"})
    except Unreachable as error:
        reason = str(error)
        return fail(f"the gateway gave no verdict: {reason}", "see its log")
    return of_verdict(reply, org, short_names=short_names)


def of_verdict(reply: Reply, org: str | None, *, short_names: bool) -> Check:
    """What an answer of ``POST /policy/check`` about a short name says of the set-up. Pure."""
    code = reply.body.get("code")
    if reply.status == 200 or code == "policy":
        return ok("the gateway gives verdicts for this source")
    if code == "org.forbidden":
        named = f"the org {org}" if org is not None else "an org without naming it"
        return fail(f"the access key may not use {named}", "set org, or make a key with --org")
    if code == "user.invalid":
        makes_one = "`passferry access add NAME --user-template '{uid}@example.com'`"
        what = "the gateway does not take short names from this source"
        if short_names:
            return fail(what, f"make it a key that does, unless every account's name has an @: {makes_one}")
        return warn(what, f"where users have them: {makes_one}")
    return fail(f"the gateway gave no verdict: {reply.status} {code}", "see its log")


# --- the spool -------------------------------------------------------------------------------


def of_spool(gateway: Gateway, now: float, user: pwd.struct_passwd | None) -> Iterator[Check]:
    """Whether it can be written, and what waits in it. ``user`` runs the hook, or else we."""
    spool = gateway.spool
    reason = ""
    try:
        spool.check()
        probe = spool.folder / f".{secrets.token_hex(6)}.part"
        write_whole(probe, b"self-test")
        probe.unlink()
        waiting, aside = spool.waiting(), spool.aside()
    except SpoolUnusable as error:
        reason = str(error)
    except OSError as error:
        reason = f"the spool {spool.folder} cannot be written: {error.strerror}"
    if reason:
        who = _name(os.geteuid()) if user is None else user.pw_name
        yield fail(reason, _of_ones_own(spool.folder, who))
        return
    yield ok(f"the spool {spool.folder} can be written")
    if waiting:
        hours = (now - waiting[0].since) / 3600
        yield warn(
            f"{len(waiting)} letters wait there, the oldest for {hours:.1f} hours",
            "`passferry hook flush` hands them over; after 72 hours they are set aside",
        )
    if aside:
        yield warn(
            f"{len(aside)} letters were set aside: nobody will get these passwords",
            f"they were broken, or waited too long; look at the log, then delete {spool.folder}/aside/*",
        )


def _of_ones_own(folder: Path, who: str) -> str:
    """How the hook of ``who`` gets a spool; never by taking one from somebody else."""
    owner = _owner(folder)
    if owner is not None and owner.pw_name != who:
        name = owner.pw_name
        return (
            f"it is {name}'s, and {who} runs the hook to this test: if {name} does, run it with"
            f" sudo -u {name}; else name another folder as spool"
        )
    return (
        f"it is a folder of its own of the user who runs the hook, who is {who} to this test:"
        f" install -d -m 0700 -o {who} {folder}"
    )


def _not_looked_at(folder: Path) -> Check:
    return warn(
        f"the spool {folder} was not looked at, and no public key was fetched: root does not run this hook",
        "run it with sudo -u USER, who does; the spool has to be theirs",
    )


def _by_root() -> bool:
    return os.geteuid() == 0


def _owner(folder: Path) -> pwd.struct_passwd | None:
    with suppress(OSError, KeyError):
        return pwd.getpwuid(folder.lstat().st_uid)
    return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
