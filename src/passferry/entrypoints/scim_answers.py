"""What SCIM clients are answered (RFC 7644 §3.12): resources, and everything that can go wrong. Pure."""

import json
import math
from typing import Any

from passferry.domain.answers import DEFAULT_WAIT, error_code, retry_after
from passferry.domain.answers import Answer as TargetAnswer
from passferry.domain.audit import safe_id
from passferry.domain.change import Change, State
from passferry.domain.messages import message_for
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.password import Password
from passferry.domain.scim import text_of
from passferry.domain.scim_show import SCIM_TYPES, Shown, error
from passferry.domain.scim_split import BadScim
from passferry.entrypoints.http_answers import NOT_ACCEPTED, Answer, Headers
from passferry.entrypoints.http_parse import Problem
from passferry.refusals import NotAccepted

MEDIA = b"application/scim+json"
_BASIC = (b"www-authenticate", b'Basic realm="passferry", charset="UTF-8"')
_LONGEST_TEXT = 300
_GOOD = frozenset({State.APPLIED, State.PENDING, State.DELIVERING, State.SUPERSEDED})
_PARKED = {
    "user.unknown": 404,
    "user.inactive": 409,
    "user.changed": 409,
    "user.ambiguous": 409,
    "missing.division.permission": 403,
    "missing.any.division.permissions": 403,
}
_BY_KIND = {
    Kind.THROTTLED: 429,
    Kind.UNAVAILABLE: 503,
    Kind.UNKNOWN: 504,
}


class Refused(Exception):
    """A request that ends with ``answer``, an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def failed(status: int, detail: str, scim_type: str | None = None, headers: Headers = ()) -> Answer:
    """An error."""
    return Answer(status, error(status, detail, scim_type).encode(), headers, MEDIA)


def of_resource(shown: Shown, status: int = 200, headers: Headers = ()) -> Answer:
    """A resource with its ETag."""
    etag: Headers = ((b"etag", shown.tag.encode("latin-1", "replace")),) if shown.tag is not None else ()
    return Answer(status, shown.text.encode(), (*etag, *headers), MEDIA)


def of_problem(problem: Problem) -> Answer:
    """A problem of the request itself; without a good key, both ways to give one are named."""
    headers = (*problem.headers, _BASIC) if problem.status == 401 else problem.headers
    return failed(problem.status, problem.message, None, headers)


def of_bad(bad: BadScim) -> Answer:
    """A request that is not as SCIM has it."""
    return failed(400, bad.detail, bad.scim_type)


def of_refusal(refusal: NotAccepted) -> Answer:
    """Nothing was accepted; of the policy, every broken rule is named."""
    if refusal.code == "policy":
        reasons = " ".join(f"{each.message} [{each.code}]" for each in refusal.violations)
        return failed(400, reasons or refusal.message, "invalidValue")
    status = NOT_ACCEPTED.get(refusal.code, 500)
    headers = _after(refusal.retry_after) if status in (429, 503) else ()
    return failed(status, f"{refusal.message} [{refusal.code}]", None, headers)


def refusal_of(change: Change) -> Answer | None:
    """The error that a change came to within the wait; None when it is applied, or waits.

    One that was superseded is none: the newer password is the one that its sender wants to be there, and an
    error would invite an administrator to send the older one again.
    """
    if change.state in _GOOD:
        return None
    code = str(change.state)
    if change.error is not None and change.state in (State.REFUSED, State.PARKED):
        code = change.error.code
    message = change.error.message if change.error and change.error.code == code else message_for(code)
    trace = change.error.correlation_id if change.error is not None else None
    detail = _with_ids(message, code, trace)
    if change.state is State.REFUSED:
        return failed(400, detail, "invalidValue", of_change(change))
    status = _PARKED.get(code, 502) if change.state is State.PARKED else 502
    return failed(status, detail, None, of_change(change))


def of_change(change: Change) -> Headers:
    """Headers by which an accepted change can be followed."""
    return (
        (b"passferry-change-id", change.id.encode()),
        (b"passferry-change-status", str(change.state).encode()),
    )


def of_no_change(refusal: NotAccepted) -> Headers:
    """The header for a user who is there, and whose password was not accepted."""
    return ((b"passferry-change-status", f"refused {refusal.code}".encode()),)


def beside(undone: Answer, change: Change) -> Answer:
    """The error with which the rest of a request ended, whose password was accepted as ``change``."""
    body = json.loads(undone.body if isinstance(undone.body, bytes) else b"{}")
    body["detail"] = f"{body.get('detail', '')} The password was accepted."
    return Answer(undone.status, json.dumps(body).encode(), (*undone.headers, *of_change(change)), MEDIA)


def of_outcome(outcome: Outcome) -> Answer:
    """The target gave no answer that could be passed on."""
    status = _BY_KIND.get(outcome.kind, 502)
    detail = _with_ids(message_for(outcome.code), outcome.code, outcome.correlation_id)
    headers = _after(outcome.retry_after or 5.0) if status in (429, 503) else ()
    return failed(status, detail, None, headers)


def of_target(answer: TargetAnswer, *, names: bool = False, wrote: bool = False) -> Answer:
    """An error that the target answered with, as one of SCIM's.

    Args:
        answer: the target's.
        names: a conflict (409) is one of names, as when a resource was to be created.
        wrote: it is about what the client sent, so that the target's own words may help it.
    """
    code = error_code(answer)
    words = _words(answer) if wrote and answer.status < 500 else None
    status, scim_type = _meaning(answer, names=names)
    nameless = "not.found" if status == 404 else "refused"
    detail = _with_ids(words or message_for(code or nameless), code, _trace(answer))
    headers: Headers = ()
    if status == 429:
        wait = retry_after(answer.headers)
        headers = _after(DEFAULT_WAIT if wait is None else wait)
    elif status == 503:
        headers = _after(retry_after(answer.headers) or 5.0)
        detail = _with_ids(message_for("target.unavailable"), "target.unavailable", _trace(answer))
    return failed(status, detail, scim_type, headers)


def _meaning(answer: TargetAnswer, *, names: bool) -> tuple[int, str | None]:
    status, scim_type = answer.status, text_of(_members(answer).get("scimType"))
    if scim_type not in SCIM_TYPES:
        scim_type = None
    if status == 409 and (names or scim_type == "uniqueness"):
        return 409, "uniqueness"
    if status in (409, 412) or scim_type == "invalidVers":
        return 412, "invalidVers"
    if status in (400, 413, 415, 422):
        return 400, scim_type or "invalidValue"
    if status in (401, 403):
        return 403, None
    if status in (404, 410):
        return 404, None
    if status in (405, 501):
        return 501, None
    return (429, None) if status == 429 else (503, None)


def says_version(answer: TargetAnswer) -> bool:
    """Whether an error says that the resource is at another version (RFC 7644 table 9)."""
    return text_of(_members(answer).get("scimType")) == "invalidVers"


def _members(answer: TargetAnswer) -> dict[str, Any]:
    return answer.members() or {}


def _words(answer: TargetAnswer) -> str | None:
    """What the target says of the error; nothing that looks like a repeated credential."""
    found = text_of(_members(answer).get("detail")) or text_of(_members(answer).get("message")) or ""
    text = "".join(sign if sign.isprintable() else " " for sign in found[:_LONGEST_TEXT]).strip()
    return None if not text or "bearer" in text.casefold() else text


def _trace(answer: TargetAnswer) -> str | None:
    return safe_id(answer.headers.get("inin-correlation-id"))


def _with_ids(message: str, code: str, trace: str | None) -> str:
    ids = [each for each in (code, f"correlation {trace}" if trace else "") if each]
    return f"{message} [{', '.join(ids)}]" if ids else message


def _after(seconds: float | None) -> Headers:
    return ((b"retry-after", str(max(1, math.ceil(seconds or 1.0))).encode()),)


def withheld(answer: Answer, password: Password | None) -> Answer:
    """``answer``, unless it would tell ``password``: then the error without its words."""
    body = answer.body.decode() if isinstance(answer.body, bytes) else ""
    if password is None or not password.within(body):
        return answer
    return failed(answer.status, "The request failed.", None, answer.headers)
