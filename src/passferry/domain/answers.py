"""What an HTTP answer of a target means for a change: a pure function of status, headers and body.

Two error shapes come from the same call, ErrorBody (``code``, ``message``) and ScimError (RFC 7644 §3.12:
``scimType``, ``detail``), and proxies put in a third: HTML, or nothing. Their texts may hold anything, so
none is kept: only codes and ids of a fixed form come out of here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from passferry.domain.audit import safe_code, safe_id
from passferry.domain.messages import MESSAGES
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.password import Password
from passferry.domain.scim import NotScim, bare_version, text_of, value_of

DEFAULT_WAIT = 60.0
"""Seconds to wait when a target throttles and does not say for how long: the window of Genesys Cloud."""

AGREE = 2.0
"""Seconds by which two clocks may differ for them to count as one; a ``Date`` has whole seconds."""

LONGEST_WAIT = 7 * 86400.0
"""A wait beyond a week is taken for a mistake and cut to one."""

_NEVER_PROCESSED = frozenset({407, 421, 425})
"""Statuses by which a proxy or connection says that the request did not reach what it was meant for."""

_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
_ERROR_MEMBERS = frozenset({"code", "contextId", "scimType"})

_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_UNTIL = re.compile(
    r"cannot be changed until ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?Z"
)
_PASSWORD_CODE = re.compile(r"\b(?:password\.[a-z.]*[a-z]|invalid\.(?:new\.)?password)\b")

# Genesys Cloud's texts (documented for POST /api/v2/users/{userId}/password), for answers that give a text
# and no code. A text decides only where no code does.
_TEXTS = {
    "password cannot be empty": "password.empty",
    "password is too short": "password.too.short",
    "does not have enough letters": "password.not.enough.letters",
    "does not have enough lower case letters": "password.not.enough.lowercase",
    "does not have enough upper case letters": "password.not.enough.uppercase",
    "does not have enough numbers": "password.not.enough.digits",
    "does not have enough special characters": "password.not.enough.specials",
    "password has been used too recently": "password.reused",
    "password cannot be changed yet": "password.too.young",
    "password is a compromised": "password.compromised",
    "password does not meet policy": "invalid.password",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. Header names are lower case; ``body`` is None when it was too large to be read."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = b""
    seconds: float = 0.0  # from the start of its request

    def __repr__(self) -> str:
        return f"Answer({self.status})"

    def text(self) -> str:
        """The body as text. Raises ``NotScim`` when it is not UTF-8 or was too large."""
        try:
            if self.body is not None:
                return self.body.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
        raise NotScim("not UTF-8 text")

    def members(self) -> dict[str, Any] | None:
        """The body's JSON object, or None when it is none."""
        try:
            value = value_of(self.text())
        except NotScim:
            return None
        return value if isinstance(value, dict) else None


def classify_read(answer: Answer, now: float | None = None) -> Outcome | None:
    """What a GET came to; None when it gave what was asked for (200), or nothing that can be judged here.

    ``now`` (epoch seconds) is what an HTTP date is measured against when the answer has no date of its own.
    """
    if answer.status == 200:
        return None
    return _classify(answer, now, None, write=False)


def classify_write(
    answer: Answer, password: Password, now: float | None = None, user_id: str | None = None
) -> Outcome:
    """What a write of ``password`` came to. ``now`` as in ``classify_read``.

    ``user_id``: whom it was for, where the answer to a success may show a user.
    """
    if 200 <= answer.status < 300:
        return _written(answer, password, user_id)
    return _classify(answer, now, password, write=True)


def unusable(answer: Answer, *, write: bool = False) -> Outcome:
    """An answer that nobody can understand. A write may have been executed all the same."""
    return Outcome(
        Kind.UNKNOWN if write else Kind.UNAVAILABLE, "target.answer.unusable", _correlation(answer, None)
    )


def _written(answer: Answer, password: Password, user_id: str | None) -> Outcome:
    body = answer.members()
    if body is None and answer.body != b"" and answer.body is not None:
        return unusable(answer, write=True)  # a proxy's page: who knows whether the target was asked
    if answer.status == 202 or _is_error(body or {}):
        return unusable(answer, write=True)  # 202 is no promise that it will be done (RFC 9110 §15.3.3)
    shown = text_of((body or {}).get("id"))
    # Somebody else's answer: nobody knows whose password was set, if any.
    if shown is not None and user_id is not None and shown.casefold() != user_id.casefold():
        return Outcome(Kind.UNKNOWN, "user.changed", _correlation(answer, password))
    meta = (body or {}).get("meta")
    stated = meta.get("version") if isinstance(meta, dict) else None
    version = bare_version(answer.headers.get("etag")) or bare_version(stated)
    if version is not None and password.within(version):
        version = None
    return Outcome(Kind.APPLIED, correlation_id=_correlation(answer, password), version=version)


def _is_error(body: Mapping[str, Any]) -> bool:
    """Whether it is one of the two error shapes, which some gateways send under a status of success."""
    if any(name.lower() == "id" for name in body):
        return False  # a user, whatever else it has
    schemas = body.get("schemas")
    return not body.keys().isdisjoint(_ERROR_MEMBERS) or (isinstance(schemas, list) and _ERROR in schemas)


def _classify(answer: Answer, now: float | None, password: Password | None, *, write: bool) -> Outcome:
    status = answer.status
    code, trace = error_code(answer, password), _correlation(answer, password)
    wait = retry_after(answer.headers, now)
    lost = Kind.UNKNOWN if write else Kind.UNAVAILABLE
    if status == 429:
        return Outcome(Kind.THROTTLED, "too.many.requests", trace, max(1.0, _throttled_for(answer, wait)))
    if status in (408, 500, 502, 503, 504) or status > 504 or status < 300:
        return Outcome(lost, "target.unavailable" if status >= 300 else "target.answer.unusable", trace, wait)
    if status < 400:
        # 303 says that the request was executed and its result lies elsewhere; 304 answers nothing we ask.
        executed = status in (303, 304)
        return Outcome(lost if executed else Kind.UNAVAILABLE, "target.redirect", trace, wait)
    if status in _NEVER_PROCESSED:
        return Outcome(Kind.UNAVAILABLE, "target.unavailable", trace, wait)
    if status in (401, 403, 404, 405, 410, 501):
        return _not_allowed(status, code, trace)
    if write and _is_conflict(answer):
        return Outcome(Kind.CONFLICT, "version.conflict", trace)
    return _refused(answer, code, trace, wait, now, write=write)


def _is_conflict(answer: Answer) -> bool:
    """Genesys Cloud documents 400 ``invalidVers`` and 409 for a stale version, RFC 7644 §3.14 has 412."""
    scim_type = _scim_type(answer)
    if answer.status == 409:
        return scim_type != "uniqueness"
    return answer.status == 412 or (answer.status == 400 and scim_type == "invalidVers")


def _not_allowed(status: int, code: str, trace: str | None) -> Outcome:
    if status == 401:
        if code == "ip.not.authorized":
            return Outcome(Kind.ORG_DOWN, code, trace)
        return Outcome(Kind.UNAUTHORIZED, code or "bad.credentials", trace)
    if status in (404, 410):
        return Outcome(Kind.BLOCKED, "user.unknown", trace)
    if status == 403 and "division" in code:
        return Outcome(Kind.BLOCKED, code, trace)
    # 405 and 501: this kind of write does not exist there, whoever the user is.
    return Outcome(Kind.ORG_DOWN, (code if status == 403 else "") or "not.authorized", trace)


def _refused(
    answer: Answer, code: str, trace: str | None, wait: float | None, now: float | None, *, write: bool
) -> Outcome:
    body = answer.members()
    if body is None and answer.body != b"":
        return unusable(answer, write=write)
    if answer.status == 400 and code == "client.failed.request":
        return Outcome(
            Kind.UNAVAILABLE, "target.unavailable", trace, wait
        )  # our request did not get through whole
    if not write:
        # Nothing was asked to be changed: whoever looks again hourly loses nothing.
        return Outcome(Kind.BLOCKED, code, trace) if code else unusable(answer)
    until = _by_our_clock(_not_before(_texts(body or {})), answer, now)
    if until is not None or code == "password.too.young":
        return Outcome(Kind.NOT_NOW, "password.too.young", trace, not_before=until)
    return Outcome(Kind.REFUSED, code, trace)


# --- parts of an answer ----------------------------------------------------------------------


def error_code(answer: Answer, password: Password | None = None) -> str:
    """The answer's own code if it has one of a safe form, "" else.

    In this order: ErrorBody's ``code``; a password code or a known text in ErrorBody's or ScimError's words;
    ``scimType``. A code in which ``password`` occurs is dropped, unless it is a public constant of ours.
    """
    body = answer.members()
    if body is None:
        return ""
    found = (
        safe_code(text_of(body.get("code"))) or _code_in(_texts(body)) or safe_code(_scim_type(answer)) or ""
    )
    if found not in MESSAGES and password is not None and password.within(found):
        return ""
    return found


def _code_in(texts: str) -> str | None:
    for match in _PASSWORD_CODE.finditer(texts):
        if match.group() in MESSAGES:
            return match.group()
    folded = texts.casefold()
    return next((code for text, code in _TEXTS.items() if text in folded), None)


def _texts(body: Mapping[str, Any]) -> str:
    return "\n".join(text for name in ("detail", "message") if (text := text_of(body.get(name))))


def _scim_type(answer: Answer) -> str | None:
    body: Mapping[str, Any] = answer.members() or {}
    return text_of(body.get("scimType"))


def _correlation(answer: Answer, password: Password | None) -> str | None:
    """The id under which the target's support finds the request: the header, or an ErrorBody's contextId."""
    found = safe_id(answer.headers.get("inin-correlation-id"))
    if found is None and answer.status >= 400:
        found = safe_id(text_of((answer.members() or {}).get("contextId")))
    return None if found is not None and password is not None and password.within(found) else found


def _not_before(texts: str) -> float | None:
    """The time in "password cannot be changed until 2026-01-02T03:04:05Z", which comes with no fixed code."""
    match = _UNTIL.search(texts)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(match.group(1)).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _by_our_clock(at: float | None, answer: Answer, now: float | None) -> float | None:
    """``at``, which the target's clock told, by ours (``now``); its ``Date`` shows how they differ."""
    date = http_date(answer.headers.get("date", ""))
    if at is None or date is None or now is None or -AGREE <= now - date <= answer.seconds + AGREE:
        return at
    return at + now - date


def _throttled_for(answer: Answer, wait: float | None) -> float:
    if wait is not None:
        return wait
    reset = answer.headers.get("inin-ratelimit-reset", "").strip()
    return min(float(reset), LONGEST_WAIT) if _NUMBER.fullmatch(reset) else DEFAULT_WAIT


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait by ``Retry-After`` (RFC 9110 §10.2.3), or None.

    A date is measured against the answer's own ``Date``, since the target's clock made both; without one
    against ``now`` (epoch seconds), if that is given.
    """
    text = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(text):
        return min(float(text), LONGEST_WAIT)
    until, start = http_date(text), http_date(headers.get("date", ""))
    start = now if start is None else start
    if until is None or start is None:
        return None
    return min(max(0.0, until - start), LONGEST_WAIT)


def http_date(text: str) -> float | None:
    """Epoch seconds of an HTTP date (RFC 9110 §5.6.7), or None."""
    if not text or len(text) > 64:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
