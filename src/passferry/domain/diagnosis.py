"""What a first look at a set-up found, and what to do about it: pure judgements of answers and figures.

Texts of other systems are shown only as far as they are printable, and cut short.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Any

from passferry.domain.answers import Answer
from passferry.domain.messages import message_for
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.policy import Rules
from passferry.domain.scim import NotScim, list_items, text_of

CLOCK_WARN, CLOCK_FAIL = 30.0, 300.0
"""Seconds between the target's clock and ours; beyond the second nothing expires."""

CERTIFICATE_WARN = 14 * 86400.0
"""Seconds that a certificate should last at least."""

_LONGEST_TEXT = 80
_PER_MINUTE = "rate.per.minute"
_OURS = ("client.credentials.token.rate.per.minute", "token.rate.per.minute")
"""Limits of `platform.api` that count the requests of a client-credentials token."""

_POLICY = {
    "minimumLength": "minimum_length",
    "minimumLetters": "minimum_letters",
    "minimumLower": "minimum_lower",
    "minimumUpper": "minimum_upper",
    "minimumDigits": "minimum_digits",
    "minimumSpecials": "minimum_specials",
}


class Level(StrEnum):
    """How good it is. ``warn``: it works, or could not be looked at; somebody should know."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Cause(StrEnum):
    """Who can mend what fails: decides the exit code."""

    SETTING = "setting"  # configuration, or the state on this machine
    REFUSED = "refused"  # the target says no
    UNREACHABLE = "unreachable"  # perhaps later


class Exit(IntEnum):
    """Exit codes of the command line that a diagnosis can end with."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do where it is not well.

    ``org`` is None for what concerns the machine. ``code`` and ``correlation_id`` are the target's, where it
    answered with an error.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""
    org: str | None = None
    cause: Cause | None = None
    code: str = ""
    correlation_id: str | None = None


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, message)


def warn(check: str, message: str, remedy: str) -> Finding:
    """It works, or nobody knows; ``remedy`` says what to do."""
    return Finding(check, Level.WARN, message, remedy)


def fail(check: str, message: str, remedy: str, cause: Cause = Cause.SETTING) -> Finding:
    """It does not work until ``remedy`` is done."""
    return Finding(check, Level.FAIL, message, remedy, cause=cause)


def exit_code(findings: Iterable[Finding]) -> Exit:
    """What the command ends with: mistakes of ours come before refusals, those before silence."""
    causes = {finding.cause for finding in findings if finding.level is Level.FAIL}
    if Cause.SETTING in causes:
        return Exit.USAGE
    if Cause.REFUSED in causes:
        return Exit.FAILED
    return Exit.UNREACHABLE if causes else Exit.DONE


def shown(text: Any, otherwise: str = "?") -> str:
    """A text of the target as it may be shown: printable, short; ``otherwise`` when it is none."""
    given = text_of(text)
    clean = "".join(c for c in given or "" if c.isprintable())[:_LONGEST_TEXT].strip()
    return clean or otherwise


# --- errors of the target --------------------------------------------------------------------

_REMEDIES = {
    "invalid_client": "check the OAuth client's id and secret, and the region: a wrong region looks the same",
    "ip.not.authorized": "add this machine's address to the org's IP allow list in Genesys Cloud",
    "token.refused": "the OAuth client must have the grant type Client Credentials, and be enabled",
    "bad.credentials": "the token is not accepted: check the OAuth client (enabled?) and the hosts, or the"
    " token of a plain SCIM target",
    "target.redirect": "the address leads elsewhere, and redirects are never followed: correct it",
    "target.answer.unusable": "another service seems to answer there: check region, hosts and proxies",
}


def failed(check: str, outcome: Outcome, doing: str) -> Finding:
    """That the target did not do what was asked. ``doing`` completes "the target did not let us …"."""
    code, wait = outcome.code or outcome.kind.value, outcome.retry_after
    cause, remedy = Cause.REFUSED, _REMEDIES.get(code, "")
    if outcome.kind in (Kind.THROTTLED, Kind.UNAVAILABLE, Kind.UNKNOWN):
        cause = Cause.UNREACHABLE if not remedy else Cause.REFUSED
        remedy = remedy or (f"try again in {wait:.0f} s" if wait else "try again later")
    elif code.startswith("authz."):
        remedy = (
            "a security policy of the org forbids it: its administrator must let the OAuth client through"
        )
    elif code.startswith("missing.") or code == "not.authorized":
        remedy = "give the OAuth client a role that allows it, in the divisions of the users"
    nothing_there = code == "user.unknown"  # what a 404 is called, whatever was asked for
    sentence = "The target has nothing at this address." if nothing_there else message_for(code)
    code = "not.found" if nothing_there else code
    return replace(
        fail(check, f"cannot {doing}: {sentence} ({code})", remedy or "ask the target's support", cause),
        code=code,
        correlation_id=outcome.correlation_id,
    )


def softened(finding: Finding, remedy: str) -> Finding:
    """The same as a warning: what was refused is not needed. Silence is no refusal, and stays a failure."""
    if finding.cause is Cause.UNREACHABLE:
        return finding
    return replace(finding, level=Level.WARN, cause=None, remedy=remedy)


# --- single checks ---------------------------------------------------------------------------


def clock(differences: Sequence[float]) -> Finding:
    """Our clock against the ``Date`` of answers: ours less theirs, in seconds."""
    if not differences:
        return warn(
            "clock",
            "no answer had a usable Date: our clock is not confirmed, and nothing expires",
            "check that no proxy removes the Date header; keep this machine's clock by NTP",
        )
    off = min(differences, key=abs)
    if abs(off) <= CLOCK_WARN:
        return ok("clock", f"within {CLOCK_WARN:.0f} s of the target's clock")
    said = f"our clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the target's"
    if abs(off) <= CLOCK_FAIL:
        return warn("clock", said, "keep this machine's clock by NTP (timedatectl set-ntp true)")
    return fail("clock", said + ": nothing would expire", "set the clock: timedatectl set-ntp true")


def identity(answer: Answer, client_id: str | None) -> Finding:
    """What `GET /api/v2/tokens/me` (200) says of the token."""
    body = answer.members()
    if body is None:
        return warn("identity", "tokens/me gave an answer that is none", "check the API host")
    client, org = _object(body, "OAuthClient"), _object(body, "organization")
    name = shown(org.get("name"), "an org that it does not name")
    grant = shown(client.get("authorizedGrantType"), "")
    if grant and grant.replace("_", "-").upper() != "CLIENT-CREDENTIALS":
        remedy = "make an OAuth client with the grant type Client Credentials"
        return fail("identity", f"the OAuth client's grant type is {grant}", remedy, Cause.REFUSED)
    found = text_of(client.get("id"))
    if found is not None and client_id is not None and found.casefold() != client_id.casefold():
        return warn("identity", f"the token belongs to {name}, and to another client", "check the login host")
    return ok("identity", f"the token belongs to {name}")


def users(answer: Answer) -> Finding:
    """What the list of users (200, asked for none of them) says: how many there are."""
    try:
        total = list_items(answer.text())[0]
    except NotScim:
        return fail(
            "users",
            "the list of users is no SCIM list",
            "another service seems to answer at this address: check region, hosts and base_url",
            Cause.REFUSED,
        )
    if total == 0:
        remedy = "does the OAuth client's role cover the divisions of your users? Is it the right org?"
        return warn("users", "the target shows no user", remedy)
    return ok("users", f"the target shows {total} user{'' if total == 1 else 's'}")


def no_collection(address: str) -> Finding:
    """That there is no list of users where there should be."""
    return fail(
        "users", f"there are no SCIM users at {address}", "check the hosts or base_url", Cause.REFUSED
    )


def limits(answers: Mapping[str, Answer], rate: float) -> Finding:
    """The limits that the org states, by namespace, against our rate (requests a minute)."""
    stated = {
        (space, str(key)): value for space, answer in answers.items() for key, value in _limits_of(answer)
    }
    if not stated:
        return warn("limits", "the org states no limits", "nothing to do: they are learnt from answers")
    text = ", ".join(f"{key} = {value:g} ({space})" for (space, key), value in stated.items())
    ours = [
        value
        for (space, key), value in stated.items()
        if key in _OURS or (space == "scim" and key.endswith(_PER_MINUTE))
    ]
    if ours and min(ours) < rate:
        return warn(
            "limits",
            f"our rate is {rate:g} a minute, and {text}",
            f"set the org's rate (GENESYS_RATE) to {min(ours):g}",
        )
    return ok("limits", text)


def _limits_of(answer: Answer) -> list[tuple[str, float]]:
    entities = (answer.members() or {}).get("entities")
    found = []
    for entity in entities if isinstance(entities, list) else []:
        key, value = (entity.get("key"), entity.get("value")) if isinstance(entity, dict) else (None, None)
        number = _number(value)
        # What has to do with requests; limits of queues or recordings say nothing here.
        if number is not None and ("rate." in shown(key) or shown(key).startswith("request.")):
            found.append((shown(key), number))
    return found


def headers(answers: Sequence[Answer], rate: float) -> Finding:
    """What the answers of the API say in their headers about the request limit."""
    stating = [answer for answer in answers if _number(answer.headers.get("inin-ratelimit-allowed"))]
    traced = all("inin-correlation-id" in answer.headers for answer in answers)
    others = "correlation ids: " + ("yes" if traced else "not on every answer")
    if not stating:
        return warn(
            "headers",
            f"no answer states the request limit (inin-ratelimit-allowed); {others}",
            "nothing to do: the limit is learnt from the first 429; GENESYS_RATE sets where to start",
        )
    last = stating[-1].headers
    allowed = _number(last.get("inin-ratelimit-allowed")) or 0.0
    used = _number(last.get("inin-ratelimit-count"))
    text = f"{allowed:g} requests a window" + (f", {used:g} of this one used" if used is not None else "")
    text = f"{text}; stated on {len(stating)} of {len(answers)} answers; {others}"
    if allowed < rate:
        return warn(
            "headers",
            text,
            f"set the org's rate (GENESYS_RATE) to {allowed:g}; else the first answers correct it",
        )
    return ok("headers", text)


def versions(answer: Answer, user_version: str | None, write: str) -> Finding:
    """Whether a user that was read has a version, which protects against lost updates."""
    if write == "native":
        return warn(
            "versions",
            "the write mode native sends no version",
            "a write executed after our time limit cannot be recalled: prefer scim-put or scim-patch",
        )
    if user_version is None:
        return warn(
            "versions",
            "a user that was read has no version (ETag or meta.version)",
            "nothing to do: a write executed late, or a profile edited meanwhile, is not noticed",
        )
    where = "ETag" if answer.headers.get("etag") else "meta.version"
    return ok("versions", f"users have a version ({where})")


def policy(answer: Answer, rules: Rules) -> Finding:
    """The org's password rules (`OrgAuthSettings.passwordRequirements`) against ours."""
    theirs = _object(answer.members() or {}, "passwordRequirements")
    if not theirs:
        return warn("policy", "the org states no password rules", "compare them by hand with policy.…")
    different = []
    for name, ours in _POLICY.items():
        stated, mine = _number(theirs.get(name)), getattr(rules, ours)
        if stated is not None and stated != mine:
            different.append((f"policy.{ours}", f"{mine}", f"{stated:g}"))
    age = _number(theirs.get("minimumAgeSeconds"))
    if age is not None and age != (rules.minimum_age_seconds or 0):
        mine = "not known" if rules.minimum_age_seconds is None else f"{rules.minimum_age_seconds}"
        different.append(("policy.minimum_age_seconds", mine, f"{age:g}"))
    if not different:
        return ok("policy", "our password rules are the org's")
    said = ", ".join(f"{name} is {mine}, the org's {stated}" for name, mine, stated in different)
    return warn("policy", said, "set " + ", ".join(f"{name} = {stated}" for name, _, stated in different))


def features(answer: Answer, write: str) -> Finding:
    """What a plain service provider says it can do (RFC 7643 §5)."""
    body = answer.members() or {}
    can = {name: _object(body, name).get("supported") for name in ("patch", "changePassword", "etag")}
    if write == "scim-patch" and can["patch"] is False:
        remedy = 'set write = "scim-put"'
        return fail("features", "the target does not support PATCH, and write is scim-patch", remedy)
    lacking = [name for name, supported in can.items() if supported is not True]
    if write == "scim-put" and "patch" in lacking:
        lacking.remove("patch")
    if lacking:
        said = "the target does not say that it supports " + ", ".join(lacking)
        return warn("features", said, "try one test user, and compare the profile before and after")
    return ok("features", "the target says that passwords can be changed, and that it keeps versions")


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    """A number of JSON or of a header; None when it is none, or beyond what can be meant."""
    if not isinstance(value, str) or len(value) > 15:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < 1e12 else None
