"""PUT and PATCH of a user: its password as a change, the rest passed on where the org is a proxy."""

import asyncio
import contextlib

from passferry.accept import Request
from passferry.domain.answers import Answer as TargetAnswer
from passferry.domain.change import Change, Reference, State
from passferry.domain.outcome import Outcome
from passferry.domain.password import Password
from passferry.domain.scim_query import Query
from passferry.domain.scim_show import Shown, bare, without_meta
from passferry.domain.scim_split import BadScim, Split, split_patch, split_user
from passferry.entrypoints import http_callers, scim_answers
from passferry.entrypoints.http_answers import Answer
from passferry.entrypoints.scim_answers import Refused, failed
from passferry.entrypoints.scim_call import READ_SECONDS, Call
from passferry.refusals import NotAccepted

_EVERYTHING = Query()


async def write(call: Call) -> Answer:
    """Answer PUT or PATCH. Raises ``Refused``, ``BadScim``, ``Problem`` and ``NotAccepted``."""
    started, arrived_at = call.parts.clock.monotonic(), call.parts.clock.now()
    user_id, text = call.resource_id(), await call.text()
    split = split_user(text) if call.method == "PUT" else split_patch(text)
    passed_on = call.proxied and split.rest is not None
    seen = await (_pass_on(call, user_id, split) if passed_on else _look(call, user_id, split))
    if split.password is None:
        assert seen is not None  # noqa: S101  # without a password, nothing goes on without the user
        return scim_answers.of_resource(seen)
    user_name = seen.user_name if seen is not None else split.user_name
    check(call, split.password, user_name)
    request = Request(
        org=call.org,
        user=Reference("id", user_id if call.foreign else user_id.lower()),
        password=split.password,
        arrived_at=arrived_at,  # the looks at the user above may take long
        user_name=user_name,
    )
    wait = max(0.0, call.parts.max_wait - (call.parts.clock.monotonic() - started))
    change = await http_callers.taken(call.exchange, call.caller, request, call.parts.accept, wait)
    call.provider.forget()
    refusal = scim_answers.refusal_of(change)
    if refusal is not None and not (passed_on and _waits_for_the_user(change)):
        return refusal
    before = seen or bare(user_id, split.user_name)
    shown = await _after(call, user_id, split.password, before, applied=change.state is State.APPLIED)
    return scim_answers.of_resource(shown, 200, scim_answers.of_change(change))


def _waits_for_the_user(change: Change) -> bool:
    """Whether it is parked because the user is inactive.

    Who deactivates a user with the very same request has what was asked for; an error would deny that.
    """
    inactive = change.error is not None and change.error.code == "user.inactive"
    return change.state is State.PARKED and inactive


def check(call: Call, password: Password, user_name: str | None) -> None:
    """Ask the policy before anything is done: here the user's name is known, which an id does not tell.

    Raises ``NotAccepted``.
    """
    user = Reference("userName", user_name) if user_name else None
    violations = call.parts.accept.violations(call.org, user, password)
    if violations:
        raise NotAccepted("policy", "The password breaks the policy.", violations=violations)


async def _pass_on(call: Call, user_id: str, split: Split) -> Shown:
    """Bring what is no password to the target; the user as it is then."""
    if call.method == "PUT" and not split.user_name:
        raise BadScim("invalidValue", "userName is missing: PUT sends the whole user")
    call.may_write()
    await call.may_touch(user_id)
    call.parts.accept.spare(call.caller, call.org, split.user_name or user_id)
    if split.password is not None:
        check(call, split.password, split.user_name)
    answer = await call.provider.send(call.method, call.kind, user_id, split.rest, call.if_match())
    if isinstance(answer, TargetAnswer) and answer.status == 204:
        answer = await call.provider.one(call.kind, user_id, _EVERYTHING, fresh=True)
    try:
        return call.shown(answer, wrote=True)
    except Refused as refused:
        refusal = scim_answers.withheld(refused.answer, split.password)
    raise Refused(refusal)


async def _look(call: Call, user_id: str, split: Split) -> Shown | None:
    """The user as it is, at the version that the client names.

    None when the target cannot be asked now, which does not stop a password; but without an answer nobody can
    say that the version is right.
    """
    wanted = call.versions(b"if-match")
    for fresh in (False, True):  # what was kept may be older than the client's own look
        answer = await _one(call, user_id, fresh=fresh)
        if _is_away(answer) and split.password is not None and wanted is None:
            return None
        if answer is None:
            raise Refused(failed(503, "the target does not answer", None, ((b"retry-after", b"5"),)))
        shown = call.shown(answer)
        if wanted is None or shown.version in wanted:
            return shown
    raise Refused(failed(412, "the user is at another version", "invalidVers"))


async def _one(call: Call, user_id: str, *, fresh: bool) -> TargetAnswer | Outcome | None:
    """The user, or None when that takes too long."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await call.provider.one(call.kind, user_id, _EVERYTHING, fresh=fresh)
    except TimeoutError:
        return None


def _is_away(answer: TargetAnswer | Outcome | None) -> bool:
    """Whether it says nothing of the user: delivery goes on trying, for days."""
    return not isinstance(answer, TargetAnswer) or answer.status in (401, 403, 429) or answer.status >= 500


async def _after(call: Call, user_id: str, password: Password, before: Shown, *, applied: bool) -> Shown:
    """The user once its password was taken. Never an error, since the change is committed.

    Unless it is ``applied``, the user is still as it was ``before``, at a version that will not last.
    """
    answer = await _one(call, user_id, fresh=True) if applied else None
    shown = None
    if answer is not None:
        with contextlib.suppress(Refused):  # the target does not tell now
            shown = call.shown(answer)
    shown = shown or without_meta(before)
    if password.within(shown.text + (shown.tag or "")):
        return bare(user_id, shown.user_name, password)
    return shown
