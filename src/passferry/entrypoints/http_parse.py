"""What callers send, turned into values: pure functions that accept it whole or raise ``Problem``.

The errors of parsers hold what they were given, here a body with a password. So none is raised while one
of theirs is being handled: each is dropped first, and ``Problem`` starts without a context.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from passferry.domain.change import Reference, State, is_uuid
from passferry.domain.password import Password

LONGEST_REFERENCE = 320
"""Characters of a user's id or name: 64 of a local part, @, 255 of a domain (RFC 5321 section 4.5.3.1)."""

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,18}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_NAME_AND_VALUE = re.compile(r'\s*([^\s=;,"]+)\s*(?:=\s*("[^"]*"|[^\s;,"]*))?\s*(?:;.*)?', re.DOTALL)
_LONGEST_PREFER = 1024


class Problem(Exception):
    """A request that is answered with an error. Code and message are public and repeat nothing of it."""

    def __init__(
        self, status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.headers = status, code, message, headers


class _Repeated(Exception):
    pass


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError  # NaN and Infinity are not JSON (RFC 8259 section 6)


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_constant)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``, strictly as RFC 8259 has it, and no member twice at any depth.

    Raises ``Problem``: `json.invalid` (UTF-8, syntax, NaN, nesting), `member.repeated`, `json.not.object`.
    """
    value: Any = None
    code = ""
    try:
        value = _DECODER.decode(body.decode())
    except _Repeated:
        code = "member.repeated"
    except (ValueError, RecursionError):
        code = "json.invalid"
    if code == "member.repeated":
        raise Problem(400, code, "a member occurs more than once")
    if code:
        raise Problem(400, code, "the body is not valid JSON in UTF-8")
    if not isinstance(value, dict):
        raise Problem(400, "json.not.object", "the body is not a JSON object")
    return value


@dataclass(frozen=True, slots=True)
class Asked:
    """The members of a request body. ``changed_at`` is epoch seconds."""

    user_id: str | None
    user_name: str | None
    password: Password
    changed_at: float | None = None


_SYNC = frozenset({"userId", "userName", "password", "changedAt"})
_CHECK = frozenset({"userId", "userName", "password"})


def sync_body(body: bytes) -> Asked:
    """The body of ``POST /sync/password``. Raises ``Problem``."""
    return _change(json_object(body))


def _change(members: Mapping[str, Any]) -> Asked:
    asked = _asked(members, _SYNC)
    if asked.user_id is None and asked.user_name is None:
        raise Problem(400, "member.missing", "userId (or userName) is missing")
    return asked


def check_body(body: bytes) -> Asked:
    """The body of ``POST /policy/check``, where the user may be left out. Raises ``Problem``."""
    return _asked(json_object(body), _CHECK)


@dataclass(frozen=True, slots=True)
class Letter:
    """A change that its source sealed to us. ``org`` is None where it named none."""

    org: str | None
    key: str  # the Idempotency-Key
    asked: Asked


_LETTER = frozenset({"org", "idempotencyKey", "body"})


def letter(plaintext: bytes) -> Letter:
    """What was in a sealed body (``passferry.hand_over``). Raises ``Problem``."""
    members = json_object(plaintext)
    org, key, body = (members.get(name) for name in ("org", "idempotencyKey", "body"))
    if members.keys() != _LETTER or not (org is None or isinstance(org, str)):
        raise Problem(400, "sealed.broken", "what was sealed is no change")
    if not isinstance(key, str) or not isinstance(body, dict):
        raise Problem(400, "sealed.broken", "what was sealed is no change")
    named = idempotency_key([key.encode("utf-8", "replace")])
    return Letter(org, named or "", _change(body))


def _asked(members: Mapping[str, Any], known: frozenset[str]) -> Asked:
    if not members.keys() <= known:
        # Not named: a body built wrongly may have the password for a name.
        raise Problem(400, "member.unknown", "the body has a member that is not known here")
    for name, value in members.items():
        if not isinstance(value, str):
            raise Problem(400, "member.type", f"{name} must be a string")
    if "userId" in members and "userName" in members:
        raise Problem(400, "user.both", "give either userId or userName")
    if "password" not in members:
        raise Problem(400, "member.missing", "password is missing")
    changed_at = None
    if "changedAt" in members:
        changed_at = rfc3339(members["changedAt"])
        if changed_at is None:
            raise Problem(400, "changed.at.invalid", "changedAt is no RFC 3339 time with an offset")
    return Asked(members.get("userId"), members.get("userName"), Password(members["password"]), changed_at)


def reference(asked: Asked, template: str | None, uuid_ids: bool) -> Reference:
    """Whom ``asked`` means.

    Args:
        asked: has a user_id or a user_name.
        template: the source's, as `{uid}@example.com`: applied to a name without `@` that is no UUID.
        uuid_ids: whether ids at the org's target are UUIDs, as those of Genesys Cloud are.

    Raises ``Problem`` `user.invalid`.
    """
    given = asked.user_id if asked.user_id is not None else asked.user_name or ""
    value, is_name = given, asked.user_id is None or "@" in given
    if template is not None and "@" not in given and not is_uuid(given) and _is_reference(given):
        value, is_name = template.replace("{uid}", given), True
    if not _is_reference(value):
        raise Problem(
            400,
            "user.invalid",
            f"the user must be 1 to {LONGEST_REFERENCE} characters without spaces or control characters",
        )
    if is_name:
        return Reference("userName", value)
    if uuid_ids and not is_uuid(given):
        raise Problem(400, "user.invalid", "userId must be a UUID, or an email address, which is a userName")
    return Reference("id", value.lower() if uuid_ids else value)


def _is_reference(value: str) -> bool:
    return 1 <= len(value) <= LONGEST_REFERENCE and value.isprintable() and " " not in value


def rfc3339(text: str) -> float | None:
    """Epoch seconds of an RFC 3339 time; None when it is none or has no offset. `:60` is the next second."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, off_hours, off_minutes = match.groups()[6:]
    leap = second == 60
    offset = timedelta(0)
    if sign is not None:
        if int(off_hours) > 23 or int(off_minutes) > 59:
            return None
        offset = timedelta(hours=int(off_hours), minutes=int(off_minutes)) * (-1 if sign == "-" else 1)
    try:
        moment = datetime(year, month, day, hour, minute, second - leap, tzinfo=timezone(offset)).timestamp()
    except (ValueError, OverflowError):
        return None
    return moment + leap + float(f"0.{fraction or 0}")


def idempotency_key(values: Sequence[bytes]) -> str | None:
    """The Idempotency-Key, taken as it stands. Raises ``Problem`` unless it is 1 to 255 visible ASCII."""
    if not values:
        return None
    key = values[0].strip(b" \t")
    if len(values) > 1 or _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise Problem(
            400, "idempotency.key.invalid", "Idempotency-Key must be one header of 1 to 255 visible ASCII"
        )
    return key.decode("ascii")


@dataclass(frozen=True, slots=True)
class Preference:
    """How long to wait for the outcome, in seconds, and what of Prefer that honours.

    ``bulk`` is a preference of our own: the change gives way to those of people.
    """

    wait: float
    asked_async: bool = False
    asked_wait: bool = False
    bulk: bool = False

    def applied(self, status: int) -> str:
        """The value of Preference-Applied (RFC 7240 section 3) of an answer with ``status``."""
        names = ["respond-async"] if self.asked_async and status == 202 else []
        if self.asked_wait:
            names.append(f"wait={self.wait:.0f}")
        if self.bulk:
            names.append("bulk")
        return ", ".join(names)


def preference(values: Sequence[bytes], longest: float) -> Preference:
    """What the Prefer headers ask for (RFC 7240): names in any case, the first of each, no bad ones.

    `wait` waits that long, at most ``longest`` seconds; `respond-async` alone waits not at all; both wait
    as `wait` says (section 4.3).
    """
    if not values:
        return Preference(longest)
    found: dict[str, str] = {}
    for part in _PREFERENCE.findall(b",".join(values)[:_LONGEST_PREFER].decode("latin-1")):
        match = _NAME_AND_VALUE.fullmatch(part)
        if match is not None:
            found.setdefault(match[1].lower(), (match[2] or "").strip('"'))
    asked_async, bulk = "respond-async" in found, "bulk" in found
    seconds = found.get("wait", "")
    if re.fullmatch(r"[0-9]{1,9}", seconds):
        return Preference(min(float(seconds), longest), asked_async, asked_wait=True, bulk=bulk)
    return Preference(0.0 if asked_async else longest, asked_async, bulk=bulk)


def is_json(values: Sequence[bytes]) -> bool:
    """Whether Content-Type is one `application/json`, in UTF-8 if it says so."""
    if len(values) != 1:
        return False
    if values[0] == b"application/json":
        return True
    kind, *parameters = (part.strip() for part in values[0].decode("latin-1").lower().split(";"))
    allowed = {"", "charset=utf-8", 'charset="utf-8"'}
    return kind == "application/json" and all(parameter in allowed for parameter in parameters)


@lru_cache(maxsize=64)
def is_loopback(host: bytes) -> bool:
    """Whether a Host header names this machine: `localhost`, 127.0.0.0/8 or `[::1]`, with any port."""
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[0-9a-z.-]+)(?::[0-9]*)?", host.decode("latin-1").lower())
    if match is None:
        return False
    name = match[1].rstrip(".")
    if name == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def bearer(values: Sequence[bytes]) -> str | None:
    """The key in one `Authorization: Bearer …` (RFC 6750 section 2.1), or None."""
    if len(values) != 1:
        return None
    scheme, _, key = values[0].decode("latin-1").partition(" ")
    return key.strip(" ") if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class Listing:
    """What `GET /changes` asks for. ``before``: where the page before ended."""

    org: str | None
    user: str | None
    states: tuple[State, ...]
    since: float | None
    limit: int
    before: tuple[float, str] | None


_LISTING = frozenset({"org", "user", "state", "since", "limit", "cursor"})


def listing(query: bytes) -> Listing:
    """The query of ``GET /changes``. Raises ``Problem`` `query.invalid`."""
    fields: dict[str, str] | None = None
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
        fields = {name: value for name, value in pairs if value}
        if len(dict(pairs)) != len(pairs):
            fields = None
    except ValueError:
        fields = None
    if fields is None or not fields.keys() <= _LISTING:
        raise Problem(400, "query.invalid", f"known are {', '.join(sorted(_LISTING))}, each once")
    states = [name for name in fields.get("state", "").split(",") if name]
    if not set(states) <= set(State):
        raise Problem(400, "query.invalid", f"state is one or more, with commas, of {', '.join(State)}")
    since = rfc3339(fields["since"]) if "since" in fields else None
    if "since" in fields and since is None:
        raise Problem(400, "query.invalid", "since is no RFC 3339 time with an offset")
    limit = fields.get("limit", "50")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= 200:
        raise Problem(400, "query.invalid", "limit is a number from 1 to 200")
    before = _read_cursor(fields["cursor"]) if "cursor" in fields else None
    if "cursor" in fields and before is None:
        raise Problem(400, "query.invalid", "cursor is none that was given as next")
    return Listing(
        fields.get("org"),
        fields.get("user"),
        tuple(State(name) for name in states),
        since,
        int(limit),
        before,
    )


def cursor(accepted_at: float, change_id: str) -> str:
    """Where a page ended, as callers hand it back."""
    return base64.urlsafe_b64encode(f"{accepted_at!r} {change_id}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[float, str] | None:
    try:
        plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
        at, _, change_id = plain.partition(" ")
        moment = float(at)
    except (ValueError, binascii.Error):
        return None
    return (moment, change_id) if re.fullmatch(r"[0-9A-Za-z-]{1,64}", change_id) and moment < 1e12 else None
